"""Simulated nights are as Astra writes them, and their truth table is right."""

import csv
import hashlib
import re
import subprocess
import sys
import warnings
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS

from scripts.simulator.night import BYTE_FAULTS, plan_night, read_camera, simulate, simulate_shots
from scripts.simulator.sky import Shot, SimulatedCamera, Sky, aimed, beside

NIGHT = "20260305"
MIDNIGHT = datetime(2026, 3, 6, 4, tzinfo=UTC)
AXES = ("RA---", "DEC--")
SIZE = (64, 80)
REPOSITORY = Path(__file__).parent.parent
START = """SIMPLE BITPIX NAXIS NAXIS1 NAXIS2 BUNIT BLANK ORIGIN TELESCOP INSTRUME PI-COI OBSERVER"""
SETTINGS = """RADESYS EQUINOX TIMESYS EXPTIME XBINNING YBINNING XPIXSZ YPIXSZ XORGSUBF YORGSUBF
CAM-SNAM CAM-STYP CAM-DNAM CAM-DVER SET-TEMP FILTER FW-NAME FW-DVER FOCUSSSZ APTAREA APTDIA
FOCALLEN ALT-OBS LAT-OBS LONG-OBS TEL-DNAM TEL-DVER DOM-DNAM IMAGETYP OBC-DNAM OBC-DVER SAF-DNAM
SAF-DVER ASTRA ASTRATYP DATE-OBS DATE"""
SKY = """WCSAXES CRPIX1 CRPIX2 PC1_1 PC1_2 PC2_1 PC2_2 CDELT1 CDELT2 CUNIT1 CUNIT2 CTYPE1 CTYPE2
CRVAL1 CRVAL2 LONPOLE LATPOLE MJDREF"""
SCALING = "BSCALE BZERO"
COMPLETED = """CCD-TEMP CAM-STAT FW-POS FOCUSPOS FOCUSTEM ALTITUDE AZIMUTH RA DEC TRACKING SLEWING
TELPARK PIERSIDE DOMEAZ DOMESTAT DOMPARK DEWPOINT HUMIDITY AMBTEMP WINDSPD SKYTEMP MJD-OBS LST HA
JD-OBS HJD-OBS BJD-OBS JD-END MJD-END DATE-END AIRMASS CHECKSUM DATASUM"""
ORDERS = {
    "calibration": [START, SETTINGS, SCALING, COMPLETED],
    "unsolved": [START, "OBJECT", SETTINGS, SCALING, COMPLETED],
    "solved": [START, "OBJECT", SETTINGS, SKY, SCALING, COMPLETED],
    "incomplete": [START, "OBJECT", SETTINGS, SKY, SCALING],
}
# What is wrong with a header: the keyword and its value, None if it is missing.
CARD_DEFECTS = {
    "no_date_obs": ("DATE-OBS", None),
    "bad_date_obs": ("DATE-OBS", "05/03/26 23:00"),
    "no_exptime": ("EXPTIME", None),
    "bad_exptime": ("EXPTIME", "ten"),
    "no_imagetyp": ("IMAGETYP", None),
    "no_filter": ("FILTER", None),
    "unknown_imagetyp": ("IMAGETYP", "Unknown Frame"),
    "incomplete": ("CHECKSUM", None),
    "pointing": ("ASTRATYP", "pointing"),
    "autofocus": ("ASTRATYP", "autofocus"),
    "calibrate_guiding": ("ASTRATYP", "calibrate_guiding"),
}


class Written:
    """A simulated night: its folder and its truth."""

    def __init__(self, root: Path, telescope: str, frames: int = 30, **options):
        self.root, self.folder = root, root / NIGHT
        self.truth = simulate(telescope, NIGHT, root, frames, **{"size": SIZE} | options)
        self.good = [row for row in self.truth if not row["fault"]]
        self.science = [row for row in self.good if row["kind"] == "science"]
        self.faults = {row["fault"]: row for row in self.truth if row["fault"]}

    def header(self, row: dict) -> fits.Header:
        return fits.getheader(self.folder / row["file"])

    def content(self, row: dict) -> bytes:
        return (self.folder / row["file"]).read_bytes()


@pytest.fixture(scope="module")
def callisto(tmp_path_factory):
    return Written(tmp_path_factory.mktemp("callisto"), "Callisto", faults=True)


@pytest.fixture(scope="module")
def io(tmp_path_factory):
    return Written(tmp_path_factory.mktemp("io"), "Io", faults=True)


@pytest.fixture(params=["callisto", "io"])
def night(request):
    return request.getfixturevalue(request.param)


