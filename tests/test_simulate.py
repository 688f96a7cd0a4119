"""Simulated nights are what Astra writes, and their truth table is true."""

import csv
import hashlib
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time
from astropy.wcs import WCS

from scripts.simulate import BYTE_FAULTS, plan_night, read_camera, simulate, star_catalogue

NIGHT = "20260305"
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
    header = fits.Header({"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
    for key in "crpix1 crpix2 crval1 crval2 cd1_1 cd1_2 cd2_1 cd2_2".split():
        header[key] = row[key]
    return WCS(header)


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
    moments = [row["date_obs"] for row in night.good]
    assert moments == sorted(moments) and len({m[:23] for m in moments}) == len(moments)
    assert any(m.endswith(".999999") for m in moments)
    assert any(m.endswith(".000000") for m in moments)
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


@pytest.mark.parametrize("telescope", ["Callisto", "Io"])
def test_stars_are_where_the_true_wcs_says(tmp_path, telescope):
    size = (200, 240)
    night = Written(tmp_path, telescope, 40, size=size)
    camera = read_camera(telescope, size)
    measured = 0
    for row in night.science:
        pixels = fits.getdata(night.folder / row["file"]).astype(float)
        header = night.header(row)
        ra, dec, flux = star_catalogue(camera, Place(row["object"], header), 1).T
        x, y = true_wcs(row).wcs_world2pix(ra, dec, 0)
        inside = (x > 12) & (x < size[0] - 13) & (y > 12) & (y < size[1] - 13)
        distance = np.hypot(x[:, None] - x, y[:, None] - y)
        np.fill_diagonal(distance, np.inf)
        lonely = np.flatnonzero(inside & (distance.min(axis=0) > 25) & (flux > 20_000))
        for star in lonely[:3]:
            offset = centroid(pixels, x[star], y[star]) - np.array([x[star], y[star]])
            assert np.abs(offset).max() < 0.3
            measured += 1
    assert measured >= 10


class Place:
    """What a catalogue is made for."""

    def __init__(self, target: str, header: fits.Header):
        self.object, self.ra, self.dec = target, header["RA"], header["DEC"]


def centroid(pixels: np.ndarray, x: float, y: float, half: int = 6) -> np.ndarray:
    """Return the centre (x, y) of light above the sky around a place."""
    left, low = round(x) - half, round(y) - half
    box = pixels[low : low + 2 * half + 1, left : left + 2 * half + 1] - np.median(pixels)
    rows, columns = np.indices(box.shape)
    return np.array([(box * columns).sum(), (box * rows).sum()]) / box.sum() + (left, low)


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


def test_faults_share_no_moment(night):
    moments = [r["date_obs"][:23] for r in night.truth if r["fault"] != "name_clash"]
    assert len(set(moments)) == len(moments)


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


def test_twins_come_after_the_frames_they_are_of(night):
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
    with pytest.raises(ValueError, match="no telescope 'Artemis'"):
        simulate("Artemis", NIGHT, tmp_path, 14, SIZE)
    with pytest.raises(ValueError, match="too few"):
        simulate("Callisto", NIGHT, tmp_path, 5, SIZE)


def test_command_line(tmp_path):
    command = [sys.executable, "-m", "scripts.simulate", "--telescope", "Europa"]
    command += ["--night", NIGHT, "--output", str(tmp_path), "--frames", "12", "--size", "64x80"]
    first, second = (
        subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True) for _ in range(2)
    )
    assert first.returncode == 0 and len(first.stdout.splitlines()) == 1
    assert "12 raw frames" in first.stdout
    assert second.returncode == 1 and "already holds files" in second.stderr
    assert "Traceback" not in second.stderr
