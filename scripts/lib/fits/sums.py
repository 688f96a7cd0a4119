"""Sums of FITS data, added up: DATASUM is a ones'-complement sum (FITS Standard 4.0, Appendix J).

A sum does not depend on how the data are cut into pieces, so that of a cube is the sum of its
planes': this is what lets the workflow prove that every pixel of every raw frame is in a product
without reading a pixel twice.
"""

ALL_ONES = 0xFFFFFFFF


def fold(total: int) -> int:
    """Return ``total`` as a 32-bit ones'-complement number (end-around carry)."""
    while total >> 32:
        total = (total & ALL_ONES) + (total >> 32)
    return total


def less(total: int, part: int) -> int:
    """Return the sum that ``part`` was added to."""
    return fold(total + (part ^ ALL_ONES))


def add_at(total: int, part: int, offset: int) -> int:
    """Return ``total`` plus the sum of a piece that starts ``offset`` bytes into the data.

    A piece that starts in the middle of a word (a plane with an odd number of pixels before it)
    counts with its halves exchanged.
    """
    shift = 8 * (offset % 4)
    turned = ((part >> shift) | (part << (32 - shift))) & ALL_ONES
    return fold(total + turned)
