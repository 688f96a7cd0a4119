"""The dark to subtract before stars are sought: the night's own, the nearest, or a file."""

import math
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from scripts.lib.files.errors import JobFailed
from scripts.lib.files.log import logger
from scripts.lib.fits.hdu import read_header
from scripts.lib.ledger.records import Frame
from scripts.lib.solving.image import Dark, Image, make_dark, map_pixels
from scripts.lib.solving.unreadable import check_file, failing_job, found_in

MOST = 9  # frames: more cost time and gain little


def dark_for(frame: Frame, night: Iterable[Frame], raw: Path, fallback: str) -> Dark | None:
    """Return the dark for frames of the size and exposure time of one, or None if there is none.

    Parameters
    ----------
    night : iterable of Frame
        The night's good frames. The darks whose exposure time is nearest are taken, and scaled if
        it is another; those that cannot be read are left out.
    raw : Path
        Folder of the raw frames.
    fallback : str
        FITS file of a dark for nights without; empty for none. Raises `JobFailed` if it is needed
        and cannot be used.
    """
    found = []
    for dark in night:
        if dark.kind != "dark" or dark.shape != frame.shape or dark.exptime <= 0:
            continue
        try:
            found.append((dark.exptime, map_pixels(raw / dark.file, dark.data_start, dark.shape)))
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            logger.warning("%s: left out as a dark: %s", dark.file, found_in(error))
    if found:
        nearest = min((time for time, _ in found), key=lambda time: abs(time - frame.exptime))
        images = [image for time, image in found if time == nearest][:MOST]
        logger.info("dark: %d frames of %.3f s for %.3f s", len(images), nearest, frame.exptime)
        return make_dark(images, frame.exptime / nearest)
    if fallback:
        return _read_dark(Path(fallback), frame)
    logger.warning("no dark of this size: stars are sought on raw pixels")
    return None


def pedestal_for(frame: Frame, night: Iterable[Frame], raw: Path) -> float:
    """Return the level (ADU) that a frame would have without light; NaN if nothing shows it.

    On the straight line from a bias of the night to its dark of the nearest exposure time, both of
    the frame's size; that of one of them if there is no other.
    """
    levels = {}
    for one in sorted(night, key=lambda one: abs(one.exptime - frame.exptime)):
        if one.kind in ("bias", "dark") and one.shape == frame.shape and one.kind not in levels:
            with suppress(OSError, ValueError):
                pixels = map_pixels(raw / one.file, one.data_start, one.shape)
                levels[one.kind] = Image(pixels).level(), one.exptime
    bias, _ = levels.get("bias", (math.nan, 0.0))
    dark, exptime = levels.get("dark", (bias, frame.exptime))
    if "bias" not in levels or exptime <= 0:
        return dark
    return bias + (dark - bias) * frame.exptime / exptime


def _read_dark(path: Path, frame: Frame) -> Dark:
    """Return the dark in a file as the observatory software writes it, for a frame."""
    with failing_job("dark", path):
        check_file(path)
        with open(path, "rb") as stream:
            header = read_header(stream)
            begin = stream.tell()
        right = {"NAXIS1": frame.naxis1, "NAXIS2": frame.naxis2, "BITPIX": 16}
        found = {keyword: header.value(keyword) for keyword in right}
        exptime = header.value("EXPTIME")
        if found != right or not isinstance(exptime, int | float) or exptime <= 0:
            stated = ", ".join(f"{keyword} {value}" for keyword, value in found.items())
            raise JobFailed(
                f"dark: {path} has {stated}, EXPTIME {exptime}; it must be a raw dark frame of "
                f"{frame.naxis1}x{frame.naxis2} pixels, BITPIX 16, with EXPTIME"
            )
        pixels = map_pixels(path, begin, frame.shape)
        return make_dark([pixels], frame.exptime / header.number("EXPTIME"))
