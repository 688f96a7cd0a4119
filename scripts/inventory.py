"""Read every header of a night once: each frame gets its sequence and product, or its fault.

What is delivered, or may have been, keeps its product. Frames that came since make a further part
of their sequence, so nothing is delivered twice.
"""

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scripts.lib.delivery.publish import settle
from scripts.lib.files.log import logger, start_log
from scripts.lib.frames import names
from scripts.lib.frames.frame import (
    Facts,
    check_bytes,
    check_checksum,
    check_contrast,
    open_header,
    pixel_sum,
)
from scripts.lib.frames.judgement import judgement
from scripts.lib.frames.programmes import check_delivered
from scripts.lib.headers.keywords import compose
from scripts.lib.headers.observatory import Observatory, exposure_of, open_observatory
from scripts.lib.ledger.faults import BadFrame, Fault, Reason
from scripts.lib.ledger.ledger import Ledger, ledger_path
from scripts.lib.ledger.outlook import is_fixed, is_judged_again, latest, too_many_held
from scripts.lib.ledger.records import DELIVERY, DONE, Frame, Night, Product, Status
from scripts.lib.ledger.snapshot import (
    digest,
    good,
    held,
    sequences,
    snapshot_bytes,
    write_snapshot,
)
from scripts.lib.settings.records import Configuration

if TYPE_CHECKING:
    from scripts.lib.files.job import snakemake


NOT_AGAIN = "not delivered again: raw frames of it are gone"


class BadNight(RuntimeError):
    """So many frames are held back that the night is bad, not a frame."""


class Judged(NamedTuple):
    """A good frame that is not delivered yet, and what its header says."""

    frame: Frame
    facts: Facts


def take_inventory(
    raw: Path,
    frames: list[Frame],
    products: list[Product],
    night: Night,
    observatory: Observatory,
    cubes: bool,
    judged: str,
) -> list[Frame]:
    """Return the frames of a night whose record changes.

    Parameters
    ----------
    frames : list of Frame
        All that were ever seen.
    products : list of Product
        That were delivered.
    cubes : bool
        Whether a product is a cube of a sequence, or each frame.
    judged : str
        Digest of what frames are judged by.
    """
    known = {frame.key: frame for frame in frames}
    fixed = [frame for frame in frames if is_fixed(frame, night)]
    delivered = {frame.file: frame for frame in fixed}
    newest = latest(frames)
    found, bad = [], []
    for frame in frames:
        if not is_judged_again(frame, night, judged):
            continue
        if frame.status is Status.HELD and not (raw / frame.file).exists():
            continue  # gone from the source since; what was said of it stands
        try:
            if newest[frame.file].version > frame.version:
                raise BadFrame(Reason.CHANGED, "as it is now it is delivered instead")
            found.append(examine(raw, frame, delivered.get(frame.file), observatory))
        except BadFrame as error:
            bad.append(held_back(frame, error.fault))
    chosen, duplicates = without_duplicates(found, fixed, raw)
    taken = {frame.sequence for frame in fixed}
    if cubes:
        taken |= {names.sequence_of(p.name) for p in products if p.delivery >= night.redeliver}
    named = name_sequences(chosen, known, taken, observatory)
    result = bad + duplicates
    for sequence in dict.fromkeys(named.values()):
        members = [one for one in chosen if named[one.frame.key] == sequence]
        start = members[0].facts.date_obs
        cube = names.cube_name(observatory.telescope.number, start, sequence)
        for one in members:
            product = cube if cubes else one.frame.eso_name
            result.append(replace(one.frame, sequence=sequence, product=product))
    return [frame for frame in result if frame != known[frame.key]]


