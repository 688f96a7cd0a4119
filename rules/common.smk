"""What rules ask at planning time: nights, and what is to be done in each of them.

It follows from the ledger and the source (scripts/lib/running/planning.py), not from the times of
files. Before a real run begins, what is outdated is removed, so that Snakemake makes it again.

Planning never raises for one night: what is wrong with a night is its job's to say.
"""

import os
import sys
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from scripts.lib.delivery.confirmation import FAILED, causes, nights_to_confirm
from scripts.lib.delivery.publish import remove_forgotten
from scripts.lib.delivery.retries import PATIENCE, count_failure
from scripts.lib.delivery.transfer_log import copy_or_count, write_transfer_logs
from scripts.lib.files.lock import FileLock
from scripts.lib.frames.corrections import correction_file
from scripts.migration.earlier_tables import open_ledger
from scripts.lib.ledger.ledger import LedgerError
from scripts.lib.nights.dates import parse_nights
from scripts.lib.nights.times import iso
from scripts.lib.running.planning import STAMPS, Planner, concerned, table_sequences
from scripts.lib.running.processes import MARKER
from scripts.lib.settings.passwords import read_environment
from scripts.lib.settings.records import Configuration
from scripts.lib.reporting.failures import failures
from scripts.lib.reporting.mail import alert
from scripts.lib.reporting.report import Run, mail_run
from scripts.lib.reporting.transfer_lists import write_transfer_lists

# Nothing here does linear algebra, and numpy's threads for it double the start-up of every job.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

SETTINGS = Configuration.of(config)
try:
    os.environ.update(read_environment(SETTINGS))
except ConfigurationError as error:
    raise WorkflowError(str(error))

RUN = FileLock(Path("run.lock"))
NOW = datetime.now(UTC)
try:
    LEDGER = open_ledger(Path(), SETTINGS.archive)
except LedgerError as error:
    raise WorkflowError(str(error))
# A programme named on the command line is that of all frames.
NAMED = SETTINGS.programme if "programme" in workflow.config_settings.config else ""
PLANNER = Planner(LEDGER, SETTINGS, NOW.date(), NAMED)
NIGHTS = PLANNER.wanted_nights(NOW)
# ESO is asked again in each run.
THIS_RUN = iso(NOW)
TO_CONFIRM = nights_to_confirm(LEDGER, SETTINGS, parse_nights(SETTINGS.nights), NOW)
# The tables are compared by content, so a fresh checkout makes nothing again.
TABLES = {
    name: f"{workflow.basedir}/config/{name}.csv" for name in ("telescopes", "kinds", "keywords")
}
CHECKS = f"{workflow.basedir}/config/checks.csv"
TEMPLATE = f"{workflow.basedir}/templates/night.html"
CUBES = SETTINGS.products == "cubes"
MAIL_TEMPLATES = Path(workflow.basedir) / "templates"

# What frames are solved with: a change solves them again.
SOLVING = {key: getattr(SETTINGS, key) for key in ("catalogue", "index", "solve", "dark")}
SOLVED = SETTINGS.solve != "never" and bool(SETTINGS.catalogue or SETTINGS.index)


def is_real():
    """Tell whether jobs will be run: not by `-n`, `--dag`, `--summary`, nor in a job of a run."""
    shown = workflow.executor_plugin is None or workflow.dryrun or workflow.touch
    return workflow.is_main_process and not shown


@cache
def plan_of(night):
    """What is to be done for a night, as of the beginning of the run."""
    return PLANNER.plan_wanted(night)


def begin():
    """Take the run's lock; from here on the ledger is on the disk."""
    if not RUN.held:
        if not RUN.take(seconds=1):
            raise WorkflowError(f"another run is at work in {RUN.path.parent}: wait until it has ended")
        LEDGER.save()


@cache
def prepare():
    """Write down requests, remove what is outdated, say what new corrections concern; once."""
    begin()
    for one in concerned(LEDGER, SETTINGS):
        print(one, file=sys.stderr)
    for night in NIGHTS:
        if SETTINGS.redeliver:
            PLANNER.request(night)
        PLANNER.prepare(night, plan_of(night))
        if SETTINGS.archive.is_dir():
            remove_forgotten(LEDGER, SETTINGS.archive, night)


def ended_run(failed, ended, logs):
    """What a mail is to say of this run."""
    command = [str(Path(sys.executable).with_name("snakemake")), *sys.argv[1:]]
    path = next((str(Path(path).absolute()) for path in logs), "")
    return Run(
        nights=NIGHTS,
        failed=failed,
        ended=ended,
        command=command,
        folder=workflow.workdir_init,
        log=path,
        asked=TO_CONFIRM,
    )


def mail_failure(logs):
    """Mail that the run failed, unless the wrapper does: why a run was stopped it alone knows."""
    stopped = workflow.scheduler._user_kill
    if not (stopped and MARKER in os.environ):
        run = ended_run(workflow.scheduler.failed, False, logs)
        mail_run(SETTINGS, LEDGER, run, MAIL_TEMPLATES)


