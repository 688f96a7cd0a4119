"""Moving pixels: the bytes of raw frames into products, each read and written once, and summed."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from scripts.lib.files.log import logger
from scripts.lib.fits.cards import card, keyword_of, parse_comment, quoted
from scripts.lib.fits.checksum import data_sum
from scripts.lib.ledger.records import Frame
from scripts.lib.nights.times import iso


class LostPixels(RuntimeError):
    """The pixels are not those that were ingested; the message names the frame."""


class Raw(NamedTuple):
    """The raw copies of a night.

    Attributes
    ----------
    folder : Path
    copy_again : callable or None
        Copies a frame from the source in the place of a damaged copy; raises OSError or ValueError
        if it cannot.
    """

    folder: Path
    copy_again: Callable[[str], None] | None = None

    def read(self, frame: Frame, buffer: bytearray) -> int:
        """Read the pixels of a frame into ``buffer`` and return their sum.

        A copy that is damaged on our disk is copied again.

        Raises
        ------
        LostPixels
            If the file ends early, or the sum is not that of the frame as ingested.
        """
        try:
            return read_pixels(self.folder / frame.file, frame, buffer)
        except LostPixels as error:
            # Without it the next run copies the frame again, if this cannot.
            (self.folder / frame.file).unlink(missing_ok=True)
            if self.copy_again is None:
                raise
            logger.warning("%s; copied again", error)
            try:
                self.copy_again(frame.file)
            except (OSError, ValueError) as cause:
                raise LostPixels(f"{error}; not copied again: {cause}") from cause
            return read_pixels(self.folder / frame.file, frame, buffer)


def read_pixels(path: Path, frame: Frame, buffer: bytearray) -> int:
    """Read the pixels of a raw copy into ``buffer`` and return their sum; see `Raw.read`."""
    try:
        with open(path, "rb", buffering=0) as stream:
            count = os.preadv(stream.fileno(), [buffer], frame.data_start)
    except OSError as error:
        raise LostPixels(f"{path} cannot be read: {error.strerror}") from error
    if count != len(buffer):
        raise LostPixels(f"{path} ends after {count} of {len(buffer)} bytes of pixels")
    total = data_sum(buffer)
    if total != frame.pixels:
        raise LostPixels(
            f"{path} has the sum {total}, not {frame.pixels} as when it was ingested: damaged on "
            "our disk"
        )
    return total


def dated_now(images: list[bytes]) -> list[bytes]:
    """Return cards with DATE, when the HDU is written (FITS 4.4.2.1), set to now (UTC)."""
    now = quoted(iso(datetime.now(UTC)))
    return [
        card("DATE", now, parse_comment(image)) if keyword_of(image) == "DATE" else image
        for image in images
    ]
