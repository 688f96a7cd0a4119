"""Pixels of simulated frames: stars, optics, detector, and what makes a frame difficult.

The truth of a frame is its `Shot`: everything drawn follows from it, the camera and a seed. World
coordinates are a table row (``crpix1`` … ``cd2_2`` in degrees a pixel, ``a_3_0`` … of SIP), which
astropy projects.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

LINEAR = "crpix1 crpix2 crval1 crval2 cd1_1 cd1_2 cd2_1 cd2_2".split()
RADIAL = "a_3_0 a_1_2 b_0_3 b_2_1".split()  # all alike: u and v grow with the radius squared
# World coordinates as a table has them, by the names of `LINEAR` and `RADIAL`.
WcsRow = dict[str, float]
# Of a card; None removes it.
Value = bool | int | float | str | None
J2016 = datetime(2016, 1, 1, 12, tzinfo=UTC)

BRIGHTEST, COMPLETE, FAINTEST = 8.0, 19.0, 20.5  # g: of the stars, of the catalogue, of the stars
COUNTS = 0.27  # log10 of the number of stars brighter than m grows by this a magnitude
COLOUR, COLOUR_SCATTER = 1.4, 0.5  # g - j
MOTION = 8.0  # mas/yr, sigma of the proper motion along each axis
REACH = 12.0  # arcmin by which a field of stars reaches beyond the frame
REACH_OF_SMALL = 4.0  # arcmin, and 1.5 frames: small frames need many stars a square arcminute
FEWEST_STARS = 20  # of the catalogue on average in a frame, however small, unless that makes
MOST_STARS = 15_000  # in the field

MOFFAT = 3  # exponent of the stars' profile: closer to real ones than a gaussian, wings above all
LEAST_LIGHT = 0.3  # ADU: where a star's profile is cut off
WIDEST = 64  # pixels from a star's middle to where its drawing ends at the latest
FLAT_LEVEL = 20_000.0  # ADU
VIGNETTING = 0.25  # loss of light at a distance of one side from the middle
CAPACITY = 65_535.0  # ADU: of a pixel that blooms
HOT_RANGE = 10  # the brightest hot pixels to the faintest
TRACKS, LONGEST_TRACK = 0.3, 15  # share of cosmic rays that leave a track; its pixels
MARGIN = 256  # pixels by which the pool of noise is larger than a frame


@dataclass(frozen=True)
class SimulatedCamera:
    """A row of cameras.csv, with the size in use and the site. Units are in the tables."""

    telescope: str
    until: str
    instrume: str
    sensor: str
    naxis1: int
    naxis2: int
    scale: float
    pixel: float
    filter: str
    other_filter: str
    wcs: str
    parity: int
    rotation: float
    distortion: float
    bias: float
    noise: float
    gain: float
    band: str
    zero: float
    sky: float
    dark: float
    scatter: float
    gradient: float
    hot: float
    hot_rate: float
    dead: float
    dead_columns: int
    overscan: int
    ra: str
    longitude: float
    latitude: float
    altitude: float


@dataclass(frozen=True)
class Shot:
    """One exposure to be simulated. Angles in degrees, durations in s, times in UTC.

    Attributes
    ----------
    ra, dec : float
        Of the header; the field of stars is drawn around them.
    density : float
        Catalogue stars a square arcminute.
    number : int
        Unlike that of any other exposure of the night: the noise follows from it.
    wcs, header_wcs : dict
        The true one, and the one that the header claims; empty for none.
    cloud : float
        Extinction, magnitudes.
    fwhm : float
        Of the stars, arcsec.
    trail, trail_angle : float
        Length of the stars, pixels; its direction from +x towards +y.
    cosmics : int
        Cosmic rays.
    starless : bool
        No star is drawn.
    mispointing : float
        Arcsec from ra, dec to the middle of the frame; `aimed` puts it into the WCS.
    second, second_wcs : float, dict
        Light of a second image of the stars as a share of the whole, and its WCS: what a detector
        remembers of the frame before, or what a telescope showed before it moved.
    moved : bool
        The first image lacks the light of the second: the telescope moved during the exposure.
    blooming : bool
        Charge above the pixels' capacity flows along the columns.
    moon, fringes : float
        Gradient of the sky across the frame, and amplitude of fringes on it; shares of the sky.
    vignetting : float
        Further loss of light in the corners, a share.
    glow : float
        Of an amplifier in a corner, ADU/s.
    donut : float
        Diameter of the rings that stars are far from focus, arcsec.
    """

    kind: str
    start: datetime
    exptime: float
    filter: str
    object: str = ""
    ra: float = 10.0
    dec: float = -24.0
    density: float = 6.0
    number: int = 0
    flipped: bool = False
    wcs: WcsRow = field(default_factory=dict)
    header_wcs: WcsRow = field(default_factory=dict)
    cloud: float = 0.0
    fwhm: float = 1.4
    trail: float = 0.0
    trail_angle: float = 30.0
    cosmics: int = 3
    starless: bool = False
    mispointing: float = 0.0
    second: float = 0.0
    second_wcs: WcsRow = field(default_factory=dict)
    moved: bool = False
    blooming: bool = False
    moon: float = 0.0
    fringes: float = 0.0
    vignetting: float = 0.0
    glow: float = 0.0
    donut: float = 0.0
    cards: dict[str, Value] = field(default_factory=dict)
    rows_less: int = 0
    fault: str = ""
    of: str = ""


def aimed(
    camera: SimulatedCamera, shot: Shot, angle: float = 0.0, stretch: np.ndarray | None = None
) -> Shot:
    """Return an exposure with its true WCS.

    Parameters
    ----------
    angle : float
        Position angle (degrees, north over east) of the mispointing.
    stretch : numpy.ndarray, optional
        Of the sky as the camera sees it, shape (2, 2): see `stretched`.
    """
    ra, dec = beside(shot.ra, shot.dec, shot.mispointing / 3600, angle)
    wcs = tangent_wcs(camera, ra, dec, shot.flipped, np.eye(2) if stretch is None else stretch)
    return replace(shot, wcs=wcs)


def beside(ra: float, dec: float, distance: float, angle: float) -> tuple[float, float]:
    """Return the place at a distance and position angle from another, all in degrees."""
    dec, distance, angle = math.radians(dec), math.radians(distance), math.radians(angle)
    north = math.cos(distance) * math.cos(dec)
    north -= math.sin(distance) * math.sin(dec) * math.cos(angle)
    east = math.sin(distance) * math.sin(angle)
    up = math.sin(dec) * math.cos(distance) + math.cos(dec) * math.sin(distance) * math.cos(angle)
    turned = math.degrees(math.atan2(east, north))
    return (ra + turned) % 360, math.degrees(math.atan2(up, math.hypot(east, north)))


def stretched(scale: float, along: float, angle: float) -> np.ndarray:
    """Return the matrix of a relative change of scale, and of a stretch along a position angle."""
    direction = np.array([math.sin(math.radians(angle)), math.cos(math.radians(angle))])
    return (1 + scale) * (np.eye(2) + along * np.outer(direction, direction))


def tangent_wcs(
    camera: SimulatedCamera, ra: float, dec: float, flipped: bool, stretch: np.ndarray
) -> WcsRow:
    """Return the WCS of a frame with its middle at ra, dec (degrees)."""
    turn = math.radians(camera.rotation + 180 * flipped)
    scale = camera.scale / 3600
    right = np.array(
        [
            [-camera.parity * math.cos(turn), math.sin(turn)],
            [camera.parity * math.sin(turn), math.cos(turn)],
        ]
    )
    cd = scale * stretch @ right
    middle = (camera.naxis1 / 2 + 0.5, camera.naxis2 / 2 + 0.5)
    values = (*middle, ra, dec, *map(float, cd.ravel()))
    corner = math.hypot(camera.naxis1, camera.naxis2) / 2
    bend = camera.distortion / corner**3
    return dict(zip(LINEAR, values, strict=True)) | dict.fromkeys(RADIAL, bend)


def linear(wcs: WcsRow) -> WcsRow:
    """Return a WCS without its distortion."""
    return {key: wcs[key] for key in LINEAR}


def projection(wcs: WcsRow) -> str:
    """Return what follows RA--- and DEC-- in CTYPE."""
    return "TAN-SIP" if any(wcs.get(key) for key in RADIAL) else "TAN"


def astropy_wcs(wcs: WcsRow) -> WCS:
    """Return a WCS table row as astropy has it."""
    kind = projection(wcs)
    header: dict[str, Value] = {"ctype1": f"RA---{kind}", "ctype2": f"DEC--{kind}"}
    header |= {"cunit1": "deg", "cunit2": "deg"}
    header |= {"a_order": 3, "b_order": 3} if kind == "TAN-SIP" else {}
    header |= wcs if kind == "TAN-SIP" else linear(wcs)
    return WCS(fits.Header({key.upper(): value for key, value in header.items()}))


class Stars(NamedTuple):
    """Stars at the epoch 2016.0: degrees (ICRS), magnitudes, mas/yr (pmra with cos dec)."""

    ra: np.ndarray
    dec: np.ndarray
    mag: np.ndarray
    pmra: np.ndarray
    pmdec: np.ndarray
    j: np.ndarray

    def at(self, time: datetime) -> tuple[np.ndarray, np.ndarray]:
        """Return right ascensions and declinations (degrees) at a date, right to a day."""
        moved = (time - J2016).days / 365.25 / 3_600_000
        return (
            self.ra + self.pmra * moved / np.cos(np.radians(self.dec)),
            self.dec + self.pmdec * moved,
        )


def frame_sides(camera: SimulatedCamera) -> np.ndarray:
    """Return width and height of a frame, arcmin."""
    return np.array([camera.naxis1, camera.naxis2]) * camera.scale / 60


def field_sides(camera: SimulatedCamera) -> np.ndarray:
    """Return width and height of the field of stars around a target, arcmin."""
    frame = frame_sides(camera)
    field: np.ndarray = frame + 2 * min(REACH, REACH_OF_SMALL + 1.5 * float(frame.max()))
    return field


def dense_enough(camera: SimulatedCamera, density: float) -> float:
    """Return a density (catalogue stars/arcmin²), raised so that small frames have stars too."""
    fewest = FEWEST_STARS / float(frame_sides(camera).prod())
    return max(density, min(fewest, MOST_STARS / float(field_sides(camera).prod())))


def star_field(camera: SimulatedCamera, shot: Shot, seed: int) -> Stars:
    """Return the stars around a target, brightest first: a frame's and some arcminutes beyond."""
    rng = np.random.default_rng([seed, round(shot.ra * 1000), round((shot.dec + 90) * 1000)])
    sides = field_sides(camera)
    count = round(shot.density * sides.prod() * 10 ** (COUNTS * (FAINTEST - COMPLETE)))
    plane = rng.uniform(-0.5, 0.5, (2, count)) * sides[:, None] / 60
    rarest = 10 ** (COUNTS * (BRIGHTEST - FAINTEST))
    mag = np.sort(FAINTEST + np.log10(rng.uniform(rarest, 1, count)) / COUNTS)
    centre = astropy_wcs(dict(zip(LINEAR, (0, 0, shot.ra, shot.dec, 1, 0, 0, 1), strict=True)))
    ra, dec = centre.wcs_pix2world(*plane, 1)
    pmra, pmdec = rng.normal(0, MOTION, (2, count))
    return Stars(ra, dec, mag, pmra, pmdec, mag - rng.normal(COLOUR, COLOUR_SCATTER, count))


