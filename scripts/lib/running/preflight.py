"""What must be right before a run may start, each with its own message.

Snakemake meets a full or read-only disk with a traceback, and its handlers then do not run.
"""

import os
from contextlib import suppress
from pathlib import Path

from scripts.lib.files.space import free_gb
from scripts.lib.sources.opening import open_source
from scripts.lib.sources.source import SourceError

FREE_GB = {"workdir": 20, "archive": 5}


def problems_before(config: dict) -> list[str]:
    """Return what keeps a run from starting."""
    folders = [
        folder_problem(name, Path(config[name]), wanted_gb(config, name)) for name in FREE_GB
    ]
    if not any(folders):
        folders.append(own_folder_problem(Path(config["workdir"]) / ".snakemake"))
    return [problem for problem in (*folders, source_problem(config)) if problem]


def wanted_gb(config: dict, name: str) -> float:
    """Return the free space that a folder must have."""
    return (config.get("free_gb") or {}).get(name, FREE_GB[name])


def folder_problem(name: str, folder: Path, wanted: float) -> str:
    """Return what is wrong with a folder that a run writes to, nothing if nothing is."""
    # Unlike Path.is_dir it raises nothing for a folder that may not be looked at.
    if not os.path.isdir(folder):
        return f"{name}: the directory {folder} does not exist; is its disk mounted?"
    try:
        free = free_gb(folder)
    except OSError as error:
        return f"{name}: {folder} cannot be looked at ({error.strerror})"
    if free < wanted:
        return (
            f"{name}: {folder} has {free:.1f} GB of free space, free_gb.{name} wants {wanted:g} GB"
        )
    return write_problem(name, folder)


def own_folder_problem(folder: Path) -> str:
    """Return what is wrong with a folder that a run may make."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        return f"workdir: {folder} cannot be made ({error.strerror})"
    return write_problem("workdir", folder)


def write_problem(name: str, folder: Path) -> str:
    """Write and remove a small file, and return what went wrong.

    Rights and mount options do not tell what a server or a quota allows. The file is hidden:
    ESO's poller must not see it.
    """
    path = folder / f".write-check.{os.getpid()}.part"
    try:
        path.write_bytes(b"x")
        path.unlink()
    except OSError as error:
        with suppress(OSError):
            path.unlink()
        return f"{name}: {folder} cannot be written to ({error.strerror})"
    return ""


def source_problem(config: dict) -> str:
    """Return why the source cannot be reached, nothing if it can."""
    try:
        open_source(config["source"], config["source_mounted"]).check()
    except SourceError as error:
        return str(error)
    return ""
