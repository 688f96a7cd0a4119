"""One run at a time in a working directory.

The lock is the kernel's, so a run that was killed, or a machine that was switched off, leaves
none behind.
"""

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import IO


class AlreadyRunning(RuntimeError):
    """Another run is at work in this directory."""


def taken(path: Path) -> datetime:
    """Return when the lock of a file was taken last."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


class Lock:
    """A lock that is held from `take` until the process ends; its file's time says since when.

    Parameters
    ----------
    path : Path
        The lock file; it is made when needed and stays.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._stream: IO[str] | None = None

    @property
    def held(self) -> bool:
        """Whether this process holds it."""
        return self._stream is not None

    def take(self) -> None:
        """Take the lock.

        Raises
        ------
        AlreadyRunning
            If another process holds it.
        """
        # To append, because writing would set the time even if another process holds it.
        stream = open(self.path, "a")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.close()
            raise AlreadyRunning(
                f"another run is at work in {self.path.parent}: wait until it has ended"
            ) from None
        os.utime(stream.fileno())
        self._stream = stream
