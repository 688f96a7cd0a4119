"""A campaign: many nights, each in a run of its own, some at a time.

One run for many nights would plan all of them again whenever the frames of one are known: its cost
grows with the square of their number. Runs of a night cost the same however many there are.
"""

import os
import shlex
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from scripts.lib.files.errors import TryLater
from scripts.lib.files.lock import is_held, lock_of
from scripts.lib.files.log import tail
from scripts.lib.ledger.ledger import Ledger
from scripts.lib.nights.dates import last_night
from scripts.lib.pages.night_page import read_failures
from scripts.lib.running.one_night import LOCK, NIGHT
from scripts.lib.running.planning import Planner
from scripts.lib.running.processes import (
    MARKER,
    PAUSE,
    STOPPING,
    Ended,
    MarkedCommand,
    caught,
)
from scripts.lib.running.slurm import QueueError, ask
from scripts.lib.settings.records import Configuration
from scripts.lib.sources.opening import open_source
from scripts.lib.sources.source import Unreachable

LOG = "campaign.log"  # in logs/{night}: what the night's run printed
DONE, FAILED, STOPPED = "done", "failed", "stopped"
SHOWN = 3  # failed jobs of a night in its cause
# Of what the campaign has in its environment a job of the queue gets no more.
EXPORTED = ("HOME", "LANG", "PATH", "USER", NIGHT, MARKER)


class Work(NamedTuple):
    """A night that is not complete: its frames at the source, and their bytes."""

    night: str
    frames: int = 0
    bytes: int = 0


class Result(NamedTuple):
    """What became of a night: a row of the table; frames and bytes are those delivered now."""

    night: str
    status: str
    exit_status: int
    frames: int
    bytes: int
    products: int  # of the night, delivered by now
    held: int  # frames held back
    seconds: float
    ended: str
    cause: str


def nights_of_source(settings: Configuration, now: datetime) -> list[str]:
    """Return the nights that the source has a folder for and that are over, oldest first.

    Raises `TryLater` if it cannot be read.
    """
    nights = open_source(settings.source, settings.source_mounted).nights()
    last = last_night(now, settings.place.longitude)
    return [night for night in nights if settings.first_night <= night <= last]


def work_of(planner: Planner, nights: Iterable[str]) -> Iterator[Work]:
    """Yield the nights that are not complete.

    Raises `Unreachable` if the source is; a night that cannot be read is its run's to report.
    """
    for night in nights:
        try:
            entries = planner.listing(night)
        except Unreachable:
            raise
        except TryLater:
            yield Work(night)
            continue
        if not entries and not planner.ledger.frames(night):
            continue
        if not planner.plan(night, entries).complete:
            yield Work(night, len(entries), sum(entry.state.bytes for entry in entries))


@dataclass
class Queue:
    """Jobs of SLURM, one a night, each with a run that starts its jobs on its own node.

    A job has ``hours``; ``options`` are further words for ``sbatch``.
    """

    telescope: str
    workdir: Path
    hours: float
    options: Sequence[str] = ()

    def name(self, night: str) -> str:
        """Return the name of a night's job."""
        return f"campaign-{self.telescope.lower()}-{night}"

    def command(self, night: str, words: Sequence[str], log: Path) -> list[str]:
        """Return the command that submits a night and waits for its end."""
        return [
            *("sbatch", "--wait", f"--job-name={self.name(night)}", f"--comment={self.workdir}"),
            *(f"--chdir={self.workdir}", f"--output={log}", "--open-mode=append"),
            *(f"--time={60 * self.hours:.0f}", f"--export={','.join(EXPORTED)}", "--no-requeue"),
            *self.options,
            f"--wrap=exec {shlex.join(words)}",
        ]

    def cancel(self, night: str = "") -> None:
        """Cancel the job of a night, or all jobs of campaigns in this working directory.

        Raises `QueueError` if SLURM does not answer.
        """
        for line in ask("squeue", ["--me", "--noheader", "--format=%i %j %k"]).splitlines():
            number, name, comment = line.split(" ", 2)
            if name.startswith(self.name(night)) and comment.strip() == str(self.workdir):
                ask("scancel", ["--quiet", number])


