"""Fixtures: simulated nights, run once for many tests."""

import fcntl
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.lib.sources import source as sources
from scripts.lib.sources.opening import open_source
from tests import night as night_module
from tests.browser import browser  # noqa: F401
from tests.night import FULL, Night

# The same in each run, so that tests are repeatable; `make fuzz` draws others.
os.environ.setdefault("FUZZ_SEED", "1")

FRAMES = {"Callisto": 300, "Io": 40} if FULL else {"Callisto": 24, "Io": 24}


def pytest_report_header(config):
    """Print the seed of the random tests."""
    return f"FUZZ_SEED={os.environ['FUZZ_SEED']}"


@pytest.fixture
def callisto(tmp_path):
    """A Callisto without frames yet."""
    return Night(tmp_path, "Callisto")


@pytest.fixture
def io(tmp_path):
    """An Io without frames yet."""
    return Night(tmp_path, "Io")


@pytest.fixture
def jobs_of_their_own(monkeypatch):
    """Give each product its own jobs, for tests that strike at one; to be asked for first."""
    monkeypatch.setattr(night_module, "BATCH", 0)


@pytest.fixture
def short_pauses(monkeypatch):
    """Let a test meet its servers for the first time, and not wait long for them."""
    open_source.cache_clear()
    for name in [name for name in os.environ if name.startswith("SPECULOOS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(sources, "PAUSES", (0.1, 0.2))


@pytest.fixture(scope="session", params=["Callisto", "Io"])
def faulty_night(request, tmp_path_factory):
    """A delivered night with every fault, and its truth; made once for all workers.

    It keeps its raw copies for comparison. Nobody changes it.
    """
    return shared(tmp_path_factory, f"faulty_{request.param}", delivered_with_faults, request.param)


@pytest.fixture
def delivered(request, tmp_path, tmp_path_factory):
    """A small night after its run, and its truth: of Callisto, or as parametrised.

    It is made once for all workers; each test gets a copy, with the times of the files.
    """
    telescope = getattr(request, "param", "Callisto")
    made = shared(tmp_path_factory, f"delivered_{telescope}", delivered_night, telescope)
    night = Night(tmp_path, telescope)
    for folder in ("source", "work", "archive"):
        shutil.copytree(made.root / folder, night.root / folder, dirs_exist_ok=True)
    night.truth = made.truth
    return night


def shared(
    factory: pytest.TempPathFactory, name: str, make: Callable[[Path, str], Night], telescope: str
) -> Night:
    """Return what ``make`` returns of a folder and a telescope, made once for all workers."""
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    kept = folder / f"{name}.pickle"
    with open(f"{kept}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_bytes(pickle.dumps(make(folder / name, telescope)))
    return pickle.loads(kept.read_bytes())


def delivered_night(root: Path, telescope: str) -> Night:
    """Return a small night after its run."""
    night = Night(root, telescope)
    night.truth = night.simulate()
    night.run()
    return night


def delivered_with_faults(root: Path, telescope: str) -> Night:
    """Return a night with every fault after its run."""
    night = Night(root, telescope)
    night.truth = night.simulate(frames=FRAMES[telescope], faults=True)
    # Of Io each sequence has its own jobs, as on real nights; of Callisto they share some.
    night.output = night.run(keep_raw="true", batch=0 if telescope == "Io" else 1)
    return night
