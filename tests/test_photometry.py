"""What the stars of a frame tell, against the truth that the simulator drew."""

import math

import numpy as np
import pytest

from scripts.lib.ledger.records import Frame
from scripts.lib.solving.darks import pedestal_for
from scripts.lib.solving.detection import signal_at
from scripts.lib.solving.table import Solved, with_transparency
from scripts.lib.solving.tangent import TangentWCS, project, to_pixels, to_plane
from scripts.simulator.sky import linear
from tests.sequences import Drawn, drawn, shot_of, solutions


@pytest.fixture(scope="module")
def cloudy() -> Drawn:
    """Frames through a cloud of up to 2.5 magnitudes, the seeing getting worse."""
    clouds = 2.5 * np.sin(np.linspace(0, math.pi, 14)) ** 2
    return drawn([shot_of(i, cloud=c, fwhm=1.2 + i / 20) for i, c in enumerate(clouds.tolist())])


@pytest.mark.parametrize("alone", [False, True])
def test_transparency_is_that_of_the_cloud(cloudy, alone):
    found = solutions(cloudy, alone)
    assert {one.method for one in found[1:]} == {"pointing" if alone else "forced"}
    rows = with_transparency([Solved.of("f", one, "c", 0.0) for one in found])
    loss = [-2.5 * math.log10(row.transparency) for row in rows]
    error = np.array(loss) - [shot.cloud for shot in cloudy.shots]
    assert np.median(abs(error)) < 0.05 and abs(error).max() < 0.15
    for row, shot in zip(rows, cloudy.shots, strict=True):
        # The profiles have wings that no Gaussian has.
        assert row.zero_point == pytest.approx(cloudy.camera.zero - shot.cloud - 0.19, abs=0.06)
        assert row.fwhm == pytest.approx(shot.fwhm, rel=0.2) and row.ellipticity < 0.1
        # Those at the edge are not measured.
        assert row.expected > 40 or shot.cloud > 1
        assert 0.85 * row.expected <= row.found <= row.expected


def test_half_of_the_stars_at_the_limit_are_there(cloudy):
    image, one = cloudy.images[7], solutions(cloudy)[7]
    limit = one.photometry.limiting_magnitude
    near = abs(cloudy.stars.mag - limit) < 0.15
    places = to_pixels(one.wcs, cloudy.stars.ra[near], cloudy.stars.dec[near])
    places = places[((places > 20) & (places < 680)).all(axis=1)]
    share = (signal_at(image, places, one.photometry.fwhm) > 5).mean()
    assert len(places) > 10 and 0.3 < share < 0.8


def test_the_sky_is_without_the_pedestal(cloudy):
    for one in solutions(cloudy) + solutions(cloudy, alone=True):
        assert one.sky == pytest.approx(cloudy.camera.sky, rel=0.2)


def test_every_method_gives_the_same_width_and_zero_point(cloudy):
    for one, other in zip(solutions(cloudy), solutions(cloudy, alone=True), strict=True):
        assert one.photometry.fwhm == pytest.approx(other.photometry.fwhm, rel=0.03)
        assert one.photometry.zero_point == pytest.approx(other.photometry.zero_point, abs=0.03)


def test_trailed_stars_are_elliptic():
    (one,) = solutions(drawn([shot_of(0, trail=8.0, fwhm=1.4)]))
    assert 0.3 < one.photometry.ellipticity < 0.8


def test_errors_are_those_of_the_fit(cloudy):
    """The deviations from the truth are one of the stated errors, on average."""
    ratios = []
    for shot, one in zip(cloudy.shots, solutions(cloudy), strict=True):
        true = linear(shot.wcs)
        cd = 3600 * np.array([[true["cd1_1"], true["cd1_2"]], [true["cd2_1"], true["cd2_2"]]])
        wcs = TangentWCS(true["crval1"], true["crval2"], true["crpix1"], true["crpix2"], cd)
        middle = (one.wcs.x, one.wcs.y)
        off = project(one.wcs.ra, one.wcs.dec, wcs.ra, wcs.dec) - to_plane(wcs, middle)
        ratios += [*(off.ravel() / one.errors.centre)]
        turned = (one.wcs.rotation - wcs.rotation + 180) % 360 - 180
        assert abs(turned) < 5 * one.errors.rotation
        assert abs(one.wcs.scale - wcs.scale) < 5 * one.errors.scale
    assert 0.3 < np.sqrt(np.mean(np.square(ratios))) < 2


@pytest.mark.parametrize(
    "frames, level",
    [
        ([("bias", 0.0, 500), ("dark", 60.0, 1100), ("dark", 5.0, 540)], 580.0),
        ([("dark", 60.0, 1100), ("dark", 5.0, 540)], 540.0),
        ([("bias", 0.0, 500), ("flat", 5.0, 9000)], 500.0),
        ([("flat", 5.0, 9000)], math.nan),
    ],
)
def test_the_pedestal_is_that_of_biases_and_darks(tmp_path, frames, level):
    """Exposures of 10 s: between the bias and the nearest dark, or beyond it."""
    night = []
    for number, (kind, exptime, value) in enumerate(frames):
        name = f"{number}.raw"
        (tmp_path / name).write_bytes(np.full((32, 48), value - 32768, ">i2").tobytes())
        night.append(Frame("20260305", name, kind=kind, exptime=exptime, naxis1=48, naxis2=32))
    science = Frame("20260305", "s", kind="science", exptime=10.0, naxis1=48, naxis2=32)
    lost = Frame("20260305", "gone.raw", kind="bias", naxis1=48, naxis2=32)
    found = pedestal_for(science, [lost, *night], tmp_path)
    assert found == pytest.approx(level, nan_ok=True)
