"""The stars inside astrometry.net's index files: a catalogue for sites that have no other.

An index file holds its stars as unit vectors in a balanced kd-tree (astrometry.net, libkd), beside
a table of what else is known of each. The tree tells which rows a circle needs: only they are read.
"""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scripts.lib.fits.cards import Header, padded, read_header
from scripts.lib.fits.sizes import data_size

DATA, SPLIT, LAST, RANGE = (f"kdtree_{name}_stars" for name in ("data", "split", "lr", "range"))
TREE = "kdtree_header_stars"
TAGALONG = "TAGALONG"  # AN_FILE of the table of what else is known
G = ("mag", "phot_g_mean_mag", "g_mag", "gmag", "g")
J = ("j", "j_mag", "j_m")
MOTIONS = ("pmra", "pmdec", "epoch")
NUMBERS = {"B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
OTHERS = {"L": 1, "A": 1, "C": 8, "M": 16, "P": 8, "Q": 16}  # bytes
AXIS = 3  # the lowest two bits of a splitting value name the axis
LEAVES = 10_000  # of the tree, read at a time: about 100,000 stars


class Column(NamedTuple):
    """Where a number stands in the rows of a table, and how (FITS Standard 4.0, section 7.3.2)."""

    kind: str  # of numpy; empty if it is no single number
    offset: int
    scale: float
    zero: float
    null: int | None


class Table:
    """A binary table of a FITS file; its rows stay on disk until they are asked for."""

    def __init__(self, path: Path, header: Header, begin: int):
        self.path, self.header, self.begin = path, header, begin
        self.rows, self.width = header.value("NAXIS2"), header.value("NAXIS1")
        self.columns: dict[str, Column] = {}  # by name in lower case
        offset = 0
        for n in range(1, (header.value("TFIELDS") or 0) + 1):
            count, letter = re.match(r"(\d*)([A-Z])", header.value(f"TFORM{n}")).groups()
            count = int(count or 1)
            kind = NUMBERS.get(letter, "") if count == 1 else ""
            scale, zero = header.value(f"TSCAL{n}"), header.value(f"TZERO{n}")
            self.columns[str(header.value(f"TTYPE{n}") or "").strip().lower()] = Column(
                kind, offset, 1 if scale is None else scale, zero or 0, header.value(f"TNULL{n}")
            )
            offset += _bytes(letter, count)

    def mapped(self, kind, width: int = 1) -> np.ndarray:
        """Return the rows as an array of shape (rows, width), or (rows,).

        Mapped anew each time: what was read no longer counts as memory once the array is gone.
        """
        shape = (self.rows, width) if width > 1 else (self.rows,)
        return np.memmap(self.path, kind, "r", self.begin, shape) if self.rows else np.empty(0)

    def numbers(self, names: list[str], rows: slice | np.ndarray) -> dict[str, np.ndarray]:
        """Return columns as floats, NaN where the table has no value.

        Raises
        ------
        ValueError
            If a column is not one number a row, or the file is cut short.
        """
        columns = [self.columns[name] for name in names]
        if wrong := [name for name, c in zip(names, columns, strict=True) if not c.kind]:
            raise ValueError(f"column {', '.join(wrong)} is not one number a row")
        form = {"names": names, "formats": [c.kind for c in columns]}
        form |= {"offsets": [c.offset for c in columns], "itemsize": self.width}
        if not self.rows:
            return {name: np.empty(0) for name in names}
        records = self.mapped(np.dtype(form))[rows]
        return {name: _scaled(records[name], c) for name, c in zip(names, columns, strict=True)}


def _bytes(letter: str, count: int) -> int:
    """Return the width of a column of that TFORM."""
    if letter == "X":
        return -(-count // 8)
    return count * (OTHERS.get(letter) or np.dtype(NUMBERS[letter]).itemsize)


def _scaled(stored: np.ndarray, column: Column) -> np.ndarray:
    values = stored.astype(float) * column.scale + column.zero
    if column.null is not None:
        values[stored == column.null] = np.nan
    return values


def read_tables(path: Path) -> Iterator[Table]:
    """Yield the binary tables of a FITS file.

    Raises
    ------
    HeaderError
        If it is none.
    """
    size = path.stat().st_size
    with open(path, "rb") as stream:
        while stream.tell() < size or stream.tell() == 0:
            header = read_header(stream)
            if header.value("XTENSION") == "BINTABLE":
                yield Table(path, header, stream.tell())
            stream.seek(padded(data_size(header)), 1)


def index_pieces(folder: Path, circle) -> Iterator[dict[str, np.ndarray]]:
    """Yield the stars of each index file around a circle, and some that are farther off.

    Parameters
    ----------
    circle : scripts.lib.solving.catalogue.Circle

    Yields
    ------
    dict
        Columns ra, dec (degrees), mag, and j, pmra, pmdec (mas a year), epoch where known. Files
        without magnitudes have in their place ranks that are comparable between files.

    Raises
    ------
    ValueError
        If a file is no index file; the message names it.
    """
    for path in sorted(folder.glob("*.fits")):
        try:
            with open(path, "rb") as stream:
                size = read_header(stream).value("SCALE_U") or 1.0
            tables = {_key(table): table for table in read_tables(path)}
            if DATA not in tables:
                raise ValueError(f"no index file: it has no table {DATA}")
            for chosen in rows_near(tables, circle):
                yield stars_of(tables, chosen, size)
        except (ValueError, LookupError, TypeError) as error:
            raise ValueError(f"{path.name}: {error}") from error


def _key(table: Table) -> str:
    """Return what tells a table from the others of an index file."""
    if table.header.value("AN_FILE") == TAGALONG:
        return TAGALONG
    return next(iter(table.columns), "")


def rows_near(tables: dict[str, Table], circle) -> Iterator[np.ndarray]:
    """Yield, in pieces, the indices of the stars in the leaves that a circle touches."""
    tree = tables[TREE].header
    if (kinds := {tree.value("KDT_DATA"), tree.value("KDT_INT")}) != {"u32"}:
        raise ValueError(f"its kd-tree is of {', '.join(sorted(map(str, kinds)))}, not of u32")
    if SPLIT not in tables:
        raise ValueError(f"its kd-tree has no table {SPLIT}")
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
    if LAST not in tables:
        raise ValueError(f"its kd-tree has no table {LAST}")
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


def stars_of(tables: dict[str, Table], chosen: np.ndarray, size: float) -> dict[str, np.ndarray]:
    """Return stars by index.

    Parameters
    ----------
    size : float
        Of the file's largest quads.
    """
    low, scale = _range(tables)
    x, y, z = (tables[DATA].mapped("<u4", 3)[chosen] / scale + low).T
    ra = np.degrees(np.arctan2(y, x)) % 360
    stars = {"ra": ra, "dec": np.degrees(np.arctan2(z, np.hypot(x, y)))}
    known = tables.get(TAGALONG)
    present = known.columns if known else {}
    g, j = (next((name for name in names if name in present), None) for names in (G, J))
    wanted = [*{name for name in (g, j) if name}, *(name for name in MOTIONS if name in present)]
    values = known.numbers(wanted, chosen) if wanted else {}
    stars |= {name: values[name] for name in MOTIONS if name in values}
    if j:
        stars["j"] = values[j]
    stars["mag"] = values[g or j] if g or j else _rank(tables, chosen, size)
    return stars


def _rank(tables: dict[str, Table], chosen: np.ndarray, size: float) -> np.ndarray:
    """Return ranks that grow as magnitudes do, from the order in which stars were chosen.

    The builder takes the brightest star of each cell, then the second … A cell is as large as the
    file's quads, so the number and the cell give the density of stars that are no fainter.
    """
    if "sweep" not in tables:
        return np.zeros(len(chosen))
    return 2.5 * np.log10((tables["sweep"].mapped("u1")[chosen] + 1.0) / size**2)


def _range(tables: dict[str, Table]) -> tuple[np.ndarray, float]:
    """Return the lowest corner of the tree's box, and tree units a unit of the sphere."""
    values = tables[RANGE].mapped("<f8")
    return np.array(values[:3]), float(values[-1])


def _vector(ra: float, dec: float) -> np.ndarray:
    ra, dec = math.radians(ra), math.radians(dec)
    return np.array([math.cos(dec) * math.cos(ra), math.cos(dec) * math.sin(ra), math.sin(dec)])
