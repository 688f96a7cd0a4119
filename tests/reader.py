"""The survey's reader, as it unpacks cubes: each plane a frame again.

It knows a cube by its extension METADATA. A row gives a plane's file name and all that differs
between planes, column by column; the rest is in the primary header.
"""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from scripts.lib.fits.bintable import table_columns
from scripts.lib.fits.cards import Value
from scripts.lib.fits.hdu import iter_hdus
from scripts.lib.frames.names import METADATA
from scripts.lib.headers.metadata import plane_values


class UnpackedFrame(NamedTuple):
    """A frame from a cube: its name, values of its keywords, its pixels as stored."""

    name: str
    values: dict[str, Value]
    pixels: bytes


def unpack(path: Path) -> Iterator[UnpackedFrame]:
    """Yield the frames of a cube; raise ValueError if it is not one."""
    with open(path, "rb") as stream:
        primary, *tables = islice(iter_hdus(stream), 2)
        if not tables or tables[0].header.value("EXTNAME") != METADATA:
            raise ValueError(f"{path}: no extension {METADATA}")
        if tables[0].end != path.stat().st_size:
            raise ValueError(f"{path}: bytes after {METADATA}")
        columns = table_columns(tables[0].header, stream.read(tables[0].data_size))
        header = primary.header
        planes = header.whole("NAXIS3") if header.value("NAXIS") == 3 else 1
        size = primary.data_size // planes
        for row in range(planes):
            pixels = os.pread(stream.fileno(), size, primary.data_begin + row * size)
            name = frame_name(str(columns["FILENAME"][row]))
            yield UnpackedFrame(name, plane_values(header, columns, row), pixels)


def frame_name(name: str) -> str:
    """Return the name under which the survey keeps a frame: ``SPECU4.2026-03-06T00:01:23.540``."""
    found = name.removesuffix(".fits").replace("SPECULOOS", "SPECU").replace("_", ":")
    if len(found.rsplit(".", 1)[-1]) != 3:
        raise ValueError(f"{name} does not end in three decimals")
    return found
