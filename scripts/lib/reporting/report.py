"""What the mail of a run says: what was delivered, what was not and why, what to do next.

Facts come from Snakemake's jobs, handed in, and from the ledger.
"""

import os
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

from scripts.lib.delivery.confirmation import (
    DIFFERENT,
    MISSING,
    TABLE,
    Answer,
    bad_answers,
    marks_of,
    read_confirmed,
    read_told,
    write_told,
)
from scripts.lib.files.log import tail
from scripts.lib.frames.corrections import correction_file
from scripts.lib.ledger.faults import Reason
from scripts.lib.ledger.ledger import Ledger
from scripts.lib.ledger.records import DONE, Frame
from scripts.lib.reporting.failures import Job, failures, last_line
from scripts.lib.reporting.mail import LOST, errors_reported, post, send_queued, usable_mail
from scripts.lib.reporting.mail_queue import queue_of, refusals, say
from scripts.lib.reporting.message import clean, compose
from scripts.lib.settings.records import Configuration, Mail

TAIL = 10
LONGEST_LINE = 400
# A mail that is too long is not read; the rest is on the page.
MOST_JOBS = 12
MOST_FRAMES = 20


class Run(NamedTuple):
    """A run that ended.

    Attributes
    ----------
    nights : list of str
        That it was to bring up to date.
    failed : iterable of Job
        As Snakemake's scheduler has them.
    ended : bool
        Whether it came to its end; False without failed jobs means that somebody stopped it.
    command : list of str
        As it was called.
    folder : str
        Where it was called.
    log : str
        Of the run as a whole; empty if there is none.
    asked : list of str
        Nights for which it asked ESO's archive.
    """

    nights: list[str]
    failed: Iterable[Job]
    ended: bool
    command: list[str]
    folder: str
    log: str = ""
    asked: list[str] = []


class FailedJob(NamedTuple):
    """A job that failed; ``what`` is its wildcards, the night first."""

    rule: str
    night: str
    what: str
    error: str
    tail: list[str]
    log: str


# Facts


def failed_jobs(jobs: Iterable[Job]) -> list[FailedJob]:
    """Return what is to be said of each failed job, by night."""
    return sorted(map(failed_job, jobs), key=lambda job: (job.night, job.rule, job.what))


def failed_job(job: Job) -> FailedJob:
    """Return what is to be said of a failed job."""
    wildcards = {key: str(value) for key, value in job.wildcards.items()}
    night = wildcards.pop("night", "")
    log = Path(str(job.log[0])).absolute() if job.log else None
    return FailedJob(
        rule=job.rule.name,
        night=night,
        what=" ".join(filter(None, [night, *wildcards.values()])),
        error=shortened(last_line(log)) if log else "see the run's log",
        tail=list(map(shortened, tail(log, TAIL))) if log and log.exists() else [],
        log=str(log or ""),
    )


def shortened(line: str) -> str:
    """Return a line of reasonable length, without what a terminal would obey."""
    line = clean(line).rstrip()
    return line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 1] + "…"


class HeldFrame(NamedTuple):
    """A held-back frame in a mail."""

    file: str
    detail: str


@dataclass(frozen=True, slots=True)
class Group:
    """Frames that are held back for one reason; ``more`` of them are not shown."""

    reason: str
    count: int
    frames: list[HeldFrame]
    more: int


@dataclass(frozen=True, slots=True)
class NightFacts:
    """What is to be said of a night; ``raw`` is None if nothing is known of it yet.

    ``new`` are held-back frames of which no mail has said why.
    """

    night: str
    raw: int | None
    delivered: int
    kinds: list[tuple[str, int]]
    products: int
    held: int
    groups: list[Group]
    new: list[Frame]
    missing: int
    to_solve: int
    unsolved: int
    page: str
    has_page: bool

    @property
    def news(self) -> bool:
        """Whether frames are held back of which no mail has said why."""
        return any(frame.fault and not frame.fault.expected for frame in self.new)

    @property
    def has_unsolved(self) -> bool:
        """Whether frames are held back because they are unsolved."""
        return any(f.fault and f.fault.reason is Reason.UNSOLVED for f in self.new)

    @property
    def has_others(self) -> bool:
        """Whether frames are held back for another reason than the sky."""
        return any(f.fault and f.fault.reason is not Reason.UNSOLVED for f in self.new)


