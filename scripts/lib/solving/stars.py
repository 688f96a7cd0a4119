"""Stars of a catalogue, and the circle on the sky that holds them."""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from scripts.lib.files.errors import Damaged

GAIA_DR3, GAIA_DR2 = 2016.0, 2015.5  # epochs, Julian years
NEEDED = ("ra", "dec", "mag")
OPTIONAL = ("pmra", "pmdec", "epoch", "j")
PIECE = 200_000  # stars read at a time
CELL_STARS = 50  # of a part of the sky in which the brightest are chosen
MAS = 3_600_000  # a degree
NO_STARS = "it holds no stars"
BLANK = ("", "null")  # what tables of text have where there is no value
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

    def right_ascensions(self) -> list[tuple[float, float]]:
        """Return the ranges of right ascension that it touches: two if it crosses 0."""
        if abs(self.dec) + self.radius >= 90:
            return [(0.0, 360.0)]
        sine = math.sin(math.radians(self.radius)) / math.cos(math.radians(self.dec))
        half = math.degrees(math.asin(min(1.0, sine)))
        low, high = (self.ra - half) % 360, (self.ra + half) % 360
        return [(low, high)] if low <= high else [(low, 360.0), (0.0, high)]


EVERYWHERE = Circle(0.0, 90.0, 180.0)


class CatalogueStars(NamedTuple):
    """Stars as a catalogue has them, arrays of floats of one length."""

    ra: np.ndarray  # degrees, ICRS, at ``epoch``
    dec: np.ndarray
    mag: np.ndarray  # g, NaN where unknown; the magnitude that ranks the stars once `ranked`
    pmra: np.ndarray  # mas a year, with the cosine of the declination; 0 where unknown
    pmdec: np.ndarray
    epoch: np.ndarray  # Julian years
    j: np.ndarray  # magnitude, NaN where unknown

    def at(self, epoch: float) -> "CatalogueStars":
        """Return the stars where they are at an epoch: proper motions are applied linearly."""
        years = (epoch - self.epoch) / MAS
        return self._replace(
            ra=(self.ra + self.pmra * years / np.cos(np.radians(self.dec))) % 360,
            dec=np.clip(self.dec + self.pmdec * years, -90, 90),
            epoch=np.full(len(self.ra), epoch),
        )

    def taken(self, which: np.ndarray) -> "CatalogueStars":
        """Return some of the stars, by index or by mask."""
        return CatalogueStars(*(column[which] for column in self))

    def usable(self, circle: Circle) -> "CatalogueStars":
        """Return the stars of a circle that have a magnitude, g or j."""
        known = np.isfinite(self.mag) | np.isfinite(self.j)
        return self.taken(circle.contains(self.ra, self.dec) & known)

    def rank(self, band: str) -> np.ndarray:
        """Return the magnitude that ranks each star: in a band, g or j, or else in the other."""
        first, other = (self.j, self.mag) if band == "j" else (self.mag, self.j)
        return np.where(np.isfinite(first), first, other)

    def ranked(self, band: str) -> "CatalogueStars":
        """Return the stars brightest first, with the magnitude that ranks them."""
        mag = self.rank(band)
        return self._replace(mag=mag).taken(np.argsort(mag, kind="stable"))

    def brightest(self, density: float, band: str) -> "CatalogueStars":
        """Return the brightest stars of each part of the sky, ``density`` a square degree.

        Parts are cells between parallels, as wide as they are high, of about `CELL_STARS` stars;
        none is higher than a degree.
        """
        side = 1 / math.ceil(math.sqrt(density / CELL_STARS))
        row = np.minimum(np.floor((self.dec + 90) / side), round(180 / side) - 1).astype(int)
        south = np.radians(row * side - 90)
        # The area of a zone of the sphere, and the cells in it.
        zone = 360 * np.degrees(np.sin(south + math.radians(side)) - np.sin(south))
        columns = np.maximum(np.rint(zone / side**2), 1).astype(int)
        cell = row * round(360 / side + 1) + (self.ra % 360 / 360 * columns).astype(int)
        order = np.lexsort((self.rank(band), cell))
        cell = cell[order]
        place = np.arange(len(cell)) - np.searchsorted(cell, cell)
        return self.taken(np.sort(order[place < np.rint(density * zone / columns)[order]]))


def number(value: str | float | None) -> float:
    """Return a value of a table of text, NaN where there is none; raise ValueError for words."""
    if isinstance(value, str) and value.strip() in BLANK:
        return math.nan
    return math.nan if value is None else float(value)


def stars_of(columns: Mapping[str, np.ndarray], epoch: float) -> CatalogueStars:
    """Return stars of named columns, NaN where there is no value.

    Those of `NEEDED` must be there. ``epoch`` (Julian year) is that of stars without one of their
    own.
    """
    ra, dec, g = (np.asarray(columns[name], float) for name in NEEDED)
    unknown = np.full(len(ra), np.nan)
    pmra, pmdec, epochs, j = (np.asarray(columns.get(name, unknown), float) for name in OPTIONAL)
    return CatalogueStars(
        ra,
        dec,
        g,
        np.nan_to_num(pmra),
        np.nan_to_num(pmdec),
        np.where(np.isfinite(epochs), epochs, epoch),
        j,
    )


def joined(pieces: Iterable[CatalogueStars]) -> CatalogueStars:
    """Return the stars of several pieces as one."""
    none = np.empty((len(CatalogueStars._fields), 0))
    return CatalogueStars(*np.concatenate([none, *pieces], axis=1))


def source_names(present: Iterable[str]) -> dict[str, str]:
    """Return a table's own name of each column that we read, whatever its case."""
    lower = {name.strip().lower(): name for name in present}
    if missing := [name for name in NEEDED if name not in lower]:
        raise Damaged(f"it has {no_columns(missing)}")
    return {name: lower[name] for name in (*NEEDED, *OPTIONAL) if name in lower}


def no_columns(missing: Iterable[str] = NEEDED) -> str:
    """Return what a table without some columns lacks, and what is needed."""
    return f"no column {', '.join(missing)}; {COLUMNS}"
