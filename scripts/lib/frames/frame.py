"""One raw frame: its header, what it says of itself, and every reason not to deliver it."""

import math
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from scripts.lib.fits.cards import Header, HeaderError, padded, read_header, readable
from scripts.lib.fits.sums import fold
from scripts.lib.frames.identity import Kind, Telescope
from scripts.lib.nights.times import parse_date

# Astra writes a frame at once and completes its header after the night. What only Astra knows:
COMPLETED = ("JD-OBS", "HJD-OBS", "MJD-OBS", "RA", "DEC", "AIRMASS")
# Exposures that set up the telescope; they are Light Frames, but nobody's science.
ENGINEERING = ("pointing", "autofocus", "calibrate_guiding")
LONGEST_EXPOSURE = 86400
# A header of Astra has some 110 cards; a cube has room for 999 columns of what planes differ in.
MOST_CARDS = 400
STORED_AS = {"BITPIX": 16, "BZERO": 32768, "BSCALE": 1, "NAXIS": 2}


class BadFrame(ValueError):
    """A frame that cannot be delivered; the rest of the night can. The message is the reason."""


class Camera(NamedTuple):
    """A camera, as ``camera`` of the configuration describes it.

    Attributes
    ----------
    name : str
        INSTRUME as Astra writes it.
    naxis1, naxis2 : int
        Size of a full frame, pixels.
    pixel_scale : float
        Arcsec a pixel, without binning.
    rotation : float
        Position angle of +y, degrees, on either side of the pier.
    parity : int
        1 as the sky is seen, -1 mirrored.
    band : str
        Catalogue magnitude by which its stars are ranked: g or j.
    fixed_pattern : bool
        Whether stars stand out only once a dark is subtracted.
    """

    name: str
    naxis1: int
    naxis2: int
    pixel_scale: float
    rotation: float = 0.0
    parity: int = 1
    band: str = "g"
    fixed_pattern: bool = False


class Setting(NamedTuple):
    """Read-out of a frame: camera, binning, origin of the subframe (binned pixels), size."""

    camera: str
    xbinning: int
    ybinning: int
    x0: int
    y0: int
    naxis1: int
    naxis2: int


class Frame(NamedTuple):
    """What a good frame says of itself. Times are UTC, cut to the millisecond; exptime in s."""

    kind: Kind
    object: str
    filter: str
    exptime: float
    date_obs: datetime
    setting: Setting
    data_start: int


def open_header(path: Path) -> tuple[Header, int]:
    """Return the header of a raw frame, and where its data begin.

    Raises
    ------
    BadFrame
        If there is none.
    """
    try:
        with open(path, "rb") as stream:
            if not stream.read(1):
                raise BadFrame("empty file")
            stream.seek(0)
            return read_header(stream), stream.tell()
    except (HeaderError, OSError) as error:
        raise BadFrame(str(error)) from error


def check_bytes(header: Header, data_start: int, size: int, datasum: int | None) -> None:
    """Raise `BadFrame` unless the file holds the image it states, with the sum it states.

    Parameters
    ----------
    size : int
        Of the file, in bytes.
    datasum : int or None
        Sum of the data as ingested.
    """
    if len(header.images) > MOST_CARDS:
        raise BadFrame(f"a header of {len(header.images)} cards, more than {MOST_CARDS}")
    for image in header.images:
        if not image.isascii() or not image.decode("ascii").isprintable():
            raise BadFrame(f"text that is not printable ASCII: {readable(image)}")
    for keyword, right in STORED_AS.items():
        if number(header, keyword) != right:
            found = header.value(keyword)
            raise BadFrame(f"not an image as Astra writes it: {keyword} is {found}, not {right}")
    naxis1, naxis2 = whole(header, "NAXIS1"), whole(header, "NAXIS2")
    expected = data_start + padded(2 * naxis1 * naxis2)
    if size < expected:
        raise BadFrame(f"truncated: {size} bytes of {expected}")
    if size > expected:
        raise BadFrame(f"{size - expected} bytes after the image")
    stated = _value(header, "DATASUM")
    if stated is not None and str(stated).strip() != str(datasum):
        raise BadFrame(f"wrong DATASUM: the header states {stated}, the data have {datasum}")


def check_contrast(path: Path, header: Header, data_start: int, datasum: int | None) -> None:
    """Raise `BadFrame` if all pixels are the same: what a dead camera or a cut-off file leaves.

    The sum tells whether that can be, so the pixels of a good frame are not read for it.
    """
    count = whole(header, "NAXIS1") * whole(header, "NAXIS2")
    with open(path, "rb") as stream:
        stream.seek(data_start)
        pixel = stream.read(2)
        value = int.from_bytes(pixel, "big")
        words = count // 2 * (value << 16 | value) + (count % 2) * (value << 16)
        if fold(words) == datasum and pixel * count == pixel + stream.read(2 * count - 2):
            raise BadFrame(f"constant image: every pixel is {(value + 32768) % 65536} adu")


