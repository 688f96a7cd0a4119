"""Checks of cubes: the table METADATA, and what the survey's reader makes of it."""

from scripts.lib.gate.identity import FRAME
from scripts.lib.gate.moments import ms_off, start
from scripts.lib.gate.subject import Subject
from scripts.lib.hdu import STRUCTURE
from scripts.lib.metadata import DEMANDED
from scripts.lib.reader import differences, frame_values
from scripts.lib.times import parse_date

ALIKE = ("EXPTIME", "FILTER", "OBJECT")
# What cannot differ between planes; a column of METADATA is something that does.
NEVER_COLUMNS = (
    "TELESCOP INSTRUME IMAGETYP ORIGIN PI-COI BUNIT TIMESYS XBINNING YBINNING XORGSUBF YORGSUBF"
).split()


def metadata(s: Subject) -> str:
    """The extension, and its rows."""
    if s.metadata is None:
        return "none"
    rows, planes = s.metadata.header.value("NAXIS2"), s.value("NAXIS3")
    return "" if rows == planes else f"{rows} rows for {planes} planes"


def demanded_columns(s: Subject) -> str:
    """Columns that the reader asks for."""
    missing = [name for name in ("FILENAME", *DEMANDED) if name not in s.columns]
    return f"no {', '.join(missing)}" if missing else ""


def rows_in_order(s: Subject) -> str:
    """DATE-OBS of the rows."""
    dates = s.columns["DATE-OBS"]
    for row, date in enumerate(dates):
        if len(date) != 23:
            return f"{date!r} in row {row + 1}"
        parse_date(date)
    for row, (one, next_) in enumerate(zip(dates, dates[1:], strict=False), 1):
        if next_ <= one:
            return f"{next_} after {one} in row {row + 1}"
    return ""


def first_row(s: Subject) -> str:
    """The first row against the header."""
    if s.columns["DATE-OBS"][0] != s.value("DATE-OBS"):
        return f"first plane {s.columns['DATE-OBS'][0]}, header {s.value('DATE-OBS')}"
    off = ms_off(s.columns["MJD-OBS"][0], start(s))
    return "" if abs(off) <= 0.5 else f"MJD-OBS of the first plane {off:+.1f} ms off"


def alike(s: Subject) -> str:
    """What all planes must have in common."""
    for name in ALIKE:
        found = set(s.columns[name])
        if found != {s.value(name)}:
            return f"{name} {sorted(found, key=str)[:3]}, header {s.value(name)!r}"
    varying = [name for name in NEVER_COLUMNS if len(present(s.columns.get(name, []))) > 1]
    return f"several {varying[0]}" if varying else ""


def present(values: list) -> set:
    """Return the values of a column, those of planes without one left out."""
    return {value for value in values if value == value and value not in ("", None)}


def constant_planes(s: Subject) -> str:
    """Planes without any contrast: what is left of a truncated or empty frame."""
    return f"plane {s.constant[0] + 1} is constant" if s.constant else ""


def forbidden_columns(s: Subject) -> str:
    """Columns that the reader would write over the structure of its frames."""
    found = [name for name in s.columns if name in STRUCTURE]
    return f"column {found[0]}" if found else ""


def filenames(s: Subject) -> str:
    """Names of the planes as frames."""
    names = s.columns["FILENAME"]
    wrong = [name for name in names if not FRAME.fullmatch(name)]
    if wrong:
        return repr(wrong[0])
    return "a name twice" if len(set(names)) < len(names) else ""


def cube_has_sky(s: Subject) -> str:
    """Sky coordinates of the planes."""
    has = "CTYPE1" in s.header and str(s.value("CTYPE1")).startswith("RA--")
    return "" if has or "CRVAL1" in s.columns else "none"


def round_trip(s: Subject) -> str:
    """What the reader gets back, against the headers that went in; nothing without those."""
    if not s.expected.headers:
        return ""
    for row, name in enumerate(s.columns["FILENAME"]):
        original = s.expected.headers.get(name.removesuffix(".fits"))
        if original is None:
            return f"{name} went in under no such name"
        if wrong := differences(frame_values(s.header, s.columns, row), original):
            return f"{name}: {wrong}"
    return ""