class Sky:
    """Draws pixels; keeps the detector's pattern, a pool of noise and the stars seen.

    Parameters
    ----------
    camera : SimulatedCamera
    seed : int
        Of stars and detector; the noise also depends on telescope and night, so that no two are
        alike.
    night : str
        Digits.
    """

    def __init__(self, camera: SimulatedCamera, seed: int, night: str = "0"):
        name = list(camera.telescope.encode())
        self.camera, self.seed = camera, seed
        self.entropy = [seed, int(night), *name]
        rng = np.random.default_rng(self.entropy)
        shape = (camera.naxis2 + MARGIN, camera.naxis1 + MARGIN)
        self.noise = rng.standard_normal(shape, np.float32)
        self.dark, self.response = detector(camera, np.random.default_rng([seed, *name]))
        # One for all frames: fresh memory for each would cost page faults.
        self.light = np.empty(np.add(self.dark.shape, 2 * WIDEST), np.float32)
        self.image, self.sigma = np.empty((2, *self.dark.shape), np.float32)
        self.fields: dict[tuple[float, float, float], Stars] = {}

    def stars(self, shot: Shot) -> Stars:
        """Return the stars around a frame's target."""
        place = (shot.ra, shot.dec, shot.density)
        if place not in self.fields:
            self.fields[place] = star_field(self.camera, shot, self.seed)
        return self.fields[place]

    def catalogue(self) -> Stars:
        """Return the catalogue of all fields seen: their stars, but for the faintest."""
        parts = [np.array(stars)[:, stars.mag < COMPLETE] for stars in self.fields.values()]
        return Stars(*np.concatenate([np.empty((len(Stars._fields), 0)), *parts], axis=1))

    def pixels(self, shot: Shot) -> np.ndarray:
        """Return a frame's pixels (ADU), uint16 of (rows, columns)."""
        camera, image, sigma = self.camera, self.image, self.sigma
        level = {"flat": FLAT_LEVEL, "science": camera.sky * shot.exptime}.get(shot.kind, 0.0)
        self.light.fill(level)
        frame = self.light[WIDEST:-WIDEST, WIDEST:-WIDEST]
        frame *= sky_pattern(shot, image.shape)
        if shot.wcs:
            stars = self.stars(shot)  # in the catalogue even if none is drawn
            if not shot.starless:
                self.draw_stars(shot, stars, shot.wcs, 1 - shot.second * shot.moved)
                if shot.second:
                    self.draw_stars(shot, stars, shot.second_wcs, shot.second)
        if shot.vignetting:
            frame *= 1 - shot.vignetting * distance_squared(image.shape)
        np.multiply(frame, self.response, out=image)
        image += np.multiply(self.dark, shot.exptime, out=sigma)
        if shot.glow:
            image += shot.glow * shot.exptime * corner_glow(image.shape)
        np.sqrt(image / camera.gain + camera.noise**2, out=sigma)
        sigma *= self.shifted_noise(shot.number)
        image += sigma
        image += camera.bias + shot.number % 13
        rng = np.random.default_rng([*self.entropy, shot.number])
        for rows, columns, charge in cosmic_rays(rng, shot.cosmics, image.shape):
            image[rows, columns] += charge
        if shot.blooming:
            bloom(image)
        image[0, :2] = (0, 65535)
        clipped = np.clip(np.rint(image, out=image), 0, 65535, out=image)
        pixels: np.ndarray = clipped.astype(np.uint16)
        return pixels[: camera.naxis2 - shot.rows_less]

    def shifted_noise(self, number: int) -> np.ndarray:
        """Return a part of the pool of noise, another for each number."""
        row, column = divmod(number * 7919 % (MARGIN * MARGIN), MARGIN)
        return self.noise[row : row + self.camera.naxis2, column : column + self.camera.naxis1]

    def draw_stars(self, shot: Shot, stars: Stars, seen: WcsRow, share: float) -> None:
        """Add a share of the light of the stars to a frame, where a WCS has them."""
        camera = self.camera
        wcs = astropy_wcs(seen)
        ra, dec = stars.at(shot.start)
        # Far from the frame the distortion has no inverse: those stars are left out before.
        x, y = wcs.wcs_world2pix(ra, dec, 0)
        near = np.flatnonzero(
            (np.abs(x - camera.naxis1 / 2) < camera.naxis1 / 2 + WIDEST)
            & (np.abs(y - camera.naxis2 / 2) < camera.naxis2 / 2 + WIDEST)
        )
        if near.size == 0:
            return
        x, y = wcs.all_world2pix(ra[near], dec[near], 0)
        mag = {"g": stars.mag, "j": stars.j}[camera.band][near] + shot.cloud
        flux = share * shot.exptime * 10 ** (0.4 * (camera.zero - mag))
        for rows, columns, stamp in stamps(x, y, flux, shot, camera.scale, self.image.shape):
            self.light[rows, columns] += stamp


