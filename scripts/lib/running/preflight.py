"""What must be right before a run may start, each with its own message.

Snakemake meets a full or read-only disk with a traceback, and its handlers then do not run.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from scripts.lib.files.space import free_gb
from scripts.lib.settings.records import Configuration
from scripts.lib.sources.opening import open_source
from scripts.lib.sources.source import SourceError


class RunFolder(NamedTuple):
    """A folder that a run writes to.

    Attributes
    ----------
    key : str
        Of the configuration.
    path : Path
    free_gb : float
        Gigabytes that must be free.
    """

    key: str
    path: Path
    free_gb: float


def run_folders(config: Configuration) -> list[RunFolder]:
    """Return the folders that a run writes to."""
    return [
        RunFolder("workdir", config.workdir, config.free_gb.workdir),
        RunFolder("archive", config.archive, config.free_gb.archive),
    ]


def problems_before(config: Configuration) -> list[str]:
    """Return what keeps a run from starting."""
    problems = [folder_problem(*folder) for folder in run_folders(config)]
    if not any(problems):
        problems.append(own_folder_problem(config.workdir / ".snakemake"))
    return [problem for problem in (*problems, source_problem(config)) if problem]


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
        return f"{name}: {folder} cannot be written to ({error.strerror})"
    return ""


def source_problem(config: Configuration) -> str:
    """Return why the source cannot be reached, nothing if it can."""
    try:
        open_source(config.source, config.source_mounted).check()
    except SourceError as error:
        return str(error)
    return ""
