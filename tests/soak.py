"""Search for events after which the workflow loses a frame or delivers it twice: `make soak`.

Each seed draws a script of runs and of events in and between them. In the end all frames are back
at the source, and two runs that nothing disturbs must have delivered each exactly once. Only the
command line, the source and the archive directory are looked at.
"""

import argparse
import hashlib
import importlib
import inspect
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import date
from pathlib import Path

import yaml
from astropy.io import fits

from scripts.lib.running.processes import GRACE
from scripts.simulator.night import simulate
from tests.night import REPOSITORY, SNAKEMAKE, Night
from tests.watcher import Watcher

TELESCOPES, NIGHTS, SIZE = ("Callisto", "Io"), ("20260305", "20260306"), (64, 80)
OBJECTS = ("", "Sp0805+0417", "TIC 46432937 b")  # no object: biases
CAUSES = ("lost", "twice", "stuck", "partial", "hidden", "changed")
FILES = ("2*", "2*", ".snakemake", "2*/frames.csv", "2*/archived/*.csv", "2*/night.html")
KILLS = ("job", "job", "all", "all", "snakemake", "wrapper", "term")
LIMIT = GRACE + 300  # s that a run may last: Snakemake may freeze when it is asked to end
PUBLISH = "scripts.lib.delivery.publish:rename_without_replacing"
CALLS = f"os:link os:rename os:replace os:fsync os:unlink os:remove {PUBLISH} sqlite3:connect"
# Where a run is disturbed: weight; job, place in the paths and name of the calls that are counted,
# over all processes of the run; the largest number, for jobs of a night's first products.
POINTS = [
    (30, "archive", "", "any", 30),
    (25, "archive", "archive", "any", 6),
    (8, "archive", "", "sqlite3:connect", 20),
    (12, "any", "", "any", 120),
    (6, "any", "", "os:replace", 40),
    (8, "any", "", PUBLISH, 4),
    (6, "any", "", "sqlite3:connect", 60),
    (8, "snakemake", "", "any", 90),
    (3, "wrapper", "", "any", 8),
]
POINT: dict = {}

# Hooks: the source of these functions is the `sitecustomize` of a run that is struck at a point.


def role(words: list[str]) -> str:
    """Name a process by its command line: wrapper, snakemake, or the rule of its job."""
    names = ["wrapper"] * ("scripts.run" in words)
    names += ["snakemake" for word in words if word.endswith("/snakemake")]
    # A batch of small products does what `archive` does.
    rules = [word.split(".")[-2] for word in words if word.endswith(".py")]
    return [*names, *rules, ""][0].replace("batch", "archive")


