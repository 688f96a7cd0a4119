"""Copy a night from the source: verified, resumable, several frames at a time.

Every frame is read once; its sums are made of the very bytes that are written. A frame that
changes while it is read is tried again, and reported if it does not come to rest. A copy bears
the time of its frame, so what an earlier run copied is known and not copied again.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.lib.files.durable import remove_parts, sync_folder, write_text
from scripts.lib.files.log import logger, start_log
from scripts.lib.files.space import GIGABYTE, free_gb
from scripts.lib.fits.hdu import LARGEST_HEADER, padded
from scripts.lib.ledger.faults import BadFrame, Fault, Reason
from scripts.lib.ledger.ledger import Ledger, ledger_path
from scripts.lib.ledger.outlook import OPEN, latest, listing_digest
from scripts.lib.ledger.records import (
    DELIVERY,
    NOT_COPIED,
    Entry,
    FileState,
    Frame,
    Status,
)
from scripts.lib.settings.records import Camera, Configuration
from scripts.lib.sources.copying import copy_again, is_copied, sums_of
from scripts.lib.sources.opening import open_source
from scripts.lib.sources.source import Source

if TYPE_CHECKING:
    from scripts.lib.files.job import snakemake


class NoSpace(RuntimeError):
    """The night does not fit on the disk; the message says how much is missing."""


def copy_night(
    source: Source, night: str, raw: Path, ledger: Ledger, settings: Configuration
) -> None:
    """Copy what is missing or changed, and write down what is known of each frame.

    Parameters
    ----------
    raw : Path
        The folder that gets the frames.

    Raises
    ------
    SourceError
        If the source cannot be read.
    NoSpace
        If what is missing does not fit on the disk.
    """
    listed = source.list(night)
    entries = {entry.name: judged(entry, settings.camera) for entry in listed}
    known = latest(ledger.frames(night))
    # What is seen now is known from now on, whatever becomes of this job.
    new = [Frame(night, name) for name in entries if name not in known]
    with ledger.transaction():
        ledger.set_night(night)
        ledger.record(new)
    known |= {frame.file: frame for frame in new}
    raw.mkdir(parents=True, exist_ok=True)
    wanted = [entry for entry in entries.values() if entry.fault is None]
    folders = {raw, *((raw / entry.name).parent for entry in wanted)}
    for folder in folders:
        remove_parts(folder)
    missing = [entry.state for entry in wanted if not is_copied(raw / entry.name, entry.state)]
    check_space(raw, missing)

    def ingest(entry: Entry) -> Frame:
        return ingested(known[entry.name], entry, raw, copy=copied)

    def copied(entry: Entry) -> Frame:
        return copy_of(source, night, entry, raw, settings.settle)

    with ThreadPoolExecutor(settings.streams) as pool:
        frames = list(pool.map(ingest, wanted))
    for folder in folders:
        # Once for all frames: it costs as much as a frame does.
        if folder.exists():
            sync_folder(folder)
    frames += [refused(known[e.name], e.state, e.fault) for e in entries.values() if e.fault]
    frames += [gone(f) for name, f in known.items() if name not in entries and is_lost(f, raw)]
    failed = sum(frame.status is Status.HELD for frame in frames)
    logger.info("%d entries at the source, %d of them held back here", len(entries), failed)
    changed = [frame for frame in frames if frame != known[frame.file]]
    with ledger.transaction():
        ledger.record(changed)
        ledger.set_night(
            night, listing=listing_digest(listed), retried=str(datetime.now(UTC).date())
        )
        if changed:
            ledger.set_night(night, reported=0)


def judged(entry: Entry, camera: Camera) -> Entry:
    """Return an entry, with a fault if no frame of the camera is as large."""
    largest = LARGEST_HEADER + padded(2 * camera.naxis1 * camera.naxis2)
    if entry.fault or entry.state.bytes <= largest:
        return entry
    detail = f"{entry.state.bytes} bytes, at most {largest}"
    return replace(entry, fault=Fault(Reason.TOO_LARGE, detail))


def ingested(frame: Frame, entry: Entry, raw: Path, copy: Callable[[Entry], Frame]) -> Frame:
    """Return what is known of a frame once it is in ``raw``.

    Parameters
    ----------
    copy : callable
        Copies the frame of an entry.
    """
    there = is_copied(raw / entry.name, entry.state)
    if there and frame.source == entry.state and frame.datasum is not None:
        return frame
    if there:
        sums = sums_of(raw / entry.name)
        found = Frame(
            frame.night,
            frame.file,
            source=entry.state,
            datasum=sums.data,
            header_sum=sums.header,
            status=Status.COPIED,
            measures=sums.measures,
        )
    else:
        found = copy(entry)
    if frame.status in DELIVERY:
        if found.status is not Status.COPIED:
            return frame
        if found.datasum == frame.datasum or frame.datasum is None:
            # The same pixels with another time; or delivered by an earlier version.
            return replace(frame, source=found.source, header_sum=found.header_sum)
        return replace(found, version=frame.version + 1)
    same = (found.source, found.datasum) == (frame.source, frame.datasum)
    if same and frame.status in (Status.HELD, Status.ASSIGNED):
        return frame
    return replace(found, version=frame.version)


def copy_of(source: Source, night: str, entry: Entry, raw: Path, wait: float) -> Frame:
    """Copy one frame and return what is known of it then."""
    try:
        copied = copy_again(source, night, entry.name, raw, wait)
    except BadFrame as error:
        # With the state in which it was tried: once it has changed, it is tried again.
        state, fault = entry.state, error.fault
        return Frame(night, entry.name, source=state, status=Status.HELD, fault=fault)
    return Frame(
        night,
        entry.name,
        source=copied.state,
        datasum=copied.sums.data,
        header_sum=copied.sums.header,
        status=Status.COPIED,
        measures=copied.sums.measures,
    )


def refused(frame: Frame, state: FileState, fault: Fault | None) -> Frame:
    """Return the record of something at the source that cannot be a frame."""
    if frame.status in DELIVERY:
        return frame
    return Frame(
        frame.night, frame.file, frame.version, source=state, status=Status.HELD, fault=fault
    )


def is_lost(frame: Frame, raw: Path) -> bool:
    """Tell whether a frame that the source no longer has is to be delivered and not here."""
    return frame.status in OPEN and not is_copied(raw / frame.file, frame.source)


def gone(frame: Frame) -> Frame:
    """Return the record of a frame that was lost."""
    return replace(
        frame, source=NOT_COPIED, status=Status.HELD, fault=Fault(Reason.GONE), sequence=""
    )


def check_space(raw: Path, missing: list[FileState]) -> None:
    """Raise `NoSpace` unless the missing frames fit on the disk, and products as large as they.

    A disk that a copy has filled leaves no room for logs either, nor for other nights.
    """
    wanted, free = 2 * sum(state.bytes for state in missing) / GIGABYTE, free_gb(raw)
    if wanted > free:
        raise NoSpace(
            f"{raw} has {free:.3g} GB of free space; {len(missing)} frames to copy and their "
            f"products need {wanted:.3g} GB. Make room; the next run continues"
        )


def main() -> None:
    """Run the job."""
    start_log(snakemake.log[0])
    marker, night = Path(snakemake.output.marker), snakemake.wildcards.night
    settings = Configuration.of(snakemake.config)
    with Ledger(ledger_path(Path())) as ledger:
        source = open_source(settings.source, settings.source_mounted)
        copy_night(source, night, marker.parent, ledger, settings)
    write_text(marker, "every frame of the source's listing has been copied\n")


if __name__ == "__main__":
    main()
