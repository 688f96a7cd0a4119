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
from scripts.lib.solving.fitting import SEQUENCE, Errors, fit_wcs
from scripts.lib.solving.image import Image
from scripts.lib.solving.matching import (
    MATCH,
    Match,
    best_match,
    covered,
    final_chance,
    log_chance,
    pair_up,
    vote,
)
from scripts.lib.solving.photometry import UNKNOWN, Photometry, photometry
from scripts.lib.solving.priors import (
    USUAL,
    Limits,
    Orientation,
    Pointing,
    Prior,
    Shape,
    sequence_priors,
)
from scripts.lib.solving.second_image import SECOND_LIGHT, has_second_image, second_image
from scripts.lib.solving.stars import CatalogueStars
from scripts.lib.solving.tangent import TangentWCS, distance, moved_to, project, to_plane

if TYPE_CHECKING:
    from scripts.lib.solving.engine import Engine

ACCEPTED = -5.0  # log10 of the expected number of false matches
FEWEST = 4  # stars matched, without a frame before
FEWEST_IN_SEQUENCE = 3
LARGEST_SKEW = 0.01
# Brightest stars of the frame, and catalogue stars for each of them: few first, under all priors.
Lists = tuple[tuple[int, float], ...]
LISTS: tuple[Lists, ...] = (((14, 2.0),), ((14, 5.0), (40, 2.0), (40, 4.0)))
MOST_CATALOGUE = 400  # stars of the catalogue in one vote
FEWEST_PAIRED = 300  # catalogue stars
PAIRED = 0.75  # of the match radius: stars of all brightness once the WCS is known
THIN = 0.25  # fewer of the stars than this belong to the catalogue: all else is tried first
FORCED_STARS = 40
FORCED_FEWEST = 6
FORCED_SNR = 8.0
FORCED_SHARE = 0.6  # of the stars with light at their place must have moved alike …
FORCED_ALIKE = (0.175, 0.35)  # … to this share of the match radius
FORCED_FLUX = 0.3  # of the flux in the frame before: less is what a detector remembers of it
LEFT_FLUX = 0.35  # of few stars at the same place: less than that of a magnitude of cloud
FORCED_WHOLE = 0.8  # of that flux: with less, a second image is looked for


class Solution(NamedTuple):
    """The world coordinates of a frame and how good they are."""

    wcs: TangentWCS
    method: str  # the prior that led to it, or ``forced``
    detected: int  # stars
    matched: int
    expected: int  # catalogue stars on the frame, as far as they were compared
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


def solve_detected(
    found: Found,
    catalogue: CatalogueStars,
    priors: list[Prior],
    pointing: Pointing,
    shape: Shape,
    limits: Limits = USUAL,
) -> Solution:
    """Return the solution of a frame whose stars were found; raise `Unsolved` if there is none."""
    seen = len(found.stars)
    if seen < FEWEST_IN_SEQUENCE:
        raise Unsolved(f"no stars: {seen} found", found)
    tried, best = 0, 0.0
    refused: list[tuple[float, str]] = []
    thin: list[Solution] = []
    for lists, prior in itertools.product(LISTS, priors):
        match, tried = match_prior(found, catalogue, prior, shape, tried, lists, limits.match)
        if match is None:
            continue
        best = min(best, match.log_fap)
        fewest = FEWEST_IN_SEQUENCE if prior.rotation == 0 else FEWEST
        if match.log_fap > ACCEPTED or len(match.pairs) < fewest:
            continue
        start = start_of(prior, match)
        solution = refine(found, catalogue, prior, start, pointing, shape, tried, limits)
        if solution is None:
            refused.append((match.log_fap, "fewer than 2 stars agree with it once it is refined"))
        elif reason := why_refused(found, solution, prior, fewest, limits):
            refused.append((solution.log_fap, reason))
        elif solution.matched < THIN * min(seen, solution.expected):
            thin.append(solution)
        else:
            return at_the_brighter(
                found, catalogue, prior, solution, pointing, shape, tried, limits
            )
    # Few of the stars match: only if nothing else does, and it is twice as certain.
    for solution in sorted(thin, key=lambda one: one.log_fap):
        if solution.log_fap <= 2 * ACCEPTED:
            return solution
        refused.append((solution.log_fap, f"only {solution.matched} of {seen} stars match"))
    if refused:
        best, reason = min(refused)
        certain = f"log10 of its false-alarm probability {best:.1f}"
        raise Unsolved(f"the best match is refused: {reason} ({certain})", found, best)
    raise Unsolved(
        f"no match beyond doubt: {seen} stars found, "
        f"log10 of the false-alarm probability {best:.1f}",
        found,
        best,
    )


