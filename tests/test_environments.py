"""Environments of conda and the container: what they name, and a night run in them."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from rattler import Version, VersionSpec

from envs.pin import read_environment
from tests.architecture import imports, modules
from tests.channel import make_channel
from tests.conda_client import write_client
from tests.night import NIGHT, REPOSITORY, Night

ENVIRONMENTS = sorted((REPOSITORY / "envs").glob("*.yaml"))
CONTAINERFILE = REPOSITORY / "Containerfile"


def test_environments_name_the_versions_that_are_tested():
    [python] = re.findall(r"^FROM python:([\d.]+)-", CONTAINERFILE.read_text(), re.M)
    for path in ENVIRONMENTS:
        environment = read_environment(path)
        assert environment.channels == ["conda-forge"]
        assert "channels: [conda-forge, nodefaults]\n" in path.read_text()
        names = [package.name.normalized for package in environment.packages]
        assert names[0] == "python" and len(set(names)) == len(names), path
        for name, package in zip(names, environment.packages, strict=True):
            right = python if name == "python" else importlib.metadata.version(name)
            assert VersionSpec(str(package.version)).matches(Version(right)), (
                f"{path}: {name} {right} is installed"
            )


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("numpy 2.4.6", "numpy 2.4.6"),
        ("numpy", "a version is missing"),
        ("numpy=2.4.*", "numpy=2.4.*"),
        ("pip: [numpy]", "pip"),
    ],
)
def test_environments_are_read_strictly(tmp_path, line, reason):
    path = tmp_path / "cube.yaml"
    path.write_text(f"channels: [conda-forge, nodefaults]\ndependencies:\n  - {line}\n")
    with pytest.raises(ValueError) as error:
        read_environment(path)
    assert reason in str(error.value) and str(path) in str(error.value)


def test_environments_have_what_their_scripts_import():
    """Snakemake adds its own packages to each environment, so a run alone would not show it."""
    for path in ENVIRONMENTS:
        given = {package.name.normalized for package in read_environment(path).packages}
        given.remove("python")
        for name in list(given):
            required = map(Requirement, importlib.metadata.requires(name) or [])
            given |= {one.name for one in required if not one.marker}
        missing = imported(path.stem) - {part for name in given for part in installed(name)}
        assert not missing, f"{path}: what its script imports is not in it"


@cache
def installed(name: str) -> set[str]:
    """Return the modules that a distribution has at the top of site-packages."""
    return {file.parts[0].partition(".")[0] for file in importlib.metadata.files(name) or []}


def imported(rule: str) -> set[str]:
    """Return the modules of others that the script of a rule imports whenever it runs."""
    known, seen, todo, found = modules(), set(), {f"scripts.{rule}"}, set()
    while todo:
        seen |= todo
        names = {n for module in todo for n in imports(known[module], always=True)}
        own = {part for name in names for part in (name, name.rpartition(".")[0])} & known.keys()
        found |= {n.partition(".")[0] for n in names if not n.startswith("scripts")}
        todo = own - seen
    return found - set(sys.stdlib_module_names)


def test_rules_run_in_environments_of_conda(tmp_path):
    """One has a file of exact packages, the others are solved by ``conda env create``.

    The checkout has only what the container has.
    """
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in in_container():
        copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy
        copy(REPOSITORY / name, checkout / name)
    channel, used = make_channel(tmp_path / "channel"), tmp_path / "modules"
    pin = [sys.executable, "-m", "envs.pin", "--channel", channel, "--output", checkout / "envs"]
    refused = subprocess.run([*pin, "inventory", "solve"], cwd=REPOSITORY, capture_output=True)
    assert refused.returncode == 1 and b"solve: no file is written" in refused.stderr
    assert b"sep" in refused.stderr and not list(checkout.glob("envs/*.pin.txt"))
    subprocess.run([*pin, "inventory"], cwd=REPOSITORY, check=True)

    night = Night(tmp_path, "Callisto", checkout)
    truth = night.simulate()
    corrections = tmp_path / "corrections"
    corrections.mkdir()
    (corrections / f"callisto_{NIGHT}.yaml").write_text(
        f"- files: '{truth[0]['file']}'\n  reason: a mistake\n  set: {{OBSERVER: nobody}}\n"
    )
    environ = os.environ | write_client(tmp_path / "conda", channel) | {"MODULES_FILE": str(used)}
    command = night.command(
        f"{NIGHT}/headers/C", "--software-deployment-method", "conda", corrections=corrections
    )
    done = subprocess.run(command, cwd=checkout, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Using pinnings from" in done.stderr and "inventory.linux-64.pin.txt" in done.stderr
    assert list(night.folder.glob("headers/C/C_*.fits"))
    imports = [line.split("\t") for line in used.read_text().splitlines()]
    packages = re.compile("/site-packages/(numpy|yaml|erfa|astropy_iers_data)/")
    ours = [(prefix, file) for prefix, file in imports if packages.search(file)]
    assert all(file.startswith(f"{prefix}/") for prefix, file in ours)
    prefixes = {prefix for prefix, _ in ours}
    assert len(prefixes) == 3  # of ingest, inventory and header
    assert {Path(prefix).parent for prefix in prefixes} == {night.workdir / ".snakemake/conda"}


def in_container() -> list[str]:
    """Return the files and folders that the container has of the checkout."""
    lines = re.findall(r"^COPY (.*) \S+$", CONTAINERFILE.read_text(), re.M)
    return [name for line in lines for name in line.split()]


def test_the_container_has_what_is_pinned_and_no_passwords():
    text = CONTAINERFILE.read_text()
    assert re.search(r"^FROM python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}$", text, re.M)
    assert {"requirements.txt", "constraints.txt"} <= set(in_container())
    ignored = (REPOSITORY / ".dockerignore").read_text().split()
    assert {"config/*.env", "config/site/*"} <= set(ignored)
