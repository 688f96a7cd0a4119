"""Solve one frame: find its stars, match them to the catalogue, fit, accept or refuse.

Priors are tried in order, the likeliest and cheapest first. A wrong solution is worse than none:
every hypothesis tried counts against the match that is found in the end.
"""

import itertools
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scripts.lib.solving import tangent
from scripts.lib.solving.detection import WINDOWS, Centroids, Found, detect, measure
from scripts.lib.solving.fitting import FREE, SEQUENCE, Errors, Freedom, fit_wcs
from scripts.lib.solving.image import Image
from scripts.lib.solving.matching import Match, best_match, log_chance, pair_up, vote
from scripts.lib.solving.photometry import UNKNOWN, Photometry, photometry
from scripts.lib.solving.stars import CatalogueStars
from scripts.lib.solving.tangent import TangentWCS, distance, moved_to, project, to_plane

if TYPE_CHECKING:
    from scripts.lib.solving.engine import Engine

ACCEPTED = -5.0  # log10 of the expected number of false matches
FEWEST = 4  # stars matched, without a frame before
FEWEST_IN_SEQUENCE = 3
FARTHEST = 0.33  # degrees from the pointing to the centre of the frame
LARGEST_SKEW = 0.01
LARGEST_RMS = 0.8  # arcsec
# Brightest stars of the frame, and catalogue stars for each of them: few first, under all priors.
Lists = tuple[tuple[int, float], ...]
LISTS: tuple[Lists, ...] = (((14, 2.0),), ((14, 5.0), (40, 2.0), (40, 4.0)))
MOST_CATALOGUE = 400  # stars of the catalogue in one vote
FEWEST_PAIRED = 300  # catalogue stars
PAIRED = 1.5  # arcsec: stars of all brightness that belong together once the WCS is known
FORCED_STARS = 40
FORCED_FEWEST = 6
FORCED_SNR = 8.0
FORCED_SHARE = 0.6  # of the stars with light at their place must have moved alike …
FORCED_ALIKE = (0.35, 0.7)  # … to this many arcsec

Pointing = tuple[float, float]  # right ascension and declination, degrees
Shape = tuple[int, int]  # rows and columns


class Orientation(NamedTuple):
    """How a camera sits on its telescope."""

    scale: float  # arcsec a pixel
    rotation: float  # degrees
    parity: int  # 1, or -1 mirrored


class Prior(NamedTuple):
    """Where a frame may be: a WCS, and the largest errors that it may have."""

    name: str
    wcs: TangentWCS  # reference at the middle of the frame
    window: float  # of its place, arcsec
    rotation: float  # radians; pi for any
    scale: float  # relative
    freedom: Freedom  # of the fit


class Solution(NamedTuple):
    """The world coordinates of a frame and how good they are."""

    wcs: TangentWCS
    method: str  # the prior that led to it, or ``forced``
    detected: int  # stars
    matched: int
    rms: float  # residual, arcsec
    log_fap: float  # log10 of the expected number of false matches
    offset: float  # from the pointing to the middle of the frame, arcsec
    background: float  # ADU
    sky: float  # ADU/s
    errors: Errors
    members: np.ndarray  # index of the matched stars in the catalogue, brightest first
    flux: np.ndarray  # ADU, of each when it was last measured
    stars: Centroids  # those measured on this frame
    seen: np.ndarray  # index of each among the members
    photometry: Photometry = UNKNOWN


class Unsolved(ValueError):
    """A frame has no solution; the message is the reason.

    ``found`` is what was seen of the frame, ``log_fap`` that of the best match that was refused.
    """

    def __init__(self, reason: str, found: Found | None = None, log_fap: float = 0.0):
        super().__init__(reason)
        self.found, self.log_fap = found, log_fap


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


