"""Read every header of a night once: each frame gets its sequence and product, or its fault.

What is delivered, or may have been, keeps its product. Frames that came since make a further part
of their sequence, so nothing is delivered twice.
"""

import shutil
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scripts.lib.delivery.publish import publish_intents
from scripts.lib.files.durable import write_text
from scripts.lib.files.errors import JobFailed
from scripts.lib.files.log import logger, start_log
from scripts.lib.files.parallel import in_processes
from scripts.lib.frames import frame as raw_frame
from scripts.lib.frames import names
from scripts.lib.frames.corrections import corrected, corrected_keywords
from scripts.lib.frames.judgement import judgement
from scripts.lib.frames.programmes import check_delivered
from scripts.lib.headers.consistency import check_consistency, pointing_fault
from scripts.lib.headers.keywords import compose
from scripts.lib.headers.observatory import Observatory, load_exposure, open_observatory
from scripts.lib.ledger import snapshot
from scripts.lib.ledger.faults import BadFrame, Fault, Reason
from scripts.lib.ledger.ledger import Ledger, ledger_path
from scripts.lib.ledger.outlook import is_fixed, is_judged_again, latest, too_many_held
from scripts.lib.ledger.records import DELIVERY, DONE, Frame, Night, Product, Status
from scripts.lib.nights.cameras import of_night
from scripts.lib.settings.records import Configuration

if TYPE_CHECKING:
    from scripts.lib.files.log import snakemake

NOT_AGAIN = "not delivered again: raw frames of it are gone"


class Judged(NamedTuple):
    """A good frame that is not delivered yet, and what its header says."""

    frame: Frame
    facts: raw_frame.Facts
    pointing: Fault | None = None  # what contradicts its RA and DEC


def take_inventory(
    raw: Path,
    frames: list[Frame],
    products: list[Product],
    night: Night,
    observatory: Observatory,
    cubes: bool,
    judged: str,
    processes: int = 1,
) -> list[Frame]:
    """Return the frames of a night whose record changes, of all ``frames`` that were ever seen.

    ``products`` were delivered; ``judged`` is the digest of what frames are judged by.
    """
    known = {frame.key: frame for frame in frames}
    fixed = [frame for frame in frames if is_fixed(frame, night)]
    delivered = {frame.file: frame for frame in fixed}
    newest = latest(frames)

    def judge(frame: Frame) -> Judged | Frame:
        try:
            if newest[frame.file].version > frame.version:
                raise BadFrame(Reason.CHANGED, "as it is now it is delivered instead")
            if earlier := delivered.get(frame.file):
                raise BadFrame(Reason.CHANGED, f"in {earlier.product} under this name")
            return examine(raw, frame, observatory)
        except BadFrame as error:
            return held_back(frame, error.fault)

    again = [
        frame
        for frame in frames
        if is_judged_again(frame, night, judged)
        # Otherwise it is gone from the source since; what was said of it stands.
        and (frame.status is not Status.HELD or (raw / frame.file).exists())
    ]
    examined = in_processes(lambda part: list(map(judge, part)), again, processes)
    found = [one for one in examined if isinstance(one, Judged)]
    changed = [one for one in examined if isinstance(one, Frame)]
    found, mispointed = without_mispointed(found)
    changed += mispointed
    chosen, duplicates = without_duplicates(found, fixed, raw)
    taken = {frame.sequence for frame in fixed}
    if cubes:
        taken |= {names.sequence_of(p.name) for p in products if p.delivery >= night.redeliver}
    named = name_sequences(chosen, known, taken, observatory)
    starts: dict[str, Judged] = {}
    for one in chosen:
        sequence = named[one.frame.key]
        start = starts.setdefault(sequence, one).facts.date_obs
        cube = names.cube_name(observatory.telescope, start, sequence)
        product = cube if cubes else one.frame.eso_name
        changed.append(replace(one.frame, sequence=sequence, product=product))
    return [frame for frame in changed + duplicates if frame != known[frame.key]]


