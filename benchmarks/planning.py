"""Time that the planning of one complete night takes, on top of Snakemake's own start.

python -m benchmarks.planning --frames 2900
"""

import argparse
import os
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

from scripts.lib.frames.judgement import judgement
from scripts.lib.ledger.ledger import Ledger, ledger_path
from scripts.lib.ledger.outlook import listing_digest
from scripts.lib.ledger.records import FileState, Frame, Status
from scripts.lib.ledger.snapshot import snapshot_text, write_view
from scripts.lib.running.planning import Planner
from scripts.lib.settings.check import CHECKOUT
from scripts.lib.settings.profile import read_file
from scripts.lib.settings.records import Configuration

NIGHT, PLANNED = "20260305", 20


def make_night(settings: Configuration, night: str, count: int, ledger: Ledger) -> None:
    """Write a complete night into a ledger, and its files at the source."""
    workdir, source = settings.workdir, Path(settings.source)
    (source / night).mkdir(parents=True)
    (workdir / night).mkdir()
    frames = []
    for number in range(count):
        path = source / night / f"Callisto_Sp0805+0417_zYJ_10.000s_{number:06d}.fits"
        path.touch()
        state = FileState(path.stat().st_size, path.stat().st_mtime_ns)
        begin = datetime(2026, 3, 6, tzinfo=UTC) + timedelta(seconds=11 * number)
        frame = Frame(night, path.name, source=state, status=Status.DELIVERED, kind="science")
        frames.append(replace(frame, date_obs=begin, pixel_sum=number, sequence="S", product="p"))
    snapshot = write_view(workdir / night / "frames.csv", snapshot_text(frames))
    page = write_view(workdir / night / "night.html", "page")
    with ledger.transaction():
        ledger.record(frames)
        ledger.set_night(night, snapshot=snapshot, reported=1, programme="60.A-9009(D)")
    ledger.set_views(night, {"night.html": page})
    planner = Planner(ledger, settings, datetime.now(UTC).date())
    judged = judgement(night, settings, *planner.programme(night))
    ledger.note_night(night, judged=judged, listing=listing_digest(planner.listing(night)))


def main() -> None:
    """Print the time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=2900)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workdir, source = Path(folder) / "work", Path(folder) / "source"
        workdir.mkdir()
        settings = replace(
            read_file(CHECKOUT / "config/callisto.yaml"), workdir=workdir, source=str(source)
        )
        with Ledger(ledger_path(workdir)) as ledger:
            make_night(settings, NIGHT, given.frames, ledger)
            today = datetime.now(UTC).date()
            spent = []
            for _ in range(PLANNED):
                os.sched_yield()
                begin = time.process_time()
                plan = Planner(ledger, settings, today).plan_wanted(NIGHT)
                spent.append(1000 * (time.process_time() - begin))
                assert plan.complete, plan
    print(f"{given.frames} frames: {median(spent):.1f} CPU ms to plan a complete night")


if __name__ == "__main__":
    main()
