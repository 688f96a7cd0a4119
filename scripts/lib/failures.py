"""What failed in a run, for the people who must know."""

from pathlib import Path

TAIL = 3


def failures(jobs) -> str:
    """Return a text with each failed job: rule, wildcards, and the last lines of its own log.

    Parameters
    ----------
    jobs : iterable
        Objects with ``rule.name``, ``wildcards`` and ``log``, as Snakemake's scheduler has them.
    """
    jobs = sorted(jobs, key=lambda job: (job.rule.name, str(job.wildcards)))
    parts = [f"{len(jobs)} job(s) failed; all others that could be done were done:"]
    for job in jobs:
        parts.append(f"  {job.rule.name} {' '.join(job.wildcards)}")
        for path in job.log:
            parts.append(f"    log: {path}")
            parts += [f"    {line}" for line in log_tail(Path(path))]
    return "\n".join(parts)


def log_tail(path: Path) -> list[str]:
    """Return the last lines of a log; none if it was never written."""
    return path.read_text(errors="replace").splitlines()[-TAIL:] if path.exists() else []
