"""What is judged: a product's file, or a finished header that still waits for its pixels."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from scripts.lib.fits.bintable import table_columns
from scripts.lib.fits.cards import Header, HeaderError, Value, number
from scripts.lib.fits.checksum import add_at, data_sum, fold
from scripts.lib.fits.hdu import Hdu, iter_hdus
from scripts.lib.frames import names
from scripts.lib.frames.instruments import Kind, Telescope, read_kinds, read_telescopes
from scripts.lib.frames.names import METADATA
from scripts.lib.nights.dates import night_bounds
from scripts.lib.nights.times import parse_date, time_of_mjd
from scripts.lib.settings.records import Camera

TABLES = Path(__file__).parents[3] / "config"
# Words of the column ``on`` of the table of checks.
TRAITS = set("frame cube file science bias dark flat calibration sky pixel icrs".split())
WCS = re.compile(
    r"WCSAXES|C(TYPE|UNIT|RPIX|RVAL|DELT|ROTA)\d|(CD|PC)\d_\d|LONPOLE|LATPOLE|[AB]P?_.*"
)
# Bytes read at a time.
PIECE = 1 << 22


class Context(NamedTuple):
    """What products are judged against; None and empty where nothing is known.

    Attributes
    ----------
    telescopes, kinds : dict
        By name.
    telescope : Telescope or None
        Whose products these are.
    camera : Camera or None
        Its camera.
    programmes : tuple of str
        Programme ids that they may have; any if there are none.
    bounds : tuple of datetime or None
        Beginning of the night, and of the next.
    headers : mapping of Header
        Of the frames that went into a cube, by ESO's name without its ending.
    """

    telescopes: dict[str, Telescope]
    kinds: dict[str, Kind]
    telescope: Telescope | None = None
    camera: Camera | None = None
    programmes: tuple[str, ...] = ()
    bounds: tuple[datetime, datetime] | None = None
    headers: Mapping[str, Header] = {}


def context_of(
    telescope: str = "",
    camera: Camera | None = None,
    night: str = "",
    headers: Mapping[str, Header] | None = None,
    programmes: tuple[str, ...] = (),
) -> Context:
    """Return what products of a telescope, of a night, are judged against: see `Context`."""
    telescopes = read_telescopes(TABLES / "telescopes.csv")
    return Context(
        telescopes,
        read_kinds(TABLES / "kinds.csv"),
        telescopes[telescope] if telescope else None,
        camera,
        programmes,
        night_bounds(night) if night else None,
        headers or {},
    )


@dataclass(frozen=True, slots=True)
class SummedHdu(Hdu):
    """An HDU with its header as bytes, and the sum of its data."""

    head: bytes
    sum: int


@dataclass
class ProductFile:
    """A product's file, or a finished header that still waits for its pixels.

    Attributes
    ----------
    name : str
        File name.
    header : Header
        The primary header.
    hdus : list of SummedHdu
        All of the file; empty for a header alone.
    size : int
        Of the file, in bytes; 0 for a header alone.
    constant : list of int
        Planes in which all pixels are the same.
    table : bytes
        Data of the extension METADATA.
    """

    name: str
    header: Header
    context: Context
    hdus: list[SummedHdu] = field(default_factory=list)
    size: int = 0
    constant: list[int] = field(default_factory=list)
    table: bytes = b""
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    _values: dict[str, Value] = field(default_factory=dict)

    def value(self, keyword: str) -> Value:
        """Return a value of the primary header, None if there is none.

        Raises
        ------
        HeaderError
            If it is not well formed.
        """
        if keyword not in self._values:
            self._values[keyword] = self.header.value(keyword)
        return self._values[keyword]

    def required(self, keyword: str) -> bool | int | float | str:
        """Return a value of the primary header; raise `HeaderError` if there is none."""
        value = self.value(keyword)
        if value is None:
            raise HeaderError(f"no {keyword}")
        return value

    def number(self, keyword: str, default: float | None = None) -> float:
        """Return a number of the primary header, or the default; raise `HeaderError` otherwise."""
        if default is not None and self.value(keyword) is None:
            return default
        return number(self.required(keyword), keyword)

    def text(self, keyword: str) -> str:
        """Return a value of the primary header; raise `HeaderError` unless it is a text."""
        value = self.required(keyword)
        if not isinstance(value, str):
            raise HeaderError(f"{keyword} is {value!r}, not a text")
        return value

    def column(self, name: str) -> list[Value]:
        """Return a column of METADATA; raise `HeaderError` if there is none."""
        if name not in self.columns:
            raise HeaderError(f"no column {name} in {METADATA}")
        return self.columns[name]

    def numbers(self, name: str) -> list[float]:
        """Return a column of METADATA; raise `HeaderError` unless it is of numbers."""
        return [number(value, f"{name} of {METADATA}") for value in self.column(name)]

    def texts(self, name: str) -> list[str]:
        """Return a column of METADATA; raise `HeaderError` unless it is of texts."""
        values = self.column(name)
        found = [value for value in values if isinstance(value, str)]
        if len(found) < len(values):
            raise HeaderError(f"{name} of {METADATA} is not a column of texts")
        return found

    @property
    def headers(self) -> list[Header]:
        """The headers of all HDUs."""
        return [hdu.header for hdu in self.hdus] or [self.header]

    @cached_property
    def wcs_keywords(self) -> list[str]:
        """The keywords of world coordinates, in their order."""
        return [keyword for keyword in self.header.keywords if WCS.fullmatch(keyword)]

    @cached_property
    def start(self) -> datetime:
        """DATE-OBS; raises ValueError if it is not a date, like `end`."""
        return parse_date(self.text("DATE-OBS"))

    @cached_property
    def end(self) -> datetime:
        """DATE-END."""
        return parse_date(self.text("DATE-END"))

    @cached_property
    def name_parts(self) -> re.Match[str] | None:
        """The parts of the name: number, start, of cubes the sequence; None in another form."""
        return (names.CUBE if self.is_cube else names.FRAME).fullmatch(self.name)

    @cached_property
    def is_cube(self) -> bool:
        """Whether it is a cube: by its extension, otherwise by its name or its axes."""
        if self.metadata is not None or self.name.startswith(names.FRAMES):
            return self.metadata is not None
        return self.name.startswith(names.CUBES) or self._or_none("NAXIS") == 3

    @cached_property
    def metadata(self) -> SummedHdu | None:
        """The extension METADATA."""
        found = (hdu for hdu in self.hdus[1:] if hdu.header.value("EXTNAME") == METADATA)
        return next(found, None)

    @cached_property
    def columns(self) -> dict[str, list[Value]]:
        """The columns of METADATA by name, none without it; raises ValueError for a bad table."""
        return table_columns(self.metadata.header, self.table) if self.metadata else {}

    @cached_property
    def kind(self) -> Kind | None:
        """The kind that IMAGETYP names."""
        found = str(self._or_none("IMAGETYP")).lower()
        return next((k for k in self.context.kinds.values() if found in k.words), None)

    @cached_property
    def traits(self) -> set[str]:
        """The words of the table's column ``on`` that hold."""
        ctype = str(self._or_none("CTYPE1"))
        traits = {"cube" if self.is_cube else "frame"}
        traits |= {"file"} if self.hdus else set()
        if self.kind:
            traits |= {self.kind.name}
            traits |= set() if self.kind.name == "science" else {"calibration"}
        traits |= {"sky"} if ctype.startswith("RA--") else set()
        traits |= {"pixel"} if ctype == "PIXEL" else set()
        return traits | ({"icrs"} if self._or_none("RADESYS") == "ICRS" else set())

    @cached_property
    def telescope(self) -> Telescope | None:
        """The telescope that TELESCOP names."""
        found = self._or_none("TELESCOP")
        return next((t for t in self.context.telescopes.values() if t.telescop == found), None)

    def _or_none(self, keyword: str) -> Value:
        try:
            return self.value(keyword)
        except HeaderError:
            return None


