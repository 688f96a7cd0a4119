"""What the stars of a solved frame tell: zero point, depth, shape, how many of them are there.

The same quantities by the same stars, whether these were searched or measured where the frame
before has them: stars of the catalogue that belong to the solution.
"""

import math
from typing import NamedTuple

import numpy as np

from scripts.lib.solving import tangent
from scripts.lib.solving.detection import SMALLEST_SNR, Centroids, signal_at
from scripts.lib.solving.image import Image
from scripts.lib.solving.stars import CatalogueStars
from scripts.lib.solving.tangent import TangentWCS, project

EXPECTED_SNR = 10.0  # of stars that must be there
MOST_EXPECTED = 150  # the brightest of them are looked for


class Photometry(NamedTuple):
    """What a frame's stars tell; NaN where none of them can."""

    zero_point: float  # magnitude of a star of 1 ADU/s
    limiting_magnitude: float  # of a star of signal to noise 5
    expected: int  # catalogue stars on the frame of signal to noise 10 or more …
    found: int  # … those that are there
    fwhm: float  # pixels, median
    ellipticity: float  # 1 - short axis / long axis, median of the brighter half


UNKNOWN = Photometry(math.nan, math.nan, 0, 0, math.nan, math.nan)


def photometry(
    image: Image, catalogue: CatalogueStars, wcs: TangentWCS, stars: Centroids, members: np.ndarray
) -> Photometry:
    """Return what the stars of a frame tell.

    Parameters
    ----------
    stars : Centroids
        Those matched, brightest first; saturated ones do not count.
    members : numpy.ndarray
        The index of each in the catalogue.
    """
    sharp = ~stars.saturated & (stars.snr > SMALLEST_SNR)
    if not sharp.any() or not image.exptime:
        return UNKNOWN._replace(fwhm=float(np.median(stars.fwhm)))
    stars, members = stars.taken(sharp), members[sharp]
    rate = stars.flux / image.exptime
    zero = float(np.median(catalogue.mag[members] + 2.5 * np.log10(rate)))
    noise = float(np.median(rate / stars.snr))
    fwhm = float(np.median(stars.fwhm))
    # Noise makes any star elliptic.
    clear = stars.snr >= np.median(stars.snr)
    places = _on_frame(catalogue, wcs, image.shape, zero - 2.5 * math.log10(EXPECTED_SNR * noise))
    there = signal_at(image, places[:MOST_EXPECTED], fwhm) > SMALLEST_SNR
    return Photometry(
        zero,
        zero - 2.5 * math.log10(SMALLEST_SNR * noise),
        len(there),
        int(there.sum()),
        fwhm,
        float(np.median(stars.ellipticity[clear])),
    )


def _on_frame(
    catalogue: CatalogueStars, wcs: TangentWCS, shape: tuple[int, int], faintest: float
) -> np.ndarray:
    """Return the pixels (n, 2) of the catalogue's stars on a frame, brightest first."""
    bright = int(np.searchsorted(catalogue.mag, faintest))
    rows, columns = shape
    reach = math.hypot(rows, columns) / 2 * wcs.scale / tangent.ARCSEC
    # Most stars lie beyond the frame: a comparison is cheaper than to project them.
    near = np.flatnonzero(abs(catalogue.dec[:bright] - wcs.dec) < reach)
    plane = project(catalogue.ra[near], catalogue.dec[near], wcs.ra, wcs.dec)
    xy = plane @ np.linalg.inv(wcs.cd).T + (wcs.x, wcs.y)
    return xy[((xy >= 1) & (xy <= (columns, rows))).all(axis=1)]