def keywords(kind: str) -> list[str]:
    return " ".join(ORDERS[kind]).split()


def hdu_sum(content: bytes) -> int:
    """Return the ones' complement sum of a file's 32-bit words: 0 if its checksums hold."""
    return int(np.frombuffer(content, ">u4").sum(dtype=np.uint64)) % 0xFFFFFFFF


def true_wcs(row: dict) -> WCS:
    header = {f"CTYPE{i + 1}": f"{axis}{row['ctype']}" for i, axis in enumerate(AXES)}
    keys = "crpix1 crpix2 crval1 crval2 cd1_1 cd1_2 cd2_1 cd2_2".split()
    if row["ctype"] == "TAN-SIP":
        header |= {"A_ORDER": 3, "B_ORDER": 3}
        keys += "a_3_0 a_1_2 b_0_3 b_2_1".split()
    return WCS(fits.Header(header | {key.upper(): row[key] for key in keys}))


def true_stars(path: Path, row: dict) -> np.ndarray:
    """Return x, y (pixels from 0), g and j of the catalogue's stars on a frame, brightest first."""
    stars = np.genfromtxt(path, delimiter=",", names=True)
    years = (Time(row["date_obs"]) - Time("J2016.0")).jd / 365.25
    ra = stars["ra"] + years * stars["pmra"] / 3.6e6 / np.cos(np.radians(stars["dec"]))
    dec = stars["dec"] + years * stars["pmdec"] / 3.6e6
    wcs = true_wcs(row)
    linear = np.array(wcs.wcs_world2pix(ra, dec, 0))
    size = np.array([[row["naxis1"]], [row["naxis2"]]])
    near = ((linear > -20) & (linear < size + 20)).all(axis=0)
    x, y = wcs.all_world2pix(ra[near], dec[near], 0)
    found = np.array([x, y, stars["mag"][near], stars["j"][near]]).T
    edge = 12
    inside = (found[:, :2] > edge) & (found[:, :2] < (row["naxis1"] - edge, row["naxis2"] - edge))
    found = found[inside.all(axis=1)]
    return found[np.argsort(found[:, 2])]


def lonely(stars: np.ndarray, distance: float) -> np.ndarray:
    """Return the stars without a neighbour within some pixels that is not much fainter."""
    apart = np.hypot(*(stars[:, None, :2] - stars[None, :, :2]).T)
    disturbed = (apart < distance) & (stars[:, 2][:, None] < stars[:, 2] + 4)
    return stars[disturbed.sum(axis=0) == 1]


def test_cards_are_in_astras_order(night, callisto, io):
    solved = {callisto: "solved", io: "unsolved"}[night]
    for row in night.good:
        kind = solved if row["kind"] == "science" else "calibration"
        assert list(night.header(row)) == keywords(kind)
    assert list(callisto.header(callisto.faults["incomplete"])) == keywords("incomplete")


def test_cards_are_formatted_as_astras(callisto):
    science = callisto.content(callisto.science[0]).decode("latin-1")
    bias = callisto.content(callisto.good[0]).decode("latin-1")
    for card in (
        "BUNIT   = 'ADU     '           / Physical unit of array values",
        "BLANK   =               -32768 / Value used for NULL pixels",
        "CDELT1  =                  1.0 / [deg] Coordinate increment at reference point",
        "CUNIT1  = 'deg'                / Units of coordinate increment and value",
        "RADESYS = 'ICRS    '           / Equatorial coordinate system",
        "ASTRATYP= 'object  '           / Type of action performed by astra",
        "PIERSIDE=                  1.0 / Telescope side of pier (1 = West 0 = East)",
    ):
        assert card.ljust(80) in science
    assert "RADESYS = 'FK5     '           / Reference system".ljust(80) in bias
    assert re.search(r"CHECKSUM= '\w{16}'   / HDU checksum updated 2026-\S{14} ", bias)
    assert re.search(r"DATASUM = '\d+' +/ data unit checksum updated 2026-\S{14} ", bias)


def test_times_agree_with_astropys(night):
    for row in night.good[::4]:
        header = night.header(row)
        start = Time(header["DATE-OBS"], scale="utc")
        assert header["DATE-OBS"] == row["date_obs"]
        assert header["MJD-OBS"] == pytest.approx(start.mjd, abs=1e-9)
        end = Time(header["DATE-END"], scale="utc")
        assert header["MJD-END"] == pytest.approx(end.mjd, abs=1e-9)
        assert (end - start).sec == pytest.approx(row["exptime"], abs=1e-5)
        lst = start.sidereal_time("mean", longitude=header["LONG-OBS"], model="IAU2006")
        assert header["LST"] == pytest.approx(lst.hour * 3600, abs=0.5)
        assert re.fullmatch(r"-?\d\d \d\d \d\d\.\d{8}", header["HA"])


