"""Status of a telescope: whether its nights reach the archive, and a run may start."""

import errno
import os
import shutil
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

from scripts.lib.delivery import confirmation
from scripts.lib.delivery.retries import ALERT_AFTER, last_failure
from scripts.lib.files.errors import TryLater
from scripts.lib.files.lock import is_held
from scripts.lib.ledger.ledger import Ledger
from scripts.lib.nights.dates import observing_ends, parse_night, recent_nights
from scripts.lib.reporting.failures import disk_of
from scripts.lib.reporting.mail_queue import queue_of, queued_messages
from scripts.lib.running.planning import Planner, concerned
from scripts.lib.running.run_log import Heartbeat, read_heartbeat
from scripts.lib.settings.records import Configuration
from scripts.lib.sources.opening import open_source

LOCK = "wrapper.lock"
FULL = (errno.ENOSPC, errno.EDQUOT)
# One missed daily run is noticed before the second one is due.
LONGEST_SILENCE = timedelta(hours=36)
FEWEST_NIGHTS = 14
# A night that is still not complete after two further runs needs a person.
LATE = timedelta(days=2)
# Names of products in a line; the others are in the night's table.
MOST_NAMES = 3


class Health(NamedTuple):
    """Status of a telescope.

    ``new_corrections`` name what was delivered and what new corrections concern. Incomplete nights
    are None if the source cannot be asked; ``at_eso``, how many products that were delivered
    lately have which status at ESO, is None if ESO is not asked.
    """

    telescope: str
    heartbeat: Heartbeat
    at_work: bool
    nights: list[str]
    incomplete: list[str] | None
    queued: int
    free: dict[str, float]
    problems: list[str]
    new_corrections: list[str]
    at_eso: dict[str, int] | None = None

    def as_json(self) -> dict[str, object]:
        """Return it for other programs."""
        return self._asdict() | {"ok": not self.problems, "heartbeat": self.heartbeat.as_json()}


def assess(config: Configuration, ledger: Ledger, now: datetime) -> Health:
    """Return the status of a telescope."""
    workdir = config.workdir
    heartbeat, at_work = read_heartbeat(workdir), is_held(workdir / LOCK)
    lookback = max(config.lookback, FEWEST_NIGHTS)
    nights = recent_nights(now, config.place.longitude, lookback, config.first_night)
    unreachable = source_problems(config)
    incomplete = Planner(ledger, config, now.date()).incomplete(nights)
    new_corrections = concerned(ledger, config)
    # The last night's run may still be to come.
    missed = " ".join(night for night in incomplete if [night] != nights[-1:])
    queued = len(queued_messages(queue_of(config)))
    free, space_problems = free_space(config)
    answers = None
    if config.confirm:
        answers = confirmation.recent_answers(workdir, now - timedelta(days=len(nights)))
    problems = [
        *heartbeat_problems(heartbeat, at_work, now),
        *unreachable,
        *([f"nights at the source that are not complete: {missed}"] if missed else []),
        *new_corrections,
        *([f"{queued} mail(s) wait in {queue_of(config)}"] if queued else []),
        *space_problems,
        *eso_problems(workdir, answers or {}),
    ]
    return Health(
        telescope=config.telescope,
        heartbeat=heartbeat,
        at_work=at_work,
        nights=nights,
        incomplete=None if unreachable and not incomplete else incomplete,
        queued=queued,
        free=free,
        problems=problems,
        new_corrections=new_corrections,
        at_eso=None if answers is None else confirmation.counts_of(answers.values()),
    )


def heartbeat_problems(heartbeat: Heartbeat, at_work: bool, now: datetime) -> list[str]:
    """Return what is wrong with the last runs."""
    problems = []
    if heartbeat.success is None:
        problems.append("no run has succeeded yet")
    elif now - heartbeat.success > LONGEST_SILENCE:
        problems.append(f"no run has succeeded for {lasting(now - heartbeat.success)}")
    if not at_work and (problem := unended(heartbeat)):
        problems.append(problem)
    if heartbeat.status:
        problems.append(f"the last run ended with exit status {heartbeat.status}")
    return problems


def unended(heartbeat: Heartbeat) -> str:
    """Return that the last run did not end, nothing if it did; it may be at work."""
    if heartbeat.start and not heartbeat.end:
        return f"the run of {minute(heartbeat.start)} did not end by itself: killed?"
    return ""


