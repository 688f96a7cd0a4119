"""README word for word: what a newcomer types in the ten steps, and what it prints."""

import os
import re
import subprocess
import sys
from pathlib import Path

from scripts.simulator.night import simulate
from tests.night import NIGHT, REPOSITORY

BLOCK = re.compile(r"^```console\n(.*?)^```$", re.M | re.S)
# A command, its here-document if it has one, and what it prints.
COMMAND = re.compile(r"^\$ (.*<<END\n(?:.*\n)*?END\n|.*\n)((?:(?!\$ ).*\n)*)", re.M)


def steps(page: str) -> list[tuple[str, str]]:
    """Return the commands of the page's console blocks, each with the output that it shows."""
    return [step for block in BLOCK.findall(page) for step in COMMAND.findall(block)]


def shows(shown: str, output: str) -> bool:
    """Return whether an output has the lines that are shown, in their order; … is any text."""
    lines = [".*".join(map(re.escape, line.split("…"))) for line in shown.splitlines()]
    return re.search(r"(?:.*\n)*?".join(f".*{line}.*\n" for line in lines), output) is not None


def test_ten_steps_deliver_a_night_of_ones_own_frames(tmp_path):
    checkout, data, home = tmp_path / "speculoos-archive", tmp_path / "data", tmp_path / "home"
    subprocess.run(["git", "clone", "-q", REPOSITORY, checkout], check=True)
    (checkout / ".venv").symlink_to(Path(sys.prefix))
    (home / ".local/bin").mkdir(parents=True)
    simulate("Callisto", NIGHT, data / "callisto", frames=14)
    environment = {name: value for name, value in os.environ.items() if "SPECULOOS" not in name}
    environment |= {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")}
    environment["PATH"] = f"{home}/.local/bin:{checkout}/.venv/bin:{os.environ['PATH']}"
    commands = steps((checkout / "README.md").read_text().replace("/data/", f"{data}/"))
    assert len(commands) >= 10
    for command, shown in commands:
        # The interpreter is that of the tests: nothing is installed again.
        done = subprocess.run(
            ["bash", "-c", command], cwd=checkout, env=environment, capture_output=True, text=True
        )
        output = done.stdout + done.stderr
        assert done.returncode == 0, f"{command}{output}"
        assert shows(shown, output) if shown else not done.stdout, f"{command}{output}"
    assert len(list((data / "eso").glob("SPECU4.*.fits"))) >= 4
