"""A star catalogue in a CSV table; it may have comments (# …) and missing values."""

import csv
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from scripts.lib.files.errors import Damaged
from scripts.lib.solving import stars
from scripts.lib.solving.unreadable import LONGEST, check_file

BLOCK = 1 << 20  # bytes at either end that are looked at when a table is opened


def check(path: Path) -> None:
    """Raise `Damaged` or `OSError` unless a file is such a table; read its ends only."""
    size = check_file(path, stars.no_columns())
    with open(path, "rb") as binary:
        first = binary.read(BLOCK)
        binary.seek(max(0, size - BLOCK))
        last = binary.read()
    if b"\0" in first or (b"\n" not in first and size > BLOCK):
        raise Damaged(f"it is not a table of text; {stars.COLUMNS}")
    with open(path, encoding="utf-8-sig") as text:
        places, lines = _opened(text)
        star = list(islice(lines, 1))
    if not star:
        raise Damaged(stars.NO_STARS)
    _numbers(star, places)
    # A truncated table ends within a line.
    if ending := list(_data(last.decode("utf-8", "replace").split("\n")))[-1:]:
        _numbers(ending, places)


def read(path: Path, epoch: float | None, circle: stars.Circle) -> Iterator[stars.CatalogueStars]:
    """Yield stars among which are all of a circle; raise `Damaged` for a line that is wrong.

    ``epoch`` (Julian year) is that of stars without one of their own; None for Gaia DR3's.
    """
    low, high = circle.declinations()
    with open(path, encoding="utf-8-sig") as stream:
        places, lines = _opened(stream)
        dec = list(places).index("dec")
        while piece := list(islice(lines, stars.PIECE)):
            columns = _numbers(piece, places)
            near = columns[:, (columns[dec] >= low) & (columns[dec] <= high)]
            named = dict(zip(places, near, strict=True))
            yield stars.stars_of(named, epoch or stars.GAIA_DR3)


def _data(lines: Iterable[str]) -> Iterator[str]:
    return (line for line in lines if line.strip() and not line.startswith("#"))


def _opened(stream: Iterable[str]) -> tuple[dict[str, int], Iterator[str]]:
    """Return where the columns that we read stand in a line, and the lines of stars."""
    lines = _data(stream)
    try:
        header = next(csv.reader(lines), [])
    except csv.Error as error:
        raise Damaged(f"it has no line of column names; {stars.COLUMNS}") from error
    return {name: header.index(own) for name, own in stars.source_names(header).items()}, lines


def _numbers(lines: list[str], places: dict[str, int]) -> np.ndarray:
    """Return columns of lines of the table, shape (columns, lines); empty values are NaN."""
    parse = partial(np.loadtxt, lines, delimiter=",", quotechar='"', comments=None, ndmin=2)
    parse = partial(parse, usecols=list(places.values()), unpack=True)
    try:
        return parse()
    except ValueError:
        pass
    try:
        return parse(converters=stars.number)  # slower: only where values are missing
    except ValueError as error:
        raise Damaged(_wrong_line(lines, places)) from error


def _wrong_line(lines: list[str], places: dict[str, int]) -> str:
    """Return what is wrong with the first line that cannot be read."""
    for line in lines:
        values = next(csv.reader([line]), [])
        for name, place in places.items():
            if place >= len(values):
                return f"its line {line.strip()[:LONGEST]!r} ends before column {name}"
            try:
                stars.number(values[place])
            except ValueError:
                return f"its column {name} has {values[place][:LONGEST]!r}, which is not a number"
    return "it has a line that is not one of this table"
