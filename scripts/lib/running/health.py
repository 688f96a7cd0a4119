"""Whether a telescope's nights reach the archive: what a monitor, or who is on duty, asks."""

import fcntl
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from scripts.lib.delivery.confirmation import (
    FAILED,
    Answer,
    bad_answers,
    counts_of,
    recent_answers,
)
from scripts.lib.delivery.retries import PATIENCE, last_failure
from scripts.lib.files.space import free_gb
from scripts.lib.nights.dates import OBSERVING_ENDS, parse_night, recent_nights
from scripts.lib.reporting.mail_queue import queue_of, queued_messages
from scripts.lib.running.heartbeat import Heartbeat, read_heartbeat
from scripts.lib.running.planning import Planner, concerned
from scripts.lib.running.preflight import source_problem
from scripts.lib.settings.records import Configuration
from scripts.migration.earlier_tables import open_ledger

LOCK = "wrapper.lock"
# One missed daily run is noticed before the second one is due.
LONGEST_SILENCE = timedelta(hours=36)
FEWEST_NIGHTS = 14
# A night that is still not complete after two further runs does not mend itself.
LATE = timedelta(days=2)
# Names of products in a line; the others are in the night's table.
MOST_NAMES = 3


class Health(NamedTuple):
    """How a telescope stands.

    ``new_corrections`` name what was delivered and what new corrections concern. Incomplete nights
    are None if the source cannot be asked; ``at_eso``, how many products
    delivered of late have which status at ESO, is None if ESO is not asked.
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


def assess(settings: Configuration, now: datetime) -> Health:
    """Return how a telescope stands at a moment.

    Parameters
    ----------
    settings : Configuration
        ``corrections`` spelt out.
    """
    workdir = settings.workdir
    heartbeat, at_work = read_heartbeat(workdir), is_held(workdir / LOCK)
    nights = recent_nights(now, max(settings.lookback, FEWEST_NIGHTS))
    unreachable = source_problem(settings)
    with open_ledger(workdir, settings.archive) as ledger:
        incomplete = Planner(ledger, settings, now.date()).incomplete(nights)
        new_corrections = [str(one) for one in concerned(ledger, settings)]
    folders = {"workdir": workdir, "archive": settings.archive}
    free = {name: free_gb(folder) for name, folder in folders.items() if os.path.isdir(folder)}
    queued = len(queued_messages(queue_of(settings)))
    confirmed = confirmations(settings, len(nights), now)
    problems = [
        *heartbeat_problems(heartbeat, at_work, now),
        *([unreachable] if unreachable else []),
        *night_problems(incomplete, nights[-1]),
        *new_corrections,
        *([f"{queued} mail(s) wait in {queue_of(settings)}"] if queued else []),
        *space_problems(settings, free),
        *confirmation_problems(workdir, confirmed or {}),
    ]
    return Health(
        telescope=settings.telescope,
        heartbeat=heartbeat,
        at_work=at_work,
        nights=nights,
        incomplete=None if unreachable and not incomplete else incomplete,
        queued=queued,
        free=free,
        problems=problems,
        new_corrections=new_corrections,
        at_eso=None if confirmed is None else counts_of(confirmed.values()),
    )


def is_held(path: Path) -> bool:
    """Tell whether a process holds a lock.

    It is asked for, shared, for a moment: who wants to take it must try more than once.
    """
    try:
        with open(path) as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


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


def night_problems(incomplete: list[str], last: str) -> list[str]:
    """Return what is wrong with nights; the last one's run may still be to come."""
    missed = [night for night in incomplete if night != last]
    return [f"nights at the source that are not complete: {' '.join(missed)}"] if missed else []


def space_problems(settings: Configuration, free: Mapping[str, float]) -> list[str]:
    """Return which folders are missing or have too little space."""
    problems = []
    for name, folder, wanted in (
        ("workdir", settings.workdir, settings.free_gb.workdir),
        ("archive", settings.archive, settings.free_gb.archive),
    ):
        if name not in free:
            problems.append(f"{name}: {folder} does not exist")
        elif free[name] < wanted:
            problems.append(f"{name}: {folder} has {free[name]:.1f} GB of free space")
    return problems


def confirmations(
    settings: Configuration, days: int, now: datetime
) -> dict[str, list[Answer]] | None:
    """Return by night what ESO's archive says of late deliveries; None if it is not asked."""
    if not settings.confirm:
        return None
    return recent_answers(settings.workdir, now - timedelta(days=days))


def confirmation_problems(workdir: Path, confirmed: dict[str, list[Answer]]) -> list[str]:
    """Return which products are not right at ESO, and whether it does not answer."""
    problems = []
    for night, rows in confirmed.items():
        if bad := bad_answers(rows):
            names = " ".join(f"{row.product} ({row.status})" for row in bad[:MOST_NAMES])
            more = " …" if len(bad) > MOST_NAMES else ""
            problems.append(f"{night}: {len(bad)} product(s) not right at ESO: {names}{more}")
    count, cause = last_failure(workdir / FAILED)
    if count >= PATIENCE:
        problems.append(f"ESO's archive could not be asked, {count} runs in a row: {cause}")
    return problems


def late_nights(health: Health, now: datetime) -> list[str]:
    """Return the incomplete nights that the next run will hardly mend."""
    return [night for night in health.incomplete or [] if now - noon_after(night) > LATE]


def noon_after(night: str) -> datetime:
    """Return when a night's observing has ended."""
    midnight = datetime.combine(parse_night(night), datetime.min.time(), UTC)
    return midnight + timedelta(days=1) + OBSERVING_ENDS


def summary(health: Health, now: datetime) -> str:
    """Return how a telescope stands, as text."""
    beat = health.heartbeat
    success, run = "none", "none at work"
    if beat.success:
        success = f"{minute(beat.success)}, {lasting(now - beat.success)} ago"
    if beat.end:
        run += f"; the last one ended {minute(beat.end)} with exit status {beat.status}"
    elif health.at_work and beat.start:
        run = f"at work since {minute(beat.start)}"
    of_all = f"of the last {len(health.nights)} nights"
    nights = "unknown" if health.incomplete is None else " ".join(health.incomplete) or "none"
    free = ", ".join(f"{name} {gigabytes:.1f} GB" for name, gigabytes in health.free.items())
    at_eso = ", ".join(f"{count} {status}" for status, count in (health.at_eso or {}).items())
    lines = [
        f"{health.telescope}: {'trouble' if health.problems else 'all is well'}",
        f"  last success   {success}",
        f"  run            {run}",
        f"  not complete   {nights} ({of_all})",
        f"  mails waiting  {health.queued}",
        f"  free           {free}",
        *([f"  at ESO         {at_eso}"] if at_eso else []),
        *(f"  TROUBLE        {problem}" for problem in health.problems),
    ]
    return "\n".join(lines)


def as_json(health: Health) -> dict[str, object]:
    """Return how a telescope stands, for other programs."""
    content = health._asdict() | {"ok": not health.problems}
    times = {
        key: value.isoformat() if isinstance(value, datetime) else value
        for key, value in health.heartbeat._asdict().items()
    }
    return content | {"heartbeat": times}


def minute(time: datetime) -> str:
    """Return a time to the minute."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def lasting(span: timedelta) -> str:
    """Return a length of time in the unit that suits it."""
    minutes = int(span.total_seconds() // 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 72 * 60 else f"{minutes // 1440} days"
