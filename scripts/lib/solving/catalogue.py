"""Star catalogues, whatever they are kept in: the stars of a circle on the sky, at an epoch.

The site's SQLite file, tables (FITS, CSV, Parquet), or the stars inside astrometry.net's index
files. Only what the circle needs is read, in pieces: catalogues are larger than memory.
"""

import csv
import math
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scripts.lib.solving.index_files import Table, index_pieces, read_tables

GAIA_DR3, GAIA_DR2 = 2016.0, 2015.5  # epochs, Julian years
BANDS = ("g", "j")
DEMANDED = ("ra", "dec", "mag")
OPTIONAL = ("pmra", "pmdec", "epoch", "j")
PIECE = 200_000  # rows read at a time
MOVED = 0.06  # degrees: Barnard's star moves that far in 20 years
SAME = 0.3 / 3600  # degrees: nearer stars of index files are one star
MAS = 3_600_000  # a degree
BLANK = ("", "null")  # what tables of numbers have where there is none


class CatalogueError(ValueError):
    """A catalogue cannot be used; the message names it and says what is right."""


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
        return Rows(*(None if column is None else column[which] for column in self))


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
    read : callable
        Given a Circle, yields `Rows` among which are all in it.
    """

    path: Path
    read: Callable[[Circle], Iterator[Rows]]

    def pieces(self, ra: float, dec: float, radius: float) -> Iterator[Rows]:
        """Yield the stars of a circle (degrees) as the source has them, in no order.

        Rows without a place or a magnitude are left out; unknown proper motions are 0.

        Raises
        ------
        CatalogueError
            If the file is not what its name says.
        """
        circle = Circle(ra % 360, dec, radius)
        try:
            for piece in self.read(circle):
                rows = piece.taken(_usable(piece, circle))
                yield rows._replace(pmra=np.nan_to_num(rows.pmra), pmdec=np.nan_to_num(rows.pmdec))
        except CatalogueError:
            raise
        except (OSError, ValueError, LookupError, TypeError, NotImplementedError) as error:
            raise CatalogueError(f"catalogue: {self.path} cannot be read: {error}") from error

    def rows(self, ra: float, dec: float, radius: float) -> Rows:
        """Return the stars of a circle (degrees) as the source has them, brightest first.

        Raises
        ------
        CatalogueError
            If the file is not what its name says.
        """
        rows = _together(list(self.pieces(ra, dec, radius)))
        return rows.taken(np.argsort(rows.mag, kind="stable"))

    def cut(self, ra: float, dec: float, radius: float, epoch: float) -> Stars:
        """Return the stars that are in a circle (degrees) at an epoch (Julian year).

        Raises
        ------
        CatalogueError
            If the file is not what its name says.
        """
        rows = self.rows(ra, dec, radius + MOVED).at(epoch)
        inside = Circle(ra % 360, dec, radius).contains(rows.ra, rows.dec)
        return Stars(rows.ra[inside], rows.dec[inside], rows.mag[inside])


def open_catalogue(path: str, band: str = "g") -> Catalogue:
    """Return a catalogue by what its path is.

    Parameters
    ----------
    path : str
        A file .sqlite or .db, .fits, .csv or .parquet; or a folder of astrometry.net index files.
    band : str
        Magnitude that ranks the stars: g; or j where a star has it, and g where it has not.

    Raises
    ------
    CatalogueError
        If it is none of these, or not there.
    """
    place = Path(path)
    if band not in BANDS:
        raise CatalogueError(f"catalogue: band {band} is none of {', '.join(BANDS)}")
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


def _together(pieces: list[Rows]) -> Rows:
    if not pieces:
        return Rows(*(np.empty(0) for _ in Rows._fields))
    return Rows(*(np.concatenate(column) for column in zip(*pieces, strict=True)))


def _usable(rows: Rows, circle: Circle) -> np.ndarray:
    return circle.contains(rows.ra, rows.dec) & np.isfinite(rows.mag)


def _rows(columns: dict[str, np.ndarray], band: str, epoch: float) -> Rows:
    """Return rows of named columns; those of `OPTIONAL` may be missing."""
    columns = {name: np.asarray(column, float) for name, column in columns.items()}
    ra, dec, g = (columns[name] for name in DEMANDED)
    j = columns.get("j", np.full(len(ra), np.nan))
    mag = np.where(np.isfinite(j), j, g) if band == "j" else g
    epochs = columns.get("epoch", np.full(len(ra), epoch))
    return Rows(
        ra,
        dec,
        mag,
        columns.get("pmra", np.zeros(len(ra))),
        columns.get("pmdec", np.zeros(len(ra))),
        np.where(np.isfinite(epochs), epochs, epoch),
        j,
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

    low, high = circle.declinations()
    columns = ("ra", "dec", "mag", "j", "pmra", "pmdec")
    try:
        # A catalogue on a disk mounted read-only must open too.
        file = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
        with closing(sqlite3.connect(file, uri=True)) as connection:
            names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
            if not any(_is_strip(name) for name in names):
                raise CatalogueError(
                    f"catalogue: {path} has no tables such as '-6_-5', each of a degree"
                )
            for degree in range(math.floor(low), math.floor(min(high, 89.999)) + 1):
                if (strip := f"{degree}_{degree + 1}") not in names:
                    continue
                for west, east in circle.right_ascensions():
                    found = connection.execute(
                        f'SELECT ra, dec, phot_g_mean_mag, j_m, pmra, pmdec FROM "{strip}" '
                        "WHERE dec BETWEEN ? AND ? AND ra BETWEEN ? AND ?",
                        (low, high, west, east),
                    )
                    while piece := found.fetchmany(PIECE):
                        values = np.array(piece, float).T
                        yield _rows(dict(zip(columns, values, strict=True)), band, GAIA_DR2)
    except sqlite3.Error as error:
        raise CatalogueError(f"catalogue: {path} cannot be read: {error}") from error


def _is_strip(name: str) -> bool:
    south, _, north = name.partition("_")
    return north.lstrip("-").isdigit() and south.lstrip("-").isdigit()


def _fits(path: Path, band: str, circle: Circle) -> Iterator[Rows]:
    table = next(read_tables(path), None)
    if table is None:
        raise CatalogueError(f"catalogue: {path} holds no table")
    names = list(_names(path, list(table.columns)))
    epoch = _header_epoch(table)
    for begin in range(0, table.rows, PIECE):
        piece = slice(begin, begin + PIECE)
        near = _in_strip(table.numbers(["dec"], piece)["dec"], circle)
        if near.any():
            columns = table.numbers(names, piece)
            yield _rows({name: column[near] for name, column in columns.items()}, band, epoch)


def _header_epoch(table: Table) -> float:
    """Return the epoch that a table's header tells, such as 2016.0 or J2016.0."""
    for keyword in ("EPOCH", "REFEPOCH"):
        if (value := table.header.value(keyword)) is not None:
            return float(str(value).lstrip("J"))
    return GAIA_DR3