def test_heliocentric_dates_follow_the_sun(callisto):
    """Values of frames that Astra wrote at the same places within a night."""
    for row, delay in ((callisto.good[0], -0.0050), (callisto.science[0], 0.00407)):
        header = callisto.header(row)
        assert header["HJD-OBS"] - header["JD-OBS"] == pytest.approx(delay, abs=5e-5)
        assert header["BJD-OBS"] - header["HJD-OBS"] == pytest.approx(0.0008, abs=2e-5)


def test_night_has_every_kind_in_order(night):
    assert {row["kind"] for row in night.good} == {"bias", "dark", "flat", "science"}
    starts = [row["date_obs"] for row in night.good]
    assert starts == sorted(starts) and len({m[:23] for m in starts}) == len(starts)
    assert any(m.endswith(".999999") for m in starts)
    assert any(m.endswith(".000000") for m in starts)
    assert len({row["object"] for row in night.science}) == 3
    flats = [row["exptime"] for row in night.good if row["kind"] == "flat"]
    assert len(set(flats)) == len(flats)
    darks = {row["exptime"] for row in night.good if row["kind"] == "dark"}
    assert darks == {row["exptime"] for row in night.science}
    assert any(row["file"].endswith(".fts") for row in night.good)


def test_filters(callisto, io):
    assert {row["filter"] for row in callisto.good} == {"zYJ"}
    assert {row["filter"] for row in io.science} == {"I+z", "i'"}


def test_checksums_are_valid(night):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for row in night.good:
            with fits.open(night.folder / row["file"], checksum=True) as hdus:
                assert hdus[0].header["DATASUM"] == str(row["datasum"])


def test_truth_table_is_what_was_returned(night):
    with open(night.root / f"{NIGHT}.truth.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(r["file"], r["pixels_sha256"], r["fault"]) for r in rows] == [
        (r["file"], r["pixels_sha256"], r["fault"]) for r in night.truth
    ]
    assert sorted(r["file"] for r in rows) == sorted(p.name for p in night.folder.iterdir())


def test_pixels_are_those_of_the_truth_and_never_twice(night):
    for row in night.good:
        with fits.open(night.folder / row["file"], do_not_scale_image_data=True) as hdus:
            data = hdus[0].data
        assert data.shape == (row["naxis2"], row["naxis1"]) == SIZE[::-1]
        assert hashlib.sha256(data.tobytes()).hexdigest() == row["pixels_sha256"]
        physical = fits.getdata(night.folder / row["file"])
        assert (physical.min(), physical.max()) == (0, 65535)
    others = [row for row in night.truth if row["fault"] != "duplicate_pixels"]
    assert len({row["pixels_sha256"] for row in others}) == len(others)


def test_same_seed_same_bytes(tmp_path, callisto):
    again = Written(tmp_path / "again", "Callisto", faults=True)
    assert again.truth == callisto.truth
    assert [again.content(r) for r in again.truth] == [callisto.content(r) for r in again.truth]
    other = Written(tmp_path / "other", "Callisto", seed=2)
    digests = {row["pixels_sha256"] for row in other.truth}
    assert not digests & {row["pixels_sha256"] for row in callisto.truth}


def test_two_nights_share_no_pixels(tmp_path, callisto):
    rows = simulate("Callisto", "20260306", tmp_path, 14, SIZE)
    assert not {r["pixels_sha256"] for r in rows} & {r["pixels_sha256"] for r in callisto.truth}


def ideal(camera: SimulatedCamera) -> SimulatedCamera:
    """Return a camera without defects."""
    return replace(camera, hot=0.0, dead=0.0, dead_columns=0, scatter=0.0, gradient=0.0)


def shot_of(camera: SimulatedCamera, number: int = 0, kind: str = "science", **options) -> Shot:
    """Return an exposure of 10 s without cosmic rays."""
    start = MIDNIGHT.replace(second=number)
    plain = {"object": "Field", "ra": 150.0, "dec": -60.0, "density": 15.0, "exptime": 10.0}
    plain |= {"filter": camera.filter, "number": number, "cosmics": 0}
    shot = Shot(kind, start, **plain | options)
    return aimed(camera, shot, 30.0) if kind == "science" else shot


