"""When the Sun sets and rises, and when it is 18 degrees below the horizon."""

from datetime import datetime, timedelta

import erfa
import numpy as np

from scripts.lib.nights.dates import night_bounds
from scripts.lib.nights.times import DAY_MS, JD_OF_MJD, mjd_ms
from scripts.lib.settings.telescopes import Site

# Altitude of the Sun's centre: its upper edge on the horizon, with refraction; end of twilight.
HORIZON, DARK = -0.833, -18.0
MINUTES = 24 * 60


def sun_times(night: str, place: Site) -> dict[str, datetime | None]:
    """Return sunset, dusk18, dawn18 and sunrise of a night at a place (UTC), to the minute."""
    begin, _ = night_bounds(night, place.longitude)
    day, ms = mjd_ms(begin)
    date = JD_OF_MJD + day, ms / DAY_MS + np.arange(MINUTES) / MINUTES
    # ERFA's Earth as seen from the Sun, turned from the epoch 2000 to the equator of the night.
    earth = erfa.epv00(*date)[0]["p"]
    x, y, z = (erfa.pnm06a(date[0], date[1][0]) @ -earth.T) / np.linalg.norm(earth, axis=1)
    hour_angle = erfa.gmst06(*date, *date) + np.radians(place.longitude) - np.arctan2(y, x)
    latitude = np.radians(place.latitude)
    sine = np.sin(latitude) * z + np.cos(latitude) * np.sqrt(1 - z**2) * np.cos(hour_angle)
    altitude = np.degrees(np.arcsin(sine))
    found: dict[str, datetime | None] = {}
    for limit, evening, morning in ((HORIZON, "sunset", "sunrise"), (DARK, "dusk18", "dawn18")):
        below = np.flatnonzero(altitude < limit)
        for name, at in ((evening, below[:1]), (morning, below[-1:])):
            found[name] = begin + timedelta(minutes=int(at[0])) if len(at) else None
    return found
