"""The dark to subtract before stars are sought: the night's own, the nearest, or a file."""

from pathlib import Path

import numpy as np

from scripts.lib.files.log import logger
from scripts.lib.fits.cards import read_header
from scripts.lib.solving.image import Dark, make_dark, read_image

MOST = 9  # frames: more cost time and gain little


class DarkError(ValueError):
    """The dark that the configuration names does not fit; the message says why."""


def dark_for(row: dict, night: list[dict], raw: Path, fallback: str) -> Dark | None:
    """Return the dark for a frame, or None if there is none.

    Parameters
    ----------
    row : dict
        Of ``frames.csv``: size and exposure time of the frame.
    night : list of dict
        Rows of the night's good frames. The darks whose exposure time is nearest are taken, and
        scaled if it is another.
    raw : Path
        Folder of the raw frames.
    fallback : str
        FITS file of a dark for nights without; empty for none.
    """
    size = (row["naxis1"], row["naxis2"])
    darks = [r for r in night if r["kind"] == "dark" and (r["naxis1"], r["naxis2"]) == size]
    darks = [r for r in darks if float(r["exptime"]) > 0 and (raw / r["file"]).exists()]
    wanted = float(row["exptime"])
    if darks:
        nearest = min((float(r["exptime"]) for r in darks), key=lambda t: abs(t - wanted))
        chosen = [r for r in darks if float(r["exptime"]) == nearest][:MOST]
        logger.info("dark: %d frames of %.3f s for %.3f s", len(chosen), nearest, wanted)
        images = [read_image(raw / r["file"], r).stored for r in chosen]
        return make_dark(images, wanted / nearest)
    if fallback:
        return read_dark(Path(fallback), row)
    logger.warning("no dark of this size: stars are sought on raw pixels")
    return None


def read_dark(path: Path, row: dict) -> Dark:
    """Return the dark in a file as the observatory software writes it.

    Raises
    ------
    DarkError
        If it is no dark of this size.
    """
    try:
        with open(path, "rb") as stream:
            header = read_header(stream)
            begin = stream.tell()
    except (OSError, ValueError) as error:
        raise DarkError(f"dark: {path} cannot be read: {error}") from error
    shape = (header.value("NAXIS2"), header.value("NAXIS1"))
    right = (int(row["naxis2"]), int(row["naxis1"]))
    exptime = header.value("EXPTIME")
    if shape != right or header.value("BITPIX") != 16 or not exptime:
        raise DarkError(
            f"dark: {path} must be a raw dark frame of {right[1]}x{right[0]} pixels with EXPTIME"
        )
    stored = np.memmap(path, ">i2", "r", begin, shape)
    return make_dark([stored], float(row["exptime"]) / float(exptime))
