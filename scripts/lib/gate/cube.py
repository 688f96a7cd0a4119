"""Checks of cubes: the table METADATA, and what the survey's reader makes of it."""

import re
from collections.abc import Iterable

import numpy as np

from scripts.lib.fits.cards import Value, number
from scripts.lib.fits.hdu import STRUCTURE
from scripts.lib.gate.coordinates import independent
from scripts.lib.gate.identity import FRAME
from scripts.lib.gate.product_file import ProductFile
from scripts.lib.gate.times import ms_off, start
from scripts.lib.headers.metadata import DEMANDED, lost_in_cube, plane_values
from scripts.lib.headers.wcs import FARTHEST
from scripts.lib.nights.times import JD_OF_MJD, parse_date
from scripts.lib.solving.tangent import distance

# Beside the structure of an image: that of tables, and what a writer states of its own file.
OF_THE_FILE = re.compile(
    r"BLANK|EXTVER|EXTLEVEL|WCSAXES|TFIELDS|THEAP|T(TYPE|FORM|UNIT|NULL|SCAL|ZERO|DISP|DIM)\d+"
)
ALIKE = ("EXPTIME", "FILTER", "OBJECT")
# What cannot differ between planes; a column of METADATA is something that does.
NEVER_COLUMNS = (
    "TELESCOP INSTRUME IMAGETYP ORIGIN PI-COI BUNIT TIMESYS XBINNING YBINNING XORGSUBF YORGSUBF"
).split()


def metadata(s: ProductFile) -> str:
    """The extension, and its rows."""
    if s.metadata is None:
        return "none"
    if len(s.hdus) != 2:
        return f"a file of {len(s.hdus)} HDUs"
    rows, planes = s.metadata.header.value("NAXIS2"), s.value("NAXIS3")
    return "" if rows == planes else f"{rows} rows for {planes} planes"


def demanded_columns(s: ProductFile) -> str:
    """Columns that the reader asks for."""
    missing = [name for name in ("FILENAME", *DEMANDED) if name not in s.columns]
    return f"no {', '.join(missing)}" if missing else ""


def rows_in_order(s: ProductFile) -> str:
    """DATE-OBS of the rows."""
    dates = s.texts("DATE-OBS")
    for row, date in enumerate(dates):
        if len(date) != 23:
            return f"{date!r} in row {row + 1}"
        parse_date(date)
    for row, (one, next_) in enumerate(zip(dates, dates[1:], strict=False), 1):
        if next_ <= one:
            return f"{next_} after {one} in row {row + 1}"
    return ""


def first_row(s: ProductFile) -> str:
    """The first row against the header."""
    if s.columns["DATE-OBS"][0] != s.value("DATE-OBS"):
        return f"first plane {s.columns['DATE-OBS'][0]}, header {s.value('DATE-OBS')}"
    off = ms_off(s.numbers("MJD-OBS")[0], start(s))
    return "" if abs(off) <= 0.5 else f"MJD-OBS of the first plane {off:+.1f} ms off"


def alike(s: ProductFile) -> str:
    """What all planes must have in common."""
    for name in ALIKE:
        found = set(s.columns[name])
        if found != {s.value(name)}:
            return f"{name} {sorted(found, key=str)[:3]}, header {s.value(name)!r}"
    varying = [name for name in NEVER_COLUMNS if len(present(s.columns.get(name, []))) > 1]
    return f"several {varying[0]}" if varying else ""


def present(values: Iterable[Value]) -> set[Value]:
    """Return the values of a column, those of planes without one left out."""
    return {value for value in values if value == value and value not in ("", None)}


def constant_planes(s: ProductFile) -> str:
    """Planes without any contrast: what is left of a truncated or empty frame."""
    return f"plane {s.constant[0] + 1} is constant" if s.constant else ""


def forbidden_columns(s: ProductFile) -> str:
    """Columns that the reader would write over the structure of its frames."""
    found = [name for name in s.columns if name in STRUCTURE or OF_THE_FILE.fullmatch(name)]
    return f"column {found[0]}" if found else ""


def filenames(s: ProductFile) -> str:
    """Names of the planes as frames."""
    telescope = s.telescope.number if s.telescope else 0
    rows = zip(s.texts("FILENAME"), s.texts("DATE-OBS"), strict=True)
    for row, (name, date) in enumerate(rows, 1):
        match = FRAME.fullmatch(name)
        if not match or int(match[1]) != telescope or match[2] != date.replace(":", "_"):
            return f"{name!r} in row {row}, DATE-OBS {date}"
    return ""


def row_times(s: ProductFile) -> str:
    """MJD-OBS and JD-OBS of the rows against DATE-OBS."""
    rows = zip(s.texts("DATE-OBS"), s.numbers("MJD-OBS"), s.numbers("JD-OBS"), strict=True)
    for row, (date, mjd, jd) in enumerate(rows, 1):
        moment = parse_date(date)
        for name, found in (("MJD-OBS", mjd), ("JD-OBS", jd - JD_OF_MJD)):
            off = ms_off(found, moment)
            if not abs(off) <= 1:
                return f"{name} {off:+.1f} ms from DATE-OBS in row {row}"
    return ""


def row_coordinates(s: ProductFile) -> str:
    """World coordinates of the rows on the sky: matrices, and where the telescope pointed."""
    types = s.texts("CTYPE1") if "CTYPE1" in s.columns else []
    sky = [row for row, name in enumerate(types) if name.startswith("RA--")]
    if not sky:
        return ""
    elements = [s.numbers(f"CD{i}_{j}") for i in (1, 2) for j in (1, 2)]
    whole = independent(np.array(elements, float).T.reshape(-1, 2, 2))
    for row in sky:
        if not whole[row]:
            return f"a singular matrix in row {row + 1}"
        off = distance(*(in_row(s, name, row) for name in ("RA", "DEC", "CRVAL1", "CRVAL2")))
        # The reference pixel is within the frame, which is smaller than what is allowed.
        if not off <= 2 * FARTHEST:
            return f"CRVAL {off:.2f} degrees from RA, DEC in row {row + 1}"
    return ""


def in_row(s: ProductFile, keyword: str, row: int) -> float:
    """Return a plane's value of a keyword: its row's, otherwise the header's."""
    return number(s.columns[keyword][row], keyword) if keyword in s.columns else s.number(keyword)


def cube_has_sky(s: ProductFile) -> str:
    """Sky coordinates of the planes."""
    has = "CTYPE1" in s.header and str(s.value("CTYPE1")).startswith("RA--")
    return "" if has or "CRVAL1" in s.columns else "none"


def round_trip(s: ProductFile) -> str:
    """What the reader gets back, against the headers that went in; nothing without those."""
    if not s.expected.headers:
        return ""
    for row, name in enumerate(s.texts("FILENAME")):
        original = s.expected.headers.get(name.removesuffix(".fits"))
        if original is None:
            return f"{name} went in under no such name"
        if wrong := lost_in_cube(plane_values(s.header, s.columns, row), original):
            return f"{name}: {wrong}"
    return ""
