"""Bring many nights up to date, each in a run of its own, several at a time.

Nights are named as in the key ``nights``; without any, all that are over and that the source has
are looked at. What is complete is passed over, so the same command goes on after any end. It works
beside the runs of cron and of people: a night that another run is at work on is done later, if it
still has to be.
"""

import argparse
import os
import shlex
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from scripts.commands.run import runs_nothing
from scripts.lib.files.errors import TryLater
from scripts.lib.files.lock import lock_of, shared_lock
from scripts.lib.ledger.ledger import LedgerError
from scripts.lib.nights.dates import parse_nights
from scripts.lib.running import health
from scripts.lib.running.campaign import (
    Campaign,
    Queue,
    Result,
    mark_of,
    nights_of_source,
    work_of,
)
from scripts.lib.running.campaign_report import Progress
from scripts.lib.running.one_night import LOCK
from scripts.lib.running.planning import Planner
from scripts.lib.running.processes import end_marked
from scripts.lib.running.slurm import QueueError
from scripts.lib.settings.check import CHECKOUT, ConfigurationError
from scripts.lib.settings.passwords import read_environment
from scripts.lib.settings.profile import find_profile, read_mapping, read_unchecked
from scripts.lib.settings.records import Configuration
from scripts.migration.earlier_tables import open_ledger

TEMPLATES = CHECKOUT / "templates"


def main(words: list[str] | None = None) -> int:
    """Walk the nights that the command line names; 1 if one failed."""
    parser = argparse.ArgumentParser(
        prog="speculoos-archive campaign",
        description=__doc__,
        epilog="Further options are those of snakemake, such as --cores 4 --config solve=never.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("telescope")
    parser.add_argument("--nights", nargs="+", default=[], help="YYYYMMDD or YYYYMMDD-YYYYMMDD")
    parser.add_argument("--jobs", type=int, default=1, help="nights at a time")
    parser.add_argument(
        "--slurm",
        nargs="?",
        const="",
        metavar="OPTIONS",
        help="a job of SLURM for each night, with these options of sbatch",
    )
    words = sys.argv[1:] if words is None else words
    given, options = parser.parse_known_args(words)
    telescope = given.telescope.lower()
    if showing := [word for word in options if runs_nothing(word)]:
        print(f"nothing is run by {' '.join(showing)}: use snakemake itself", file=sys.stderr)
        return 2
    try:
        profile = find_profile(telescope)
        unchecked = read_unchecked(profile, options)
        os.environ.update(read_environment(unchecked))
        config = unchecked.checked()
        nights = parse_nights(" ".join(given.nights) or config.nights)
        # The folders of the profile, not those of the shell, decide where words lead.
        command = [str(Path(sys.executable).with_name("snakemake"))]
        command += ["--profile", str(profile.parent), *options]
        queue = None
        if given.slurm is not None:
            cores = cores_of(profile, options)
            cores_first = [f"--cpus-per-task={cores}", *shlex.split(given.slurm)]
            queue = Queue(telescope, config.workdir, config.time_limit, cores_first)
        return walk_alone(config, nights, command, given.jobs, queue, words)
    except (ConfigurationError, LedgerError, TryLater, QueueError, OSError) as error:
        print(f"{telescope}: {error}", file=sys.stderr)
        return 1


def cores_of(profile: Path, options: list[str]) -> str:
    """Return how many cores a run uses."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--cores", "-c", default=read_mapping(profile).get("cores", 1))
    return str(parser.parse_known_args(options)[0].cores)


def walk_alone(
    config: Configuration,
    nights: list[str],
    command: list[str],
    jobs: int,
    queue: Queue | None,
    words: list[str],
) -> int:
    """Walk nights unless another campaign is at work in the working directory."""
    workdir, now = config.workdir, datetime.now(UTC)
    if problems := health.problems_before(config):
        print("\n".join(problems), file=sys.stderr)
        return 1
    lock = lock_of(workdir, LOCK)
    if not lock.take(seconds=1):
        print(f"another campaign is at work: it holds {lock.path}", file=sys.stderr)
        return 1
    # What is left of a campaign that was killed.
    if queue:
        queue.cancel()
    if left := end_marked(mark_of(workdir)):
        print(f"processes {left} of an earlier campaign cannot be ended", file=sys.stderr)
        return 1
    with open_ledger(workdir, config.archive) as ledger:
        with shared_lock(workdir):
            ledger.save()
        by_hand = any(word.startswith("programme=") for word in words)
        planner = Planner(ledger, config, now.date(), config.programme if by_hand else "")
        nights = nights or nights_of_source(config, now)
        if config.redeliver:
            for night in nights:
                planner.request(night)
        work = list(work_of(planner, nights))
        progress = Progress(config, work, len(nights) - len(work), TEMPLATES)
        show(f"{len(work)} nights to do, {progress.complete} with nothing to do")
        campaign = Campaign(
            config,
            ledger,
            command,
            workdir,
            jobs,
            queue,
            partial(ended, progress),
            progress.write_page,
        )
        campaign.walk(work)
        outcome = campaign.stopped or "ended"
        progress.write_page(None, outcome)
        progress.mail(ledger, ["speculoos-archive", "campaign", *words], CHECKOUT)
        if config.site and progress.results:
            from scripts.lib.pages.update import publish_pages  # numpy: only if there is a site

            show(publish_pages(config, health.assess(config, ledger, now).as_json()))
    for result in progress.failed:
        show(f"{result.night} {result.status}: {result.cause}")
    show(f"{outcome}: {progress.line()}")
    return 1 if progress.failed or campaign.stopped else 0


def ended(progress: Progress, result: Result) -> None:
    """Take a result, and print how far the campaign has come."""
    progress.ended(result)
    show(f"{result.night} {result.status} in {result.seconds:.0f} s; {progress.line()}")


def show(text: str) -> None:
    """Print a line immediately: it may go to a file."""
    print(f"{datetime.now(UTC):%F %H:%M:%S} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