def examine(raw: Path, frame: Frame, observatory: Observatory) -> Judged:
    """Return a frame with what it says of itself.

    Raises `BadFrame` for every reason not to deliver it, among them that its header cannot be
    finished.
    """
    path = raw / frame.file
    header, data_start = raw_frame.open_header(path)
    header = corrected(header, frame.file, observatory.corrections)
    raw_frame.check_purpose(header)
    pixel_sum = raw_frame.check_file(path, header, data_start, frame)
    exposure = load_exposure(raw, frame.file, observatory, header)
    compose(exposure, observatory.keywords)
    decided = corrected_keywords(frame.file, observatory.corrections)
    check_consistency(exposure, decided)
    # Last, because any other fault says more.
    raw_frame.check_checksum(header, frame)
    facts = exposure.facts
    described = replace(
        frame,
        status=Status.ASSIGNED,
        fault=None,
        pixel_sum=pixel_sum,
        kind=facts.kind.name,
        object=facts.object,
        filter=facts.filter,
        exptime=facts.exptime,
        date_obs=facts.date_obs,
        data_start=data_start,
        naxis1=facts.setting.naxis1,
        naxis2=facts.setting.naxis2,
        eso_name=names.frame_name(observatory.telescope, facts.date_obs),
        programme=exposure.programme.id,
    )
    return Judged(described, facts, pointing_fault(exposure, decided))


def held_back(frame: Frame, fault: Fault) -> Frame:
    """Return the record of a frame that may not be delivered: only what is known of its copy."""
    logger.warning("%s: held back: %s", frame.file, fault)
    copied = frame.version, frame.source, frame.datasum, frame.header_sum
    return Frame(frame.night, frame.file, *copied, status=Status.HELD, fault=fault)


def without_mispointed(found: list[Judged]) -> tuple[list[Judged], list[Frame]]:
    """Return the frames whose pointing agrees with ALTITUDE and AZIMUTH, and the others.

    Where most of a night's science frames disagree, the mount does not report where it points, as
    that of Astra's simulation does not. Then none is held back for it.
    """
    wrong = [one for one in found if one.pointing]
    if 2 * len(wrong) > sum(one.frame.kind == "science" for one in found):
        logger.warning(
            "ALTITUDE and AZIMUTH of most science frames (%d) are not those of RA and DEC, which "
            "holds none of them back; the first: %s",
            len(wrong),
            wrong[0].pointing,
        )
        return found, []
    agreeing = [one for one in found if not one.pointing]
    return agreeing, [held_back(one.frame, one.pointing) for one in wrong if one.pointing]


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
        frame = one.frame
        other = seen.get(frame.pixels)
        if other and same_pixels(frame, other, raw):
            fault = Fault(Reason.DUPLICATE, f"the same pixels as {other.file}")
            duplicates.append(held_back(frame, fault))
        elif other := seen.get(frame.eso_name):
            detail = f"{other.file} has the same millisecond, both would be {frame.eso_name}"
            duplicates.append(held_back(frame, Fault(Reason.NAME_CLASH, detail)))
        else:
            chosen.append(one)
            seen |= {frame.pixels: frame, frame.eso_name: frame}
    return chosen, duplicates


def same_pixels(frame: Frame, other: Frame, raw: Path) -> bool:
    """Return whether two frames of equal sums hold the same pixels.

    One that was delivered and is no longer here cannot be compared: its sum and size must do.
    """
    if frame.shape != other.shape:
        return False
    if not all((raw / f.file).exists() for f in (frame, other)):
        return True
    one, two = ((raw / f.file).read_bytes()[f.data_start :] for f in (frame, other))
    return one[: frame.pixel_bytes] == two[: frame.pixel_bytes]


