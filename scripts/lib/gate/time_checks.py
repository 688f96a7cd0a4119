"""Checks of times: every one follows from DATE-OBS and EXPTIME."""

import re
from datetime import timedelta

from scripts.lib.gate.product_file import ProductFile
from scripts.lib.gate.rules import check
from scripts.lib.nights import times
from scripts.lib.nights.times import JD_OF_MJD, ms_off, parse_date

MS = timedelta(milliseconds=1)
# s: light from the sun takes 508 at most, and Astra's BJD-OBS is in TDB, 69 ahead of UTC.
FARTHEST_LIGHT = 600.0
EDGE = timedelta(hours=1)
# DATE may be that of a header that is finished within this time; clocks differ.
CLOCK = timedelta(minutes=5)
ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d+)?)?")
DECIMALS = re.compile(rb"= +[+-]?\d+\.(\d*)(?![EeDd\d])")
FEWEST_DECIMALS = 8


def beyond(off: float, most: float, keyword: str, other: str) -> str:
    """Return by how many milliseconds a keyword is off another; nothing within the tolerance."""
    return "" if abs(off) <= most else f"{keyword} {off:+.1f} ms from {other}"


@check("T17e")
def other_dates(p: ProductFile) -> str:
    for keyword in p.header.keywords:
        if keyword.startswith("DATE") and not ISO_DATE.fullmatch(str(p.value(keyword))):
            return f"{keyword} {p.value(keyword)!r}"
    return ""


@check("T18a")
def mjd_obs(p: ProductFile) -> str:
    return beyond(ms_off(p.number("MJD-OBS"), p.start), 0.5, "MJD-OBS", "DATE-OBS")


@check("T18b")
def mjd_decimals(p: ProductFile) -> str:
    found = p.required("MJD-OBS")
    match = DECIMALS.search(p.header.images[p.header.keywords.index("MJD-OBS")])
    decimals = len(match[1]) if match else 0
    return "" if decimals >= FEWEST_DECIMALS else f"{found!r}, {decimals} decimals"


@check("T18c")
def jd_obs(p: ProductFile) -> str:
    # A double holds 40 microseconds of a Julian date.
    return beyond(ms_off(p.number("JD-OBS") - JD_OF_MJD, p.start), 1, "JD-OBS", "DATE-OBS")


@check("T18d")
def light_travel(p: ProductFile) -> str:
    for keyword in ("HJD-OBS", "BJD-OBS"):
        given = keyword if p.value(keyword) else "HJD-OBS"
        off = 86400 * (p.number(given) - p.number("JD-OBS"))
        if abs(off) > FARTHEST_LIGHT:
            return f"{keyword} {off:+.0f} s from JD-OBS"
    return ""


@check("T19")
def utc(p: ProductFile) -> str:
    off = p.number("UTC") - times.seconds_of_day(p.start)
    return "" if abs(off) <= 0.001 else f"UTC {off:+.3f} s from DATE-OBS"


@check("T20b")
def sidereal(p: ProductFile) -> str:
    longitude = p.number("LONG-OBS")
    off = (p.number("LST") - times.mean_sidereal(p.start, longitude) + 43200) % 86400 - 43200
    return (
        ""
        if abs(off) <= times.SIDEREAL_TOLERANCE
        else f"LST {off:+.1f} s off at LONG-OBS {longitude}"
    )


@check("T21a", "T21b")
def date_end(p: ProductFile) -> str:
    """Compare with the last plane of a cube; without its planes, with the first's end."""
    end = times.after(p.start, p.number("EXPTIME"))
    if p.is_cube and not p.columns:
        return "" if p.end >= end else "before the first plane's"
    if p.is_cube:
        end = times.after(parse_date(p.texts("DATE-OBS")[-1]), p.numbers("EXPTIME")[-1])
    return "" if abs(p.end - end) <= MS else f"DATE-END {(p.end - end) / MS:+.0f} ms off"


@check("T21c")
def mjd_end(p: ProductFile) -> str:
    return beyond(ms_off(p.number("MJD-END"), p.end), 1, "MJD-END", "DATE-END")


@check("T22a")
def written_after_end(p: ProductFile) -> str:
    date = p.text("DATE")
    return "" if parse_date(date) >= p.end else f"DATE {date} before DATE-END {times.iso(p.end)}"


@check("T22b")
def written_before_now(p: ProductFile) -> str:
    late = parse_date(p.text("DATE")) > p.now + CLOCK
    return f"DATE {p.value('DATE')} is to come" if late else ""


@check("T22c")
def written_is_not_start(p: ProductFile) -> str:
    same = [k for k in ("DATE-OBS", "DATE-END") if p.value(k) == p.value("DATE")]
    return f"DATE is {same[0]}" if same else ""


@check("T23")
def in_night(p: ProductFile, edge: timedelta = timedelta(0)) -> str:
    if p.context.bounds is None:
        return ""
    first, behind = p.context.bounds
    if first + edge <= p.start < behind - edge:
        return ""
    return f"{p.value('DATE-OBS')}, not in {first:%F %H:%M} to {behind:%F %H:%M}"


@check("T23b")
def edge_of_night(p: ProductFile) -> str:
    return p.text("DATE-OBS") if in_night(p, EDGE) and not in_night(p) else ""


@check("T25a", "T25c")
def name_is_start(p: ProductFile) -> str:
    start = f"{p.start:%Y%m%dT%H%M%S}" if p.is_cube else p.text("DATE-OBS").replace(":", "_")
    if p.name_parts is None or p.name_parts[2] == start:
        return ""  # the form of the name is another check
    return f"{p.name_parts[2]} with DATE-OBS {p.value('DATE-OBS')}"


@check("T25b")
def name_is_not_later(p: ProductFile) -> str:
    # It may be that of a frame that was held back at last.
    late = p.name_parts is not None and p.name_parts[2] > f"{p.start:%Y%m%dT%H%M%S}"
    return name_is_start(p) if late else ""
