"""Cubes unpacked as the survey's reader does it: each plane a frame again.

The reader knows a cube by its extension METADATA. A row gives a plane's file name and all that
differs between planes, column by column; the rest is in the primary header. So what is written
here is the other end of the contract that `scripts.lib.headers.metadata` keeps.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from scripts.lib.fits.bintable import table_columns
from scripts.lib.fits.cards import COMMENTARY, Header, Value, padded, read_header
from scripts.lib.fits.hdu import STRUCTURE
from scripts.lib.fits.sizes import data_size

METADATA = "METADATA"
# Of the file, not of a frame in it.
OF_THE_CUBE = frozenset(("CUBETYPE", "CUBEKEY", "DATE", "FILENAME"))
# Follow from a plane's own DATE-OBS and EXPTIME; of a cube they are those of its last plane.
WCS_KEYS = ("WCSAXES", "CTYPE", "CUNIT", "CRPIX", "CRVAL", "CDELT", "CD", "LONPOLE", "LATPOLE")


class NotACube(ValueError):
    """The file cannot be unpacked; the message says why."""


class Plane(NamedTuple):
    """A frame unpacked from a cube: its name, values of its keywords, its pixels as stored."""

    name: str
    values: dict[str, Value]
    pixels: bytes


def unpack(path: Path) -> Iterator[Plane]:
    """Yield the frames of a cube.

    Raises
    ------
    NotACube
        If it has no METADATA, or bytes that belong to nothing.
    """
    with open(path, "rb") as stream:
        header = read_header(stream)
        pixels_begin = stream.tell()
        stream.seek(pixels_begin + padded(data_size(header)))
        table = read_header(stream)
        if table.value("EXTNAME") != METADATA:
            raise NotACube(f"{path}: no extension {METADATA}")
        data = stream.read(padded(data_size(table)))
        if stream.tell() != path.stat().st_size:
            raise NotACube(f"{path}: bytes after {METADATA}")
        columns = table_columns(table, data)
        planes = header.whole("NAXIS3") if header.value("NAXIS") == 3 else 1
        size = data_size(header) // planes
        for row in range(planes):
            pixels = os.pread(stream.fileno(), size, pixels_begin + row * size)
            yield Plane(
                frame_name(str(columns["FILENAME"][row])),
                frame_values(header, columns, row),
                pixels,
            )


def frame_name(name: str) -> str:
    """Return the name under which the survey keeps a frame: ``SPECU4.2026-03-06T00:01:23.540``.

    Raises
    ------
    NotACube
        If it does not end in milliseconds.
    """
    found = name.removesuffix(".fits").replace("SPECULOOS", "SPECU").replace("_", ":")
    if len(found.rsplit(".", 1)[-1]) != 3:
        raise NotACube(f"{name} does not end in three decimals")
    return found


def frame_values(
    header: Header, columns: Mapping[str, Sequence[Value]], row: int
) -> dict[str, Value]:
    """Return the keywords of a plane: those of the cube, those of its row before them."""
    values = {
        keyword: header.value(keyword)
        for keyword, _ in header
        if keyword not in STRUCTURE and keyword not in COMMENTARY
    }
    values |= {
        keyword: str(column[row]) if isinstance(column[row], bool) else column[row]
        for keyword, column in columns.items()
        # No header holds NaN: the reader goes on without it.
        if column[row] == column[row]
    }
    return {keyword: value for keyword, value in values.items() if keyword not in OF_THE_CUBE}


def differences(values: Mapping[str, Value], original: Header) -> str:
    """Return the first keyword of a frame that did not come back as it was; nothing if all did.

    World coordinates count if the frame has a sky: the others have pixels, in two axes or three.
    An empty text is as good as none.
    """
    sky = str(original.value("CTYPE1")).startswith("RA--")
    for keyword, _ in original:
        skipped = keyword in STRUCTURE or keyword in COMMENTARY or keyword in OF_THE_CUBE
        if skipped or (keyword.startswith(WCS_KEYS) and (not sky or keyword == "WCSAXES")):
            continue
        went_in, came_back = original.value(keyword), values.get(keyword)
        if not same(went_in, came_back):
            return f"{keyword} {went_in!r} came back as {came_back!r}"
    added = [
        keyword
        for keyword, value in values.items()
        if keyword not in original
        and value not in ("", None)
        and not (keyword.startswith(WCS_KEYS) or keyword == "PA")
    ]
    return f"{added[0]} came back, which did not go in" if added else ""


def same(one: Value, other: Value) -> bool:
    """Tell whether a value came back.

    A logical may come back as 1 or 0, a whole number as a decimal one, and what is a number in one
    frame and a text in another as the text: a column has one type.
    """
    if not (isinstance(other, bool) and not isinstance(one, bool)) and one == other:
        return True
    return isinstance(other, str) and str(one) == other
