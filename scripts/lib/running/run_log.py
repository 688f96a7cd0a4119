"""When a telescope's runs began and ended: the heartbeat for monitors, and the log of all runs."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO, NamedTuple

from scripts.lib.files.durable import write_text

LARGEST = 10_000_000
LONGEST = timedelta(days=30)
KEPT = timedelta(days=90)
ASIDE = "run-%Y%m%dT%H%M%S.log"


class Heartbeat(NamedTuple):
    """Last start and end of a run, its exit status, and the end of the last successful run."""

    start: datetime | None = None
    end: datetime | None = None
    status: int | None = None
    success: datetime | None = None

    def began(self, now: datetime) -> "Heartbeat":
        """Return this heartbeat once a run has begun."""
        return self._replace(start=now, end=None, status=None)

    def ended(self, now: datetime, status: int) -> "Heartbeat":
        """Return this heartbeat once that run has ended."""
        return self._replace(end=now, status=status, success=self.success if status else now)

    def as_json(self) -> dict[str, object]:
        """Return it with times as ISO text."""
        return {
            key: value.isoformat(timespec="seconds") if isinstance(value, datetime) else value
            for key, value in self._asdict().items()
        }


def read_heartbeat(workdir: Path) -> Heartbeat:
    """Return the last heartbeat; an empty one if there is none, or it cannot be understood."""
    try:
        content = json.loads((workdir / "heartbeat").read_text())
        for key in ("start", "end", "success"):
            content[key] = content[key] and datetime.fromisoformat(content[key])
        return Heartbeat(**content)
    except (OSError, ValueError, KeyError, TypeError):
        return Heartbeat()


def write_heartbeat(workdir: Path, heartbeat: Heartbeat) -> None:
    """Write a heartbeat, whole or not at all."""
    write_text(workdir / "heartbeat", json.dumps(heartbeat.as_json()) + "\n")


def record_by_hand(workdir: Path, start: datetime, end: datetime, status: int) -> None:
    """Record a run without the wrapper; of the wrapper's last one stays that it has not ended."""
    last = read_heartbeat(workdir)
    this = last.began(start).ended(end, status)
    unended = last.start and not last.end
    write_heartbeat(workdir, last._replace(success=this.success) if unended else this)


def run_log_path(workdir: Path) -> Path:
    """Return the path of a working directory's log."""
    return workdir / "logs" / "run.log"


def open_log(path: Path, now: datetime) -> BinaryIO:
    """Return the log opened to append; one that is long or old is put aside before.

    Unbuffered: otherwise what a full disk does not take would be written, and fail, a second time.
    """
    path.parent.mkdir(exist_ok=True)
    with suppress(OSError, ValueError, TypeError), open(path, errors="replace") as stream:
        begun = stream.readline().split(" ")[0]
        if path.stat().st_size > LARGEST or now - datetime.fromisoformat(begun) > LONGEST:
            path.rename(path.with_name(f"{now:{ASIDE}}"))
    for old in path.parent.glob("run-*.log"):
        with suppress(ValueError):
            if now - datetime.strptime(old.name, ASIDE).replace(tzinfo=UTC) > KEPT:
                old.unlink(missing_ok=True)
    return open(path, "ab", buffering=0)


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