def night_facts(ledger: Ledger, folder: Path, telescope: str) -> NightFacts:
    """Return what is to be said of a night."""
    from scripts.lib.reporting.summary import summarise  # numpy: only if there is something to say

    night = folder.name
    summary = summarise(telescope, night, ledger, folder / "solved")
    delivered = [frame for frame in ledger.frames(night) if frame.status in DONE]
    return NightFacts(
        night=night,
        raw=summary.raw if ledger.night(night).snapshot else None,
        delivered=summary.delivered,
        kinds=Counter(frame.kind for frame in delivered).most_common(),
        products=len(summary.products),
        held=len(summary.held),
        groups=groups(summary.held),
        new=ledger.unreported(night),
        missing=len(summary.missing),
        to_solve=summary.to_solve,
        unsolved=len(summary.unsolved),
        page=str(folder.absolute() / "night.html"),
        has_page=(folder / "night.html").exists(),
    )


def groups(held: list[Frame]) -> list[Group]:
    """Return held-back frames by reason, the most frequent first."""
    found: dict[str, list[HeldFrame]] = {}
    for frame in held:
        if frame.fault:
            one = HeldFrame(frame.file, frame.fault.detail)
            found.setdefault(frame.fault.heading, []).append(one)
    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        Group(reason, len(frames), frames[:MOST_FRAMES], max(0, len(frames) - MOST_FRAMES))
        for reason, frames in ordered
    ]


@dataclass(frozen=True, slots=True)
class ConfirmationFacts:
    """What is to be said of products that ESO's archive misses or has otherwise."""

    night: str
    uncollected: list[Answer]
    missing: list[Answer]
    different: list[Answer]
    most: int
    table: str
    news: bool
    marks: set[str]

    @property
    def count(self) -> int:
        """How many they are."""
        return len(self.uncollected) + len(self.missing) + len(self.different)


def confirmation_facts(folder: Path, archive: Path) -> ConfirmationFacts:
    """Return what is to be said of products that ESO's archive misses or has otherwise."""
    bad = bad_answers(read_confirmed(folder / TABLE))
    missing = [one for one in bad if one.status == MISSING]
    here = {one.product for one in missing if (archive / one.product).exists()}
    return ConfirmationFacts(
        night=folder.name,
        uncollected=[one for one in missing if one.product in here],
        missing=[one for one in missing if one.product not in here],
        different=[one for one in bad if one.status == DIFFERENT],
        most=MOST_FRAMES,
        table=str((folder / TABLE).absolute()),
        news=bool(marks_of(bad) - read_told(folder)),
        marks=marks_of(bad),
    )


class Step(NamedTuple):
    """What the operator can do: words, and a command."""

    words: str
    command: str


@dataclass(frozen=True, slots=True)
class RunFacts:
    """All that the mail says; counts are of all nights together."""

    telescope: str
    nights: list[NightFacts]
    unconfirmed: list[ConfirmationFacts]
    failed: list[FailedJob]
    most_jobs: int
    stopped: bool
    workdir: str
    archive: str
    run_log: str
    refusals: dict[str, tuple[str, int]]

    def total(self, name: str) -> int:
        """Return the sum of a count over all nights."""
        return sum(getattr(night, name) or 0 for night in self.nights)


def run_facts(settings: Configuration, ledger: Ledger, run: Run) -> RunFacts:
    """Return all that the mail says."""
    failed = failed_jobs(run.failed)
    every = sorted({*run.nights, *(job.night for job in failed if job.night)})
    asked = [confirmation_facts(settings.workdir / n, settings.archive) for n in run.asked]
    return RunFacts(
        telescope=settings.telescope,
        nights=[night_facts(ledger, settings.workdir / n, settings.telescope) for n in every],
        unconfirmed=[night for night in asked if night.count],
        failed=failed,
        most_jobs=MOST_JOBS,
        stopped=not run.ended and not failed,
        workdir=str(settings.workdir),
        archive=str(settings.archive),
        run_log=run.log,
        refusals=refusals(queue_of(settings)),
    )