def stamps(
    x: np.ndarray, y: np.ndarray, flux: np.ndarray, shot: Shot, scale: float, shape: tuple[int, ...]
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """Yield where each star lies on a frame with `WIDEST` pixels around it, and its light there.

    Parameters
    ----------
    x, y : numpy.ndarray
        Pixels of the frame, from 0.
    flux : numpy.ndarray
        ADU.
    scale : float
        Arcsec a pixel.
    shape : tuple of int
        Rows and columns of the frame.
    """
    width = shot.fwhm / scale / 2 / math.sqrt(2 ** (1 / MOFFAT) - 1)
    peak = flux * (MOFFAT - 1) / (math.pi * width**2)
    copies = copies_of(shot, scale)
    steps = len(copies)
    reach = width * (peak / LEAST_LIGHT) ** (0.5 / MOFFAT) + np.hypot(*copies.T).max()
    sizes = np.clip(4 * np.ceil(reach / 4), 4, WIDEST).astype(int)
    ix, iy = x.round().astype(int), y.round().astype(int)
    for half in np.unique(sizes):
        edge = WIDEST - half
        chosen = (sizes == half) & (ix >= -edge) & (ix < shape[1] + edge)
        chosen &= (iy >= -edge) & (iy < shape[0] + edge)
        grid = np.arange(-half, half + 1)
        dx = (grid + (ix - x)[chosen, None]).astype(np.float32)[:, None, :] / width
        dy = (grid + (iy - y)[chosen, None]).astype(np.float32)[:, :, None] / width
        light = 0.0
        for right, up in copies / width:
            q = 1 + (dx - right) ** 2 + (dy - up) ** 2
            light = light + 1 / q**MOFFAT
        light *= (peak[chosen] / steps).astype(np.float32)[:, None, None]
        for column, row, stamp in zip(ix[chosen] + edge, iy[chosen] + edge, light, strict=True):
            yield slice(row, row + 2 * half + 1), slice(column, column + 2 * half + 1), stamp


def copies_of(shot: Shot, scale: float) -> np.ndarray:
    """Return where the copies of a star stand that make its image (n, 2), pixels from its place.

    A trail is a row of stars, each at most a pixel from the next; a donut three rings of them, of
    which the innermost has 0.4 of the diameter, as the shadow of a secondary mirror.
    """
    if shot.donut:
        radius, turn = np.meshgrid([0.4, 0.7, 1.0], np.arange(24) * math.pi / 12)
        radius = radius.ravel() * shot.donut / scale / 2
        return np.column_stack([radius * np.cos(turn.ravel()), radius * np.sin(turn.ravel())])
    steps = math.ceil(shot.trail) + 1
    along = np.linspace(-0.5, 0.5, steps) * shot.trail if steps > 1 else np.zeros(1)
    angle = math.radians(shot.trail_angle)
    return np.column_stack([along * math.cos(angle), along * math.sin(angle)])


def distance_squared(shape: tuple[int, ...]) -> np.ndarray:
    """Return the squared distance of each pixel from the middle, in half diagonals."""
    y, x = np.ogrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    squared: np.ndarray = (x**2 + y**2) / 2
    return squared.astype(np.float32)


def sky_pattern(shot: Shot, shape: tuple[int, ...]) -> np.ndarray | float:
    """Return the light of the sky at each pixel, in units of its mean: moonlight and fringes."""
    if not (shot.moon or shot.fringes):
        return 1.0
    y, x = np.ogrid[-0.5 : 0.5 : shape[0] * 1j, -0.5 : 0.5 : shape[1] * 1j]
    fringes = np.sin(60 * (x + 0.3 * y**2) + 4 * np.sin(9 * y))
    pattern: np.ndarray = 1 + shot.moon * (0.8 * x + 0.6 * y) + shot.fringes * fringes
    return pattern.astype(np.float32)


def corner_glow(shape: tuple[int, ...]) -> np.ndarray:
    """Return the glow of an amplifier in the first corner: 1 there, a tenth of a side wide."""
    y, x = np.ogrid[0 : 10 : shape[0] * 1j, 0 : 10 : shape[1] * 1j]
    glow: np.ndarray = np.exp(-np.hypot(x, y))
    return glow.astype(np.float32)


def bloom(image: np.ndarray) -> None:
    """Let the charge above a pixel's capacity flow along its column, to both sides alike."""
    excess = np.maximum(image - CAPACITY, 0)
    np.minimum(image, CAPACITY, out=image)
    for column in np.flatnonzero(excess.any(axis=0)):
        for row in np.flatnonzero(excess[:, column]):
            half = math.ceil(excess[row, column] / CAPACITY / 2)
            image[max(row - half, 0) : row + half + 1, column] = CAPACITY


def detector(camera: SimulatedCamera, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the dark rate of each pixel (ADU/s), and the share of light that it sees."""
    shape = (camera.naxis2, camera.naxis1)
    slope = camera.gradient * np.linspace(-0.5, 0.5, camera.naxis2, dtype=np.float32)
    dark = rng.standard_normal(shape, np.float32) * np.float32(camera.scatter)
    dark = camera.dark * np.maximum(1 + dark + slope[:, None], 0)
    pixels = rng.permutation(dark.size)[: round(dark.size * (camera.hot + camera.dead))]
    hot, dead = np.split(pixels, [round(dark.size * camera.hot)])
    dark.flat[hot] = camera.hot_rate * HOT_RANGE ** rng.random(hot.size)
    y, x = np.ogrid[-0.5 : 0.5 : shape[0] * 1j, -0.5 : 0.5 : shape[1] * 1j]
    response = (1 - VIGNETTING * (x**2 + y**2)).astype(np.float32)
    columns = rng.choice(camera.naxis1, camera.dead_columns, replace=False)
    for values in (dark, response):
        values.flat[dead] = 0
        values[:, columns] = 0
        values[camera.naxis2 - camera.overscan :] = 0
    return dark, response


def cosmic_rays(
    rng: np.random.Generator, count: int, shape: tuple[int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray, float]]:
    """Yield rows and columns of the pixels that each cosmic ray hits, and its charge (ADU)."""
    for _ in range(count):
        length = rng.integers(3, LONGEST_TRACK + 1) if rng.random() < TRACKS else 1
        begin, angle = rng.uniform((0, 0), shape), rng.uniform(0, 2 * math.pi)
        steps = np.arange(length)[:, None] * (math.sin(angle), math.cos(angle))
        path = np.unique((begin + steps).astype(int), axis=0)
        rows, columns = path[((path >= 0) & (path < shape)).all(axis=1)].T
        yield rows, columns, 10 ** rng.uniform(2.5, 4.3)
