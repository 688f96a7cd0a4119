"""The dark to subtract before stars are sought: the night's own, the nearest, or a file."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from scripts.lib.files.log import logger
from scripts.lib.fits.hdu import read_header
from scripts.lib.ledger.records import Frame
from scripts.lib.solving.errors import DarkError, check_file, explained, found_in
from scripts.lib.solving.image import Dark, make_dark, map_pixels, read_image

MOST = 9  # frames: more cost time and gain little


def dark_for(frame: Frame, night: Iterable[Frame], raw: Path, fallback: str) -> Dark | None:
    """Return the dark for a frame, or None if there is none.

    Parameters
    ----------
    frame : Frame
        Its size and exposure time count.
    night : iterable of Frame
        The night's good frames. The darks whose exposure time is nearest are taken, and scaled if
        it is another.
    raw : Path
        Folder of the raw frames.
    fallback : str
        FITS file of a dark for nights without; empty for none.

    Raises
    ------
    DarkError
        If that file is needed and cannot be used.
    """
    if darks := stored_darks(frame, night, raw):
        nearest = min((time for time, _ in darks), key=lambda time: abs(time - frame.exptime))
        images = [image for time, image in darks if time == nearest][:MOST]
        logger.info("dark: %d frames of %.3f s for %.3f s", len(images), nearest, frame.exptime)
        return make_dark(images, frame.exptime / nearest)
    if fallback:
        return read_dark(Path(fallback), frame)
    logger.warning("no dark of this size: stars are sought on raw pixels")
    return None


def stored_darks(frame: Frame, night: Iterable[Frame], raw: Path) -> list[tuple[float, np.ndarray]]:
    """Return exposure time (s) and stored pixels of the night's darks of a frame's size.

    One that cannot be read is left out.
    """
    found = []
    for dark in night:
        if dark.kind != "dark" or dark.shape != frame.shape or dark.exptime <= 0:
            continue
        if not (raw / dark.file).exists():
            continue
        try:
            found.append((dark.exptime, read_image(raw / dark.file, dark).stored))
        except (OSError, ValueError) as error:
            logger.warning("%s: left out as a dark: %s", dark.file, found_in(error))
    return found


def read_dark(path: Path, frame: Frame) -> Dark:
    """Return the dark in a file as the observatory software writes it, for a frame.

    Raises
    ------
    DarkError
        If it is not a dark of the frame's size, or cannot be read.
    """
    with explained(DarkError, "dark", path):
        check_file(path)
        with open(path, "rb") as stream:
            header = read_header(stream)
            begin = stream.tell()
        right = {"NAXIS1": frame.naxis1, "NAXIS2": frame.naxis2, "BITPIX": 16}
        found = {keyword: header.value(keyword) for keyword in (*right, "EXPTIME")}
        exptime = found.pop("EXPTIME")
        timed = isinstance(exptime, int | float) and exptime > 0
        if found != right or not timed:
            stated = ", ".join(f"{keyword} {value}" for keyword, value in found.items())
            raise DarkError(
                f"dark: {path} has {stated}, EXPTIME {exptime}; it must be a raw dark frame of "
                f"{frame.naxis1}x{frame.naxis2} pixels, BITPIX 16, with EXPTIME"
            )
        seconds = header.number("EXPTIME")
        return make_dark([map_pixels(path, begin, frame.shape)], frame.exptime / seconds)
