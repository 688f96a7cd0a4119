"""Fixtures: simulated nights, run once and looked at by many tests."""

import pytest

from tests.night import FULL, Night

FRAMES = {"Callisto": 300, "Io": 40} if FULL else {"Callisto": 24, "Io": 24}


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
