"""Two images of the same stars on one frame: the telescope moved during the exposure.

Or a detector remembers the frame before. The images differ by one shift for all stars.
"""

from typing import NamedTuple

import numpy as np

from scripts.lib.solving.detection import Centroids, Found
from scripts.lib.solving.image import Image

SECOND_LIGHT = 0.5  # of the first image: with more, neither place is right
SHARE = 0.5  # of the stars must have a second image
FEWEST = 4  # stars
NEAREST = 3.0  # widths of the stars: nearer ones are parts of one image
COMPARED = 40  # brightest stars that matched
AROUND = 64  # pixels around stars that were not searched
STACKED = 15  # of these stars


class SecondImage(NamedTuple):
    """A second image of the stars."""

    move: tuple[float, float]  # from the first, pixels
    light: float  # as a share of the first


def second_image(found: Found, matched: Centroids) -> SecondImage | None:
    """Return the second image of the stars that matched, among those found that did not."""
    stars = found.stars
    same = np.isin(stars.x, matched.x) & np.isin(stars.y, matched.y)
    first, other = stars.taken(np.flatnonzero(same)[:COMPARED]), stars.taken(~same)
    fewest = max(FEWEST, SHARE * len(first))
    if len(other) < fewest:
        return None
    move = (other.xy[:, None] - first.xy[None, :]).reshape(-1, 2)
    ratio = (other.flux[:, None] / first.flux[None, :]).ravel()
    side = max(3.0, found.fwhm)
    far = np.hypot(*move.T) > NEAREST * found.fwhm
    move, ratio = move[far], ratio[far]
    cells, inverse, counts = np.unique(
        np.floor(move / side).astype(int), axis=0, return_inverse=True, return_counts=True
    )
    if not len(cells) or counts.max() < fewest / 2:
        return None
    middle = np.median(move[inverse.ravel() == counts.argmax()], axis=0)
    agree = np.hypot(*(move - middle).T) < side
    if agree.sum() < fewest:
        return None
    return SecondImage((float(middle[0]), float(middle[1])), float(np.median(ratio[agree])))


def has_second_image(image: Image, stars: Centroids) -> bool:
    """Return whether stars (brightest first) have a second image, each at the same distance."""
    half = AROUND
    ix, iy = (np.rint(place).astype(int) - 1 for place in (stars.x, stars.y))
    rows, columns = image.shape
    inside = (ix >= half) & (iy >= half) & (ix < columns - half) & (iy < rows - half)
    chosen = np.flatnonzero(inside & ~stars.saturated)[:STACKED]
    if len(chosen) < FEWEST:
        return False
    stamps, _ = image.stamps(ix[chosen], iy[chosen], half)
    light = stamps - np.median(stamps, axis=(1, 2), keepdims=True)
    # In squares of 2 pixels: a star's own neighbours are others for each, so the median has none.
    pairs = light[:, 1:, 1:].reshape(len(chosen), half, 2, half, 2).sum((2, 4))
    stack = np.median(pairs / stars.flux[chosen, None, None], axis=0)
    grid = 2 * np.arange(half) - half + 0.5
    away = np.hypot(grid[:, None], grid[None, :]) > NEAREST * np.median(stars.fwhm)
    noise = 1.4826 * np.median(abs(stack[away] - np.median(stack[away])))
    return bool(stack[away].max() > max(SECOND_LIGHT / 2 * stack[~away].max(), 6 * noise))
