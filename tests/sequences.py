"""Sequences of frames that the simulator draws, and their solutions without the workflow."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np

from scripts.lib.solving.image import Image
from scripts.lib.solving.priors import Orientation, pointing_priors
from scripts.lib.solving.solver import Solution, solve
from scripts.lib.solving.stars import CatalogueStars
from scripts.simulator.night import read_camera, stored
from scripts.simulator.sky import Shot, SimulatedCamera, Sky, aimed

EPOCH = datetime(2026, 3, 6, 3, tzinfo=UTC)
MOUNT = Orientation(0.348, 0.0, 1)
EXPTIME = 10.0
SIZE = (700, 716)


class Drawn(NamedTuple):
    """A sequence as it was drawn: frames, catalogue, and what was drawn."""

    camera: SimulatedCamera
    shots: list[Shot]
    images: list[Image]
    stars: CatalogueStars


def camera_of(size: tuple[int, int] = SIZE) -> SimulatedCamera:
    """Return the camera of Io, without distortion."""
    return replace(read_camera("Io", size), distortion=0.0)


def drawn(shots: list[Shot], size: tuple[int, int] = SIZE) -> Drawn:
    """Draw exposures of one target with the camera of Io; those without a WCS get theirs."""
    camera = camera_of(size)
    sky = Sky(camera, 3)
    shots = [shot if shot.wcs else aimed(camera, shot, 40.0) for shot in shots]
    images = []
    for shot in shots:
        pixels = np.frombuffer(stored(sky.pixels(shot)), ">i2").reshape(size[1], size[0])
        images.append(Image(pixels, exptime=shot.exptime, pedestal=camera.bias))
    stars = sky.stars(shots[0])
    known = np.flatnonzero(stars.mag < 19)
    ra, dec = (place[known] for place in stars.at(EPOCH))
    zero = np.zeros(len(known))
    return Drawn(
        camera,
        shots,
        images,
        CatalogueStars(ra, dec, stars.mag[known], zero, zero, zero + 2026.2, zero + np.nan),
    )


def shot_of(number: int, **fields: Any) -> Shot:
    """Return an exposure of the target, 8 arcsec off and a quarter more with each number."""
    values = {"density": 12.0, "mispointing": 8.0 + number / 4} | fields
    return Shot(
        "science",
        EPOCH + timedelta(seconds=12 * number),
        EXPTIME,
        "z'",
        "target",
        120.0,
        -30.0,
        number=number,
        **values,
    )


def solutions(night: Drawn, alone: bool = False) -> list[Solution]:
    """Return the solutions of a sequence, each frame after the one before, or each on its own."""
    found: list[Solution] = []
    for shot, image in zip(night.shots, night.images, strict=True):
        pointing = shot.ra, shot.dec
        priors = pointing_priors(*pointing, MOUNT, image.shape)
        before = found[-1] if found and not alone else None
        found.append(solve(image, night.stars, priors, pointing, MOUNT, before))
    return found
