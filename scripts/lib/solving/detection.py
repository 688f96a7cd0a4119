"""Finding the stars of a frame: on a picture binned 2x2, centred on the full image.

Binning halves the work four times over and loses nothing: stars are 3 pixels wide or more.
"""

import math
from typing import NamedTuple

import numpy as np
import sep

from scripts.lib.solving.centroids import TO_FWHM, Centroids, measure
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


class Found(NamedTuple):
    """Stars of a frame, brightest first, and what the sky is like."""

    stars: Centroids
    background: float  # ADU
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
        return Found(measure(image, np.empty((0, 2)), 1.0, 1.0), level, math.nan)
    # The centre of the binned pixel 0 is at 1.5 of the full image, which counts from 1.
    xy = np.column_stack([objects["x"], objects["y"]]) * 2 + 1.5
    width = float(np.median(TO_FWHM * 2 * np.sqrt(objects["a"] * objects["b"])))
    width = float(np.clip(width, 2.5, 14))
    stars = measure(image, xy, width, reach=max(2.0, 0.5 * width))
    stars = stars.taken((stars.snr > SMALLEST_SNR) & (stars.thinnest > NARROWEST))
    fwhm = float(np.median(stars.fwhm)) if len(stars) else math.nan
    return Found(stars, level, fwhm)