def examine(raw: Path, frame: Frame, delivered: Frame | None, observatory: Observatory) -> Judged:
    """Return a frame with what it says of itself.

    Parameters
    ----------
    delivered : Frame or None
        What was delivered of a file of this name.

    Raises
    ------
    BadFrame
        For every reason not to deliver it, among them that its header could not be finished.
    """
    if delivered:
        raise BadFrame(Reason.CHANGED, f"in {delivered.product} under this name")
    path = raw / frame.file
    header, data_start = open_header(path)
    check_bytes(header, data_start, frame)
    check_contrast(path, header, data_start, frame.datasum)
    exposure = exposure_of(frame.file, header, data_start, observatory)
    compose(exposure, observatory.keywords)
    # Last, because any other fault says more.
    check_checksum(header, frame)
    facts = exposure.facts
    described = replace(
        frame,
        status=Status.ASSIGNED,
        fault=None,
        pixel_sum=pixel_sum(path, header, data_start, frame.datasum),
        kind=facts.kind.name,
        object=facts.object,
        filter=facts.filter,
        exptime=facts.exptime,
        date_obs=facts.date_obs,
        data_start=data_start,
        naxis1=facts.setting.naxis1,
        naxis2=facts.setting.naxis2,
        eso_name=names.frame_name(observatory.telescope.number, facts.date_obs),
        programme=exposure.programme.id,
    )
    return Judged(described, facts)


def held_back(frame: Frame, fault: Fault) -> Frame:
    """Return the record of a frame that may not be delivered."""
    logger.warning("%s: held back: %s", frame.file, fault)
    return Frame(
        frame.night,
        frame.file,
        frame.version,
        frame.source,
        frame.datasum,
        frame.header_sum,
        status=Status.HELD,
        fault=fault,
    )


def without_duplicates(
    found: list[Judged], fixed: list[Frame], raw: Path
) -> tuple[list[Judged], list[Frame]]:
    """Return the frames that no earlier one makes superfluous, in time order, and the others.

    An earlier frame is one that was delivered, that began before, or whose file name comes first.
    """
    seen: dict[int | str, Frame] = {}
    for frame in fixed:
        seen |= {frame.pixels: frame, frame.eso_name: frame}
    chosen, duplicates = [], []
    for one in sorted(found, key=lambda one: (one.facts.date_obs, one.frame.file)):
        if fault := duplicate(one.frame, seen, raw):
            duplicates.append(held_back(one.frame, fault))
        else:
            chosen.append(one)
            seen |= {one.frame.pixels: one.frame, one.frame.eso_name: one.frame}
    return chosen, duplicates


def duplicate(frame: Frame, seen: dict[int | str, Frame], raw: Path) -> Fault | None:
    """Return why a frame is superfluous: an earlier one has its pixels or its name; or None."""
    other = seen.get(frame.pixels)
    if other and same_pixels(frame, other, raw):
        return Fault(Reason.DUPLICATE, f"the same pixels as {other.file}")
    if other := seen.get(frame.eso_name):
        detail = f"{other.file} has the same millisecond, both would be {frame.eso_name}"
        return Fault(Reason.NAME_CLASH, detail)
    return None


def same_pixels(frame: Frame, other: Frame, raw: Path) -> bool:
    """Tell whether two frames of equal sums hold the same pixels.

    One that was delivered and is no longer here cannot be compared: its sum and size must do.
    """
    if frame.shape != other.shape:
        return False
    paths = [raw / frame.file, raw / other.file]
    if not all(path.exists() for path in paths):
        return True
    pixels = [
        path.read_bytes()[f.data_start : f.data_start + f.pixel_bytes]
        for path, f in zip(paths, (frame, other), strict=True)
    ]
    return pixels[0] == pixels[1]


def name_sequences(
    chosen: list[Judged],
    known: dict[tuple[str, int], Frame],
    taken: set[str],
    observatory: Observatory,
) -> dict[tuple[str, int], str]:
    """Return the sequence of each frame, by its key.

    Frames are of one sequence if they agree in kind, target, filter, exposure time and read-out.
    A frame that is delivered again, and says of itself what it said before, keeps its sequence.

    Parameters
    ----------
    chosen : list of Judged
        Good frames, earliest first.
    known : dict of Frame
        What was known of each so far.
    taken : set of str
        Sequences that were delivered: frames that come later make a further part.
    """
    owners: dict[str, tuple] = {}
    found = {}
    kept = {
        one.frame.key: earlier.sequence
        for one in chosen
        if (earlier := known[one.frame.key]).status in DONE and is_alike(earlier, one.frame)
    }
    taken = taken | set(kept.values())
    for frame, facts in chosen:
        identity = (facts.kind.name, facts.object, facts.filter, facts.exptime, facts.setting)
        plain = names.sequence_name(facts, observatory.camera)
        mine = owners.setdefault(plain, identity) == identity
        mark = "" if mine else names.clash_mark(identity)
        part = 1
        while (name := names.fitting(plain, mark + names.part_mark(part))) in taken:
            part += 1
        found[frame.key] = kept.get(frame.key, name)
    return found