def verdict(facts: RunFacts) -> str:
    """Return the run's outcome in a few words."""
    parts = []
    if jobs := len(facts.failed):
        parts.append(f"{jobs} {'job' if jobs == 1 else 'jobs'} FAILED")
    if facts.stopped:
        parts.append("run STOPPED before its end")
    if raw := facts.total("raw"):
        parts.append(f"{facts.total('delivered')} of {raw} frames delivered")
    elif all(night.raw is not None for night in facts.nights):
        parts.append("no frames")
    if count := sum(night.raw is None for night in facts.nights):
        parts.append(f"{count} {'night' if count == 1 else 'nights'} without table")
    if held := facts.total("held"):
        parts.append(f"{held} held back")
    if count := sum(night.count for night in facts.unconfirmed):
        parts.append(f"{count} {'product' if count == 1 else 'products'} NOT RIGHT AT ESO")
    return ", ".join(parts)


def subject(facts: RunFacts) -> str:
    """Return the mail's subject."""
    nights = night_words([night.night for night in facts.nights])
    return f"{facts.telescope} {nights}: {verdict(facts)}"


def night_words(nights: list[str]) -> str:
    """Return nights as they stand in a subject."""
    if len(nights) <= 3:
        return " ".join(nights) or "no night"
    return f"{nights[0]} to {nights[-1]} ({len(nights)} nights)"


# What to do next


def next_steps(settings: Configuration, run: Run, facts: RunFacts) -> list[Step]:
    """Return what the operator can do."""
    steps = []
    again = command_line(run)
    if facts.failed:
        words = "Read the last lines of each log below and remove the cause. The next run continues"
        steps.append(Step(f"{words} by itself; to continue now:", again))
    if facts.stopped:
        words = "Somebody or a shutdown stopped this run. Nothing is lost; to continue it:"
        steps.append(Step(words, again))
    if wrong := [night.night for night in facts.nights if night.news and night.has_others]:
        folder = Path(settings.corrections)
        files = " ".join(str(correction_file(folder, facts.telescope, n)) for n in wrong)
        words = f"If held-back frames only have wrong headers, correct these in {files}, then:"
        steps.append(Step(words, command_line(run, nights=" ".join(wrong))))
    if lost := [night.night for night in facts.nights if night.news and night.has_unsolved]:
        words = "To deliver the unsolved frames without sky coordinates:"
        command = command_line(run, nights=" ".join(lost), unsolved="deliver")
        steps.append(Step(words, command))
    return steps + confirmation_steps(settings, run, facts.unconfirmed)


def confirmation_steps(
    settings: Configuration, run: Run, unconfirmed: list[ConfirmationFacts]
) -> list[Step]:
    """Return what to do about products that ESO's archive misses or has otherwise."""
    new = [night for night in unconfirmed if night.news]
    steps = []
    if any(night.uncollected for night in new):
        words = "ESO has not collected products listed below, they still lie in the archive "
        words += "directory. Ask ESO whether its collection stands still. What lies there:"
        steps.append(Step(words, f"ls -l {shlex.quote(str(settings.archive))}"))
    if lost := [night.night for night in new if night.missing]:
        words = "ESO collected products that its archive does not show, see below. Ask ESO what "
        words += "became of them; if it has lost them, to deliver the night again:"
        command = command_line(run, nights=" ".join(lost), redeliver="true")
        steps.append(Step(words, command))
    if tables := [night.table for night in new if night.different]:
        words = "ESO has products otherwise than they were delivered, see below. Ask ESO to "
        words += "correct them. What it has:"
        steps.append(Step(words, shlex.join(["grep", DIFFERENT, *tables])))
    return steps


