"""The parts of plate solving, each against numpy's random skies or astropy."""

import math
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from scripts.commands.catalogue import make_index
from scripts.lib.files.errors import JobFailed
from scripts.lib.fits.bintable import Column, read_table_hdu, table_hdu
from scripts.lib.fits.cards import LONGEST_STRING
from scripts.lib.fits.hdu import empty_structure, with_checksums
from scripts.lib.headers.wcs import sky_wcs
from scripts.lib.ledger.records import Frame
from scripts.lib.solving.darks import dark_for
from scripts.lib.solving.detection import Centroids, Found, detect, measure
from scripts.lib.solving.engine import Engine
from scripts.lib.solving.fitting import FREE, SEQUENCE, Errors, fit_wcs
from scripts.lib.solving.image import Image, make_dark, map_pixels
from scripts.lib.solving.matching import log_chance, pair_up, vote
from scripts.lib.solving.photometry import Photometry
from scripts.lib.solving.priors import Orientation
from scripts.lib.solving.solver import Solution, Unsolved
from scripts.lib.solving.stars import CatalogueStars
from scripts.lib.solving.table import Solved, read_solved, solved_bytes, with_transparency
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
    header = fits.Header({k: v for k, v in sky_wcs(wcs, 0.01).items() if k != "PA"})
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
def test_the_fit_finds_what_the_stars_determine(number, worst):
    """Also when it starts 10 arcsec, 0.3 degrees and 0.3 percent away."""
    true = oriented(200.0, -30.0, 1024.5, 1044.5, 0.348, 0.7, 1)
    start = oriented(200.003, -29.999, 1024.5, 1044.5, 0.349, 1.0, 1)
    xy, sky = stars_of(true, number, noise=0.1)
    for _ in range(2):
        plane = project(sky[0], sky[1], start.ra, start.dec)
        start = fit_wcs(start, xy, plane, np.full(number, 0.035), FREE).wcs
    grid = np.random.default_rng(5).uniform(1, 2048, (100, 2))
    off = project(*to_sky(start, grid), true.ra, true.dec) - to_plane(true, grid)
    assert np.hypot(*off.T).max() < worst


def test_the_fit_leaves_out_a_star_that_does_not_belong():
    true = oriented(200.0, -30.0, 1024.5, 1044.5, 0.348, 0.7, 1)
    xy, sky = stars_of(true, 20, noise=0.05)
    xy[3] += 3
    fit = fit_wcs(true, xy, project(sky[0], sky[1], 200.0, -30.0), np.full(20, 0.02), FREE)
    assert not fit.kept[3] and fit.kept.sum() == 19


def test_few_stars_cannot_bend_a_sequence():
    """Two stars of poor centroids move the frame; scale and rotation stay."""
    true = oriented(200.0, -30.0, 1024.5, 1044.5, 0.348, 0.7, 1)
    xy, sky = stars_of(true, 2, noise=0.5)
    fit = fit_wcs(true, xy, project(sky[0], sky[1], 200.0, -30.0), np.full(2, 0.2), SEQUENCE)
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


def test_nothing_is_measured_beyond_the_edge_or_without_a_star():
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
    path.write_bytes(with_checksums(empty_structure(), 0) + table_hdu("X", "a table", columns))
    rows = read_table_hdu(path)[1]
    assert [row["file"] for row in rows] == columns[0].values
    assert [row["solved"] for row in rows] == columns[1].values
    assert rows[0] == {"file": "a.fits", "solved": True, "matched": 3, "rms": 0.25}
    with fits.open(path, checksum=True) as hdus:
        assert hdus[1].data["matched"].tolist() == [3, 0, -4]
        assert hdus[1].columns["rms"].unit == "arcsec"
    path.write_bytes(path.read_bytes()[:-2880])
    with pytest.raises(ValueError, match="cut short"):
        read_table_hdu(path)


SHAPE = (40, 50)  # rows, columns


def frame_of(name: str, kind: str = "dark", exptime: float = 5.0, shape=SHAPE) -> Frame:
    return Frame(
        "20260305",
        name,
        kind=kind,
        exptime=exptime,
        data_start=2880,
        naxis1=shape[1],
        naxis2=shape[0],
    )


def write_raw(path: Path, level: int, **keywords) -> None:
    """Write a raw frame of one level (ADU) with a brighter corner."""
    pixels = np.full(SHAPE, level, np.uint16)
    pixels[:10, :10] += 100
    header = fits.Header({"EXPTIME": 5.0} | keywords)
    fits.PrimaryHDU(pixels, header).writeto(path, overwrite=True)


def pattern(*arguments) -> np.ndarray:
    """Return what `dark_for` would subtract."""
    dark = dark_for(*arguments)
    assert dark is not None
    return dark.pattern


SCIENCE = frame_of("science.fits", "science", 10.0)


