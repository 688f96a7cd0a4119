"""Finding the stars of a frame: on a picture binned 2x2, centred on the full image.

Binning halves the work four times over and loses nothing: stars are 3 pixels wide or more.

To centre them, the pixels of each star are cut out as a stamp; all stamps are worked on together.
The centroid is windowed by a Gaussian of the stars' width, as in SExtractor (Bertin, SExtractor
manual, "Windowed positional parameters"), which is nearly as precise as a fit of the profile.
"""

import math
from typing import NamedTuple

import numpy as np
import sep

from scripts.lib.solving.image import OFFSET, Image

THRESHOLD = 2.5  # of the filtered picture's noise
MIN_AREA = 4  # binned pixels
MESH = 32  # binned pixels: squares of the background
SPIKE = 6.0  # standard deviations of one pixel over the other three of its square …
SPIKE_SHARE = 4.0  # … and times as far above the background as they
MOST = 150  # stars that are centred, brightest first
SMALLEST_SNR = 5.0
NARROWEST = 1.9  # pixels, FWHM across: thinner things are hot pixels and cosmic rays
SLIM = 0.15  # axis ratio of tracks and columns, which are not stars
FILTER = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32)
WINDOWS = (2.5, 14.0)  # pixels, FWHM: the narrowest and the widest in which stars are measured
ITERATIONS = 8
CONVERGED = 1e-3  # pixels
TO_FWHM = 2.3548  # of a Gaussian's sigma


class Centroids(NamedTuple):
    """Stars of a frame where they were measured, arrays of one length."""

    x: np.ndarray  # pixels, counted from 1
    y: np.ndarray
    error: np.ndarray  # standard error of the centroid along an axis, pixels
    fwhm: np.ndarray  # pixels, from second moments: mean of the axes
    thinnest: np.ndarray  # FWHM along the short axis
    snr: np.ndarray  # signal to noise
    saturated: np.ndarray  # whether a pixel is
    flux: np.ndarray  # ADU, of a Gaussian of the measured width
    ellipticity: np.ndarray  # 1 - short axis / long axis

    @property
    def xy(self) -> np.ndarray:
        """Places, shape (n, 2)."""
        return np.column_stack([self.x, self.y])

    def taken(self, which: np.ndarray) -> "Centroids":
        """Return some of the stars, by index or mask."""
        return Centroids(*(column[which] for column in self))

    def __len__(self) -> int:
        return len(self.x)


class Found(NamedTuple):
    """Stars of a frame, brightest first, and what the sky is like."""

    stars: Centroids
    background: float  # ADU
    sky: float  # ADU/s
    fwhm: float  # median of the stars, pixels; NaN without stars


def detect(image: Image) -> Found:
    """Return the stars of an image."""
    mean, excess = image.binned()
    background = sep.Background(mean, bw=MESH, bh=MESH, fw=3, fh=3)
    background.subfrom(mean)
    noise = background.globalrms
    others = mean - excess / 4  # mean of the other three pixels, above the background
    spikes = (excess > SPIKE * 2 * noise) & (others + excess > SPIKE_SHARE * np.maximum(others, 0))
    np.copyto(mean, others, where=spikes)
    sep.set_extract_pixstack(2_000_000)
    objects = sep.extract(
        mean, THRESHOLD, err=noise, minarea=MIN_AREA, filter_kernel=FILTER, deblend_cont=0.02
    )
    objects = objects[objects["b"] > SLIM * objects["a"]]
    objects = objects[np.argsort(-objects["flux"])][:MOST]
    level = float(background.globalback) + OFFSET
    if not len(objects):
        none = measure(image, np.empty((0, 2)), 1.0, 1.0)
        return Found(none, level, image.sky(level), math.nan)
    # The centre of the binned pixel 0 is at 1.5 of the full image, which counts from 1.
    xy = np.column_stack([objects["x"], objects["y"]]) * 2 + 1.5
    width = float(np.median(TO_FWHM * 2 * np.sqrt(objects["a"] * objects["b"])))
    width = float(np.clip(width, *WINDOWS))
    stars = measure(image, xy, width, reach=max(2.0, 0.5 * width))
    stars = stars.taken((stars.snr > SMALLEST_SNR) & (stars.thinnest > NARROWEST))
    fwhm = float(np.median(stars.fwhm)) if len(stars) else math.nan
    return Found(stars, level, image.sky(level), fwhm)


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
        return Centroids(none, none, none, none, none, none, np.empty(0, bool), none, none)
    half = int(np.ceil(1.5 * fwhm + reach)) + 2
    grid = np.arange(-half, half + 1)
    cx, cy, inside, light, noise, peak = _stamps(image, xy, half)
    dx, dy = (np.where(inside, d, 0.0) for d in (xy[:, 0] - 1 - cx, xy[:, 1] - 1 - cy))
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
    snr = total / (noise * np.sqrt(norm))
    x, y = grid - dx[:, None], grid - dy[:, None]
    # Windowed second moments, pixels squared; then along the short and the long axis.
    crossed = (np.einsum("nij,ni->nj", light, wy * y) * wx * x).sum(1) / safe
    xx, yy = (weighted[0] * x**2).sum(1) / safe, (weighted[1] * y**2).sum(1) / safe
    mean, elongation = (xx + yy) / 2, np.hypot((xx - yy) / 2, crossed)
    narrow, wide = np.maximum(mean - elongation, 1e-3), np.maximum(mean + elongation, 1e-3)
    width, thin = _unwindowed(np.sqrt(narrow * wide), sigma), _unwindowed(narrow, sigma)
    ellipticity = 1 - thin / _unwindowed(wide, sigma)
    flux = total * (1 + (width / fwhm) ** 2)  # what the window leaves out of a Gaussian
    away = np.hypot(dx - start[0], dy - start[1]) > reach
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.hypot(np.clip(width, 1, 12) / TO_FWHM / np.clip(snr, 1e-3, None), 0.02)
    snr = np.where(inside & ~away & (total > 0), snr, 0.0)
    saturated = peak >= image.saturation - OFFSET
    x, y = cx + dx + 1, cy + dy + 1
    return Centroids(x, y, error, width, thin, snr, saturated, flux, ellipticity)


