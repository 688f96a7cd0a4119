"""Copy a night from the source: verified, resumable, several frames at a time.

Every frame is read once; its DATASUM is made of the very bytes that are written. A frame that
changes while it is read is tried again, and reported if it does not come to rest. A copy bears
the time of its frame, so what an earlier run copied is known and not copied again.
"""

import os
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from scripts.lib.files.durable import remove_parts, sync_folder, whole_file, write_text
from scripts.lib.files.log import logger, start_log
from scripts.lib.files.space import GIGABYTE, free_gb
from scripts.lib.fits.cards import header_size, padded
from scripts.lib.fits.checksum import data_sum
from scripts.lib.fits.sums import add_at
from scripts.lib.nights import ingested
from scripts.lib.sources.opening import open_source
from scripts.lib.sources.source import SourceError, State

# Whole FITS blocks, so that no piece cuts a word of the sum; large enough for a whole frame.
PIECE = 2880 * 4096
ATTEMPTS = 3
STILL_WRITTEN = "still being written at the source"
WRONG_SUM = "the data do not have the DATASUM that the header states"
DATASUM = re.compile(rb"DATASUM = ' *(\d+) *'")


class NoSpace(RuntimeError):
    """The night does not fit on the disk; the message says how much is missing."""


class Unsettled(OSError):
    """The frame changed while it was copied."""


def copy_night(
    source, night: str, raw: Path, known: list[dict], streams: int, settle: float
) -> list[dict]:
    """Copy what is missing or changed; return a row per frame that the night ever had.

    Parameters
    ----------
    source : source
        See `scripts.lib.sources`.
    raw : Path
        The folder that gets the frames.
    known : list of dict
        Rows of an earlier ingest of this night: frames gone from the source stay on record.
    streams : int
        Frames copied at a time.
    settle : float
        Seconds between attempts at a frame that is still changing.

    Raises
    ------
    SourceError
        If the source cannot be read.
    NoSpace
        If what is missing does not fit on the disk.
    """
    listing = source.list(night)
    raw.mkdir(parents=True, exist_ok=True)
    remove_parts(raw)
    rows = {row["file"]: row for row in known}
    there = {name for name in listing if is_copied(raw / name, listing[name])}
    check_space(raw, [state for name, state in listing.items() if name not in there])

    def ingest(name: str) -> dict:
        copy = raw / name
        if name in there:
            row = rows.get(name)
            if row and ingested.state_of(row) == listing[name]:
                return row
            return ingested.row(name, listing[name], sum_of(copy))
        return ingest_frame(source, night, name, raw, settle)

    with ThreadPoolExecutor(streams) as pool:
        rows.update((row["file"], row) for row in pool.map(ingest, listing))
    # Once for all frames: it costs as much as a frame does.
    sync_folder(raw)
    failed = sum(rows[name]["status"] == "failed" for name in listing)
    logger.info("%d frames at the source, %d of them could not be copied", len(listing), failed)
    return sorted(rows.values(), key=lambda row: row["file"])


def is_copied(copy: Path, state: State) -> bool:
    """Tell whether a frame in this state was copied before."""
    return copy.is_file() and state_of(copy) == state


def check_space(raw: Path, missing: list[State]) -> None:
    """Raise `NoSpace` unless the missing frames fit on the disk, and products as large as they.

    A disk that a copy has filled leaves no room for logs either, nor for other nights.
    """
    wanted, free = 2 * sum(state.bytes for state in missing) / GIGABYTE, free_gb(raw)
    if wanted > free:
        raise NoSpace(
            f"{raw} has {free:.3g} GB of free space; {len(missing)} frames to copy and their "
            f"products need {wanted:.3g} GB. Make room; the next run continues"
        )


def state_of(path: Path) -> State:
    """Return the state of a copy."""
    stat = path.stat()
    return State(stat.st_size, stat.st_mtime_ns)


