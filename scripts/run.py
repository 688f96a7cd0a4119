"""Run the workflow for a telescope, as cron or systemd calls it: silent when all is well.

Only one run of a telescope is at work. What is left of a killed run is ended first; folders and
source are checked; the run has a time limit; who is on duty is told of what goes wrong, by mail
or, where that is not possible, on standard error, which cron mails. The exit status is that of
snakemake, 1 if it was not started, 0 if another run is at work that does not last too long.
"""

import io
import os
import re
import shutil
import sys
import time
from contextlib import redirect_stderr, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from scripts.lib.running.configuration import (
    ConfigurationError,
    bare_configuration,
    checked,
    find_profile,
    read_unchecked,
)
from scripts.lib.running.env_file import read_environment
from scripts.lib.running.health import LOCK, assess, is_held, lasting, late_nights, summary, unended
from scripts.lib.running.heartbeat import read_heartbeat, write_heartbeat
from scripts.lib.running.lock import AlreadyRunning, Lock, taken
from scripts.lib.running.preflight import problems_before
from scripts.lib.running.processes import Ended, end_marked, run_marked
from scripts.lib.running.run_log import note, open_log, remove_snakemake_logs, run_log_path, tail
from scripts.lib.sources.opening import open_source
from scripts.lib.telling.mail import alert, mailed_since, send_spooled, spool_of

TIME_LIMIT = 20
MAX_AGE = 24
# Also `-np`, and abbreviations of `--dry-run`.
DRY = re.compile(r"--dry.*|-[afklptvDFS]*n.*")
USAGE = "usage: python -m scripts.run TELESCOPE [options of snakemake]"
# Seconds between attempts to take the lock: `scripts.status` has it for a moment when it looks.
PAUSES = (0.2, 0.5, 0)
# A run a day may begin some hours earlier than that of the day before.
DAILY = timedelta(hours=20)


def main(words: list[str] | None = None) -> int:
    """Run the workflow for the telescope that the command line names."""
    words = sys.argv[1:] if words is None else words
    if not words or words[0].startswith("-"):
        print(f"{USAGE}\n\n{__doc__}", file=sys.stderr)
        return 2
    telescope, *options = words[0].lower(), *words[1:]
    if dry := [word for word in options if DRY.fullmatch(word)]:
        print(f"nothing is run by {' '.join(dry)}: use snakemake itself", file=sys.stderr)
        return 2
    config = bare_configuration(telescope)
    try:
        profile = find_profile(telescope)
        config |= read_unchecked(profile, options)
        # Before the rest is looked at: the mail that says what is wrong with it may need a login.
        os.environ.update(read_environment(config))
        config = checked(config, f"the configuration of {profile}")
    except ConfigurationError as error:
        # Its settings for mail may be right all the same.
        tell(config, "not run", str(error))
        return 1
    return run_alone(config, profile, options)


def run_alone(config: dict, profile: Path, options: list[str]) -> int:
    """Run the workflow unless another run is at work; return the exit status."""
    workdir = Path(config["workdir"])
    lock = Lock(workdir / LOCK)
    try:
        take(lock)
        log = open_log(run_log_path(workdir), datetime.now(UTC))
    except AlreadyRunning:
        return overlap(config, lock.path)
    except OSError as error:
        tell(config, "not run", "\n".join(problems_before(config)) or str(error))
        return 1
    with log:
        stays = end_marked(str(workdir))
        if not stays and is_held(workdir / "run.lock"):
            note(log, "not run: a run that was started by hand is at work")
            status = overlap(config, workdir / "run.lock", log)
            look_back(config, status, log)
            return status
        tell_of_killed(config, log)
        beat(workdir, log, lambda last: last.began(datetime.now(UTC)))
        if stays:
            status = refuse(config, log, [f"processes {stays} of an earlier run cannot be ended"])
        elif problems := problems_before(config):
            status = refuse(config, log, problems)
        else:
            status = run(config, profile, options, log)
        beat(workdir, log, lambda last: last.ended(datetime.now(UTC), status))
        look_back(config, status, log)
    return status


def tell_of_killed(config: dict, log) -> None:
    """Tell that the run before was killed, or its machine switched off: nobody else could."""
    if problem := unended(read_heartbeat(Path(config["workdir"]))):
        text = f"{problem} What it left undone is completed by the next run that can begin."
        note(log, text)
        tell(config, "the last run was killed", text, log)


def take(lock: Lock) -> None:
    """Take the lock, in several attempts."""
    for pause in PAUSES:
        try:
            return lock.take()
        except AlreadyRunning:
            if not pause:
                raise
        time.sleep(pause)


def overlap(config: dict, path: Path, log=None) -> int:
    """Return the exit status while another run holds a lock; tell if it has for too long."""
    age = datetime.now(UTC) - taken(path)
    if age <= timedelta(hours=config.get("max_age", MAX_AGE)):
        return 0
    text = f"A run has been at work for {lasting(age)}: look at it. It holds {path}."
    tell(config, "run does not end", text, log)
    return 1


