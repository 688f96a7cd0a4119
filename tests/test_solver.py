"""What must not fool the solver, and why it refuses what it refuses."""

import math
from dataclasses import replace

import numpy as np
import pytest

from scripts.lib.settings.records import Camera
from scripts.lib.solving.detection import Centroids, Found, measure
from scripts.lib.solving.fitting import FREE
from scripts.lib.solving.image import Image
from scripts.lib.solving.matching import MISSING, Match, covered, final_chance
from scripts.lib.solving.priors import USUAL, Orientation, Prior, limits_of, pointing_priors
from scripts.lib.solving.solver import Unsolved, may_be_left, refine, solve_detected, start_of
from scripts.lib.solving.stars import CatalogueStars
from scripts.lib.solving.tangent import deproject, oriented, to_pixels
from scripts.simulator.sky import aimed, linear
from tests.sequences import EPOCH, camera_of, drawn, shot_of, solutions

SHAPE = (1000, 1000)
POINTING = (120.0, -30.0)

# What happens between the first frame and the second: arcsec that the telescope moves, the light
# of the first frame's place on the second, and whether its own place lacks that light.
LEFT = {
    "persistence of 0.3 percent": (9.0, 0.003, False),
    "persistence of 3 percent": (-13.0, 0.03, False),
    "moved early in the exposure": (9.0, 0.1, True),
    "moved after a quarter of it": (12.0, 0.25, True),
    "persistence over a flip": (0.0, 0.01, False),
}


def after_a_move(move: float, second: float, moved: bool, density: float = 12.0) -> list:
    """Return two exposures: the second shows something of where the first one was."""
    camera = camera_of()
    first = aimed(camera, shot_of(0, density=density), 40.0)
    other = shot_of(1, density=density, mispointing=8.0 + move, flipped=not move)
    other = aimed(camera, other, 40.0)
    return [first, replace(other, second=second, second_wcs=first.wcs, moved=moved)]


def apart(one, shot) -> float:
    """Return the largest distance (arcsec) of a solution from the truth, over the frame."""
    true = linear(shot.wcs)
    xy = np.array([(x, y) for x in (1, 350, 700) for y in (1, 358, 716)])
    cd = 3600 * np.array([[true["cd1_1"], true["cd1_2"]], [true["cd2_1"], true["cd2_2"]]])
    wcs = one.wcs._replace(
        ra=true["crval1"], dec=true["crval2"], x=true["crpix1"], y=true["crpix2"], cd=cd
    )
    sky = deproject((xy - (one.wcs.x, one.wcs.y)) @ one.wcs.cd.T, one.wcs.ra, one.wcs.dec)
    return float(np.hypot(*(to_pixels(wcs, *sky) - xy).T).max() * one.wcs.scale)


@pytest.mark.parametrize("density", [4.0, 15.0])
@pytest.mark.parametrize("kind", LEFT)
def test_light_left_from_the_frame_before_is_no_solution(kind, density):
    night = drawn(after_a_move(*LEFT[kind], density))
    found = solutions(night)[1]
    assert found.method != "forced"
    assert apart(found, night.shots[1]) < 1


@pytest.mark.parametrize("share", [0.4, 0.5, 0.65])
def test_two_images_of_the_stars_are_no_place(share):
    """A telescope that moved in the middle of an exposure was at neither place."""
    with pytest.raises(Unsolved, match="two images of the stars, [23].* pixels apart"):
        solutions(drawn(after_a_move(9.0, share, True)))


def test_few_faint_stars_at_the_old_place_are_no_solution():
    """With 3 stars nothing tells a cloud from what a detector remembers."""
    night = drawn([shot_of(i, density=12.0) for i in (0, 1)])
    first = solutions(night)[0]
    few = first._replace(matched=3, photometry=first.photometry)
    assert not may_be_left(few, first)
    assert may_be_left(few._replace(flux=0.3 * few.flux), first)
    assert not may_be_left(few._replace(flux=0.4 * few.flux), first)
    assert not may_be_left(first._replace(flux=0.3 * first.flux), first)
    wcs = few.wcs._replace(x=few.wcs.x + 20)
    assert not may_be_left(few._replace(flux=0.3 * few.flux, wcs=wcs), first)


def test_a_cloud_alone_does_not_end_forced_centroids():
    """Neither when it comes suddenly, nor when it goes."""
    clouds = (0.0, 1.2, 0.0, 0.5, 1.0)
    found = solutions(drawn([shot_of(i, cloud=cloud) for i, cloud in enumerate(clouds)]))
    assert [one.method for one in found[1:]] == ["forced"] * 4


def sky_of(number: int, seed: int = 1, side: float = 600.0) -> CatalogueStars:
    """Return random stars around the pointing, brightest first, ``side`` arcsec to each side."""
    rng = np.random.default_rng(seed)
    ra, dec = deproject(rng.uniform(-side, side, (number, 2)), *POINTING)
    zero = np.zeros(number)
    mag = np.linspace(9, 19, number)
    return CatalogueStars(ra, dec, mag, zero, zero, zero + EPOCH.year, zero + np.nan)


def found_at(xy: np.ndarray, error: float = 0.02) -> Found:
    """Return detected stars at pixels (n, 2), the brightest first."""
    ones = np.ones(len(xy))
    flux = 1e5 * 0.9 ** np.arange(len(xy))
    stars = Centroids(*xy.T, error * ones, 4 * ones, 4 * ones, 50 * ones, ones > 1, flux, 0 * ones)
    return Found(stars, 400.0, 10.0, 4.0)


