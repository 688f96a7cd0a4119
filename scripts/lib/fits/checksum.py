"""FITS checksums: the ones'-complement sums behind DATASUM and CHECKSUM.

FITS Standard 4.0, section 4.4.2.7 and Appendix J.
"""

import numpy as np

from scripts.lib.fits.sums import ALL_ONES, fold

# Bytes that Appendix J excludes from the encoded text: punctuation between digits and letters.
EXCLUDED = frozenset(b":;<=>?@[\\]^_`")


def data_sum(data: bytes | bytearray | memoryview) -> int:
    """Return the 32-bit ones'-complement sum of big-endian words.

    Parameters
    ----------
    data : bytes-like
        Any length; missing bytes of the last word count as zero.
    """
    view = memoryview(data)
    whole = len(view) // 4 * 4
    total = int(np.frombuffer(view[:whole], ">u4").sum(dtype=np.uint64))
    tail = bytes(view[whole:]).ljust(4, b"\0")
    return fold(total + int.from_bytes(tail, "big"))


def encode(total: int) -> str:
    """Return the 16 characters of CHECKSUM that make an HDU with sum ``total`` add up to -0.

    Raises
    ------
    ValueError
        If ``total`` is not a 32-bit number.
    """
    if not 0 <= total <= ALL_ONES:
        raise ValueError(f"not a 32-bit sum: {total}")
    columns = [_four_characters(byte) for byte in (ALL_ONES - total).to_bytes(4, "big")]
    text = "".join(chr(columns[byte][i]) for i in range(4) for byte in range(4))
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
