"""One raw frame: its header, what it says of itself, and every reason not to deliver it."""

import os
import re
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scripts.lib.fits.cards import Header, HeaderError, Value, plain_number, readable, shown
from scripts.lib.fits.checksum import ALL_ONES, data_sum, fold, subtract_at
from scripts.lib.fits.hdu import padded, read_header
from scripts.lib.frames.instruments import Kind
from scripts.lib.ledger.faults import BadFrame, Reason
from scripts.lib.ledger.records import Frame
from scripts.lib.nights.times import parse_date

if TYPE_CHECKING:  # jobs per sequence read no configuration
    from scripts.lib.settings.records import Camera
    from scripts.lib.settings.telescopes import Telescope

# Astra writes a frame at the telescope and completes its header after the night. What it adds then:
COMPLETED = ("JD-OBS", "HJD-OBS", "MJD-OBS", "RA", "DEC")
# Actions of Astra (ASTRATYP) that set up the telescope, whatever IMAGETYP says: nobody's science.
ENGINEERING = frozenset(
    "pointing pointing_model autofocus focus calibrate_guiding guiding open close cool_camera "
    "complete_headers".split()
)
# Settings of the read-out: frames that differ in one cannot be stacked, nor calibrate each other.
READ_OUT = ("GAIN", "EGAIN", "OFFSET", "READOUTM", "READMODE", "READOUT", "CCDSPEED")
# A frame at the corner that lacks less than this share is not a subframe, but of the wrong size.
LEAST_CUT = 0.1
LONGEST_EXPOSURE = 86400
# A header of Astra has some 110 cards; a cube has room for 999 columns of what planes differ in.
MOST_CARDS = 400
STORED_AS = {"BITPIX": 16, "BZERO": 32768, "BSCALE": 1, "NAXIS": 2}
STORED_DEFAULTS = {"BZERO": 0, "BSCALE": 1}  # FITS 4.4.2.5


class Setting(NamedTuple):
    """Read-out of a frame: camera, binning, origin of the subframe (binned pixels), size.

    ``read_out`` has the values of `READ_OUT`, None where there is none.
    """

    camera: str
    xbinning: int
    ybinning: int
    x0: int
    y0: int
    naxis1: int
    naxis2: int
    read_out: tuple[Value, ...] = ()


class Facts(NamedTuple):
    """What the header of a good frame says. Times are UTC, cut to the millisecond; exptime in s."""

    kind: Kind
    object: str
    filter: str
    exptime: float
    date_obs: datetime
    setting: Setting


def open_header(path: Path) -> tuple[Header, int]:
    """Return the header of a raw frame, and where its data begin; raise `BadFrame` without one."""
    try:
        with open(path, "rb") as stream:
            if not stream.peek(1):
                raise BadFrame(Reason.EMPTY)
            return read_header(stream), stream.tell()
    except FileNotFoundError as error:
        raise BadFrame(Reason.GONE) from error
    except OSError as error:
        raise BadFrame(Reason.NO_HEADER, error.strerror or "cannot be read") from error
    except HeaderError as error:
        raise BadFrame(Reason.NO_HEADER, str(error)) from error


def check_file(path: Path, header: Header, data_start: int, frame: Frame) -> int:
    """Return the sum of a frame's pixels.

    It is that of the data but for the bytes that fill the last block, which FITS wants to be zero
    (4.0, section 3.3.2) and a product has so. Raises `BadFrame` if the file does not hold the image
    that it states, or another sum, or if all pixels are the same, as a dead camera or a cut-off
    file leaves them: the sum says whether that can be, so the pixels of a good frame are not read.
    """
    if len(header.images) > MOST_CARDS:
        detail = f"{len(header.images)} cards, more than {MOST_CARDS}"
        raise BadFrame(Reason.LONG_HEADER, detail)
    for image in header.images:
        if not image.isascii() or not image.decode("ascii").isprintable():
            raise BadFrame(Reason.NOT_PRINTABLE, readable(image))
    for keyword, right in STORED_AS.items():
        if number_of(header, keyword, STORED_DEFAULTS.get(keyword)) != right:
            detail = f"{keyword} is {shown(header.value(keyword))}, not {right}"
            raise BadFrame(Reason.NOT_AN_IMAGE, detail)
    count = integer_of(header, "NAXIS1") * integer_of(header, "NAXIS2")
    size, expected = frame.source.bytes, data_start + padded(2 * count)
    # The fill of the last block may be missing: a product has its own.
    if size < data_start + 2 * count:
        raise BadFrame(Reason.TRUNCATED, f"{size} bytes of {expected}")
    if size > expected:
        raise BadFrame(Reason.TRAILING_BYTES, f"{size - expected}")
    if frame.datasum is None:
        raise BadFrame(Reason.NO_HEADER, "no data behind it")
    stated = stated_text(header, "DATASUM")
    if stated and stated != str(frame.datasum):
        detail = f"the header states {stated}, the data have {frame.datasum}"
        raise BadFrame(Reason.WRONG_DATASUM, detail)
    with open(path, "rb", buffering=0) as stream:
        pixel = os.pread(stream.fileno(), 2, data_start)
        value = int.from_bytes(pixel, "big")
        words = count // 2 * (value << 16 | value) + (count % 2) * (value << 16)
        if fold(words) == frame.datasum:
            if os.pread(stream.fileno(), 2 * count, data_start) == pixel * count:
                detail = f"every pixel is {(value + 32768) % 65536} ADU"
                raise BadFrame(Reason.CONSTANT, detail)
        fill = os.pread(stream.fileno(), expected - data_start - 2 * count, data_start + 2 * count)
    return subtract_at(frame.datasum, data_sum(fill), 2 * count) if any(fill) else frame.datasum


