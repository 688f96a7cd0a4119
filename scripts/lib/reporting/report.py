"""What the mail of a run says: what was delivered, what was not and why, what to do next."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from scripts import version
from scripts.lib.delivery import confirmation
from scripts.lib.delivery.confirmation import DIFFERENT, MISSING, Answer
from scripts.lib.frames.corrections import correction_file
from scripts.lib.ledger.faults import Reason
from scripts.lib.ledger.ledger import Ledger
from scripts.lib.ledger.records import Frame
from scripts.lib.pages.night_page import read_headline
from scripts.lib.reporting.failures import FailedJob, failures, in_order
from scripts.lib.reporting.guide import PAGE, quoted, sections, with_guide
from scripts.lib.reporting.mail import LOST, errors_reported, post, send_queued, usable_mail
from scripts.lib.reporting.mail_queue import queue_of, refusals, say
from scripts.lib.reporting.message import compose
from scripts.lib.reporting.summary import Summary, summarise
from scripts.lib.reporting.templates import render
from scripts.lib.settings.records import Configuration

NOT_COLLECTED = "not collected"
# A mail that is too long is not read; the rest is on the page.
MOST = {"most_jobs": 12, "most_frames": 20}


class Run(NamedTuple):
    """A run that ended; without failed jobs and not ``ended``, somebody stopped it.

    ``command`` and ``folder`` are how and where it was called, ``log`` is that of the run as a
    whole. For the nights ``asked`` it asked ESO's archive, in jobs that called it ``attempt``.
    """

    nights: list[str]
    failed: Sequence[FailedJob]
    ended: bool
    command: list[str]
    folder: str
    log: str = ""
    asked: Sequence[str] = ()
    attempt: str = ""


@dataclass(frozen=True)
class NightReport:
    """What is said of a night; ``new`` are held-back frames of which no mail has said why.

    ``headline`` is the verdict on its page.
    """

    summary: Summary
    new: list[Frame]
    page: str
    headline: str

    @property
    def has_new(self) -> bool:
        """Whether there are such frames, other than those that every night has."""
        return any(frame.fault and not frame.fault.expected for frame in self.new)

    def is_new(self, unsolved: bool) -> bool:
        """Return whether there are new unsolved frames, or new others."""
        reasons = (frame.fault.reason for frame in self.new if frame.fault)
        return self.has_new and any((one is Reason.UNSOLVED) == unsolved for one in reasons)


@dataclass(frozen=True)
class NotRight:
    """Products of a night that ESO's archive misses or has otherwise, by what is wrong."""

    night: str
    groups: Mapping[str, list[Answer]]
    table: str
    marks: set[str]
    has_new: bool

    @property
    def count(self) -> int:
        """How many they are."""
        return sum(map(len, self.groups.values()))


@dataclass(frozen=True)
class Report:
    """All that the mail says."""

    settings: Configuration
    run: Run
    failed: list[FailedJob]
    nights: list[NightReport]
    unconfirmed: list[NotRight]
    refusals: dict[str, tuple[str, int]]

    @property
    def stopped(self) -> bool:
        """Whether somebody stopped the run."""
        return not self.run.ended and not self.failed


class Step(NamedTuple):
    """What the operator can do: words, a command, and where more is said."""

    words: str
    command: str
    sections: list[str]  # of the guide for operators


def report_of(settings: Configuration, ledger: Ledger, run: Run) -> Report:
    """Return all that the mail says of a run."""
    failed, nights = in_order(run.failed), []
    for night in sorted({*run.nights, *(job.night for job in failed if job.night)}):
        folder = settings.workdir / night
        summary = summarise(settings.telescope, night, ledger, folder / "solved")
        page = (folder / "night.html").absolute()
        new = ledger.unreported(night)
        path = str(page) if page.exists() else ""
        nights.append(NightReport(summary, new, path, read_headline(folder)))
    asked = [not_right(settings.workdir / night, settings.archive) for night in run.asked]
    unconfirmed = [night for night in asked if night.count]
    return Report(settings, run, failed, nights, unconfirmed, refusals(queue_of(settings)))


def not_right(folder: Path, archive: Path) -> NotRight:
    """Return what is said of products that ESO's archive misses or has otherwise."""
    table = folder / confirmation.TABLE
    bad = confirmation.bad_answers(confirmation.read_confirmed(table))
    groups: dict[str, list[Answer]] = {NOT_COLLECTED: [], MISSING: [], DIFFERENT: []}
    for one in bad:
        lies_here = one.status == MISSING and (archive / one.product).exists()
        groups[NOT_COLLECTED if lies_here else one.status].append(one)
    marks = confirmation.marks_of(bad)
    has_new = bool(marks - confirmation.read_reported(folder))
    return NotRight(folder.name, groups, str(table.absolute()), marks, has_new)


def verdict(report: Report) -> str:
    """Return the run's outcome in a few words."""
    judged = [night.summary for night in report.nights if night.summary.judged]
    summaries = [night.summary for night in report.nights]
    parts = []
    if report.failed:
        parts.append(f"{counted(len(report.failed), 'job')} FAILED")
    if report.stopped:
        parts.append("run STOPPED before its end")
    if due := sum(one.raw - len(one.not_for_eso) for one in judged):
        parts.append(f"{sum(one.delivered for one in summaries)} of {due} frames delivered")
    elif len(judged) == len(summaries):
        parts.append("no frames")
    if count := len(summaries) - len(judged):
        parts.append(f"{counted(count, 'night')} without table")
    if held := sum(len(one.held) for one in summaries):
        parts.append(f"{held} held back")
    if count := sum(night.count for night in report.unconfirmed):
        parts.append(f"{counted(count, 'product')} NOT RIGHT AT ESO")
    return ", ".join(parts)


