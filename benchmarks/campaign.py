"""What many nights cost in a campaign: together, some at a time, and once they are complete.

python -m benchmarks.campaign --nights 10 30 100    # and --one-run: in one run for all, without it
python -m benchmarks.campaign --nights 8 --jobs 1 2
python -m benchmarks.campaign --complete 365
"""

import argparse
import os
import sys
import tempfile
from datetime import date, timedelta
from pathlib import Path

import yaml

from benchmarks.night import Cost, measure
from benchmarks.planning import make_night
from scripts.lib.ledger.ledger import Ledger, ledger_path
from scripts.lib.settings.check import CHECKOUT
from scripts.lib.settings.profile import read_file
from scripts.simulator.night import simulate

SIZE = (64, 80)
FIRST = date(2025, 1, 1)
SNAKEMAKE = str(Path(sys.executable).with_name("snakemake"))


class Site:
    """A Callisto with an installed profile below a folder, and some nights to come."""

    def __init__(self, folder: Path, count: int):
        self.folder, self.source = folder, folder / "source"
        self.nights = [f"{FIRST + timedelta(days=number):%Y%m%d}" for number in range(count)]
        for name in ("work", "archive", "source"):
            (folder / name).mkdir()
        config = yaml.safe_load((CHECKOUT / "config/callisto.yaml").read_text())
        config["camera"] |= {"naxis1": SIZE[0], "naxis2": SIZE[1]}
        config |= {"source": str(self.source), "workdir": str(folder / "work"), "max_held": 1}
        config |= {"archive": str(folder / "archive"), "free_gb": {"workdir": 0, "archive": 0}}
        self.config = folder / "config.yaml"
        self.config.write_text(yaml.safe_dump(config))
        profile = yaml.safe_load((CHECKOUT / "profiles/telescope/profile.yaml").read_text())
        profile |= {"snakefile": f"{CHECKOUT}/Snakefile", "configfile": str(self.config)}
        self.profile = folder / "config/snakemake/callisto"
        self.profile.mkdir(parents=True)
        (self.profile / "profile.yaml").write_text(yaml.safe_dump(profile))
        os.environ["XDG_CONFIG_HOME"] = str(folder / "config")

    def simulate(self, frames: int) -> None:
        """Write the biases of nights of so many frames: one product each."""
        for night in self.nights:
            for row in simulate("Callisto", night, self.source, frames, SIZE, seed=int(night)):
                if row["kind"] != "bias":
                    (self.source / night / str(row["file"])).unlink()

    def complete(self, frames: int) -> None:
        """Write the nights as if they had been delivered."""
        settings = read_file(self.config)
        with Ledger(ledger_path(settings.workdir)) as ledger:
            for night in self.nights:
                make_night(settings, night, frames, ledger)

    def one_run(self) -> Cost:
        """Return what one run that plans all nights costs."""
        words = [SNAKEMAKE, "--profile", str(self.profile), "--config"]
        settings = [f"nights={self.nights[0]}-{self.nights[-1]}", "nights_together=100000"]
        return self.measure([*words, *settings])

    def campaign(self, jobs: int = 1) -> Cost:
        """Return what a campaign costs."""
        return self.measure(
            [sys.executable, "-m", "scripts.campaign", "callisto", f"--jobs={jobs}"]
        )

    def measure(self, words: list[str]) -> Cost:
        """Return what a command costs."""
        return measure(words, self.folder / "run.log")

    def products(self) -> int:
        """Return how many products were delivered."""
        return len(list((self.folder / "archive").iterdir()))


def main() -> None:
    """Print a line for each number of nights and way to run them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nights", type=int, nargs="+", default=[10, 30])
    parser.add_argument("--frames", type=int, default=12, help="of a night")
    parser.add_argument("--jobs", type=int, nargs="+", default=[1])
    parser.add_argument("--one-run", action="store_true", help="one run for all nights instead")
    parser.add_argument("--complete", type=int, help="pass over so many complete nights instead")
    given = parser.parse_args()
    if given.complete:
        with tempfile.TemporaryDirectory(prefix="campaign-") as name:
            site = Site(Path(name), given.complete)
            site.complete(given.frames)
            cost = site.campaign()
        each = 1000 * cost.cpu / given.complete
        print(
            f"{given.complete} complete nights of {given.frames} frames: {cost.wall:.1f} s, ",
            end="",
        )
        print(f"{cost.cpu:.1f} CPU s, {each:.1f} CPU ms a night")
        return
    print("| nights | how | wall s | CPU s | CPU s a night | products |")
    print("|---|---|---|---|---|---|")
    for count in given.nights:
        for jobs in [0] if given.one_run else given.jobs:
            with tempfile.TemporaryDirectory(prefix="campaign-") as name:
                site = Site(Path(name), count)
                site.simulate(given.frames)
                cost = site.campaign(jobs) if jobs else site.one_run()
                figures = f"{cost.wall:.1f} | {cost.cpu:.1f} | {cost.cpu / count:.2f}"
                how = f"campaign, {jobs} at a time" if jobs else "one run"
                print(f"| {count} | {how} | {figures} | {site.products()} |", flush=True)


if __name__ == "__main__":
    main()
