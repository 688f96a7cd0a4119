"""Tables, METADATA, corrections, delivery, times: units whose mistakes nobody would see."""

import io
import math
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time
from astropy.utils import iers

from scripts.lib.delivery.publish import NameTaken, publish, stage
from scripts.lib.delivery.transfer_log import log_transfers
from scripts.lib.files.tables import read_table, write_table
from scripts.lib.fits.cards import Header, card, quoted
from scripts.lib.frames.corrections import corrected, read_corrections
from scripts.lib.headers import values
from scripts.lib.headers.keywords import read_keywords
from scripts.lib.headers.metadata import DEMANDED, metadata_hdu, partial_keywords
from scripts.lib.headers.sidereal import sidereal_seconds
from scripts.lib.ledger.ledger import Ledger
from scripts.lib.ledger.records import Frame, Intent
from scripts.lib.nights.dates import NightError, parse_nights
from scripts.lib.sources.opening import Folder
from tests.records import product_of

KEYWORDS = read_keywords(Path(__file__).parent.parent / "config/keywords.csv")


@pytest.mark.parametrize(
    "text",
    [
        "#1.fits",
        " #",
        "a,b",
        'q"q',
        "two\nlines",
        "two\n#lines",
        "a\rb",
        "\r",
        "\0",
        "\x85",
        "",
        "ü",
        "'",
    ],
)
def test_tables_give_back_what_was_written(tmp_path, text):
    rows = [{"file": text, "reason": "first"}, {"file": "z", "reason": text}]
    write_table(tmp_path / "t.csv", ["file", "reason"], rows)
    assert read_table(tmp_path / "t.csv") == rows


def test_the_transfer_log_keeps_lines_that_are_not_its_own(tmp_path):
    log = tmp_path / "transfer_log.txt"
    log_transfers(log, {"20260305": 1})
    assert log.read_text() == "20260305 1\n"
    log.write_bytes(b"# by hand\n20260303 2\n\n20260305  17\n20260306 three\xff\n20260308 4")
    for night, count in (("20260305", 3), ("20260304", 5), ("20260309", 6)):
        log_transfers(log, {night: count})
    assert log.read_bytes() == (
        b"# by hand\n20260303 2\n\n20260306 three\xff\n"
        b"20260304 5\n20260305 3\n20260308 4\n20260309 6\n"
    )


def test_file_names_that_are_no_utf8_do_not_stop_planning(tmp_path):
    night = tmp_path / "20260305"
    night.mkdir()
    (night / b"M\xfcller.fits".decode("utf-8", "surrogateescape")).write_bytes(b"x")
    [entry] = Folder(str(tmp_path)).list("20260305")
    with Ledger(":memory:") as ledger:
        with ledger.transaction():
            ledger.record([Frame("20260305", entry.name, source=entry.state)])
        assert [(f.file, f.source) for f in ledger.frames("20260305")] == [
            (entry.name, entry.state)
        ]


def table_of(frames: list[dict]) -> fits.BinTableHDU:
    """Return METADATA as astropy reads it, with its checksums verified."""
    needed = {keyword: 1.0 for keyword in DEMANDED}
    names = [f"SPECULOOS4.2026-03-06T00_00_0{i}.000.fits" for i in range(len(frames))]
    content = metadata_hdu(names, [needed | frame for frame in frames], KEYWORDS)
    primary = fits.PrimaryHDU()
    stream = io.BytesIO()
    primary.writeto(stream)
    hdus = fits.open(io.BytesIO(stream.getvalue() + content), checksum=True)
    hdus.verify("exception")
    assert hdus[1].verify_checksum() == 1 and hdus[1].verify_datasum() == 1
    return hdus[1]


@pytest.mark.parametrize(
    "column",
    [
        [1, 2],
        [-(2**40), 2**40],
        [0.1, 2.5e-300],
        ["a", "longer text"],
        ["", "x"],
        [1, 2.5],
    ],
    ids=str,
)
def test_columns_hold_the_values_of_the_headers(column):
    data = table_of([{"SOMEKEY": value} for value in column]).data
    assert list(data["SOMEKEY"]) == column


@pytest.mark.parametrize("column", [[2**53 + 1, 0.5], [1, "x"]], ids=str)
def test_what_no_column_of_numbers_holds_is_text(column):
    data = table_of([{"SOMEKEY": value} for value in column]).data
    assert list(data["SOMEKEY"]) == [str(value) for value in column]


@pytest.mark.parametrize("other", [{}, {"DOMEAZ": math.nan}], ids=["absent", "NaN"])
def test_a_number_that_one_plane_lacks_is_not_a_number(other):
    data = table_of([{"DOMEAZ": 1.5}, other]).data
    assert data["DOMEAZ"][0] == 1.5 and np.isnan(data["DOMEAZ"][1])


def test_logicals_are_numbers_because_the_reader_makes_texts_of_them():
    data = table_of([{"CLOUDY": True}, {"CLOUDY": False}]).data
    assert list(data["CLOUDY"]) == [1, 0]


