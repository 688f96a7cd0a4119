"""Local sidereal time, with the earth orientation data that come with the installation."""

from datetime import datetime
from functools import cache

import astropy.units as u
from astropy.time import Time
from astropy.utils import iers
from astropy_iers_data import IERS_A_FILE

from scripts.lib.times import mjd_ms

# A night must not wait for, nor depend on, what a server says today.
iers.conf.auto_download = False


def sidereal_seconds(moments: list[datetime], longitude: float) -> list[float]:
    """Return the local apparent sidereal time (s, 0..86400) at each moment.

    Parameters
    ----------
    moments : list of datetime
        UTC.
    longitude : float
        Of the site, in degrees, east positive.

    Notes
    -----
    UT1-UTC is taken from the bundled IERS-A table, never from the network. After its last
    prediction it counts as 0, an error below 0.9 s.
    """
    days, ms = zip(*map(mjd_ms, moments), strict=True)
    time = Time(days, [m / 86_400_000 for m in ms], format="mjd", scale="utc")
    offset, status = earth_orientation().ut1_utc(time, return_status=True)
    known = status == iers.FROM_IERS_B
    known |= (status == iers.FROM_IERS_A) | (status == iers.FROM_IERS_A_PREDICTION)
    time.delta_ut1_utc = [o if k else 0.0 for o, k in zip(offset.to_value(u.s), known, strict=True)]
    return list(time.sidereal_time("apparent", longitude * u.deg).to_value(u.hourangle) * 3600.0)


@cache
def earth_orientation() -> iers.IERS_A:
    """Return the bundled table, read once."""
    return iers.IERS_A.open(IERS_A_FILE)