@pytest.mark.parametrize("telescope", ["Callisto", "Io"])
@pytest.mark.parametrize("options", [{}, {"trail": 6.0}, {"mispointing": 90.0}])
def test_stars_are_where_the_catalogue_and_the_true_wcs_say(tmp_path, telescope, options):
    camera = replace(ideal(read_camera(telescope, (400, 480))), distortion=2.0)
    shots = [shot_of(camera, i, flipped=bool(i % 2), density=12.0, **options) for i in range(4)]
    measured = []
    for row in simulate_shots(camera, shots, tmp_path / "frames"):
        pixels = fits.getdata(tmp_path / "frames" / row["file"]).astype(float)
        found = lonely(true_stars(tmp_path / "frames.stars.csv", row), 25)
        bright = found[found[:, {"g": 2, "j": 3}[camera.band]] < camera.zero - 8.5]
        for x, y, *_ in bright:
            if pixels[round(y), round(x)] < 50_000:
                measured.append(centroid(pixels, x, y) - (x, y))
    assert len(measured) >= 8
    assert np.abs(np.mean(measured, axis=0)).max() < 0.03
    assert np.abs(measured).max() < 0.1


def centroid(pixels: np.ndarray, x: float, y: float, half: int = 10) -> np.ndarray:
    """Return the centre (x, y) of light above the sky around a place."""
    light = pixels - np.median(pixels)
    rows, columns = np.indices(pixels.shape)
    for _ in range(10):
        weight = light * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 2 / (half / 3) ** 2)
        near = (abs(columns - x) <= half) & (abs(rows - y) <= half)
        # A weight with the shape of the star halves the step: it is taken twice.
        moved = [(weight * (axis - at))[near].sum() for axis, at in ((columns, x), (rows, y))]
        x, y = np.array([x, y]) + 2 * np.array(moved) / weight[near].sum()
    return np.array([x, y])


def test_stars_move_with_the_years():
    camera = ideal(read_camera("Io", (64, 80)))
    stars = Sky(camera, 1).stars(shot_of(camera))
    ra, dec = stars.at(datetime(2026, 1, 1, 12, tzinfo=UTC))
    arcsec = np.array([(ra - stars.ra) * np.cos(np.radians(stars.dec)), dec - stars.dec]) * 3600
    assert arcsec.std(axis=1) == pytest.approx([0.08, 0.08], rel=0.05)
    assert arcsec[0] == pytest.approx(stars.pmra / 100, abs=1e-4)


@pytest.mark.parametrize(("dec", "density"), [(-60.0, 2.0), (88.0, 2.0), (10.0, 0.2)])
def test_a_field_has_the_requested_density_beyond_the_frame(dec, density):
    camera = read_camera("Callisto", None)
    sky = Sky(camera, 1)
    shot = shot_of(camera, dec=dec, density=density)
    sky.stars(shot)
    stars = sky.catalogue()
    away = np.hypot((stars.ra - 150) * np.cos(np.radians(stars.dec)) * 60, (stars.dec - dec) * 60)
    assert (away < 12).sum() == pytest.approx(density * np.pi * 12**2, rel=0.2)
    assert stars.mag.max() < 19 < sky.stars(shot).mag.max() < 20.5
    brighter = [np.sum(stars.mag < limit) for limit in (17, 19)]
    assert brighter[1] / brighter[0] == pytest.approx(10 ** (2 * 0.27), rel=0.4)
    assert np.mean(stars.mag - stars.j) == pytest.approx(1.4, abs=0.1)


@pytest.mark.parametrize(("telescope", "mag"), [("Io", 16.0), ("Callisto", 14.5)])
def test_brightness_of_stars(telescope, mag):
    camera = read_camera(telescope, SIZE)
    assert 10 * 10 ** (0.4 * (camera.zero - mag)) == pytest.approx(4e4, rel=0.1)


def test_clouds_dim_and_bad_seeing_widens():
    camera = ideal(read_camera("Io", (300, 300)))
    sky = Sky(camera, 1)
    options = [{"starless": True}, {}, {"cloud": 1.0}, {"fwhm": 2.8}, {"trail": 10.0}]
    images = [sky.pixels(shot_of(camera, exptime=2.0, **o)).astype(float) for o in options]
    dark, *others = (image[1:] for image in images)
    clear, cloudy, wide, trailed = (image - dark for image in others)
    faint = clear < 3000
    assert cloudy[faint].sum() / clear[faint].sum() == pytest.approx(10**-0.4, rel=0.02)
    assert wide.sum() == pytest.approx(clear.sum(), rel=0.1)
    assert trailed.sum() == pytest.approx(clear.sum(), rel=0.1)
    assert clear.max() > 2 * trailed.max() and clear.max() > 2 * wide.max()


