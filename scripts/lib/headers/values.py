"""Values of keywords: those of the rule ``set`` in ``config/keywords.csv``, by keyword.

A function that returns None leaves its keyword out. The table says where each value is from.
"""

import re
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple, TypeVar

from scripts.lib.fits.cards import Header, HeaderError, Value, as_number, plain_number
from scripts.lib.frames.frame import Facts
from scripts.lib.ledger.faults import BadFrame, Reason
from scripts.lib.nights import times
from scripts.lib.settings.telescopes import Telescope


class Programme(NamedTuple):
    """On whose behalf a telescope observes: ORIGIN, PI-COI and ESO's programme id."""

    origin: str
    pi_coi: str
    id: str


class Exposure(NamedTuple):
    """All that the header of one product frame is made of.

    ``lst`` is in seconds, ``now`` is when the header is written (UTC), ``solver`` says in one line
    where the sky coordinates are from.
    """

    raw: Header
    facts: Facts
    telescope: Telescope
    programme: Programme
    lst: float
    now: datetime
    wcs: dict[str, Value]
    solver: str = ""

    @property
    def end(self) -> datetime:
        """The end of the exposure (UTC)."""
        return times.after(self.facts.date_obs, self.facts.exptime)


ValueOf = Callable[[Exposure], Value]
F = TypeVar("F", bound=ValueOf)

LOWEST_AIRMASS = 0.999  # 1 as some round it

# Other functions join by `keyword`.
VALUES: dict[str, ValueOf] = {
    "ORIGIN": lambda e: e.programme.origin,
    "TELESCOP": lambda e: e.telescope.telescop,
    "INSTRUME": lambda e: e.telescope.instrume,
    "PI-COI": lambda e: e.programme.pi_coi,
    "OBJECT": lambda e: e.facts.object,
    "EXPTIME": lambda e: e.facts.exptime,
    "XORGSUBF": lambda e: e.facts.setting.x0 if "XORGSUBF" in e.raw else None,
    "YORGSUBF": lambda e: e.facts.setting.y0 if "YORGSUBF" in e.raw else None,
    "FILTER": lambda e: e.facts.filter,
    "IMAGETYP": lambda e: e.facts.kind.imagetyp,
    "DATE": lambda e: times.iso(e.now),
    "DATE-OBS": lambda e: times.iso(e.facts.date_obs),
    "DATE-END": lambda e: times.iso(e.end),
    "MJD-OBS": lambda e: times.mjd(e.facts.date_obs),
    "MJD-END": lambda e: times.mjd(e.end),
    "JD-OBS": lambda e: times.jd(e.facts.date_obs),
    "JD-END": lambda e: times.jd(e.end),
    "HJD-OBS": lambda e: light_travel(e, "HJD-OBS"),
    "BJD-OBS": lambda e: light_travel(e, "BJD-OBS"),
    "UTC": lambda e: times.seconds_of_day(e.facts.date_obs),
    "LST": lambda e: round(e.lst, 3) % 86400,
    "SOLVER": lambda e: e.solver,
    "HIERARCH ESO DPR CATG": lambda e: e.facts.kind.catg,
    "HIERARCH ESO DPR TYPE": lambda e: e.facts.kind.type,
    "HIERARCH ESO DPR TECH": lambda e: e.facts.kind.tech,
    "HIERARCH ESO OBS PROG ID": lambda e: e.programme.id,
    "HIERARCH ESO INS NAME": lambda e: e.telescope.instrume,
}


def keyword(name: str) -> Callable[[F], F]:
    """Register a function that returns the value of a keyword."""

    def register(function: F) -> F:
        VALUES[name] = function
        return function

    return register


@keyword("RA")
def ra(e: Exposure) -> float:
    """Return the pointing's right ascension, in degrees."""
    return round(degrees(e.raw.value("RA"), "RA", 15.0, e.telescope.ra_unit), 6) % 360


@keyword("DEC")
def dec(e: Exposure) -> float:
    """Return the pointing's declination, in degrees."""
    return degrees(e.raw.value("DEC"), "DEC", 1.0)


@keyword("AIRMASS")
def airmass(e: Exposure) -> float | None:
    """Return the airmass; raise ValueError for one that the telescope cannot have had.

    Astra computes it from ALTITUDE, also where that is wrong.
    """
    value = e.raw.value("AIRMASS")
    if value is None:
        return None
    if (found := plain_number(value)) < LOWEST_AIRMASS:
        raise ValueError(f"{found} is below 1")
    altitude = 90.0
    with suppress(HeaderError):
        altitude = e.raw.number("ALTITUDE")
    if altitude < 0:
        raise ValueError(f"{found} with ALTITUDE {altitude}, below the horizon")
    return found


@keyword("RADESYS")
def radesys(e: Exposure) -> str:
    """Return ICRS with a sky WCS, otherwise the frame of the pointing."""
    pointing = str(e.raw.value("RADESYS") or e.raw.value("RADECSYS") or "ICRS").strip()
    if pointing not in ("ICRS", "FK5"):
        raise BadFrame(Reason.UNKNOWN, f"{pointing!r} is neither ICRS nor FK5", "RADESYS")
    return "ICRS" if "CD1_1" in e.wcs else pointing


@keyword("EQUINOX")
def equinox(e: Exposure) -> float | None:
    """Return the equinox of FK5 (FITS 8.3: the ICRS has none)."""
    return 2000.0 if radesys(e) == "FK5" else None


def light_travel(e: Exposure, keyword: str) -> float | None:
    """Return a light-travel corrected date, moved by what was cut from DATE-OBS."""
    value = e.raw.value(keyword)
    if value is None:
        return None
    return plain_number(value) - times.cut_away(str(e.raw.value("DATE-OBS")).strip()) / 86400


def degrees(value: Value, keyword: str, of_text: float, of_number: float = 1.0) -> float:
    """Return an angle in degrees, from a number or a sexagesimal text.

    ``of_text`` is the degrees in the first unit of the text, ``of_number`` those in the unit of a
    number: 15 for hours. Raises `BadFrame` for another value, or one out of range.
    """
    try:
        if isinstance(value, str):
            sign = -1 if value.strip().startswith("-") else 1
            parts = [abs(float(part)) for part in re.split(r"[:\s]+", value.strip())]
            angle = sign * of_text * sum(part / 60.0**i for i, part in enumerate(parts))
        else:
            angle = of_number * as_number(value, keyword)
    except ValueError:
        raise BadFrame(Reason.UNREADABLE, f"{value!r} is not an angle", keyword) from None
    low, high = (-90, 90) if keyword == "DEC" else (-360, 360)
    if not low <= angle <= high:
        raise BadFrame(Reason.OUT_OF_RANGE, f"{angle} is not within {low} to {high}", keyword)
    return angle
