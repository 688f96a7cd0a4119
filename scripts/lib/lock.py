"""One run at a time in a working directory.

The lock is the kernel's, so a run that was killed, or a machine that was switched off, leaves
none behind.
"""

import fcntl
from pathlib import Path


class AlreadyRunning(RuntimeError):
    """Another run is at work in this directory."""


class Lock:
    """A lock that is held from `take` until the process ends.

    Parameters
    ----------
    path : Path
        The lock file; it is made when needed and stays.
    """

    def __init__(self, path: Path):
        self.path = path.absolute()
        self._stream = None

    def take(self) -> None:
        """Take the lock.

        Raises
        ------
        AlreadyRunning
            If another process holds it.
        """
        stream = open(self.path, "w")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.close()
            raise AlreadyRunning(
                f"another run is at work in {self.path.parent}: wait until it has ended"
            ) from None
        self._stream = stream