def counted(count: int, what: str) -> str:
    """Return a number of things."""
    return f"{count} {what}{'s' if count != 1 else ''}"


def subject(report: Report) -> str:
    """Return the mail's subject."""
    nights = night_words([night.summary.night for night in report.nights])
    return f"{report.settings.telescope} {nights}: {verdict(report)}"


def night_words(nights: list[str]) -> str:
    """Return nights as they stand in a subject."""
    if len(nights) <= 3:
        return " ".join(nights) or "no night"
    return f"{nights[0]} to {nights[-1]} ({len(nights)} nights)"


# What to do next


def next_steps(report: Report) -> list[Step]:
    """Return what the operator can do."""
    settings, run, steps = report.settings, report.run, []
    if report.failed:
        words = "Read the last lines of each log below and remove the cause. The next run "
        words += "continues by itself; to continue now:"
        found = sections(["job failed", *(job.error for job in report.failed)])
        steps.append(Step(words, command_line(run), found))
    if report.stopped:
        words = "Somebody or a shutdown stopped this run. Nothing is lost; to continue it:"
        steps.append(Step(words, command_line(run), sections(["run stopped"])))
    if wrong := [one.summary.night for one in report.nights if one.is_new(unsolved=False)]:
        folder = Path(settings.corrections)
        files = (str(correction_file(folder, settings.telescope, night)) for night in wrong)
        words = "If held-back frames only have wrong headers, correct these in "
        words += f"{' '.join(files)}, then:"
        found = sections(["frames held back"])
        steps.append(Step(words, command_line(run, nights=" ".join(wrong)), found))
    if lost := [one.summary.night for one in report.nights if one.is_new(unsolved=True)]:
        words = "To deliver the unsolved frames without sky coordinates:"
        command = command_line(run, nights=" ".join(lost), unsolved="deliver")
        steps.append(Step(words, command, sections(["frames held back"])))
    new, at_eso = [one for one in report.unconfirmed if one.has_new], sections(["not right at ESO"])
    if any(one.groups[NOT_COLLECTED] for one in new):
        words = "ESO has not collected products listed below, they are still in the archive "
        words += "directory. Ask ESO whether its collection stands still. What is there:"
        command = f"ls -l {shlex.quote(str(settings.archive))}"
        steps.append(Step(words, command, at_eso))
    if lost := [one.night for one in new if one.groups[MISSING]]:
        words = "ESO collected products that its archive does not show, see below. Ask ESO what "
        words += "became of them; if it has lost them, to deliver the night again:"
        command = command_line(run, nights=" ".join(lost), redeliver="true")
        steps.append(Step(words, command, at_eso))
    if tables := [one.table for one in new if one.groups[DIFFERENT]]:
        words = "ESO has products otherwise than they were delivered, see below. Ask ESO to "
        words += "correct them. What it has:"
        steps.append(Step(words, shlex.join(["grep", DIFFERENT, *tables]), at_eso))
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


def texts(report: Report, templates: Path) -> tuple[str, str]:
    """Return the mail as plain text and as HTML."""
    steps = next_steps(report)
    facts = vars(report) | MOST | {"stopped": report.stopped, "steps": steps, "quoted": quoted}
    facts |= {"verdict": verdict(report), "subject": subject(report), "guide": PAGE}
    named = [name for step in steps for name in step.sections] or sections(["report"])
    facts |= {"sections": list(dict.fromkeys(named)), "version": version()}
    return render(templates / "mail.txt", **facts), render(templates / "mail.html", **facts)


def is_wanted(when: str, report: Report) -> bool:
    """Return whether a run is worth a mail: failures always, other things the first time."""
    new = any(night.has_new for night in report.nights)
    bad = any(night.has_new for night in report.unconfirmed)
    problems = bool(report.failed or report.stopped or new or bad)
    return when == "always" or (when == "problems" and problems)


def mail_run(
    settings: Configuration,
    ledger: Ledger,
    run: Run,
    templates: Path,
    environ: Mapping[str, str] = os.environ,
) -> str:
    """Mail how a run ended, if it is worth a mail; if not, send what waits. Never raise.

    Returns
    -------
    str
        What became of the mail; empty if there was none.
    """
    outcome, report = LOST, None
    with errors_reported():
        mail = usable_mail(settings)
        if mail is None or mail.when == "never":
            return ""
        try:
            report = report_of(settings, ledger, run)
            wanted = is_wanted(mail.when, report)
            message = compose(mail, subject(report), *texts(report, templates))
        except Exception as error:  # A failure must be reported whatever is wrong with the report.
            say(f"the report could not be made: {type(error).__name__}: {error}")
            wanted, message = True, compose(mail, *emergency_report(settings, run, error))
        if not wanted:
            send_queued(settings, environ)
            return ""
        outcome = post(mail, queue_of(settings), message, environ)
        if outcome != LOST and report:
            for night in report.nights:
                ledger.report(night.new)
            for one in report.unconfirmed:
                confirmation.write_reported(settings.workdir / one.night, one.marks)
    return outcome


def emergency_report(settings: Configuration, run: Run, error: Exception) -> tuple[str, str]:
    """Return subject and text of a mail for when the report itself fails."""
    ended = "the run ended well" if run.ended else "the run FAILED"
    subject = f"{settings.telescope} {night_words(run.nights)}: {ended}, no report"
    text = [f"The report could not be made: {type(error).__name__}: {error}", ""]
    if not run.ended:
        text.append(failures(run.failed))
    text += ["", f"Everything of this run is below {settings.workdir}", command_line(run)]
    return subject, with_guide("report" if run.ended else "job failed", "\n".join(text))
