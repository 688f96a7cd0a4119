"""Header-data units of FITS files as bytes: walked, and written (FITS Standard 4.0)."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from scripts.lib.fits.cards import CARD, END, Header, HeaderError, card, quoted
from scripts.lib.fits.checksum import data_sum, encode_checksum, fold

BLOCK = 2880
MOST_BLOCKS = 1000
LARGEST_HEADER = MOST_BLOCKS * BLOCK
MOST_AXES = 999
BITPIX = (8, 16, 32, 64, -32, -64)

# Cards that say how an HDU is stored. Whoever writes the HDU writes them; nobody else's are kept.
STRUCTURE = frozenset(
    "SIMPLE XTENSION BITPIX NAXIS NAXIS1 NAXIS2 NAXIS3 PCOUNT GCOUNT EXTEND BZERO BSCALE EXTNAME "
    "CHECKSUM DATASUM END".split()
)
AXES = {1: "columns", 2: "rows", 3: "frames, in time order"}


@dataclass(frozen=True, slots=True)
class Hdu:
    """One HDU of a file: its header, and where it and its data begin. All in bytes."""

    header: Header
    begin: int
    data_begin: int
    data_size: int  # without the fill of the last block

    @property
    def end(self) -> int:
        """Where the next HDU begins."""
        return self.data_begin + padded(self.data_size)


def iter_hdus(stream: BinaryIO) -> Iterator[Hdu]:
    """Yield the HDUs of a file from its beginning; each header is read when needed.

    The stream then stands at the data, and may be moved. The data of the last HDU may be cut
    short: only the caller knows whether they matter. A header that is not one of FITS, or does
    not say how many data follow, raises `HeaderError`.
    """
    size, end = stream.seek(0, os.SEEK_END), 0
    while end < size:
        stream.seek(end)
        header = read_header(stream)
        hdu = Hdu(header, end, stream.tell(), data_size(header))
        yield hdu
        end = hdu.end


def read_primary_header(path: Path) -> Header:
    """Return the primary header of a file; see `read_header`."""
    with open(path, "rb") as stream:
        return read_header(stream)


def read_header(stream: BinaryIO) -> Header:
    """Return the header that begins at the stream's position; leave the stream behind it.

    Raises `HeaderError` if there is none, or none that ends.
    """
    images: list[bytes] = []
    while True:
        block = stream.read(BLOCK)
        if len(block) < BLOCK:
            raise HeaderError("the file ends within its header")
        cards = [block[i : i + CARD] for i in range(0, BLOCK, CARD)]
        if not images and not cards[0].startswith((b"SIMPLE  =", b"XTENSION=")):
            raise HeaderError("not a FITS file: it does not begin with SIMPLE")
        if END in cards:
            return Header(images + cards[: cards.index(END)])
        images += cards
        if len(images) > MOST_BLOCKS * len(cards):
            raise HeaderError(f"no END in the first {MOST_BLOCKS} blocks of the header")


def header_size(data: bytes | bytearray | memoryview) -> int | None:
    """Return how many bytes the header at the beginning of ``data`` takes; None without one."""
    view = memoryview(data)
    if bytes(view[:9]) != b"SIMPLE  =":
        return None
    for place in range(0, len(view) // BLOCK * BLOCK, CARD):
        if view[place : place + CARD] == END:
            return padded(place + CARD)
    return None


def data_size(header: Header) -> int:
    """Return the bytes of data, without padding, that follow a header (section 4.4.1).

    Raises `HeaderError` if it does not say how many.
    """

    def axis(keyword: str) -> int:
        if (value := header.whole(keyword)) < 0:
            raise HeaderError(f"{keyword} is {value}, not a number of pixels")
        return value

    if (count := axis("NAXIS")) > MOST_AXES:
        raise HeaderError(f"NAXIS is {count}, more than {MOST_AXES}")
    lengths = [axis(f"NAXIS{i}") for i in range(1, count + 1)]
    if not lengths:
        return 0
    bits = header.whole("BITPIX")
    if bits not in BITPIX:
        raise HeaderError(f"BITPIX is {bits}, not a number of bits that FITS knows")
    heap = 0 if header.value("PCOUNT") is None else header.whole("PCOUNT")
    return abs(bits) // 8 * (math.prod(lengths) + heap)


def padded(size: int) -> int:
    """Return ``size`` (bytes) rounded up to whole FITS blocks."""
    return -(-size // BLOCK) * BLOCK


def padding(size: int) -> bytes:
    """Return the zeros that fill ``size`` bytes of data up to whole blocks."""
    return bytes(padded(size) - size)


def image_structure(shape: tuple[int, ...], extended: bool) -> list[bytes]:
    """Return the structural cards of a primary image of unsigned 16-bit pixels.

    ``shape`` is NAXIS1, NAXIS2, …; extensions may follow if it is ``extended``.
    """
    return [
        card("SIMPLE", "T", "conforms to FITS standard"),
        card("BITPIX", "16", "stored as signed, see BZERO"),
        card("NAXIS", str(len(shape)), "number of axes"),
        *(card(f"NAXIS{i}", str(n), AXES[i]) for i, n in enumerate(shape, 1)),
        *([card("EXTEND", "T", "extensions follow")] if extended else []),
        card("BZERO", "32768", "pixels are unsigned"),
        card("BSCALE", "1", "pixels are not scaled"),
    ]


def empty_structure(extname: str = "") -> list[bytes]:
    """Return the structural cards of an HDU without data: primary, or a named extension."""
    none = [card("BITPIX", "16", "no data"), card("NAXIS", "0", "no data")]
    if not extname:
        first = card("SIMPLE", "T", "conforms to FITS standard")
        return [first, *none, card("EXTEND", "T", "extensions follow")]
    return [
        card("XTENSION", quoted("IMAGE"), "header of a frame"),
        *none,
        card("PCOUNT", "0"),
        card("GCOUNT", "1"),
        card("EXTNAME", quoted(extname), "name of the frame"),
    ]


def header_bytes(images: list[bytes]) -> bytes:
    """Return a whole header: cards, END, blanks up to a multiple of 2880 bytes."""
    content = b"".join(images) + END
    return content.ljust(padded(len(content)), b" ")


def with_checksums(images: list[bytes], total: int) -> bytes:
    """Return a whole header of these cards, DATASUM and CHECKSUM.

    ``total`` is the sum of the data, see `data_sum`.
    """
    datasum = card("DATASUM", quoted(str(total)), "ones-complement sum of the data")
    empty = card("CHECKSUM", quoted("0" * 16), "ones-complement sum of this HDU")
    header = header_bytes([*images, datasum, empty])
    checksum = encode_checksum(fold(data_sum(header) + total)).encode()
    return header.replace(empty, empty.replace(b"0" * 16, checksum))
