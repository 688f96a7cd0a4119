"""Binary tables of FITS, written and read with numpy alone: jobs start faster without astropy.

FITS Standard 4.0, section 7.3. Columns of numbers, logicals and text.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scripts.lib.fits.cards import Header, HeaderError, Value, card, quoted
from scripts.lib.fits.checksum import data_sum
from scripts.lib.fits.hdu import iter_hdus, padding, with_checksums

# Letters of forms as types of numpy; of complex numbers and descriptors only the width is known.
FORMS = {"L": "V1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
FORMS |= {"C": "V8", "M": "V16", "P": "V8", "Q": "V16"}
LOGICALS = {b"T": True, b"F": False}
# Section 7.3.3.1: a zero byte is a logical without a value.
STORED_LOGICALS: dict[Value, bytes] = {True: b"T", False: b"F", None: b""}


class Column(NamedTuple):
    """A column: name, values (None where there is none), and FITS unit."""

    name: str
    values: Sequence[Value]
    unit: str = ""


def table_hdu(extname: str, meaning: str, columns: list[Column]) -> bytes:
    """Return a table as a whole HDU, with its checksums; ``meaning`` is the comment of EXTNAME."""
    stored = [_stored(column.values) for column in columns]
    rows = np.zeros(
        len(columns[0].values),
        [(c.name, array.dtype) for c, (array, _) in zip(columns, stored, strict=True)],
    )
    cards = [
        card("XTENSION", quoted("BINTABLE"), "table"),
        card("BITPIX", "8", "bytes"),
        card("NAXIS", "2", "rows and columns"),
        card("NAXIS1", str(rows.dtype.itemsize), "bytes in a row"),
        card("NAXIS2", str(len(rows)), "rows"),
        card("PCOUNT", "0", "no heap"),
        card("GCOUNT", "1"),
        card("TFIELDS", str(len(columns)), "columns"),
        card("EXTNAME", quoted(extname), meaning),
    ]
    for number, (column, (array, form)) in enumerate(zip(columns, stored, strict=True), 1):
        rows[column.name] = array
        cards.append(card(f"TTYPE{number}", quoted(column.name)))
        cards.append(card(f"TFORM{number}", quoted(form)))
        if column.unit:
            cards.append(card(f"TUNIT{number}", quoted(column.unit)))
    data = rows.tobytes()
    data += padding(len(data))
    return with_checksums(cards, data_sum(data)) + data


def read_table_hdu(path: Path) -> tuple[Header, list[dict[str, Any]]]:
    """Return the header and the rows, by column name, of the first table of a file.

    Raises ValueError if there is none, or if it is cut short.
    """
    with open(path, "rb") as stream:
        for hdu in iter_hdus(stream):
            if hdu.header.value("XTENSION") == "BINTABLE":
                try:
                    columns = table_columns(hdu.header, stream.read(hdu.data_size))
                except ValueError as error:
                    raise ValueError(f"{path}: {error}") from error
                rows = zip(*columns.values(), strict=True)
                return hdu.header, [dict(zip(columns, row, strict=True)) for row in rows]
    raise ValueError(f"{path}: no table in it")


def table_columns(header: Header, data: bytes) -> dict[str, list[Value]]:
    """Return the columns of a table by name, as Python values, of its header and what follows.

    Raises ValueError if the data are cut short, or rows are not as long as the columns together.
    """
    row, count = row_type(header), header.whole("NAXIS2")
    if len(data) < row.itemsize * count:
        raise ValueError(f"cut short, {len(data)} bytes of table")
    rows = np.frombuffer(data, row, count)
    return {name: _values(rows[name]) for name in row.names or ()}


def row_type(header: Header) -> np.dtype:
    """Return the rows of a table as a type of numpy (sections 7.3.1 and 7.3.2).

    Raises `HeaderError` unless the header describes a table and rows as long as its columns.
    """
    fields = []
    for n in range(1, header.whole("TFIELDS") + 1):
        name, form = _text(header, f"TTYPE{n}"), _text(header, f"TFORM{n}")
        match = re.match(r"(\d*)([LXBIJKAEDCMPQ])", form)
        if match is None:
            raise HeaderError(f"TFORM{n} is {form!r}, not a column of FITS")
        count, letter = int(match[1] or 1), match[2]
        if letter == "X":
            count, letter = -(-count // 8), "B"
        if letter == "A":
            fields.append((name, f"S{count}"))
        else:
            fields.append((name, FORMS[letter] if count == 1 else f"{count}{FORMS[letter]}"))
    row = np.dtype(fields)
    if row.itemsize != header.value("NAXIS1"):
        raise HeaderError(f"rows of {header.value('NAXIS1')} bytes for columns of {row.itemsize}")
    return row


def _text(header: Header, keyword: str) -> str:
    value = header.value(keyword)
    if not isinstance(value, str):
        raise HeaderError(f"{keyword} is {value!r}, not a text")
    return value


def _values(column: np.ndarray) -> list[Value]:
    stored = column.tolist()
    if column.dtype == FORMS["L"]:
        return [LOGICALS.get(value) for value in stored]
    return [v.decode("ascii").rstrip() for v in stored] if column.dtype.kind == "S" else stored


def _stored(values: Sequence[Value]) -> tuple[np.ndarray, str]:
    """Return a column as FITS stores it, and its TFORM: logical, 64-bit integer, double or text.

    Text holds what no number does: values of several types, long integers beside decimal ones.
    """
    present = [value for value in values if value is not None]
    kinds = {type(value) for value in present}
    if kinds == {bool}:
        return np.array([STORED_LOGICALS[value] for value in values], "S1"), "L"
    if kinds == {int} and len(present) == len(values):
        return np.array(values, ">i8"), "K"
    exact = all(float(value) == value for value in present if isinstance(value, int))
    if kinds and kinds <= {int, float} and exact:
        return np.array([np.nan if value is None else value for value in values], ">f8"), "D"
    text = ["" if value is None else str(value) for value in values]
    width = max(1, *map(len, text))
    return np.array(text, f"S{width}"), f"{width}A"