def command_line(run: Run, **settings: str) -> str:
    """Return a line for the shell that runs the same again, with other settings if given."""
    words = [word for word in run.command if word.partition("=")[0] not in settings]
    given = [f"{key}={value}" for key, value in settings.items()]
    flags = [at for at, word in enumerate(words) if word in ("--config", "-C")]
    if given and flags:
        words[flags[-1] + 1 : flags[-1] + 1] = given
    elif given:
        words += ["--config", *given]
    return f"cd {shlex.quote(run.folder)} && {shlex.join(words)}"


# The mail


def render(facts: RunFacts, steps: list[Step], templates: Path) -> tuple[str, str]:
    """Return the mail as plain text and as HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        autoescape=lambda name: name is not None and name.endswith(".html"),
        loader=FileSystemLoader(templates),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    values = {field.name: getattr(facts, field.name) for field in fields(facts)}
    values |= {name: facts.total(name) for name in COUNTS}
    values |= {"subject": subject(facts), "verdict": verdict(facts), "steps": steps}
    text, html = (environment.get_template(f"mail.{end}").render(values) for end in ("txt", "html"))
    return text, html


COUNTS = ("raw", "delivered", "held", "missing", "to_solve", "unsolved", "products")


def is_wanted(when: str, facts: RunFacts) -> bool:
    """Tell whether a run is worth a mail: failures always, other things the first time."""
    if when == "problems":
        new = any(night.news for night in facts.nights)
        bad = any(night.news for night in facts.unconfirmed)
        return bool(facts.failed or facts.stopped or new or bad)
    return when == "always"


def mail_run(
    settings: Configuration,
    ledger: Ledger,
    run: Run,
    templates: Path,
    environ: Mapping[str, str] = os.environ,
) -> str:
    """Mail how a run ended, if it is worth a mail; never raise.

    Parameters
    ----------
    settings : Configuration
        ``corrections`` spelt out.
    templates : Path
        Folder of ``mail.txt`` and ``mail.html``.

    Returns
    -------
    str
        What became of the mail; empty if there was none.
    """
    outcome = LOST
    with errors_reported():
        mail = usable_mail(settings)
        outcome = mail_with(mail, settings, ledger, run, templates, environ) if mail else ""
    return outcome


def mail_with(
    mail: Mail,
    settings: Configuration,
    ledger: Ledger,
    run: Run,
    templates: Path,
    environ: Mapping[str, str],
) -> str:
    """Mail how a run ended, if it is worth a mail, and send what waits from earlier runs."""
    if mail.when == "never":
        return ""
    facts: RunFacts | None = None
    try:
        facts = run_facts(settings, ledger, run)
        wanted = is_wanted(mail.when, facts)
        texts = render(facts, next_steps(settings, run, facts), templates)
        message = compose(mail, subject(facts), *texts)
    except Exception as error:  # A failure must be reported whatever is wrong with the report.
        say(f"the report could not be made: {type(error).__name__}: {error}")
        wanted, message = True, compose(mail, *emergency_report(settings, run, error))
    if not wanted:
        send_queued(settings, environ)
        return ""
    outcome = post(mail, queue_of(settings), message, environ)
    if outcome != LOST and facts:
        for night in facts.nights:
            ledger.report(night.new)
        for asked in facts.unconfirmed:
            write_told(settings.workdir / asked.night, asked.marks)
    return outcome


def emergency_report(settings: Configuration, run: Run, error: Exception) -> tuple[str, str]:
    """Return subject and text of a mail for when the report itself fails."""
    ended = "the run ended well" if run.ended else "the run FAILED"
    subject = f"{settings.telescope} {night_words(run.nights)}: {ended}, no report"
    text = [f"The report could not be made: {type(error).__name__}: {error}", ""]
    if not run.ended:
        text.append(failures(list(run.failed)))
    text += ["", f"Everything of this run lies below {settings.workdir}", command_line(run)]
    return subject, "\n".join(text)
