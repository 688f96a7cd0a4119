"""A few scripts of the soak: they must find nothing."""

import subprocess
import sys

import pytest

from tests.night import REPOSITORY


@pytest.mark.parametrize("first", [1, 4])
def test_scripts_of_random_events_lose_and_repeat_nothing(first):
    command = [sys.executable, "-m", "tests.soak", "--seeds", "2", "--first", str(first)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seeds 2, failed 0" in done.stdout
