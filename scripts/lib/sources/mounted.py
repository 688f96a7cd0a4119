"""A mounted folder, read by a child process.

Nothing can interrupt a system call on a mount whose server is frozen, and a process with a thread
in such a call cannot even be ended. A child process can be left behind: it ends by itself when
the mount comes back or is taken away.
"""

import mmap
import os
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
PIECE = 1 << 19  # bytes of a file that are read at a time


class MountedFolder:
    """The connection to a mounted folder, which holds one folder per night."""

    def __init__(self, root: str):
        ours, theirs = socketpair()
        # The child reads files into memory that both share: the line would cost twice as much.
        memory = os.memfd_create("piece")
        os.ftruncate(memory, PIECE)
        self.piece = memoryview(mmap.mmap(memory, PIECE))
        fds = theirs.fileno(), memory
        self.child = subprocess.Popen(
            [sys.executable, "-m", __name__, *map(str, fds), root],
            cwd=CHECKOUT,
            pass_fds=fds,
            # Whoever waits for the end of our output must not wait for a child left behind.
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()
        os.close(memory)
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
        self.call("check")

    def scan(self, night: str, folder: str) -> list[RawEntry]:
        return self.call("scan", night, folder)

    def look_up(self, night: str, path: str) -> RawEntry:
        return self.call("look_up", night, path)

    def open_frame(self, night: str, path: str) -> "MountedFile":
        return MountedFile(self, self.call("open", night, path))

    def close(self) -> None:
        self.line.close()
        self.child.wait(1)


class MountedFile:
    """A frame that the child has open under a number."""

    def __init__(self, folder: MountedFolder, number: int):
        self.folder, self.number = folder, number

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        count = self.folder.call("read", self.number, min(len(buffer), PIECE))
        buffer[:count] = self.folder.piece[:count]
        return count

    def close(self) -> None:
        self.folder.call("close", self.number)


def answer_parent(descriptor: int, memory: int, root: str) -> None:
    """Answer requests until the parent hangs up: the child's main function."""
    line, folder = Connection(descriptor), LocalFolder(Path(root), mounted=True)
    piece = memoryview(mmap.mmap(memory, PIECE))
    files: dict[int, FileIO] = {}
    answer: Any
    while True:
        try:
            match line.recv():
                case "open", night, path:
                    file = folder.open_frame(night, path)
                    answer = file.fileno()
                    files[answer] = file
                case "read", number, size:
                    answer = files[number].readinto(piece[:size])
                case "close", number:
                    files.pop(number).close()
                    answer = None
                case request, *details:
                    answer = getattr(folder, request)(*details)
            line.send(answer)
        except (EOFError, ConnectionError):
            return
        except OSError as error:
            line.send(error)


if __name__ == "__main__":
    answer_parent(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