def _in_strip(dec: np.ndarray, circle: Circle) -> np.ndarray:
    low, high = circle.declinations()
    return (dec >= low) & (dec <= high)


def _csv(path: Path, band: str, circle: Circle) -> Iterator[Rows]:
    with open(path, encoding="utf-8-sig") as stream:
        lines = (line for line in stream if line.strip() and not line.startswith("#"))
        header = next(csv.reader(lines), [])
        names = _names(path, header)
        places = [header.index(name) for name in names.values()]
        while piece := list(islice(lines, PIECE)):
            columns = dict(zip(names, _numbers(piece, places), strict=True))
            near = _in_strip(columns["dec"], circle)
            yield _rows({key: value[near] for key, value in columns.items()}, band, GAIA_DR3)


def _numbers(lines: list[str], places: list[int]) -> np.ndarray:
    """Return columns of lines of a CSV table; empty values are NaN."""
    read = partial(
        np.loadtxt,
        lines,
        delimiter=",",
        quotechar='"',
        comments=None,
        usecols=places,
        unpack=True,
        ndmin=2,
    )
    try:
        return read()
    except ValueError:
        # Slower: only where values are missing.
        return read(converters=lambda text: math.nan if text.strip() in BLANK else float(text))


def _parquet(path: Path, band: str, circle: Circle) -> Iterator[Rows]:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise CatalogueError(
            f"catalogue: {path} needs the package pyarrow: pip install -r requirements-solving.txt"
        ) from error
    # Read ahead, or by several threads, a row group would be in memory many times.
    with parquet.ParquetFile(path, pre_buffer=False) as file:
        names = _names(path, file.schema_arrow.names)
        for group in range(file.num_row_groups):
            if not _touches(file.metadata.row_group(group), names, circle):
                continue
            for batch in file.iter_batches(PIECE, [group], [*names.values()], use_threads=False):
                near = _in_strip(_floats(batch[names["dec"]]), circle)
                columns = {key: _floats(batch[name])[near] for key, name in names.items()}
                yield _rows(columns, band, GAIA_DR3)


def _floats(column) -> np.ndarray:
    return column.to_numpy(zero_copy_only=False).astype(float)


def _touches(group, names: dict[str, str], circle: Circle) -> bool:
    """Tell whether a row group can hold stars of a circle, by the ranges that the file tells."""
    ranges = {"dec": [circle.declinations()], "ra": circle.right_ascensions()}
    columns = (group.column(number) for number in range(group.num_columns))
    known = {column.path_in_schema: column.statistics for column in columns}
    return all(_overlaps(known.get(names[key]), ranges[key]) for key in ranges)


def _overlaps(statistics, ranges: list[tuple[float, float]]) -> bool:
    if statistics is None or not statistics.has_min_max:
        return True
    return any(low <= statistics.max and high >= statistics.min for low, high in ranges)


def _index(path: Path, band: str, circle: Circle) -> Iterator[Rows]:
    pieces = (_rows(columns, band, GAIA_DR2) for columns in index_pieces(path, circle))
    rows = _together([piece.taken(_usable(piece, circle)) for piece in pieces])
    yield rows.taken(distinct(rows))


def distinct(rows: Rows) -> np.ndarray:
    """Return the indices of stars that have no brighter one within `SAME`.

    Index files of several scales, and neighbouring tiles, hold the same stars.
    """
    order = np.lexsort((rows.mag, rows.dec))
    ra, dec, mag = np.radians(rows.ra[order]), rows.dec[order], rows.mag[order]
    doubles = np.zeros(len(order), bool)
    for step in range(1, len(order)):
        near = np.flatnonzero(dec[step:] - dec[:-step] <= SAME)
        if not len(near):
            break
        one, other = near, near + step
        along = np.sin((ra[other] - ra[one]) / 2) * np.cos(np.radians(dec[one]))
        apart = np.hypot(2 * np.degrees(along), dec[other] - dec[one])
        fainter = np.where(mag[one] <= mag[other], other, one)
        doubles[fainter[apart <= SAME]] = True
    return np.sort(order[~doubles])