def check_checksum(header: Header, frame: Frame) -> None:
    """Raise `BadFrame` if the file does not have the CHECKSUM that it states.

    The sum of a whole HDU is zero, which ones' complement has two forms of (FITS 4.0, Appendix J).
    """
    if frame.header_sum is None or frame.datasum is None or not stated_text(header, "CHECKSUM"):
        return
    total = fold(frame.header_sum + frame.datasum)
    if total not in (0, ALL_ONES):
        detail = f"header and data add up to {total}, not to {ALL_ONES}: a bit of them was changed"
        raise BadFrame(Reason.WRONG_CHECKSUM, detail)


def stated_text(header: Header, keyword: str) -> str:
    """Return the text of DATASUM or CHECKSUM; empty where it is undefined (FITS 4.4.2.7)."""
    return str(value_of(header, keyword) or "").strip()


def check_purpose(header: Header) -> None:
    """Raise `BadFrame` for an exposure that sets up the telescope."""
    purpose = str(value_of(header, "ASTRATYP") or "").strip().lower()
    if purpose in ENGINEERING:
        raise BadFrame(Reason.ENGINEERING, f"ASTRATYP is {purpose}")


def describe(
    header: Header,
    telescope: "Telescope",
    camera: "Camera",
    kinds: dict[str, Kind],
    bounds: tuple[datetime, datetime],
) -> Facts:
    """Return what a frame says of itself.

    Raises `BadFrame` if it is not a complete exposure of this telescope, camera and night.
    """
    found = text_of(header, "TELESCOP")
    # A word of it is the name, as in `Io` or `Astra->IO`.
    if not re.search(rf"(?<![^\W_]){re.escape(telescope.name)}(?![^\W_])", found, re.IGNORECASE):
        detail = f"TELESCOP is {found!r}, not {telescope.name!r}"
        raise BadFrame(Reason.WRONG_TELESCOPE, detail)
    kind = kind_of(header, kinds)
    date_obs = date_obs_of(header, bounds)
    exptime = round(number_of(header, "EXPTIME"), 3)
    if not 0 <= exptime <= LONGEST_EXPOSURE:
        raise BadFrame(Reason.OUT_OF_RANGE, f"{exptime} s", "EXPTIME")
    if kind.name == "bias" and exptime != 0:
        raise BadFrame(Reason.OUT_OF_RANGE, f"{exptime} s, not 0, of a bias", "EXPTIME")
    filter_name = text_of(header, "FILTER")
    missing = [keyword for keyword in COMPLETED if value_of(header, keyword) is None]
    missing += [] if "AIRMASS" in header else ["AIRMASS"]  # which may be left out
    if missing:
        raise BadFrame(Reason.INCOMPLETE, f"no {', '.join(missing)}")
    setting = setting_of(header, camera)
    target = text_of(header, "OBJECT") if kind.name == "science" else kind.type
    return Facts(kind, target, filter_name, exptime, date_obs, setting)


