"""Binary tables of FITS files that are larger than memory: rows are read where they are needed.

FITS Standard 4.0, section 7.3.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scripts.lib.fits.cards import Header
from scripts.lib.fits.hdu import iter_hdus
from scripts.lib.solving.errors import Unreadable, check_file

NUMBERS = {"B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
OTHERS = {"L": 1, "A": 1, "C": 8, "M": 16, "P": 8, "Q": 16}  # bytes


class NumberColumn(NamedTuple):
    """Where a number stands in the rows of a table, and how (section 7.3.2)."""

    kind: str  # of numpy; empty if it is not a single number
    offset: int
    scale: float
    zero: float
    null: int | None


class Table:
    """A binary table of a FITS file; its rows stay on disk until they are asked for.

    Parameters
    ----------
    path : Path
    header : Header
    begin : int
        Where its rows begin in the file, bytes.

    Raises
    ------
    HeaderError, Unreadable
        If the header does not describe a table.
    """

    def __init__(self, path: Path, header: Header, begin: int):
        self.path, self.header, self.begin = path, header, begin
        if header.value("NAXIS") != 2:
            raise Unreadable(f"a table has 2 axes, not {header.value('NAXIS')!r}")
        self.rows, self.width = header.whole("NAXIS2"), header.whole("NAXIS1")
        self.columns: dict[str, NumberColumn] = {}  # by name in lower case
        offset = 0
        for n in range(1, int(_number(header, "TFIELDS", 0)) + 1):
            letter, count = _form(header, n)
            name = str(header.value(f"TTYPE{n}") or "").strip().lower()
            null = header.value(f"TNULL{n}")
            self.columns[name] = NumberColumn(
                NUMBERS.get(letter, "") if count == 1 else "",
                offset,
                _number(header, f"TSCAL{n}", 1),
                _number(header, f"TZERO{n}", 0),
                None if null is None else int(_number(header, f"TNULL{n}", 0)),
            )
            offset += _bytes(letter, count)
        if offset > self.width:
            raise Unreadable(f"a table has columns of {offset} bytes in rows of {self.width}")

    def mapped(self, kind: str | np.dtype, width: int = 1) -> np.ndarray:
        """Return the rows as an array of shape (rows, width), or (rows,).

        Mapped again each time: what was read no longer counts as memory once the array is gone.

        Raises
        ------
        Unreadable
            If the file has become shorter.
        """
        shape = (self.rows, width) if width > 1 else (self.rows,)
        if not self.rows:
            return np.empty(0)
        size, right = self.path.stat().st_size, self.begin + self.rows * self.width
        if size < right:
            raise Unreadable(f"it is truncated: {size} bytes of {right}")
        return np.memmap(self.path, kind, "r", self.begin, shape)

    def check_numbers(self, names: list[str]) -> None:
        """Raise `Unreadable` unless columns have one number a row."""
        if wrong := [name for name in names if not self.columns[name].kind]:
            raise Unreadable(f"its column {', '.join(wrong)} is not one number a row")

    def numbers(self, names: list[str], rows: slice | np.ndarray) -> dict[str, np.ndarray]:
        """Return columns as floats, NaN where the table has no value.

        Raises
        ------
        Unreadable
            If a column is not one number a row, or the file is truncated.
        """
        self.check_numbers(names)
        if not self.rows:
            return {name: np.empty(0) for name in names}
        columns = [self.columns[name] for name in names]
        record = np.dtype(
            {
                "names": names,
                "formats": [column.kind for column in columns],
                "offsets": [column.offset for column in columns],
                "itemsize": self.width,
            }
        )
        records = self.mapped(record)[rows]
        return {name: _scaled(records[name], c) for name, c in zip(names, columns, strict=True)}


def read_tables(path: Path) -> Iterator[Table]:
    """Yield the binary tables of a FITS file.

    Raises
    ------
    HeaderError, OSError, Unreadable
        If it is not a FITS file, or truncated.
    """
    size = check_file(path)
    with open(path, "rb") as stream:
        for hdu in iter_hdus(stream):
            right = hdu.data_begin + hdu.data_size
            if right > size:
                raise Unreadable(f"it is truncated: {size} bytes of {right} or more")
            if hdu.header.value("XTENSION") == "BINTABLE":
                yield Table(path, hdu.header, hdu.data_begin)


def _form(header: Header, number: int) -> tuple[str, int]:
    """Return the letter and the repeat count of a column's TFORM."""
    form = header.value(f"TFORM{number}")
    match = re.match(r"(\d*)([A-Z])", form) if isinstance(form, str) else None
    if match is None or match[2] not in {*NUMBERS, *OTHERS, "X"}:
        raise Unreadable(f"TFORM{number} is {form!r}, not a column of FITS")
    return match[2], int(match[1] or 1)


def _number(header: Header, keyword: str, default: float) -> float:
    value = header.value(keyword)
    if value is None:
        return default
    if isinstance(value, bool | str) or not math.isfinite(value):
        raise Unreadable(f"{keyword} is {value!r}, not a number")
    return value


def _bytes(letter: str, count: int) -> int:
    """Return the width of a column of that TFORM."""
    if letter == "X":
        return -(-count // 8)
    return count * (OTHERS.get(letter) or np.dtype(NUMBERS[letter]).itemsize)


def _scaled(stored: np.ndarray, column: NumberColumn) -> np.ndarray:
    # Stored values may be infinite, or no numbers at all.
    with np.errstate(invalid="ignore", over="ignore"):
        values = stored.astype(float) * column.scale + column.zero
    if column.null is not None:
        values[stored == column.null] = np.nan
    return values
