"""The stars inside astrometry.net's index files: a catalogue for sites that have no other.

An index file holds its stars as unit vectors in a balanced kd-tree (astrometry.net, libkd), beside
a table of what else is known of each. The tree shows which rows a circle needs: only they are read.
"""

import math
import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from scripts.lib.files.errors import Damaged
from scripts.lib.fits.bintable import row_type
from scripts.lib.fits.cards import Header
from scripts.lib.fits.hdu import iter_hdus
from scripts.lib.solving.stars import GAIA_DR2, NO_STARS, CatalogueStars, Circle, joined, stars_of
from scripts.lib.solving.unreadable import check_file, check_size, one_of_folder

DATA, SPLIT, LAST, RANGE = (f"kdtree_{name}_stars" for name in ("data", "split", "lr", "range"))
TREE = "kdtree_header_stars"
SWEEP = "sweep"
SEARCHED = ("quads", "kdtree_data_codes", TREE, SWEEP)  # by the engine, beside `DATA`
TAGALONG = "TAGALONG"  # AN_FILE of the table of what else is known
# Our name of a column of it, and the names that it may have: patterns, the first one wins.
NAMES = {name: [name] for name in ("pmra", "pmdec", "epoch")}
NAMES |= {"mag": ["mag", "phot_g_mean_mag", "g_mag", "gmag", "g", "mag*"]}
NAMES |= {"j": ["j", "j_mag", "j_m"]}
# Bytes in a row of the tables that are read as arrays.
WIDTHS = {DATA: 12, SPLIT: 4, LAST: 4, RANGE: 8, SWEEP: 1}
READ = {TREE, TAGALONG, *WIDTHS}
AXIS = 3  # the lowest two bits of a splitting value name the axis
LEAVES = 10_000  # of the tree, read at a time: about 100,000 stars
SAME = 0.3 / 3600  # degrees: nearer stars of index files are one star


class MappedTable(NamedTuple):
    """A binary table of a file; its rows stay on disk until they are read."""

    path: Path
    header: Header
    begin: int  # of its rows in the file, bytes
    rows: int
    row: np.dtype  # names in lower case

    def mapped(self, kind: DTypeLike, width: int = 1) -> np.ndarray:
        """Return the rows as an array of shape (rows, width), or (rows,).

        Mapped again each time: what was read no longer counts as memory once the array is gone.
        """
        if not self.rows:
            return np.empty(0)
        check_size(self.path.stat().st_size, self.begin + self.rows * self.row.itemsize)
        shape = (self.rows, width) if width > 1 else (self.rows,)
        return np.memmap(self.path, kind, "r", self.begin, shape)

    def numbers(self, name: str, rows: np.ndarray) -> np.ndarray:
        """Return a column as floats, NaN where it has no value (FITS Standard 4.0, 7.3.2)."""
        number = list(self.row.fields or ()).index(name) + 1
        scale, zero, null = (
            self.header.number(key) if (key := f"{keyword}{number}") in self.header else default
            for keyword, default in (("TSCAL", 1), ("TZERO", 0), ("TNULL", math.nan))
        )
        stored = self.mapped(self.row)[name][rows]
        return np.where(stored == null, np.nan, stored.astype(float) * scale + zero)


class IndexFile(NamedTuple):
    """An index file as it was when it was opened."""

    path: Path
    bytes: int
    size: float  # of its largest quads, radians; 1 if unknown
    names: frozenset[str]  # of all its tables: the first column of each, or `TAGALONG`
    tables: dict[str, MappedTable]  # those with its stars, by name

    def check_unchanged(self) -> None:
        """Raise `Damaged` if the file is not there any more, or is another.

        It is mapped into memory, and the engine opens it again: that ends the process then.
        """
        with one_of_folder(self.path.name):
            size = self.path.stat().st_size
            if size != self.bytes:
                raise Damaged(f"{size} bytes, {self.bytes} when it was opened")
            if not os.access(self.path, os.R_OK):
                raise Damaged("not readable any more")


