"""Checks of cubes: the table METADATA, and what the survey's reader makes of it."""

import numpy as np

from scripts.lib.fits.cards import as_number
from scripts.lib.fits.hdu import STRUCTURE
from scripts.lib.fits.reserved import NEVER
from scripts.lib.frames.frame import READ_OUT
from scripts.lib.frames.names import FRAME
from scripts.lib.gate.product_file import ProductFile
from scripts.lib.gate.rules import check
from scripts.lib.gate.wcs_checks import independent
from scripts.lib.headers.metadata import DEMANDED, lost_in_cube, plane_values
from scripts.lib.headers.wcs import FARTHEST
from scripts.lib.nights.times import JD_OF_MJD, ms_off, parse_date
from scripts.lib.solving.tangent import distance

ALIKE = ("EXPTIME", "FILTER", "OBJECT")
# What cannot differ between planes; a column of METADATA is something that does.
NEVER_COLUMNS = (
    "TELESCOP INSTRUME IMAGETYP ORIGIN PI-COI BUNIT TIMESYS XBINNING YBINNING XORGSUBF YORGSUBF"
).split() + [*READ_OUT]


@check("C33a")
def one_extension(p: ProductFile) -> str:
    if p.metadata is None:
        return "none"
    if len(p.hdus) != 2:
        return f"a file of {len(p.hdus)} HDUs"
    rows, planes = p.metadata.header.value("NAXIS2"), p.value("NAXIS3")
    return "" if rows == planes else f"{rows} rows for {planes} planes"


@check("C33b")
def demanded_columns(p: ProductFile) -> str:
    missing = [name for name in ("FILENAME", *DEMANDED) if name not in p.columns]
    return f"no {', '.join(missing)}" if missing else ""


@check("C34a")
def rows_in_order(p: ProductFile) -> str:
    before = ""
    for row, date in enumerate(p.texts("DATE-OBS"), 1):
        if len(date) != 23:
            return f"{date!r} in row {row}"
        parse_date(date)
        if date <= before:
            return f"{date} after {before} in row {row}"
        before = date
    return ""


@check("C34b")
def first_row(p: ProductFile) -> str:
    first, header = p.column("DATE-OBS")[0], p.value("DATE-OBS")
    if first != header:
        return f"first plane {first}, header {header}"
    off = ms_off(p.numbers("MJD-OBS")[0], p.start)
    return "" if abs(off) <= 0.5 else f"MJD-OBS of the first plane {off:+.1f} ms off"


@check("C35")
def alike(p: ProductFile) -> str:
    for name in ALIKE:
        found = set(p.column(name))
        if found != {p.value(name)}:
            return f"{name} {sorted(found, key=str)[:3]}, header {p.value(name)!r}"
    for name in NEVER_COLUMNS:
        found = set(p.columns.get(name, ()))
        # NaN and an empty text are planes without a value.
        if len([value for value in found if value == value and value not in ("", None)]) > 1:
            return f"several {name}"
    return ""


@check("C36a")
def constant_planes(p: ProductFile) -> str:
    return f"plane {p.constant[0] + 1} is constant" if p.constant else ""


@check("C37")
def forbidden_columns(p: ProductFile) -> str:
    for name in p.columns:
        row = p.context.reserved.row(name)
        of_the_file = name in STRUCTURE or name in ("BLANK", "WCSAXES")
        if of_the_file or (row and row.use in NEVER):
            return f"column {name}"
    return ""


@check("C38")
def filenames(p: ProductFile) -> str:
    right = p.telescope.frames if p.telescope else ""
    rows = zip(p.texts("FILENAME"), p.texts("DATE-OBS"), strict=True)
    for row, (name, date) in enumerate(rows, 1):
        match = FRAME.fullmatch(name)
        if not match or match[1] != right or match[2] != date.replace(":", "_"):
            return f"{name!r} in row {row}, DATE-OBS {date}"
    return ""


@check("C34c")
def row_times(p: ProductFile) -> str:
    rows = zip(p.texts("DATE-OBS"), p.numbers("MJD-OBS"), p.numbers("JD-OBS"), strict=True)
    for row, (date, mjd, jd) in enumerate(rows, 1):
        start = parse_date(date)
        for name, found in (("MJD-OBS", mjd), ("JD-OBS", jd - JD_OF_MJD)):
            off = ms_off(found, start)
            if not abs(off) <= 1:
                return f"{name} {off:+.1f} ms from DATE-OBS in row {row}"
    return ""


@check("C39b")
def row_coordinates(p: ProductFile) -> str:
    types = p.texts("CTYPE1") if "CTYPE1" in p.columns else []
    sky = [row for row, name in enumerate(types) if name.startswith("RA--")]
    if not sky:
        return ""
    elements = [p.numbers(f"CD{i}_{j}") for i in (1, 2) for j in (1, 2)]
    whole = independent(np.array(elements, float).T.reshape(-1, 2, 2))
    for row in sky:
        if not whole[row]:
            return f"a singular matrix in row {row + 1}"
        off = distance(*(in_row(p, name, row) for name in ("RA", "DEC", "CRVAL1", "CRVAL2")))
        # The reference pixel is within the frame, which is smaller than what is allowed.
        if not off <= 2 * FARTHEST:
            return f"CRVAL {off:.2f} degrees from RA, DEC in row {row + 1}"
    return ""


def in_row(p: ProductFile, keyword: str, row: int) -> float:
    """Return a plane's value of a keyword: its row's, otherwise the header's."""
    return (
        as_number(p.columns[keyword][row], keyword) if keyword in p.columns else p.number(keyword)
    )


@check("C39")
def cube_has_sky(p: ProductFile) -> str:
    has = "CTYPE1" in p.header and str(p.value("CTYPE1")).startswith("RA--")
    return "" if has or "CRVAL1" in p.columns else "none"


@check("C40")
def round_trip(p: ProductFile) -> str:
    if not p.context.headers:
        return ""
    for row, name in enumerate(p.texts("FILENAME")):
        original = p.context.headers.get(name.removesuffix(".fits"))
        if original is None:
            return f"{name} went in under no such name"
        if wrong := lost_in_cube(plane_values(p.header, p.columns, row), original):
            return f"{name}: {wrong}"
    return ""
