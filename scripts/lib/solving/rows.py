"""Stars as catalogues have them, and the circle on the sky that is asked for."""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from scripts.lib.solving.errors import Unreadable

GAIA_DR3, GAIA_DR2 = 2016.0, 2015.5  # epochs, Julian years
NEEDED = ("ra", "dec", "mag")
OPTIONAL = ("pmra", "pmdec", "epoch", "j")
PIECE = 200_000  # rows read at a time
MAS = 3_600_000  # a degree
NO_STARS = "it holds no stars"
COLUMNS = "needed are ra, dec (deg) and mag, useful pmra, pmdec (mas/yr), j and epoch (yr)"


class Circle(NamedTuple):
    """A circle on the sky, degrees."""

    ra: float
    dec: float
    radius: float

    def contains(self, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
        """Tell which directions (degrees) lie in it, by the haversine formula."""
        if self.radius >= 180:
            return np.isfinite(ra) & np.isfinite(dec)
        along, up = np.radians(ra - self.ra) / 2, np.radians(dec - self.dec) / 2
        cosines = np.cos(np.radians(dec)) * math.cos(math.radians(self.dec))
        square = np.sin(up) ** 2 + cosines * np.sin(along) ** 2
        return square <= math.sin(math.radians(self.radius) / 2) ** 2

    def declinations(self) -> tuple[float, float]:
        """Return the lowest and the highest declination in it."""
        return max(self.dec - self.radius, -90.0), min(self.dec + self.radius, 90.0)

    def in_strip(self, dec: np.ndarray) -> np.ndarray:
        """Tell which declinations are between its lowest and its highest."""
        low, high = self.declinations()
        return (dec >= low) & (dec <= high)

    def right_ascensions(self) -> list[tuple[float, float]]:
        """Return the ranges of right ascension that it touches: two if it lies across 0."""
        if abs(self.dec) + self.radius >= 90:
            return [(0.0, 360.0)]
        sine = math.sin(math.radians(self.radius)) / math.cos(math.radians(self.dec))
        half = math.degrees(math.asin(min(1.0, sine)))
        low, high = (self.ra - half) % 360, (self.ra + half) % 360
        return [(low, high)] if low <= high else [(low, 360.0), (0.0, high)]


class Rows(NamedTuple):
    """Stars as their source has them.

    Attributes
    ----------
    ra, dec : numpy.ndarray
        Degrees, ICRS, at ``epoch``.
    mag : numpy.ndarray
        Magnitude in the catalogue's band.
    pmra, pmdec : numpy.ndarray
        Proper motion, mas a year; pmra includes the cosine of the declination.
    epoch : numpy.ndarray
        Julian years.
    j : numpy.ndarray, optional
        J magnitude, NaN where unknown.
    """

    ra: np.ndarray
    dec: np.ndarray
    mag: np.ndarray
    pmra: np.ndarray
    pmdec: np.ndarray
    epoch: np.ndarray
    j: np.ndarray | None = None

    def at(self, epoch: float) -> "Rows":
        """Return the stars where they are at an epoch: proper motions are applied linearly."""
        years = (epoch - self.epoch) / MAS
        return self._replace(
            ra=(self.ra + self.pmra * years / np.cos(np.radians(self.dec))) % 360,
            dec=np.clip(self.dec + self.pmdec * years, -90, 90),
            epoch=np.full(len(self.ra), epoch),
        )

    def taken(self, which: np.ndarray) -> "Rows":
        """Return some of the stars, by index or by mask."""
        ra, dec, mag, pmra, pmdec, epoch = (column[which] for column in self[:6])
        j = None if self.j is None else self.j[which]
        return Rows(ra, dec, mag, pmra, pmdec, epoch, j)

    def usable(self, circle: Circle) -> "Rows":
        """Return the stars of a circle that have a magnitude."""
        return self.taken(circle.contains(self.ra, self.dec) & np.isfinite(self.mag))


def rows_of(columns: dict[str, np.ndarray], band: str, epoch: float) -> Rows:
    """Return rows of named columns.

    Parameters
    ----------
    columns : dict of numpy.ndarray
        Those of `NEEDED`; those of `OPTIONAL` may be missing.
    band : str
        g or j.
    epoch : float
        Julian year, of stars without an epoch of their own.
    """
    columns = {name: np.asarray(column, float) for name, column in columns.items()}
    ra, dec, g = (columns[name] for name in NEEDED)
    j = columns.get("j", np.full(len(ra), np.nan))
    epochs = columns.get("epoch", np.full(len(ra), epoch))
    return Rows(
        ra,
        dec,
        np.where(np.isfinite(j), j, g) if band == "j" else g,
        columns.get("pmra", np.zeros(len(ra))),
        columns.get("pmdec", np.zeros(len(ra))),
        np.where(np.isfinite(epochs), epochs, epoch),
        j,
    )


def join(pieces: list[Rows]) -> Rows:
    """Return the stars of several pieces, all of the same columns, as one."""
    if not pieces:
        return Rows(*(np.empty(0) for _ in Rows._fields))
    return Rows(*(np.concatenate(column) for column in zip(*pieces, strict=True)))


def source_names(present: list[str]) -> dict[str, str]:
    """Return the source's name of each column we read, whatever its case.

    Raises
    ------
    Unreadable
        If a column is missing.
    """
    lower = {name.strip().lower(): name for name in present}
    if missing := [name for name in NEEDED if name not in lower]:
        raise Unreadable(f"it has {no_columns(missing)}")
    return {name: lower[name] for name in (*NEEDED, *OPTIONAL) if name in lower}


def no_columns(missing: Iterable[str] = NEEDED) -> str:
    """Return what a table without some columns lacks, and what is needed."""
    return f"no column {', '.join(missing)}; {COLUMNS}"
