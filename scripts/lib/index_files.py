"""The stars inside astrometry.net's index files: a catalogue for sites that have no other.

An index file holds its stars as unit vectors in a balanced kd-tree (astrometry.net, libkd), beside
a table of what else is known of each. The tree tells which rows a circle needs: only they are read.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from scripts.lib.cards import Header, padded, read_header
from scripts.lib.sizes import data_size

DATA, SPLIT, LAST, RANGE = (f"kdtree_{name}_stars" for name in ("data", "split", "lr", "range"))
MAGNITUDES = {
    "g": ("mag", "phot_g_mean_mag", "gmag", "j_mag", "j_m"),
    "j": ("j", "j_mag", "j_m", "mag", "phot_g_mean_mag", "gmag"),
}
NUMBERS = {"B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8", "A": "S"}
SPLIT_AXIS = 3  # the lowest two bits of a splitting value name the axis


class Table:
    """A table of a FITS file, mapped: name of its only column, or of its columns."""

    def __init__(self, path: Path, header: Header, begin: int):
        self.path, self.header, self.begin = path, header, begin
        self.rows, self.width = header.value("NAXIS2"), header.value("NAXIS1")
        numbers = range(1, (header.value("TFIELDS") or 0) + 1)
        self.columns = {
            str(header.value(f"TTYPE{n}")).strip(): header.value(f"TFORM{n}").strip()
            for n in numbers
        }

    def mapped(self, kind: str, shape: tuple[int, ...]) -> np.ndarray:
        """Return the table's bytes as an array."""
        return np.memmap(self.path, kind, "r", self.begin, shape)

    def records(self) -> np.ndarray:
        """Return the rows with named columns."""
        kinds = [
            (name, NUMBERS[form[-1]] + (form[:-1] if form[-1] == "A" else ""))
            if form[:-1] in ("", "1") or form[-1] == "A"
            else (name, NUMBERS[form[-1]], (int(form[:-1]),))
            for name, form in self.columns.items()
        ]
        return self.mapped(np.dtype(kinds), (self.rows,))


def index_pieces(folder: Path, circle, band: str) -> Iterator[dict[str, np.ndarray]]:
    """Yield the stars of each index file around a circle, as columns ra, dec, mag, pmra, pmdec.

    Parameters
    ----------
    circle : scripts.lib.catalogue.Circle
    band : str
        Magnitude to look for: g or j. Files without any rank their stars by the order in which
        they were chosen, brightest first.

    Raises
    ------
    ValueError
        If a file is no index file.
    """
    for path in sorted(folder.glob("*.fits")):
        tables = read_tables(path)
        if DATA not in tables:
            raise ValueError(f"{path} is no index file: it has no table {DATA}")
        chosen = rows_near(tables, circle)
        if len(chosen):
            yield stars_of(tables, chosen, band)


def read_tables(path: Path) -> dict[str, Table]:
    """Return the tables of a file by the name of their first column; ``""`` has several."""
    tables, size = {}, path.stat().st_size
    with open(path, "rb") as stream:
        while stream.tell() < size:
            header = read_header(stream)
            table = Table(path, header, stream.tell()) if header.value("XTENSION") else None
            if table and table.columns:
                # The kd-tree's own header has a table without rows; it says how they are stored.
                name = next(iter(table.columns)) if len(table.columns) == 1 else ""
                tables[name] = table
            stream.seek(padded(data_size(header)), 1)
    return tables


def rows_near(tables: dict[str, Table], circle) -> np.ndarray:
    """Return the indices of the stars in the leaves of the tree that a circle touches."""
    count = tables[DATA].rows
    if SPLIT not in tables or LAST not in tables:
        return np.arange(count)
    low, scale = _range(tables)
    middle = _vector(circle.ra, circle.dec)
    chord = 2 * math.sin(math.radians(min(circle.radius, 180)) / 2)
    bounds = (middle - chord - low) * scale, (middle + chord - low) * scale
    split = tables[SPLIT].mapped("<u4", (tables[SPLIT].rows,))
    last = tables[LAST].mapped("<u4", (tables[LAST].rows,))
    leaves = _leaves(split, *bounds)
    begins = [int(last[leaf - 1]) + 1 if leaf else 0 for leaf in leaves]
    return np.concatenate(
        [np.empty(0, int)]
        + [np.arange(b, int(last[leaf]) + 1) for b, leaf in zip(begins, leaves, strict=True)]
    )


def _leaves(split: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[int]:
    """Return the leaves whose box touches that from ``low`` to ``high``, in tree units."""
    found, nodes = [], [0]
    while nodes:
        node = nodes.pop()
        if node >= len(split):
            found.append(node - len(split))
            continue
        axis, at = int(split[node]) & SPLIT_AXIS, int(split[node]) & ~SPLIT_AXIS
        if high[axis] >= at:
            nodes.append(2 * node + 2)
        if low[axis] <= at + SPLIT_AXIS:
            nodes.append(2 * node + 1)
    return found


def stars_of(tables: dict[str, Table], chosen: np.ndarray, band: str) -> dict[str, np.ndarray]:
    """Return stars by index: degrees, magnitudes, mas/yr."""
    low, scale = _range(tables)
    whole = tables[DATA].mapped("<u4", (tables[DATA].rows, 3))
    x, y, z = (whole[chosen] / scale + low).T
    ra = np.degrees(np.arctan2(y, x)) % 360
    stars = {"ra": ra, "dec": np.degrees(np.arctan2(z, np.hypot(x, y)))}
    known = tables.get("")
    columns = {name.lower(): name for name in known.columns} if known else {}
    records = known.records()[chosen] if columns else None
    mag = next((columns[name] for name in MAGNITUDES[band] if name in columns), None)
    if mag is not None:
        stars["mag"] = np.asarray(records[mag], float)
    elif "sweep" in tables:
        stars["mag"] = tables["sweep"].mapped("u1", (tables["sweep"].rows,))[chosen].astype(float)
    else:
        stars["mag"] = np.zeros(len(chosen))
    for name in ("pmra", "pmdec"):
        if name in columns:
            stars[name] = np.asarray(records[columns[name]], float)
    return stars


def _range(tables: dict[str, Table]) -> tuple[np.ndarray, float]:
    """Return the lowest corner of the tree's box, and tree units a unit of the sphere."""
    values = tables[RANGE].mapped("<f8", (tables[RANGE].rows,))
    return np.array(values[:3]), float(values[-1])


def _vector(ra: float, dec: float) -> np.ndarray:
    ra, dec = math.radians(ra), math.radians(dec)
    return np.array([math.cos(dec) * math.cos(ra), math.cos(dec) * math.sin(ra), math.sin(dec)])
