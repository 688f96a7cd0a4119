"""The parts of plate solving, each against numpy's random skies or astropy."""

import math

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from scripts.lib.fits.bintable import Column, read_rows, table_hdu
from scripts.lib.fits.hdu import empty_structure, sealed
from scripts.lib.headers.sky_wcs import sky_wcs
from scripts.lib.solving.centroids import measure
from scripts.lib.solving.detection import detect
from scripts.lib.solving.fitting import FREE, SEQUENCE, fit_wcs
from scripts.lib.solving.image import Image, make_dark
from scripts.lib.solving.matching import log_chance, pair_up, vote
from scripts.lib.solving.tangent import (
    deproject,
    distance,
    moved_to,
    oriented,
    project,
    to_pixels,
    to_plane,
    to_sky,
)

POINTINGS = [(121.3, 4.28), (0.001, -89.5), (359.99, 60.0), (10.0, 0.0)]


@pytest.mark.parametrize("ra, dec", POINTINGS)
@pytest.mark.parametrize("parity, rotation", [(1, 0.7), (-1, 181.0), (1, 270.0)])
def test_the_tangent_plane_is_astropys(ra, dec, parity, rotation):
    wcs = oriented(ra, dec, 512.5, 640.5, 0.309, rotation, parity)
    header = fits.Header({k: v for k, v in sky_wcs(wcs).items() if k != "PA"})
    theirs = WCS(header)
    xy = np.random.default_rng(1).uniform(1, 1280, (50, 2))
    sky = theirs.all_pix2world(xy, 1)
    mine = np.column_stack(to_sky(wcs, xy))
    assert (mine[:, 0] - sky[:, 0] + 180) % 360 - 180 == pytest.approx(0, abs=1e-9)
    assert mine[:, 1] == pytest.approx(sky[:, 1], abs=1e-9)
    assert to_pixels(wcs, *mine.T) == pytest.approx(xy, abs=1e-5)
    assert wcs.parity == parity
    assert wcs.rotation == pytest.approx(rotation)
    assert wcs.scale == pytest.approx(0.309)
    assert wcs.skew == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("ra, dec", POINTINGS)
def test_a_moved_reference_pixel_means_the_same_sky(ra, dec):
    wcs = oriented(ra, dec, 100.0, 1900.0, 0.35, 33.0, 1)
    moved = moved_to(wcs, 1024.5, 1044.5)
    xy = np.random.default_rng(2).uniform(1, 2048, (50, 2))
    for a, b in zip(np.transpose(to_sky(wcs, xy)), np.transpose(to_sky(moved, xy)), strict=True):
        assert 3600 * distance(*a, *b) < 2e-3


def test_the_far_hemisphere_has_no_place_on_the_plane():
    assert np.isnan(project([190.0], [0.0], 10.0, 0.0)).all()


def test_projecting_and_back():
    plane = np.random.default_rng(3).uniform(-900, 900, (20, 2))
    assert project(*deproject(plane, 10, -70), 10, -70) == pytest.approx(plane, abs=1e-7)


def stars_of(wcs, number, seed=4, noise=0.0):
    rng = np.random.default_rng(seed)
    xy = rng.uniform(1, 2048, (number, 2))
    return xy + rng.normal(0, noise, xy.shape), np.array(to_sky(wcs, xy))


@pytest.mark.parametrize("number, worst", [(3, 0.3), (6, 0.15), (30, 0.05), (150, 0.03)])
def test_the_fit_finds_what_the_stars_can_tell(number, worst):
    """Also when it starts 10 arcsec, 0.3 degrees and 0.3 percent away."""
    true = oriented(200.0, -30.0, 1024.5, 1044.5, 0.348, 0.7, 1)
    start = oriented(200.003, -29.999, 1024.5, 1044.5, 0.349, 1.0, 1)
    xy, sky = stars_of(true, number, noise=0.1)
    for _ in range(2):
        plane = project(*sky, start.ra, start.dec)
        start = fit_wcs(start, xy, plane, np.full(number, 0.035), FREE).wcs
    grid = np.random.default_rng(5).uniform(1, 2048, (100, 2))
    off = project(*to_sky(start, grid), true.ra, true.dec) - to_plane(true, grid)
    assert np.hypot(*off.T).max() < worst


def test_the_fit_leaves_out_a_star_that_does_not_belong():
    true = oriented(200.0, -30.0, 1024.5, 1044.5, 0.348, 0.7, 1)
    xy, sky = stars_of(true, 20, noise=0.05)
    xy[3] += 3
    fit = fit_wcs(true, xy, project(*sky, 200.0, -30.0), np.full(20, 0.02), FREE)
    assert not fit.kept[3] and fit.kept.sum() == 19


def test_few_stars_cannot_bend_a_sequence():
    """Two stars of poor centroids move the frame; scale and rotation stay."""
    true = oriented(200.0, -30.0, 1024.5, 1044.5, 0.348, 0.7, 1)
    xy, sky = stars_of(true, 2, noise=0.5)
    fit = fit_wcs(true, xy, project(*sky, 200.0, -30.0), np.full(2, 0.2), SEQUENCE)
    assert fit.wcs.scale == pytest.approx(true.scale, rel=3e-4)
    assert fit.wcs.rotation == pytest.approx(true.rotation, abs=0.1)