def at_the_brighter(
    found: Found,
    catalogue: CatalogueStars,
    prior: Prior,
    solution: Solution,
    pointing: Pointing,
    shape: Shape,
    tried: int,
    limits: Limits,
) -> Solution:
    """Return a solution, or that by a brighter image of its stars; raise `Unsolved` if alike."""
    second = second_image(found, solution.stars)
    if second is None or second.light < SECOND_LIGHT:
        return solution
    x, y = second.move
    if second.light > 1 / SECOND_LIGHT:
        wcs = solution.wcs
        moved = moved_to(wcs._replace(x=wcs.x + x, y=wcs.y + y), prior.wcs.x, prior.wcs.y)
        again = refine(found, catalogue, prior, moved, pointing, shape, tried, limits)
        if again and again.log_fap <= ACCEPTED:
            return again
    raise Unsolved(
        f"two images of the stars, {math.hypot(x, y):.0f} pixels apart, the second with "
        f"{second.light:.0%} of the light of the first: the telescope moved",
        found,
        solution.log_fap,
    )


def match_prior(
    found: Found,
    catalogue: CatalogueStars,
    prior: Prior,
    shape: Shape,
    tried: int,
    lists: Lists,
    radius: float = MATCH,
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
    area = min(area, covered(known))
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
            candidates, votes = vote(
                mine, theirs, prior.rotation, prior.scale, prior.window, radius
            )
        tried += votes
        loose = prior.rotation > 0
        match = best_match(mine, theirs, candidates, tried, len(theirs) / area, loose, radius)
        if match and (best is None or match.log_fap < best.log_fap):
            best = match
        if best and best.log_fap < 2 * ACCEPTED:
            break
    return best, tried


def start_of(prior: Prior, match: Match) -> TangentWCS:
    """Return the WCS that a match makes of its prior's."""
    turn = np.array([[match.turn.real, -match.turn.imag], [match.turn.imag, match.turn.real]])
    cd = turn @ prior.wcs.cd
    shift = np.linalg.solve(cd, [match.shift.real, match.shift.imag])
    # The same mapping, its reference pixel at the point where the plane touches.
    wcs = prior.wcs._replace(x=prior.wcs.x - shift[0], y=prior.wcs.y - shift[1], cd=cd)
    return moved_to(wcs, prior.wcs.x, prior.wcs.y)


def refine(
    found: Found,
    catalogue: CatalogueStars,
    prior: Prior,
    start: TangentWCS,
    pointing: Pointing,
    shape: Shape,
    tried: int,
    limits: Limits,
) -> Solution | None:
    """Return the solution that all stars of a frame agree on; None if fewer than 2 do.

    Begins with the WCS that the brightest gave; ``tried`` hypotheses count against it.
    """
    wcs, near = start, np.empty(0, int)
    mine, theirs, fit = near, near, None
    radius = PAIRED * limits.match
    for reach in (2 * radius, radius, radius):
        plane = project(catalogue.ra, catalogue.dec, wcs.ra, wcs.dec)
        near = np.flatnonzero(np.hypot(*plane.T) < 1.1 * np.hypot(wcs.x, wcs.y) * wcs.scale)
        near = near[: max(FEWEST_PAIRED, 15 * len(found.stars))]
        pairs = pair_up(to_plane(wcs, found.stars.xy) @ (1, 1j), plane[near] @ (1, 1j), reach)
        if len(pairs) < 2:
            break
        mine, theirs = pairs[:, 0], near[pairs[:, 1]]
        # The prior stays at the first matrix: one that moved along with the fit would be none.
        base = wcs._replace(cd=start.cd)
        error = _errors(found.stars.taken(mine), wcs.scale)
        fit = fit_wcs(base, found.stars.xy[mine], plane[theirs], error, prior.freedom)
        wcs = fit.wcs
    if fit is None:
        return None
    order = np.argsort(theirs)
    order = order[fit.kept[order]]
    stars, members = found.stars.taken(mine[order]), theirs[order]
    known = tangent.to_pixels(wcs, catalogue.ra[near], catalogue.dec[near])
    known = known[((known >= 1) & (known <= shape[::-1])).all(axis=1)]
    given = 1 if prior.rotation == 0 else 2
    return Solution(
        wcs,
        prior.name,
        len(found.stars),
        len(members),
        len(known),
        fit.rms,
        final_chance(found.stars.xy, known, radius / wcs.scale, shape, tried, given),
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


def why_refused(found: Found, solution: Solution, prior: Prior, fewest: int, limits: Limits) -> str:
    """Return why a solution is none that its telescope can have, given the prior; or nothing."""
    wcs = solution.wcs
    if solution.log_fap > ACCEPTED:
        return f"{solution.matched} of {len(found.stars)} stars match, which may be chance"
    scale, most = abs(wcs.scale / prior.wcs.scale - 1), max(prior.scale, 0.003) * 1.2
    if scale > most:
        return f"its scale is {scale:.2%} off, the limit is {most:.2%}"
    if wcs.skew > LARGEST_SKEW:
        return f"its axes are skewed by {wcs.skew:.4f}, the limit is {LARGEST_SKEW}"
    if solution.rms > limits.rms:
        return f"its residual is {solution.rms:.2f} arcsec, the limit is {limits.rms:.2f}"
    if solution.offset > limits.farthest:
        return (
            f"it lies {solution.offset:.0f} arcsec from the pointing, "
            f"the limit is {limits.farthest:.0f}"
        )
    if solution.matched < fewest:
        return f"{solution.matched} stars match, {fewest} are needed"
    return ""


def solve_forced(
    image: Image,
    catalogue: CatalogueStars,
    before: Solution,
    pointing: Pointing,
    limits: Limits = USUAL,
) -> Solution | None:
    """Return the solution of a frame by the stars of the frame before it, or None if unsafe.

    Their centroids are measured where the WCS of the frame before has them; nothing is searched.
    It is safe if most of the places with light moved alike: stars at other places, hot pixels and
    cosmic rays do not. Light that a detector remembers of the frame before does: it is too faint.
    If the telescope moved during the exposure, there is a second image.
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
    for radius in (share * limits.match for share in FORCED_ALIKE):
        count, area = int((astray < radius).sum()), (radius / (reach * before.wcs.scale)) ** 2
        chances.append((log_chance(count, len(astray), area, len(FORCED_ALIKE), 1), radius))
    chance, radius = min(chances)
    alike = astray < radius
    if alike.mean() < FORCED_SHARE or chance > ACCEPTED:
        return None
    light = float(np.median(stars.flux[alike] / before.flux[index[alike]]))
    if light < FORCED_FLUX or (
        light < FORCED_WHOLE and has_second_image(image, stars.taken(alike))
    ):
        return None
    index, stars, members, plane = index[alike], stars.taken(alike), members[alike], plane[alike]
    fit = fit_wcs(before.wcs, stars.xy, plane, _errors(stars, before.wcs.scale), SEQUENCE)
    if fit.rms > limits.rms / 2:
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
    limits: Limits = USUAL,
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
    solution = solve_forced(image, catalogue, before, pointing, limits) if before else None
    if solution is None:
        priors = sequence_priors(before.wcs) + priors if before else priors
        solution = _solve_searched(
            image, catalogue, priors, pointing, mount, before, engine, limits
        )
    members = solution.members[solution.seen]
    seen = photometry(image, catalogue, solution.wcs, solution.stars, members)
    return solution._replace(photometry=seen)


def _solve_searched(
    image: Image,
    catalogue: CatalogueStars,
    priors: list[Prior],
    pointing: Pointing,
    mount: Orientation,
    before: Solution | None,
    engine: "Engine | None",
    limits: Limits,
) -> Solution:
    """Return the solution by the stars that are found on a frame; raise as `solve` does."""
    found = detect(image)
    try:
        solution = solve_detected(found, catalogue, priors, pointing, image.shape, limits)
    except Unsolved:
        if engine is None or len(found.stars) < FEWEST:
            raise
        prior = engine.prior(found.stars, *pointing, mount, image.shape)
        if prior is None:
            raise
        solution = solve_detected(found, catalogue, [prior], pointing, image.shape, limits)
    # The flux of a star depends on the window a little: measured as `solve_forced` does.
    brightest = solution.seen[:FORCED_STARS]
    stars = solution.stars.taken(brightest)
    fwhm = float(np.clip(np.median(stars.fwhm), *WINDOWS))
    stars = measure(image, stars.xy, fwhm, max(4.0, 0.7 * fwhm))
    flux = solution.flux.copy()
    flux[brightest] = stars.flux
    solution = solution._replace(stars=stars, seen=brightest, flux=flux)
    if before and may_be_left(solution, before):
        raise Unsolved(
            f"{solution.matched} faint stars where the frame before had them: "
            "they may be what the detector remembers of it",
            found,
            solution.log_fap,
        )
    return solution


def may_be_left(solution: Solution, before: Solution) -> bool:
    """Return whether few stars, much fainter, are where those of the frame before were."""
    moved = tangent.to_pixels(solution.wcs, before.wcs.ra, before.wcs.dec)[0]
    here = math.hypot(moved[0] - before.wcs.x, moved[1] - before.wcs.y)
    _, old, new = np.intersect1d(before.members, solution.members, return_indices=True)
    if solution.matched >= FORCED_FEWEST or here > before.photometry.fwhm or not len(old):
        return False
    return bool(np.median(solution.flux[new] / before.flux[old]) < LEFT_FLUX)
