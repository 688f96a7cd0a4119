"""The stars inside astrometry.net's index files: a catalogue for sites that have no other.

An index file holds its stars as unit vectors in a balanced kd-tree (astrometry.net, libkd), beside
a table of what else is known of each. The tree tells which rows a circle needs: only they are read.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scripts.lib.fits.hdu import read_primary_header
from scripts.lib.solving.binary_tables import Table, read_tables
from scripts.lib.solving.errors import Unreadable, check_file, within
from scripts.lib.solving.rows import GAIA_DR2, NO_STARS, Circle, Rows, join, rows_of

DATA, SPLIT, LAST, RANGE = (f"kdtree_{name}_stars" for name in ("data", "split", "lr", "range"))
TREE = "kdtree_header_stars"
SWEEP = "sweep"
SEARCHED = ("quads", "kdtree_data_codes", TREE, SWEEP)  # by the engine, beside `DATA`
TAGALONG = "TAGALONG"  # AN_FILE of the table of what else is known
G = ("mag", "phot_g_mean_mag", "g_mag", "gmag", "g")
J = ("j", "j_mag", "j_m")
MOTIONS = ("pmra", "pmdec", "epoch")
# Bytes in a row of the tables that are read as arrays.
WIDTHS = {DATA: 12, SPLIT: 4, LAST: 4, RANGE: 8, SWEEP: 1}
READ = {TREE, TAGALONG, *WIDTHS}
AXIS = 3  # the lowest two bits of a splitting value name the axis
LEAVES = 10_000  # of the tree, read at a time: about 100,000 stars
SAME = 0.3 / 3600  # degrees: nearer stars of index files are one star


class IndexFile(NamedTuple):
    """An index file as it was when it was opened.

    Attributes
    ----------
    path : Path
    bytes : int
    size : float
        Of its largest quads, radians; 1 if unknown.
    names : frozenset of str
        Of all its tables: of each the first column, or `TAGALONG`.
    tables : dict of Table
        Those with its stars, by name.
    """

    path: Path
    bytes: int
    size: float
    names: frozenset[str]
    tables: dict[str, Table]

    def check_unchanged(self) -> None:
        """Raise `Unreadable` if the file is not there any more, or is another.

        It is mapped into memory, and the engine opens it again: that ends the process then.
        """
        with within(self.path.name):
            size = self.path.stat().st_size
            if size != self.bytes:
                raise Unreadable(f"{size} bytes, {self.bytes} when it was opened")
            if not os.access(self.path, os.R_OK):
                raise Unreadable("not readable any more")


def open_index(folder: Path) -> list[IndexFile]:
    """Return the index files of a folder; only their headers are read.

    Raises
    ------
    OSError
        If the folder cannot be read.
    Unreadable
        If it has no index files, or one is damaged; the message names that.
    """
    paths = sorted(path for path in folder.iterdir() if path.name.endswith(".fits"))
    if not paths:
        raise Unreadable("it has no index files (*.fits)")
    files = []
    for path in paths:
        with within(path.name):
            files.append(_open(path))
    return files


def check_quads(files: list[IndexFile]) -> None:
    """Raise `Unreadable` unless all index files have what the engine searches.

    It takes a file without, and the process ends when it looks for them.
    """
    for file in files:
        if missing := [name for name in SEARCHED if name not in file.names]:
            raise Unreadable(f"{file.path.name}: it has no table {', '.join(missing)}")


def check_stars(files: list[IndexFile]) -> None:
    """Raise `Unreadable` unless the stars of all index files can be read."""
    for file in files:
        with within(file.path.name):
            _check_tree(file.tables)


def read(files: list[IndexFile], band: str, circle: Circle) -> Iterator[Rows]:
    """Yield the stars of a circle.

    Raises
    ------
    Unreadable
        If a file has changed; the message names it.
    """
    pieces = []
    for file in files:
        file.check_unchanged()
        with within(file.path.name):
            for chosen in rows_near(file.tables, circle):
                columns = stars_of(file, chosen)
                pieces.append(rows_of(columns, band, GAIA_DR2).usable(circle))
    rows = join(pieces)
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


def _open(path: Path) -> IndexFile:
    size = check_file(path)
    quads = read_primary_header(path).value("SCALE_U") or 1.0
    if not isinstance(quads, int | float):
        raise Unreadable(f"SCALE_U is {quads!r}, not a number")
    tables = {_key(table): table for table in read_tables(path)}
    if DATA not in tables:
        raise Unreadable(f"no index file: it has no table {DATA}")
    kept = {name: table for name, table in tables.items() if name in READ}
    return IndexFile(path, size, float(quads), frozenset(tables), kept)


def _key(table: Table) -> str:
    """Return what tells a table from the others of an index file."""
    if table.header.value("AN_FILE") == TAGALONG:
        return TAGALONG
    return next(iter(table.columns), "")


def _check_tree(tables: dict[str, Table]) -> None:
    """Raise `Unreadable` unless the tables are those of a tree of stars that belong together."""
    header = tables[TREE].header if TREE in tables else None
    leaves = () if header and header.value("KDT_LINL") else (LAST,)
    for name in (TREE, SPLIT, RANGE, *leaves):
        if name not in tables:
            raise Unreadable(f"its kd-tree has no table {name}")
    tree = tables[TREE].header
    if (kinds := {tree.value("KDT_DATA"), tree.value("KDT_INT")}) != {"u32"}:
        raise Unreadable(f"its kd-tree is of {', '.join(sorted(map(str, kinds)))}, not of u32")
    for name, width in WIDTHS.items():
        if name in tables and tables[name].width != width:
            raise Unreadable(
                f"its table {name} has rows of {tables[name].width} bytes, not {width}"
            )
    stars = tables[DATA].rows
    if not stars:
        raise Unreadable(NO_STARS)
    right = {RANGE: 7, SWEEP: stars, TAGALONG: stars} | dict.fromkeys(
        leaves, tables[SPLIT].rows + 1
    )
    for name, rows in right.items():
        if name in tables and tables[name].rows != rows:
            raise Unreadable(f"its table {name} has {tables[name].rows} rows, not {rows}")
    if known := tables.get(TAGALONG):
        known.check_numbers(_known(known)[0])


def _known(table: Table | None) -> tuple[list[str], str | None, str | None]:
    """Return which columns of TAGALONG are read, and which of them are G and J."""
    present = table.columns if table else {}
    g, j = (next((name for name in names if name in present), None) for names in (G, J))
    return [*{name for name in (g, j) if name}, *(n for n in MOTIONS if n in present)], g, j


def rows_near(tables: dict[str, Table], circle: Circle) -> Iterator[np.ndarray]:
    """Yield, in pieces, the indices of the stars in the leaves that a circle touches."""
    low, scale = _range(tables)
    middle = _vector(circle.ra, circle.dec)
    chord = 2 * math.sin(math.radians(min(circle.radius, 180)) / 2)
    split = tables[SPLIT].mapped("<u4")
    leaves = _leaves(split, (middle - chord - low) * scale, (middle + chord - low) * scale)
    ends = _ends(tables, len(split) + 1)
    for begin in range(0, len(leaves), LEAVES):
        piece = leaves[begin : begin + LEAVES]
        first = np.where(piece > 0, ends[piece - 1], 0).astype(int)
        counts = ends[piece].astype(int) - first
        # Each leaf is a run of rows: count through all of them, shifted to where each begins.
        shifts = first - np.cumsum(counts) + counts
        yield np.repeat(shifts, counts) + np.arange(counts.sum())


def _ends(tables: dict[str, Table], leaves: int) -> np.ndarray:
    """Return the row behind the last one of each leaf of the tree."""
    if tables[TREE].header.value("KDT_LINL"):
        return np.arange(1, leaves + 1) * tables[DATA].rows // leaves
    return tables[LAST].mapped("<u4") + np.uint32(1)


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


def stars_of(file: IndexFile, chosen: np.ndarray) -> dict[str, np.ndarray]:
    """Return stars by index.

    Returns
    -------
    dict
        Columns ra, dec (degrees), mag, and j, pmra, pmdec (mas a year), epoch where known. Files
        without magnitudes have in their place ranks that are comparable between files.
    """
    low, scale = _range(file.tables)
    x, y, z = (file.tables[DATA].mapped("<u4", 3)[chosen] / scale + low).T
    ra = np.degrees(np.arctan2(y, x)) % 360
    stars = {"ra": ra, "dec": np.degrees(np.arctan2(z, np.hypot(x, y)))}
    table = file.tables.get(TAGALONG)
    wanted, g, j = _known(table)
    values = table.numbers(wanted, chosen) if table and wanted else {}
    stars |= {name: values[name] for name in MOTIONS if name in values}
    if j:
        stars["j"] = values[j]
    magnitude = g or j
    stars["mag"] = values[magnitude] if magnitude else _rank(file, chosen)
    return stars


def _rank(file: IndexFile, chosen: np.ndarray) -> np.ndarray:
    """Return ranks that grow as magnitudes do, from the order in which stars were chosen.

    The builder takes the brightest star of each cell, then the second … A cell is as large as the
    file's quads, so the number and the cell give the density of stars that are no fainter.
    """
    if SWEEP not in file.tables:
        return np.zeros(len(chosen))
    return 2.5 * np.log10((file.tables[SWEEP].mapped("u1")[chosen] + 1.0) / file.size**2)


def _range(tables: dict[str, Table]) -> tuple[np.ndarray, float]:
    """Return the lowest corner of the tree's box, and tree units a unit of the sphere."""
    values = tables[RANGE].mapped("<f8")
    return np.array(values[:3]), float(values[-1])


def _vector(ra: float, dec: float) -> np.ndarray:
    ra, dec = math.radians(ra), math.radians(dec)
    return np.array([math.cos(dec) * math.cos(ra), math.cos(dec) * math.sin(ra), math.sin(dec)])
