"""The log of all runs of a telescope: one line when a run begins, one when it ends."""

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

LARGEST = 10_000_000
LONGEST = timedelta(days=30)
KEPT = timedelta(days=90)
STAMP = "%Y%m%dT%H%M%S"
TAIL = 36


def run_log_path(workdir: Path) -> Path:
    """Return the path of a working directory's log."""
    return workdir / "logs" / "run.log"


def open_log(path: Path, now: datetime) -> BinaryIO:
    """Return the log opened to append; one that is long or old is put aside before.

    Unbuffered: otherwise what a full disk does not take would be written, and fail, a second time.
    """
    path.parent.mkdir(exist_ok=True)
    if is_full(path, now):
        path.rename(path.with_name(f"run-{now.strftime(STAMP)}.log"))
    for old in path.parent.glob("run-*.log"):
        if is_old(old.name, now):
            old.unlink(missing_ok=True)
    return open(path, "ab", buffering=0)


def is_full(path: Path, now: datetime) -> bool:
    """Tell whether a log is to be put aside: too long, or begun too long ago."""
    try:
        if path.stat().st_size > LARGEST:
            return True
        with open(path, errors="replace") as stream:
            return now - datetime.fromisoformat(stream.readline().split(" ")[0]) > LONGEST
    except (OSError, ValueError, TypeError):
        return False


def is_old(name: str, now: datetime) -> bool:
    """Tell from the name of a log that was put aside whether it has been kept long enough."""
    match = re.fullmatch(r"run-(\d{8}T\d{6})\.log", name)
    if match is None:
        return False
    return now - datetime.strptime(match[1], STAMP).replace(tzinfo=UTC) > KEPT


def remove_snakemake_logs(workdir: Path, now: datetime) -> None:
    """Remove Snakemake's own logs of runs that were long ago; it never does."""
    for path in workdir.glob(".snakemake/log/*.log"):
        with suppress(OSError):
            if now - datetime.fromtimestamp(path.stat().st_mtime, UTC) > KEPT:
                path.unlink()


def note(log: BinaryIO, text: str) -> None:
    """Write a line with the time; a full disk is reported elsewhere."""
    with suppress(OSError):
        line = f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}\n"
        log.write(line.encode(errors="surrogateescape"))


def tail(path: Path, begin: int, lines: int = TAIL) -> str:
    """Return the last lines that were written to a log after its first ``begin`` bytes."""
    try:
        with open(path, "rb") as stream:
            stream.seek(max(begin, path.stat().st_size - 100_000))
            text = stream.read().decode(errors="replace")
    except OSError as error:
        return f"{path}: {error.strerror}"
    return "\n".join(text.splitlines()[-lines:])
