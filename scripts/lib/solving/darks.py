"""The dark to subtract before stars are sought: the night's own, the nearest, or a file."""

from collections.abc import Iterable
from pathlib import Path

from scripts.lib.files.errors import JobFailed
from scripts.lib.files.log import logger
from scripts.lib.fits.hdu import read_header
from scripts.lib.ledger.records import Frame
from scripts.lib.solving.image import Dark, make_dark, read_image
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
            image = read_image(raw / dark.file, dark.data_start, dark.shape)
            found.append((dark.exptime, image.stored))
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
        image = read_image(path, begin, frame.shape)
        return make_dark([image.stored], frame.exptime / header.number("EXPTIME"))
