"""What rules ask at planning time: nights, listings, products that are still to be delivered.

A rule's params hold what its product is made of: a change makes it anew. How a job goes about it
(source, streams, archive …) its script takes from the configuration.

Planning never raises for one night: what is wrong with a night is its job's to say.
"""

import os
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from scripts.lib.running import planning
from scripts.lib.running.configuration import ConfigurationError
from scripts.lib.delivery.confirmation import FAILED, causes, nights_to_confirm
from scripts.lib.frames.corrections import correction_file
from scripts.lib.running.env_file import read_environment
from scripts.lib.telling.failures import failures
from scripts.lib.running.lock import Lock
from scripts.lib.telling.mail import alert
from scripts.lib.nights.dates import parse_nights
from scripts.lib.delivery.patience import PATIENCE, count_failure
from scripts.lib.running.processes import MARKER
from scripts.lib.frames.programmes import programmes_of
from scripts.lib.telling.report import Run, mail_run
from scripts.lib.nights.times import iso
from scripts.lib.telling.transfer_lists import write_transfer_lists
from scripts.lib.delivery.transfer_log import copy_or_count

# Nothing here does linear algebra, and numpy's threads for it double the start-up of every job.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

try:
    os.environ.update(read_environment(config))
except ConfigurationError as error:
    raise WorkflowError(str(error))

RUN = Lock(Path("run.lock"))
NOW = datetime.now(UTC)
NIGHTS = planning.wanted_nights(config, NOW)
# ESO is asked anew in each run.
THIS_RUN = iso(NOW)
TO_CONFIRM = nights_to_confirm(config, parse_nights(config["nights"]), NOW)
# The tables are compared by content, so a fresh checkout makes nothing anew.
TABLES = {
    name: f"{workflow.basedir}/config/{name}.csv" for name in ("telescopes", "kinds", "keywords")
}
CHECKS = f"{workflow.basedir}/config/checks.csv"
TEMPLATE = f"{workflow.basedir}/templates/night.html"
CUBES = config["products"] == "cubes"
CORRECTIONS = config["corrections"] or f"{workflow.basedir}/config/corrections"
MAIL_TEMPLATES = Path(workflow.basedir) / "templates"
MAILED = config | {"corrections": CORRECTIONS}

# A programme named on the command line is that of all frames.
NAMED = "programme" in workflow.config_settings.config
PROGRAMMES = [] if NAMED else config["programmes"]

# What frames are solved with: a change solves them anew.
SOLVING = {key: config[key] for key in ("catalogue", "index", "solve", "dark")}
SOLVED = config["solve"] != "never" and bool(config["catalogue"] or config["index"])


def ended_run(failed, ended, logs):
    """What a mail is to tell of this run."""
    command = [str(Path(sys.executable).with_name("snakemake")), *sys.argv[1:]]
    path = next((str(Path(path).absolute()) for path in logs), "")
    return Run(NIGHTS, failed, ended, command, workflow.workdir_init, path, TO_CONFIRM)


def mail_failure(logs):
    """Mail that the run failed, unless the wrapper does: why a run was stopped it alone knows."""
    stopped = workflow.scheduler._user_kill
    if not (stopped and MARKER in os.environ):
        mail_run(MAILED, ended_run(workflow.scheduler.failed, False, logs), MAIL_TEMPLATES)


def copy_transfer_logs():
    """Copy the transfer logs to the survey's server; tell somebody once it keeps failing."""
    try:
        count, cause = copy_or_count(Path(), config["transfer_log_remote"])
        if count:
            print(cause, file=sys.stderr)
        if count == PATIENCE:
            alert(MAILED, f"transfer log not copied, {count} times in a row", cause)
    except OSError as error:
        # The run is over; its outcome stands.
        print(f"transfer log not copied: {error}", file=sys.stderr)


def count_unanswered():
    """Count the runs in a row that asked ESO's archive in vain; tell somebody of the third."""
    try:
        if asked := causes(Path(), TO_CONFIRM, THIS_RUN):
            cause = next(filter(None, asked), "")
            count = count_failure(Path(FAILED), cause)
            if cause:
                print(f"ESO's archive could not be asked: {cause}", file=sys.stderr)
            if count == PATIENCE:
                alert(MAILED, f"ESO's archive could not be asked, {count} runs in a row", cause)
    except OSError as error:
        # The run is over; its outcome stands.
        print(f"confirmations not counted: {error}", file=sys.stderr)


def list_transfers():
    """Write for each night what was transferred and what was not."""
    for night in NIGHTS:
        try:
            write_transfer_lists(Path(), night)
        except planning.UNREADABLE as error:
            print(f"lists of transferred files not written: {error}", file=sys.stderr)


def wanted_tables(wildcards):
    """Tables of the nights to bring up to date.

    A page does not ask for one that is missing: an inventory that fails, or is stopped, removes
    the table of before, and the page of before is still there.
    """
    return [f"{night}/frames.csv" for night in NIGHTS]


def wanted_pages(wildcards):
    """Pages of the nights to bring up to date."""
    return [f"{night}/night.html" for night in NIGHTS]


def wanted_confirmations(wildcards):
    """Tables of the earlier nights that ESO's archive is to be asked for."""
    return [f"{night}/confirmed.csv" for night in TO_CONFIRM]


def observatory(wildcards):
    """What frames are judged by and written with: a change makes a night's headers anew."""
    settings = ("telescope", "camera", "programme", "origin", "pi_coi")
    return {key: config[key] for key in settings} | {
        "programme": programme(wildcards),
        "corrections": CORRECTIONS,
        # A file that was removed is no input that has changed.
        "corrected": bool(night_corrections(wildcards)),
        "programmes": programmes_of(wildcards.night, PROGRAMMES),
    }


def programme(wildcards):
    """The programme id of the night's frames that no entry of `programmes` assigns."""
    return config["programme"] if NAMED else programme_kept(wildcards.night)


@cache
def programme_kept(night):
    """The telescope's programme id, or that under which a night was delivered."""
    entries = programmes_of(night, PROGRAMMES)
    return planning.programme_of_night(Path(night), entries, config["programme"])


def damage(wildcards):
    """What is wrong with the night's tables: its job is made to run, and tells."""
    return planning.damage(Path(wildcards.night))


def source_listing(wildcards):
    """A text that changes when frames arrive at the source."""
    night = wildcards.night
    source, mounted = config["source"], config["source_mounted"]
    return planning.listing_digest(source, Path(night), night, NOW.date(), mounted)


def night_corrections(wildcards):
    """The night's correction file, if it has one."""
    path = correction_file(Path(CORRECTIONS), config["telescope"], wildcards.night)
    return [str(path)] if path.exists() else []


def solved_tables(wildcards):
    """Solutions of the night's science sequences, if they are to be solved."""
    frames = Path(checkpoints.inventory.get(**wildcards).output.frames)
    science = planning.science_sequences(frames) if SOLVED else []
    return [f"{wildcards.night}/solved/{sequence}.fits" for sequence in science]


def undelivered(wildcards):
    """Receipts that the night still lacks."""
    frames = Path(checkpoints.inventory.get(**wildcards).output.frames)
    return planning.undelivered(frames, frames.parent / "archived", CUBES, config["redeliver"])


def product(wildcards):
    """The cube, or the folder of frames, that a receipt is for."""
    if CUBES:
        return f"{wildcards.night}/cubes/{wildcards.product}.fits"
    return f"{wildcards.night}/frames/{wildcards.product}"
