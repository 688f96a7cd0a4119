"""Local sidereal time, with the earth orientation data that come with the installation.

ERFA is asked directly, as astropy asks it: astropy's own way would be most of a job's time.
"""

from datetime import datetime
from functools import cache

import erfa
import numpy as np
from astropy_iers_data import IERS_A_FILE

from scripts.lib.nights.times import DAY_MS, JD_OF_MJD, mjd_ms

# Columns of `finals2000A.all`, from its ReadMe: day, UT1-UTC of Bulletin A, and of Bulletin B.
MJD, BULLETIN_A, BULLETIN_B = slice(7, 15), slice(58, 68), slice(154, 165)


def sidereal_seconds(times: list[datetime], longitude: float) -> list[float]:
    """Return the local apparent sidereal time (s, 0..86400) at each time (UTC).

    The site's longitude is in degrees, east positive. IAU 2006 precession and 2000A nutation, as
    `astropy.time.Time.sidereal_time` has them. UT1-UTC is taken from the bundled IERS-A table,
    never from the network. After its last prediction it counts as 0, an error below 0.9 s.
    """
    days, ms = np.array([mjd_ms(time) for time in times]).T
    utc = JD_OF_MJD + days, ms / DAY_MS
    ut1 = erfa.utcut1(*utc, ut1_utc(days + ms / DAY_MS))
    tt = erfa.taitt(*erfa.utctai(*utc))
    turns = (erfa.gst06a(*ut1, *tt) + np.radians(longitude)) / (2 * np.pi)
    return [float(seconds) for seconds in turns % 1.0 * 86400]


def ut1_utc(mjd: np.ndarray) -> np.ndarray:
    """Return UT1-UTC (s) at times (d, UTC), 0 where the table knows none."""
    days, seconds = earth_orientation()
    after = np.clip(np.searchsorted(days, mjd, side="right"), 1, len(days) - 1)
    step = seconds[after] - seconds[after - 1]
    step -= np.round(step)  # a leap second is a step, not a slope
    found = seconds[after - 1] + step * (mjd - days[after - 1]) / (days[after] - days[after - 1])
    return np.where((days[0] <= mjd) & (mjd <= days[-1]), found, 0.0)


@cache
def earth_orientation() -> tuple[np.ndarray, np.ndarray]:
    """Return the days (MJD) and UT1-UTC (s) of the bundled table; Bulletin B where there is one."""
    rows = []
    with open(IERS_A_FILE, encoding="ascii") as table:
        for line in table:
            if value := line[BULLETIN_B].strip() or line[BULLETIN_A].strip():
                rows.append((float(line[MJD]), float(value)))
    days, seconds = np.array(rows).T
    return days, seconds
