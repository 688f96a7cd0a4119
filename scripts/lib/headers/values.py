"""Values of keywords that need thought: one function each, named for its keyword.

``config/keywords.csv`` names them with the rule ``set``. ``HIERARCH ESO DPR CATG`` is `dpr_catg`,
``DATE-OBS`` is `date_obs`. A function that returns None leaves its keyword out.
"""

import re
from datetime import datetime
from typing import NamedTuple

from scripts.lib.fits.cards import Header, Value, number
from scripts.lib.frames.frame import Facts
from scripts.lib.frames.instruments import Telescope
from scripts.lib.ledger.faults import BadFrame, Reason
from scripts.lib.nights import times


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


def origin(e: Exposure) -> str:
    """Setting ``origin``."""
    return e.programme.origin


def telescop(e: Exposure) -> str:
    """``config/telescopes.csv``."""
    return e.telescope.telescop


def instrume(e: Exposure) -> str:
    """``config/telescopes.csv``."""
    return e.telescope.instrume


def pi_coi(e: Exposure) -> str:
    """Setting ``pi_coi``."""
    return e.programme.pi_coi


def object(e: Exposure) -> str:
    """The raw frame's target; of calibrations DPR TYPE."""
    return e.facts.object


def exptime(e: Exposure) -> float:
    """The raw frame's, to the millisecond."""
    return e.facts.exptime


def filter(e: Exposure) -> str:
    """The raw frame's."""
    return e.facts.filter


def imagetyp(e: Exposure) -> str:
    """``config/kinds.csv``."""
    return e.facts.kind.imagetyp


def date(e: Exposure) -> str:
    """The clock when the file is written."""
    return times.iso(e.now)


def date_obs(e: Exposure) -> str:
    """The raw frame's, cut to the millisecond."""
    return times.iso(e.facts.date_obs)


def date_end(e: Exposure) -> str:
    """DATE-OBS and EXPTIME."""
    return times.iso(_end(e))


def mjd_obs(e: Exposure) -> float:
    """DATE-OBS."""
    return times.mjd(e.facts.date_obs)


def mjd_end(e: Exposure) -> float:
    """DATE-END."""
    return times.mjd(_end(e))


def jd_obs(e: Exposure) -> float:
    """DATE-OBS."""
    return times.jd(e.facts.date_obs)


def jd_end(e: Exposure) -> float:
    """DATE-END."""
    return times.jd(_end(e))


def hjd_obs(e: Exposure) -> float | None:
    """The raw frame's, moved by what was cut from DATE-OBS."""
    return _shifted(e, "HJD-OBS")


def bjd_obs(e: Exposure) -> float | None:
    """The raw frame's, moved by what was cut from DATE-OBS."""
    return _shifted(e, "BJD-OBS")


def utc(e: Exposure) -> float:
    """DATE-OBS."""
    return times.seconds_of_day(e.facts.date_obs)


def lst(e: Exposure) -> float:
    """DATE-OBS and the site's longitude, with UT1 (ERFA, IERS)."""
    return round(e.lst, 3) % 86400


def ra(e: Exposure) -> float:
    """The raw frame's; older frames have hours as ``hh mm ss.s``."""
    return round(degrees(e.raw.value("RA"), "RA", 15.0), 6) % 360


def dec(e: Exposure) -> float:
    """The raw frame's; older frames have ``±dd mm ss.s``."""
    return degrees(e.raw.value("DEC"), "DEC", 1.0)


def radesys(e: Exposure) -> str:
    """ICRS with a sky WCS; otherwise the frame of the pointing, as Astra has it."""
    pointing = str(e.raw.value("RADESYS") or e.raw.value("RADECSYS") or "ICRS").strip()
    if pointing not in ("ICRS", "FK5"):
        raise BadFrame(Reason.UNKNOWN, f"{pointing!r} is neither ICRS nor FK5", "RADESYS")
    return "ICRS" if "CD1_1" in e.wcs else pointing


def equinox(e: Exposure) -> float | None:
    """Only FK5 has an equinox: the ICRS is not tied to one (FITS 8.3)."""
    return 2000.0 if radesys(e) == "FK5" else None


def solver(e: Exposure) -> str:
    """The plate solution, in a line."""
    return e.solver


def dpr_catg(e: Exposure) -> str:
    """``config/kinds.csv``."""
    return e.facts.kind.catg


def dpr_type(e: Exposure) -> str:
    """``config/kinds.csv``."""
    return e.facts.kind.type


def dpr_tech(e: Exposure) -> str:
    """``config/kinds.csv``."""
    return e.facts.kind.tech


def obs_prog_id(e: Exposure) -> str:
    """Settings ``programme`` and ``programmes``."""
    return e.programme.id


def ins_name(e: Exposure) -> str:
    """``config/telescopes.csv``."""
    return e.telescope.instrume


def cubetype(e: Exposure) -> None:
    """Cubes only, see `scripts.lib.headers.metadata.cube_values`."""


def cubekey(e: Exposure) -> None:
    """Cubes only, see `scripts.lib.headers.metadata.cube_values`."""


def degrees(value: Value, keyword: str, per_unit: float) -> float:
    """Return an angle in degrees, from a number or a sexagesimal text.

    Parameters
    ----------
    per_unit : float
        Degrees in the first unit of the text: 15 for hours.

    Raises
    ------
    BadFrame
        If it is neither, or out of range.
    """
    try:
        if isinstance(value, str):
            sign = -1 if value.strip().startswith("-") else 1
            parts = [abs(float(part)) for part in re.split(r"[:\s]+", value.strip())]
            angle = sign * per_unit * sum(part / 60.0**i for i, part in enumerate(parts))
        else:
            angle = number(value, keyword)
    except ValueError:
        raise BadFrame(Reason.UNREADABLE, f"{value!r} is not an angle", keyword) from None
    low, high = (-90, 90) if keyword == "DEC" else (-360, 360)
    if not low <= angle <= high:
        raise BadFrame(Reason.OUT_OF_RANGE, f"{angle} is not within {low} to {high}", keyword)
    return angle


def _end(e: Exposure) -> datetime:
    return times.after(e.facts.date_obs, e.facts.exptime)


def _shifted(e: Exposure, keyword: str) -> float | None:
    """Return a light-travel corrected date, moved by what was cut from DATE-OBS."""
    value = e.raw.value(keyword)
    if value is None:
        return None
    return float(value) - times.cut_away(str(e.raw.value("DATE-OBS")).strip()) / 86400