def signal_at(image: Image, xy: np.ndarray, fwhm: float) -> np.ndarray:
    """Return the signal to noise of light at places (n, 2), pixels counted from 1; 0 at the edge.

    Light is weighted by a Gaussian of that width (pixels) that stands there: nothing is centred.
    """
    if not len(xy):
        return np.empty(0)
    half = int(np.ceil(0.8 * min(fwhm, WINDOWS[1]))) + 3
    grid = np.arange(-half, half + 1)
    cx, cy, inside, light, noise, _ = _stamps(image, xy, half)
    away = np.where(inside[:, None], xy - 1 - np.column_stack([cx, cy]), 0.0)
    wx, wy = (
        np.exp(-((grid - d[:, None]) ** 2) / 2 * (TO_FWHM / fwhm) ** 2).astype(np.float32)
        for d in away.T
    )
    total = (np.einsum("nij,ni->nj", light, wy) * wx).sum(1)
    norm = (wx**2).sum(1) * (wy**2).sum(1)
    return np.where(inside, total / (noise * np.sqrt(norm)), 0.0)


def _stamps(image: Image, xy: np.ndarray, half: int) -> tuple[np.ndarray, ...]:
    """Return the squares of pixels around places (n, 2), and what they show.

    Returns
    -------
    tuple of numpy.ndarray
        Column and row of the middle, from 0; whether the square lies on the image; its light above
        the level of its border (n, side, side); noise of the border; highest stored pixel.
    """
    columns, rows = image.shape[1], image.shape[0]
    ix, iy = (np.rint(xy[:, i]).astype(int) - 1 for i in (0, 1))
    inside = (ix >= half) & (iy >= half) & (ix < columns - half) & (iy < rows - half)
    cx, cy = np.where(inside, ix, half), np.where(inside, iy, half)
    stamps, good = image.stamps(cx, cy, half)
    edge = np.ones((2 * half + 1, 2 * half + 1), bool)
    edge[2:-2, 2:-2] = False
    border = np.where(good[:, edge], stamps[:, edge], np.float32(np.nan))
    level = _medians(border)
    spread = 1.4826 * _medians(abs(border - level[:, None]))
    level, noise = np.nan_to_num(level), np.nan_to_num(spread, nan=1e9).clip(1e-3)
    peak = stamps.max((1, 2), initial=-np.inf, where=good)
    return cx, cy, inside, stamps - level[:, None, None], noise, peak


def _medians(rows: np.ndarray) -> np.ndarray:
    """Return the median of each row but for NaN; `numpy.nanmedian` takes ten times as long."""
    values = np.sort(rows, axis=1)  # NaN comes last
    count = np.isfinite(values).sum(1)
    row, last = np.arange(len(values)), rows.shape[1] - 1
    low, high = (
        values[row, np.maximum(count - 1, 0) // 2],
        values[row, np.minimum(count // 2, last)],
    )
    return (low + high) / 2


def _unwindowed(variance: np.ndarray, sigma: float) -> np.ndarray:
    """Return the FWHM of a Gaussian of a windowed variance (pixels squared).

    Under a Gaussian window the inverse squares of both widths add up.
    """
    slim = 1 / np.clip(variance, 0.05, 0.98 * sigma**2) - 1 / sigma**2
    return TO_FWHM / np.sqrt(np.maximum(slim, 1e-3))