def kind_of(header: Header, kinds: dict[str, Kind]) -> Kind:
    """Return the kind that IMAGETYP names; raise `BadFrame` if it names none."""
    found = text_of(header, "IMAGETYP")
    for kind in kinds.values():
        if found.lower() in kind.words:
            return kind
    right = ", ".join(kind.imagetyp for kind in kinds.values())
    raise BadFrame(Reason.UNKNOWN, f"{found!r}; known are {right}", "IMAGETYP")


def date_obs_of(header: Header, bounds: tuple[datetime, datetime]) -> datetime:
    """Return DATE-OBS; raise `BadFrame` if it cannot be read or is outside the night."""
    found = text_of(header, "DATE-OBS")
    try:
        date_obs = parse_date(found)
    except ValueError as error:
        raise BadFrame(Reason.UNREADABLE, str(error), "DATE-OBS") from error
    begin, end = bounds
    if not begin <= date_obs < end:
        detail = f"{found} is not in {begin:%F %H:%M} to {end:%F %H:%M}"
        raise BadFrame(Reason.OUTSIDE_NIGHT, detail)
    return date_obs


def setting_of(header: Header, camera: "Camera") -> Setting:
    """Return the read-out of a frame; raise `BadFrame` if the camera has no such size.

    A frame is a full one, or a subframe that must fit. Astra also writes the origin of a binned
    subframe in unbinned pixels: it is taken for that if it fits only so.
    """
    xbin, ybin = integer_of(header, "XBINNING", 1), integer_of(header, "YBINNING", 1)
    x0, y0 = integer_of(header, "XORGSUBF", 0), integer_of(header, "YORGSUBF", 0)
    naxis1, naxis2 = integer_of(header, "NAXIS1"), integer_of(header, "NAXIS2")
    if min(xbin, ybin) < 1 or min(x0, y0) < 0:
        detail = f"binning {xbin}x{ybin}, subframe at {x0},{y0}"
        raise BadFrame(Reason.WRONG_READ_OUT, detail)
    full = (camera.naxis1 // xbin, camera.naxis2 // ybin)
    if x0 + naxis1 > full[0] or y0 + naxis2 > full[1]:
        x0, y0 = x0 // xbin, y0 // ybin
    fits = x0 + naxis1 <= full[0] and y0 + naxis2 <= full[1]
    if (x0, y0) == (0, 0):
        pairs = zip((naxis1, naxis2), full, strict=True)
        fits &= all(n == most or n <= (1 - LEAST_CUT) * most for n, most in pairs)
    if not fits:
        detail = f"{naxis1}x{naxis2} at {x0},{y0}; a full frame of {camera.name} is "
        raise BadFrame(Reason.WRONG_SIZE, f"{detail}{full[0]}x{full[1]}")
    name = str(value_of(header, "INSTRUME") or camera.name)
    read_out = tuple(_or_none(header, keyword) for keyword in READ_OUT)
    return Setting(name, xbin, ybin, x0, y0, naxis1, naxis2, read_out)


def text_of(header: Header, keyword: str) -> str:
    """Return a string value; raise `BadFrame` if there is none."""
    value = value_of(header, keyword)
    text = value if isinstance(value, str) else shown(value)
    if value is None or not text.strip():
        raise BadFrame(Reason.MISSING, subject=keyword)
    return text.strip()


def number_of(header: Header, keyword: str, default: float | None = None) -> float:
    """Return a number, or the default; raise `BadFrame` if there is neither."""
    value = value_of(header, keyword)
    value = default if value is None else value
    if value is None:
        raise BadFrame(Reason.MISSING, subject=keyword)
    try:
        return plain_number(value)
    except ValueError as error:
        raise BadFrame(Reason.UNREADABLE, str(error), keyword) from error


def integer_of(header: Header, keyword: str, default: int | None = None) -> int:
    """Return a whole number, or the default; raise `BadFrame` if there is neither."""
    value = number_of(header, keyword, default)
    if value != int(value):
        raise BadFrame(Reason.UNREADABLE, f"{value} is not a whole number", keyword)
    return int(value)


def value_of(header: Header, keyword: str) -> Value:
    """Return a value, None if there is none; raise `BadFrame` for a card that is not one."""
    try:
        return header.value(keyword)
    except HeaderError as error:
        # ``KEYWORD: what is wrong``
        keyword, _, detail = str(error).partition(": ")
        raise BadFrame(Reason.UNREADABLE, detail, keyword) from error


def _or_none(header: Header, keyword: str) -> Value:
    """Return a value, None also for a card that is not one: then it is left out."""
    try:
        return header.value(keyword)
    except HeaderError:
        return None