def test_starless_frames_have_no_stars():
    camera = ideal(read_camera("Io", (300, 300)))
    sky = Sky(camera, 1)
    with_stars, without = (
        sky.pixels(shot_of(camera, starless=starless))[1:] for starless in (False, True)
    )
    assert without.max() < np.median(without) + 8 * without.std() < with_stars.max()
    assert without.std() == pytest.approx(np.sqrt(camera.noise**2 + 400), rel=0.1)


def changed(size: tuple[int, int] = (300, 300), **options) -> tuple[np.ndarray, np.ndarray]:
    """Return a frame without noise, in ADU above the bias, and the same with something wrong."""
    camera = replace(ideal(read_camera("Io", size)), noise=0.0, gain=1e12)
    plain = {
        key: options.pop(key)
        for key in ("starless", "exptime", "density", "fwhm")
        if key in options
    }
    shot = shot_of(camera, **plain)
    plain, other = (Sky(camera, 1).pixels(one)[1:] for one in (shot, replace(shot, **options)))
    return plain - camera.bias, other - camera.bias


@pytest.mark.parametrize("moved", [False, True])
def test_a_second_image_has_its_share_of_the_light(moved):
    camera = ideal(read_camera("Io", (300, 300)))
    elsewhere = aimed(camera, shot_of(camera), 30.0).wcs
    elsewhere = elsewhere | {"crpix1": elsewhere["crpix1"] + 30}
    plain, other = changed(second=0.2, second_wcs=elsewhere, moved=moved)
    sky, _ = changed(starless=True)
    light, second = plain - sky, other - sky
    expected = (0.8 if moved else 1.0) * light
    expected[:, 30:] += 0.2 * light[:, :-30]
    # Elsewhere the detector sees a little more or less of the light.
    away = abs(second - expected) / (0.05 * expected + 10)
    clear = plain < 50_000
    clear[:, 30:] &= clear[:, :-30].copy()
    assert away[:, 100:][clear[:, 100:]].max() < 1


@pytest.mark.parametrize(
    "options, corner, middle",
    [
        ({"moon": 0.5}, 0.65, 1.0),
        ({"vignetting": 0.6}, 0.42, 1.0),
        ({"glow": 20.0}, 1.45, 1.0),
    ],
)
def test_the_sky_is_uneven(options, corner, middle):
    plain, other = changed(starless=True, **options)
    ratio = other / plain
    assert ratio[3:9, 3:9].mean() == pytest.approx(corner, rel=0.15)
    assert ratio[145:155, 145:155].mean() == pytest.approx(middle, rel=0.02)


def test_fringes_are_waves_of_the_sky():
    plain, other = changed(starless=True, fringes=0.1)
    ratio = other / plain
    assert (ratio.min(), ratio.max()) == pytest.approx((0.9, 1.1), abs=0.01)
    assert ratio.mean() == pytest.approx(1, abs=0.01)


def test_charge_blooms_along_columns():
    plain, other = changed(exptime=600.0, blooming=True)
    full = plain.max()
    columns = (other >= full).sum(axis=0) - (plain >= full).sum(axis=0)
    assert columns.max() > 5
    assert ((other >= full) >= (plain >= full)).all()


def test_donuts_have_no_light_in_the_middle():
    plain, other = changed(donut=8.0, density=0.5, fwhm=0.8, size=(600, 600), exptime=20.0)
    light, rings = plain - np.median(plain), other - np.median(other)
    inner = light[60:-60, 60:-60]
    y, x = np.add(np.unravel_index(inner.argmax(), inner.shape), 60)
    half = round(8.0 / 0.348 / 2)
    around = [rings[y, x - half], rings[y, x + half], rings[y - half, x], rings[y + half, x]]
    assert light[y, x] > 1000 and min(around) > 1.2 * rings[y, x]
    near = np.s_[y - 40 : y + 41, x - 40 : x + 41]
    assert rings[near].sum() == pytest.approx(light[near].sum(), rel=0.15)


