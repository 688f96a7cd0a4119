"""Star catalogues, whatever they are kept in: the stars of a circle on the sky, at an epoch.

The site's SQLite file, tables (FITS, CSV, Parquet), or the stars inside astrometry.net's index
files. Only what the circle needs is read, in pieces: catalogues are larger than memory.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scripts.lib.solving import (
    csv_catalogue,
    fits_catalogue,
    index_files,
    parquet_catalogue,
    sqlite_catalogue,
)
from scripts.lib.solving.errors import CatalogueError, explained
from scripts.lib.solving.rows import Circle, Rows, join

BANDS = ("g", "j")
MOVED = 0.06  # degrees: Barnard's star moves that far in 20 years


class Stars(NamedTuple):
    """Stars at the epoch asked for, brightest first: degrees (ICRS), magnitudes."""

    ra: np.ndarray
    dec: np.ndarray
    mag: np.ndarray


class Format(NamedTuple):
    """A kind of file that stars are kept in.

    Attributes
    ----------
    check : callable
        Raises an error unless a file is of that kind, whole, and has stars; reads little of it.
    read : callable
        Given a file, a band and a Circle, yields `Rows` among which are all in the circle.
    """

    check: Callable[[Path], None]
    read: Callable[[Path, str, Circle], Iterator[Rows]]


SQLITE = Format(sqlite_catalogue.check, sqlite_catalogue.read)
FORMATS = {
    ".sqlite": SQLITE,
    ".db": SQLITE,
    ".fits": Format(fits_catalogue.check, fits_catalogue.read),
    ".csv": Format(csv_catalogue.check, csv_catalogue.read),
    ".parquet": Format(parquet_catalogue.check, parquet_catalogue.read),
}


class Catalogue(NamedTuple):
    """A star catalogue; see `open_catalogue`.

    Attributes
    ----------
    path : Path
    read : callable
        Given a Circle, yields `Rows` among which are all in it.
    """

    path: Path
    read: Callable[[Circle], Iterator[Rows]]

    @property
    def name(self) -> str:
        """Its file name, as printable ASCII: what headers say."""
        name = self.path.absolute().name
        return "".join(c if c.isascii() and c.isprintable() else "?" for c in name)

    def pieces(self, ra: float, dec: float, radius: float) -> Iterator[Rows]:
        """Yield the stars of a circle (degrees) as the source has them, in no order.

        Rows without a place or a magnitude are left out; unknown proper motions are 0.

        Raises
        ------
        CatalogueError
            If the file cannot be read any more.
        """
        circle = Circle(ra % 360, dec, radius)
        with explained(CatalogueError, "catalogue", self.path):
            for piece in self.read(circle):
                rows = piece.usable(circle)
                yield rows._replace(pmra=np.nan_to_num(rows.pmra), pmdec=np.nan_to_num(rows.pmdec))

    def rows(self, ra: float, dec: float, radius: float) -> Rows:
        """Return the stars of a circle (degrees) as the source has them, brightest first.

        Raises
        ------
        CatalogueError
            If the file cannot be read any more.
        """
        rows = join(list(self.pieces(ra, dec, radius)))
        return rows.taken(np.argsort(rows.mag, kind="stable"))

    def cut(self, ra: float, dec: float, radius: float, epoch: float) -> Stars:
        """Return the stars that are in a circle (degrees) at an epoch (Julian year).

        Raises
        ------
        CatalogueError
            If the file cannot be read any more.
        """
        rows = self.rows(ra, dec, radius + MOVED).at(epoch)
        inside = Circle(ra % 360, dec, radius).contains(rows.ra, rows.dec)
        return Stars(rows.ra[inside], rows.dec[inside], rows.mag[inside])


def open_catalogue(path: str, band: str = "g") -> Catalogue:
    """Return a catalogue by what its path is, once it has been looked at.

    Parameters
    ----------
    path : str
        A file .sqlite or .db, .fits, .csv or .parquet; or a folder of astrometry.net index files.
    band : str
        Magnitude that ranks the stars: g; or j where a star has it, and g where it has not.

    Raises
    ------
    CatalogueError
        If it is none of these, not there, not readable, damaged or without stars.
    """
    place = Path(path)
    if band not in BANDS:
        raise CatalogueError(f"catalogue: band {band} is none of {', '.join(BANDS)}")
    with explained(CatalogueError, "catalogue", place):
        place.stat()
        if place.is_dir():
            files = index_files.open_index(place)
            index_files.check_stars(files)
            return Catalogue(place, partial(index_files.read, files, band))
        kind = FORMATS.get(place.suffix.lower())
        if kind is None:
            known = ", ".join(FORMATS)
            raise CatalogueError(f"catalogue: {path} is none of {known} or a folder of index files")
        kind.check(place)
        return Catalogue(place, partial(kind.read, place, band))