def describe(
    header: Header,
    data_start: int,
    telescope: Telescope,
    camera: Camera,
    kinds: dict[str, Kind],
    bounds: tuple[datetime, datetime],
) -> Frame:
    """Return what a frame says of itself.

    Parameters
    ----------
    bounds : tuple of datetime
        First moment of the night, and the first after it.

    Raises
    ------
    BadFrame
        If it is not a complete exposure of this telescope, camera and night.
    """
    check_telescope(header, telescope)
    kind = kind_of(header, kinds)
    check_purpose(header)
    date_obs = date_obs_of(header, bounds)
    exptime = exptime_of(header, kind)
    filter_name = text(header, "FILTER")
    missing = [keyword for keyword in COMPLETED if header.value(keyword) is None]
    if missing:
        raise BadFrame(f"header not completed by Astra yet: no {', '.join(missing)}")
    setting = setting_of(header, camera)
    target = text(header, "OBJECT") if kind.name == "science" else kind.type
    return Frame(kind, target, filter_name, exptime, date_obs, setting, data_start)


def check_telescope(header: Header, telescope: Telescope) -> None:
    """Raise `BadFrame` unless TELESCOP names this telescope, as in `Io` or `Astra->IO`."""
    found = text(header, "TELESCOP")
    words = "".join(c if c.isalnum() else " " for c in found).upper().split()
    if telescope.name.upper() not in words:
        raise BadFrame(f"wrong telescope: TELESCOP is {found!r}, not {telescope.name!r}")


def kind_of(header: Header, kinds: dict[str, Kind]) -> Kind:
    """Return the kind that IMAGETYP names; raise `BadFrame` if it names none."""
    found = text(header, "IMAGETYP")
    for kind in kinds.values():
        if found.lower() in kind.words:
            return kind
    right = ", ".join(kind.imagetyp for kind in kinds.values())
    raise BadFrame(f"unknown IMAGETYP: {found!r}; known are {right}")


def check_purpose(header: Header) -> None:
    """Raise `BadFrame` for an exposure that only set up the telescope."""
    purpose = str(header.value("ASTRATYP") or "").lower()
    if purpose in ENGINEERING:
        raise BadFrame(f"engineering exposure: ASTRATYP is {purpose}")


def date_obs_of(header: Header, bounds: tuple[datetime, datetime]) -> datetime:
    """Return DATE-OBS; raise `BadFrame` if it cannot be read or is outside the night."""
    found = text(header, "DATE-OBS")
    try:
        moment = parse_date(found)
    except ValueError as error:
        raise BadFrame(f"unreadable DATE-OBS: {error}") from error
    begin, end = bounds
    if not begin <= moment < end:
        raise BadFrame(
            f"DATE-OBS outside the night: {found} is not in {begin:%F %H:%M} to {end:%F %H:%M}"
        )
    return moment


def exptime_of(header: Header, kind: Kind) -> float:
    """Return EXPTIME (s), to the millisecond; raise `BadFrame` if it cannot be right."""
    exptime = round(number(header, "EXPTIME"), 3)
    if not 0 <= exptime <= LONGEST_EXPOSURE:
        raise BadFrame(f"EXPTIME out of range: {exptime} s")
    if kind.name == "bias" and exptime != 0:
        raise BadFrame(f"a bias with EXPTIME {exptime}, not 0")
    return exptime


def setting_of(header: Header, camera: Camera) -> Setting:
    """Return the read-out of a frame; raise `BadFrame` if the camera has no such size.

    A frame that starts at the corner is a full one; any other is a subframe that must fit.
    """
    xbin, ybin = whole(header, "XBINNING", 1), whole(header, "YBINNING", 1)
    x0, y0 = whole(header, "XORGSUBF", 0), whole(header, "YORGSUBF", 0)
    naxis1, naxis2 = whole(header, "NAXIS1"), whole(header, "NAXIS2")
    if min(xbin, ybin) < 1 or min(x0, y0) < 0:
        raise BadFrame(f"no such read-out: binning {xbin}x{ybin}, subframe at {x0},{y0}")
    full = (camera.naxis1 // xbin, camera.naxis2 // ybin)
    fits = x0 + naxis1 <= full[0] and y0 + naxis2 <= full[1] if (x0 or y0) else False
    if not fits and (naxis1, naxis2) != full:
        raise BadFrame(
            f"wrong size: {naxis1}x{naxis2} at {x0},{y0}; "
            f"a full frame of {camera.name} is {full[0]}x{full[1]}"
        )
    name = str(header.value("INSTRUME") or camera.name)
    return Setting(name, xbin, ybin, x0, y0, naxis1, naxis2)


def text(header: Header, keyword: str) -> str:
    """Return a string value; raise `BadFrame` if there is none."""
    value = _value(header, keyword)
    if value is None or not str(value).strip():
        raise BadFrame(f"no {keyword}")
    return str(value).strip()


def number(header: Header, keyword: str) -> float:
    """Return a number; raise `BadFrame` if there is none."""
    value = _value(header, keyword)
    if value is None:
        raise BadFrame(f"no {keyword}")
    try:
        found = float(value)
        if not math.isfinite(found):
            raise ValueError
    except ValueError:
        raise BadFrame(f"unreadable {keyword}: {value!r} is not a number") from None
    return found


def whole(header: Header, keyword: str, default: int | None = None) -> int:
    """Return a whole number, or the default; raise `BadFrame` if there is neither."""
    if default is not None and header.value(keyword) is None:
        return default
    value = number(header, keyword)
    if value != int(value):
        raise BadFrame(f"{keyword} is {value}, not a whole number")
    return int(value)


def _value(header: Header, keyword: str):
    try:
        return header.value(keyword)
    except HeaderError as error:
        raise BadFrame(f"unreadable {error}") from error