def test_what_some_planes_lack_is_partial_but_for_their_coordinates():
    frames = [{"FILTER": "x", "CD1_1": 1.0, "CCD-TEMP": -60.0}, {"FILTER": "y", "CDELT1": 1.0}]
    assert partial_keywords(frames, KEYWORDS) == {"CCD-TEMP"}


def test_what_does_not_vary_has_no_column_unless_demanded():
    names = table_of([{"SOMEKEY": 1, "OTHER": 1}, {"SOMEKEY": 1, "OTHER": 2}]).columns.names
    assert names == ["FILENAME", *DEMANDED, "OTHER"]


def test_sky_frames_beside_pixel_frames_each_keep_their_own():
    sky = {"WCSAXES": 2, "CTYPE1": "RA---TAN", "CD1_1": 1e-5, "CRVAL1": 10.0}
    pixel = {"WCSAXES": 2, "CTYPE1": "PIXEL", "CDELT1": 1.0, "CRVAL1": 1.0}
    data = table_of([sky, pixel]).data
    assert list(data["CTYPE1"]) == ["RA---TAN", "PIXEL"]
    assert list(data["CD1_1"]) == [1e-5, 1.0]
    assert "CDELT1" not in data.names


@pytest.mark.parametrize("keyword", ["filter", "TOOLONGKEY", "A B", "FÜR"])
def test_corrections_of_what_is_no_keyword_of_a_frame_are_refused(tmp_path, keyword):
    path = tmp_path / "io_20260305.yaml"
    path.write_text(f"- {{files: '*', reason: wrong, set: {{'{keyword}': J}}}}\n")
    with pytest.raises(ValueError, match=re.escape(str(path))):
        read_corrections(path)


def test_a_date_in_a_correction_needs_no_quotes(tmp_path):
    path = tmp_path / "io_20260305.yaml"
    path.write_text("- {files: '*', reason: clock, set: {DATE-OBS: 2026-03-06T00:01:02.345678}}\n")
    header = Header([card("DATE-OBS", quoted("2026-03-05T00:00:00"))])
    new = corrected(header, "a.fits", read_corrections(path))
    assert new.value("DATE-OBS") == "2026-03-06T00:01:02.345678"


@pytest.mark.parametrize("value", [True, 1, 2.5, "J'", "2026-03-06T00:01:02.345"])
def test_corrections_keep_the_type_of_their_value(tmp_path, value):
    path = tmp_path / "io_20260305.yaml"
    text = quoted(value) if isinstance(value, str) else str(value).lower()
    path.write_text(f"- {{files: '*', reason: wrong, set: {{KEY: {text}}}}}\n")
    found = corrected(Header([]), "a.fits", read_corrections(path)).value("KEY")
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("text", ["# nothing yet\n", "- files: [\n", "- {files: a"])
def test_what_is_no_correction_file_is_refused_by_name(tmp_path, text):
    path = tmp_path / "io_20260305.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        read_corrections(path)


@pytest.mark.parametrize("content", [b"\0", b"<html>", b"SIMPLE  =                    T"])
def test_a_foreign_file_of_the_same_size_is_named_and_kept(tmp_path, content):
    archive = tmp_path / "archive"
    archive.mkdir()
    made = tmp_path / "p.fits"
    fits.PrimaryHDU(np.zeros((4, 4), np.int16)).writeto(made, checksum=True)
    foreign = content.ljust(made.stat().st_size, b"\0")
    (archive / "p.fits").write_bytes(foreign)
    intent = Intent(product_of(made, "20260305"), stage(made, archive, 0o644))
    for earlier in (None, intent.product):
        with pytest.raises(NameTaken, match=re.escape(str(archive / "p.fits"))):
            publish(archive, intent, earlier)
        assert (archive / "p.fits").read_bytes() == foreign


def test_sidereal_time_is_that_of_astropy_with_the_table_of_the_installation():
    start = datetime(2026, 1, 1, 0, 0, 0, 123000, tzinfo=UTC)
    moments = [start + timedelta(days=17.37 * i) for i in range(12)]
    with iers.conf.set_temp("auto_download", False):
        right = Time(moments, scale="utc").sidereal_time("apparent", longitude=-70.390278 * u.deg)
    found = np.array(sidereal_seconds(moments, -70.390278))
    assert np.abs(found - right.hour * 3600).max() < 1e-5
    assert found.min() >= 0 and found.max() < 86400


@pytest.mark.parametrize(
    "text",
    [
        "20240215-",
        "-20240215",
        "20240215--20240216",
        "20240215-20240216-20240217",
        "２０２４０２１５",
    ],
)
def test_half_ranges_are_refused(text):
    with pytest.raises(NightError, match="nights"):
        parse_nights(text)


def test_rounding_never_leaves_the_circle():
    exposure = SimpleNamespace(lst=86399.9999, raw=Header([card("RA", "359.9999999")]))
    assert values.lst(exposure) == 0 and values.ra(exposure) == 0


def test_floats_of_the_table_have_the_decimals_they_are_said_to_have():
    for keyword, decimals in (("MJD-OBS", 10), ("EXPTIME", 3), ("RA", 6), ("LST", 3), ("UTC", 3)):
        image = KEYWORDS.entry(keyword, 12.0).image.decode()
        assert re.search(rf"= +12\.0{{{decimals}}} /", image), image
