"""Products of a night with every fault, judged by tools that this project did not write."""

import math
import re
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time
from astropy.utils import iers
from astropy.wcs import WCS, validate

from tests.night import NIGHT, read_csv

of_callisto = pytest.mark.parametrize("faulty_night", ["Callisto"], indirect=True)

# What each fault's reason must say.
REASONS = {
    "empty": "empty file",
    "truncated": "truncated: ",
    "truncated_header": "ends within its header",
    "not_fits": "not a FITS file",
    "bad_datasum": "wrong DATASUM: ",
    "no_date_obs": "no DATE-OBS",
    "bad_date_obs": "unreadable DATE-OBS: .*05/03/26",
    "no_exptime": "no EXPTIME",
    "bad_exptime": "unreadable EXPTIME: 'ten'",
    "no_imagetyp": "no IMAGETYP",
    "no_filter": "no FILTER",
    "unknown_imagetyp": "unknown IMAGETYP: 'Unknown Frame'",
    "incomplete": "not completed by Astra yet: no .*JD-OBS",
    "pointing": "engineering exposure: .*pointing",
    "autofocus": "engineering exposure: .*autofocus",
    "calibrate_guiding": "engineering exposure: .*calibrate_guiding",
    "wrong_telescope": "wrong telescope: TELESCOP is 'Elsewhere'",
    "wrong_size": "wrong size: ",
    "other_night": "DATE-OBS outside the night: ",
    "duplicate_pixels": "duplicate: the same pixels as {of}",
    "name_clash": "name clash: {of}",
    "non_ascii": "not printable ASCII: PI-COI",
}
DPR = {
    "Light Frame": ("SCIENCE", "OBJECT"),
    "Bias Frame": ("CALIB", "BIAS"),
    "Dark Frame": ("CALIB", "DARK"),
    "Flat Frame": ("CALIB", "FLAT"),
}
TELESCOPES = {
    "Callisto": ("SPECULOOS-CALLISTO", "SPECULOOS4", "60.A-9009(D)"),
    "Io": ("SPECULOOS-IO", "SPECULOOS1", "60.A-9009(A)"),
}
MUST_NOT = "BLANK MJDREF EPOCH RADECSYS ARCFILE ORIGFILE HDRVER PC1_1 CROTA2 CONTINUE".split()
WCS_KEYWORD = re.compile(
    r"CTYPE\d|CUNIT\d|CRPIX\d|CRVAL\d|CDELT\d|CD\d_\d|CRDER\d|LONPOLE|LATPOLE|RADESYS"
)


def headers(night) -> list[fits.Header]:
    return [fits.getheader(path) for path in night.products()]


def raw_header(night, name: str) -> fits.Header:
    return fits.getheader(night.source / NIGHT / name)


def utc(text: str) -> Time:
    return Time(text, scale="utc")


def test_every_good_frame_is_delivered_once_with_its_pixels(faulty_night):
    faulty_night.assert_delivered_once(faulty_night.truth)


def test_every_raw_file_is_one_row(faulty_night):
    files = sorted(path.name for path in (faulty_night.source / NIGHT).iterdir())
    assert [row["file"] for row in faulty_night.frames()] == files


def test_every_fault_is_held_back_with_its_reason(faulty_night):
    rows = {row["file"]: row for row in faulty_night.frames()}
    faults = [row for row in faulty_night.truth if row["fault"]]
    assert {row["fault"] for row in faults} == REASONS.keys()
    for row in faults:
        found = rows[row["file"]]
        reason = REASONS[row["fault"]].replace("{of}", re.escape(row["of"]))
        assert found["status"] == "held" and re.search(reason, found["reason"]), found


def test_no_good_frame_is_held_back(faulty_night):
    held = {row["file"] for row in faulty_night.frames() if row["status"] == "held"}
    assert not held & {row["file"] for row in faulty_night.truth if not row["fault"]}


@pytest.mark.skipif(not shutil.which("fitsverify"), reason="Debian package fitsverify is missing")
def test_fitsverify_finds_nothing_but_hyphens_in_column_names(faulty_night):
    for path in faulty_night.products():
        done = subprocess.run(["fitsverify", "-H", path], capture_output=True, text=True)
        complaints = re.findall(r"\*\*\* (?:Warning|Error): +(.*)", done.stdout + done.stderr)
        others = [c for c in complaints if not re.match(r'Column #\d+: Name "[A-Z-]+" contains', c)]
        assert "Verification found" in done.stdout and not others, done.stdout


