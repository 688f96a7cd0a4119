"""A mounted folder, read by a child process.

Nothing can interrupt a system call on a mount whose server is frozen, and a process with a thread
in such a call cannot even be ended. A child process can be left behind: it ends by itself when
the mount comes back or is taken away.
"""

import subprocess
import sys
from io import FileIO
from multiprocessing.connection import Connection
from pathlib import Path
from socket import socketpair
from typing import Any

from scripts.lib.sources.listing import RawEntry
from scripts.lib.sources.local import LocalFolder
from scripts.lib.sources.source import Lost

CHECKOUT = Path(__file__).absolute().parents[3]


class MountedFolder:
    """The connection to a mounted folder, which holds one folder per night."""

    def __init__(self, root: str):
        ours, theirs = socketpair()
        self.child = subprocess.Popen(
            [sys.executable, "-m", __name__, str(theirs.fileno()), root],
            cwd=CHECKOUT,
            pass_fds=[theirs.fileno()],
            # Whoever waits for the end of our output must not wait for a child left behind.
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        self.line = Connection(ours.detach())

    def call(self, request: str, *details: Any) -> Any:
        """Return the child's answer, or raise what it raises."""
        try:
            self.line.send((request, *details))
            answer = self.line.recv()
        except (EOFError, ConnectionError) as error:
            raise Lost("the process that reads the mount has ended") from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def check(self) -> None:
        """Raise `Unreachable` unless the folder can be reached and is mounted."""
        self.call("check")

    def scan(self, night: str, folder: str) -> list[RawEntry]:
        """Return the entries of a folder of a night."""
        return self.call("scan", night, folder)

    def look_up(self, night: str, path: str, follow: bool = True) -> RawEntry:
        """Return what an entry is now, or what a link leads to."""
        return self.call("look_up", night, path, follow)

    def open_frame(self, night: str, path: str) -> "MountedFile":
        """Return a frame opened for reading."""
        return MountedFile(self, self.call("open", night, path))

    def close(self) -> None:
        """Let the child end."""
        self.line.close()
        self.child.wait(1)


class MountedFile:
    """A frame that the child has open under a number."""

    def __init__(self, folder: MountedFolder, number: int):
        self.folder, self.number = folder, number

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Read into a buffer; return the bytes read, 0 at the end."""
        if size := self.folder.call("read", self.number, len(buffer)):
            self.folder.line.recv_bytes_into(buffer)
        return size

    def close(self) -> None:
        """Close the frame."""
        self.folder.call("close", self.number)


def answer_parent(descriptor: int, root: str) -> None:
    """Answer requests until the parent hangs up: the child's main function."""
    line, folder = Connection(descriptor), LocalFolder(Path(root), mounted=True)
    files: dict[int, FileIO] = {}

    def answer(request: str, *details: Any) -> None:
        if request == "read":
            number, size = details
            piece = files[number].read(size)
            line.send(len(piece))
            if piece:
                line.send_bytes(piece)
        elif request == "open":
            file = folder.open_frame(*details)
            files[file.fileno()] = file
            line.send(file.fileno())
        elif request == "close":
            line.send(files.pop(*details).close())
        else:
            line.send(getattr(folder, request)(*details))

    while True:
        try:
            answer(*line.recv())
        except (EOFError, ConnectionError):
            return
        except OSError as error:
            line.send(error)


if __name__ == "__main__":
    answer_parent(int(sys.argv[1]), sys.argv[2])
