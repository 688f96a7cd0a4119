"""A telescope's jobs in SLURM's queue: recognised by name and comment, ended, awaited.

Snakemake leaves its jobs in the queue when it is killed, and waits for them when it is asked to
end. The next run would submit jobs for the same files beside them.
"""

import os
import re
import subprocess
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

# The executor plugin makes this folder of the working directory before it submits a job.
LOGS = Path(".snakemake/slurm_logs")
# It writes rule and wildcards into a job's comment; the first wildcard of all rules is the night.
NIGHT = re.compile(r"_wildcards_(\d{8})(?:_|$)")
ANSWER = 60  # s: for an answer of SLURM's controller
# s: for jobs to leave the queue; SLURM kills them 30 s after it has asked them to end (KillWait).
LEAVING = 180
PAUSE = 0.5


class QueueError(Exception):
    """The queue cannot be asked, or a job does not leave it; the message says what to do."""


class Job(NamedTuple):
    """A job in the queue; ``night`` is empty if it is not one of the workflow's rules."""

    number: str
    name: str
    night: str


def job_name(telescope: str, workdir: Path) -> str:
    """Return what the names of a working directory's jobs begin with."""
    return f"speculoos-{telescope.lower()}-{zlib.crc32(bytes(workdir.absolute())):08x}"


def run_name(telescope: str, workdir: Path, process: int) -> str:
    """Return what the names of the jobs begin with that a process of Snakemake submits."""
    return f"{job_name(telescope, workdir)}-{process}"


def jobs_of(telescope: str, workdir: Path) -> list[Job]:
    """Return the jobs of a working directory that are in the queue, in any state.

    SLURM is not asked if no job was ever submitted there. Raises `QueueError` if it does not
    answer.
    """
    if not (workdir / LOGS).is_dir():
        return []
    words = ["--noheader", f"--user={os.getuid()}", "--format=%A|%j|%k"]
    found = []
    for line in ask("squeue", words).splitlines():
        number, name, comment = line.strip().split("|", 2)
        night = NIGHT.search(comment)
        if night and name.startswith(f"{job_name(telescope, workdir)}-"):
            found.append(Job(number, name, night[1]))
    return found


def ask_to_end(jobs: Sequence[Job]) -> None:
    """Cancel jobs, as far as they are still in the queue."""
    if jobs:
        ask("scancel", ["--quiet", *(job.number for job in jobs)])


def end_jobs(telescope: str, workdir: Path, chosen: Callable[[Job], bool]) -> list[Job]:
    """Cancel jobs of a working directory, wait until they have left the queue, return them.

    Raises `QueueError` if one stays.
    """
    ended: dict[str, Job] = {}
    until = time.monotonic() + LEAVING
    while left := [job for job in jobs_of(telescope, workdir) if chosen(job)]:
        if time.monotonic() > until:
            numbers = " ".join(job.number for job in left)
            raise QueueError(
                f"SLURM's jobs {numbers} of an earlier run do not leave the queue: look at them "
                f"(squeue --jobs={','.join(job.number for job in left)}), cancel them"
            )
        ask_to_end([job for job in left if job.number not in ended])
        ended |= {job.number: job for job in left}
        time.sleep(PAUSE)
    return list(ended.values())


def ask(command: str, words: Sequence[str]) -> str:
    """Return what a command of SLURM prints; raise `QueueError` if it fails."""
    try:
        done = subprocess.run([command, *words], capture_output=True, text=True, timeout=ANSWER)
    except FileNotFoundError:
        said = "is not installed here, but jobs were submitted to SLURM before"
    except subprocess.TimeoutExpired:
        said = f"got no answer within {ANSWER} s"
    else:
        if done.returncode == 0:
            return done.stdout
        said = done.stderr.strip() or f"ended with exit status {done.returncode}"
    raise QueueError(f"{command}: {said}. Run again once SLURM's controller answers")
