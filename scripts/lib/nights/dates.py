"""Nights: the date of an evening, ``YYYYMMDD``, and when the frames in its folder may begin.

Astra names a folder after the day that lasts from local mean noon to the next, and leaves all
frames of an action in the folder of its start.
"""

import math
import re
from datetime import UTC, date, datetime, timedelta

from scripts.lib.settings.check import ConfigurationError

# Hours from the last dawn flat to local mean noon, at the least: up to 35 degrees of latitude the
# Sun rises before 07:15 local mean time all year.
MORNING = 4.7
# No action that begins before noon, calibrations say, goes on for longer.
LONGEST_ACTION = timedelta(hours=2)


def parse_night(text: str) -> date:
    """Return the date of a night; raise `ConfigurationError` unless it is one."""
    try:
        if not re.fullmatch(r"\d{8}", text, re.ASCII):
            raise ValueError
        return datetime.strptime(text, "%Y%m%d").date()
    except ValueError:
        raise ConfigurationError(
            f"nights: {text!r} is not a night; write YYYYMMDD, several with blanks between, "
            "or a range YYYYMMDD-YYYYMMDD"
        ) from None


def parse_nights(text: str) -> list[str]:
    """Return the nights named by a setting: one, several, or a range; none for an empty one.

    Raises `ConfigurationError` if a part is not a night, or a range runs backwards.
    """
    nights = []
    for part in text.replace(",", " ").split():
        first, dash, last = part.partition("-")
        begin, end = parse_night(first), parse_night(last if dash else first)
        if end < begin:
            raise ConfigurationError(f"nights: the range {part!r} ends before it begins")
        nights += [f"{begin + timedelta(days=i):%Y%m%d}" for i in range((end - begin).days + 1)]
    return list(dict.fromkeys(nights))


def observing_ends(longitude: float) -> int:
    """Return the hour of UTC, of the day after its evening, from which on a night is over.

    ``longitude`` is that of the site, degrees, east positive. At Paranal it is 12.
    """
    return math.ceil(12 - longitude / 15 - MORNING)


def last_night(now: datetime, longitude: float) -> str:
    """Return the latest night whose observing is over at ``now`` (UTC)."""
    return f"{now - timedelta(days=1, hours=observing_ends(longitude)):%Y%m%d}"


def recent_nights(now: datetime, longitude: float, lookback: int, first: str = "") -> list[str]:
    """Return the last ``lookback`` nights before `last_night` and that one, oldest first.

    Those before the night ``first`` are left out, which may be all.
    """
    last = parse_night(last_night(now, longitude))
    nights = (f"{last - timedelta(days=i):%Y%m%d}" for i in range(lookback, -1, -1))
    return [night for night in nights if night >= first]


def night_of(time: datetime, longitude: float) -> str:
    """Return the night that a time (UTC) belongs to: local mean noon to the next.

    ``longitude`` is that of the site, degrees, east positive.
    """
    return f"{time - timedelta(hours=12 - longitude / 15):%Y%m%d}"


def night_bounds(night: str, longitude: float) -> tuple[datetime, datetime]:
    """Return from when to when (not included) the frames of a night may begin (UTC).

    Parameters
    ----------
    longitude : float
        Of the site, degrees, east positive. At Paranal the bounds are 15:00 and, a day later,
        local mean noon at 16:41:33 and two hours for what was begun before.
    """
    midnight = datetime.combine(parse_night(night), datetime.min.time(), UTC)
    noon = midnight + timedelta(hours=12 - longitude / 15)
    begin = (noon - timedelta(hours=1)).replace(minute=0, second=0, microsecond=0)
    return begin, noon + timedelta(days=1) + LONGEST_ACTION
