"""Locks between processes, one file each.

A lock is the kernel's: of a process that was killed, or a machine that was switched off, none is
left behind. A working directory has one for each night, which the run that works on the night
holds, and one for the files that nights share, which is held while such a file is written.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

PAUSE = 0.1
FOLDER = "locks"  # in the working directory
LONGEST_WAIT = 300  # s: for another run that writes what nights share


class FileLock:
    """A lock on a file, which is made when needed and stays; its time says since when it is held.

    The library ``filelock`` cannot say that: it changes the time also when it gets no lock.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.descriptor: int | None = None

    @property
    def held(self) -> bool:
        """Whether this process holds it."""
        return self.descriptor is not None

    def take(self, seconds: float = 0) -> bool:
        """Take the lock until `release` or the process's end; return whether it was free."""
        until = time.monotonic() + seconds
        # Opening must not change the time: another process may hold the lock.
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= until:
                    os.close(descriptor)
                    return False
                time.sleep(PAUSE)
            else:
                os.utime(descriptor)
                self.descriptor = descriptor
                return True

    def release(self) -> None:
        """Give the lock back."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def taken(path: Path) -> datetime:
    """Return when the lock of a file was taken last."""
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def is_held(path: Path) -> bool:
    """Return whether a process holds the lock of a file.

    To know, it is taken for an instant: who wants it must try for a second.
    """
    try:
        with open(path) as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def lock_of(workdir: Path, name: str) -> FileLock:
    """Return the lock of a working directory for a night, or of another name."""
    folder = workdir / FOLDER
    folder.mkdir(exist_ok=True)
    return FileLock(folder / f"{name}.lock")


@contextmanager
def shared_lock(workdir: Path) -> Iterator[None]:
    """Hold the lock for the files that a working directory's nights share.

    It is not held while anything is waited for, and cannot be taken twice. Raises `TimeoutError`
    if another run does not give it back.
    """
    lock = lock_of(workdir, "shared")
    if not lock.take(LONGEST_WAIT):
        raise TimeoutError(f"{lock.path} was held by another run for {LONGEST_WAIT} s")
    try:
        yield
    finally:
        lock.release()


def held_nights(workdir: Path) -> list[Path]:
    """Return the locks of the nights that runs are at work on."""
    return sorted(path for path in (workdir / FOLDER).glob("[0-9]*.lock") if is_held(path))
