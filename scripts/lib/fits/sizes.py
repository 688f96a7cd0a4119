"""Sizes of the data behind a header (FITS Standard 4.0, section 4.4.1)."""

import math

from scripts.lib.fits.cards import Header, HeaderError, padded

MOST_AXES = 999


def data_size(header: Header) -> int:
    """Return the bytes of data, without padding, that follow a header.

    Raises
    ------
    HeaderError
        If it does not say how many.
    """
    count = _whole(header, "NAXIS")
    if count > MOST_AXES:
        raise HeaderError(f"NAXIS is {count}, more than {MOST_AXES}")
    lengths = [_whole(header, f"NAXIS{i}") for i in range(1, count + 1)]
    if not lengths:
        return 0
    bits = header.whole("BITPIX")
    if bits not in (8, 16, 32, 64, -32, -64):
        raise HeaderError(f"BITPIX is {bits}, not a number of bits that FITS knows")
    heap = 0 if header.value("PCOUNT") is None else header.whole("PCOUNT")
    return abs(bits) // 8 * (math.prod(lengths) + heap)


def _whole(header: Header, keyword: str) -> int:
    value = header.whole(keyword)
    if value < 0:
        raise HeaderError(f"{keyword} is {value}, not a number of pixels")
    return value


def padding(size: int) -> bytes:
    """Return the zeros that fill ``size`` bytes of data up to whole blocks."""
    return bytes(padded(size) - size)
