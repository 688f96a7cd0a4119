"""Fixtures: simulated nights, run once and looked at by many tests."""

import os
import random

import pytest

# Set before the workers start, so that all have the same; FUZZ_SEED=… repeats a run.
os.environ.setdefault("FUZZ_SEED", str(random.randrange(10**6)))

from tests.night import FULL, Night  # noqa: E402

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
    """A delivered night with every fault, and its truth; keeps its raw copies for comparison."""
    night = Night(tmp_path_factory.mktemp(request.param), request.param)
    night.truth = night.simulate(frames=FRAMES[request.param], faults=True)
    night.output = night.run(keep_raw="true")
    return night
