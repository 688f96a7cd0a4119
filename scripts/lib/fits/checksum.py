"""Ones'-complement sums, and the DATASUM and CHECKSUM made of them.

FITS Standard 4.0, section 4.4.2.7 and Appendix J. A sum does not depend on how the data are cut
into pieces, so that of a cube is the sum of its planes': this is what lets the workflow prove that
every pixel of every raw frame is in a product without reading a pixel twice.
"""

import numpy as np

ALL_ONES = 0xFFFFFFFF
# Bytes that Appendix J excludes from the encoded text: punctuation between digits and letters.
EXCLUDED = frozenset(b":;<=>?@[\\]^_`")


def data_sum(data: bytes | bytearray | memoryview) -> int:
    """Return the 32-bit ones'-complement sum of big-endian words.

    Missing bytes of the last word count as zero.
    """
    view = memoryview(data)
    whole = len(view) // 4 * 4
    total = int(np.frombuffer(view[:whole], ">u4").sum(dtype=np.uint64))
    tail = bytes(view[whole:]).ljust(4, b"\0")
    return fold(total + int.from_bytes(tail, "big"))


def fold(total: int) -> int:
    """Return ``total`` as a 32-bit ones'-complement number (end-around carry)."""
    while total >> 32:
        total = (total & ALL_ONES) + (total >> 32)
    return total


def add_at(total: int, part: int, offset: int) -> int:
    """Return ``total`` plus the sum of a piece that starts ``offset`` bytes into the data.

    A piece that starts in the middle of a word (a plane with an odd number of pixels before it)
    counts with its halves exchanged.
    """
    shift = 8 * (offset % 4)
    turned = ((part >> shift) | (part << (32 - shift))) & ALL_ONES
    return fold(total + turned)


def subtract_at(total: int, part: int, offset: int) -> int:
    """Return the sum to which `add_at` added a piece."""
    return fold(total + (add_at(0, part, offset) ^ ALL_ONES))


def encode_checksum(total: int) -> str:
    """Return the 16 characters of CHECKSUM that make an HDU with sum ``total`` add up to -0."""
    columns = [_four_characters(byte) for byte in (ALL_ONES - total).to_bytes(4, "big")]
    text = "".join(chr(column[i]) for i in range(4) for column in columns)
    return text[-1] + text[:-1]


def _four_characters(byte: int) -> list[int]:
    """Return four allowed ASCII codes that add up to ``byte`` above four ASCII zeros."""
    quotient, remainder = divmod(byte, 4)
    codes = [quotient + ord("0") + remainder] + [quotient + ord("0")] * 3
    for first in (0, 2):
        while EXCLUDED.intersection(codes[first : first + 2]):
            codes[first] += 1
            codes[first + 1] -= 1
    return codes
