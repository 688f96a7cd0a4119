"""The mails that wait in ``{workdir}/mail/``: written before they are sent, removed after.

So a kill loses none; what could not be sent goes first the next time. A file is a line of JSON,
the envelope, and the message as it goes over the wire.
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from scripts.lib.files.durable import whole_file
from scripts.lib.files.errors import Damaged
from scripts.lib.files.lock import FileLock
from scripts.lib.reporting.message import flat
from scripts.lib.settings.check import Unchecked
from scripts.lib.settings.records import Configuration

KEPT = timedelta(days=30)
# The second is that of earlier versions, whose mails may still wait.
SUFFIXES = (".message", ".letter")
TIME = "%Y%m%dT%H%M%S.%f"


@dataclass(frozen=True, slots=True)
class QueuedMail:
    """A message that waits; ``refused`` has the server's answer to each recipient it refused."""

    path: Path
    content: bytes
    sender: str
    recipients: list[str]
    subject: str
    refused: dict[str, str] = field(default_factory=dict)


def say(line: str) -> None:
    """Write a line for the operator to standard error, which cron and the run's log have."""
    print(f"mail: {flat(line)}", file=sys.stderr, flush=True)


def queue_of(config: Configuration | Unchecked) -> Path:
    """Return the folder of mails that wait."""
    return config.workdir / "mail"


def queued_messages(folder: Path) -> list[Path]:
    """Return the files of the mails that wait, oldest first: names begin with the time."""
    return sorted(path for path in folder.glob("[!.]*") if path.suffix in SUFFIXES)


def new_path(folder: Path) -> Path:
    """Return the path of a mail that is written now."""
    return folder / f"{datetime.now(UTC):{TIME}}-{os.getpid()}{SUFFIXES[0]}"


def store(queued: QueuedMail) -> None:
    """Write a mail to the queue, whole or not at all, readable by its owner only."""
    # Its parent is not made: it may be a share that is not mounted.
    queued.path.parent.mkdir(mode=0o700, exist_ok=True)
    envelope = asdict(queued)
    del envelope["path"], envelope["content"]
    with whole_file(queued.path) as stream:
        os.fchmod(stream.fileno(), 0o600)
        stream.write(json.dumps(envelope).encode() + b"\n" + queued.content)


def read_queued(path: Path) -> QueuedMail:
    """Return a mail of the queue; a file that is not one is `Damaged`."""
    envelope, _, content = path.read_bytes().partition(b"\n")
    try:
        return QueuedMail(path, content, **json.loads(envelope))
    except (ValueError, TypeError):
        raise Damaged(f"{path} is not a mail that waits to be sent") from None


def waiting(folder: Path) -> list[QueuedMail]:
    """Return the mails that wait, oldest first; those that waited too long are dropped."""
    mails = []
    for path in queued_messages(folder):
        queued, what = None, path.name
        try:
            queued = read_queued(path)
            what = f"{queued.subject!r} to {', '.join(queued.recipients)}"
        except Damaged as error:
            say(f"{error}: {put_aside(path)}")
            continue
        except OSError as error:
            say(str(error))
        if is_stale(path.name):
            say(f"given up after {KEPT.days} days: {what}")
            path.unlink(missing_ok=True)
        elif queued:
            mails.append(queued)
    return mails


def put_aside(path: Path) -> str:
    """Rename a file that is not a mail, so that it is reported once; return what to do."""
    aside = path.with_suffix(".unreadable")
    try:
        path.rename(aside)
    except OSError as error:
        return f"remove it ({error.strerror})"
    return f"it is {aside.name} now, look at it"


def is_stale(name: str) -> bool:
    """Return whether a mail has waited too long, from its name; one without a time has not."""
    try:
        written = datetime.strptime(name.partition("-")[0], TIME).replace(tzinfo=UTC)
    except ValueError:
        return False
    return datetime.now(UTC) - written > KEPT


def refusals(folder: Path) -> dict[str, tuple[str, int]]:
    """Return for each recipient whom the server refused its answer, and how many mails wait."""
    found: dict[str, tuple[str, int]] = {}
    for path in queued_messages(folder):
        with suppress(Damaged, OSError):
            for recipient, reason in read_queued(path).refused.items():
                found[recipient] = reason, found.get(recipient, ("", 0))[1] + 1
    return found


@contextmanager
def locked(folder: Path, seconds: float) -> Iterator[bool]:
    """Keep two processes from sending the same mails; False if another takes longer than that."""
    lock = FileLock(folder / ".lock")
    mine = not folder.is_dir() or lock.take(seconds)
    try:
        yield mine
    finally:
        lock.release()