def seen(sky: CatalogueStars, noise: float = 0.02, scale: float = 0.35, seed: int = 2):
    """Return pixels of the sky's stars on the frame, in order of brightness, with errors."""
    xy = to_pixels(oriented(*POINTING, 500.5, 500.5, scale, 0.5, 1), sky.ra, sky.dec)
    inside = ((xy > 5) & (xy < 995)).all(axis=1)
    return xy[inside] + np.random.default_rng(seed).normal(0, noise, (int(inside.sum()), 2))


def solved(xy, sky, limits=USUAL, scale=0.35, error=0.02):
    priors = pointing_priors(*POINTING, Orientation(scale, 0.0, 1), SHAPE, limits.search)
    return solve_detected(found_at(xy, error), sky, priors, POINTING, SHAPE, limits)


def test_the_chance_is_that_of_the_final_pairs():
    """More stars agree in the end than those by which the match was found."""
    sky = sky_of(400)
    assert solved(seen(sky)[:6], sky).log_fap > solved(seen(sky)[:40], sky).log_fap - 20
    assert solved(seen(sky)[:40], sky).log_fap < -60


def test_bright_stars_that_are_missing_count_against_a_solution():
    known = np.random.default_rng(4).uniform(20, 980, (60, 2))
    whole = final_chance(known[:30], known, 4.0, SHAPE, 100, 2)
    for missing in (1, 3):
        brighter = np.random.default_rng(5).uniform(20, 980, (missing, 2))
        with_brighter = np.concatenate([brighter, known])
        found = final_chance(known[:30], with_brighter, 4.0, SHAPE, 100, 2)
        assert found == pytest.approx(whole + missing * MISSING, abs=0.5)
    # One at the edge could not be seen.
    edge = np.concatenate([[[2.0, 500.0]], known])
    assert final_chance(known[:30], edge, 4.0, SHAPE, 100, 2) == pytest.approx(whole, abs=0.5)


@pytest.mark.parametrize("seed", range(3))
def test_few_matches_of_many_stars_are_refused(seed):
    """Five of 109 stars agree by construction, at another scale; the others are elsewhere."""
    rng = np.random.default_rng([seed, 8])
    sky = sky_of(1500, seed + 20)
    planted = seen(sky, scale=0.3533)[:5]
    xy = np.concatenate([planted, rng.uniform(5, 995, (104, 2))])
    with pytest.raises(Unsolved) as refusal:
        solved(xy, sky)
    assert "stars match" in str(refusal.value) or "no match beyond doubt" in str(refusal.value)


def test_a_small_catalogue_is_dense_in_its_own_area():
    rng = np.random.default_rng(6)
    areas = [covered(rng.uniform(-50, 50, (40, 2)) @ (1, 1j)) for _ in range(200)]
    assert np.mean(areas) == pytest.approx(100**2, rel=0.05)
    assert covered(np.array([1 + 1j])) == covered(np.array([1 + 1j, 1 + 5j])) == math.inf


def test_a_refusal_says_what_is_wrong():
    sky = sky_of(400)
    tight = USUAL._replace(rms=0.001)
    with pytest.raises(
        Unsolved, match=r"its residual is 0\.\d\d arcsec, the limit is 0\.00"
    ) as one:
        solved(seen(sky, noise=0.5), sky, tight, error=0.5)
    assert one.value.log_fap < -20
    far = USUAL._replace(search=1.0)
    moved = sky._replace(ra=sky.ra + 0.01)
    with pytest.raises(Unsolved, match=r"it lies \d\d arcsec from the pointing, the limit is 2"):
        solved(seen(sky), moved, far)
    with pytest.raises(Unsolved, match="no match beyond doubt: 30 stars found"):
        solved(np.random.default_rng(3).uniform(5, 995, (30, 2)), sky)


def test_a_match_that_falls_apart_is_refused():
    """Refined, not one star agrees with it."""
    wcs = oriented(*POINTING, 500.5, 500.5, 0.35, 0.0, 1)
    prior = Prior("pointing", wcs, 150.0, 0.04, 0.02, FREE)
    match = Match(1 + 0j, 0j, np.array([[0, 0]]), -9.0)
    lonely = sky_of(2)
    found = found_at(to_pixels(wcs, lonely.ra, lonely.dec) + 100.0)
    start = start_of(prior, match)
    assert refine(found, lonely, prior, start, POINTING, SHAPE, 1, USUAL) is None


def camera(scale: float, **keys: float) -> Camera:
    return Camera("any", 1000, 1000, scale, **keys)


def test_limits_are_in_pixels_where_pixels_are_coarse():
    """Those of the four telescopes are in arcsec; at 5 arcsec a pixel no star is right to 0.8."""
    for scale in (0.309, 0.348):
        assert limits_of(camera(scale), scale) == USUAL
    sky = sky_of(400, side=9000.0)
    xy = seen(sky, noise=1.0, scale=5.0)
    coarse = limits_of(camera(5.0), 5.0)
    assert solved(xy, sky, coarse, 5.0, error=1.0).matched > 20
    with pytest.raises(Unsolved):
        solved(xy, sky, USUAL, 5.0, error=1.0)
    assert limits_of(camera(0.35, search_radius=20), 0.35).search == 1200


def test_the_saturation_level_is_that_of_the_camera():
    y, x = np.mgrid[1:101, 1:101]
    pixels = 500 + 14000 * np.exp(-((x - 50) ** 2 + (y - 50) ** 2) / 8)
    pixels += np.random.default_rng(1).normal(0, 5, pixels.shape)
    stored = (pixels.round() - 32768).astype(">i2")
    for level, saturated in ((65_000, False), (14_000, True)):
        stars = measure(Image(stored, saturation=level), np.array([[50.0, 50.0]]), 4.7, 3.0)
        assert stars.saturated.tolist() == [saturated]
