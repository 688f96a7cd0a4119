"""Run the workflow for a telescope, as cron or systemd calls it: silent when all is well.

Only one run of a telescope is at work. What is left of a killed run is ended first; folders and
source are checked; the run has a time limit. What goes wrong is reported to the person on duty by
mail or, where that is not possible, on standard error, which cron mails. The exit status is that
of snakemake, 1 if it was not started, 0 if another run is at work that does not last too long.
"""

import io
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from scripts.lib.files.lock import FileLock, held_nights, taken
from scripts.lib.files.log import tail
from scripts.lib.ledger.ledger import LedgerError, ledger_path
from scripts.lib.reporting.guide import with_guide
from scripts.lib.reporting.mail import alert, mailed_since, send_queued
from scripts.lib.reporting.mail_queue import queue_of, queued_messages
from scripts.lib.running import health, run_log
from scripts.lib.running.processes import MarkedCommand, end_marked, run_marked
from scripts.lib.running.run_log import Heartbeat, note, run_log_path
from scripts.lib.running.slurm import QueueError, ask_to_end, end_jobs, jobs_of, run_name
from scripts.lib.settings.check import ConfigurationError, Unchecked
from scripts.lib.settings.passwords import read_environment
from scripts.lib.settings.profile import find_profile, read_unchecked
from scripts.lib.settings.records import Configuration
from scripts.lib.sources.opening import open_source
from scripts.migration.earlier_tables import open_ledger

# Options with which Snakemake runs nothing, also joined with others, as in `-np`.
SHORT = re.compile("-[afkpF]*[nDSlhtv].*")
LONG = """--dry-run --dryrun --touch --help --version --summary --detailed-summary --dag --d3dag
--rulegraph --filegraph --report --lint --list-rules --list-target-rules --lt --list-changes --lc
--list-input-changes --li --list-params-changes --lp --list-untracked --lu --list-conda-envs
--unlock --cleanup-metadata --cm --delete-all-output --delete-temp-output --print-compilation
--archive --export-cwl --containerize --generate-unit-tests --conda-cleanup-envs
--conda-create-envs-only""".split()
USAGE = "usage: speculoos-archive run TELESCOPE [options of snakemake]"
# A run a day may begin some hours earlier than that of the day before.
DAILY = timedelta(hours=20)
# Lines of a failed run's log in its mail.
TAIL = 34
# Notes in the ledger of what was reported.
INCOMPLETE, CORRECTIONS = "incomplete nights reported", "corrections reported"


