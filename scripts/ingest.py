"""Copy a night from the source: verified, resumable, several frames at a time.

Every frame is read once; its sums are made of the very bytes that are written. A frame that
changes while it is read is tried again, and reported if it does not become stable. A copy has
the time of its frame, so what an earlier run copied is known and not copied again.
"""

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.lib.files.durable import WholeFiles, remove_parts, sync, write_text
from scripts.lib.files.errors import JobFailed
from scripts.lib.files.log import logger, start_log
from scripts.lib.fits.hdu import LARGEST_HEADER, padded
from scripts.lib.ledger.faults import BadFrame, Fault, Reason
from scripts.lib.ledger.ledger import Ledger, ledger_path
from scripts.lib.ledger.outlook import OPEN, latest, listing_digest
from scripts.lib.ledger.records import DELIVERY, NOT_COPIED, Entry, Frame, Status
from scripts.lib.nights.cameras import of_night
from scripts.lib.settings.records import Configuration
from scripts.lib.sources.copying import copy_frame, is_copied, sums_of
from scripts.lib.sources.opening import open_source
from scripts.lib.sources.source import Source

if TYPE_CHECKING:
    from scripts.lib.files.log import snakemake

# Copies that wait for the disk together, of all threads: each is an open file meanwhile.
TOGETHER = 64


def copy_night(
    source: Source, night: str, raw: Path, ledger: Ledger, settings: Configuration
) -> None:
    """Copy what is missing or changed to ``raw``, and record what is known of each frame.

    Raises `TryLater` if the source cannot be read, `JobFailed` if there is too little space.
    """
    listed, camera = source.entries(night), of_night(settings, night).camera
    largest = LARGEST_HEADER + padded(2 * camera.naxis1 * camera.naxis2)
    entries = {}
    for entry in listed:
        if not entry.fault and entry.state.bytes > largest:
            detail = f"{entry.state.bytes} bytes, at most {largest}"
            entry = entry._replace(fault=Fault(Reason.TOO_LARGE, detail))
        entries[entry.name] = entry
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
    link = settings.ingest == "link"
    if link and "://" in settings.source:
        raise JobFailed(f"ingest: link needs a folder, the source is {source.name}: set copy")
    check_space(raw, wanted, link)

    def ingest(entry: Entry, files: WholeFiles | None = None) -> Frame:
        return ingested(known[entry.name], entry, source, raw, settings.settle, link, files)

    def ingest_some(some: Sequence[Entry]) -> list[Frame]:
        with WholeFiles() as files:
            frames = [ingest(entry, files) for entry in some]
        # What the disk refused is tried again by itself.
        return [
            ingest(entry) if raw / entry.name in files.failed else frame
            for entry, frame in zip(some, frames, strict=True)
        ]

    size = max(1, min(TOGETHER, len(wanted)) // settings.streams)
    parts = [wanted[i : i + size] for i in range(0, len(wanted), size)]
    with ThreadPoolExecutor(settings.streams) as pool:
        frames = [frame for some in pool.map(ingest_some, parts) for frame in some]
    for folder in folders:
        # Once for all frames: it costs as much as a frame does.
        if folder.exists():
            sync(folder)
    for entry in entries.values():
        if entry.fault and known[entry.name].status not in DELIVERY:
            frames.append(held(known[entry.name], entry, entry.fault))
    for name, frame in known.items():
        missing = name not in entries and frame.status in OPEN
        if missing and not is_copied(raw / name, frame.source):
            gone = replace(frame, source=NOT_COPIED, fault=Fault(Reason.GONE), sequence="")
            frames.append(replace(gone, status=Status.HELD))
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


def ingested(
    frame: Frame,
    entry: Entry,
    source: Source,
    raw: Path,
    wait: float,
    link: bool,
    files: WholeFiles | None,
) -> Frame:
    """Return what is known of a frame once it is in ``raw``; copy or link it if it is not there."""
    copied = is_copied(raw / entry.name, entry.state)
    if copied and frame.source == entry.state and frame.datasum is not None:
        return frame
    state = entry.state
    try:
        if copied:
            sums = sums_of(raw / entry.name)
        else:
            state, sums = copy_frame(source, frame.night, entry.name, raw, wait, link, files)
    except BadFrame as error:
        # With the state in which it was tried: once it has changed, it is tried again.
        found = held(frame, entry, error.fault)
    else:
        found = Frame(
            frame.night,
            frame.file,
            frame.version,
            source=state,
            datasum=sums.data,
            header_sum=sums.header,
            status=Status.COPIED,
            measures=sums.measures,
        )
    if frame.status in DELIVERY:
        if found.status is not Status.COPIED:
            return frame
        if found.datasum == frame.datasum or frame.datasum is None:
            # The same pixels with another time; or delivered by an earlier version.
            return replace(frame, source=found.source, header_sum=found.header_sum)
        return replace(found, version=frame.version + 1)
    same = (found.source, found.datasum) == (frame.source, frame.datasum)
    return frame if same and frame.status in (Status.HELD, Status.ASSIGNED) else found


def held(frame: Frame, entry: Entry, fault: Fault) -> Frame:
    """Return the record of a frame that cannot be copied in the state of an entry."""
    source, status = entry.state, Status.HELD
    return Frame(frame.night, frame.file, frame.version, source, status=status, fault=fault)


def check_space(raw: Path, entries: list[Entry], link: bool) -> None:
    """Raise `JobFailed` unless frames that are not in ``raw``, and products as large, fit there.

    Of frames that are linked only the products need space.

    A disk that a copy has filled leaves no room for logs either, nor for other nights.
    """
    missing = [e.state.bytes for e in entries if not is_copied(raw / e.name, e.state)]
    needed, free = (2 - link) * sum(missing) / 1e9, shutil.disk_usage(raw).free / 1e9
    if needed > free:
        raise JobFailed(
            f"{raw} has {free:.3g} GB of free space; {len(missing)} frames to copy and their "
            f"products need {needed:.3g} GB. Make room; the next run continues"
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
