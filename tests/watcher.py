"""A watcher of a folder that looks at each product as soon as it gets its name (inotify)."""

import ctypes
import hashlib
import os
import select
import struct
import threading
from pathlib import Path

MODIFY, CLOSE_WRITE, MOVED_TO, CREATE = 0x2, 0x8, 0x80, 0x100
HEAD = struct.Struct("iIII")
LIBC = ctypes.CDLL(None, use_errno=True)


class Watcher:
    """What happened to products in a folder since it is watched.

    Attributes
    ----------
    arrivals : list
        Path, size and SHA-256 of each product, as it was when it got its name.
    writes : list
        Names of products that were written to under their final name.
    """

    def __init__(self, folder: Path):
        self.descriptor = LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        self.folders: dict[int, Path] = {}
        self.arrivals: list[tuple[Path, int, str]] = []
        self.writes: list[str] = []
        self.turn = threading.Lock()
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.add(folder)

    def add(self, folder: Path) -> None:
        """Watch a folder, or what has been mounted there since; what is in it arrives now."""
        mask = MODIFY | CLOSE_WRITE | MOVED_TO | CREATE
        number = LIBC.inotify_add_watch(self.descriptor, os.fsencode(folder), mask)
        assert number > 0, os.strerror(ctypes.get_errno())
        self.folders[number] = folder
        for path in folder.glob("*.fits"):
            self.arrive(path)

    def __enter__(self) -> "Watcher":
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.done.set()
        self.thread.join()
        os.close(self.descriptor)

    def look(self) -> None:
        while not self.done.is_set():
            if select.select([self.descriptor], [], [], 0.1)[0]:
                self.catch_up()

    def catch_up(self) -> None:
        """Look at all that has happened until now."""
        with self.turn:
            while events := self.read():
                for number, mask, name in events:
                    self.note(number, mask, name)

    def read(self) -> list[tuple[int, int, str]]:
        try:
            content = os.read(self.descriptor, 1 << 16)
        except BlockingIOError:
            return []
        events = []
        while content:
            number, mask, _, size = HEAD.unpack_from(content)
            name = content[HEAD.size : HEAD.size + size].rstrip(b"\0").decode()
            events.append((number, mask, name))
            content = content[HEAD.size + size :]
        return events

    def note(self, number: int, mask: int, name: str) -> None:
        if name.startswith(".") or not name.endswith(".fits"):
            return
        if mask & (MODIFY | CLOSE_WRITE):
            self.writes.append(name)
        else:
            self.arrive(self.folders[number] / name)

    def arrive(self, path: Path) -> None:
        content = path.read_bytes()
        self.arrivals.append((path, len(content), hashlib.sha256(content).hexdigest()))

    def assert_only_whole(self, products: list[Path]) -> None:
        """Fail unless every product was whole when it got its name, and never touched again."""
        self.catch_up()
        assert not self.writes
        for path, size, digest in self.arrivals:
            assert size and size % 2880 == 0
            assert size == path.stat().st_size
            assert digest == hashlib.sha256(path.read_bytes()).hexdigest(), path
        assert {path for path, *_ in self.arrivals} == set(products)