def test_darks_are_the_nearest_in_time_and_of_the_same_size(tmp_path):
    for name, level in [("near.fits", 600), ("far.fits", 900)]:
        write_raw(tmp_path / name, level)
    other = frame_of("gone.fits", exptime=10.0)
    small = frame_of("near.fits", exptime=10.0, shape=(40, 40))
    bias = frame_of("near.fits", exptime=0.0)
    night = [other, small, bias, SCIENCE, frame_of("near.fits"), frame_of("far.fits", exptime=60.0)]
    found = pattern(SCIENCE, night, tmp_path, "")
    # Twice as long as the dark of 5 s.
    assert found[0, 0] == pytest.approx(200) and found[-1, -1] == 0
    assert dark_for(SCIENCE, [other, small, bias, SCIENCE], tmp_path, "") is None


def test_a_dark_frame_that_is_truncated_is_left_out(tmp_path):
    for name in ("whole.fits", "truncated.fits"):
        write_raw(tmp_path / name, 600)
    os.truncate(tmp_path / "truncated.fits", 3000)
    night = [frame_of("truncated.fits"), frame_of("whole.fits")]
    assert pattern(SCIENCE, night, tmp_path, "")[0, 0] == pytest.approx(200)
    assert dark_for(SCIENCE, night[:1], tmp_path, "") is None
    with pytest.raises(ValueError, match="truncated: 3000 bytes of 6880"):
        map_pixels(tmp_path / "truncated.fits", night[0].data_start, night[0].shape)


def test_a_dark_file_stands_in_for_darks(tmp_path):
    write_raw(tmp_path / "dark.fits", 600)
    found = pattern(SCIENCE, [], tmp_path, str(tmp_path / "dark.fits"))
    assert found[0, 0] == pytest.approx(200)


def cut_off(path):
    write_raw(path, 600)
    os.truncate(path, 3000)


def other_size(path):
    fits.PrimaryHDU(np.zeros((4, 5), np.int16), fits.Header({"EXPTIME": 5.0})).writeto(path)


def of_floats(path):
    fits.PrimaryHDU(np.zeros(SHAPE, np.float32), fits.Header({"EXPTIME": 5.0})).writeto(path)


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda path: None, "does not exist; is its disk mounted"),
        (lambda path: path.mkdir(), "it is a folder"),
        (os.mkfifo, "not a regular file"),
        (lambda path: path.touch(), "it is empty"),
        (lambda path: path.write_text("no frame " * 500), "not a FITS file"),
        (lambda path: path.write_text("SIMPLE  = "), "ends within its header"),
        (cut_off, "truncated: 3000 bytes of 6880"),
        (other_size, "NAXIS1 5, NAXIS2 4, .*; it must be a raw dark frame of 50x40 pixels"),
        (of_floats, "BITPIX -32, .*; it must be a raw dark frame of 50x40 pixels, BITPIX 16"),
        (lambda path: write_raw(path, 600, EXPTIME=0.0), "EXPTIME 0.0; it must be"),
        (lambda path: write_raw(path, 600, EXPTIME="long"), "EXPTIME long; it must be"),
    ],
)
def test_a_dark_file_that_cannot_be_used_is_named(tmp_path, damage, message):
    path = tmp_path / "dark.fits"
    damage(path)
    with pytest.raises(JobFailed, match=message) as error:
        dark_for(SCIENCE, [], tmp_path, str(path))
    assert str(error.value).startswith(f"dark: {path}") and "Errno" not in str(error.value)


@pytest.fixture(scope="module")
def indexed(tmp_path_factory):
    """Stars on the sky, and a folder with two index files of them."""
    if not shutil.which("build-astrometry-index"):
        pytest.skip("Debian's astrometry.net is not installed")
    pytest.importorskip("astrometry")
    rng = np.random.default_rng(11)
    number = 20_000
    plane = rng.uniform(-2000, 2000, (number, 2))
    zero = np.zeros(number)
    ra, dec = deproject(plane, 120.0, 4.0)
    mag = np.sort(rng.uniform(8, 19, number))
    rows = CatalogueStars(ra, dec, mag, zero, zero, zero + 2015.5, zero + np.nan)
    folder = tmp_path_factory.mktemp("indexed") / "index"
    make_index(rows, folder, [1, 2])
    return rows, folder


@pytest.fixture
def index(indexed, tmp_path):
    """A copy of these index files."""
    return Path(shutil.copytree(indexed[1], tmp_path / "index"))


def seen(rows: CatalogueStars) -> Centroids:
    """Return the stars of a frame that is turned by 30 degrees."""
    places = to_pixels(oriented(120.0, 4.0, 1024.5, 1024.5, 0.35, 30.0, 1), rows.ra, rows.dec)
    x, y = places[((places > 30) & (places < 2018)).all(1)][:60].T
    ones = np.ones(len(x))
    return Centroids(x, y, ones, ones, ones, ones, ones > 1, ones, 0 * ones)


MOUNT = Orientation(0.35, 0.0, 1)


