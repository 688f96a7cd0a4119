"""The tangent plane: gnomonic projection, and the linear WCS of a frame on it.

Source: Calabretta and Greisen (2002), A&A 395, 1077, section 5.1.3 (TAN). Pixels are counted from
1, their centres at whole numbers, as in FITS.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

ARCSEC = 3600.0


class TangentWCS(NamedTuple):
    """A linear TAN WCS."""

    ra: float  # reference point on the sky, degrees (CRVAL)
    dec: float
    x: float  # reference pixel (CRPIX)
    y: float
    cd: np.ndarray  # shape (2, 2): from pixels to the tangent plane, arcsec a pixel (3600 CD)

    @property
    def scale(self) -> float:
        """Pixel scale, arcsec: the root of the pixel's area."""
        return math.sqrt(abs(np.linalg.det(self.cd)))

    @property
    def rotation(self) -> float:
        """Position angle of +y, degrees, north over east, 0 to 360."""
        return math.degrees(math.atan2(self.cd[0, 1], self.cd[1, 1])) % 360

    @property
    def parity(self) -> int:
        """1 as the sky is seen (east to the left of north), -1 mirrored."""
        return 1 if np.linalg.det(self.cd) < 0 else -1

    @property
    def skew(self) -> float:
        """How far the matrix is from rotation and scale: relative stretch or shear."""
        singular = np.linalg.svd(self.cd, compute_uv=False)
        return float(singular[0] / singular[1] - 1)


def oriented(
    ra: float, dec: float, x: float, y: float, scale: float, rotation: float, parity: int
) -> TangentWCS:
    """Return a WCS of square pixels: scale, rotation and parity as those of `TangentWCS`."""
    sin, cos = math.sin(math.radians(rotation)), math.cos(math.radians(rotation))
    cd = scale * np.array([[-parity * cos, sin], [parity * sin, cos]])
    return TangentWCS(ra, dec, x, y, cd)


def project(ra: ArrayLike, dec: ArrayLike, ra0: float, dec0: float) -> np.ndarray:
    """Return the places of stars (degrees) on the plane that touches the sphere at ``ra0, dec0``.

    Shape (n, 2): to the east and to the north, arcsec. NaN for stars of the other hemisphere.
    """
    along = np.radians(np.asarray(ra, float) - ra0)
    dec, dec0 = np.radians(np.asarray(dec, float)), math.radians(dec0)
    cosine = math.sin(dec0) * np.sin(dec) + math.cos(dec0) * np.cos(dec) * np.cos(along)
    cosine = np.where(cosine > 0, cosine, np.nan)
    xi = np.cos(dec) * np.sin(along) / cosine
    eta = (math.cos(dec0) * np.sin(dec) - math.sin(dec0) * np.cos(dec) * np.cos(along)) / cosine
    return np.degrees(np.column_stack([xi, eta])) * ARCSEC


def deproject(plane: ArrayLike, ra0: float, dec0: float) -> tuple[np.ndarray, np.ndarray]:
    """Return right ascension (0 to 360) and declination, degrees, of places on the plane (n, 2)."""
    xi, eta = np.radians(np.atleast_2d(plane) / ARCSEC).T
    dec0 = math.radians(dec0)
    down = math.cos(dec0) - eta * math.sin(dec0)
    ra = ra0 + np.degrees(np.arctan2(xi, down))
    dec = np.degrees(np.arctan2(math.sin(dec0) + eta * math.cos(dec0), np.hypot(xi, down)))
    return ra % 360, dec


def to_plane(wcs: TangentWCS, xy: ArrayLike) -> np.ndarray:
    """Return the places of pixels (n, 2) on the tangent plane, arcsec."""
    return (np.atleast_2d(xy) - (wcs.x, wcs.y)) @ wcs.cd.T


def to_sky(wcs: TangentWCS, xy: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return right ascension and declination, degrees, of pixels (n, 2)."""
    return deproject(to_plane(wcs, xy), wcs.ra, wcs.dec)


def to_pixels(wcs: TangentWCS, ra: ArrayLike, dec: ArrayLike) -> np.ndarray:
    """Return the pixels (n, 2) of directions in degrees."""
    plane = project(ra, dec, wcs.ra, wcs.dec)
    return plane @ np.linalg.inv(wcs.cd).T + (wcs.x, wcs.y)


def moved_to(wcs: TangentWCS, x: float, y: float) -> TangentWCS:
    """Return the same WCS with its reference at another pixel.

    The plane then touches the sphere elsewhere; north there is turned by the convergence of the
    meridians, which the directions of two near-by pixels give.
    """
    (ra,), (dec,) = to_sky(wcs, (x, y))
    near = project(*to_sky(wcs, [(x + 1, y), (x, y + 1), (x - 1, y), (x, y - 1)]), ra, dec)
    cd = np.column_stack([near[0] - near[2], near[1] - near[3]]) / 2
    return TangentWCS(float(ra), float(dec), x, y, cd)


def distance(ra1: float, dec1: float, ra2: float, dec2: float) -> float:
    """Return the angle between two directions, all in degrees (haversine formula)."""
    ra1, dec1, ra2, dec2 = map(math.radians, (ra1, dec1, ra2, dec2))
    cosines = math.cos(dec1) * math.cos(dec2)
    square = math.sin((dec2 - dec1) / 2) ** 2 + cosines * math.sin((ra2 - ra1) / 2) ** 2
    return math.degrees(2 * math.asin(math.sqrt(min(square, 1.0))))