def open_index(folder: Path) -> list[IndexFile]:
    """Return the index files of a folder; only their headers are read.

    Raises OSError or `Damaged` if it has none, or one cannot be read; the message names that.
    """
    paths = sorted(path for path in folder.iterdir() if path.name.endswith(".fits"))
    if not paths:
        raise Damaged("it has no index files (*.fits)")
    files = []
    for path in paths:
        with one_of_folder(path.name):
            files.append(_open(path))
    return files


def _open(path: Path) -> IndexFile:
    size = check_file(path)
    quads = 1.0
    tables = {}
    with open(path, "rb") as stream:
        for hdu in iter_hdus(stream):
            header, begin = hdu.header, hdu.data_begin
            check_size(size, begin + hdu.data_size)
            if hdu.begin == 0 and "SCALE_U" in header:
                quads = header.number("SCALE_U")
            if header.value("XTENSION") == "BINTABLE":
                row = row_type(header)
                row.names = tuple(name.lower() for name in row.names or ())
                tagalong = header.value("AN_FILE") == TAGALONG
                name = TAGALONG if tagalong else next(iter(row.names), "")
                tables[name] = MappedTable(path, header, begin, header.whole("NAXIS2"), row)
    if DATA not in tables:
        raise Damaged(f"not an index file: it has no table {DATA}")
    kept = {name: table for name, table in tables.items() if name in READ}
    return IndexFile(path, size, quads, frozenset(tables), kept)


def check_quads(files: list[IndexFile]) -> None:
    """Raise `Damaged` unless all index files have what the engine searches, or it would crash."""
    for file in files:
        if missing := [name for name in SEARCHED if name not in file.names]:
            raise Damaged(f"{file.path.name}: it has no table {', '.join(missing)}")


def check_stars(files: list[IndexFile]) -> None:
    """Raise `Damaged` unless the stars of all index files can be read."""
    for file in files:
        with one_of_folder(file.path.name):
            _check_tree(file.tables)


def _check_tree(tables: dict[str, MappedTable]) -> None:
    """Raise `Damaged` unless the tables are those of a tree of stars that belong together."""
    linear = TREE in tables and tables[TREE].header.value("KDT_LINL")
    leaves = () if linear else (LAST,)
    for name in (TREE, SPLIT, RANGE, *leaves):
        if name not in tables:
            raise Damaged(f"its kd-tree has no table {name}")
    kinds = {tables[TREE].header.value(keyword) for keyword in ("KDT_DATA", "KDT_INT")}
    if kinds != {"u32"}:
        raise Damaged(f"its kd-tree is of {', '.join(sorted(map(str, kinds)))}, not of u32")
    stars = tables[DATA].rows
    if not stars:
        raise Damaged(NO_STARS)
    rows = {RANGE: 7, SWEEP: stars, TAGALONG: stars}
    rows |= dict.fromkeys(leaves, tables[SPLIT].rows + 1)
    for name, table in tables.items():
        width = table.row.itemsize
        if width != WIDTHS.get(name, width):
            raise Damaged(f"its table {name} has rows of {width} bytes, not {WIDTHS[name]}")
        if table.rows != rows.get(name, table.rows):
            raise Damaged(f"its table {name} has {table.rows} rows, not {rows[name]}")
    for name in _known(tables.get(TAGALONG)).values():
        kind = tables[TAGALONG].row[name]
        if kind.shape or kind.kind not in "iuf":
            raise Damaged(f"its column {name} is not one number a row")


def _known(table: MappedTable | None) -> dict[str, str]:
    """Return which columns of TAGALONG are read, by our name for each."""
    present = table.row.names or () if table else ()
    known = {
        ours: [own for name in names for own in present if fnmatchcase(own, name)]
        for ours, names in NAMES.items()
    }
    return {ours: names[0] for ours, names in known.items() if names}


def read(files: list[IndexFile], epoch: float | None, circle: Circle) -> Iterator[CatalogueStars]:
    """Yield the stars of a circle; raise `Damaged` that names a file if it has changed.

    ``epoch`` (Julian year) is that of stars without one of their own; None for the 5200 series'.
    """
    pieces = []
    for file in files:
        file.check_unchanged()
        with one_of_folder(file.path.name):
            for chosen in _rows_near(file.tables, circle):
                pieces.append(stars_of(_columns(file, chosen), epoch or GAIA_DR2).usable(circle))
    stars = joined(pieces)
    yield stars.taken(distinct(stars))