def dp_id(product: ProductFile) -> str:
    """Return the name that ESO's archive gives a product: of its instrument and MJD-OBS.

    Raises
    ------
    HeaderError
        If it is of none of our telescopes.
    """
    if product.telescope is None:
        raise HeaderError(f"TELESCOP {product.value('TELESCOP')!r} is not one of our telescopes")
    return names.dp_id(product.telescope.number, time_of_mjd(product.number("MJD-OBS")))


def read_product_file(path: Path, context: Context, pixel_sum: int | None = None) -> ProductFile:
    """Return a product's file as what is judged.

    Parameters
    ----------
    pixel_sum : int, optional
        Sum of the primary HDU's data, if it is known; otherwise the pixels are read.

    Raises
    ------
    HeaderError
        If it is not FITS.
    OSError
        If it cannot be read.
    """
    size, table = path.stat().st_size, b""
    constant: list[int] = []
    hdus: list[SummedHdu] = []
    with open(path, "rb") as stream:
        for hdu in iter_hdus(stream):
            if hdu.end > size:
                raise HeaderError(f"{size} bytes, too few for its headers")
            data, total = b"", pixel_sum
            if hdus:
                data = os.pread(stream.fileno(), hdu.end - hdu.data_begin, hdu.data_begin)
                total = data_sum(data)
            elif total is None:
                total, constant = sum_planes(stream, hdu)
            if hdus and hdu.header.value("EXTNAME") == METADATA:
                table = data
            head = os.pread(stream.fileno(), hdu.data_begin - hdu.begin, hdu.begin)
            where = hdu.begin, hdu.data_begin, hdu.data_size
            hdus.append(SummedHdu(hdu.header, *where, head, total))
    if not hdus:
        raise HeaderError("empty file")
    return ProductFile(path.name, hdus[0].header, context, hdus, size, constant, table)


def sum_planes(stream: BinaryIO, hdu: Hdu) -> tuple[int, list[int]]:
    """Return the sum of the pixels of an image or cube, and the planes without any contrast."""
    begin, header = hdu.data_begin, hdu.header
    planes = (header.whole("NAXIS3") or 1) if header.whole("NAXIS") == 3 else 1
    plane = hdu.data_size // planes
    total = 0
    constant: list[int] = []
    for place in range(planes if plane else 0):
        part, same = sum_plane(stream, begin + place * plane, plane)
        total = add_at(total, part, place * plane)
        constant += [place] if same else []
    done = begin + planes * plane
    rest = os.pread(stream.fileno(), hdu.end - done, done)
    return fold(total + data_sum(rest)), constant


def sum_plane(stream: BinaryIO, begin: int, length: int) -> tuple[int, bool]:
    """Return the sum of a plane's bytes, and whether all its 16-bit pixels are the same."""
    total, done, first, same = 0, 0, None, True
    while done < length:
        piece = os.pread(stream.fileno(), min(PIECE, length - done), begin + done)
        if not piece:
            raise HeaderError(f"the file ends within its pixels, after {begin + done} bytes")
        total = add_at(total, data_sum(piece), done)
        if same:
            pixels = np.frombuffer(piece, ">i2", count=len(piece) // 2)
            first = pixels[0] if first is None else first
            same = bool((pixels == first).all())
        done += len(piece)
    return total, same
