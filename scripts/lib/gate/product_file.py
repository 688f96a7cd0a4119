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
from scripts.lib.fits.cards import Header, HeaderError, Value, as_number
from scripts.lib.fits.checksum import add_at, data_sum, fold
from scripts.lib.fits.hdu import Hdu, iter_hdus
from scripts.lib.fits.reserved import Reserved, read_reserved
from scripts.lib.frames import names
from scripts.lib.frames.instruments import Kind, read_kinds
from scripts.lib.frames.names import METADATA
from scripts.lib.nights.times import parse_date, time_of_mjd
from scripts.lib.settings.records import Camera
from scripts.lib.settings.telescopes import Telescope, read_telescopes

TABLES = Path(__file__).parents[3] / "config"
# Words of the column ``on`` of the table of checks.
TRAITS = set("frame cube file science bias dark flat calibration sky pixel icrs".split())
WCS = re.compile(
    r"WCSAXES|C(TYPE|UNIT|RPIX|RVAL|DELT|ROTA|RDER)\d|(CD|PC)\d_\d|LONPOLE|LATPOLE|[AB]P?_.*"
)


class Context(NamedTuple):
    """What products are judged against; None and empty where nothing is known."""

    telescopes: dict[str, Telescope]  # by name
    kinds: dict[str, Kind]  # by name
    reserved: Reserved
    telescope: Telescope | None = None  # whose products these are
    camera: Camera | None = None
    programmes: tuple[str, ...] = ()  # ids that they may have
    bounds: tuple[datetime, datetime] | None = None  # of the night
    headers: Mapping[str, Header] = {}  # of a cube's frames, by ESO's name without its ending


def context_of(
    telescope: str = "",
    camera: Camera | None = None,
    bounds: tuple[datetime, datetime] | None = None,
    headers: Mapping[str, Header] | None = None,
    programmes: tuple[str, ...] = (),
) -> Context:
    """Return what products of a telescope are judged against: see `Context`."""
    telescopes = read_telescopes(TABLES / "telescopes.csv")
    return Context(
        telescopes,
        read_kinds(TABLES / "kinds.csv"),
        read_reserved(TABLES / "reserved.csv"),
        telescopes[telescope] if telescope else None,
        camera,
        programmes,
        bounds,
        headers or {},
    )


@dataclass(frozen=True, slots=True)
class SummedHdu(Hdu):
    """An HDU with its header as bytes, and the sum of its data."""

    head: bytes
    sum: int


@dataclass
class ProductFile:
    """A product's file, or a finished header that still waits for its pixels."""

    name: str  # of the file
    header: Header  # the primary one
    context: Context
    hdus: list[SummedHdu] = field(default_factory=list)  # empty for a header alone
    size: int = 0  # bytes
    constant: list[int] = field(default_factory=list)  # planes of which all pixels are the same
    table: bytes = b""  # data of METADATA
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def value(self, keyword: str) -> Value:
        """Return a value of the primary header, None if there is none.

        This and all that follow raise `HeaderError` if a card or METADATA cannot be read, or a
        value is missing or of another type.
        """
        return self.header.value(keyword)

    def required(self, keyword: str) -> bool | int | float | str:
        """Return a value of the primary header that must be there."""
        value = self.value(keyword)
        if value is None:
            raise HeaderError(f"no {keyword}")
        return value

    def number(self, keyword: str, default: float | None = None) -> float:
        """Return a number of the primary header, or the default if there is none."""
        if default is not None and self.value(keyword) is None:
            return default
        return as_number(self.required(keyword), keyword)

    def text(self, keyword: str) -> str:
        """Return a text of the primary header."""
        value = self.required(keyword)
        if not isinstance(value, str):
            raise HeaderError(f"{keyword} is {value!r}, not a text")
        return value

    def column(self, name: str) -> list[Value]:
        """Return a column of METADATA."""
        if name not in self.columns:
            raise HeaderError(f"no column {name} in {METADATA}")
        return self.columns[name]

    def numbers(self, name: str) -> list[float]:
        """Return a column of METADATA that must be of numbers."""
        return [as_number(value, f"{name} of {METADATA}") for value in self.column(name)]

    def texts(self, name: str) -> list[str]:
        """Return a column of METADATA that must be of texts."""
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
        """DATE-OBS."""
        return parse_date(self.text("DATE-OBS"))

    @cached_property
    def end(self) -> datetime:
        """DATE-END."""
        return parse_date(self.text("DATE-END"))

    @cached_property
    def name_parts(self) -> re.Match[str] | None:
        """The parts of the name: beginning, start, of cubes the sequence; None in another form."""
        return (names.CUBE if self.is_cube else names.FRAME).fullmatch(self.name)

    @cached_property
    def is_cube(self) -> bool:
        """Whether it is a cube: by its extension, otherwise by its name or its axes."""
        if self.metadata is not None or names.FRAME.fullmatch(self.name):
            return self.metadata is not None
        return bool(names.CUBE.fullmatch(self.name)) or self._or_none("NAXIS") == 3

    @cached_property
    def metadata(self) -> SummedHdu | None:
        """The extension METADATA."""
        found = (hdu for hdu in self.hdus[1:] if hdu.header.value("EXTNAME") == METADATA)
        return next(found, None)

    @cached_property
    def columns(self) -> dict[str, list[Value]]:
        """The columns of METADATA by name, none without it."""
        return table_columns(self.metadata.header, self.table) if self.metadata else {}

    @cached_property
    def kind(self) -> Kind | None:
        """The kind that IMAGETYP names."""
        found = str(self._or_none("IMAGETYP")).lower()
        return next((k for k in self.context.kinds.values() if found in k.words), None)

    @cached_property
    def traits(self) -> set[str]:
        """The words of the table's column ``on`` that hold."""
        ctype, kind = str(self._or_none("CTYPE1")), self.kind.name if self.kind else ""
        holds = {
            "cube": self.is_cube,
            "frame": not self.is_cube,
            "file": bool(self.hdus),
            "calibration": kind not in ("", "science"),
            "sky": ctype.startswith("RA--"),
            "pixel": ctype == "PIXEL",
            "icrs": self._or_none("RADESYS") == "ICRS",
        }
        return {word for word, is_so in holds.items() if is_so} | {kind}

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
    """Return ESO's name of a product; raise `HeaderError` if it is of none of our telescopes."""
    if product.telescope is None:
        raise HeaderError(f"TELESCOP {product.value('TELESCOP')!r} is not one of our telescopes")
    return names.dp_id(product.telescope, time_of_mjd(product.number("MJD-OBS")))


def read_product_file(path: Path, context: Context, pixel_sum: int | None = None) -> ProductFile:
    """Return a product's file; raise `HeaderError` if it is not FITS.

    Pixels are read only if ``pixel_sum``, the sum of the primary HDU's data, is not known.
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
    header = hdu.header
    planes = (header.whole("NAXIS3") or 1) if header.whole("NAXIS") == 3 else 1
    size = hdu.data_size // planes
    total = 0
    constant = []
    for place in range(planes if size else 0):
        begin = hdu.data_begin + place * size
        plane = os.pread(stream.fileno(), size, begin)
        if len(plane) < size:
            raise HeaderError(f"the file ends within its pixels, after {begin + len(plane)} bytes")
        total = add_at(total, data_sum(plane), place * size)
        pixels = np.frombuffer(plane, ">i2", count=size // 2)
        if (pixels == pixels[:1]).all():
            constant.append(place)
    done = hdu.data_begin + planes * size
    rest = os.pread(stream.fileno(), hdu.end - done, done)
    return fold(total + data_sum(rest)), constant