def distinct(stars: CatalogueStars) -> np.ndarray:
    """Return the indices of stars that have no brighter one within `SAME`.

    Index files of several scales, and neighbouring tiles, hold the same stars.
    """
    order = np.lexsort((stars.mag, stars.dec))
    ra, dec, mag = np.radians(stars.ra[order]), stars.dec[order], stars.mag[order]
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


def _rows_near(tables: dict[str, MappedTable], circle: Circle) -> Iterator[np.ndarray]:
    """Yield, in pieces, the indices of the stars in the leaves that a circle touches."""
    low, scale = _range(tables)
    ra, dec = math.radians(circle.ra), math.radians(circle.dec)
    centre = np.array([math.cos(dec) * math.cos(ra), math.cos(dec) * math.sin(ra), math.sin(dec)])
    chord = 2 * math.sin(math.radians(min(circle.radius, 180)) / 2)
    split = tables[SPLIT].mapped("<u4")
    leaves = _leaves(split, (centre - chord - low) * scale, (centre + chord - low) * scale)
    count = len(split) + 1
    # The row behind the last one of each leaf.
    ends: np.ndarray = np.arange(1, count + 1) * tables[DATA].rows // count
    if not tables[TREE].header.value("KDT_LINL"):
        ends = tables[LAST].mapped("<u4") + np.uint32(1)
    for begin in range(0, len(leaves), LEAVES):
        piece = leaves[begin : begin + LEAVES]
        first = np.where(piece > 0, ends[piece - 1], 0).astype(int)
        counts = ends[piece].astype(int) - first
        # Each leaf is a run of rows: count through all of them, shifted to where each begins.
        shifts = first - np.cumsum(counts) + counts
        yield np.repeat(shifts, counts) + np.arange(counts.sum())


def _leaves(split: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the leaves whose box touches that from ``low`` to ``high``, in tree units.

    The children of node n are 2n + 1 and 2n + 2; all leaves are on one level.
    """
    nodes = np.zeros(1, int)
    while len(nodes) and nodes[0] < len(split):
        values = split[nodes]
        axis, at = values & AXIS, (values & ~np.uint32(AXIS)).astype(float)
        left, right = nodes[low[axis] <= at + AXIS], nodes[high[axis] >= at]
        nodes = np.concatenate([2 * left + 1, 2 * right + 2])
    return np.sort(nodes) - len(split)


def _columns(file: IndexFile, chosen: np.ndarray) -> dict[str, np.ndarray]:
    """Return stars by index: the columns that `stars_of` takes, as far as they are known.

    Files without magnitudes have in their place ranks that are comparable between files.
    """
    low, scale = _range(file.tables)
    x, y, z = (file.tables[DATA].mapped("<u4", 3)[chosen] / scale + low).T
    table = file.tables.get(TAGALONG)
    stars = {ours: table.numbers(name, chosen) for ours, name in _known(table).items() if table}
    stars["ra"] = np.degrees(np.arctan2(y, x)) % 360
    stars["dec"] = np.degrees(np.arctan2(z, np.hypot(x, y)))
    if "mag" not in stars:
        stars["mag"] = np.full(len(chosen), np.nan) if "j" in stars else _rank(file, chosen)
    return stars


def _rank(file: IndexFile, chosen: np.ndarray) -> np.ndarray:
    """Return ranks that grow as magnitudes do, from the order in which stars were chosen.

    The builder takes the brightest star of each cell, then the second … A cell is as large as the
    file's quads, so the number and the cell give the density of stars that are no fainter.
    """
    if SWEEP not in file.tables:
        return np.zeros(len(chosen))
    return 2.5 * np.log10((file.tables[SWEEP].mapped("u1")[chosen] + 1.0) / file.size**2)


def _range(tables: dict[str, MappedTable]) -> tuple[np.ndarray, float]:
    """Return the lowest corner of the tree's box, and tree units in the radius of the sphere."""
    values = tables[RANGE].mapped("<f8")
    return np.array(values[:3]), float(values[-1])
