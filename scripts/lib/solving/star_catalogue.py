"""Star catalogues: the stars of a circle on the sky, at an epoch.

The site's SQLite file, a CSV table, or the stars inside astrometry.net's index files. Only what
the circle needs is read, in pieces: catalogues are larger than memory.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from scripts.lib.files.errors import JobFailed
from scripts.lib.solving import csv_catalogue, index_files, sqlite_catalogue
from scripts.lib.solving.stars import CatalogueStars, Circle, joined
from scripts.lib.solving.unreadable import failing_job

BANDS = ("g", "j")
MOVED = 0.06  # degrees: Barnard's star moves that far in 20 years
# For each kind of file what checks it when it is opened, reading little, and what reads it.
KINDS = {
    ".sqlite": (sqlite_catalogue.check, sqlite_catalogue.read),
    ".db": (sqlite_catalogue.check, sqlite_catalogue.read),
    ".csv": (csv_catalogue.check, csv_catalogue.read),
}


class Catalogue(NamedTuple):
    """A star catalogue; see `open_catalogue`."""

    path: Path
    read: Callable[[Circle], Iterator[CatalogueStars]]  # yields at least the stars of the circle
    band: str = "g"  # that ranks the stars

    @property
    def name(self) -> str:
        """Its file name, as printable ASCII: what headers say."""
        name = self.path.absolute().name
        return "".join(c if c.isascii() and c.isprintable() else "?" for c in name)

    def pieces(self, circle: Circle) -> Iterator[CatalogueStars]:
        """Yield the stars of a circle that have a magnitude, in no order.

        Raises `JobFailed` if the file cannot be read any more.
        """
        with failing_job("catalogue", self.path):
            for piece in self.read(circle):
                yield piece.usable(circle)

    def stars(self, circle: Circle) -> CatalogueStars:
        """Return the stars of a circle, brightest first; raise as `pieces` does."""
        return joined(self.pieces(circle)).ranked(self.band)

    def cut(self, ra: float, dec: float, radius: float, epoch: float) -> CatalogueStars:
        """Return the stars that are in a circle (degrees) at an epoch (Julian year).

        Brightest first; raises as `pieces` does.
        """
        circle = Circle(ra % 360, dec, radius)
        stars = self.stars(circle._replace(radius=radius + MOVED)).at(epoch)
        return stars.taken(circle.contains(stars.ra, stars.dec))


def open_catalogue(path: str, band: str = "g", epoch: float | None = None) -> Catalogue:
    """Return a catalogue by what its path is, once it has been looked at.

    Parameters
    ----------
    path : str
        A file .sqlite, .db or .csv; or a folder of astrometry.net index files.
    band : str
        Magnitude that ranks the stars, g or j: the other where a star has none.
    epoch : float, optional
        Julian year of stars without one of their own; by default what the kind of file has.

    Raises
    ------
    JobFailed
        If it is none of these, not there, not readable, damaged or without stars.
    """
    place = Path(path)
    if band not in BANDS:
        raise JobFailed(f"catalogue: band {band} is none of {', '.join(BANDS)}")
    with failing_job("catalogue", place):
        place.stat()
        if place.is_dir():
            files = index_files.open_index(place)
            index_files.check_stars(files)
            return Catalogue(place, partial(index_files.read, files, epoch), band)
        if place.suffix.lower() not in KINDS:
            raise JobFailed(
                f"catalogue: {path} is none of {', '.join(KINDS)} or a folder of index files; "
                "convert a table of another kind once: "
                f"speculoos-archive catalogue convert --from {path} --to site.sqlite"
            )
        check, read = KINDS[place.suffix.lower()]
        check(place)
        return Catalogue(place, partial(read, place, epoch), band)
