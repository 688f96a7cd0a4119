"""A stand-in for conda: what Snakemake asks of it, done by rattler, the library of pixi.

The variable CONDA_TEST_PREFIX names its folder, CONDA_TEST_CHANNEL the channel that replaces all.
"""

import argparse
import asyncio
import hashlib
import json
import os
import sys
from pathlib import Path
from urllib.parse import unquote, urlparse

ACTIVATE = 'export CONDA_PREFIX="$1" PATH="$1/bin:$PATH"\n'


def write_client(prefix: Path, channel: str) -> dict[str, str]:
    """Write the stand-in into a folder; return the environment variables to use it with."""
    command = prefix / "bin/conda"
    command.parent.mkdir(parents=True)
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{__file__}" "$@"\n')
    command.chmod(0o755)
    (prefix / "bin/activate").write_text(ACTIVATE)
    path = f"{command.parent}:{os.environ['PATH']}"
    return {"PATH": path, "CONDA_TEST_PREFIX": str(prefix), "CONDA_TEST_CHANNEL": channel}


async def create(file: Path, prefix: Path, explicit: bool) -> None:
    """Install the packages of an environment, or exactly those of a file, into a prefix."""
    import rattler
    from rattler.explicit_environment.environment import ExplicitEnvironmentSpec

    from envs.pin import end, read_environment, solved

    if explicit:
        records = []
        for package in ExplicitEnvironmentSpec.from_path(file).packages:
            url, _, right = package.url.partition("#")
            path = Path(unquote(urlparse(url).path))
            if (found := hashlib.md5(path.read_bytes()).hexdigest()) != right:
                sys.exit(f"{path}: MD5 {found} found, {right} is right")
            records.append(await rattler.RepoDataRecord.from_package_archive(path))
    else:
        environment = read_environment(file)
        records = await solved(environment._replace(channels=[os.environ["CONDA_TEST_CHANNEL"]]))
    cache = Path(os.environ["CONDA_TEST_PREFIX"]) / "pkgs"
    await rattler.install(records, prefix, cache_dir=cache, show_progress=False)
    end(0)


def main(words: list[str]) -> None:
    """Answer as conda does; fail for what Snakemake is not known to ask."""
    if words == ["--version"]:
        return print("conda 24.7.1")  # the oldest that Snakemake takes
    if words == ["info", "--json"]:
        answer = {"conda_prefix": os.environ["CONDA_TEST_PREFIX"], "platform": "linux-64"}
        return print(json.dumps(answer))
    if words == ["config", "--get", "channel_priority", "--json"]:
        return print(json.dumps({"get": {"channel_priority": "strict"}}))
    if words == ["clean", "-y", "--tarballs"]:
        return None  # rattler keeps none
    explicit = words[0] == "create"
    if words[:1] != ["create"] and words[:2] != ["env", "create"]:
        sys.exit(f"conda {' '.join(words)}: not known to the stand-in")
    parser = argparse.ArgumentParser()
    for flag in ("--quiet", "--no-default-packages", "--yes"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--file", type=Path, required=True)
    parser.add_argument("--prefix", type=Path, required=True)
    options = parser.parse_args(words[1 if explicit else 2 :])
    asyncio.run(create(options.file, options.prefix, explicit))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent.parent))
    main(sys.argv[1:])