def hooked(function, call: str):
    """Return a function that stops, or finds the disk full, at the point."""

    def strike(*values) -> None:
        fsync = call == "os:fsync"
        values = [getattr(value, "fileno", lambda value=value: value)() for value in values]
        paths = [os.readlink(f"/proc/self/fd/{value}") if fsync else str(value) for value in values]
        if POINT["call"] not in ("any", call) or not any(POINT["place"] in path for path in paths):
            return
        # Several processes may append to a file at a time: they count together.
        counter = os.open(f"{POINT['folder']}/count", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(counter, b".")
        number = os.lseek(counter, 0, os.SEEK_CUR)
        os.close(counter)
        if number == POINT["nth"] and "room" in POINT:
            # From now on, in SQLite too, and in all that this process starts.
            limits = (POINT["room"], resource.getrlimit(resource.RLIMIT_FSIZE)[1])
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            if call not in ("os:unlink", "os:remove"):
                raise OSError(28, "No space left on device")
        elif number == POINT["nth"]:
            os.symlink(str(os.getpid()), f"{POINT['folder']}/stopped")
            until = time.monotonic() + 100  # should the soak itself be killed
            while not os.path.lexists(f"{POINT['folder']}/go") and time.monotonic() < until:
                time.sleep(0.005)

    def replacement(*values, **named):
        if POINT["when"] == "before":
            strike(*values[:2])
        result = function(*values, **named)
        if POINT["when"] == "after":
            strike(*values[:2])
        if call == "sqlite3:connect":
            # Called before each statement; what it raises is ignored.
            writing = ("COMMIT", "INSERT", "UPDATE", "DELETE", "REPLACE")
            result.set_trace_callback(lambda text: text.startswith(writing) and strike(values[0]))
        return result

    return replacement


def arm() -> None:
    """Hook the calls in this process, if it is of the point's job."""
    for call in CALLS.split() if POINT["job"] in ("any", role(sys.orig_argv)) else ():
        with suppress(ImportError, AttributeError):
            module, name = importlib.import_module(call.split(":")[0]), call.split(":")[1]
            setattr(module, name, hooked(getattr(module, name), call))


HOOKS = f"""import importlib, json, os, resource, sys, time
from contextlib import suppress
POINT, CALLS = json.loads(os.environ["SOAK_POINT"]), "{CALLS}"
{"".join(map(inspect.getsource, (role, hooked, arm)))}
arm()
"""

# Scripts: each step is the name of a method of `Site`, and its arguments.


def draw_script(seed: int) -> dict:
    """Draw all that a seed decides.

    The archive directory may be ``apart``, on another file system; the last runs may get the
    nights (``named``); all may be collected before the very last one, which has nothing to do.
    """
    rng = random.Random(seed)
    script = {"telescope": TELESCOPES[seed % 2], "nights": NIGHTS[: rng.choice((1, 1, 1, 1, 2))]}
    script |= {"objects": OBJECTS[: rng.choice((2, 2, 3))], "apart": rng.random() < 0.3}
    script |= {"named": rng.random() < 0.3, "collected": rng.random() < 0.5}
    # One half of the nights has jobs for each product, the other one several products a job.
    script["batch"] = 150 * (seed // 2 % 2)
    steps = [draw_act(rng, "vanish")] if rng.random() < 0.7 else []
    for number in range(rng.choice((1, 2, 2, 3))):
        steps.append(("run", draw_run(rng, rng.random() < (0.4 if number else 0.7))))
        steps += [draw_act(rng) for _ in range(rng.choice((0, 1, 1, 2)))]
    return script | {"steps": steps}


def draw_run(rng: random.Random, killed: bool) -> dict:
    """Draw a run and what happens in it."""
    times = sorted(round(rng.uniform(0.5, 4), 1) for _ in range(rng.randint(1, 4)))
    run = {"by_hand": rng.random() < 0.1, "named": rng.random() < 0.3}
    run["takes"] = rng.choice(([], times, "immediately", "immediately"))
    _, job, place, call, most = rng.choices(POINTS, [point[0] for point in POINTS])[0]
    point = {"job": job, "place": place, "call": call, "nth": rng.randint(1, most)}
    point["when"] = "before" if not killed else rng.choice(("before", "after"))
    after = {"after": round(rng.uniform(0.3, 4), 1)}
    if killed:
        run["kill"] = rng.choice(KILLS[: 4 if run["by_hand"] else None])
        run |= rng.choice(({"point": point}, {"point": point}, after))
    else:
        full = {"point": point | {"room": rng.choice((0, 3000))}}
        meanwhile = {"meanwhile": draw_act(rng, rng.choice(("vanish", "come_back")))}
        run |= rng.choice(
            (full, meanwhile | after, {"clock": rng.choice((-30, -1, 1, 30))}, {}, {})
        )
    return {key: value for key, value in run.items() if value}


def draw_act(rng: random.Random, act: str = "") -> tuple[str, dict]:
    """Draw what happens between two runs, or an act of a given kind."""
    acts = {"collect": 30, "vanish": 15, "come_back": 20, "remove": 25, "date": 10}
    act = act or rng.choices([*acts], [*acts.values()])[0]
    values = {
        "collect": {},
        "vanish": {"share": rng.choice((0.2, 0.4, 0.7, 1)), "folder": rng.random() < 0.5},
        "come_back": {"share": rng.choice((0.5, 1)), "new": rng.random() < 0.3},
        "remove": {"files": rng.choice(FILES), "cut": rng.random() < 0.5},
        "date": {"days": rng.choice((-400, -1, 1, 400)), "share": rng.choice((0.3, 1))},
    }[act]
    return act, values | ({"pick": rng.randrange(1000)} if values else {})


def chosen(paths, share: float, pick: int) -> list[Path]:
    """Choose a share of some paths, at least one."""
    paths = sorted(paths)
    count = min(len(paths), max(1, round(share * len(paths))))
    return random.Random(pick).sample(paths, count)


def planes(path: Path) -> list[str]:
    """Return the SHA-256 of each plane; raise unless the file is as long as its header says."""
    with fits.open(path, memmap=False, do_not_scale_image_data=True) as hdus:
        if (size := sum(hdu.filebytes() for hdu in hdus)) != path.stat().st_size:
            raise ValueError(f"{path.stat().st_size} bytes, {size} by its header")
        rows = hdus[0].data.astype(">i2").reshape(-1, SIZE[0] * SIZE[1])
        return [hashlib.sha256(plane.tobytes()).hexdigest() for plane in rows]


class Site(Watcher):
    """A telescope with a source and an installed profile, and ESO, who watches and collects."""

    def __init__(self, root: Path, outside: Path, script: dict, gold: Path):
        self.root, self.script, self.counts = root, script, Counter(seeds=1)
        self.hung, self.output, self.away = "", root / "output", root / "away"
        self.night = Night(root, script["telescope"], size=SIZE)
        self.night.workdir.mkdir()
        self.archive = (outside if script["apart"] else root) / "archive"
        self.archive.mkdir(exist_ok=True)
        self.collected, self.noted, self.takes = self.archive.with_name("collected"), set(), False
        self.collected.mkdir()
        super().__init__(self.archive)
        self.truth = {}
        for row in json.loads((gold / f"{script['telescope']}.json").read_text()):
            if row["night"] in script["nights"] and row["object"] in script["objects"]:
                path = Path(row["night"], row["file"])
                for folder in (self.night.source, self.away):
                    (folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(gold / script["telescope"] / path, self.night.source / path)
                self.truth[row["pixels_sha256"]] = row["file"]
        age = (date.today() - date(2026, 3, 5)).days
        config = self.night.settings() | {"nights": "", "settle": 0.05, "lookback": age + 40}
        config |= {"archive": str(self.archive), "free_gb": {"workdir": 0, "archive": 0}}
        config["batch"] = script["batch"]
        self.night.config.write_text(yaml.safe_dump(config))
        name = f"{script['telescope'].lower()}/profile.yaml"
        profile = yaml.safe_load((REPOSITORY / "profiles/telescope/profile.yaml").read_text())
        profile |= {"snakefile": f"{REPOSITORY}/Snakefile", "configfile": str(self.night.config)}
        self.profile = root / "home/.config/snakemake" / name
        self.profile.parent.mkdir(parents=True)
        self.profile.write_text(yaml.safe_dump(profile))

    # What ESO does

    def arrive(self, path: Path) -> None:
        with suppress(FileNotFoundError):
            if path not in self.noted:
                super().arrive(path)
                self.noted.add(path)
            if self.takes:
                self.noted.remove(path)
                path.rename(self.collected / f"{len(os.listdir(self.collected)):03d}_{path.name}")

    def collect(self) -> None:
        with self.turn:
            before, self.takes = self.takes, True
            for path in self.archive.glob("[!.]*"):
                self.arrive(path)
            self.takes = before

    # Runs

    def start(
        self, stops: Path, by_hand=False, named=False, clock=0, point=None
    ) -> subprocess.Popen:
        """Start a run, as cron does or as a person does, and return its process."""
        command = [sys.executable, "-m", "scripts.run", self.script["telescope"]]
        if by_hand:
            command = [str(SNAKEMAKE), "--profile", str(self.profile.parent)]
        if named:
            nights = self.script["nights"]
            command += ["--config", f"nights={nights[0]}-{nights[-1]}"]
        environ = {"HOME": str(self.root / "home"), "PATH": f"{SNAKEMAKE.parent}:/usr/bin:/bin"}
        environ["SOAK_RUN"] = str(self.root)
        if point:
            stops.mkdir()
            (stops / "sitecustomize.py").write_text(HOOKS)
            place = point["place"] and str(self.archive)
            environ["SOAK_POINT"] = json.dumps(point | {"place": place, "folder": str(stops)})
            environ["PYTHONPATH"] = f"{stops}:{REPOSITORY}"
        if clock and (faketime := [*Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")]):
            environ |= {"LD_PRELOAD": str(faketime[0]), "FAKETIME": f"{clock:+d}d"}
            environ |= {"NO_FAKE_STAT": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        with open(self.output, "w") as output:
            cwd = self.root if by_hand else REPOSITORY
            return subprocess.Popen(command, cwd=cwd, env=environ, stdout=output, stderr=output)

    def run(self, takes=(), kill="", after=0.0, meanwhile=None, **how) -> int:
        """Run the workflow, let happen what is to happen meanwhile, return the exit status."""
        if "by_hand" in how:
            self.kill("all")
        self.counts["runs"] += 1
        stops = self.root / f"stops{self.counts['runs']}"
        process, begin = self.start(stops, **how), time.monotonic()
        self.takes = takes == "immediately"
        times = [] if self.takes else [*takes]
        while process.poll() is None:
            time.sleep(0.01)
            age = time.monotonic() - begin
            if times and age > times[0]:
                del times[0]
                self.collect()
            if meanwhile and age > after:
                getattr(self, meanwhile[0])(**meanwhile[1])
                meanwhile = None
            stopped = (stops / "stopped").is_symlink() and int(os.readlink(stops / "stopped"))
            if kill and (stopped or 0 < after < age) and self.kill(kill, stopped):
                kill = ""
                self.counts["kills"] += 1
            if stopped and not kill:
                (stops / "go").touch()
            if age > LIMIT:
                self.hung = f"a run does not end within {LIMIT} s"
                self.kill("all")
        self.takes = False
        return process.returncode

    def kill(self, target: str, stopped: int = 0) -> bool:
        """Kill one job, or all processes of a role, or all; return whether there were any."""
        roles = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"SOAK_RUN={self.root}".encode() in (entry / "environ").read_bytes():
                    words = os.fsdecode((entry / "cmdline").read_bytes()).split("\0")
                    roles[int(entry.name)] = role(words)
        jobs = [number for number, what in roles.items() if what not in ("wrapper", "snakemake")]
        wanted = {"term": "wrapper"}.get(target, target)
        victims = [number for number, what in roles.items() if wanted in ("all", what)]
        for number in victims or ([stopped] if stopped else jobs[:1] if target == "job" else []):
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGTERM if target == "term" else signal.SIGKILL)
        if victims and target == "all":
            # They may have started others.
            time.sleep(0.02)
            self.kill("all")
        return bool(victims or stopped or target == "job" and jobs)

    # Events

    def vanish(self, pick: int, share: float, folder: bool) -> None:
        """Move frames away from the source, and the folder of a night that is empty then."""
        for path in chosen(self.night.source.glob("*/*"), share, pick):
            path.rename(self.away / path.relative_to(self.night.source))
        for path in self.night.source.iterdir():
            if folder and not any(path.iterdir()):
                path.rmdir()

    def come_back(self, pick: int = 0, share: float = 1, new: bool = False) -> None:
        """Move frames back to the source."""
        for path in chosen(self.away.glob("*/*"), share, pick):
            target = self.night.source / path.relative_to(self.away)
            target.parent.mkdir(exist_ok=True)
            if new:
                os.utime(path)
            path.rename(target)

    def remove(self, files: str, pick: int, cut: bool) -> None:
        """Remove a file or folder of the working directory, or cut a table behind a line."""
        # What outlived the last run may remove it too.
        with suppress(OSError):
            for path in chosen(self.night.workdir.glob(files), 0, pick):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                elif cut and path.suffix == ".csv":
                    lines = path.read_bytes().splitlines(True)
                    path.write_bytes(b"".join(lines[: max(1, len(lines) // 2)]))
                else:
                    path.unlink()

    def date(self, pick: int, days: int, share: float) -> None:
        """Change the times of files in the working directory, as if the clock had jumped."""
        with suppress(OSError):
            for path in chosen(self.night.workdir.rglob("*"), share, pick):
                os.utime(path, times=2 * (path.lstat().st_mtime + 86400 * days,))

    def soak(self) -> dict[str, list[str]]:
        """Do the script, then undisturbed runs; return what went wrong."""
        with self:
            for step, values in self.script["steps"]:
                getattr(self, step)(**values)
            self.come_back()
            for _ in range(2):
                status = self.run(named=self.script["named"])
                if not status and not any(self.trouble().values()):
                    break
            if self.script["collected"]:
                self.collect()
            before, stuck = self.listing(), []
            if status := status or self.run(named=self.script["named"]) or self.hung:
                said = self.output.read_text(errors="replace").splitlines()[-12:]
                stuck = ["\n    ".join([f"exit status {status}", *said])]
            changed = [str(product) for product in self.listing() ^ before]
            return self.trouble() | {"stuck": stuck, "changed": changed}

    def listing(self) -> set:
        return {(p.name, p.stat().st_ino, p.stat().st_mtime) for p in self.archive.iterdir()}

    def trouble(self) -> dict[str, list[str]]:
        """Return the frames that are lost or delivered twice, and products that are wrong."""
        self.catch_up()
        seen = {digest for _, _, digest in self.arrivals}
        partial = [f"{name} was written to under its name" for name in self.writes]
        where: dict = {digest: [] for digest in self.truth}
        for path in [*self.archive.glob("[!.]*"), *self.collected.iterdir()]:
            try:
                if hashlib.sha256(path.read_bytes()).hexdigest() not in seen:
                    raise ValueError("is not what it was when it got its name")
                for digest in planes(path):
                    where[digest].append(path.name)
            except Exception as error:
                partial.append(f"{path.name}: {type(error).__name__}: {error}")
        return {
            "lost": [self.truth[digest] for digest, names in where.items() if not names],
            "twice": [f"{self.truth[d]}: {names}" for d, names in where.items() if len(names) > 1],
            "partial": partial,
            "hidden": [path.name for path in self.archive.glob(".*")],
        }


def make_gold(folder: Path) -> Path:
    """Simulate the nights of all seeds, and return their folder."""
    for telescope in TELESCOPES:
        rows = []
        for seed, night in enumerate(NIGHTS):
            truth = simulate(telescope, night, folder / telescope, 14, SIZE, seed=seed)
            rows += [row | {"night": night} for row in truth if row["kind"] in ("bias", "science")]
        (folder / f"{telescope}.json").write_text(json.dumps(rows, default=str))
    return folder


def soak(seed: int, gold: Path) -> tuple[dict, dict, str]:
    """Do a seed's script; return its figures, what went wrong, and both as text.

    Folders are kept if something went wrong.
    """
    script = draw_script(seed)
    places = (None, "/dev/shm" if os.path.isdir("/dev/shm") else None)
    folders = [Path(tempfile.mkdtemp(prefix=f"soak.{seed}.", dir=place)) for place in places]
    site, found = Site(*folders, script, gold), {}
    try:
        found = site.soak()
    finally:
        site.kill("all")
        for folder in folders if not any(found.values()) else ():
            shutil.rmtree(folder, ignore_errors=True)
    steps = [f"  {step} {json.dumps(values)}" for step, values in script.pop("steps")]
    wrong = [f"  {cause}: {line}" for cause, lines in found.items() for line in lines]
    head = f"seed {seed} {json.dumps(script)}, kept in {folders[0]}"
    return site.counts, found, "\n".join([head, *steps, *wrong])


def main() -> int:
    """Soak seeds; print those that fail and a line of figures; return 1 if any failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--seeds", type=int, default=300)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=1e6, help="begin no seed after these")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    # Seeds at work end first, so that nothing of them is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    begin, total = time.monotonic(), Counter()

    def one(seed: int):
        if time.monotonic() - begin < 60 * options.minutes:
            return soak(seed, gold)

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.workers) as pool:
        gold = make_gold(Path(folder))
        seeds = range(options.first, options.first + options.seeds)
        for counts, found, text in filter(None, pool.map(one, seeds)):
            total.update(counts)
            total.update({cause: len(lines) for cause, lines in found.items()})
            if any(found.values()):
                total["failed"] += 1
                print(text, flush=True)
    total["seconds"] = round(time.monotonic() - begin)
    names = ("seeds", "failed", "runs", "kills", *CAUSES, "seconds")
    print(", ".join(f"{name} {total[name]}" for name in names))
    return int(total["failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
