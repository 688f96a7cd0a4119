"""When a telescope's runs began and ended: one small file that any monitor can read."""

import json
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from scripts.lib.files.durable import write_text


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


def heartbeat_path(workdir: Path) -> Path:
    """Return the path of a working directory's heartbeat."""
    return workdir / "heartbeat"


def read_heartbeat(workdir: Path) -> Heartbeat:
    """Return the last heartbeat; an empty one if there is none, or it cannot be understood."""
    try:
        content = json.loads(heartbeat_path(workdir).read_text())
        times = {key: parse_time(content[key]) for key in ("start", "end", "success")}
        return Heartbeat(status=content["status"], **times)
    except (OSError, ValueError, KeyError, TypeError):
        return Heartbeat()


def write_heartbeat(workdir: Path, heartbeat: Heartbeat) -> None:
    """Write a heartbeat, whole or not at all."""
    content = {
        key: value.isoformat(timespec="seconds") if isinstance(value, datetime) else value
        for key, value in heartbeat._asdict().items()
    }
    write_text(heartbeat_path(workdir), json.dumps(content) + "\n")


def parse_time(text: str | None) -> datetime | None:
    """Return the time that a text names, None if there is none."""
    return datetime.fromisoformat(text) if text else None
