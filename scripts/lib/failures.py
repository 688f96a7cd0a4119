"""What failed in a run, for the people who must know."""

from pathlib import Path


def failures(jobs) -> str:
    """Return a text with each failed job: rule, wildcards, its log and the log's last line.

    Parameters
    ----------
    jobs : iterable
        Objects with ``rule.name``, ``wildcards`` and ``log``, as Snakemake's scheduler has them.
    """
    jobs = sorted(jobs, key=lambda job: (job.rule.name, str(job.wildcards)))
    parts = [f"{len(jobs)} job(s) failed; all others that could be done were done:"]
    for job in jobs:
        parts.append(f"  {job.rule.name} {' '.join(job.wildcards)}")
        for path in map(Path, job.log):
            parts.append(f"    {last_line(path)}")
            parts.append(f"    log: {path.absolute()}")
    return "\n".join(parts)


def last_line(path: Path) -> str:
    """Return the last line of a job's log: the error that ended it."""
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return lines[-1] if lines else "killed, or failed before it could say why"
