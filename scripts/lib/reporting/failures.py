"""What failed in a run, for the people who must know."""

import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from scripts.lib.files.log import tail
from scripts.lib.reporting.message import clean, shortened

# A message of the job's log (see `scripts.lib.files.log`); an error's last line is none.
MESSAGE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ (DEBUG|INFO|WARNING) ")
# An exception of ours: its message says all that is to be said.
OURS = re.compile(r"scripts(\.\w+)+: ")
# In the working directory, where a run reports.
SNAKEMAKE = Path(".snakemake")
# An error of the system as Python writes it.
SYSTEM = re.compile(r"^\w+: \[Errno \d+\] (?P<what>[^:]+?)(?:: '(?P<path>[^']*)'.*)?$")
FULL = re.compile("No space left on device|quota exceeded", re.I)
KILLED = "killed, or failed before it could say why"
TAIL, LONGEST_LINE = 10, 400


class FailedJob(NamedTuple):
    """A job that failed, or the run for a night of a campaign; without a log its path is empty."""

    rule: str
    wildcards: Mapping[str, str]
    log: str
    cause: str = ""  # if it is not the log's last line
    archive: str = ""  # its disk may be the one that is full

    @property
    def night(self) -> str:
        """The night that it was for."""
        return self.wildcards.get("night", "")

    @property
    def what(self) -> str:
        """Its wildcards, the night first."""
        others = (value for key, value in self.wildcards.items() if key != "night")
        return " ".join(filter(None, [self.night, *others]))

    @property
    def last_lines(self) -> list[str]:
        """The last lines of its log."""
        log = Path(self.log)
        lines = tail(log, TAIL) if log.is_file() else []
        return [shortened(clean(line).rstrip(), LONGEST_LINE) for line in lines]

    @property
    def error(self) -> str:
        """The last line of its log: the error that ended it.

        The log of a job that was killed ends with whatever the job said last, one on a full disk
        anywhere.
        """
        if self.cause:
            return self.cause
        if not self.log:
            return "see the run's log"
        if (lines := self.last_lines) and not MESSAGE.match(lines[-1]):
            folders = [
                Path(self.log).parent,
                SNAKEMAKE,
                *([Path(self.archive)] if self.archive else []),
            ]
            return in_words(OURS.sub("", lines[-1], count=1), folders)
        before = f"; before: {lines[-1]}" if lines else ""
        return KILLED + space_left(Path(self.log).parent) + before


def in_words(error: str, folders: Iterable[Path]) -> str:
    """Return the last line of a log without Python's words for an error of the system.

    A full disk is named: that of the path in the error, otherwise the fullest of those of folders.
    """
    if not (match := SYSTEM.search(error)):
        return error
    path, what = match["path"], match["what"]
    if not FULL.search(what):
        return f"{path}: {what}" if path else what
    known = [Path(path).parent] if path else folders
    try:
        disks = {disk_of(one): shutil.disk_usage(one).free for one in known if one.exists()}
        disk = min(disks, key=lambda one: disks[one])
    except (OSError, ValueError):
        return f"{what}. Make room; the next run continues"
    left = f"{disks[disk] / 1e9:.1f} GB of free space"
    return f"{what}: the disk {disk} has {left}. Make room; the next run continues"


def disk_of(path: Path) -> Path:
    """Return the mount point of the disk that a path is on."""
    path = path.resolve()
    return next(one for one in (path, *path.parents) if os.path.ismount(one))


def in_order(failed: Iterable[FailedJob]) -> list[FailedJob]:
    """Return failed jobs by night."""
    return sorted(failed, key=lambda job: (job.night, job.rule, job.what))


def failures(failed: Iterable[FailedJob]) -> str:
    """Return a text with each failed job: rule, wildcards, its log and the log's last line."""
    jobs = in_order(failed)
    parts = [f"{len(jobs)} job(s) failed; all others that could be done were done:"]
    for job in jobs:
        parts += [f"  {job.rule} {job.what}", f"    {job.error}", f"    log: {job.log or 'none'}"]
    return "\n".join(parts)


def space_left(folder: Path) -> str:
    """Return how much space the disks of a job's log and of Snakemake have; nothing if unknown."""
    try:
        folders = [path for path in (folder, SNAKEMAKE) if path.exists()]
        free = min(shutil.disk_usage(path).free for path in folders) / 1e9
    except (OSError, ValueError):
        return ""
    return f" ({free:.1f} GB of free space)"