def test_fitscheck_and_wcslint_find_nothing(faulty_night):
    bin_folder = Path(sys.executable).parent
    done = subprocess.run(
        [bin_folder / "fitscheck", *faulty_night.products()], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for path in faulty_night.products():
        found = str(validate(str(path)))  # This is wcslint.
        assert set(re.findall(r"^    (.*)$", found, re.M)) == {"No issues."}, found


@pytest.mark.filterwarnings("error")
def test_astropy_verifies_every_product(faulty_night):
    for path in faulty_night.products():
        with fits.open(path, checksum=True) as hdus:
            hdus.verify("exception")


def test_identity(faulty_night):
    for path, header in zip(faulty_night.products(), headers(faulty_night), strict=True):
        telescop, instrume, programme = TELESCOPES[faulty_night.telescope]
        assert (header["TELESCOP"], header["INSTRUME"]) == (telescop, instrume)
        assert header["ESO INS NAME"] == instrume
        assert header["ESO OBS PROG ID"] == programme
        assert re.match(r"SPECU(LOOS)?(\d)\.", path.name)[2] == instrume[-1]
        assert (header["ESO DPR CATG"], header["ESO DPR TYPE"]) == DPR[header["IMAGETYP"]]
        assert header["ESO DPR TECH"] == "IMAGE"
        assert header["OBSERVER"] == "Astra" and header["PI-COI"] == "D. Queloz"
        if header["ESO DPR CATG"] == "CALIB":
            assert header["OBJECT"] == header["ESO DPR TYPE"]


def test_names(faulty_night):
    for path, header in zip(faulty_night.products(), headers(faulty_night), strict=True):
        if faulty_night.telescope == "Callisto":
            start = header["DATE-OBS"][:19].replace("-", "").replace(":", "")
            assert re.fullmatch(r"SPECU4\.\d{8}T\d{6}_[SC]_[A-Za-z0-9.+_-]+\.fits", path.name)
            assert path.name.startswith(f"SPECU4.{start}_")
        else:
            assert path.name == f"SPECULOOS1.{header['DATE-OBS'].replace(':', '_')}.fits"
        assert len(path.name) <= 68


def test_times(faulty_night):
    for header in headers(faulty_night):
        for keyword in ("DATE", "DATE-OBS", "DATE-END"):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}", header[keyword])
        start, end = utc(header["DATE-OBS"]), utc(header["DATE-END"])
        assert header["TIMESYS"] == "UTC"
        assert abs(header["MJD-OBS"] - start.mjd) * 86400 < 0.0005
        assert abs(header["MJD-END"] - end.mjd) * 86400 < 0.0005
        assert abs(header["JD-OBS"] - start.jd) * 86400 < 0.0005
        assert len(str(header.cards["MJD-OBS"]).split("/")[0].split(".")[1].strip()) >= 8
        midnight = utc(header["DATE-OBS"][:10])
        assert abs(header["UTC"] - (start - midnight).sec) < 0.001
        assert utc(header["DATE"]) > end
        if header["NAXIS"] == 2:
            assert abs((end - start).sec - header["EXPTIME"]) < 0.001


def test_lst_is_that_of_astropy(faulty_night):
    with iers.conf.set_temp("auto_download", False):
        for header in headers(faulty_night):
            lst = utc(header["DATE-OBS"]).sidereal_time("apparent", longitude=-70.390278 * u.deg)
            assert abs(header["LST"] - lst.hour * 3600) < 0.1


def test_dates_are_cut_not_rounded(faulty_night):
    good = {row["file"]: row for row in faulty_night.truth if not row["fault"]}
    assert any(row["date_obs"].endswith(".999999") for row in good.values())
    for row in faulty_night.frames():
        if row["status"] == "ok":
            assert row["date_obs"] == good[row["file"]]["date_obs"][:23]


