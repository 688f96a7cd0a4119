"""Times (UTC): to the millisecond, and every derived one from the same millisecond.

ESO names a frame after MJD-OBS, we after DATE-OBS: the two must be one number. So DATE-OBS is cut
to the millisecond first, and the arithmetic is in whole milliseconds.
"""

import re
from datetime import UTC, datetime, timedelta

_DATE = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?Z?")
_MJD_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
DAY_MS = 86_400_000
JD_OF_MJD = 2_400_000.5
SIDEREAL_TOLERANCE = 5.0  # s: of `mean_sidereal`, and of clocks


def parse_date(text: str) -> datetime:
    """Return an ISO 8601 date and time, cut to the millisecond; raise ValueError for others."""
    match = _DATE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not YYYY-MM-DDThh:mm:ss.sss")
    try:
        whole = datetime.fromisoformat(f"{match[1]}+00:00")
    except ValueError:
        raise ValueError(f"{text!r} is not in the calendar") from None
    return whole + int((match[2] or "0").ljust(3, "0")[:3]) * _MS


def cut_away(text: str) -> float:
    """Return the seconds that `parse_date` cuts from a date."""
    match = _DATE.fullmatch(text)
    fraction = (match and match[2]) or "0"
    return float(f"0.{fraction}") - int(fraction.ljust(3, "0")[:3]) / 1000


def iso(time: datetime) -> str:
    """Return ``YYYY-MM-DDThh:mm:ss.sss``, the only form of a date that ESO takes."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}"


def mjd_ms(time: datetime) -> tuple[int, int]:
    """Return the Modified Julian Day and the milliseconds of that day."""
    return divmod((time - _MJD_EPOCH) // _MS, DAY_MS)


def mjd(time: datetime) -> float:
    """Return the Modified Julian Date (d)."""
    day, ms = mjd_ms(time)
    return day + ms / DAY_MS


def time_of_mjd(mjd: float) -> datetime:
    """Return the time of a Modified Julian Date (d), to the millisecond."""
    return _MJD_EPOCH + round(mjd * DAY_MS) * _MS


def ms_off(mjd: float, time: datetime) -> float:
    """Return by how many milliseconds a Modified Julian Date is later than a time."""
    day, ms = mjd_ms(time)
    return (mjd - day) * DAY_MS - ms


def mean_sidereal(time: datetime, longitude: float) -> float:
    """Return the local mean sidereal time (s) at a longitude (degrees, east positive).

    Meeus, Astronomical Algorithms, 12.4. UT1 and nutation, which it leaves out, are below 2.2 s.
    """
    days = mjd_ms(time)[0] - 51544.5 + seconds_of_day(time) / 86400
    return (280.46061837 + 360.98564736629 * days + longitude) * 240 % 86400


def jd(time: datetime) -> float:
    """Return the Julian Date (d)."""
    return mjd(time) + JD_OF_MJD


def seconds_of_day(time: datetime) -> float:
    """Return the seconds since midnight."""
    return mjd_ms(time)[1] / 1000


def after(time: datetime, seconds: float) -> datetime:
    """Return the time some seconds later, to the millisecond."""
    return time + round(seconds * 1000) * _MS
