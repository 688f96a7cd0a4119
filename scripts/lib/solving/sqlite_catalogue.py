"""The site's star catalogue, Gaia and 2MASS: an SQLite table for each degree of declination.

There is no SQL index, so a table is read through; those of other declinations are not. Missing
values are NULL or empty strings. There are two such databases, alike but for their epoch:
``gaia-tmass-sqlite`` is Gaia DR2's, ``gaia_dr3_unified_16jcut.db`` Gaia DR3's.
"""

import itertools
import math
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from scripts.lib.files.errors import Damaged
from scripts.lib.solving.stars import (
    GAIA_DR2,
    GAIA_DR3,
    NO_STARS,
    PIECE,
    CatalogueStars,
    Circle,
    number,
    stars_of,
)
from scripts.lib.solving.unreadable import LONGEST, check_file

MAGIC = b"SQLite format 3\0"
# Our name of a column, and the catalogue's.
COLUMNS = {
    "ra": "ra",
    "dec": "dec",
    "pmra": "pmra",
    "pmdec": "pmdec",
    "mag": "phot_g_mean_mag",
    "j": "j_m",
}
EPOCH = "ref_epoch"  # of each star: a column that only some have, those that we write too
OF_DR3 = "dr2_source_id"  # what DR2 called the star: a column of DR3's database only
NO_TABLES = "no tables such as '-6_-5', each of a degree of declination"


def check(path: Path) -> None:
    """Raise `Damaged` or `OSError` unless a file is such a catalogue; read no stars."""
    with _opened(path) as connection:
        strips = _strips(connection)
        if not strips:
            raise Damaged(f"it has {NO_TABLES}")
        for strip, present in strips.items():
            if missing := ", ".join(name for name in COLUMNS.values() if name not in present):
                needed = ", ".join(COLUMNS.values())
                raise Damaged(f"its table '{strip}' has no column {missing}; needed are {needed}")
        if not any(connection.execute(f'SELECT 1 FROM "{s}" LIMIT 1').fetchone() for s in strips):
            raise Damaged(NO_STARS)


def read(path: Path, epoch: float | None, circle: Circle) -> Iterator[CatalogueStars]:
    """Yield stars among which are all of a circle; raise `Damaged` if the file is.

    ``epoch`` (Julian year) is that of stars without one of their own; None for that of `stated`.
    """
    low, high = circle.declinations()
    with _opened(path) as connection:
        strips = _strips(connection)
        for degree in range(math.floor(low), math.floor(min(high, 89.999)) + 1):
            if (strip := f"{degree}_{degree + 1}") not in strips:
                continue
            names = COLUMNS | ({"epoch": EPOCH} if EPOCH in strips[strip] else {})
            columns = ", ".join(f"NULLIF({name}, '')" for name in names.values())
            for west, east in circle.right_ascensions():
                found = connection.execute(
                    # Numbers in columns of text are not compared as texts.
                    f'SELECT {columns} FROM "{strip}" WHERE CAST(dec AS REAL) BETWEEN ? AND ? '
                    "AND CAST(ra AS REAL) BETWEEN ? AND ?",
                    (low, high, west, east),
                )
                while piece := found.fetchmany(PIECE):
                    values = dict(zip(names, _numbers(piece, strip), strict=True))
                    yield stars_of(values, epoch or stated(path, strips[strip]))


def stated(path: Path, present: set[str]) -> float:
    """Return the epoch (Julian year) of a database by the columns of a table, or its file name."""
    return GAIA_DR3 if OF_DR3 in present or "dr3" in path.name.lower() else GAIA_DR2


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    _check_header(path)
    try:
        # A catalogue on a disk mounted read-only must open too.
        file = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(file, uri=True)) as connection:
            yield connection
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorname", "")
        if code.startswith("SQLITE_IOERR"):
            raise Damaged(f"its disk cannot be read ({code})") from error
        raise Damaged(f"SQLite finds it damaged{f' ({code})' if code else ''}") from error


def _check_header(path: Path) -> None:
    """Raise unless a file begins as an SQLite database, and has all of its pages.

    Source: sqlite.org/fileformat.html, section 1.3. The number of pages counts if it was written
    together with the last change.
    """
    size = check_file(path, NO_TABLES)
    with open(path, "rb") as stream:
        header = stream.read(100)
    if not header.startswith(MAGIC):
        raise Damaged(f"it is not an SQLite database, it has {NO_TABLES}")
    page = int.from_bytes(header[16:18], "big")
    right = int.from_bytes(header[28:32], "big") * (65536 if page == 1 else page)
    counted = header[24:28] == header[92:96]
    if len(header) < 100 or (counted and size < right):
        raise Damaged(f"it is truncated: {size} bytes of {max(right, 100)}")


def _strips(connection: sqlite3.Connection) -> dict[str, set[str]]:
    """Return the names of the tables of a degree, each with its columns."""
    strips: dict[str, set[str]] = {}
    query = (
        "SELECT item.name, field.name FROM sqlite_master AS item, pragma_table_info(item.name) "
        "AS field WHERE item.type IN ('table', 'view')"
    )
    for table, column in connection.execute(query):
        south, _, north = table.partition("_")
        if north.lstrip("-").isdigit() and south.lstrip("-").isdigit():
            strips.setdefault(table, set()).add(column.lower())
    return strips


def _numbers(rows: list[tuple[Any, ...]], strip: str) -> np.ndarray:
    """Return rows as columns of floats, NaN where there is no value."""
    try:
        return np.array(rows, float).T
    except (TypeError, ValueError):
        pass
    try:
        return np.array([[number(value) for value in row] for row in rows]).T
    except (TypeError, ValueError):
        wrong = next(filter(_is_wrong, itertools.chain.from_iterable(rows)), None)
        found = repr(wrong[:LONGEST] if isinstance(wrong, str | bytes) else wrong)
        raise Damaged(f"its table '{strip}' has {found}, which is not a number") from None


def _is_wrong(value: Any) -> bool:
    """Return whether a value is neither missing nor a number nor the text of one."""
    try:
        number(value)
    except (TypeError, ValueError):
        return True
    return False
