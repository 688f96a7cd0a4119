"""Planning: the nights of a run, and what is to be done in each of them.

It follows from the ledger and the source (scripts/lib/running/planning.py), not from the times of
files. Before a real run begins, what is outdated is removed, so that Snakemake makes it again.

Planning never raises for one night: the job of a night reports what is wrong with it.
"""

import os
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from scripts.lib.delivery.confirmation import nights_to_confirm
from scripts.lib.delivery.publish import remove_hidden
from scripts.lib.files.lock import lock_of, shared_lock
from scripts.lib.frames.corrections import correction_file
from scripts.lib.frames.names import group_of, sequence_of
from scripts.migration.earlier_tables import open_ledger
from scripts.lib.ledger.ledger import Ledger, LedgerError, ledger_path
from scripts.lib.nights.cameras import of_night
from scripts.lib.nights.dates import parse_nights
from scripts.lib.nights.times import iso
from scripts.lib.running.one_night import NIGHT, why_not
from scripts.lib.running.planning import BATCH, STAMPS, Planner, concerned, table_sequences
from scripts.lib.running.processes import MARKER
from scripts.lib.running.slurm import QueueError, end_jobs, run_name
from scripts.lib.settings.passwords import read_environment
from scripts.lib.settings.records import Configuration

# Nothing here does linear algebra, and numpy's threads for it double the start-up of every job.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

SETTINGS = Configuration.of(config)
try:
    # No rule whose jobs go to other hosts needs a password.
    os.environ.update({} if is_job() else read_environment(SETTINGS))
except ConfigurationError as error:
    raise WorkflowError(str(error))

NOW = datetime.now(UTC)
try:
    if is_job():
        LEDGER = Ledger(ledger_path(Path()), reading=True)
    else:
        LEDGER = open_ledger(Path(), SETTINGS.archive)
except LedgerError as error:
    raise WorkflowError(str(error))
# A programme named on the command line is that of all frames.
NAMED = SETTINGS.programme if named_by_hand("programme") else ""
PLANNER = Planner(LEDGER, SETTINGS, NOW.date(), NAMED)
# The main process alone lists the source: a job on another host may not see it.
NIGHTS = [] if is_job() else PLANNER.wanted_nights(NOW)
# ESO is asked again in each run.
THIS_RUN = iso(NOW)
LOCKS, PLANS = {}, {}  # by night
TO_CONFIRM = nights_to_confirm(LEDGER, SETTINGS, parse_nights(SETTINGS.nights), NOW)
# The tables are compared by content, so a fresh checkout makes nothing again.
TABLES = {
    name: f"{workflow.basedir}/config/{name}.csv"
    for name in ("telescopes", "sites", "kinds", "keywords", "reserved")
}
CHECKS = f"{workflow.basedir}/config/checks.csv"
TEMPLATES = Path(workflow.basedir) / "templates"

# What frames are solved with: a change solves them again.
SOLVING = {key: getattr(SETTINGS, key) for key in ("catalogue", "index", "solve", "dark")}
SOLVING |= {"epoch": SETTINGS.catalogue_epoch} if SETTINGS.catalogue_epoch else {}
SOLVED = SETTINGS.solve != "never" and bool(SETTINGS.catalogue or SETTINGS.index)


def reported(output, name):
    """Return an output that `snakemake --report` shows, with the caption of a name."""
    labels = {"telescope": SETTINGS.telescope, "content": name}
    caption = f"{workflow.basedir}/docs/report/{name}.rst"
    return report(output, caption=caption, category="{night}", labels=labels)


def plan_of(night):
    """What is to be done for a night, as of the beginning of the run."""
    if night not in PLANS:
        PLANS[night] = PLANNER.plan_wanted(night)
    return PLANS[night]


def is_mine(night):
    """Take the lock of a night for as long as the run lasts; return whether it is free."""
    lock = LOCKS.setdefault(night, lock_of(Path(), night))
    return lock.held or lock.take(seconds=1)


