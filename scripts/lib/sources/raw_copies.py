"""The raw copies of a night: read once into products, summed, copied again where damaged."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from scripts.lib.files.errors import Damaged
from scripts.lib.files.log import logger
from scripts.lib.fits.checksum import data_sum
from scripts.lib.ledger.records import Frame


class RawCopies(NamedTuple):
    """The folder ``<workdir>/{night}/raw``, and the job's configuration, if it may copy again."""

    folder: Path
    config: Mapping[str, Any] | None = None

    def read(self, frame: Frame, buffer: memoryview) -> int:
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
            if self.config is None:
                raise
            logger.warning("%s; copied again", error)
            # Here and not above: hardly any job needs it.
            from scripts.lib.settings.records import Configuration
            from scripts.lib.sources.copying import copy_frame
            from scripts.lib.sources.opening import open_source

            settings, night = Configuration.of(self.config), self.folder.absolute().parent.name
            try:
                source = open_source(settings.source, settings.source_mounted)
                copy_frame(source, night, frame.file, self.folder, settings.settle)
            except (OSError, ValueError) as cause:
                raise Damaged(f"{error}; not copied again: {cause}") from cause
            return read_pixels(path, frame, buffer)


def read_pixels(path: Path, frame: Frame, buffer: memoryview) -> int:
    """Read the pixels of a raw copy into ``buffer`` and return their sum; see `RawCopies.read`."""
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