def test_mispointing_moves_the_field(tmp_path):
    camera = ideal(read_camera("Callisto", (200, 200)))
    shots = [shot_of(camera, i, mispointing=m, density=20.0) for i, m in enumerate((0.0, 30.0))]
    first, second = simulate_shots(camera, shots, tmp_path / "frames")
    assert (first["crval1"], first["crval2"]) == pytest.approx((150, -60))
    moved = beside(150, -60, 30 / 3600, 30)
    assert (second["crval1"], second["crval2"]) == pytest.approx(moved)
    assert second["mispointing"] == 30
    light, other = (fits.getdata(tmp_path / "frames" / r["file"]) for r in (first, second))
    (x,), (y,) = true_wcs(second).all_world2pix([first["crval1"]], [first["crval2"]], 0)
    dx, dy = round(99.5 - x), round(99.5 - y)
    assert np.hypot(dx, dy) == pytest.approx(30 / camera.scale, abs=1)
    same = other[max(0, -dy) : 200 - max(0, dy), max(0, -dx) : 200 - max(0, dx)]
    here = light[max(0, dy) : 200 - max(0, -dy), max(0, dx) : 200 - max(0, -dx)]
    bright, also = (image > np.median(image) + 300 for image in (here, same))
    assert (bright & also).sum() > 0.6 * bright.sum() > 60
    assert (light > np.median(light) + 300)[other > np.median(other) + 300].mean() < 0.3


def test_dark_pattern_is_that_of_science_frames_and_grows():
    camera = read_camera("Callisto", (200, 240))
    sky = Sky(camera, 1)
    darks = [
        np.median([sky.pixels(shot_of(camera, i, "dark", exptime=t)) for i in range(9)], axis=0)
        for t in (0.0, 10.0, 30.0)
    ]
    rate = (darks[1] - darks[0])[1:] / 10
    assert np.median(rate) == pytest.approx(camera.dark, rel=0.03)
    assert ((darks[2] - darks[0])[1:] / 30 - rate).std() < 3
    hot, dead = rate > 150, rate < 8
    assert hot.mean() == pytest.approx(camera.hot, abs=0.001)
    assert dead.mean() == pytest.approx(camera.dead + 2 / 200, abs=0.002)
    assert (dead.all(axis=0)).sum() == 2
    usual = np.where(hot | dead, np.nan, rate)
    assert np.nanmean(usual[-40:]) / np.nanmean(usual[:40]) > 1.2
    science = sky.pixels(shot_of(camera, 20, starless=True))[1:] - darks[0][1:]
    good = ~(hot | dead)
    assert np.corrcoef(science[good], rate[good])[0, 1] > 0.7
    assert np.median(science[hot]) > 5 * np.median(science[good])
    assert np.abs(np.median(science[dead])) < camera.noise
    assert (Sky(camera, 1, "20270101").dark == sky.dark).all()
    assert (Sky(camera, 2).dark != sky.dark).any()


def test_full_frames_have_an_overscan_and_keep_below_saturation():
    io, callisto = (read_camera(name, None) for name in ("Io", "Callisto"))
    pixels = Sky(io, 1).pixels(shot_of(io))
    assert np.median(pixels[-40:]) == pytest.approx(io.bias, abs=13)
    assert pixels[-40:].max() < io.bias + 13 + 7 * io.noise
    assert np.median(pixels[:-40]) > io.bias + 300
    assert (pixels >= 65535).any()
    dark = Sky(callisto, 1).pixels(shot_of(callisto, kind="dark", exptime=30.0))
    assert np.mean(dark >= 65535) < 0.001


def test_cosmic_rays_are_few_pixels():
    camera = ideal(read_camera("Io", (300, 300)))
    sky = Sky(camera, 1)
    clean, hit = (sky.pixels(shot_of(camera, kind="dark", cosmics=n)) for n in (0, 40))
    touched = hit.astype(int) - clean
    assert touched.min() == 0 and 40 <= (touched > 0).sum() < 400


def test_chosen_exposures_are_simulated(tmp_path):
    camera = read_camera("Callisto", (200, 240))
    mirrored = replace(camera, parity=-camera.parity, rotation=77.0)
    plain, turned = shot_of(camera, 0), shot_of(mirrored, 1)
    stale = replace(shot_of(camera, 2), header_wcs=shot_of(camera, flipped=True).wcs)
    rows = simulate_shots(camera, [plain, turned, stale], tmp_path / "frames", seed=5)
    headers = [fits.getheader(tmp_path / "frames" / row["file"]) for row in rows]
    assert [list(header) == keywords("solved") for header in headers] == [False, False, True]
    assert headers[2]["CTYPE1"] == "RA---TAN"
    assert [row["header_wcs_stale"] for row in rows] == [0, 0, 1]
    first, second = (true_wcs(row).wcs.cd for row in rows[:2])
    assert np.linalg.det(first) * np.linalg.det(second) < 0
    assert np.degrees(np.arctan2(second[0, 1], second[1, 1])) == pytest.approx(77)


