"""Times, sidereal time and nights, against astropy where it knows the answer."""

import random
import re
from datetime import UTC, datetime, timedelta

import astropy.units as u
import numpy as np
import pytest
from astropy.time import Time
from astropy.utils import iers

from scripts.lib.headers.sidereal import sidereal_seconds
from scripts.lib.nights import times
from scripts.lib.nights.dates import (
    last_night,
    night_bounds,
    observing_ends,
    parse_nights,
    recent_nights,
)
from scripts.lib.settings.check import ConfigurationError
from scripts.lib.settings.telescopes import telescopes
from tests.night import PARANAL
from tests.records import configuration


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("2026-03-06T00:00:23.123987", "2026-03-06T00:00:23.123"),
        ("2026-03-06T23:59:59.999999", "2026-03-06T23:59:59.999"),
        ("2026-03-06T00:00:40", "2026-03-06T00:00:40.000"),
        ("2026-03-06T00:00:40.5Z", "2026-03-06T00:00:40.500"),
    ],
)
def test_dates_are_cut_to_the_millisecond(text, cut):
    assert times.iso(times.parse_date(text)) == cut


@pytest.mark.parametrize("text", ["2026-02-30T00:00:00", "2026-03-06 00:00:00", "05/03/26", ""])
def test_invalid_dates_are_refused(text):
    with pytest.raises(ValueError):
        times.parse_date(text)


def test_mjd_as_written_keeps_the_millisecond():
    generator = random.Random(2)
    for _ in range(500):
        ms = generator.randrange(times.DAY_MS)
        time = times.after(datetime(2026, 3, 6, tzinfo=UTC), ms / 1000)
        written = f"{times.mjd(time):.10f}"
        assert round(float(written) % 1 * times.DAY_MS) == ms
        assert abs(times.mjd(time) - Time(times.iso(time), scale="utc").mjd) < 1e-10


@pytest.mark.filterwarnings("ignore:ERFA", "ignore:Tried to get polar motions")
def test_sidereal_time_needs_no_new_table_for_decades():
    dates = [datetime(year, 3, 6, 1, 2, 3, tzinfo=UTC) for year in (2018, 2026, 2045)]
    for date, found in zip(dates, sidereal_seconds(dates, -70.390278), strict=True):
        time = Time(date, scale="utc")
        time.delta_ut1_utc = 0.0
        with iers.conf.set_temp("auto_download", False):
            right = time.sidereal_time("apparent", longitude=-70.390278 * u.deg).hour * 3600
        assert abs(found - right) < 1.0


def test_sidereal_time_is_that_of_astropy_with_its_table():
    start = datetime(2026, 1, 1, 0, 0, 0, 123000, tzinfo=UTC)
    dates = [start + timedelta(days=17.37 * i) for i in range(12)]
    with iers.conf.set_temp("auto_download", False):
        right = Time(dates, scale="utc").sidereal_time("apparent", longitude=-70.390278 * u.deg)
    found = np.array(sidereal_seconds(dates, -70.390278))
    assert np.abs(found - right.hour * 3600).max() < 1e-5
    assert found.min() >= 0 and found.max() < 86400


def test_nights_are_named_singly_in_lists_and_ranges():
    assert parse_nights("") == []
    for written, nights in (("", []), (None, []), (20240215, ["20240215"])):
        assert parse_nights(configuration("Io", nights=written).nights) == nights
    assert parse_nights("20240215 20240217") == ["20240215", "20240217"]
    assert parse_nights("20240228-20240301") == ["20240228", "20240229", "20240301"]


@pytest.mark.parametrize("text", ["2024", "20240230", "20240215-2024", "last", "20240302-20240301"])
def test_invalid_nights_are_refused_by_name(text):
    with pytest.raises(ConfigurationError, match=re.escape(text.split("-")[-1])):
        parse_nights(text)


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
    with pytest.raises(ConfigurationError, match="nights"):
        parse_nights(text)


@pytest.mark.parametrize(
    ("now", "night"),
    [
        ((2026, 3, 6, 3), "20260304"),
        ((2026, 3, 6, 11, 59), "20260304"),
        ((2026, 3, 6, 12), "20260305"),
        ((2026, 3, 6, 23), "20260305"),
        ((2026, 3, 7, 11), "20260305"),
    ],
)
def test_last_night_is_the_one_whose_observing_is_over(now, night):
    assert last_night(datetime(*now, tzinfo=UTC), PARANAL) == night


def test_a_night_is_over_once_the_sun_has_risen():
    hours = {name: observing_ends(one.site.longitude) for name, one in telescopes().items()}
    assert hours["Io"] == 12 and hours["Artemis"] == 9 and hours["SAINT-EX"] == 15


def test_recent_nights_end_with_the_last():
    now = datetime(2026, 3, 2, 13, tzinfo=UTC)
    assert recent_nights(now, PARANAL, 2) == ["20260227", "20260228", "20260301"]
    assert recent_nights(now, PARANAL, 2, "20260301") == ["20260301"]
    assert recent_nights(now, PARANAL, 2, "20260302") == []


@pytest.mark.parametrize(
    ("longitude", "begin", "end"),
    [
        (-70.390278, "2026-03-01T15:00:00", "2026-03-02T18:41:33"),  # Paranal: noon at 16:41:33
        (0, "2026-03-01T11:00:00", "2026-03-02T14:00:00"),
        (-17.89, "2026-03-01T12:00:00", "2026-03-02T15:11:33"),
        (149.07, "2026-03-01T01:00:00", "2026-03-02T04:03:43"),
        (-180, "2026-03-01T23:00:00", "2026-03-03T02:00:00"),
    ],
)
def test_a_night_is_that_of_the_site(longitude, begin, end):
    found = night_bounds("20260301", longitude)
    assert tuple(time.strftime("%Y-%m-%dT%H:%M:%S") for time in found) == (begin, end)