def main(words: list[str] | None = None) -> int:
    """Run the workflow for the telescope that the command line names."""
    words = sys.argv[1:] if words is None else words
    if not words or words[0].startswith("-"):
        asked = words[:1] in (["-h"], ["--help"])
        print(f"{USAGE}\n\n{__doc__}", end="", file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    telescope, *options = words[0].lower(), *words[1:]
    if showing := [word for word in options if runs_nothing(word)]:
        print(f"nothing is run by {' '.join(showing)}: use snakemake itself", file=sys.stderr)
        return 2
    unchecked = Unchecked(telescope)
    try:
        profile = find_profile(telescope)
        unchecked = read_unchecked(profile, options)
        # Before the rest is checked: the mail that says what is wrong with it may need a login.
        os.environ.update(read_environment(unchecked))
        config = unchecked.checked()
    except ConfigurationError as error:
        # Its settings for mail may be right all the same.
        report(unchecked, "not run", str(error))
        return 1
    return run_alone(config, profile, options)


def runs_nothing(word: str) -> bool:
    """Return whether an option only shows something; Snakemake takes abbreviations too."""
    name = word.partition("=")[0]
    long = len(name) > 3 and any(option.startswith(name) for option in LONG)
    return long or bool(SHORT.fullmatch(word))


def run_alone(config: Configuration, profile: Path, options: list[str]) -> int:
    """Run the workflow unless another run is at work; return the exit status."""
    workdir = config.workdir
    lock = FileLock(workdir / health.LOCK)
    try:
        # `scripts.status` has the lock for an instant when it looks.
        if not lock.take(seconds=1):
            return overlap(config, lock.path)
        log = run_log.open_log(run_log_path(workdir), datetime.now(UTC))
    except OSError as error:
        report(config, "not run", "\n".join(health.problems_before(config)) or str(error))
        return 1
    with log:
        left = end_marked(str(workdir))
        others = held_nights(workdir)
        for path in others:
            note(log, f"another run is at work on {path.stem}")
        too_long = max([overlap(config, path, log) for path in others], default=0)
        # A run that was killed, or whose machine was switched off, could not report it itself.
        heartbeat = run_log.read_heartbeat(workdir)
        if problem := health.unended(heartbeat):
            text = f"{problem} What it left undone is completed by the next run that can begin."
            note(log, text)
            report(config, "the last run was killed", text, log)
        heartbeat = heartbeat.began(datetime.now(UTC))
        save_heartbeat(workdir, heartbeat, log)
        stuck = [f"processes {left} of an earlier run cannot be ended"] if left else []
        stuck += end_queued(config, log)
        if problems := stuck or health.problems_before(config):
            status = 1
            for problem in problems:
                note(log, f"not run: {problem}")
            report(config, "not run", "\n".join(problems), log)
        else:
            status = run(config, profile, options, log) or too_long
        # A run by hand of other nights may have succeeded meanwhile.
        heartbeat = heartbeat._replace(success=run_log.read_heartbeat(workdir).success)
        save_heartbeat(workdir, heartbeat.ended(datetime.now(UTC), status), log)
        look_back(config, status, log)
    return status


def overlap(config: Configuration, path: Path, log: BinaryIO | None = None) -> int:
    """Return 0 if another run may hold a lock, 1 if it has for too long, which is reported."""
    age = datetime.now(UTC) - taken(path)
    if age <= timedelta(hours=config.max_age):
        return 0
    text = f"A run has been at work for {health.lasting(age)}: look at it. It holds {path}."
    report(config, "run does not end", text, log)
    return 1


def save_heartbeat(workdir: Path, heartbeat: Heartbeat, log: BinaryIO) -> None:
    """Write down that a run began or ended."""
    try:
        run_log.write_heartbeat(workdir, heartbeat)
    except OSError as error:
        note(log, f"heartbeat: {error}")


def run(config: Configuration, profile: Path, options: list[str], log: BinaryIO) -> int:
    """Run the workflow, report a failure, and return its exit status."""
    workdir, began = config.workdir, datetime.now(UTC)
    # Nights have our own locks: one of Snakemake's is stale, or of a run by hand that needs none.
    shutil.rmtree(workdir / ".snakemake/locks", ignore_errors=True)
    run_log.remove_snakemake_logs(workdir, began)
    # Connections to the source would be idle for as long as the run lasts.
    open_source.cache_clear()
    binaries = Path(sys.executable).parent
    # With its folder, because a file of the profile's name in the working directory would win.
    command = [str(binaries / "snakemake"), "--profile", str(profile.parent), *options]
    note(log, f"start: {' '.join(command)}")
    begin = log.tell()
    environ = os.environ | {"PATH": f"{binaries}:{os.environ.get('PATH', os.defpath)}"}

    def cancel(process: int) -> None:
        # Snakemake itself would wait for its jobs in the queue.
        try:
            name = f"{run_name(config.telescope, workdir, process)}_"
            ask_to_end(
                [job for job in jobs_of(config.telescope, workdir) if job.name.startswith(name)]
            )
        except QueueError as error:
            note(log, str(error))

    # Snakemake keeps its logs below the working directory; the checkout may be somebody else's.
    limit = 3600 * config.time_limit
    ended = run_marked(
        lambda: MarkedCommand(command, str(workdir), environ, workdir, log, limit, asked=cancel)
    )
    for problem in end_queued(config, log):
        note(log, problem)
    try:
        last_lines = "\n".join(tail(run_log_path(workdir), TAIL, begin))
    except OSError as error:
        last_lines = f"{run_log_path(workdir)}: {error.strerror}"
    cause = f", {ended.cause}" if ended.cause else ""
    length = health.lasting(datetime.now(UTC) - began)
    note(log, f"end: exit status {ended.status}{cause}, {length}")
    if not ended.status:
        return 0
    subject = f"run ended with exit status {ended.status}"
    text = f"{ended.cause}\n\n{last_lines}\n\nAll of it: {run_log_path(workdir)}".strip()
    # The run's own mail does not know why it was ended from outside.
    if ended.cause or not mailed_since(config, began):
        report(config, subject, text, log)
    elif queued_messages(queue_of(config)):
        print(f"{config.telescope}: {subject}\n{with_guide(subject, text)}", file=sys.stderr)
    return ended.status


def end_queued(config: Configuration, log: BinaryIO) -> list[str]:
    """End what no run is at work on in SLURM's queue; return what went wrong."""
    at_work = {path.stem for path in held_nights(config.workdir)}
    try:
        ended = end_jobs(config.telescope, config.workdir, lambda job: job.night not in at_work)
    except QueueError as error:
        return [str(error)]
    if ended:
        note(log, f"jobs of an earlier run ended: {' '.join(job.number for job in ended)}")
    return []


def look_back(config: Configuration, status: int, log: BinaryIO) -> None:
    """Look at all nights once a run has ended: to the log, and report if one stays incomplete.

    A run that failed was reported before, and one mail a run is enough.
    """
    now = datetime.now(UTC)
    folder = queue_of(config)
    if queued_messages(folder):
        with logged(log):
            send_queued(config)
    if queued_messages(folder):
        # Nobody may have seen them; cron's own mail takes another way.
        print(f"{config.telescope}: mails wait in {folder}; why: run.log", file=sys.stderr)
    try:
        with open_ledger(config.workdir, config.archive) as ledger:
            found = health.assess(config, ledger, now)
            text = health.summary(found, now)
            note(log, text)
            if config.site:
                from scripts.lib.pages.update import publish_pages  # numpy: only if there is a site

                note(log, publish_pages(config, found.as_json()))
            if status or not ledger_path(config.workdir).exists():
                return
            last = datetime.fromisoformat(ledger.text(INCOMPLETE) or "1970-01-01T00:00:00+00:00")
            # A time of the future was noted while the clock was wrong.
            lately = timedelta() <= now - last < DAILY
            if health.late_nights(found, now, config.place.longitude) and not lately:
                ledger.note(INCOMPLETE, now.isoformat())
                report(config, "nights that stay incomplete", text, log)
            corrections = "\n".join(found.new_corrections)
            if corrections not in ("", ledger.text(CORRECTIONS)):
                report(config, "corrections of delivered nights", corrections, log)
            ledger.note(CORRECTIONS, corrections)
    except Exception as error:  # The run is over; its exit status stands.
        known = isinstance(error, (OSError, LedgerError))
        text = str(error) if known else f"{type(error).__name__}: {error}"
        report(config, "nights cannot be looked at", text, log)


def report(
    config: Configuration | Unchecked, subject: str, text: str, log: BinaryIO | None = None
) -> None:
    """Report to the person on duty: by mail, otherwise on standard error, which cron mails."""
    with logged(log):
        sent = alert(config, subject, text)
    if not sent:
        print(f"{config.telescope}: {subject}\n{with_guide(subject, text)}", file=sys.stderr)


@contextmanager
def logged(log: BinaryIO | None) -> Iterator[None]:
    """Write to the log, if there is one, what is printed about mails."""
    with redirect_stderr(io.StringIO()) as printed:
        yield
    if log:
        for line in printed.getvalue().splitlines():
            note(log, line)


if __name__ == "__main__":
    sys.exit(main())
