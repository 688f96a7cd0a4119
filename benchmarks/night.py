"""Time nights from raw frames to the archive directory, against copying them twice with ``cp``.

``python -m benchmarks.night`` measures a night of each camera, its science frames solved, and one
of 20 one-frame cubes, in a temporary folder that is removed afterwards: wall time, CPU time of all
jobs, and the memory of the largest process, from the operating system's own accounts.
"""

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from scripts.simulator.night import simulate

REPOSITORY = Path(__file__).parent.parent
NIGHT = "20260305"
STARS = "stars.csv"
SNAKEMAKE = Path(sys.executable).with_name("snakemake")


class Cost(NamedTuple):
    """What a command took: seconds, CPU seconds, and MB of its largest process."""

    wall: float
    cpu: float
    memory: float


def measure(words: list[str], log: Path) -> Cost:
    """Return what a command took; raise RuntimeError with its output if it fails."""
    with open(log, "wb") as stream:
        begin = time.monotonic()
        process = subprocess.Popen(words, cwd=REPOSITORY, stdout=stream, stderr=stream)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(words)} failed:\n{log.read_text()[-3000:]}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def keep_flats(source: Path, count: int) -> None:
    """Remove all frames of a simulated night but some flats, of which each is its own sequence."""
    with open(source / f"{NIGHT}.truth.csv", newline="") as stream:
        flats = [row["file"] for row in csv.DictReader(stream) if row["kind"] == "flat"][:count]
    if len(flats) < count:
        raise ValueError(f"only {len(flats)} flats in the simulated night, not {count}")
    for path in (source / NIGHT).iterdir():
        if path.name not in flats:
            path.unlink()


def copy_twice(folder: Path) -> Cost:
    """Return what it takes to copy the night twice and have it on disk."""
    first, second = folder / "copy1", folder / "copy2"
    script = f"cp -r {folder / 'source'} {first} && cp -r {first} {second} && sync"
    cost = measure(["sh", "-c", script], folder / "cp.log")
    shutil.rmtree(first)
    shutil.rmtree(second)
    return cost


def command(folder: Path, telescope: str, *options: str) -> list[str]:
    """Return the workflow's command line for the simulated night, without settings of a site."""
    config = folder / f"{telescope.lower()}.yaml"
    shutil.copy(REPOSITORY / "config" / config.name, config)
    return [
        str(SNAKEMAKE),
        *options,
        *("--profile", "profiles/demo", "--configfile", str(config)),
        *("--config", f"source={folder / 'source'}", f"workdir={folder / 'work'}"),
        *(f"archive={folder / 'archive'}", f"nights={NIGHT}"),
        *([f"catalogue={folder / STARS}"] if (folder / STARS).exists() else []),
    ]


def measure_night(telescope: str, frames: int, flats: int, solve: bool, parent: str | None) -> str:
    """Return a row of the table of figures.

    Parameters
    ----------
    flats : int
        If not 0, the night is cut down to this many one-frame sequences.
    solve : bool
        Whether science frames are solved.
    """
    with tempfile.TemporaryDirectory(prefix="night-", dir=parent) as name:
        folder = Path(name)
        # In a process of its own: the system counts a command's memory from its fork on.
        with get_context("spawn").Pool(1) as pool:
            made = {"frames": frames, "flats": flats or None}
            pool.apply(simulate, (telescope, NIGHT, folder / "source"), made)
        if flats:
            keep_flats(folder / "source", flats)
        (folder / "source" / f"{NIGHT}.truth.csv").unlink()
        stars = (folder / "source" / f"{NIGHT}.stars.csv").rename(folder / STARS)
        if not solve:
            stars.unlink()
        size = sum(p.stat().st_size for p in (folder / "source" / NIGHT).iterdir()) / 1e9
        os.sync()
        (folder / "archive").mkdir()
        planned = measure(command(folder, telescope, "-n"), folder / "plan.log")
        run = measure(command(folder, telescope), folder / "run.log")
        products = len(list((folder / "archive").iterdir()))
        os.sync()
        copies = copy_twice(folder)
    what = f"{flats} one-frame cubes" if flats else f"{frames} frames"
    figures = f"{run.wall:.1f} | {run.cpu:.1f} | {run.memory:.0f} | {copies.wall:.1f}"
    ratios = f"{run.wall / copies.wall:.2f} | {planned.wall:.1f}"
    return f"| {telescope}, {what}, {size:.1f} GB, {products} products | {figures} | {ratios} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--callisto", type=int, default=1000, help="frames of Callisto's night")
    parser.add_argument("--io", type=int, default=300, help="frames of Io's night")
    parser.add_argument("--flats", type=int, default=20, help="cubes of one frame")
    parser.add_argument("--solve", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--folder", help="where to make the temporary folder")
    options = parser.parse_args()
    print("| night | wall s | CPU s | largest process MB | cp twice s | ratio | planning s |")
    print("|---|---|---|---|---|---|---|")
    for telescope, frames, flats in (
        ("Callisto", options.callisto, 0),
        ("Io", options.io, 0),
        ("Callisto", options.flats + 12, options.flats),
    ):
        if frames:
            print(
                measure_night(telescope, frames, flats, options.solve, options.folder), flush=True
            )


if __name__ == "__main__":
    main()
