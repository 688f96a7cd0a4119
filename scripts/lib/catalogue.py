"""Star catalogues, whatever they are kept in: the stars of a circle on the sky, at an epoch.

The site's SQLite file, tables (FITS, CSV, Parquet), or the stars inside astrometry.net's index
files. Only what the circle needs is read, in pieces: catalogues are larger than memory.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scripts.lib.index_files import index_pieces

GAIA_DR3, GAIA_DR2 = 2016.0, 2015.5  # epochs, Julian years
DEMANDED = ("ra", "dec", "mag")
OPTIONAL = ("pmra", "pmdec", "j", "epoch")
PIECE = 200_000  # rows read at a time
MOVED = 0.01  # degrees: more than any star moves between its epoch and ours
MAS = 3_600_000  # a degree


class CatalogueError(ValueError):
    """A catalogue cannot be used; the message names it and says what is right."""


class Circle(NamedTuple):
    """A circle on the sky, degrees."""

    ra: float
    dec: float
    radius: float

    def contains(self, ra: np.ndarray, dec: np.ndarray) -> np.ndarray:
        """Tell which directions (degrees) lie in it, by the haversine formula."""
        along, up = np.radians(ra - self.ra) / 2, np.radians(dec - self.dec) / 2
        cosines = np.cos(np.radians(dec)) * math.cos(math.radians(self.dec))
        if self.radius >= 180:
            return np.isfinite(ra) & np.isfinite(dec)
        square = np.sin(up) ** 2 + cosines * np.sin(along) ** 2
        return square <= math.sin(math.radians(self.radius) / 2) ** 2

    def declinations(self) -> tuple[float, float]:
        """Return the lowest and the highest declination in it."""
        return max(self.dec - self.radius, -90.0), min(self.dec + self.radius, 90.0)

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
        Magnitude in the band asked for.
    pmra, pmdec : numpy.ndarray
        Proper motion, mas a year; pmra includes the cosine of the declination.
    epoch : numpy.ndarray
        Julian years.
    """

    ra: np.ndarray
    dec: np.ndarray
    mag: np.ndarray
    pmra: np.ndarray
    pmdec: np.ndarray
    epoch: np.ndarray


class Stars(NamedTuple):
    """Stars at the epoch asked for, brightest first: degrees (ICRS), magnitudes."""

    ra: np.ndarray
    dec: np.ndarray
    mag: np.ndarray


class Catalogue(NamedTuple):
    """A star catalogue; see `open_catalogue`.

    Attributes
    ----------
    path : Path
    pieces : callable
        Given a Circle, yields `Rows` among which are all in it.
    """

    path: Path
    pieces: Callable[[Circle], Iterator[Rows]]

    def rows(self, ra: float, dec: float, radius: float) -> Rows:
        """Return the stars of a circle (degrees) as the source has them, brightest first.

        Raises
        ------
        CatalogueError
            If the file is not what its name says.
        """
        circle = Circle(ra % 360, dec, radius)
        kept = [_within(piece, circle) for piece in self.pieces(circle)]
        rows = Rows(*(np.concatenate(c) for c in zip(*kept, strict=True))) if kept else _none()
        order = np.argsort(rows.mag, kind="stable")
        return Rows(*(column[order] for column in rows))

    def cut(self, ra: float, dec: float, radius: float, epoch: float) -> Stars:
        """Return the stars that are in a circle (degrees) at an epoch (Julian year).

        Proper motions are applied linearly.
        """
        rows = self.rows(ra, dec, radius + MOVED)
        years = (epoch - rows.epoch) / MAS
        moved = (rows.ra + rows.pmra * years / np.cos(np.radians(rows.dec))) % 360
        stars = Stars(moved, np.clip(rows.dec + rows.pmdec * years, -90, 90), rows.mag)
        inside = Circle(ra % 360, dec, radius).contains(stars.ra, stars.dec)
        return Stars(*(column[inside] for column in stars))


