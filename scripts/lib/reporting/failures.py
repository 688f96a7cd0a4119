"""What failed in a run, for the people who must know."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from scripts.lib.files.space import free_gb

# A message of the job's log (see `scripts.lib.files.log`); an error's last line is none.
MESSAGE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ (DEBUG|INFO|WARNING) ")
# An exception of ours: its message says all that is to be said.
OURS = re.compile(r"scripts(\.\w+)+: ")
# In the working directory, where a run reports.
SNAKEMAKE = Path(".snakemake")
KILLED = "killed, or failed before it could say why"


class Rule(Protocol):
    """A rule of Snakemake."""

    name: str


class Job(Protocol):
    """A job as Snakemake's scheduler has it."""

    rule: Rule
    wildcards: Mapping[str, str]
    log: Sequence[str]


def failures(failed: Iterable[Job]) -> str:
    """Return a text with each failed job: rule, wildcards, its log and the log's last line."""
    jobs = sorted(failed, key=lambda job: (job.rule.name, str(job.wildcards)))
    parts = [f"{len(jobs)} job(s) failed; all others that could be done were done:"]
    for job in jobs:
        parts.append(f"  {job.rule.name} {' '.join(job.wildcards)}")
        for path in map(Path, job.log):
            parts.append(f"    {last_line(path)}")
            parts.append(f"    log: {path.absolute()}")
    return "\n".join(parts)


def last_line(path: Path) -> str:
    """Return the last line of a job's log: the error that ended it.

    The log of a job that was killed ends with whatever the job said last, one on a full disk
    anywhere.
    """
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    if lines and not MESSAGE.match(lines[-1]):
        return OURS.sub("", lines[-1], count=1)
    return KILLED + space_left(path.parent) + (f"; before: {lines[-1]}" if lines else "")


def space_left(folder: Path) -> str:
    """Return how much space the disks of a job's log and of Snakemake have; nothing if unknown."""
    try:
        free = min(free_gb(path) for path in (folder, SNAKEMAKE) if path.exists())
    except (OSError, ValueError):
        return ""
    return f" ({free:.1f} GB of free space)"