def pointing_priors(ra: float, dec: float, mount: Orientation, shape: Shape) -> list[Prior]:
    """Return priors of a frame of which only the pointing is known, the likeliest first."""
    both_sides, small = [mount.rotation, mount.rotation + 180], math.radians(2.5)
    priors = []
    for name, rotations, tolerances in (
        ("pointing", both_sides, (150.0, small, 0.02)),
        ("far pointing", both_sides, (780.0, small, 0.01)),
        ("any rotation", [0.0], (150.0, math.pi, 0.01)),
    ):
        for parity, rotation in itertools.product((mount.parity, -mount.parity), rotations):
            wcs = tangent.oriented(ra, dec, *middle(shape), mount.scale, rotation, parity)
            priors.append(Prior(name, wcs, *tolerances, FREE))
    return priors


def solve_detected(
    found: Found,
    catalogue: CatalogueStars,
    priors: list[Prior],
    pointing: Pointing,
    shape: Shape,
) -> Solution:
    """Return the solution of a frame whose stars were found; raise `Unsolved` if there is none."""
    if len(found.stars) < FEWEST_IN_SEQUENCE:
        raise Unsolved(f"no stars: {len(found.stars)} found", found)
    tried, best = 0, 0.0
    for lists, prior in itertools.product(LISTS, priors):
        match, tried = match_prior(found, catalogue, prior, shape, tried, lists)
        if match is None:
            continue
        best = min(best, match.log_fap)
        fewest = FEWEST_IN_SEQUENCE if prior.rotation == 0 else FEWEST
        if match.log_fap > ACCEPTED or len(match.pairs) < fewest:
            continue
        solution = refine(found, catalogue, prior, match, pointing)
        if is_credible(solution, prior):
            return solution
    raise Unsolved(
        f"no match beyond doubt: {len(found.stars)} stars found, "
        f"log10 of the false-alarm probability {best:.1f}",
        found,
        best,
    )


def match_prior(
    found: Found, catalogue: CatalogueStars, prior: Prior, shape: Shape, tried: int, lists: Lists
) -> tuple[Match | None, int]:
    """Return the best match under a prior, or None, and how many hypotheses were tried so far."""
    rows, columns = shape
    plane = project(catalogue.ra, catalogue.dec, prior.wcs.ra, prior.wcs.dec)
    reach = math.hypot(rows, columns) * prior.wcs.scale / 2
    if prior.rotation < 1:
        box = abs(np.linalg.inv(prior.wcs.cd) @ plane.T) - (prior.window / prior.wcs.scale)
        inside = (box[0] < columns / 2) & (box[1] < rows / 2)
        sides = [n * prior.wcs.scale + 2 * prior.window for n in (rows, columns)]
        area = sides[0] * sides[1]
    else:
        inside = np.hypot(*plane.T) < reach + prior.window
        area = math.pi * (reach + prior.window) ** 2
    known = plane[inside] @ (1, 1j)
    places = to_plane(prior.wcs, found.stars.xy) @ (1, 1j)
    field = rows * columns * prior.wcs.scale**2
    best: Match | None = None
    seen = set()
    for number, ratio in lists:
        mine = places[:number]
        theirs = known[: min(MOST_CATALOGUE, max(8, round(len(mine) * ratio * area / field)))]
        if (len(mine), len(theirs)) in seen:
            continue
        seen.add((len(mine), len(theirs)))
        if prior.rotation == 0:
            # Every shift that brings a star of the frame onto one of the catalogue.
            shifts = (theirs[None, :] - mine[:, None]).ravel()
            shifts = shifts[(abs(shifts.real) < prior.window) & (abs(shifts.imag) < prior.window)]
            candidates, votes = [(1 + 0j, complex(shift)) for shift in shifts], len(shifts)
        else:
            candidates, votes = vote(mine, theirs, prior.rotation, prior.scale, prior.window)
        tried += votes
        loose = prior.rotation > 0
        match = best_match(mine, theirs, candidates, tried, len(theirs) / area, loose)
        if match and (best is None or match.log_fap < best.log_fap):
            best = match
        if best and best.log_fap < 2 * ACCEPTED:
            break
    return best, tried