def open_catalogue(path: str, band: str = "g") -> Catalogue:
    """Return a catalogue by what its path is.

    Parameters
    ----------
    path : str
        A file .sqlite or .db, .fits, .csv or .parquet; or a folder of astrometry.net index files.
    band : str
        Magnitude that ranks the stars: g, or j where the source has it.

    Raises
    ------
    CatalogueError
        If it is none of these, or not there.
    """
    place = Path(path)
    if not place.exists():
        raise CatalogueError(f"catalogue: {path} does not exist; is its disk mounted?")
    if place.is_dir():
        if not any(place.glob("*.fits")):
            raise CatalogueError(f"catalogue: no index files (*.fits) in {path}")
        return Catalogue(place, partial(_index, place, band))
    readers = {
        ".sqlite": _sqlite,
        ".db": _sqlite,
        ".fits": _fits,
        ".csv": _csv,
        ".parquet": _parquet,
    }
    reader = readers.get(place.suffix.lower())
    if reader is None:
        known = ", ".join(readers)
        raise CatalogueError(f"catalogue: {path} is none of {known} or a folder of index files")
    return Catalogue(place, partial(reader, place, band))


def _within(rows: Rows, circle: Circle) -> Rows:
    """Return the rows in a circle that can be used: with a place and a magnitude."""
    good = circle.contains(rows.ra, rows.dec) & np.isfinite(rows.mag)
    ra, dec, mag, pmra, pmdec, epoch = (np.asarray(column, float)[good] for column in rows)
    return Rows(ra, dec, mag, np.nan_to_num(pmra), np.nan_to_num(pmdec), epoch)


def _none() -> Rows:
    return Rows(*(np.empty(0) for _ in Rows._fields))


def _rows(columns: dict, band: str, epoch: float) -> Rows:
    """Return rows of named columns: without proper motions where there are none."""
    count = len(columns["ra"])
    zero = np.zeros(count)
    return Rows(
        columns["ra"],
        columns["dec"],
        columns["j"] if band == "j" and "j" in columns else columns["mag"],
        columns.get("pmra", zero),
        columns.get("pmdec", zero),
        columns.get("epoch", np.full(count, epoch)),
    )


def _names(path: Path, present: list[str]) -> dict[str, str]:
    """Return the source's name of each column we read, whatever its case.

    Raises
    ------
    CatalogueError
        If a column is missing.
    """
    lower = {name.strip().lower(): name for name in present}
    if missing := [name for name in DEMANDED if name not in lower]:
        raise CatalogueError(
            f"catalogue: {path} has no column {', '.join(missing)}; needed are ra, dec (deg) and "
            "mag, useful pmra, pmdec (mas/yr), j and epoch (yr)"
        )
    return {name: lower[name] for name in (*DEMANDED, *OPTIONAL) if name in lower}


def _sqlite(path: Path, band: str, circle: Circle) -> Iterator[Rows]:
    """Yield stars of the layout of ``gaia-tmass-sqlite``: a table for each degree of declination.

    There is no SQL index, so a table is read through; those of other declinations are not.
    """
    import sqlite3

    column = {"g": "phot_g_mean_mag", "j": "j_m"}[band]
    low, high = circle.declinations()
    # A catalogue on a disk mounted read-only must open too.
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
    try:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if not any(_is_strip(name) for name in names):
            raise CatalogueError(f"catalogue: {path} has no tables such as '-6_-5', a degree each")
        for degree in range(math.floor(low), math.floor(min(high, 89.999)) + 1):
            if (strip := f"{degree}_{degree + 1}") not in names:
                continue
            for west, east in circle.right_ascensions():
                found = connection.execute(
                    f'SELECT ra, dec, {column}, pmra, pmdec FROM "{strip}" '
                    "WHERE dec BETWEEN ? AND ? AND ra BETWEEN ? AND ?",
                    (low, high, west, east),
                )
                while piece := found.fetchmany(PIECE):
                    columns = np.array(piece, float).T
                    yield Rows(*columns, np.full(len(piece), GAIA_DR2))
    except sqlite3.Error as error:
        raise CatalogueError(f"catalogue: {path} cannot be read: {error}") from error
    finally:
        connection.close()


