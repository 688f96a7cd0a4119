"""Time nights from raw frames to the archive directory, against copying them twice with ``cp``.

``python -m benchmarks.night`` measures nights of several sizes of each camera, with header WCS
believed, with frames linked in place of copied, and with science frames solved, and one of 20
one-frame cubes, in a temporary folder that is removed afterwards: wall time, CPU time of all jobs,
and the memory of the largest process, from the operating system's own accounts. It prints a table,
writes it as JSON with a description of the machine, and draws how CPU time and memory grow. ``cp``
is measured before and after each run, because a shared machine changes its speed.
"""

import argparse
import csv
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.plot import growth_svg
from scripts.simulator.night import simulate

REPOSITORY = Path(__file__).parent.parent
NIGHT = "20260305"
STARS = "stars.csv"
# Ways to run a night; otherwise header WCS are believed and frames copied.
LINKED, SOLVED = "linked", "solved"
# In benchmarks/README.md, around what the latest run found.
BEGIN, END = "<!-- latest run -->\n", "<!-- end -->"
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


def command(folder: Path, telescope: str, way: str, *options: str) -> list[str]:
    """Return the workflow's command line for the simulated night, without settings of a site."""
    config = folder / f"{telescope.lower()}.yaml"
    shutil.copy(REPOSITORY / "config" / config.name, config)
    return [
        str(SNAKEMAKE),
        *options,
        *("--profile", "profiles/demo", "--configfile", str(config)),
        *("--config", f"source={folder / 'source'}", f"workdir={folder / 'work'}"),
        *(f"archive={folder / 'archive'}", f"nights={NIGHT}"),
        *([f"catalogue={folder / STARS}"] if way == SOLVED else []),
        *(["ingest=link"] if way == LINKED else []),
    ]


class Row(NamedTuple):
    """One run of a night: seconds, CPU seconds, MB.

    ``way`` is empty, or how it was run; ``copies`` is the wall time of ``cp`` twice.
    """

    telescope: str
    frames: int
    way: str
    single: bool  # whether each frame is a product of its own sequence
    gigabytes: float
    products: int
    wall: float
    cpu: float
    memory: float
    copies: float
    planning: float

    @property
    def night(self) -> str:
        """What was run, in words."""
        what = "one-frame cubes" if self.single else "frames"
        return ", ".join(filter(None, [self.telescope, f"{self.frames} {what}", self.way]))

    @property
    def ratio(self) -> float:
        """Wall time in units of copying twice."""
        return self.wall / self.copies


def measure_night(telescope: str, frames: int, single: bool, parent: str | None) -> Iterator[Row]:
    """Yield the figures of a simulated night in each way; of a ``single`` night in one.

    Of a ``single`` night so many flats are left, of which each is a sequence.
    """
    with tempfile.TemporaryDirectory(prefix="night-", dir=parent) as name:
        folder = Path(name)
        # In a process of its own: the system counts a command's memory from its fork on.
        with get_context("spawn").Pool(1) as pool:
            made = {"frames": frames + 12, "flats": frames} if single else {"frames": frames}
            pool.apply(simulate, (telescope, NIGHT, folder / "source"), made)
        if single:
            keep_flats(folder / "source", frames)
        (folder / "source" / f"{NIGHT}.truth.csv").unlink()
        (folder / "source" / f"{NIGHT}.stars.csv").rename(folder / STARS)
        size = sum(p.stat().st_size for p in (folder / "source" / NIGHT).iterdir()) / 1e9
        for way in ("",) if single else ("", LINKED, SOLVED):
            os.sync()
            before = copy_twice(folder)
            (folder / "archive").mkdir()
            planned = measure(command(folder, telescope, way, "-n"), folder / "plan.log")
            run = measure(command(folder, telescope, way), folder / "run.log")
            products = len(list((folder / "archive").iterdir()))
            shutil.rmtree(folder / "work")
            shutil.rmtree(folder / "archive")
            os.sync()
            copies = min(before.wall, copy_twice(folder).wall)
            yield Row(
                *(telescope, frames, way, single, size, products),
                *(run.wall, run.cpu, run.memory, copies, planned.wall),
            )


HEAD = (
    "| night | GB | products | wall s | CPU s | largest process MB | cp twice s | ratio "
    "| planning s | CPU ms a further frame | kB a further frame |\n" + "|---" * 11 + "|"
)


def table(rows: list[Row]) -> str:
    """Return the figures as a Markdown table, with the growth since the next smaller night."""
    lines = [HEAD]
    for row in rows:
        smaller = [
            other
            for other in rows
            if (other.telescope, other.way, other.single) == (row.telescope, row.way, row.single)
            and other.frames < row.frames
        ]
        cpu = memory = ""
        if smaller:
            last = max(smaller, key=lambda other: other.frames)
            more = row.frames - last.frames
            cpu = f"{1000 * (row.cpu - last.cpu) / more:.1f}"
            memory = f"{1000 * (row.memory - last.memory) / more:.0f}"
        lines.append(
            f"| {row.night} | {row.gigabytes:.1f} | {row.products} | {row.wall:.1f} | "
            f"{row.cpu:.1f} | {row.memory:.0f} | {row.copies:.1f} | {row.ratio:.2f} | "
            f"{row.planning:.1f} | {cpu} | {memory} |"
        )
    return "\n".join(lines)


def machine(folder: str) -> dict[str, Any]:
    """Return a description of the machine and of what was measured."""
    cpus = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(": ")[2] for line in cpus if line.startswith("model name")), "")
    kind = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True)
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=REPOSITORY, capture_output=True, text=True
    )
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit.stdout.strip(),
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "file_system": kind.stdout.strip(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, sizes in (("--callisto", [100, 1000, 2900]), ("--io", [50, 500])):
        parser.add_argument(
            name, nargs="*", type=int, metavar="N", default=sizes, help="frames of its nights"
        )
    parser.add_argument("--flats", type=int, default=20, help="cubes of one frame; 0 for none")
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="for the temporary folder")
    parser.add_argument("--output", type=Path, help="folder of README.md, night.json, growth.svg")
    options = parser.parse_args()
    nights = [("Callisto", frames, False) for frames in sorted(options.callisto)]
    nights += [("Io", frames, False) for frames in sorted(options.io)]
    nights += [("Callisto", options.flats, True)] if options.flats else []
    described = machine(options.folder)
    rows = []
    for night in nights:
        for row in measure_night(*night, options.folder):
            print(f"{row.night}: {row.wall:.1f} s", file=sys.stderr, flush=True)
            rows.append(row)
    print(table(rows))
    if options.output:
        found = {"machine": described, "rows": [row._asdict() for row in rows]}
        (options.output / "night.json").write_text(json.dumps(found, indent=1) + "\n")
        series: dict[str, list[tuple[int, float, float]]] = {}
        for row in rows:
            name = ", ".join(filter(None, [row.telescope, row.way]))
            if not row.single:
                series.setdefault(name, []).append((row.frames, row.cpu, row.memory))
        (options.output / "growth.svg").write_text(growth_svg(series))
        words = "; ".join(f"{key.replace('_', ' ')} {value}" for key, value in described.items())
        latest = f"\n{words}\n\n{table(rows)}\n\n![growth](growth.svg)\n\n"
        page = options.output / "README.md"
        begin, _, rest = page.read_text().partition(BEGIN)
        page.write_text(f"{begin}{BEGIN}{latest}{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