def is_alike(one: Frame, other: Frame) -> bool:
    """Tell whether two records of a frame say that it is of the same sequence."""
    return (one.kind, one.object, one.filter, one.exptime, one.shape) == (
        *(other.kind, other.object, other.filter, other.exptime, other.shape),
    )


def cannot_be_made_again(raw: Path, frames: list[Frame], night: Night) -> set[str]:
    """Return the products that are to be delivered again and of which a raw frame is gone."""
    again = [f for f in frames if f.status in DONE and f.delivery < night.redeliver]
    return {frame.product for frame in again if not (raw / frame.file).exists()}


def leave_out(ledger: Ledger, lost: set[str], frames: list[Frame], night: Night) -> None:
    """Write down that products will not be delivered again, and say so with each of them."""
    for name in sorted(lost):
        logger.error("%s: %s", name, NOT_AGAIN)
    products = [p for p in ledger.products(night.night) if p.name in lost]
    with ledger.transaction():
        ledger.enter(
            replace(p, verdict=f"{p.verdict}; {NOT_AGAIN}", delivery=night.redeliver)
            for p in products
        )
        ledger.record(replace(f, delivery=night.redeliver) for f in frames if f.product in lost)


def remove_derived(folder: Path, waiting: Iterable[str]) -> None:
    """Remove what was made from an earlier table and is to be made from this one.

    A run that is killed after this job would otherwise take it for up to date, by its time.

    Parameters
    ----------
    waiting : iterable of str
        Sequences that are to be delivered.
    """
    shutil.rmtree(folder / "headers", ignore_errors=True)
    for sequence in waiting:
        (folder / "solved" / f"{sequence}.fits").unlink(missing_ok=True)


def main() -> None:
    """Run the job."""
    start_log(snakemake.log[0])
    table, raw = Path(snakemake.output.frames), Path(snakemake.output.frames).parent / "raw"
    settings = Configuration.of(snakemake.config)
    programme, named = snakemake.params.programme, snakemake.params.named
    name = snakemake.wildcards.night
    judged = judgement(name, settings, programme, named)
    tables = {key: str(path) for key, path in snakemake.input.items()}
    observatory = open_observatory(name, settings, tables, programme, named)
    with Ledger(ledger_path(Path())) as ledger:
        night = ledger.night(name)
        if night.redeliver:
            settle(ledger, Path(settings.archive), name)
        frames = ledger.frames(name)
        if lost := cannot_be_made_again(raw, frames, night):
            leave_out(ledger, lost, frames, night)
            frames = ledger.frames(name)
        delivered = [f for f in frames if f.status in DELIVERY and is_fixed(f, night)]
        check_delivered(delivered, observatory.assigned, observatory.programme.id)
        cubes = settings.products == "cubes"
        products = ledger.products(name)
        changed = take_inventory(raw, frames, products, night, observatory, cubes, judged)
        frames = list(({f.key: f for f in frames} | {f.key: f for f in changed}).values())
        frames.sort(key=lambda frame: frame.key)
        counts = map(len, (frames, good(frames), held(frames)))
        logger.info("%d frames: %d good, %d held back", *counts)
        if reason := too_many_held(frames, settings.max_held):
            ledger.note_night(name, refused=judged)
            raise BadNight(reason)
        with ledger.transaction():
            ledger.record(changed)
            ledger.set_night(name, judged=judged, refused="", reported=0)
            ledger.set_night(name, programme=programme, named=named)
            ledger.set_night(name, snapshot=digest(snapshot_bytes(frames)))
    if waiting := [frame for frame in frames if frame.status is Status.ASSIGNED]:
        remove_derived(table.parent, sequences(waiting))
    write_snapshot(table, frames)


if __name__ == "__main__":
    main()
