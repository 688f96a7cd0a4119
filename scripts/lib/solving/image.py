"""A raw frame as an image to find stars on: stamps at full resolution, and a binned picture.

Only finding and centring sees dark-subtracted, despiked pixels; products keep the raw ones.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from scripts.lib.solving.unreadable import check_size

OFFSET = 32768  # BZERO: pixels are stored signed
SATURATION = 65_000  # ADU
BAD_PIXEL = 7.0  # robust standard deviations of the pattern


class Dark(NamedTuple):
    """The fixed pattern of a camera at one exposure time, arrays of shape (rows, columns)."""

    pattern: np.ndarray  # ADU above the median, float32
    good: np.ndarray  # False where a pixel is hot or dead


class Image:
    """Pixels of a raw frame; read only where and when they are needed.

    Parameters
    ----------
    stored : numpy.ndarray
        Pixels of the file: big-endian signed 16-bit, shape (rows, columns).
    exptime : float
        Seconds.
    pedestal : float
        Level of a frame without light, ADU; NaN if unknown.
    saturation : float
        Level from which on a pixel is saturated, ADU.
    """

    def __init__(
        self,
        stored: np.ndarray,
        dark: Dark | None = None,
        exptime: float = 1.0,
        pedestal: float = math.nan,
        saturation: float = SATURATION,
    ):
        self.stored, self.dark = stored, dark
        self.exptime, self.pedestal, self.saturation = exptime, pedestal, saturation
        rows, columns = stored.shape
        self.shape: tuple[int, int] = (rows, columns)

    def stamps(self, x: np.ndarray, y: np.ndarray, half: int) -> tuple[np.ndarray, np.ndarray]:
        """Return squares of pixels, and which of them are good; bad ones are interpolated.

        Around central pixels of the indices ``x, y`` (n,): shape (n, side, side), float32 and
        bool, of 2 half + 1 pixels a side.
        """
        side = 2 * half + 1

        def cut(image: np.ndarray) -> np.ndarray:
            # Whole squares are copied, which is faster than pixel after pixel.
            return sliding_window_view(image, (side, side))[y - half, x - half]

        pixels = cut(self.stored).astype(np.float32)
        if self.dark is None:
            return pixels, np.ones(pixels.shape, bool)
        good = cut(self.dark.good)
        return _interpolated(pixels - cut(self.dark.pattern), good), good

    def sky(self, background: float) -> float:
        """Return the light of the sky, ADU/s, given the background (ADU)."""
        return (background - self.pedestal) / self.exptime if self.exptime else math.nan

    def level(self) -> float:
        """Return the background, ADU: the median of a sample."""
        return float(np.median(self.stored[8::16, 8::16])) + OFFSET

    def binned(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the means of 2x2 pixels, and the largest excess of one over the other three.

        Bad pixels take the place of the mean of their good neighbours in the square; a square
        without any is as dark as the image's median. An odd last row or column is left out.
        """
        rows, columns = (n // 2 * 2 for n in self.shape)
        pixels = self.stored[:rows, :columns].astype(np.float32)
        if self.dark is not None:
            pixels -= self.dark.pattern[:rows, :columns]
            good = self.dark.good[:rows, :columns]
            weight = _sum_of_2x2(good.astype(np.float32))
            total = _sum_of_2x2(np.where(good, pixels, 0))
            mean = np.where(weight > 0, total / np.maximum(weight, 1), np.median(pixels[::8, ::8]))
            pixels = np.where(good, pixels, np.repeat(np.repeat(mean, 2, 0), 2, 1))
        a, b, c, d = _quarters(pixels)
        total = _sum_of_2x2(pixels)
        highest = np.maximum(np.maximum(a, b), np.maximum(c, d))
        others = (total - highest) / 3
        return total / 4, highest - others


def _interpolated(stamps: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Return stamps whose bad pixels are the mean of their good neighbours.

    Those of a pixel at the border are at the opposite one, too.
    """
    bad = np.nonzero(~good)
    number, row, column = bad
    rows, columns = stamps.shape[1:]
    weight, total = (np.zeros(len(number), np.float32) for _ in range(2))
    for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        near = number, (row + down) % rows, (column + right) % columns
        weight += good[near]
        total += np.where(good[near], stamps[near], 0)
    mended = stamps.copy()
    mended[bad] = total / np.maximum(weight, 1)
    return mended


def _quarters(pixels: np.ndarray) -> list[np.ndarray]:
    return [pixels[i::2, j::2] for i in (0, 1) for j in (0, 1)]


def _sum_of_2x2(pixels: np.ndarray) -> np.ndarray:
    a, b, c, d = _quarters(pixels)
    return (a + b) + (c + d)


def map_pixels(path: Path, begin: int, shape: tuple[int, int]) -> np.ndarray:
    """Return the stored pixels of a raw frame, mapped, not yet read.

    They begin at that byte, in so many rows and columns. Raises OSError or `Damaged` if there is
    no such file, or it is truncated.
    """
    check_size(path.stat().st_size, begin + 2 * shape[0] * shape[1])
    return np.memmap(path, ">i2", "r", begin, shape)


def make_dark(images: list[np.ndarray], factor: float = 1.0) -> Dark:
    """Return the fixed pattern that dark frames have in common.

    The mean of all but the highest and the lowest value of each pixel, so that a cosmic ray in
    one frame does not count; of one or two frames the lowest. ``images`` are stored pixels,
    ``factor`` is the exposure time of the frames to be corrected over that of the dark ones.
    """
    first = images[0].astype(np.float32)
    total, lowest, highest = first.copy(), first.copy(), first.copy()
    for image in images[1:]:
        pixels = image.astype(np.float32)
        total += pixels
        np.minimum(lowest, pixels, out=lowest)
        np.maximum(highest, pixels, out=highest)
    count = len(images)
    mean = (total - lowest - highest) / (count - 2) if count > 2 else lowest
    sample = mean[::4, ::4]
    median = np.median(sample)
    spread = 1.4826 * np.median(abs(sample - median))
    pattern = mean - median
    good = abs(pattern) < BAD_PIXEL * max(spread, 1.0)
    return Dark(pattern * np.float32(factor), good)
