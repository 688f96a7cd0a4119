"""What is to be done: nights to look at, and in each of them what its jobs have to do.

All of it follows from the ledger and from what lies at the source now; the times of files and
Snakemake's records decide nothing. These functions are asked while the workflow is planned. They
never raise for one night, whose source cannot be read: a job that fails says more, and costs the
other nights nothing.
"""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from scripts.lib.delivery.receipts import target_of
from scripts.lib.files.errors import TryLater
from scripts.lib.files.tables import read_table
from scripts.lib.frames.corrections import corrected_nights, correction_file, read_corrections
from scripts.lib.frames.judgement import judgement, own_judgement, own_part
from scripts.lib.frames.names import group_of
from scripts.lib.frames.programmes import assignments, programme_delivered
from scripts.lib.ledger import outlook
from scripts.lib.ledger.ledger import Ledger
from scripts.lib.ledger.records import DELIVERY, DONE, Entry, Frame, Night, Status
from scripts.lib.ledger.snapshot import NAME as TABLE
from scripts.lib.ledger.snapshot import OK, file_digest
from scripts.lib.nights.cameras import of_night
from scripts.lib.nights.dates import parse_nights, recent_nights
from scripts.lib.settings.records import Configuration
from scripts.lib.sources.copying import is_copied
from scripts.lib.sources.opening import open_source
from scripts.lib.sources.source import Unreachable

