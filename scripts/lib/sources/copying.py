"""Copies of frames: read once, summed from the very bytes that are written, whole or not there."""

import errno
import os
import re
import time
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from scripts.lib.files.buffers import thread_buffer
from scripts.lib.files.durable import WholeFiles, part_name, whole_file
from scripts.lib.files.errors import TryLater
from scripts.lib.files.log import logger
from scripts.lib.fits.checksum import data_sum, fold
from scripts.lib.fits.hdu import BLOCK, header_size
from scripts.lib.ledger.faults import BadFrame, Reason
from scripts.lib.ledger.records import FileState, Measures
from scripts.lib.sources.source import Handle, Source

# Whole FITS blocks, so that no piece cuts a word of the sum. Any header that is accepted ends in
# the first piece; and a piece is still in the processor's cache when it is written and summed.
PIECE = 180 * BLOCK
ATTEMPTS = 3
# What a file system says that makes no hard link: another one, of somebody else's file, too many.
UNLINKABLE = (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK)
STILL_WRITTEN = "still being written at the source"
WRONG_SUM = "the data do not have the DATASUM that the header states"
DATASUM = re.compile(rb"DATASUM = ' *(\d+) *'")
SIZE = re.compile(rb"NAXIS1  = +(\d+) .*?NAXIS2  = +(\d+) ", re.S)
SAMPLED = 4096  # pixels
ZERO, TOP = 32768, 65535  # ADU: BZERO of a raw frame, and the end of the converter's range


class Sums(NamedTuple):
    """Sums of a file's header and data, the DATASUM that it states, statistics of its pixels."""

    bytes: int
    header: int | None
    data: int | None
    stated: int | None
    measures: Measures | None = None


def copy_frame(
    source: Source,
    night: str,
    name: str,
    raw: Path,
    wait: float,
    link: bool = False,
    files: WholeFiles | None = None,
) -> tuple[FileState, Sums]:
    """Copy one frame to ``raw``, or ``link`` it; return its state at the source, and its sums.

    A copy gets its name together with the other ``files``, if there are any.

    A frame that changes, cannot be read, or does not have the DATASUM that it states is read
    again after ``wait`` seconds. A wrong sum that was read twice is the frame's own: it is kept,
    for the inventory to hold back.

    Raises
    ------
    BadFrame
        If there is no copy that can be used.
    TryLater
        If the source itself has become unreachable.
    """
    earlier, reasons = None, []
    target = raw / name
    for attempt in range(1, ATTEMPTS + 1):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if link:
                copied = state, sums = link_once(source, night, name, target)
            else:
                opened = files.file(target) if files else whole_file(target)
                copied = state, sums = copy_once(source, night, name, opened)
            if sums.stated in (None, sums.data) or copied == earlier:
                return copied
            changed = earlier is not None and state != earlier[0]
            earlier = copied
            reasons.append(STILL_WRITTEN if changed else WRONG_SUM)
        except TryLater:
            raise
        except OSError as error:
            source.check()
            reasons.append(error.strerror or str(error))
        logger.warning("%s: attempt %d: %s", name, attempt, reasons[-1])
        if attempt < ATTEMPTS:
            if files:
                files.name()
            time.sleep(wait)
    target.unlink(missing_ok=True)
    if files:
        files.discard(target)
    cause = STILL_WRITTEN if STILL_WRITTEN in reasons else reasons[-1]
    raise BadFrame(Reason.NOT_COPIED, cause)


def copy_once(
    source: Source, night: str, name: str, opened: AbstractContextManager[BinaryIO]
) -> tuple[FileState, Sums]:
    """Copy one frame to a file that is ``opened`` and kept only if no error is raised.

    Raises `OSError` if that fails, or if its size or time changed while it was read.
    """
    before = source.state(night, name)
    with closing(source.open_frame(night, name)) as stream, opened as copy:
        sums = copy_stream(stream, copy)
        if source.state(night, name) != before or sums.bytes != before.bytes:
            raise OSError(STILL_WRITTEN)
        copy.flush()
        os.utime(copy.fileno(), ns=(before.mtime_ns, before.mtime_ns))
    return before, sums