def eso_problems(workdir: Path, answers: dict[str, list[confirmation.Answer]]) -> list[str]:
    """Return which products are not right at ESO, by night, and whether it does not answer."""
    problems = []
    for night, rows in answers.items():
        if bad := confirmation.bad_answers(rows):
            names = " ".join(f"{row.product} ({row.status})" for row in bad[:MOST_NAMES])
            more = " …" if len(bad) > MOST_NAMES else ""
            problems.append(f"{night}: {len(bad)} product(s) not right at ESO: {names}{more}")
    count, cause = last_failure(workdir / confirmation.FAILED)
    if count >= ALERT_AFTER:
        problems.append(f"ESO's archive could not be asked, {count} runs in a row: {cause}")
    return problems


def late_nights(health: Health, now: datetime, longitude: float) -> list[str]:
    """Return the incomplete nights of a site that the next run will hardly complete."""
    latest = now - LATE - timedelta(days=1, hours=observing_ends(longitude))
    nights = health.incomplete or []
    return [night for night in nights if datetime.combine(parse_night(night), time(), UTC) < latest]


def summary(health: Health, now: datetime) -> str:
    """Return the status of a telescope as text."""
    beat = health.heartbeat
    success, run = "none", "none at work"
    if beat.success:
        success = f"{minute(beat.success)}, {lasting(now - beat.success)} ago"
    if beat.end:
        run += f"; the last one ended {minute(beat.end)} with exit status {beat.status}"
    elif health.at_work and beat.start:
        run = f"at work since {minute(beat.start)}"
    nights = "unknown" if health.incomplete is None else " ".join(health.incomplete) or "none"
    free = ", ".join(f"{name} {gigabytes:.1f} GB" for name, gigabytes in health.free.items())
    at_eso = ", ".join(f"{count} {status}" for status, count in (health.at_eso or {}).items())
    lines = [
        f"{health.telescope}: {'trouble' if health.problems else 'all is well'}",
        f"  last success   {success}",
        f"  run            {run}",
        f"  not complete   {nights} (of the last {len(health.nights)} nights)",
        f"  mails waiting  {health.queued}",
        f"  free           {free}",
        *([f"  at ESO         {at_eso}"] if at_eso else []),
        *(f"  TROUBLE        {problem}" for problem in health.problems),
    ]
    return "\n".join(lines)


def minute(when: datetime) -> str:
    """Return a time to the minute."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def lasting(span: timedelta) -> str:
    """Return a length of time in the unit that suits it."""
    minutes = int(span.total_seconds() // 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 72 * 60 else f"{minutes // 1440} days"


# What must be right before a run may start


def problems_before(config: Configuration) -> list[str]:
    """Return what keeps a run from starting.

    Snakemake meets a full or read-only disk with a traceback, and its handlers then do not run.
    """
    _, problems = free_space(config)
    if not problems:
        problems = write_problems("workdir", config.workdir)
        problems += write_problems("archive", config.archive)
    if not problems:
        problems = write_problems("workdir", config.workdir / ".snakemake")
    return problems + source_problems(config)


def free_space(config: Configuration) -> tuple[dict[str, float], list[str]]:
    """Return the space on the disks of ``workdir`` and ``archive``, GB, and what is wrong there."""
    space, problems = {}, []
    for key, folder in (("workdir", config.workdir), ("archive", config.archive)):
        # Unlike Path.is_dir it raises nothing for a folder that may not be looked at.
        if not os.path.isdir(folder):
            problems.append(f"{key}: the directory {folder} does not exist; is its disk mounted?")
            continue
        try:
            free = space[key] = shutil.disk_usage(folder).free / 1e9
        except OSError as error:
            problems.append(f"{key}: {folder} cannot be looked at ({error.strerror})")
            continue
        required = getattr(config.free_gb, key)
        if free < required:
            found = f"{key}: {folder} on the disk {disk_of(folder)} has {free:.1f}"
            problems.append(f"{found} GB of free space, free_gb.{key} requires {required:g} GB")
    return space, problems


def write_problems(key: str, folder: Path) -> list[str]:
    """Write into a folder, which is made if needed; return what went wrong.

    Rights and mount options do not show what a server or a quota allows. The file has no name,
    where the file system can do that: nothing is left of it if we are killed.
    """
    try:
        folder.mkdir(exist_ok=True)
        with TemporaryFile(dir=folder, prefix=".write-check.", buffering=0) as file:
            file.write(b"x")
    except OSError as error:
        full = f": the disk {disk_of(folder)} is full" if error.errno in FULL else ""
        return [f"{key}: {folder} cannot be written to ({error.strerror}){full}"]
    return []


def source_problems(config: Configuration) -> list[str]:
    """Return why the source cannot be reached, nothing if it can."""
    try:
        open_source(config.source, config.source_mounted).check()
    except TryLater as error:
        return [str(error)]
    return []
