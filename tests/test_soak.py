"""The soak of `make soak`: some seeds must succeed, and errors must be noticed."""

import json
import shutil
import subprocess
import sys

import pytest

from tests import soak
from tests.night import REPOSITORY


# A job or all is killed as soon as a product has its name, and ESO takes it immediately.
@pytest.mark.parametrize("seed", ["405", "666", "1464"])
def test_a_seed_ends_well(seed):
    command = [sys.executable, "-m", "tests.soak", "--seeds", "1", "--first", seed]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "seeds 1, failed 0" in done.stdout and "kills 0" not in done.stdout


def test_a_seed_always_draws_the_same_script():
    scripts = [json.dumps(soak.draw_script(seed)) for seed in range(200)]
    assert scripts == [json.dumps(soak.draw_script(seed)) for seed in range(200)]
    assert len(set(scripts)) > 150


@pytest.mark.filterwarnings("ignore:File may")
def test_what_goes_wrong_is_noticed(tmp_path):
    """Raw frames pass for products here: they hold the pixels of their frame."""
    script = soak.draw_script(1) | {"nights": soak.NIGHTS[:1], "objects": soak.OBJECTS[:2]}
    gold = soak.make_gold(tmp_path / "gold")
    site = soak.Site(tmp_path, tmp_path, script | {"apart": False}, gold)
    right, twice, cut, changed, written, *lost = sorted(site.night.source.glob("*/*"))

    def deliver(frame):
        hidden = site.archive / ".hidden"
        shutil.copy(frame, hidden)
        hidden.rename(site.archive / frame.name)

    with site:
        for frame in (right, twice, changed):
            deliver(frame)
        site.collect()
        deliver(twice)
        cut.write_bytes(cut.read_bytes()[:-2880])
        deliver(cut)
        with open(site.archive / written.name, "wb") as stream:
            stream.write(written.read_bytes())
            stream.flush()
            site.catch_up()
            stream.write(b"more")
        (site.archive / ".left").touch()
        (path,) = site.collected.glob(f"*_{changed.name}")
        path.write_bytes(path.read_bytes()[:-1] + b"1")
        found = site.trouble()
    assert set(found["lost"]) == {frame.name for frame in (cut, changed, written, *lost)}
    assert len(found["twice"]) == 1 and found["twice"][0].startswith(f"{twice.name}: ")
    wrong = " ".join(found["partial"])
    assert all(frame.name in wrong for frame in (cut, changed, written)) and right.name not in wrong
    assert found["hidden"] == [".left"]
