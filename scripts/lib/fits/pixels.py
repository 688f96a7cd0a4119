"""Moving pixels: the bytes of raw frames into products, each read and written once, and summed."""

import os
from datetime import UTC, datetime
from pathlib import Path

from scripts.lib.fits.cards import card, keyword_of, parse_comment, quoted
from scripts.lib.fits.checksum import data_sum
from scripts.lib.nights.times import iso


class LostPixels(RuntimeError):
    """The pixels are not those that were ingested; the message names the frame."""


def pixel_bytes(row: dict) -> int:
    """Return the bytes of a frame's pixels, without padding."""
    return 2 * int(row["naxis1"]) * int(row["naxis2"])


def read_pixels(raw: Path, row: dict, buffer: bytearray) -> int:
    """Read the pixels of a raw frame into ``buffer`` and return their sum.

    Parameters
    ----------
    row : dict
        The frame's row of ``frames.csv``.

    Raises
    ------
    LostPixels
        If the file ends early, or the sum is not that of the frame as ingested.
    """
    path = raw / row["file"]
    try:
        with open(path, "rb", buffering=0) as stream:
            count = os.preadv(stream.fileno(), [buffer], int(row["data_start"]))
    except OSError as error:
        raise LostPixels(
            f"{path} cannot be read: {error.strerror}. To copy it anew: "
            f"rm '{raw.absolute()}/complete' and run again"
        ) from error
    if count != len(buffer):
        raise LostPixels(f"{path} ends after {count} of {len(buffer)} bytes of pixels")
    total = data_sum(buffer)
    if total != int(row["datasum"]):
        raise LostPixels(
            f"{path} has the sum {total}, not {row['datasum']} as when it was ingested: damaged on "
            "our disk. To copy it anew: "
            f"rm '{path.absolute()}' '{raw.absolute()}/complete' and run again"
        )
    return total


def dated_now(images: list[bytes]) -> list[bytes]:
    """Return cards with DATE, when the HDU is written (FITS 4.4.2.1), set to now (UTC)."""
    now = quoted(iso(datetime.now(UTC)))
    return [
        card("DATE", now, parse_comment(image)) if keyword_of(image) == "DATE" else image
        for image in images
    ]
