"""Checks of times: every one follows from DATE-OBS and EXPTIME."""

from datetime import datetime, timedelta

from scripts.lib.gate.identity import name_match
from scripts.lib.gate.product_file import ProductFile
from scripts.lib.nights.times import (
    DAY_MS,
    JD_OF_MJD,
    after,
    iso,
    mjd_ms,
    parse_date,
    seconds_of_day,
)

MS = timedelta(milliseconds=1)
SIDEREAL_TOLERANCE = 5.0  # s
# s: light from the sun takes 508 at most, and Astra's BJD-OBS is in TDB, 69 ahead of UTC.
FARTHEST_LIGHT = 600.0
EDGE = timedelta(hours=1)
# DATE may be that of a header that is finished within this time; clocks differ.
CLOCK = timedelta(minutes=5)


def start(s: ProductFile) -> datetime:
    """Return DATE-OBS."""
    return parse_date(s.text("DATE-OBS"))


def end(s: ProductFile) -> datetime:
    """Return DATE-END."""
    return parse_date(s.text("DATE-END"))


def ms_off(mjd: float, moment: datetime) -> float:
    """Return by how many milliseconds a Modified Julian Date is later than a moment."""
    day, ms = mjd_ms(moment)
    return (mjd - day) * DAY_MS - ms


def mjd_obs(s: ProductFile) -> str:
    """MJD-OBS against DATE-OBS."""
    off = ms_off(s.number("MJD-OBS"), start(s))
    return "" if abs(off) <= 0.5 else f"MJD-OBS {off:+.1f} ms from DATE-OBS"


def mjd_end(s: ProductFile) -> str:
    """MJD-END against DATE-END."""
    off = ms_off(s.number("MJD-END"), end(s))
    return "" if abs(off) <= 1 else f"MJD-END {off:+.1f} ms from DATE-END"


def jd_obs(s: ProductFile) -> str:
    """JD-OBS against DATE-OBS; a double holds 40 microseconds of it."""
    off = ms_off(s.number("JD-OBS") - JD_OF_MJD, start(s))
    return "" if abs(off) <= 1 else f"JD-OBS {off:+.1f} ms from DATE-OBS"


def light_travel(s: ProductFile) -> str:
    """HJD-OBS and BJD-OBS against JD-OBS: light takes eight minutes from the sun."""
    for keyword in ("HJD-OBS", "BJD-OBS"):
        given = keyword if s.value(keyword) else "HJD-OBS"
        off = 86400 * (s.number(given) - s.number("JD-OBS"))
        if abs(off) > FARTHEST_LIGHT:
            return f"{keyword} {off:+.0f} s from JD-OBS"
    return ""


def utc(s: ProductFile) -> str:
    """UTC against DATE-OBS."""
    off = s.number("UTC") - seconds_of_day(start(s))
    return "" if abs(off) <= 0.001 else f"UTC {off:+.3f} s from DATE-OBS"


def sidereal(s: ProductFile) -> str:
    """LST against the mean sidereal time at the site (Meeus, Astronomical Algorithms, 12.4).

    UT1 and nutation are left out: together they are below 2.2 s.
    """
    days = mjd_ms(start(s))[0] - 51544.5 + seconds_of_day(start(s)) / 86400
    longitude = s.number("LONG-OBS")
    angle = 280.46061837 + 360.98564736629 * days + longitude
    off = (s.number("LST") - angle * 240 + 43200) % 86400 - 43200
    return "" if abs(off) <= SIDEREAL_TOLERANCE else f"LST {off:+.1f} s off at LONG-OBS {longitude}"


def date_end(s: ProductFile) -> str:
    """DATE-END of a frame."""
    return apart(end(s), after(start(s), s.number("EXPTIME")))


def date_end_of_cube(s: ProductFile) -> str:
    """DATE-END of a cube: that of its last plane; without its planes, not before the first's."""
    if not s.columns:
        first = after(start(s), s.number("EXPTIME"))
        return "" if end(s) >= first else "before the first plane's"
    last = parse_date(s.texts("DATE-OBS")[-1])
    return apart(end(s), after(last, s.numbers("EXPTIME")[-1]))


def apart(found: datetime, right: datetime) -> str:
    """Return by how much a date is wrong, nothing for a millisecond."""
    return "" if abs(found - right) <= MS else f"DATE-END {(found - right) / MS:+.0f} ms off"


def written_after_end(s: ProductFile) -> str:
    """DATE against DATE-END."""
    date, last = s.text("DATE"), end(s)
    return "" if parse_date(date) >= last else f"DATE {date} before DATE-END {iso(last)}"


def written_before_now(s: ProductFile) -> str:
    """DATE against the clock."""
    late = parse_date(s.text("DATE")) > s.now + CLOCK
    return f"DATE {s.value('DATE')} is to come" if late else ""


def written_is_not_start(s: ProductFile) -> str:
    """DATE against DATE-OBS and DATE-END."""
    same = [k for k in ("DATE-OBS", "DATE-END") if s.value(k) == s.value("DATE")]
    return f"DATE is {same[0]}" if same else ""


def in_night(s: ProductFile) -> str:
    """DATE-OBS against the night."""
    if s.expected.bounds is None:
        return ""
    first, behind = s.expected.bounds
    inside = first <= start(s) < behind
    return "" if inside else f"{s.value('DATE-OBS')}, not in {first:%F %H:%M} to {behind:%F %H:%M}"


def edge_of_night(s: ProductFile) -> str:
    """DATE-OBS in the first or last hour of a night, when the sun is high."""
    if s.expected.bounds is None:
        return ""
    first, behind = s.expected.bounds
    dark = first + EDGE <= start(s) < behind - EDGE
    return "" if dark or in_night(s) else s.text("DATE-OBS")


def name_is_start(s: ProductFile) -> str:
    """The file name against DATE-OBS."""
    match = name_match(s)
    if match is None:
        return ""  # its form is another check
    return "" if match[2] == named_start(s) else f"{match[2]} with DATE-OBS {s.value('DATE-OBS')}"


def name_is_not_later(s: ProductFile) -> str:
    """The name of a cube, which may be that of a frame that was held back at last."""
    match = name_match(s)
    if match is None or match[2] <= named_start(s):
        return ""
    return f"{match[2]} with DATE-OBS {s.value('DATE-OBS')}"


def named_start(s: ProductFile) -> str:
    """Return DATE-OBS as it stands in names."""
    return f"{start(s):%Y%m%dT%H%M%S}" if s.is_cube else s.text("DATE-OBS").replace(":", "_")