def test_events_of_a_simulated_night():
    shots = plan_night(read_camera("Callisto", None), NIGHT, 500, "astra", 1)
    science = [shot for shot in shots if shot.kind == "science"]
    main = [shot for shot in science if shot.object == "Sp0805+0417"]
    assert 0.1 < np.mean([shot.cloud > 0 for shot in main]) < 0.3
    assert sum(shot.trail > 0 for shot in main) == sum(shot.cosmics > 50 for shot in main) == 1
    assert sum(shot.mispointing > 120 for shot in main) == 1
    assert not any(shot.starless for shot in science)
    widths = [shot.fwhm for shot in science]
    assert 1.1 <= min(widths) < 1.2 and 1.6 < np.percentile(widths, 95) <= 1.7
    for shot in science:
        matrix = np.array([[shot.wcs[f"cd{i}_{j}"] for j in (1, 2)] for i in (1, 2)])
        scales = np.linalg.svd(3600 * matrix / 0.309, compute_uv=False) - 1
        assert np.abs(scales).max() < 1.1e-3 and np.ptp(scales) < 5.1e-4


def test_stars_of_a_night_are_written_beside_its_truth(callisto):
    path = callisto.root / f"{NIGHT}.stars.csv"
    stars = np.genfromtxt(path, delimiter=",", names=True)
    assert stars.dtype.names == ("ra", "dec", "mag", "pmra", "pmdec", "j")
    for row in callisto.science:
        away = np.hypot(stars["ra"] - row["crval1"], stars["dec"] - row["crval2"])
        assert (away < 0.05).sum() > 100


def test_small_frames_have_stars(night):
    for row in night.science:
        pixels = fits.getdata(night.folder / row["file"]).astype(int)
        pixels[0, :2] = np.median(pixels)
        assert pixels.max() > np.median(pixels) + 300


def test_parity_depends_on_the_camera(callisto, io):
    signs = [np.sign(np.linalg.det(true_wcs(n.science[0]).wcs.cd)) for n in (callisto, io)]
    assert sorted(signs) == [-1, 1]


def test_one_flip_with_a_stale_wcs_after_it(callisto):
    main = [row for row in callisto.science if row["object"] == "Sp0805+0417"]
    flips = [row["flipped"] for row in main]
    first = flips.index(1)
    assert flips == [0] * first + [1] * (len(flips) - first) and 0 < first < len(flips)
    assert not any(row["flipped"] for row in callisto.science if row not in main)
    stale = [i for i, row in enumerate(main) if row["header_wcs_stale"]]
    assert stale == list(range(first, first + len(stale))) and 0 < len(stale) < len(flips) - first
    assert not any(row["header_wcs_stale"] for row in callisto.science if row not in main)
    for row, flipped in zip(main, flips, strict=True):
        header = callisto.header(row)
        assert header["PIERSIDE"] == 1 - flipped
        turned = np.sign(header["PC2_2"]) != np.sign(row["cd2_2"])
        assert turned == bool(row["header_wcs_stale"])


def test_header_wcs_is_of_the_pointing_frame(callisto):
    row, later = callisto.science[:2]
    for frame in (row, later):
        header = callisto.header(frame)
        assert header["CRVAL1"] == pytest.approx(row["crval1"], abs=1e-9)
        assert header["PC1_1"] == pytest.approx(row["cd1_1"], rel=1e-9)
    assert later["crval1"] != row["crval1"]
    arcsec = np.hypot(
        (row["crval1"] - header["RA"]) * np.cos(np.radians(header["DEC"])),
        row["crval2"] - header["DEC"],
    )
    assert 50 < arcsec * 3600 < 70


def test_wcs_can_be_chosen(tmp_path):
    none = Written(tmp_path / "none", "Callisto", 14, wcs="none")
    assert list(none.header(none.science[0])) == keywords("unsolved")
    astra = Written(tmp_path / "astra", "Io", 14, wcs="astra")
    assert list(astra.header(astra.science[0])) == keywords("solved")


def test_faults_leave_good_frames_alone(tmp_path, callisto):
    clean = Written(tmp_path, "Callisto")
    assert clean.truth == callisto.good
    assert all(clean.content(row) == callisto.content(row) for row in clean.truth)