PAGE = "night.html"
STAMPS, BATCH = "stamps", "batch_"  # the beginning of the stamps of batches
Keys = set[tuple[str, int]]  # of frames that are to be judged again


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done for a night."""

    ingest: str  # why frames are to be copied; empty if none are
    inventory: str  # why frames are to be judged, or their table to be written; empty if not
    judging: bool  # whether raw copies are needed for that
    targets: frozenset[str]  # names of the jobs that deliver, as far as they are known
    page: bool  # whether the page is to be written

    @property
    def complete(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.ingest or self.inventory or self.targets or self.page)


class Deliveries(NamedTuple):
    """Targets that are to be delivered, and those of them of which everything is staged."""

    targets: frozenset[str]
    staged: frozenset[str]  # no raw frame is needed for these
    sizes: dict[str, int]  # bytes of the pixels of the others
    groups: dict[str, str]  # of headers, in which the others are


class Planner:
    """Plans the nights of a telescope.

    ``programme`` is the one that was named by hand, for all frames; empty if none was.
    """

    def __init__(self, ledger: Ledger, settings: Configuration, today: date, programme: str = ""):
        self.ledger, self.settings, self.today = ledger, settings, today
        self.by_hand = programme
        self.workdir = Path(settings.workdir)
        self._deliveries: dict[str, tuple[tuple[int, int], Deliveries]] = {}
        self._batches: dict[tuple[str, str], dict[str, list[str]]] = {}

    def wanted_nights(self, now: datetime) -> list[str]:
        """Return the nights to bring up to date.

        Those that the configuration names; otherwise the last night, those of the nights before
        it, as far as ``lookback`` and ``first_night`` go, that are not complete, and earlier ones
        of which a frame has no outcome yet, or whose corrections or programmes have changed. Raises
        `ConfigurationError` if the configuration names something that is not a night.
        """
        if named := parse_nights(self.settings.nights):
            return named
        place, settings = self.settings.place, self.settings
        recent = recent_nights(now, place.longitude, settings.lookback, settings.first_night)
        before = [night for night in recent[:-1] if not self.is_complete(night)]
        return [*self.unfinished(self.first_of(recent)), *before, *recent[-1:]]

    def first_of(self, recent: list[str]) -> str:
        """Return the first of recent nights, of which `first_night` may leave none."""
        return recent[0] if recent else self.settings.first_night

    def unfinished(self, first: str) -> list[str]:
        """Return the nights before ``first`` that a run should look at again."""
        known = self.ledger.nights()
        corrections = Path(self.settings.corrections)
        listed = corrected_nights(corrections, self.settings.telescope)
        assigned = {n for entry in self.settings.programmes for n in parse_nights(entry.nights)}
        named = [n for n, one in known.items() if own_part(one.judged) or n in listed | assigned]
        changed = {n for n in named if self.is_judged_otherwise(known[n])}
        held = changed and set(self.ledger.held_nights())
        wanted = (changed & held if held else set()) | set(self.ledger.open_nights())
        refused = {n for n in wanted if known[n].refused and not self.is_judged_otherwise(known[n])}
        return sorted(night for night in wanted - refused if night < first)

    def incomplete(self, nights: list[str]) -> list[str]:
        """Return which nights are not complete: of these, and of those that were ever looked at."""
        earlier = self.unfinished(self.first_of(nights))
        return [*earlier, *(night for night in nights if not self.is_complete(night))]

    def is_judged_otherwise(self, night: Night) -> bool:
        """Return whether corrections or programmes of a night have changed since its inventory."""
        before = own_part(night.refused or night.judged)
        return own_judgement(night.night, self.settings) != before

    def is_complete(self, night: str) -> bool:
        """Return whether nothing is to be done for a night, or the source knows none of it.

        A source that cannot be reached has nothing; the last night's ingest reports it. Of a
        night whose folder alone cannot be read, its own ingest must.
        """
        try:
            entries = self.listing(night)
        except Unreachable:
            entries = []
        except TryLater:
            return False
        if not entries and not self.ledger.frames(night):
            return True
        return self.plan(night, entries).complete

    def listing(self, night: str) -> list[Entry]:
        """Return the entries of a night at the source; see `scripts.lib.sources`."""
        return open_source(self.settings.source, self.settings.source_mounted).entries(night)

    def plan_wanted(self, night: str) -> Plan:
        """Return what is to be done for a night; a source that fails is its ingest's to report."""
        try:
            return self.plan(night, self.listing(night))
        except TryLater:
            return self.plan(night, None)

    def plan(self, night: str, entries: list[Entry] | None) -> Plan:
        """Return what is to be done for a night; ``entries`` are None if the source fails."""
        record, folder = self.ledger.night(night), self.workdir / night
        if self.is_finished(record, folder, entries):
            return Plan("", "", False, frozenset(), False)
        frames = self.ledger.frames(night)
        judged = judgement(night, self.settings, *self.programme(night))
        asked = any(f.status in DELIVERY and not outlook.is_fixed(f, record) for f in frames)
        again = {f.key for f in frames if outlook.is_judged_again(f, record, judged)}
        ingest = self.why_ingest(folder / "raw", entries, frames, record, again)
        inventory = ingest or self.why_inventory(folder / TABLE, frames, record, again, asked)
        page = not record.reported or self.is_page_outdated(folder, night)
        judging = bool(ingest or again)
        return Plan(ingest, inventory, judging, self.deliveries(night).targets, page)

    def is_finished(self, night: Night, folder: Path, entries: list[Entry] | None) -> bool:
        """Tell, without a look at each frame, that a night is complete; False proves nothing."""
        found = self.ledger.outcomes(night.night)
        judged = judgement(night.night, self.settings, *self.programme(night.night))
        return (
            night.reported
            and entries is not None
            and not found.open
            and not found.uncopied
            and (not found.held or judged == night.judged)
            and (not entries or outlook.listing_digest(entries) == night.listing)
            and file_digest(folder / TABLE) == night.snapshot
            and not self.is_page_outdated(folder, night.night)
        )

    def makes_cubes(self, night: str) -> bool:
        """Return whether ESO gets cubes of a night."""
        return of_night(self.settings, night).products == "cubes"

    def deliveries(self, night: str) -> Deliveries:
        """Return what is to be delivered of a night, as far as it is known."""
        state = self.ledger.state()
        if (known := self._deliveries.get(night)) and known[0] == state:
            return known[1]
        staged = {intent.product.target for intent in self.ledger.intents(night)}
        cubes = self.makes_cubes(night)
        sizes: dict[str, int] = {}
        groups = {}
        for product, sequence, status, size in self.ledger.due(night):
            target = target_of(product, sequence, cubes)
            if status is Status.STAGED:
                staged.add(target)
            else:
                sizes[target] = sizes.get(target, 0) + size
                groups[target] = group_of(sequence)
        targets = staged | sizes.keys()
        found = Deliveries(frozenset(targets), frozenset(staged - sizes.keys()), sizes, groups)
        self._deliveries[night] = state, found
        return found

    def batches(self, night: str) -> dict[str, list[str]]:
        """Return small targets that share a job, by the first of them.

        They stay as they were planned first: a batch of another composition could not run beside
        the one that is delivering some of its targets just now.
        """
        key = night, self.ledger.night(night).snapshot
        if key not in self._batches:
            self._batches[key] = batches_of(self.deliveries(night), 1e6 * self.settings.batch)
        return self._batches[key]

    def why_ingest(
        self, raw: Path, entries: list[Entry] | None, frames: list[Frame], night: Night, again: Keys
    ) -> str:
        """Return why frames are to be copied; empty if none are."""
        if entries is None:
            return "the source cannot be read"
        known = outlook.latest(frames)
        if new := sum(outlook.is_new(entry, known.get(entry.name)) for entry in entries):
            return f"{new} new or changed at the source"
        listed = {entry.name for entry in entries}
        for frame in known.values():
            retried = frame.fault is not None and frame.fault.retried and frame.file in listed
            if retried and night.retried != str(self.today):
                return f"{frame.file} could not be copied before today"
            wanted = frame.status in outlook.OPEN or (frame.key in again and frame.file in listed)
            if wanted and not is_copied(raw / frame.file, frame.source):
                return f"{frame.file} is not here"
        return "never looked at" if night == Night(night.night) else ""

    def why_inventory(
        self, table: Path, frames: list[Frame], night: Night, again: Keys, asked: bool
    ) -> str:
        """Return why frames are to be judged, or their table to be written; empty if not."""
        if asked:
            return "it is to be delivered again"
        if any(frame.status in (Status.SEEN, Status.COPIED) for frame in frames):
            return "frames without an outcome"
        if any(frame.status is Status.HELD and frame.key in again for frame in frames):
            return "corrections, programme or configuration have changed"
        if not night.snapshot:
            return "never judged"
        return "" if file_digest(table) == night.snapshot else f"{TABLE} is not as it was written"

    def is_page_outdated(self, folder: Path, night: str) -> bool:
        """Return whether what people read of a night is missing, or not as it was written."""
        views = self.ledger.views(night)
        raw_stays = (folder / "raw").exists() and not self.settings.keep_raw
        return (
            raw_stays
            or PAGE not in views
            or any(file_digest(folder / path) != right for path, right in views.items())
        )

    def programme(self, night: str) -> tuple[str, bool]:
        """Return the id of the frames that nothing assigns, and whether it was named by hand.

        What was delivered keeps its id, and late frames get the same.
        """
        if self.by_hand:
            return self.by_hand, True
        record = self.ledger.night(night)
        if record.named:
            return record.programme, True
        if not self.ledger.is_delivered(night):
            return self.settings.programme, False
        if record.programme:
            return record.programme, False
        # Delivered by an earlier version, which did not write it down.
        delivered = [frame for frame in self.ledger.frames(night) if frame.status in DELIVERY]
        assigned = assignments(night, self.settings.programmes)
        return programme_delivered(delivered, assigned) or self.settings.programme, False

    def prepare(self, night: str, plan: Plan) -> None:
        """Remove what is to be made again, so that Snakemake makes it whatever its times are."""
        folder = self.workdir / night
        outdated = [
            *([folder / "raw/complete"] if plan.ingest else []),
            *([folder / TABLE] if plan.inventory else []),
            *([] if plan.complete else [folder / STAMPS / "night"]),
            *(folder / STAMPS / target for target in plan.targets),
            *([] if plan.complete else folder.glob(f"{STAMPS}/{BATCH}*")),
        ]
        for path in outdated:
            path.unlink(missing_ok=True)
        bring_to_present(folder)

    def request(self, night: str) -> None:
        """Record that a night is to be delivered again, unless an earlier request is open."""
        if self.ledger.products(night) and not self.ledger.outcomes(night).open:
            count = self.ledger.night(night).redeliver + 1
            self.ledger.note_night(night, redeliver=count, reported=0)