def begin(nights):
    """Take the locks of nights; from here on the ledger is on the disk."""
    if others := [night for night in nights if not is_mine(night)]:
        raise WorkflowError(
            f"another run is at work on {' '.join(others)}: wait until it has ended"
        )
    with shared_lock(Path()):
        LEDGER.save()
    try:
        end_jobs(SETTINGS.telescope, Path(), lambda job: job.night in nights)
    except QueueError as error:
        raise WorkflowError(str(error))


@cache
def prepare():
    """Write down requests, remove what is outdated, say what new corrections concern; once.

    Nights that another run is at work on are left to it, unless there are no others.
    """
    if problem := why_not(Path(), os.environ):
        raise WorkflowError(problem)
    begin([])
    work = list(NIGHTS)
    if len(NIGHTS) > SETTINGS.nights_together:
        request(NIGHTS)
        work = [night for night in NIGHTS if not plan_of(night).complete]
    if len(work) > SETTINGS.nights_together:
        run_apart(work)
        NIGHTS[:] = [night for night in NIGHTS if night not in work]
        work = []
    if others := [night for night in work if not is_mine(night)]:
        print(f"left to the run that is at work on it: {' '.join(others)}", file=sys.stderr)
    if others != work or not SETTINGS.nights:
        NIGHTS[:] = [night for night in NIGHTS if night not in others]
    begin([night for night in NIGHTS if night in work])
    request(NIGHTS)
    for one in concerned(LEDGER, SETTINGS):
        print(one, file=sys.stderr)
    for night in work:
        PLANS.pop(night, None)  # it was planned before its lock was taken
    for night in NIGHTS:
        PLANNER.prepare(night, plan_of(night))
    if SETTINGS.archive.is_dir():
        remove_hidden(LEDGER, SETTINGS.archive)


def request(nights):
    """Write down that nights are to be delivered again, if they are."""
    for night in nights if SETTINGS.redeliver else ():
        PLANNER.request(night)


def run_apart(nights):
    """Bring many nights up to date, each in a run of its own.

    A run plans all its nights again whenever the frames of one are known.
    """
    from scripts.lib.running.campaign_report import walk_nights

    failed = walk_nights(SETTINGS, LEDGER, nights, command_line(), called_in(), TEMPLATES)
    if failed:
        raise WorkflowError(f"{len(failed)} of {len(nights)} nights: {'; '.join(failed)}")


def command_line():
    """How Snakemake was called."""
    return [str(Path(sys.executable).with_name("snakemake")), *sys.argv[1:]]


def end_run(ended, logs):
    """Report the run: lists, mail, transfer logs; the wrapper mails why it stopped a run."""
    # Imported here: planning and dry runs do without.
    from scripts.lib.pages.update import publish_pages
    from scripts.lib.reporting import end_of_run
    from scripts.lib.reporting.report import Run
    from scripts.lib.running.health import assess
    from scripts.lib.running.run_log import record_by_hand

    run = Run(
        nights=NIGHTS,
        failed=[] if ended else failed_jobs(SETTINGS.archive),
        ended=ended,
        command=command_line(),
        folder=called_in(),
        log=next((str(Path(path).absolute()) for path in logs), ""),
        asked=TO_CONFIRM,
        attempt=THIS_RUN,
    )
    end_of_run.end_run(SETTINGS, LEDGER, run)
    if NIGHT in os.environ:
        return  # a campaign reports all its nights
    mail = ended or not (was_stopped() and MARKER in os.environ)
    end_of_run.report_run(SETTINGS, LEDGER, run, TEMPLATES, mail)
    if MARKER in os.environ or not is_real():
        return  # the wrapper does the rest, which knows how the run ended
    try:
        record_by_hand(Path(), NOW, datetime.now(UTC), int(not ended))
    except OSError as error:
        print(f"heartbeat: {error.strerror}", file=sys.stderr)
    if SETTINGS.site:
        print(publish_pages(SETTINGS, assess(SETTINGS, LEDGER, NOW).as_json()), file=sys.stderr)