def refine(
    found: Found,
    catalogue: CatalogueStars,
    prior: Prior,
    match: Match,
    pointing: Pointing,
) -> Solution:
    """Return the solution that all stars of a frame agree on, given the match of the brightest."""
    turn = np.array([[match.turn.real, -match.turn.imag], [match.turn.imag, match.turn.real]])
    cd = turn @ prior.wcs.cd
    shift = np.linalg.solve(cd, [match.shift.real, match.shift.imag])
    # The same mapping, its reference pixel at the point where the plane touches.
    wcs = prior.wcs._replace(x=prior.wcs.x - shift[0], y=prior.wcs.y - shift[1], cd=cd)
    wcs = moved_to(wcs, prior.wcs.x, prior.wcs.y)
    start = wcs
    for radius in (2 * PAIRED, PAIRED, PAIRED):
        plane = project(catalogue.ra, catalogue.dec, wcs.ra, wcs.dec)
        near = np.flatnonzero(np.hypot(*plane.T) < 1.1 * np.hypot(wcs.x, wcs.y) * wcs.scale)
        near = near[: max(FEWEST_PAIRED, 15 * len(found.stars))]
        pairs = pair_up(to_plane(wcs, found.stars.xy) @ (1, 1j), plane[near] @ (1, 1j), radius)
        if len(pairs) < 2:
            break
        mine, theirs = pairs[:, 0], near[pairs[:, 1]]
        # The prior stays at the first matrix: one that moved along with the fit would be none.
        base = wcs._replace(cd=start.cd)
        error = _errors(found.stars.taken(mine), wcs.scale)
        fit = fit_wcs(base, found.stars.xy[mine], plane[theirs], error, prior.freedom)
        wcs = fit.wcs
    order = np.argsort(theirs)
    order = order[fit.kept[order]]
    stars, members = found.stars.taken(mine[order]), theirs[order]
    return Solution(
        wcs,
        prior.name,
        len(found.stars),
        len(members),
        fit.rms,
        match.log_fap,
        3600 * distance(wcs.ra, wcs.dec, *pointing),
        found.background,
        found.sky,
        fit.errors,
        members,
        stars.flux,
        stars,
        np.arange(len(members)),
    )


def _errors(stars: Centroids, scale: float) -> np.ndarray:
    """Return the errors of stars' places, arcsec; saturated ones count little."""
    return np.hypot(np.where(stars.saturated, 1.0, stars.error) * scale, 0.02)


def is_credible(solution: Solution, prior: Prior) -> bool:
    """Return whether a solution is one that its telescope can have, given the prior."""
    return (
        abs(solution.wcs.scale / prior.wcs.scale - 1) <= max(prior.scale, 0.003) * 1.2
        and solution.wcs.skew <= LARGEST_SKEW
        and solution.rms <= LARGEST_RMS
        and solution.offset <= FARTHEST * 3600
    )