def batches_of(deliveries: Deliveries, most: float) -> dict[str, list[str]]:
    """Return targets of the same group of headers, up to so many bytes together, by the first."""
    batches: list[list[str]] = []
    last, total = "", 0
    for target in sorted(deliveries.sizes, key=lambda target: (deliveries.groups[target], target)):
        group, size = deliveries.groups[target], deliveries.sizes[target]
        if size > most:
            continue
        if group != last or total + size > most:
            batches.append([])
            last, total = group, 0
        batches[-1].append(target)
        total += size
    return {batch[0]: batch for batch in batches if len(batch) > 1}


def bring_to_present(folder: Path) -> None:
    """Give what jobs made in a night's folder no time later than now.

    A clock that was ahead leaves such times, and Snakemake fails a job whose output is older than
    its input. Raw copies keep the times of their frames, by which they are known.
    """
    now = time.time_ns()
    tops = [top for top in folder.glob("*") if top.name != "raw"]
    made = chain([folder / "raw/complete"], tops, *(top.rglob("*") for top in tops))
    for path in made:
        with suppress(FileNotFoundError):
            if path.lstat().st_mtime_ns > now:
                os.utime(path, ns=(now, now), follow_symlinks=False)


def concerned(ledger: Ledger, settings: Configuration) -> list[str]:
    """Return for each night what new corrections concern of what was delivered before."""
    corrections = Path(settings.corrections)
    nights = corrected_nights(corrections, settings.telescope)
    found = []
    for name, night in ledger.nights().items():
        own = own_judgement(name, settings) if name in nights else ""
        if not own or own == own_part(night.judged):
            continue
        try:
            entries = read_corrections(correction_file(corrections, settings.telescope, name))
        except (OSError, ValueError):
            continue  # its inventory says so
        products = {
            frame.product
            for frame in ledger.frames(name)
            if frame.status in DONE and any(entry.concerns(frame.file) for entry in entries)
        }
        if products:
            found.append(
                f"{name}: new corrections concern what was delivered before, "
                f"{' '.join(sorted(products))}; to deliver it again, once ESO agrees: "
                f"--config nights={name} redeliver=true"
            )
    return found


def table_sequences(table: Path) -> Iterable[str]:
    """Return the sequences in a night's table; none if it is damaged."""
    try:
        return sorted({row["sequence"] for row in read_table(table) if row["status"] == OK})
    except (OSError, ValueError, KeyError):
        return []
