"""Moving pixels: the bytes of raw frames into products, each read and written once, and summed."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from scripts.lib.files.errors import Damaged
from scripts.lib.files.log import logger
from scripts.lib.fits.cards import Header, card, parse_comment, quoted
from scripts.lib.fits.checksum import data_sum
from scripts.lib.fits.hdu import STRUCTURE
from scripts.lib.ledger.records import Frame
from scripts.lib.nights.times import iso


class Raw(NamedTuple):
    """The raw copies of a night.

    ``copy_again`` copies a frame from the source in the place of a damaged copy; it raises OSError
    or ValueError if it cannot.
    """

    folder: Path
    copy_again: Callable[[str], None] | None = None

    def read(self, frame: Frame, buffer: bytearray) -> int:
        """Read the pixels of a frame into ``buffer`` and return their sum.

        A copy that is damaged on our disk is copied again. Raises `Damaged` if the file ends
        early, or the sum is not that of the frame as ingested.
        """
        path = self.folder / frame.file
        try:
            return read_pixels(path, frame, buffer)
        except Damaged as error:
            # Without it the next run copies the frame again, if this cannot.
            path.unlink(missing_ok=True)
            if self.copy_again is None:
                raise
            logger.warning("%s; copied again", error)
            try:
                self.copy_again(frame.file)
            except (OSError, ValueError) as cause:
                raise Damaged(f"{error}; not copied again: {cause}") from cause
            return read_pixels(path, frame, buffer)


def read_pixels(path: Path, frame: Frame, buffer: bytearray) -> int:
    """Read the pixels of a raw copy into ``buffer`` and return their sum; see `Raw.read`."""
    try:
        with open(path, "rb", buffering=0) as stream:
            count = os.preadv(stream.fileno(), [buffer], frame.data_start)
    except OSError as error:
        raise Damaged(f"{path} cannot be read: {error.strerror}") from error
    if count != len(buffer):
        raise Damaged(f"{path} ends after {count} of {len(buffer)} bytes of pixels")
    total = data_sum(buffer)
    if total != frame.pixels:
        raise Damaged(
            f"{path} has the sum {total}, not {frame.pixels} as when it was ingested: damaged on "
            "our disk"
        )
    return total


def finished_cards(header: Header) -> list[bytes]:
    """Return a finished header's cards without structure, DATE (FITS 4.4.2.1) set to now (UTC)."""
    now = quoted(iso(datetime.now(UTC)))
    return [
        card("DATE", now, parse_comment(image)) if keyword == "DATE" else image
        for keyword, image in header
        if keyword not in STRUCTURE
    ]
