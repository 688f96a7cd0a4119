"""Centroids of stars on the full image, at known or predicted places.

The pixels of each star are cut out as a stamp; all stamps are worked on at once. The centroid is
windowed by a Gaussian of the stars' width, as in SExtractor (Bertin, SExtractor manual, "Windowed
positional parameters"), which is nearly as precise as a fit of the profile.
"""

from typing import NamedTuple

import numpy as np

from scripts.lib.solving.image import Image

ITERATIONS = 8
CONVERGED = 1e-3  # pixels
TO_FWHM = 2.3548  # of a Gaussian's sigma


class Centroids(NamedTuple):
    """Stars of a frame where they were measured, arrays of one length."""

    x: np.ndarray  # pixels, counted from 1
    y: np.ndarray
    flux: np.ndarray  # ADU above the background, within the stamp
    error: np.ndarray  # standard error of the centroid along an axis, pixels
    fwhm: np.ndarray  # pixels, from second moments: mean of the axes
    thinnest: np.ndarray  # FWHM along the short axis
    snr: np.ndarray  # signal to noise
    saturated: np.ndarray  # whether a pixel is

    @property
    def xy(self) -> np.ndarray:
        """Places, shape (n, 2)."""
        return np.column_stack([self.x, self.y])

    def taken(self, which: np.ndarray) -> "Centroids":
        """Return some of the stars, by index or mask."""
        return Centroids(*(column[which] for column in self))

    def __len__(self) -> int:
        return len(self.x)


def measure(image: Image, xy: np.ndarray, fwhm: float, reach: float) -> Centroids:
    """Return the stars that stand near given places.

    Parameters
    ----------
    xy : numpy.ndarray
        Places (n, 2), pixels counted from 1. Those whose stamp leaves the image are not measured:
        their SNR is 0.
    fwhm : float
        Width of the stars, pixels.
    reach : float
        A centroid farther from its place than this, in pixels, is none: its SNR is 0.
    """
    if not len(xy):
        none = np.empty(0)
        return Centroids(none, none, none, none, none, none, none, np.empty(0, bool))
    half = int(np.ceil(1.5 * fwhm + reach)) + 2
    columns, rows = image.shape[1], image.shape[0]
    ix, iy = (np.rint(xy[:, i]).astype(int) - 1 for i in (0, 1))
    inside = (ix >= half) & (iy >= half) & (ix < columns - half) & (iy < rows - half)
    grid = np.arange(-half, half + 1)
    cx, cy = np.where(inside, ix, half), np.where(inside, iy, half)
    stamps, good = image.stamps(cx, cy, half)
    edge = np.ones((len(grid), len(grid)), bool)
    edge[2:-2, 2:-2] = False
    border = np.where(good[:, edge], stamps[:, edge], np.nan)
    level = np.nanmedian(border, 1)
    spread = 1.4826 * np.nanmedian(abs(border - level[:, None]), 1)
    level, noise = np.nan_to_num(level), np.nan_to_num(spread, nan=1e9).clip(1e-3)
    peak = stamps.max((1, 2), initial=-np.inf, where=good)
    light = stamps - level[:, None, None]
    dx, dy = xy[:, 0] - 1 - cx, xy[:, 1] - 1 - cy
    sigma = fwhm / TO_FWHM
    start = dx.copy(), dy.copy()
    for _ in range(ITERATIONS):
        wx = np.exp(-((grid - dx[:, None]) ** 2) / (2 * sigma**2))
        wy = np.exp(-((grid - dy[:, None]) ** 2) / (2 * sigma**2))
        weighted = np.einsum("nij,ni->nj", light, wy) * wx, np.einsum("nij,nj->ni", light, wx) * wy
        total = weighted[0].sum(1)
        safe = np.where(total > 0, total, np.inf)
        step = [
            np.clip(2 * (along * (grid - d[:, None])).sum(1) / safe, -2, 2)
            for along, d in zip(weighted, (dx, dy), strict=True)
        ]
        dx, dy = np.clip(dx + step[0], -half, half), np.clip(dy + step[1], -half, half)
        if max(abs(step[0]).max(initial=0), abs(step[1]).max(initial=0)) < CONVERGED:
            break
    # Matched by the window, the signal to noise is that of the fit of a profile of its width.
    norm = np.einsum("nj,nj->n", wx, wx) * np.einsum("ni,ni->n", wy, wy)
    amplitude = total / norm
    snr = total / (noise * np.sqrt(norm))
    x, y = grid - dx[:, None], grid - dy[:, None]
    # Windowed second moments, pixels squared; then along the short and the long axis.
    crossed = np.einsum("nij,ni,nj->n", light, wy * y, wx * x, optimize=True) / safe
    xx, yy = (weighted[0] * x**2).sum(1) / safe, (weighted[1] * y**2).sum(1) / safe
    mean, elongation = (xx + yy) / 2, np.hypot((xx - yy) / 2, crossed)
    narrow, wide = np.maximum(mean - elongation, 1e-3), np.maximum(mean + elongation, 1e-3)
    width, thin = _unwindowed(np.sqrt(narrow * wide), sigma), _unwindowed(narrow, sigma)
    flux = amplitude * 2 * np.pi * sigma**2
    away = np.hypot(dx - start[0], dy - start[1]) > reach
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.hypot(np.clip(width, 1, 12) / TO_FWHM / np.clip(snr, 1e-3, None), 0.02)
    snr = np.where(inside & ~away & (total > 0), snr, 0.0)
    saturated = peak >= image.saturation
    return Centroids(cx + dx + 1, cy + dy + 1, flux, error, width, thin, snr, saturated)


def _unwindowed(moment: np.ndarray, sigma: float) -> np.ndarray:
    """Return the FWHM of a Gaussian whose windowed second moment is given.

    Under a Gaussian window the inverse squares of both widths add up.
    """
    slim = 1 / np.clip(moment, 0.05, 0.98 * sigma**2) - 1 / sigma**2
    return TO_FWHM / np.sqrt(np.maximum(slim, 1e-3))