def test_order_of_keywords(faulty_night):
    for header in headers(faulty_night):
        keywords = list(header)
        wcs = [i for i, key in enumerate(keywords) if WCS_KEYWORD.fullmatch(key)]
        eso = [key for key in keywords if key.startswith("ESO ")]
        first_eso = keywords.index(eso[0])
        assert keywords.index("WCSAXES") == min(wcs) - 1
        assert max(keywords.index(k) for k in ("DATE-OBS", "RA", "LST")) < min(wcs)
        assert max(wcs) < first_eso < keywords.index("XPIXSZ")
        assert [key.split()[1] for key in eso] == ["DPR", "DPR", "DPR", "OBS", "INS"]
        assert keywords[-2:] == ["DATASUM", "CHECKSUM"]


def test_keywords_that_must_be_absent(faulty_night):
    for header in headers(faulty_night):
        assert not [key for key in MUST_NOT if key in header]
        assert len(set(header)) == len(header)
        assert header["BUNIT"] == "adu" and header["BITPIX"] == 16
        assert (header["BZERO"], header["BSCALE"]) == (32768, 1)
        assert not ("CD1_1" in header and "CDELT1" in header)
        assert ("EQUINOX" in header) == (header["RADESYS"] == "FK5")
        assert all(len(value) <= 68 for value in header.values() if isinstance(value, str))


def test_frames_carry_the_sky_only_if_their_header_had_it(faulty_night):
    for header in headers(faulty_night):
        if header["NAXIS"] == 2:
            assert (header["CTYPE1"], header["CTYPE2"]) == ("PIXEL", "PIXEL")
            assert header["CDELT1"] == header["CDELT2"] == 1.0


def test_states_are_whole_numbers(faulty_night):
    for header in headers(faulty_night):
        for keyword in ("PIERSIDE", "TELPARK", "TRACKING", "SLEWING"):
            assert isinstance(header[keyword], int)


def unpacked(path: Path) -> list[tuple[fits.Header, np.ndarray]]:
    """Return a cube's frames as the survey's reader makes them.

    It knows a cube by METADATA, names frames from FILENAME, copies every other column under its
    name, and takes a few keywords from the primary header.
    """
    reused = (
        "LAT-OBS LONG-OBS ALT-OBS RA DEC IMAGETYP FILTER EXPTIME OBJECT TELESCOP OBSERVER "
        "XPIXSZ FOCALLEN"
    ).split()
    frames = []
    with fits.open(path) as hdus:
        primary, table = hdus[0].header, hdus["METADATA"].data
        assert "JD-OBS" in table.names
        for plane, row in zip(hdus[0].data, table, strict=True):
            stem = row["FILENAME"].removesuffix(".fits")
            assert len(stem.split(".")[-1]) == 3
            header = fits.Header()
            for keyword in reused:
                header[keyword] = primary[keyword]
            for keyword in table.names:
                value = row[keyword]
                header[keyword] = value.item() if isinstance(value, np.generic) else value
            header["NAME"] = stem.replace("SPECULOOS", "SPECU").replace("_", ":")
            frames.append((header, plane.copy()))
    return frames


def science_cubes(night) -> list[Path]:
    return [path for path in night.products() if "_S_" in path.name]


@of_callisto
def test_the_reader_unpacks_every_frame(faulty_night):
    receipts = {row["eso_name"]: row["file"] for row in faulty_night.receipts()}
    seen = 0
    for path in faulty_night.products():
        for header, pixels in unpacked(path):
            raw_name = receipts[header["FILENAME"]]
            raw = raw_header(faulty_night, raw_name)
            assert np.array_equal(pixels, fits.getdata(faulty_night.source / NIGHT / raw_name))
            assert header["DATE-OBS"] == raw["DATE-OBS"][:23]
            assert header["NAME"] == f"SPECU4.{header['DATE-OBS']}"
            assert abs(header["JD-OBS"] - raw["JD-OBS"]) * 86400 < 0.0015
            assert abs(header["HJD-OBS"] - raw["HJD-OBS"]) * 86400 < 0.0015
            for keyword in ("EXPTIME", "FILTER", "LAT-OBS", "XPIXSZ", "FOCALLEN", "OBSERVER"):
                assert header[keyword] == raw[keyword]
            assert math.isclose(header["AIRMASS"], raw["AIRMASS"], abs_tol=1e-6)
            assert math.isclose(header["RA"], raw["RA"], abs_tol=1e-6)
            assert header["IMAGETYP"].split()[0].upper() in ("LIGHT", "BIAS", "DARK", "FLAT")
            seen += 1
    assert seen == len([row for row in faulty_night.truth if not row["fault"]])