def check_until():
    """Refuse `--until` of rules whose jobs follow from a night's table.

    Snakemake looks for them before it reads the table: it would do nothing and end with success.
    """
    for name in sorted(until() & {"solve", "header", "cube", "frames", "archive", "batch"}):
        made = getattr(rules, name).output[0]
        raise WorkflowError(
            f"--until {name}: ask for what this rule makes instead, {made}; its jobs are known "
            "only once {night}/frames.csv is read"
        )


def wanted_tables(wildcards):
    """Tables of the nights to bring up to date.

    A page does not request a table that is missing.
    """
    check_until()
    if is_real():
        prepare()
    return [f"{night}/frames.csv" for night in NIGHTS]


def wanted_pages(wildcards):
    """Pages of the nights to bring up to date."""
    return [f"{night}/{name}" for night in NIGHTS for name in ("night.html", f"{STAMPS}/night")]


def wanted_confirmations(wildcards):
    """Tables of the earlier nights that are to be queried at ESO; not those of another run."""
    if is_real():
        TO_CONFIRM[:] = filter(is_mine, TO_CONFIRM)
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
    """Digest of the night's table: a job that reads another table fails."""
    return LEDGER.night(wildcards.night).snapshot


def camera(wildcards):
    """The camera of the night: a change solves its frames again and makes its headers again."""
    return {"camera": asdict(of_night(SETTINGS, wildcards.night).camera)}


@cache
def count_frames(night):
    """Number of a night's frames, once they are listed."""
    return len(LEDGER.frames(night))


def memory(base, per_frame):
    """Return a job's memory in MB: with Snakemake's own, and what each frame of the night adds."""
    return lambda wildcards: round(base + per_frame * count_frames(wildcards.night))


def minutes(per_frame):
    """Return the minutes after which SLURM ends a job: a start on a busy disk, and each frame's."""
    return lambda wildcards: round(30 + per_frame * count_frames(wildcards.night))


def headings(wildcards):
    """What headers are written with: a change makes a night's headers again."""
    keys = ("telescope", "pi_coi", "unsolved")
    place = {"origin": SETTINGS.place.origin, "longitude": SETTINGS.place.longitude}
    products = of_night(SETTINGS, wildcards.night).products
    return {key: config[key] for key in keys} | place | camera(wildcards) | {"products": products}


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
    batches = PLANNER.batches(wildcards.night)
    small = {target for batch in batches.values() for target in batch}
    alone = PLANNER.deliveries(wildcards.night).targets - small
    stamps = [*sorted(alone), *(f"{BATCH}{batch}" for batch in sorted(batches))]
    return [f"{wildcards.night}/{STAMPS}/{stamp}" for stamp in stamps]


def members(wildcards):
    """The targets of a batch."""
    return PLANNER.batches(wildcards.night).get(wildcards.batch, [])


def product(wildcards):
    """The cube, or the folder of frames, that is to be delivered; none if it is staged already."""
    night, target = wildcards.night, wildcards.product
    if target in PLANNER.deliveries(night).staged:
        return []
    folder = "cubes" if PLANNER.makes_cubes(night) else "frames"
    return f"{night}/{folder}/{target}{'.fits' * (folder == 'cubes')}"


def headers(wildcards):
    """The folder of finished headers that a sequence is in."""
    name = wildcards.get("sequence") or wildcards.get("product") or wildcards.batch
    sequence = sequence_of(name) if "." in name.partition("_")[0] else name
    return f"{wildcards.night}/headers/{group_of(sequence)}"


def headers_of_product(wildcards):
    """The same for what is to be delivered; none if it is staged already."""
    return headers(wildcards) if product(wildcards) else []