def beat(workdir: Path, log, change) -> None:
    """Write down that a run began or ended."""
    try:
        write_heartbeat(workdir, change(read_heartbeat(workdir)))
    except OSError as error:
        note(log, f"heartbeat: {error}")


def refuse(config: dict, log, problems: list[str]) -> int:
    """Tell why a run was not started and return the exit status."""
    for problem in problems:
        note(log, f"not run: {problem}")
    tell(config, "not run", "\n".join(problems), log)
    return 1


def run(config: dict, profile: Path, options: list[str], log) -> int:
    """Run the workflow, tell of a failure, and return its exit status."""
    workdir, began = Path(config["workdir"]), datetime.now(UTC)
    # We hold our own lock, nothing of an earlier run is left: this one can only be stale.
    shutil.rmtree(workdir / ".snakemake/locks", ignore_errors=True)
    remove_snakemake_logs(workdir, began)
    # Connections to the source would be idle for as long as the run lasts.
    open_source.cache_clear()
    binaries = Path(sys.executable).parent
    # With its folder, because a file of the profile's name in the working directory would win.
    command = [str(binaries / "snakemake"), "--profile", str(profile.parent), *options]
    note(log, f"start: {' '.join(command)}")
    begin = log.tell()
    environ = os.environ | {"PATH": f"{binaries}:{os.environ.get('PATH', os.defpath)}"}
    limit = 3600 * config.get("time_limit", TIME_LIMIT)
    # Snakemake keeps its logs below the working directory; the checkout may be somebody else's.
    ended = run_marked(command, str(workdir), environ, workdir, log, limit)
    last_lines = tail(run_log_path(workdir), begin)
    cause = f", {ended.cause}" if ended.cause else ""
    note(log, f"end: exit status {ended.status}{cause}, {lasting(datetime.now(UTC) - began)}")
    if ended.status:
        tell_failure(config, ended, began, last_lines, log)
    return ended.status


def tell_failure(config: dict, ended: Ended, began: datetime, last_lines: str, log) -> None:
    """Tell that a run failed, unless its own mail did."""
    subject = f"run ended with exit status {ended.status}"
    text = f"{ended.cause}\n\n{last_lines}\n\nAll of it: {run_log_path(Path(config['workdir']))}"
    # A run that was ended from outside does not know why.
    if ended.cause or not mailed_since(config, began):
        tell(config, subject, text.strip(), log)
    elif has_waiting_mail(config):
        print(f"{config['telescope']}: {subject}\n{text.strip()}", file=sys.stderr)


def has_waiting_mail(config: dict) -> bool:
    """Tell whether a mail could not be sent yet."""
    return any(spool_of(config).glob("[!.]*.letter"))


def look_back(config: dict, status: int, log) -> None:
    """Look at all nights once a run has ended: to the log, and tell if one stays incomplete.

    Of a run that failed somebody was told already, and one mail a run is enough.
    """
    now = datetime.now(UTC)
    if has_waiting_mail(config):
        send_quietly(lambda: send_spooled(config), log)
    if has_waiting_mail(config):
        # Nobody may have seen what stands in them; cron's own mail takes another way.
        folder = spool_of(config)
        print(f"{config['telescope']}: mails wait in {folder}; why: run.log", file=sys.stderr)
    try:
        health = assess(config, now)
        note(log, summary(health, now))
        late = late_nights(health, now)
        if (
            late
            and not status
            and not told_lately(run_log_path(Path(config["workdir"])).parent, now)
        ):
            tell(config, "nights that stay incomplete", summary(health, now), log)
    except Exception as error:  # The run is over; its exit status stands.
        tell(config, "nights cannot be looked at", f"{type(error).__name__}: {error}", log)


def told_lately(folder: Path, now: datetime) -> bool:
    """Tell whether incomplete nights were told of today, and note that they are now."""
    mark = folder / "told"
    with suppress(OSError):
        if now - datetime.fromtimestamp(mark.stat().st_mtime, UTC) < DAILY:
            return True
    with suppress(OSError):
        mark.touch()
    return False


def tell(config: dict, subject: str, text: str, log=None) -> None:
    """Tell who is on duty: by mail, otherwise on standard error, which cron mails."""
    if not send_quietly(lambda: alert(config, subject, text), log):
        print(f"{config.get('telescope')}: {subject}\n{text}", file=sys.stderr)


def send_quietly(work, log):
    """Return what ``work`` returns; what it says of mails goes to the log."""
    said = io.StringIO()
    with redirect_stderr(said):
        result = work()
    for line in said.getvalue().splitlines() if log else ():
        note(log, line)
    return result


if __name__ == "__main__":
    sys.exit(main())
