"""Products as the raw frames that they hold: one plane of a frame, one or more of a cube.

What a plane is known by does not depend on who wrote the product: start of exposure to the
millisecond, and a digest of the bytes of its pixels. Files are read in pieces.
"""

import hashlib
import math
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

from scripts.lib.files.errors import Damaged
from scripts.lib.fits.bintable import read_table_hdu
from scripts.lib.fits.cards import Header, HeaderError, Value
from scripts.lib.fits.checksum import add_at, data_sum
from scripts.lib.fits.hdu import BLOCK, Hdu, iter_hdus
from scripts.lib.frames.names import METADATA
from scripts.lib.nights.times import iso, parse_date

PIECE = 1 << 22  # bytes read at a time


class Plane(NamedTuple):
    """A raw frame in a product.

    ``start`` is DATE-OBS to the millisecond, empty where it cannot be read. ``row`` is the plane's
    row of METADATA, empty for a frame.
    """

    product: str
    number: int
    instrume: str
    start: str
    digest: bytes
    constant: bool
    row: dict[str, Value]

    def __str__(self) -> str:
        return f"{self.product}, plane {self.number}" if self.row else self.product


class ComparedProduct(NamedTuple):
    """A product: its primary header, the header of METADATA if it is a cube, its planes.

    ``wrong_sum`` says why its pixels are not those of which DATASUM is the sum; empty if they are.
    """

    name: str
    header: Header
    table: Header | None
    planes: list[Plane]
    wrong_sum: str

    def values(self, keyword: str) -> list[Value]:
        """Return a keyword's value for each plane: of its row, else of the header."""
        return [plane_value(self, plane, keyword) for plane in self.planes]


def plane_value(product: ComparedProduct, plane: Plane, keyword: str) -> Value:
    """Return what a product says of one of its planes; None where it says nothing."""
    if keyword in plane.row:
        return present(plane.row[keyword])
    return value_of(product.header, keyword)


def value_of(header: Header, keyword: str) -> Value:
    """Return a value of a header; the card's text where it is not well formed."""
    try:
        return present(header.value(keyword))
    except HeaderError as error:
        return str(error)


def present(value: Value) -> Value:
    """Return a value, None in place of an empty text or of no number."""
    if value == "" or (isinstance(value, float) and math.isnan(value)):
        return None
    return value


def start_of(header: Header) -> datetime | None:
    """Return DATE-OBS of a header to the millisecond, None where it cannot be read."""
    return _parsed(value_of(header, "DATE-OBS"))


def _parsed(value: Value) -> datetime | None:
    try:
        return parse_date(str(value))
    except ValueError:
        return None


def read_product(path: Path) -> ComparedProduct:
    """Return a product; all its pixels are read.

    Raises
    ------
    Damaged
        If it is not whole, cannot be read, or is gone.
    """
    try:
        with open(path, "rb") as stream:
            primary = next(iter_hdus(stream), None)
            if primary is None:
                raise Damaged("the file is empty")
            header, size = primary.header, primary.data_size
            count = _plane_count(primary)
            total, pixels = 0, []
            for number in range(count):
                digest, part, constant = _read_plane(stream, size // count)
                total = add_at(total, part, number * (size // count))
                pixels.append((digest, constant))
        length = path.stat().st_size
        if length < primary.end or length % BLOCK:
            raise Damaged("the file ends within its last block")
        table: Header | None = None
        rows: list[dict[str, Value]] = [{}]
        if count > 1 or length > primary.end:
            table, rows = read_table_hdu(path)
            if table.value("EXTNAME") != METADATA or len(rows) != count:
                raise Damaged(f"{count} planes, but {len(rows)} rows of {table.value('EXTNAME')}")
    except (OSError, ValueError, TypeError) as error:
        raise Damaged(str(error)) from error
    product = ComparedProduct(path.name, header, table, [], _wrong_sum(header, total))
    for number, ((digest, constant), row) in enumerate(zip(pixels, rows, strict=True), 1):
        plane = Plane(path.name, number, str(header.value("INSTRUME")), "", digest, constant, row)
        start = _parsed(plane_value(product, plane, "DATE-OBS"))
        product.planes.append(plane._replace(start=iso(start) if start else ""))
    return product


def _plane_count(primary: Hdu) -> int:
    axes = primary.header.value("NAXIS")
    count = primary.header.whole("NAXIS3") if axes == 3 else 1
    if axes not in (2, 3) or not count or not primary.data_size:
        raise Damaged(f"no image: NAXIS is {axes}, {primary.data_size} bytes of data")
    return count


def _wrong_sum(header: Header, total: int) -> str:
    stated = value_of(header, "DATASUM")
    if stated is None or str(stated).strip() == str(total):
        return ""
    return f"DATASUM is {stated}, that of the pixels {total}"


def _read_plane(stream: BinaryIO, size: int) -> tuple[bytes, int, bool]:
    """Return digest and sum of the next ``size`` bytes, and whether all pixels are alike."""
    digest, total, done = hashlib.sha256(), 0, 0
    first, constant = b"", True
    while done < size:
        piece = stream.read(min(PIECE, size - done))
        if not piece:
            raise Damaged(f"the file ends {size - done} bytes before a plane's end")
        digest.update(piece)
        total = add_at(total, data_sum(piece), done)
        if constant:
            first = first or piece[:2]
            constant = piece == (first * (len(piece) // 2 + 1))[: len(piece)]
        done += len(piece)
    return digest.digest(), total, constant
