"""Keywords of products and columns of METADATA."""

import io
import math
import re
from types import SimpleNamespace

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits

from scripts.lib.files.tables import read_table
from scripts.lib.fits.cards import (
    Header,
    card,
)
from scripts.lib.headers.keywords import card_of, read_keywords
from scripts.lib.headers.metadata import DEMANDED, metadata_hdu, partial_keywords
from scripts.lib.headers.values import VALUES
from tests.records import CONFIG

KEYWORDS = read_keywords(CONFIG / "keywords.csv", CONFIG / "reserved.csv")


def test_computed_keywords_have_functions_and_units_are_of_fits():
    for row in read_table(CONFIG / "keywords.csv"):
        assert row["rule"] in {"copy", "optional", "set", "constant", "cube", "wcs", "drop"}
        if row["rule"] == "set":
            assert callable(VALUES[row["keyword"]]) and row["value"]
        if row["unit"]:
            u.Unit(row["unit"], format="fits")


def test_keyword_patterns():
    table = KEYWORDS
    assert not table.passage("PC1_2")[0] and table.rule("CD1_2").rule == "wcs"
    assert table.rule("CRVAL2").rule == "wcs" and table.rule("CAM-SNAM") is None
    assert table.rule("HIERARCH ESO TEL ALT").rule == "drop"


def test_floats_have_the_decimals_of_the_table():
    for keyword, decimals in (("MJD-OBS", 10), ("EXPTIME", 3), ("RA", 6), ("LST", 3), ("UTC", 3)):
        image = card_of(KEYWORDS.rule(keyword), keyword, 12.0).image.decode()
        assert re.search(rf"= +12\.0{{{decimals}}} /", image), image


@pytest.mark.parametrize("keyword", ["HUMIDITY", "TRACKING"])
def test_what_is_not_a_number_is_named_in_plain_words(keyword):
    with pytest.raises(ValueError, match="^'N/A' is not a number$"):
        card_of(KEYWORDS.rule(keyword), keyword, "N/A")


def test_rounding_never_leaves_the_circle():
    for unit, value in ((1, "359.9999999"), (15, "23.99999999")):
        raw = Header([card("RA", value)])
        exposure = SimpleNamespace(lst=86399.9999, raw=raw, telescope=SimpleNamespace(ra_unit=unit))
        assert VALUES["LST"](exposure) == 0 and VALUES["RA"](exposure) == 0


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
def test_columns_of_mixed_values_are_text(column):
    data = table_of([{"SOMEKEY": value} for value in column]).data
    assert list(data["SOMEKEY"]) == [str(value) for value in column]


@pytest.mark.parametrize("other", [{}, {"DOMEAZ": math.nan}], ids=["absent", "NaN"])
def test_a_number_that_one_plane_lacks_is_not_a_number(other):
    data = table_of([{"DOMEAZ": 1.5}, other]).data
    assert data["DOMEAZ"][0] == 1.5 and np.isnan(data["DOMEAZ"][1])


def test_logicals_are_written_as_numbers_for_the_reader():
    data = table_of([{"CLOUDY": True}, {"CLOUDY": False}]).data
    assert list(data["CLOUDY"]) == [1, 0]


def test_keywords_missing_in_some_planes_are_partial():
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