def copy_transfer_logs():
    """Copy the transfer logs to the survey's server; tell somebody once it keeps failing."""
    try:
        count, cause = copy_or_count(Path(), SETTINGS.transfer_log_remote)
        if count:
            print(cause, file=sys.stderr)
        if count == PATIENCE:
            alert(SETTINGS, f"transfer log not copied, {count} times in a row", cause)
    except OSError as error:
        # The run is over; its outcome stands.
        print(f"transfer log not copied: {error}", file=sys.stderr)


def count_unanswered():
    """Count the runs in a row that ESO's archive did not answer; tell somebody of the third."""
    try:
        if asked := causes(Path(), TO_CONFIRM, THIS_RUN):
            cause = next(filter(None, asked), "")
            count = count_failure(Path(FAILED), cause)
            if cause:
                print(f"ESO's archive could not be asked: {cause}", file=sys.stderr)
            if count == PATIENCE:
                alert(SETTINGS, f"ESO's archive could not be asked, {count} runs in a row", cause)
    except OSError as error:
        # The run is over; its outcome stands.
        print(f"confirmations not counted: {error}", file=sys.stderr)


def list_transfers():
    """Write the transfer logs, and for each night what was transferred and what was not."""
    try:
        write_transfer_logs(Path(), LEDGER.transfers())
        for night in NIGHTS:
            write_transfer_lists(LEDGER, Path(), night)
    except (OSError, LedgerError) as error:
        # The run is over; its outcome stands.
        print(f"lists of transferred files not written: {error}", file=sys.stderr)


def wanted_tables(wildcards):
    """Tables of the nights to bring up to date.

    A page does not ask for one that is missing.
    """
    if is_real():
        prepare()
    return [f"{night}/frames.csv" for night in NIGHTS]


def wanted_pages(wildcards):
    """Pages of the nights to bring up to date."""
    return [f"{night}/{name}" for night in NIGHTS for name in ("night.html", f"{STAMPS}/night")]


def wanted_confirmations(wildcards):
    """Tables of the earlier nights that ESO's archive is to be asked for."""
    return [f"{night}/confirmed.csv" for night in TO_CONFIRM]


def shown(work):
    """Return a parameter that makes a dry run show a job; a real one has removed its output."""

    def parameter(wildcards):
        wanted = wildcards.night in NIGHTS and getattr(plan_of(wildcards.night), work)
        return str(wanted) if wanted and not is_real() else ""

    return parameter


def programme(wildcards):
    """The programme id of the night's frames that no entry of `programmes` assigns."""
    return PLANNER.programme(wildcards.night)[0]


def named(wildcards):
    """Whether that id was named by hand: then it is that of all frames."""
    return PLANNER.programme(wildcards.night)[1]


def snapshot(wildcards):
    """Digest of the night's table: who reads another one fails."""
    return LEDGER.night(wildcards.night).snapshot


def headings(wildcards):
    """What headers are written with: a change makes a night's headers again."""
    keys = ("telescope", "camera", "origin", "pi_coi", "longitude", "products", "unsolved")
    return {key: config[key] for key in keys}


def night_corrections(wildcards):
    """The night's correction file, if it has one."""
    path = correction_file(Path(SETTINGS.corrections), SETTINGS.telescope, wildcards.night)
    return [str(path)] if path.exists() else []


def raw_to_judge(wildcards):
    """The mark that a night's raw copies are complete, if frames are to be judged."""
    return [f"{wildcards.night}/raw/complete"] if plan_of(wildcards.night).judging else []


def solved_tables(wildcards):
    """Solutions of the night's science sequences, if they are to be solved."""
    table = checkpoints.inventory.get(night=wildcards.night).output.frames
    science = wildcards.group == "S" and SOLVED
    names = [name for name in table_sequences(Path(table)) if name.startswith("S_")]
    return [f"{wildcards.night}/solved/{name}.fits" for name in names] if science else []


def undelivered(wildcards):
    """Stamps of the jobs that deliver what the night still lacks."""
    checkpoints.inventory.get(**wildcards)
    targets = PLANNER.deliveries(wildcards.night).targets
    return [f"{wildcards.night}/{STAMPS}/{target}" for target in sorted(targets)]


def product(wildcards):
    """The cube, or the folder of frames, that is to be delivered; none if it is staged already."""
    night, target = wildcards.night, wildcards.product
    if target in PLANNER.deliveries(night).staged:
        return []
    return f"{night}/cubes/{target}.fits" if CUBES else f"{night}/frames/{target}"


def headers(wildcards):
    """The folder of finished headers that a sequence is in."""
    name = wildcards.get("sequence") or wildcards.product
    sequence = name.partition("_")[2] if name.startswith("SPECU") else name
    return f"{wildcards.night}/headers/{sequence.partition('_')[0]}"


def headers_of_product(wildcards):
    """The same for what is to be delivered; none if it is staged already."""
    return headers(wildcards) if product(wildcards) else []