def test_votes_agree_on_the_true_offset():
    rng = np.random.default_rng(6)
    catalogue = rng.uniform(-500, 500, (120, 2)) @ (1, 1j)
    turn, shift = 1.008 * np.exp(0.02j), 55 - 80j
    seen = (catalogue[(abs(catalogue.real) < 300) & (abs(catalogue.imag) < 300)] - shift) / turn
    candidates, votes = vote(seen[:12], catalogue, math.radians(2.5), 0.02, 150)
    assert votes > 60
    assert candidates[0][0] == pytest.approx(turn, abs=1e-3)
    assert candidates[0][1] == pytest.approx(shift, abs=0.5)


def test_pairs_are_each_others_nearest():
    pairs = pair_up(np.array([0, 1, 50j]), np.array([0.2 + 0j, 50j, 900]), 2.0)
    assert pairs.tolist() == [[0, 0], [2, 1]]


def test_the_chance_is_that_of_the_binomial_tail():
    # 3 of 4 further stars at 1 in 100 each: 4 * 0.01**3 * 0.99 + 0.01**4, for 1000 hypotheses.
    expected = 1000 * (4 * 0.01**3 * 0.99 + 0.01**4)
    assert log_chance(5, 6, 0.01, 1000, 2) == pytest.approx(math.log10(expected))
    assert log_chance(2, 6, 0.01, 1000, 2) == 0


def drawn(places, fwhm=4.0, shape=(400, 300), peak=3000, noise=10, seed=7):
    """Return the stored pixels of Gaussian stars at places counted from 1."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[1 : shape[0] + 1, 1 : shape[1] + 1]
    image = 500 + rng.normal(0, noise, shape)
    for px, py in places:
        image += peak * np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * (fwhm / 2.3548) ** 2))
    return (image.round() - 32768).astype(">i2")


def test_centroids_and_widths_are_right():
    places = np.array([[50.3, 60.7], [150.0, 200.5], [250.49, 350.1]])
    stars = measure(Image(drawn(places)), places.round(), 4.0, 3.0)
    assert stars.xy == pytest.approx(places, abs=0.03)
    assert stars.fwhm == pytest.approx(4.0, rel=0.1)
    assert (stars.snr > 100).all()


def test_nothing_is_measured_beyond_the_edge_or_where_no_star_is():
    stars = measure(Image(drawn([])), np.array([[2.0, 2.0], [150.0, 200.0]]), 4.0, 3.0)
    assert stars.snr[0] == 0
    assert stars.snr[1] < 6


def test_detection_finds_stars_and_no_cosmic_rays_or_hot_pixels():
    rng = np.random.default_rng(8)
    places = rng.uniform(30, 270, (12, 2))
    image = drawn(places)
    image[rng.integers(10, 390, 60), rng.integers(10, 290, 60)] = 20000
    image[333, 100:112] = 9000
    image[20:380, 200] = 1000
    found = detect(Image(image))
    distances = np.hypot(*(found.stars.xy[:, None] - places[None]).transpose(2, 0, 1))
    assert (distances.min(0) < 1).sum() >= 11
    assert (distances.min(1) < 1).mean() > 0.9
    assert found.fwhm == pytest.approx(4.0, rel=0.15)


def test_a_dark_makes_stars_stand_out():
    rng = np.random.default_rng(9)
    shape = (400, 300)
    pattern = 600 * (1 + 0.3 * rng.normal(size=shape))
    pattern[rng.random(shape) < 0.01] *= 20
    places = np.mgrid[40:280:60, 40:380:90].reshape(2, -1).T + rng.uniform(-9, 9, (16, 2))
    darks = [(pattern + rng.normal(0, 10, shape) - 32768).astype(">i2") for _ in range(5)]
    image = (drawn(places, peak=800) + pattern).astype(">i2")
    dark = make_dark(darks)
    found = detect(Image(image, dark))
    distances = np.hypot(*(found.stars.xy[:, None] - places[None]).transpose(2, 0, 1))
    assert (distances.min(0) < 0.5).sum() >= 15
    assert 0.005 < 1 - dark.good.mean() < 0.03
    half = make_dark(darks, 0.5)
    assert half.pattern == pytest.approx(dark.pattern / 2)


@pytest.mark.parametrize("shape", [(401, 301), (80, 64), (2088, 128)])
def test_frames_of_any_size_are_searched(shape):
    detect(Image(drawn([], shape=shape)))


def test_tables_are_read_back_and_by_astropy(tmp_path):
    columns = [
        Column("file", ["a.fits", "longer.fits", "T"]),
        Column("solved", [True, False, True]),
        Column("matched", [3, 0, -4]),
        Column("rms", [0.25, float("nan"), 1e300], "arcsec"),
    ]
    path = tmp_path / "table.fits"
    path.write_bytes(sealed(empty_structure(), 0) + table_hdu("X", "a table", columns))
    rows = read_rows(path)
    assert [row["file"] for row in rows] == columns[0].values
    assert [row["solved"] for row in rows] == columns[1].values
    assert rows[0] == {"file": "a.fits", "solved": True, "matched": 3, "rms": 0.25}
    with fits.open(path, checksum=True) as hdus:
        assert hdus[1].data["matched"].tolist() == [3, 0, -4]
        assert hdus[1].columns["rms"].unit == "arcsec"
    path.write_bytes(path.read_bytes()[:-2880])
    with pytest.raises(ValueError, match="cut short"):
        read_rows(path)
