"""Facts that a raw header states twice: a frame of which they contradict each other is held back.

Products have each fact once, computed from DATE-OBS, EXPTIME and the pointing. Which of two was
wrong nobody could see in them any more.
"""

import math
import re
from collections.abc import Set
from datetime import datetime
from decimal import Decimal

from scripts.lib.fits.cards import Header, plain_number, shown
from scripts.lib.frames.frame import value_of
from scripts.lib.headers.values import Exposure, dec, ra
from scripts.lib.ledger.faults import BadFrame, Fault, Reason
from scripts.lib.nights import times
from scripts.lib.nights.times import DAY_MS, JD_OF_MJD

UTC = re.compile(r"UTC(\(.*\))?")  # FITS 9.2.1: a realisation may follow
# ms: whoever rounds a date to days with fewer than 5 decimals states another time.
COARSEST = 1000.0
# Degrees: mounts give RA and DEC of J2000 or of today, 0.4 apart, and ALTITUDE with refraction.
POINTING_TOLERANCE = 1.0


def check_consistency(e: Exposure, decided: Set[str] = frozenset()) -> None:
    """Raise `BadFrame` if what a header says of times or of the pointing contradicts itself.

    ``decided`` are keywords that a correction has set: it is right, whatever else was computed
    from the wrong value.
    """
    system = value_of(e.raw, "TIMESYS")
    if system is not None and not UTC.fullmatch(str(system).strip().upper()):
        raise BadFrame(Reason.OTHER_TIME, f"TIMESYS is {shown(system)}, not 'UTC'")
    if "DATE-OBS" in decided:
        return
    check_times(e, ends="EXPTIME" not in decided)
    if e.facts.kind.name == "science":  # of others nobody uses where the telescope pointed
        check_sidereal_time(e)


def check_times(e: Exposure, ends: bool) -> None:
    """Compare DATE-OBS and EXPTIME with the dates that follow from them, within rounding."""
    start = str(e.raw.value("DATE-OBS")).strip()
    coarse, cut = 1 + date_step(start), 1000 * times.cut_away(start)
    stated = ("DATE-OBS", start), ("DATE-OBS and EXPTIME", f"{start} and {e.facts.exptime} s")
    for end, (names, shown_as) in enumerate(stated[: 1 + ends]):
        right, suffix = (e.end, "END") if end else (e.facts.date_obs, "OBS")
        for keyword, zero in ((f"MJD-{suffix}", 0.0), (f"JD-{suffix}", JD_OF_MJD)):
            if (found := number_or_none(e.raw, keyword)) is not None:
                decimals = -int(Decimal(repr(found)).as_tuple().exponent)
                off, step = times.ms_off(found - zero, right) - cut, DAY_MS / 10**decimals
                compare(names, shown_as, keyword, str(found), off, coarse + min(step, COARSEST))
    text, date = date_or_none(e.raw, "DATE-END")
    if date and ends:
        off = (date - e.end).total_seconds() * 1000 + 1000 * times.cut_away(text) - cut
        compare(*stated[1], "DATE-END", text, off, coarse + date_step(text))


def compare(names: str, stated: str, keyword: str, found: str, off: float, most: float) -> None:
    """Raise `BadFrame` if two times are further apart than rounding explains (ms)."""
    if abs(off) > most:
        detail = f"{names} {stated}, {keyword} {found}: {abs(off) / 1000:.3f} s apart"
        raise BadFrame(Reason.CONTRADICTION, detail, f"{names} and {keyword}")


def check_sidereal_time(e: Exposure) -> None:
    """Compare LST (s) with that of DATE-OBS at LONG-OBS."""
    found, longitude = number_or_none(e.raw, "LST"), number_or_none(e.raw, "LONG-OBS")
    if found is None or longitude is None:
        return
    right = times.mean_sidereal(e.facts.date_obs, longitude)
    off = (found - right + 43200) % 86400 - 43200
    if not abs(off) <= times.SIDEREAL_TOLERANCE:
        detail = f"LST {found} s, {right:.1f} s at DATE-OBS and LONG-OBS: {abs(off):.1f} s apart"
        raise BadFrame(Reason.CONTRADICTION, detail, "LST and DATE-OBS")


def pointing_fault(e: Exposure, decided: Set[str] = frozenset()) -> Fault | None:
    """Compare RA and DEC with ALTITUDE and, if there is one, AZIMUTH (north over east).

    Only of science frames. A telescope below the horizon is another fault: it has no AIRMASS.
    """
    if e.facts.kind.name != "science" or decided & {"DATE-OBS", "RA", "DEC"}:
        return None
    altitude, latitude, longitude = (
        number_or_none(e.raw, keyword) for keyword in ("ALTITUDE", "LAT-OBS", "LONG-OBS")
    )
    if altitude is None or latitude is None or longitude is None or altitude < 0:
        return None
    azimuth = number_or_none(e.raw, "AZIMUTH")
    lst = times.mean_sidereal(e.facts.date_obs, longitude) / 240
    up, towards = horizontal(lst - ra(e), dec(e), latitude)
    where, off = f"ALTITUDE {altitude}", abs(up - altitude)
    if azimuth is not None:
        where += f", AZIMUTH {azimuth}"
        off = apart(up, towards, altitude, azimuth)
    if off <= POINTING_TOLERANCE:
        return None
    detail = (
        f"RA {ra(e)}, DEC {dec(e)} are at altitude {up:.2f}, azimuth {towards:.2f} then, "
        f"{where}: {off:.2f} degrees apart"
    )
    return Fault(Reason.CONTRADICTION, detail, "RA, DEC and ALTITUDE")


def horizontal(hour_angle: float, declination: float, latitude: float) -> tuple[float, float]:
    """Return altitude and azimuth, north over east; all in degrees."""
    h, d, p = (math.radians(angle) for angle in (hour_angle, declination, latitude))
    east = -math.cos(d) * math.sin(h)
    north = math.sin(d) * math.cos(p) - math.cos(d) * math.cos(h) * math.sin(p)
    up = math.sin(d) * math.sin(p) + math.cos(d) * math.cos(h) * math.cos(p)
    altitude = math.degrees(math.atan2(up, math.hypot(east, north)))
    return altitude, math.degrees(math.atan2(east, north)) % 360


def apart(up: float, towards: float, altitude: float, azimuth: float) -> float:
    """Return the distance of two directions, in degrees: haversine formula."""
    a, b = math.radians(up), math.radians(altitude)
    turned = math.radians(towards - azimuth)
    half = math.sin((a - b) / 2) ** 2 + math.cos(a) * math.cos(b) * math.sin(turned / 2) ** 2
    return math.degrees(2 * math.asin(math.sqrt(min(half, 1.0))))


def number_or_none(header: Header, keyword: str) -> float | None:
    """Return a number; None if there is none, which other rules judge."""
    try:
        return plain_number(header.value(keyword))
    except ValueError:
        return None


def date_or_none(header: Header, keyword: str) -> tuple[str, datetime | None]:
    """Return a date as it is written, and as a time; None if there is none."""
    try:
        text = str(header.value(keyword)).strip()
        return text, times.parse_date(text)
    except ValueError:
        return "", None


def date_step(text: str) -> float:
    """Return what the last digit of a date's seconds is worth, in milliseconds."""
    return 1000 * 0.1 ** len(text.rstrip("Z").partition(".")[2])