@of_callisto
def test_cube_begins_with_its_first_plane_and_ends_with_its_last(faulty_night):
    for path in faulty_night.products():
        with fits.open(path) as hdus:
            header, table = hdus[0].header, hdus["METADATA"].data
            assert header["NAXIS3"] == len(table)
            assert list(table["DATE-OBS"]) == sorted(set(table["DATE-OBS"]))
            assert header["DATE-OBS"] == table["DATE-OBS"][0]
            assert header["MJD-OBS"] == table["MJD-OBS"][0]
            last = datetime.fromisoformat(table["DATE-OBS"][-1])
            end = datetime.fromisoformat(header["DATE-END"])
            assert abs((end - last).total_seconds() - header["EXPTIME"]) < 0.001
            assert not {"CHECKSUM", "DATASUM", "NAXIS", "DATE"} & set(table.names)
            for column in hdus["METADATA"].columns:
                assert column.unit is None or u.Unit(column.unit, format="fits")


@of_callisto
def test_each_plane_has_the_sky_coordinates_of_its_raw_header(faulty_night):
    receipts = {row["eso_name"]: row["file"] for row in faulty_night.receipts()}
    corners = np.array([[1, 1], [64, 1], [1, 80], [64, 80]])
    for path in science_cubes(faulty_night):
        for header, _ in unpacked(path):
            raw = WCS(raw_header(faulty_night, receipts[header["FILENAME"]]))
            sky = WCS(header).all_pix2world(corners, 1)
            assert np.allclose(sky, raw.all_pix2world(corners, 1), atol=1e-8)


def test_receipts_say_what_was_delivered(faulty_night):
    receipts = faulty_night.receipts()
    assert sorted(row["file"] for row in receipts) == sorted(
        row["file"] for row in faulty_night.truth if not row["fault"]
    )
    for row in receipts:
        path = faulty_night.archive / row["product"]
        header = fits.getheader(path)
        assert path.stat().st_size == int(row["product_bytes"])
        assert (header["DATASUM"], header["CHECKSUM"]) == (
            row["product_datasum"],
            row["product_checksum"],
        )


def test_log_summary_and_page(faulty_night):
    assert faulty_night.transfer_log() == f"{NIGHT} {len(faulty_night.products())}\n"
    summary = (faulty_night.folder / "summary.txt").read_text()
    page = faulty_night.page().read_text()
    good = sum(not row["fault"] for row in faulty_night.truth)
    assert f"delivered    {good} frames" in summary
    for row in faulty_night.frames():
        if row["status"] == "held":
            assert row["file"] in summary and row["file"].replace("'", "&#39;") in page


def test_headers_stay_and_can_be_read(faulty_night):
    for path in (faulty_night.folder / "headers").glob("*/*.fits"):
        with fits.open(path, checksum=True) as hdus:
            hdus.verify("exception")
            named = [hdu.header for hdu in hdus if hdu.name.startswith("SPECULOOS")]
        members = [r for r in faulty_night.frames() if r["sequence"] == path.stem]
        assert [h["EXTNAME"] + ".fits" for h in named] == [
            r["eso_name"] for r in sorted(members, key=lambda r: r["date_obs"])
        ]


def test_tables_name_the_sequences(faulty_night):
    names = {row["sequence"] for row in read_csv(faulty_night.folder / "frames.csv")} - {""}
    filters = {"Callisto": ("zYJ", "zYJ"), "Io": ("I+z", "ip")}[faulty_night.telescope]
    assert {
        "C_bias",
        "C_dark_10s",
        f"C_flat_{filters[0]}_2.317s",
        f"S_Sp0805+0417_{filters[0]}_10s",
        f"S_TIC_46432937_b_{filters[1]}_30s",
        f"S_C_2025_N1_ATLAS_{filters[0]}_5s",
    } <= names
