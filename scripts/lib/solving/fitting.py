"""The linear WCS that maps stars of a frame onto their places in the catalogue.

One least-squares fit for any number of stars: what few stars do not determine (scale, stretch,
shear) is held near its starting value by a prior, and gives way as stars become many.
"""

import math
from typing import NamedTuple

import numpy as np

from scripts.lib.solving.tangent import TangentWCS, deproject

CLIP = 4.0  # standard deviations beyond which a star is left out
ROUNDS = 4


class Freedom(NamedTuple):
    """Standard deviations of a WCS's starting values."""

    rotation: float  # radians
    scale: float  # relative
    stretch: float  # relative; stretch and shear, which differential refraction makes (up to 1e-3)


FREE = Freedom(rotation=1.0, scale=0.02, stretch=5e-4)
# Within a sequence: refraction changes slowly, the rotation only with flexure.
SEQUENCE = Freedom(rotation=1e-3, scale=3e-4, stretch=1e-4)


class Errors(NamedTuple):
    """Standard errors of a WCS, from the covariance of its fit."""

    centre: float  # arcsec, of the reference pixel's place along an axis
    scale: float  # arcsec a pixel
    rotation: float  # degrees


class Fit(NamedTuple):
    """A fitted WCS."""

    wcs: TangentWCS
    errors: Errors
    rms: float  # of the residuals of the stars kept, arcsec, both axes together
    kept: np.ndarray  # mask of the stars that were not left out


def fit_wcs(
    start: TangentWCS, xy: np.ndarray, plane: np.ndarray, error: np.ndarray, freedom: Freedom
) -> Fit:
    """Return the WCS of matched stars, its reference pixel that of ``start``.

    Parameters
    ----------
    xy : numpy.ndarray
        Stars of the frame, pixels, shape (n, 2), at least one.
    plane : numpy.ndarray
        Their places in the catalogue on the tangent plane of ``start``, arcsec, shape (n, 2).
    error : numpy.ndarray
        Standard errors of the stars' places, arcsec, shape (n,).
    """
    off = (xy - (start.x, start.y)) @ start.cd.T
    kept, typical = np.ones(len(xy), bool), 1.0
    for _ in range(ROUNDS):
        values, sigmas = _adjustment(off[kept], plane[kept], typical * error[kept], freedom)
        rotation, scale, stretch, shear = values[2:]
        change = [[scale + stretch, shear - rotation], [shear + rotation, scale - stretch]]
        matrix = np.eye(2) + change
        residual = plane - off @ matrix.T - values[:2]
        size = np.hypot(*residual.T)
        # The scatter found counts if it is larger than the errors stated: a trail, bad seeing.
        typical = max(1.0, float(np.median(size[kept] / error[kept])) / 1.1774)
        still = size < CLIP * 1.1774 * typical * error
        if still.sum() < max(1, kept.sum() // 2) or (still == kept).all():
            break
        kept = still
    (ra,), (dec,) = deproject(values[:2], start.ra, start.dec)
    wcs = TangentWCS(float(ra), float(dec), start.x, start.y, matrix @ start.cd)
    # North is turned between the planes of two reference points close to each other.
    angle = math.radians((wcs.ra - start.ra + 180) % 360 - 180) * math.sin(math.radians(wcs.dec))
    cos, sin = math.cos(angle), math.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    wcs = wcs._replace(cd=turn @ wcs.cd)
    centre = math.hypot(*sigmas[:2]) / math.sqrt(2)
    errors = Errors(centre, float(sigmas[3]) * wcs.scale, math.degrees(sigmas[2]))
    return Fit(wcs, errors, math.sqrt((size[kept] ** 2).mean()), kept)


def _adjustment(
    off: np.ndarray, plane: np.ndarray, error: np.ndarray, freedom: Freedom
) -> tuple[np.ndarray, np.ndarray]:
    """Return shift (arcsec), rotation, scale, stretch and shear that bring ``off`` to ``plane``.

    And the standard errors of these six values.
    """
    x, y = off.T
    zero, one = np.zeros_like(x), np.ones_like(x)
    east = np.column_stack([one, zero, -y, x, x, y])
    north = np.column_stack([zero, one, x, y, -y, x])
    weight = 1 / np.concatenate([error, error])
    stiff = 1 / np.array([1e9, 1e9, *freedom[:2], freedom.stretch, freedom.stretch])
    matrix = np.concatenate([east, north]) * weight[:, None]
    target = np.concatenate([plane[:, 0] - x, plane[:, 1] - y]) * weight
    covariance = np.linalg.inv(matrix.T @ matrix + np.diag(stiff**2))
    return covariance @ (matrix.T @ target), np.sqrt(np.diag(covariance))
