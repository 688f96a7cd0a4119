"""A star catalogue in the first binary table of a FITS file."""

from collections.abc import Iterator
from pathlib import Path

from scripts.lib.solving.binary_tables import Table, read_tables
from scripts.lib.solving.errors import Unreadable
from scripts.lib.solving.rows import (
    COLUMNS,
    GAIA_DR3,
    NO_STARS,
    PIECE,
    Circle,
    Rows,
    rows_of,
    source_names,
)


def check(path: Path) -> None:
    """Raise an error unless a file is such a catalogue; read its headers only."""
    table = _table(path)
    table.check_numbers(list(source_names(list(table.columns))))
    _epoch(table)
    if not table.rows:
        raise Unreadable(NO_STARS)


def read(path: Path, band: str, circle: Circle) -> Iterator[Rows]:
    """Yield stars among which are all of a circle.

    Raises
    ------
    HeaderError, OSError, Unreadable
        If the file is not such a catalogue any more.
    """
    table = _table(path)
    names = list(source_names(list(table.columns)))
    epoch = _epoch(table)
    for begin in range(0, table.rows, PIECE):
        piece = slice(begin, begin + PIECE)
        near = circle.in_strip(table.numbers(["dec"], piece)["dec"])
        if near.any():
            columns = table.numbers(names, piece)
            yield rows_of({name: column[near] for name, column in columns.items()}, band, epoch)


def _table(path: Path) -> Table:
    table = next(read_tables(path), None)
    if table is None:
        raise Unreadable(f"it holds no table (BINTABLE); {COLUMNS}")
    return table


def _epoch(table: Table) -> float:
    """Return the epoch that a table's header states, such as 2016.0 or J2016.0."""
    for keyword in ("EPOCH", "REFEPOCH"):
        if (value := table.header.value(keyword)) is not None:
            try:
                return float(str(value).lstrip("J"))
            except ValueError:
                raise Unreadable(f"{keyword} is {value!r}, not a year such as 2016.0") from None
    return GAIA_DR3
