"""Binary tables of FITS, written and read with numpy alone: jobs start faster without astropy.

FITS Standard 4.0, section 7.3. Columns of numbers, logicals and text.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from scripts.lib.cards import card, padded, quoted, read_header
from scripts.lib.checksum import data_sum
from scripts.lib.hdu import sealed
from scripts.lib.sizes import data_size, padding

STORED = {"K": ">i8", "D": ">f8", "L": "S1"}


class Column(NamedTuple):
    """A column: name, values (None where there is none), and FITS unit."""

    name: str
    values: list
    unit: str = ""


def table_hdu(extname: str, meaning: str, columns: list[Column]) -> bytes:
    """Return a table as a whole HDU, with its checksums.

    Parameters
    ----------
    meaning : str
        Comment of EXTNAME.
    """
    stored = [_stored(column.values) for column in columns]
    rows = np.zeros(
        len(columns[0].values),
        [(c.name, array.dtype) for c, (array, _) in zip(columns, stored, strict=True)],
    )
    for column, (array, _) in zip(columns, stored, strict=True):
        rows[column.name] = array
    data = rows.tobytes()
    data += padding(len(data))
    cards = [
        card("XTENSION", quoted("BINTABLE"), "table"),
        card("BITPIX", "8", "bytes"),
        card("NAXIS", "2", "rows and columns"),
        card("NAXIS1", str(rows.dtype.itemsize), "bytes in a row"),
        card("NAXIS2", str(len(rows)), "rows"),
        card("PCOUNT", "0", "no heap"),
        card("GCOUNT", "1", ""),
        card("TFIELDS", str(len(columns)), "columns"),
        card("EXTNAME", quoted(extname), meaning),
    ]
    for number, (column, (_, form)) in enumerate(zip(columns, stored, strict=True), 1):
        cards.append(card(f"TTYPE{number}", quoted(column.name), ""))
        cards.append(card(f"TFORM{number}", quoted(form), ""))
        if column.unit:
            cards.append(card(f"TUNIT{number}", quoted(column.unit), ""))
    return sealed(cards, data_sum(data)) + data


def read_rows(path: Path) -> list[dict]:
    """Return the rows of the first table of a file, by column name, as Python values.

    Raises
    ------
    ValueError
        If the file is cut short.
    """
    with open(path, "rb") as stream:
        primary = read_header(stream)
        stream.seek(padded(data_size(primary)), 1)
        header = read_header(stream)
        numbers = range(1, header.value("TFIELDS") + 1)
        forms = {header.value(f"TTYPE{n}"): header.value(f"TFORM{n}") for n in numbers}
        row = np.dtype(
            [(name, STORED.get(form) or f"S{form[:-1]}") for name, form in forms.items()]
        )
        count = header.value("NAXIS2")
        data = stream.read(row.itemsize * count)
    if len(data) != row.itemsize * count:
        raise ValueError(f"{path}: cut short, {len(data)} bytes of table")
    columns = {name: _values(np.frombuffer(data, row)[name], form) for name, form in forms.items()}
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def _values(column: np.ndarray, form: str) -> list:
    if form == "L":
        return [value == b"T" for value in column.tolist()]
    if form in STORED:
        return column.tolist()
    return [value.decode("ascii").rstrip() for value in column.tolist()]


def _stored(values: list) -> tuple[np.ndarray, str]:
    """Return a column as FITS stores it, and its TFORM: logical, 64-bit integer, double or text."""
    present = [value for value in values if value is not None]
    kinds = {type(value) for value in present}
    complete = len(present) == len(values)
    if kinds == {bool} and complete:
        return np.array([b"T" if value else b"F" for value in values], "S1"), "L"
    if kinds == {int} and complete:
        return np.array(values, ">i8"), "K"
    if kinds and kinds <= {int, float}:
        return np.array([np.nan if value is None else value for value in values], ">f8"), "D"
    text = ["" if value is None else str(value) for value in values]
    width = max(1, *map(len, text))
    return np.array(text, f"S{width}"), f"{width}A"