def ingest_frame(source, night: str, name: str, raw: Path, settle: float) -> dict:
    """Copy one frame and return its row.

    A frame that changes, cannot be read, or does not have the DATASUM that it states is read
    again. A wrong sum that was read twice is the frame's own: it is kept, for the inventory to
    hold back.

    Raises
    ------
    SourceError
        If the source itself has become unreachable.
    """
    earlier, reasons = None, []
    for attempt in range(1, ATTEMPTS + 1):
        try:
            copied = copy_frame(source, night, name, raw / name)
            if copied.datasum == copied.stated or copied == earlier:
                return ingested.row(name, copied.state, copied.datasum)
            changed = earlier is not None and copied.state != earlier.state
            earlier = copied
            reasons.append(STILL_WRITTEN if changed else WRONG_SUM)
        except SourceError:
            raise
        except OSError as error:
            source.check()
            reasons.append(str(error))
        logger.warning("%s: attempt %d: %s", name, attempt, reasons[-1])
        if attempt < ATTEMPTS:
            time.sleep(settle)
    (raw / name).unlink(missing_ok=True)
    reason = STILL_WRITTEN if STILL_WRITTEN in reasons else reasons[-1]
    return ingested.row(name, ingested.NO_STATE, None, reason)


class Copied(NamedTuple):
    """What is known of a copy: state of the frame, sum of its data, and the sum it states."""

    state: State
    datasum: int | None
    stated: int | None


def copy_frame(source, night: str, name: str, target: Path) -> Copied:
    """Copy one frame to ``target``, which bears its name only when whole.

    Raises
    ------
    Unsettled
        If its size or time changed while it was read.
    OSError
        If it cannot be read or written.
    """
    before = source.state(night, name)
    with source.open(night, name) as stream, whole_file(target, lasting=False) as copy:
        written, total, stated = copy_stream(stream, copy, before.bytes)
        if source.state(night, name) != before or written != before.bytes:
            raise Unsettled(STILL_WRITTEN)
        copy.flush()
        os.utime(copy.fileno(), ns=(before.mtime_ns, before.mtime_ns))
    return Copied(before, total, total if stated is None else stated)


def copy_stream(stream, copy, size: int) -> tuple[int, int | None, int | None]:
    """Copy bytes; return how many, the sum of those behind the first header, and the stated one.

    Parameters
    ----------
    copy : binary file or None
        None to sum only.
    size : int
        Bytes that are expected, so that one piece holds a frame of usual size.
    """
    piece = bytearray(min(PIECE, padded(max(size, 1))))
    done, total, begin, stated = 0, None, None, None
    while count := fill(stream, piece):
        view = memoryview(piece)[:count]
        if copy:
            copy.write(view)
        if done == 0:
            begin = header_size(view)
            stated = None if begin is None else stated_sum(bytes(view[:begin]))
        if begin is not None:
            data = view[max(begin - done, 0) :]
            total = add_at(total or 0, data_sum(data), max(done - begin, 0))
        done += count
    return done, total, stated


def stated_sum(header: bytes) -> int | None:
    """Return the value of the DATASUM card; None if there is none that can be read."""
    match = DATASUM.search(header)
    return int(match[1]) if match else None


def fill(stream, buffer: bytearray) -> int:
    """Read until a buffer is full or the stream ends; return the bytes read."""
    view = memoryview(buffer)
    filled = 0
    while filled < len(buffer) and (count := stream.readinto(view[filled:])):
        filled += count
    return filled


def sum_of(path: Path) -> int | None:
    """Return the sum of the data of a file that was copied before."""
    with open(path, "rb", buffering=0) as stream:
        return copy_stream(stream, None, path.stat().st_size)[1]


if __name__ == "__main__":
    start_log(snakemake.log[0])
    marker = Path(snakemake.output.marker)
    table = Path(snakemake.output.table)
    rows = copy_night(
        open_source(snakemake.config["source"], snakemake.config["source_mounted"]),
        snakemake.wildcards.night,
        marker.parent,
        ingested.read(table),
        snakemake.config["streams"],
        snakemake.config["settle"],
    )
    ingested.write(table, rows)
    write_text(marker, "every frame of the source's listing has been copied\n")