def solve_forced(
    image: Image, catalogue: CatalogueStars, before: Solution, pointing: Pointing
) -> Solution | None:
    """Return the solution of a frame by the stars of the frame before it, or None if unsafe.

    Their centroids are measured where the WCS of the frame before has them; nothing is searched.
    It is safe if most of the places with light moved alike: stars at other places, hot pixels and
    cosmic rays do not.
    """
    if len(before.members) < FORCED_FEWEST:
        return None
    members = before.members[:FORCED_STARS]
    ra, dec = catalogue.ra[members], catalogue.dec[members]
    fwhm = float(np.clip(before.photometry.fwhm, *WINDOWS))
    reach = max(4.0, 0.7 * fwhm)
    stars = measure(image, tangent.to_pixels(before.wcs, ra, dec), fwhm, reach)
    bright = stars.snr > FORCED_SNR
    if bright.sum() < max(FORCED_FEWEST, 0.5 * len(members)):
        return None
    index = np.flatnonzero(bright)
    stars, members = stars.taken(index), members[index]
    plane = project(catalogue.ra[members], catalogue.dec[members], before.wcs.ra, before.wcs.dec)
    moved = plane - to_plane(before.wcs, stars.xy)
    astray = np.hypot(*(moved - np.median(moved, 0)).T)
    chances = []
    for radius in FORCED_ALIKE:
        count, area = int((astray < radius).sum()), (radius / (reach * before.wcs.scale)) ** 2
        chances.append((log_chance(count, len(astray), area, len(FORCED_ALIKE), 1), radius))
    chance, radius = min(chances)
    alike = astray < radius
    if alike.mean() < FORCED_SHARE or chance > ACCEPTED:
        return None
    index, stars, members, plane = index[alike], stars.taken(alike), members[alike], plane[alike]
    fit = fit_wcs(before.wcs, stars.xy, plane, _errors(stars, before.wcs.scale), SEQUENCE)
    if fit.rms > LARGEST_RMS / 2:
        return None
    stars, seen = stars.taken(fit.kept), index[fit.kept]
    background, flux = image.level(), before.flux.copy()
    flux[seen] = stars.flux
    return before._replace(
        wcs=fit.wcs,
        method="forced",
        detected=int(bright.sum()),
        matched=int(fit.kept.sum()),
        rms=fit.rms,
        log_fap=chance,
        offset=3600 * distance(fit.wcs.ra, fit.wcs.dec, *pointing),
        background=background,
        sky=image.sky(background),
        errors=fit.errors,
        flux=flux,
        stars=stars,
        seen=seen,
    )


def solve(
    image: Image,
    catalogue: CatalogueStars,
    priors: list[Prior],
    pointing: Pointing,
    mount: Orientation,
    before: Solution | None = None,
    engine: "Engine | None" = None,
) -> Solution:
    """Return the solution of a frame.

    Parameters
    ----------
    catalogue : CatalogueStars
        Stars around the pointing, brightest first, at the epoch of the frame.
    priors : list of Prior
        See `header_priors` and `pointing_priors`.
    before : Solution, optional
        Of the frame before in the same sequence: tried before the priors.
    engine : scripts.lib.solving.engine.Engine, optional
        Tried when all priors have failed.

    Raises
    ------
    Unsolved
        With the reason.
    """
    solution = solve_forced(image, catalogue, before, pointing) if before else None
    if solution is None:
        priors = sequence_priors(before.wcs) + priors if before else priors
        solution = _solve_searched(image, catalogue, priors, pointing, mount, engine)
    members = solution.members[solution.seen]
    seen = photometry(image, catalogue, solution.wcs, solution.stars, members)
    return solution._replace(photometry=seen)


def _solve_searched(
    image: Image,
    catalogue: CatalogueStars,
    priors: list[Prior],
    pointing: Pointing,
    mount: Orientation,
    engine: "Engine | None",
) -> Solution:
    """Return the solution by the stars that are found on a frame; raise as `solve` does."""
    found = detect(image)
    try:
        solution = solve_detected(found, catalogue, priors, pointing, image.shape)
    except Unsolved:
        if engine is None or len(found.stars) < FEWEST:
            raise
        prior = engine.prior(found.stars, *pointing, mount, image.shape)
        if prior is None:
            raise
        solution = solve_detected(found, catalogue, [prior], pointing, image.shape)
    # The flux of a star depends on the window a little: measured as `solve_forced` does.
    brightest = solution.seen[:FORCED_STARS]
    stars = solution.stars.taken(brightest)
    fwhm = float(np.clip(np.median(stars.fwhm), *WINDOWS))
    stars = measure(image, stars.xy, fwhm, max(4.0, 0.7 * fwhm))
    flux = solution.flux.copy()
    flux[brightest] = stars.flux
    return solution._replace(stars=stars, seen=brightest, flux=flux)
