"""Copies of frames: read once, summed from the very bytes that are written, whole or not there."""

import os
import re
import time
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from scripts.lib.files.durable import whole_file
from scripts.lib.files.log import logger
from scripts.lib.fits.checksum import add_at, data_sum
from scripts.lib.fits.hdu import header_size, padded
from scripts.lib.ledger.faults import BadFrame, Reason
from scripts.lib.ledger.records import FileState, Measures
from scripts.lib.sources.source import Handle, Source, SourceError

# Whole FITS blocks, so that no piece cuts a word of the sum; large enough for a whole frame.
PIECE = 2880 * 4096
ATTEMPTS = 3
STILL_WRITTEN = "still being written at the source"
WRONG_SUM = "the data do not have the DATASUM that the header states"
DATASUM = re.compile(rb"DATASUM = ' *(\d+) *'")
SIZE = re.compile(rb"NAXIS1  = +(\d+) .*?NAXIS2  = +(\d+) ", re.S)
SAMPLED = 4096  # pixels
ZERO, TOP = 32768, 65535  # ADU: BZERO of a raw frame, and the end of the converter's range


class Unstable(OSError):
    """The frame changed while it was copied."""


class Sums(NamedTuple):
    """Sums of a file's header and data, the DATASUM that it states, statistics of its pixels."""

    bytes: int
    header: int | None
    data: int | None
    stated: int | None
    measures: Measures | None = None


class Copied(NamedTuple):
    """What is known of a copy: state of the frame at the source, and its sums."""

    state: FileState
    sums: Sums


def copy_again(source: Source, night: str, name: str, raw: Path, wait: float) -> Copied:
    """Copy one frame, in several attempts.

    A frame that changes, cannot be read, or does not have the DATASUM that it states is read
    again. A wrong sum that was read twice is the frame's own: it is kept, for the inventory to
    hold back.

    Parameters
    ----------
    wait : float
        Seconds between attempts.

    Raises
    ------
    BadFrame
        If there is no copy that can be used.
    SourceError
        If the source itself has become unreachable.
    """
    earlier, reasons = None, []
    target = raw / name
    for attempt in range(1, ATTEMPTS + 1):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            copied = copy_frame(source, night, name, target)
            if copied.sums.stated in (None, copied.sums.data) or copied == earlier:
                return copied
            changed = earlier is not None and copied.state != earlier.state
            earlier = copied
            reasons.append(STILL_WRITTEN if changed else WRONG_SUM)
        except SourceError:
            raise
        except OSError as error:
            source.check()
            reasons.append(error.strerror or str(error))
        logger.warning("%s: attempt %d: %s", name, attempt, reasons[-1])
        if attempt < ATTEMPTS:
            time.sleep(wait)
    target.unlink(missing_ok=True)
    cause = STILL_WRITTEN if STILL_WRITTEN in reasons else reasons[-1]
    raise BadFrame(Reason.NOT_COPIED, cause)


def copy_frame(source: Source, night: str, name: str, target: Path) -> Copied:
    """Copy one frame to ``target``, which bears its name only when whole.

    Raises
    ------
    Unstable
        If its size or time changed while it was read.
    OSError
        If it cannot be read or written.
    """
    before = source.state(night, name)
    with source.open(night, name) as stream, whole_file(target, lasting=False) as copy:
        sums = copy_stream(stream, copy, before.bytes)
        if source.state(night, name) != before or sums.bytes != before.bytes:
            raise Unstable(STILL_WRITTEN)
        copy.flush()
        os.utime(copy.fileno(), ns=(before.mtime_ns, before.mtime_ns))
    return Copied(before, sums)


def copy_stream(stream: Handle, copy: BinaryIO | None, size: int) -> Sums:
    """Copy bytes and return their sums.

    Parameters
    ----------
    copy : binary file or None
        None to sum only.
    size : int
        Bytes that are expected, so that one piece holds a frame of usual size.
    """
    piece = bytearray(min(PIECE, padded(max(size, 1))))
    done, total, begin = 0, 0, None
    head, stated, measures = None, None, None
    while count := fill(stream, piece):
        view = memoryview(piece)[:count]
        if copy:
            copy.write(view)
        if done == 0 and (begin := header_size(view)) is not None:
            header = bytes(view[:begin])
            head, stated = data_sum(header), stated_sum(header)
            measures = measures_of(header, view[begin:])
        if begin is not None:
            data = view[max(begin - done, 0) :]
            total = add_at(total, data_sum(data), max(done - begin, 0))
        done += count
    return Sums(done, head, None if begin is None else total, stated, measures)


def measures_of(header: bytes, data: memoryview) -> Measures | None:
    """Return statistics of a frame's pixels; None unless all of them are in ``data``.

    An odd stride samples all columns of a frame, whose width is a power of two or even.
    """
    size = SIZE.search(header)
    count = int(size[1]) * int(size[2]) if size else 0
    if not 0 < 2 * count <= len(data):
        return None
    pixels = np.frombuffer(data, ">i2", count)[:: count // SAMPLED | 1].astype(np.int16)
    pixels.sort()
    # The middle, one sigma of a normal distribution on either side, and 1 % at either end.
    shares = np.array([0.5, 0.1587, 0.8413, 0.01, 0.99])
    median, low, high, p1, p99 = (
        pixels[(shares * (len(pixels) - 1)).astype(int)] + float(ZERO)
    ).tolist()
    saturated = len(pixels) - int(np.searchsorted(pixels, TOP - ZERO))
    return Measures(median, (high - low) / 2, p1, p99, saturated / len(pixels))


def stated_sum(header: bytes) -> int | None:
    """Return the value of the DATASUM card; None if there is none that can be read."""
    match = DATASUM.search(header)
    return int(match[1]) if match else None


def fill(stream: Handle, buffer: bytearray) -> int:
    """Read until a buffer is full or the stream ends; return the bytes read."""
    view = memoryview(buffer)
    filled = 0
    while filled < len(buffer) and (count := stream.readinto(view[filled:])):
        filled += count
    return filled


def sums_of(path: Path) -> Sums:
    """Return the sums of a file that was copied before."""
    with open(path, "rb", buffering=0) as stream:
        return copy_stream(stream, None, path.stat().st_size)


def is_copied(copy: Path, state: FileState) -> bool:
    """Tell whether a frame in this state was copied before."""
    try:
        stat = copy.stat()
    except OSError:
        return False
    return FileState(stat.st_size, stat.st_mtime_ns) == state