@dataclass
class Campaign:
    """Runs of the workflow for many nights.

    Parameters
    ----------
    command : sequence of str
        Of a run; the night is added through the environment.
    cwd : Path
        Where it is called.
    jobs : int
        Nights at a time.
    queue : Queue or None
        None for runs on this machine.
    ended : callable
        Is called with each result.
    progress : callable
        Is called several times a second.
    """

    settings: Configuration
    ledger: Ledger
    command: Sequence[str]
    cwd: Path
    jobs: int = 1
    queue: Queue | None = None
    ended: Callable[[Result], None] = lambda result: None
    progress: Callable[["Campaign"], None] = lambda campaign: None
    pending: deque[Work] = field(default_factory=deque)
    running: dict[str, "Running"] = field(default_factory=dict)
    stopped: str = ""

    def walk(self, work: Iterable[Work]) -> None:
        """Run all nights; a signal ends those at work and begins no other."""
        self.pending.extend(work)
        with caught(STOPPING) as signals:
            while self.pending or self.running:
                if signals and not self.stopped:
                    self.stopped = f"ended by signal {signal.Signals(signals[0]).name}"
                    self.pending.clear()
                    for one in self.running.values():
                        one.command.end(self.stopped)
                        # What is not cancelled now, the next campaign cancels.
                        with suppress(QueueError):
                            if self.queue:
                                self.queue.cancel(one.work.night)
                while len(self.running) < self.jobs and (work_now := self.next_free()):
                    self.running[work_now.night] = self.start(work_now)
                for one in list(self.running.values()):
                    if ended := one.command.poll():
                        del self.running[one.work.night]
                        self.end(one, ended)
                self.progress(self)
                time.sleep(PAUSE)

    @property
    def limit(self) -> float:
        """Seconds that a night may take; in the queue it also waits, and SLURM keeps its limit."""
        return float("inf") if self.queue else 3600 * self.settings.time_limit

    def next_free(self) -> Work | None:
        """Return the next night that no other run is at work on; None if there is none now."""
        for one in list(self.pending):
            if not is_held(lock_of(self.settings.workdir, one.night).path):
                self.pending.remove(one)
                return one
        return None

    def start(self, work: Work) -> "Running":
        """Start the run of a night."""
        workdir, night = self.settings.workdir, work.night
        log = workdir / "logs" / night / LOG
        log.parent.mkdir(parents=True, exist_ok=True)
        binaries = Path(sys.executable).parent
        environ = os.environ | {"PATH": f"{binaries}:{os.environ.get('PATH', os.defpath)}"}
        # A wrapper's mark stays: it ends all that belongs to it.
        environ.setdefault(MARKER, mark_of(workdir))
        words = self.command
        if self.queue:
            words = self.queue.command(night, words, log)
        log.unlink(missing_ok=True)
        mark = str(workdir / night)
        with open(log, "ab", buffering=0) as stream:
            command = MarkedCommand(
                words, mark, environ, self.cwd, stream, self.limit, variable=NIGHT
            )
        frames, size = self.ledger.delivered(night)
        return Running(work, command, log, frames, size, datetime.now(UTC))

    def end(self, one: "Running", ended: Ended) -> None:
        """Judge how the run of a night ended."""
        night, workdir = one.work.night, self.settings.workdir
        if ended.status and not self.stopped and is_held(lock_of(workdir, night).path):
            self.pending.append(one.work)  # another run took it just before
            return
        frames, size = self.ledger.delivered(night)
        status, cause = DONE, ""
        if ended.status:
            status = STOPPED if self.stopped else FAILED
            cause = ended.cause or cause_of(workdir / night, one.log, one.began)
        now = datetime.now(UTC)
        result = Result(
            night,
            status,
            ended.status,
            frames - one.frames,
            size - one.bytes,
            len(self.ledger.products(night)),
            self.ledger.outcomes(night).held,
            round((now - one.began).total_seconds(), 1),
            now.isoformat(timespec="seconds"),
            cause,
        )
        self.ended(result)


class Running(NamedTuple):
    """The run of a night at work, and what was delivered of the night before."""

    work: Work
    command: MarkedCommand
    log: Path
    frames: int
    bytes: int
    began: datetime


def mark_of(workdir: Path) -> str:
    """Return by which mark the processes of a campaign are known."""
    return f"{workdir}/{LOCK}"


def cause_of(folder: Path, log: Path, began: datetime) -> str:
    """Return why a night failed: the jobs that its page names, or the last line of its log."""
    if failed := read_failures(folder, began):
        words = [f"{job['rule']} {job['what']}: {job['error']}" for job in failed[:SHOWN]]
        more = [f"and {len(failed) - SHOWN} more"] if len(failed) > SHOWN else []
        return "; ".join(words + more)
    return next(reversed([line for line in tail(log, 20) if line.strip()]), "no message")
