"""Where a frame may be, before any of its stars is matched; how far, and how well, it must fit."""

import itertools
import math
from typing import NamedTuple

from scripts.lib.settings.records import Camera
from scripts.lib.solving import tangent
from scripts.lib.solving.fitting import FREE, SEQUENCE, Freedom
from scripts.lib.solving.matching import MATCH
from scripts.lib.solving.tangent import TangentWCS

Pointing = tuple[float, float]  # right ascension and declination, degrees
Shape = tuple[int, int]  # rows and columns


class Orientation(NamedTuple):
    """How a camera sits on its telescope."""

    scale: float  # arcsec a pixel
    rotation: float  # degrees
    parity: int  # 1, or -1 mirrored


class Limits(NamedTuple):
    """Search radii and limits of acceptance, arcsec: see `limits_of`."""

    match: float = MATCH  # from a star of the frame to that of the catalogue, at first
    rms: float = 0.8  # residual
    search: float = 780.0  # along an axis, from the pointing to the middle of the frame

    @property
    def farthest(self) -> float:
        """Largest distance from the pointing to the middle of the frame."""
        return 1.523 * self.search  # the diagonal of the square that is searched, and some more


USUAL = Limits()


def limits_of(camera: Camera, scale: float) -> Limits:
    """Return the limits of a camera whose frames have that scale, arcsec a pixel.

    Those of stars count in pixels where these are coarse: at 5 arcsec a pixel no centroid is right
    to 0.8 arcsec. Where they are fine, the seeing sets them.
    """
    return Limits(
        max(USUAL.match, camera.match_radius * scale),
        max(USUAL.rms, camera.largest_residual * scale),
        60 * camera.search_radius,
    )


class Prior(NamedTuple):
    """Where a frame may be: a WCS, and the largest errors that it may have."""

    name: str
    wcs: TangentWCS  # reference at the middle of the frame
    window: float  # of its place, arcsec
    rotation: float  # radians; pi for any
    scale: float  # relative
    freedom: Freedom  # of the fit


def middle(shape: Shape) -> tuple[float, float]:
    """Return the central pixel, counted from 1, of an image of (rows, columns)."""
    return (shape[1] + 1) / 2, (shape[0] + 1) / 2


def sequence_priors(before: TangentWCS) -> list[Prior]:
    """Return where a frame may be that follows another of its sequence."""
    other_side = before._replace(cd=-before.cd)  # of the pier: turned by 180 degrees
    return [
        Prior("sequence", before, 40.0, 0.0, 0.0, SEQUENCE),
        Prior("flipped", other_side, 180.0, math.radians(0.5), 0.002, FREE),
    ]


def header_priors(wcs: TangentWCS) -> list[Prior]:
    """Return where a frame may be whose header has a WCS: there, or before or after a flip."""
    tolerances = (math.radians(0.5), 0.004, FREE)
    return [
        Prior("header", wcs, 60.0, *tolerances),
        Prior("header flipped", wcs._replace(cd=-wcs.cd), 180.0, *tolerances),
    ]


def pointing_priors(
    ra: float, dec: float, mount: Orientation, shape: Shape, search: float = USUAL.search
) -> list[Prior]:
    """Return priors of a frame of which only the pointing is known, the likeliest first."""
    both_sides, small = [mount.rotation, mount.rotation + 180], math.radians(2.5)
    priors = []
    for name, rotations, tolerances in (
        ("pointing", both_sides, (150.0, small, 0.02)),
        ("far pointing", both_sides, (search, small, 0.01)),
        ("any rotation", [0.0], (150.0, math.pi, 0.01)),
    ):
        for parity, rotation in itertools.product((mount.parity, -mount.parity), rotations):
            wcs = tangent.oriented(ra, dec, *middle(shape), mount.scale, rotation, parity)
            priors.append(Prior(name, wcs, *tolerances, FREE))
    return priors
