"""What must be right before a run may start, each with its own message.

Snakemake meets a full or read-only disk with a traceback, and its handlers then do not run.
"""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from scripts.lib.files.errors import TryLater
from scripts.lib.settings.records import Configuration
from scripts.lib.sources.opening import open_source


def problems_before(config: Configuration) -> list[str]:
    """Return what keeps a run from starting."""
    problems = []
    for key, folder in (("workdir", config.workdir), ("archive", config.archive)):
        problems += space_problems(config, key) or write_problems(key, folder)
    if not problems:
        own = config.workdir / ".snakemake"
        try:
            own.mkdir(exist_ok=True)
            problems += write_problems("workdir", own)
        except OSError as error:
            problems.append(f"workdir: {own} cannot be made ({error.strerror})")
    return problems + source_problems(config)


def space_problems(config: Configuration, key: str) -> list[str]:
    """Return whether ``workdir`` or ``archive`` is missing or has too little space."""
    folder, required = getattr(config, key), getattr(config.free_gb, key)
    # Unlike Path.is_dir it raises nothing for a folder that may not be looked at.
    if not os.path.isdir(folder):
        return [f"{key}: the directory {folder} does not exist; is its disk mounted?"]
    try:
        free = shutil.disk_usage(folder).free / 1e9
    except OSError as error:
        return [f"{key}: {folder} cannot be looked at ({error.strerror})"]
    if free >= required:
        return []
    space = f"{free:.1f} GB of free space"
    return [f"{key}: {folder} has {space}, free_gb.{key} requires {required:g} GB"]


def write_problems(key: str, folder: Path) -> list[str]:
    """Write and remove a small file, and return what went wrong.

    Rights and mount options do not show what a server or a quota allows. The file is hidden:
    ESO's poller must not see it.
    """
    path = folder / f".write-check.{os.getpid()}.part"
    try:
        path.write_bytes(b"x")
        path.unlink()
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        return [f"{key}: {folder} cannot be written to ({error.strerror})"]
    return []


def source_problems(config: Configuration) -> list[str]:
    """Return why the source cannot be reached, nothing if it can."""
    try:
        open_source(config.source, config.source_mounted).check()
    except TryLater as error:
        return [str(error)]
    return []
