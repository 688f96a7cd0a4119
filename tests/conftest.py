"""Fixtures: simulated nights, run once and looked at by many tests."""

import fcntl
import os
import pickle
from pathlib import Path

import pytest

from tests.night import FULL, Night

# The same in each run, so that a test fails for what was changed; `make fuzz` tries others.
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


@pytest.fixture(scope="session", params=["Callisto", "Io"])
def faulty_night(request, tmp_path_factory):
    """A delivered night with every fault, and its truth; made once for all workers.

    It keeps its raw copies for comparison. Nobody changes it.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    kept = shared / f"{request.param}.pickle"
    with open(f"{kept}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_bytes(pickle.dumps(delivered_with_faults(shared, request.param)))
    return pickle.loads(kept.read_bytes())


def delivered_with_faults(shared: Path, telescope: str) -> Night:
    """Return a night after its run."""
    night = Night(shared / telescope, telescope)
    night.truth = night.simulate(frames=FRAMES[telescope], faults=True)
    night.output = night.run(keep_raw="true")
    return night