def name_sequences(
    chosen: list[Judged],
    known: dict[tuple[str, int], Frame],
    taken: set[str],
    observatory: Observatory,
) -> dict[tuple[str, int], str]:
    """Return the sequence of each frame, by its key.

    Frames are of one sequence if they agree in kind, target, filter, exposure time and read-out.
    A frame that is delivered again, and says of itself what was ``known`` before, keeps its
    sequence. Frames that came later than a delivered sequence (``taken``) are a further part.
    """

    def said(frame: Frame) -> tuple[object, ...]:
        return frame.kind, frame.object, frame.filter, frame.exptime, frame.shape

    kept = {
        one.frame.key: earlier.sequence
        for one in chosen
        if (earlier := known[one.frame.key]).status in DONE and said(earlier) == said(one.frame)
    }
    taken = taken | set(kept.values())
    owners: dict[str, tuple[object, ...]] = {}
    found = {}
    for frame, facts, _ in chosen:
        identity = (facts.kind.name, facts.object, facts.filter, facts.exptime, facts.setting)
        plain = names.sequence_name(facts, observatory.camera)
        mark, part = "", 1
        if owners.setdefault(plain, identity) != identity:
            # Another sequence has this name, because only letters and digits are in names.
            mark = f"_{zlib.crc32(repr(identity).encode()):08x}"
        name = names.fitting(observatory.telescope, plain, mark)
        while name in taken:
            part += 1
            name = names.fitting(observatory.telescope, plain, f"{mark}_part{part}")
        found[frame.key] = kept.get(frame.key, name)
    return found


def leave_out(ledger: Ledger, raw: Path, night: Night) -> None:
    """Write down the products that cannot be delivered again, as a raw frame of them is gone.

    Each says so in its verdict.
    """
    frames = ledger.frames(night.night)
    again = [f for f in frames if f.status in DONE and f.delivery < night.redeliver]
    lost = {frame.product for frame in again if not (raw / frame.file).exists()}
    for name in sorted(lost):
        logger.error("%s: %s", name, NOT_AGAIN)
    products = [p for p in ledger.products(night.night) if p.name in lost]
    with ledger.transaction():
        ledger.enter(
            replace(p, verdict=f"{p.verdict}; {NOT_AGAIN}", delivery=night.redeliver)
            for p in products
        )
        ledger.record(replace(f, delivery=night.redeliver) for f in frames if f.product in lost)


def main() -> None:
    """Run the job."""
    start_log(snakemake.log[0])
    table, raw = Path(snakemake.output.frames), Path(snakemake.output.frames).parent / "raw"
    settings = of_night(Configuration.of(snakemake.config), snakemake.wildcards.night)
    programme, named = snakemake.params.programme, snakemake.params.named
    name = snakemake.wildcards.night
    judged = judgement(name, settings, programme, named)
    tables = {key: str(path) for key, path in snakemake.input.items()}
    observatory = open_observatory(name, settings, tables, programme, named)
    with Ledger(ledger_path(Path())) as ledger:
        night = ledger.night(name)
        if night.redeliver:
            publish_intents(ledger, Path(settings.archive), ledger.intents(name))
            leave_out(ledger, raw, night)
        frames = ledger.frames(name)
        delivered = [f for f in frames if f.status in DELIVERY and is_fixed(f, night)]
        check_delivered(delivered, observatory.assigned, observatory.programme.id)
        cubes = settings.products == "cubes"
        products = ledger.products(name)
        changed = take_inventory(
            *(raw, frames, products, night, observatory, cubes, judged), snakemake.threads
        )
        frames = list(({f.key: f for f in frames} | {f.key: f for f in changed}).values())
        frames.sort(key=lambda frame: frame.key)
        counts = map(len, (frames, snapshot.good(frames), snapshot.held(frames)))
        logger.info("%d frames: %d good, %d held back", *counts)
        if reason := too_many_held(frames, settings.max_held):
            ledger.note_night(name, refused=judged)
            raise JobFailed(reason)
        with ledger.transaction():
            ledger.record(changed)
            ledger.set_night(name, judged=judged, refused="", reported=0)
            ledger.set_night(name, programme=programme, named=named)
            text = snapshot.snapshot_text(frames)
            ledger.set_night(name, snapshot=snapshot.digest(text))
    if waiting := [frame for frame in frames if frame.status is Status.ASSIGNED]:
        # What was made from an earlier table: if this run is killed, the next one would take it
        # for up to date, by its time.
        shutil.rmtree(table.parent / "headers", ignore_errors=True)
        for sequence in snapshot.sequences(waiting):
            (table.parent / "solved" / f"{sequence}.fits").unlink(missing_ok=True)
    write_text(table, text)


if __name__ == "__main__":
    main()