def _is_strip(name: str) -> bool:
    south, _, north = name.partition("_")
    return north.lstrip("-").isdigit() and south.lstrip("-").isdigit()


def _fits(path: Path, band: str, circle: Circle) -> Iterator[Rows]:
    from astropy.io import fits

    try:
        with fits.open(path, memmap=True) as hdus:
            table = next((hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU)), None)
            if table is None:
                raise CatalogueError(f"catalogue: {path} holds no table")
            names = _names(path, table.columns.names)
            epoch = table.header.get("EPOCH", table.header.get("REFEPOCH", GAIA_DR3))
            for begin in range(0, len(table.data), PIECE):
                piece = table.data[begin : begin + PIECE]
                near = _in_strip(np.asarray(piece[names["dec"]], float), circle)
                if near.any():
                    columns = {key: np.asarray(piece[name])[near] for key, name in names.items()}
                    yield _rows(columns, band, float(epoch))
    except OSError as error:
        raise CatalogueError(f"catalogue: {path} cannot be read: {error}") from error


def _in_strip(dec: np.ndarray, circle: Circle) -> np.ndarray:
    low, high = circle.declinations()
    return (dec >= low) & (dec <= high)


def _csv(path: Path, band: str, circle: Circle) -> Iterator[Rows]:
    with open(path, encoding="utf-8") as stream:
        header = stream.readline().strip().split(",")
        names = _names(path, header)
        places = [header.index(name) for name in names.values()]
        while lines := list(islice(stream, PIECE)):
            values = _numbers(path, lines, places)
            columns = dict(zip(names, values, strict=True))
            near = _in_strip(columns["dec"], circle)
            yield _rows({key: value[near] for key, value in columns.items()}, band, GAIA_DR3)


def _numbers(path: Path, lines: list[str], places: list[int]) -> np.ndarray:
    """Return columns of lines of a CSV table; empty values are NaN."""
    read = partial(np.loadtxt, lines, delimiter=",", usecols=places, unpack=True, ndmin=2)
    try:
        return read()
    except ValueError:
        pass
    try:
        return read(converters=lambda text: float(text or "nan"))
    except (ValueError, IndexError) as error:
        raise CatalogueError(f"catalogue: {path} is no table of numbers: {error}") from error


def _parquet(path: Path, band: str, circle: Circle) -> Iterator[Rows]:
    try:
        import pyarrow
        from pyarrow import dataset
    except ImportError as error:
        raise CatalogueError(
            f"catalogue: {path} needs the package pyarrow: pip install -r requirements-solving.txt"
        ) from error
    try:
        table = dataset.dataset(path)
        names = _names(path, table.schema.names)
        low, high = circle.declinations()
        dec = dataset.field(names["dec"])
        wanted = (dec >= low) & (dec <= high)
        for batch in table.to_batches(columns=list(names.values()), filter=wanted):
            columns = {
                key: batch[name].to_numpy(zero_copy_only=False).astype(float)
                for key, name in names.items()
            }
            yield _rows(columns, band, GAIA_DR3)
    except pyarrow.ArrowInvalid as error:
        raise CatalogueError(f"catalogue: {path} cannot be read: {error}") from error


def _index(path: Path, band: str, circle: Circle) -> Iterator[Rows]:
    try:
        pieces = [_rows(columns, band, GAIA_DR2) for columns in index_pieces(path, circle, band)]
    except (ValueError, TypeError) as error:
        raise CatalogueError(f"index: {path} cannot be read: {error}") from error
    if pieces:
        rows = Rows(*(np.concatenate(column) for column in zip(*pieces, strict=True)))
        # Files of several scales hold the same stars, at exactly the same place.
        _, first = np.unique(np.column_stack([rows.ra, rows.dec]), axis=0, return_index=True)
        yield Rows(*(column[first] for column in rows))