def link_once(source: Source, night: str, name: str, target: Path) -> tuple[FileState, Sums]:
    """Link one frame of a folder to ``target``, hard where the file system allows it.

    Raises `OSError` as `copy_once` does.
    """
    before = source.state(night, name)
    # The system would link a link, not what it leads to.
    frame, part = os.path.realpath(Path(source.name, night, name)), part_name(target)
    part.unlink(missing_ok=True)
    try:
        try:
            os.link(frame, part)
        except OSError as error:
            if error.errno not in UNLINKABLE:
                raise
            part.symlink_to(frame)
        sums = sums_of(part)
        same = is_copied(part, before) and sums.bytes == before.bytes
        if source.state(night, name) != before or not same:
            raise OSError(STILL_WRITTEN)
        # A rename would do nothing if both were links to the same frame.
        target.unlink(missing_ok=True)
        os.rename(part, target)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return before, sums


def copy_stream(stream: Handle, copy: BinaryIO | None) -> Sums:
    """Copy bytes, unless ``copy`` is None; return their sums and statistics."""
    done, total = 0, 0
    head = stated = sample = None
    with thread_buffer(PIECE) as piece:
        while count := fill(stream, piece):
            data = piece[:count]
            if copy:
                copy.write(data)
            if done == 0 and (begin := header_size(data)) is not None:
                header, data = bytes(data[:begin]), data[begin:]
                head, match = data_sum(header), DATASUM.search(header)
                stated = int(match[1]) if match else None
                sample = Sample(header)
            if sample:
                total = fold(total + data_sum(data))
                sample.add(data)
            done += count
    if sample is None:
        return Sums(done, None, None, None)
    return Sums(done, head, total, stated, sample.measures())


class Sample:
    """Pixels at equal distances in a frame, taken from its bytes as they come.

    An odd distance samples all columns of a frame, whose width is a power of two or even.
    """

    def __init__(self, header: bytes):
        size = SIZE.search(header)
        self.count = int(size[1]) * int(size[2]) if size else 0
        self.stride = self.count // SAMPLED | 1
        self.seen = 0
        self.parts: list[np.ndarray] = []

    def add(self, data: memoryview) -> None:
        """Sample the bytes that follow; those behind the pixels are left out."""
        pixels = np.frombuffer(data[: len(data) // 2 * 2], ">i2")[: self.count - self.seen]
        self.parts.append(pixels[-self.seen % self.stride :: self.stride].astype(np.int16))
        self.seen += len(pixels)

    def measures(self) -> Measures | None:
        """Return statistics of the pixels; None unless all of them have come."""
        if not 0 < self.count == self.seen:
            return None
        pixels = np.concatenate(self.parts)
        pixels.sort()
        # The middle, one sigma of a normal distribution on either side, and 1 % at either end.
        shares = np.array([0.5, 0.1587, 0.8413, 0.01, 0.99])
        median, low, high, p1, p99 = (
            pixels[(shares * (len(pixels) - 1)).astype(int)] + float(ZERO)
        ).tolist()
        saturated = len(pixels) - int(np.searchsorted(pixels, TOP - ZERO))
        return Measures(median, (high - low) / 2, p1, p99, saturated / len(pixels))


def fill(stream: Handle, buffer: memoryview) -> int:
    """Read until a buffer is full or the stream ends; return the bytes read."""
    filled = 0
    while filled < len(buffer) and (count := stream.readinto(buffer[filled:])):
        filled += count
    return filled


def sums_of(path: Path) -> Sums:
    """Return the sums of a file that was copied before."""
    with open(path, "rb", buffering=0) as stream:
        return copy_stream(stream, None)


def is_copied(copy: Path, state: FileState) -> bool:
    """Return whether a frame in this state was copied before."""
    try:
        stat = copy.stat()
    except OSError:
        return False
    return FileState(stat.st_size, stat.st_mtime_ns) == state