def test_the_engine_finds_a_frame_of_any_rotation(indexed):
    rows, folder = indexed
    prior = Engine(folder).prior(seen(rows), 120.0, 4.0, MOUNT, (2048, 2048))
    assert prior is not None and prior.wcs.rotation == pytest.approx(30, abs=0.1)


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda path: path.unlink(), "index-01.fits: No such file"),
        (lambda path: os.truncate(path, 100_000), "index-01.fits: 100000 bytes, .* when it was"),
        (lambda path: path.write_text("another"), "index-01.fits: 7 bytes, .* when it was opened"),
    ],
)
def test_index_files_that_change_under_the_engine_are_named(indexed, index, damage, message):
    engine, stars = Engine(index), seen(indexed[0])
    assert engine.prior(stars, 120.0, 4.0, MOUNT, (2048, 2048))
    damage(index / "index-01.fits")
    with pytest.raises(JobFailed, match=message) as error:
        engine.prior(stars, 120.0, 4.0, MOUNT, (2048, 2048))
    assert str(error.value).startswith(f"index: {index}")


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda path: os.truncate(path, 80_000), "index-01.fits: it is truncated"),
        (lambda path: os.truncate(path, path.stat().st_size - 3000), "index-01.fits: it is trunc"),
        (lambda path: path.write_text("a text" * 900), "index-01.fits: not a FITS file"),
        (lambda path: path.write_text(""), "index-01.fits: it is empty"),
        (lambda path: shutil.rmtree(path.parent), "does not exist; is its disk mounted"),
        (
            lambda path: [file.unlink() for file in path.parent.iterdir()],
            r"no index files \(\*.fits\)",
        ),
    ],
)
def test_unreadable_index_files_are_named_by_the_engine(index, damage, message):
    damage(index / "index-01.fits")
    with pytest.raises(JobFailed, match=message) as error:
        Engine(index)
    assert str(error.value).startswith(f"index: {index}")


def test_an_index_file_without_quads_is_named_by_the_engine(index):
    path = index / "index-02.fits"
    path.write_bytes(path.read_bytes().replace(b"kdtree_data_codes", b"kdtree_data_other"))
    with pytest.raises(JobFailed, match="index-02.fits: it has no table kdtree_data_codes"):
        Engine(index)


def test_an_index_file_that_the_engine_refuses_is_named(index, monkeypatch):
    def load(paths):
        if any(path.name == "index-02.fits" for path in paths):
            raise TypeError(f'loading "{paths}" failed')

    monkeypatch.setattr("astrometry.Solver", load)
    with pytest.raises(JobFailed, match="index-02.fits: the engine cannot load it"):
        Engine(index)


def test_the_engine_says_which_package_it_needs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "astrometry", None)
    with pytest.raises(JobFailed, match="pip install astrometry"):
        Engine(tmp_path)


def solution(method: str) -> Solution:
    wcs = oriented(10.0, -5.0, 512.5, 640.5, 0.309, 181.0, -1)
    seen = Photometry(25.1, 20.2, 140, 138, 5.0, 0.04)
    ones, members = np.ones(123), np.arange(123)
    stars = Centroids(*[ones] * 6, ones > 1, ones, 0 * ones)
    figures = (150, 123, 140, 0.0421, -30.0, 12.0, 400.0, 2.5, Errors(0.01, 2e-5, 1e-3))
    return Solution(wcs, method, *figures, members, ones, stars, members, seen)


@pytest.mark.parametrize(
    "name, end",
    [
        ("gaia.sqlite", "rms 0.042 arcsec, gaia.sqlite"),
        (
            "a-catalogue-of-a-very-long-name-of-many-words.sqlite",
            "arcsec, a-catalogue-of-a-very-...",
        ),
    ],
)
def test_the_provenance_fits_on_a_card(name, end):
    solved = Solved.of("a.fits", solution("far pointing"), name, 0.1)
    assert solved.provenance.startswith("far pointing, 123 stars, rms 0.042 arcsec, ")
    assert solved.provenance.endswith(end)
    assert len(solved.provenance) <= LONGEST_STRING
    failed = Solved.failed("a.fits", Unsolved("no stars: " + "many words " * 20), 0.1)
    assert len(failed.provenance) == LONGEST_STRING


def test_solutions_are_read_back(tmp_path):
    found = Found(measure(Image(drawn([])), np.empty((0, 2)), 1.0, 1.0), 400.0, 3.0, math.nan)
    rows = [
        Solved.of("a.fits", solution("forced"), "gaia.csv", 0.1),
        Solved.failed("b.fits", Unsolved("no stars: 0 found", found, -1.0), 0.2),
        Solved.failed("c.fits", Unsolved("unreadable DEC: é"), 0.3),
    ]
    rows = with_transparency(rows)
    (tmp_path / "s.fits").write_bytes(solved_bytes(rows))
    read = read_solved(tmp_path / "s.fits")
    assert list(read) == ["a.fits", "b.fits", "c.fits"]
    assert read["a.fits"] == rows[0]
    assert read["a.fits"].wcs.cd == pytest.approx(solution("forced").wcs.cd)
    assert read["a.fits"].wcs.ra == 10.0 and read["a.fits"].parity == -1
    assert not read["b.fits"].solved and read["b.fits"].background == 400.0
    assert read["a.fits"].transparency == 1 and math.isnan(read["b.fits"].transparency)
    assert read["b.fits"].sky == 3.0
    assert read["c.fits"].reason == "unreadable DEC: \\xe9"