def test_other_faults_keep_their_checksums(night):
    broken = {"incomplete", *BYTE_FAULTS} - {"non_ascii"}
    for fault, row in night.faults.items():
        if fault not in broken:
            assert hdu_sum(night.content(row)) == 0, fault
            header, data = night.content(row).split(b"END".ljust(80), 1)
            assert hdu_sum(data[len(data) // 2880 * -2880 :]) == row["datasum"], fault


def test_faults_share_no_start(night):
    starts = [r["date_obs"][:23] for r in night.truth if r["fault"] != "name_clash"]
    assert len(set(starts)) == len(starts)


@pytest.mark.parametrize("fault", CARD_DEFECTS)
def test_faults_of_a_card(callisto, fault):
    keyword, value = CARD_DEFECTS[fault]
    assert callisto.header(callisto.faults[fault]).get(keyword) == value


def test_faults_of_bytes(night):
    content = {fault: night.content(row) for fault, row in night.faults.items()}
    whole = len(content["other_night"])
    assert content["empty"] == b""
    assert content["not_fits"][:6] != b"SIMPLE"
    assert b"END".ljust(80) not in content["truncated_header"]
    assert b"END".ljust(80) in content["truncated"]
    assert whole - len(content["truncated"]) > 2880
    assert len(content["bad_datasum"]) == whole and hdu_sum(content["bad_datasum"]) != 0
    assert max(content["non_ascii"][:2880]) > 127
    assert all(len(text) % 2880 for text in (content["truncated_header"], content["not_fits"]))


def test_faults_of_the_exposure(night):
    faults = night.faults
    assert night.header(faults["wrong_telescope"])["TELESCOP"] not in {"Callisto", "Io"}
    assert night.header(faults["wrong_size"])["NAXIS2"] < SIZE[1]
    assert faults["other_night"]["date_obs"][:10] == "2026-03-08"


def test_duplicates_come_after_the_frames_they_are_of(night):
    good = {row["file"]: row for row in night.good}
    copy, clash = night.faults["duplicate_pixels"], night.faults["name_clash"]
    for row in (copy, clash):
        assert row["of"] in good and row["file"] > row["of"]
    original, rival = good[copy["of"]], good[clash["of"]]
    assert copy["pixels_sha256"] == original["pixels_sha256"]
    seconds = (Time(copy["date_obs"]) - Time(original["date_obs"])).sec
    assert seconds == pytest.approx(1, abs=1e-6)
    assert clash["pixels_sha256"] != rival["pixels_sha256"]
    assert clash["date_obs"][:23] == rival["date_obs"][:23]
    assert clash["date_obs"] != rival["date_obs"]


@pytest.mark.parametrize("telescope", ["Callisto", "Io"])
def test_long_nights_end_in_the_morning(telescope):
    shots = plan_night(read_camera(telescope, SIZE), NIGHT, 3000, "astra", 1)
    assert len(shots) == len({shot.start for shot in shots}) == 3000
    assert shots[-1].start.isoformat() < "2026-03-06T10:00:00"
    assert all(shot.start.isoformat() > "2026-03-06T00" for shot in shots if shot.wcs)
    with pytest.raises(ValueError, match="do not fit into one night"):
        plan_night(read_camera(telescope, SIZE), NIGHT, 50_000, "astra", 1)


@pytest.mark.parametrize("frames", [12, 13, 20])
def test_short_nights(tmp_path, frames):
    assert len(simulate("Io", NIGHT, tmp_path, frames, SIZE)) == frames


def test_number_of_flats_can_be_set(tmp_path):
    rows = simulate("Callisto", NIGHT, tmp_path, 40, SIZE, flats=20)
    assert sum(row["kind"] == "flat" for row in rows) == 20


def test_refusals_are_clear(tmp_path, callisto):
    with pytest.raises(FileExistsError, match="already holds files"):
        simulate("Callisto", NIGHT, callisto.root, 14, SIZE)
    with pytest.raises(ValueError, match="no telescope 'Pluto'.* known are Io, "):
        simulate("Pluto", NIGHT, tmp_path, 14, SIZE)
    with pytest.raises(ValueError, match="too few"):
        simulate("Callisto", NIGHT, tmp_path, 5, SIZE)


def test_command_line(tmp_path):
    command = [sys.executable, "-m", "scripts.simulate", "--telescope", "europa"]
    command += ["--night", NIGHT, "--output", str(tmp_path), "--frames", "12", "--size", "64x80"]
    first, second = (
        subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True) for _ in range(2)
    )
    assert first.returncode == 0 and len(first.stdout.splitlines()) == 1
    assert "12 raw frames" in first.stdout
    assert second.returncode == 1 and "already holds files" in second.stderr
    assert "Traceback" not in second.stderr
