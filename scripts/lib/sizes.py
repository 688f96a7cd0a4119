"""Sizes of the data behind a header (FITS Standard 4.0, section 4.4.1)."""

from scripts.lib.cards import Header, padded


def data_size(header: Header) -> int:
    """Return the bytes of data, without padding, that follow a header."""
    axes = [header.value(f"NAXIS{i}") for i in range(1, header.value("NAXIS") + 1)]
    if not axes:
        return 0
    pixels = 1
    for axis in axes:
        pixels *= axis
    return abs(header.value("BITPIX")) // 8 * (pixels + (header.value("PCOUNT") or 0))


def padding(size: int) -> bytes:
    """Return the zeros that fill ``size`` bytes of data up to whole blocks."""
    return bytes(padded(size) - size)
