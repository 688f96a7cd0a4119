"""Solve the environments of envs/ and write what each consists of: envs/*.linux-64.pin.txt.

For a machine that reaches conda-forge: `make pins`. Snakemake installs the packages of such a file
instead of solving the environment beside it. What this was tried with: docs/environments.md.
"""

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import NamedTuple, NoReturn

import yaml
from rattler import (
    BuildString,
    GenericVirtualPackage,
    MatchSpec,
    PackageName,
    PackageRecord,
    RepoDataRecord,
    Version,
    solve,
)
from rattler.exceptions import FetchRepoDataError, GatewayError, InvalidMatchSpecError, SolverError

from scripts.lib.files.durable import write_text

FOLDER = Path(__file__).parent
PLATFORM = "linux-64"
# What packages may require of the machine: a file must not depend on that which solves it. glibc
# is that of RHEL 8, older than Debian 11's.
MACHINE = {"__unix": "0", "__linux": "4.18", "__glibc": "2.28"}
FAILURES = (FetchRepoDataError, GatewayError, OSError, SolverError, ValueError, yaml.YAMLError)


class Environment(NamedTuple):
    """Channels of an environment, and the packages that it names."""

    channels: list[str]
    packages: list[MatchSpec]


def read_environment(path: Path) -> Environment:
    """Return what an environment file asks for.

    Raises `ValueError` if it has other keys than channels and dependencies, or names a package
    without a version, or in words that conda's clients read differently.
    """
    content = yaml.safe_load(path.read_text())
    keys = sorted(content) if isinstance(content, dict) else []
    if keys != ["channels", "dependencies"]:
        raise ValueError(f"{path}: the keys {keys} found, channels and dependencies are right")
    packages = []
    for text in content["dependencies"]:
        try:
            package = MatchSpec(str(text), strict=True)
        except InvalidMatchSpecError as error:
            raise ValueError(f"{path}: {text}: {error}") from None
        if package.version is None:
            raise ValueError(f"{path}: {text}: a version is missing, as in {text}=1.2")
        packages.append(package)
    return Environment([name for name in content["channels"] if name != "nodefaults"], packages)


async def solved(environment: Environment) -> list[RepoDataRecord]:
    """Return the packages of an environment with all that they need, each after what it needs.

    Raises rattler's errors if a channel cannot be read, or has no such packages.
    """
    machine = [
        GenericVirtualPackage(PackageName(name), Version(version), BuildString("0"))
        for name, version in MACHINE.items()
    ]
    records = await solve(
        environment.channels,
        environment.packages,
        platforms=[PLATFORM, "noarch"],
        virtual_packages=machine,
    )
    by_name = {record.name.normalized: record for record in records}
    ordered = PackageRecord.sort_topologically(list(records))
    return [by_name[record.name.normalized] for record in ordered]


def pin_text(records: list[RepoDataRecord]) -> str:
    """Return a file of packages as `conda create --file` reads it, with their MD5 sums."""
    lines = [f"{record.url}#{record.md5.hex()}\n" for record in records if record.md5]
    if len(lines) < len(records):
        raise ValueError("the channel has packages without MD5 sums")
    return f"# platform: {PLATFORM}\n@EXPLICIT\n{''.join(lines)}"


def main() -> int:
    """Write the files of all environments, or none; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m envs.pin", description=__doc__)
    parser.add_argument("--channel", help="instead of those that the environments name")
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder of the files")
    parser.add_argument("names", nargs="*", help="environments; all if none is named")
    options = parser.parse_args()
    names = options.names or sorted(path.stem for path in FOLDER.glob("*.yaml"))
    texts = {}
    for name in names:
        try:
            environment = read_environment(FOLDER / f"{name}.yaml")
            if options.channel:
                environment = environment._replace(channels=[options.channel])
            texts[name] = pin_text(asyncio.run(solved(environment)))
        except FAILURES as error:
            print(f"{name}: no file is written: {error}", file=sys.stderr)
            return 1
    for name, text in texts.items():
        path = options.output / f"{name}.{PLATFORM}.pin.txt"
        write_text(path, text)
        print(path)
    return 0


def end(status: int) -> NoReturn:
    """End the process without Python's own end, during which a thread of rattler may abort it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    end(main())
