"""What all sources share: one folder per night, behind a connection.

Kinds of source differ in their `Connection` only, which answers one request after the other and
may take any time. `Source` has a connection for each thread, ends every request after a time
limit, and connects again after a connection was lost.
"""

import errno
import os
import queue
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from scripts.lib.files.errors import TryLater
from scripts.lib.ledger.records import Entry, FileState
from scripts.lib.sources.listing import (
    FRAME_NAME,
    PLAIN_FRAME,
    Kind,
    RawEntry,
    below,
    defect,
    entry_of,
    words,
)

# Seconds before each further attempt at a source whose connection was lost.
PAUSES = (1, 4)
# A hostile or broken server may have folders without end.
NIGHT = re.compile(r"\d{8}", re.ASCII)
DEEPEST = 8
MOST_FOLDERS = 1000
PASSWORD = "SPECULOOS_SOURCE_PASSWORD"
TIMEOUT = "SPECULOOS_SOURCE_TIMEOUT"
DEFAULT_TIMEOUT = 30


class Unreachable(TryLater):
    """No night of the source can be read; the message names it and says what to look at."""


class Lost(OSError):
    """The connection is gone; a new one may do better."""


class NoAnswer(Lost):
    """No answer within the time limit."""


class Handle(Protocol):
    """An open frame."""

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Read into a buffer; return the bytes read, 0 at the end."""

    def close(self) -> None:
        """Close the frame."""


class Connection(Protocol):
    """What kinds of source differ in.

    Every function raises `TryLater` for what no further attempt can mend, `Lost` for what one
    can, another `OSError` for a folder or entry alone. A path below the night's folder has ``/``
    between its names; that folder itself is an empty path.
    """

    def check(self) -> None:
        """Raise `Unreachable` unless the folder of the nights can be reached."""

    def scan(self, night: str, folder: str) -> list[RawEntry]:
        """Return the entries of a folder."""

    def look_up(self, night: str, path: str) -> RawEntry:
        """Return what an entry is now; of a link, what it leads to."""

    def open_frame(self, night: str, path: str) -> Handle:
        """Return a frame opened for reading; other programs may write or move it."""

    def close(self) -> None:
        """Hang up."""


Answer = TypeVar("Answer")
Request = Callable[[Connection], Answer]
Requests = queue.SimpleQueue[tuple[Request[Any], Future[Any]] | None]
Translation = Callable[[Exception], Exception]


def time_limit() -> float:
    """Return the seconds that a source has for each answer."""
    try:
        return float(os.environ.get(TIMEOUT) or DEFAULT_TIMEOUT)
    except ValueError as error:
        raise Unreachable(f"{TIMEOUT} is not a number of seconds") from error


class Worker:
    """A thread with its own connection.

    A thread and not a limit inside the connection, because no library keeps one everywhere, and
    a frozen mount cannot be interrupted at all. The thread is a daemon: it holds no run up.
    """

    def __init__(self, connect: Callable[[], Connection], translate: Translation, limit: float):
        self.limit = limit
        # None when there will be no more.
        self.requests: Requests = queue.SimpleQueue()
        # The thread must not know the worker, or one that nobody needs would live on.
        arguments = self.requests, connect, translate
        threading.Thread(target=serve, args=arguments, daemon=True).start()

    def call(self, request: Request[Answer]) -> Answer:
        """Return what ``request(connection)`` returns.

        Raises `NoAnswer` if that takes too long; the worker cannot be used from then on.
        """
        future: Future[Answer] = Future()
        self.requests.put((request, future))
        try:
            return future.result(self.limit)
        except TimeoutError:
            if future.done():  # it is the answer that says so, or it came just now
                return future.result()
            self.leave()
            raise NoAnswer(f"no answer within {self.limit:g} s") from None

    def leave(self) -> None:
        """Let the thread close its connection and end as soon as it can."""
        self.requests.put(None)

    __del__ = leave


def serve(requests: Requests, connect: Callable[[], Connection], translate: Translation) -> None:
    """Answer requests; connect before the first one and after a loss."""
    connection: Connection | None = None
    while item := requests.get():
        request, future = item
        try:
            connection = connection or connect()
            future.set_result(request(connection))
        except Exception as error:
            ours = translate(error)
            if ours is not error:
                ours.__cause__ = error
            if isinstance(ours, Lost):
                close_quietly(connection)
                connection = None
            future.set_exception(ours)
        del item, request, future
    close_quietly(connection)


def close_quietly(opened: Connection | Handle | None) -> None:
    """Close what may be lost already; ignore errors."""
    with suppress(Exception):
        if opened:
            opened.close()


class Source:
    """Nights behind connections, one for each thread that reads.

    Every function raises `TryLater` if the source cannot be reached.

    Parameters
    ----------
    name : str
        Address as it may be shown.
    hint : str
        What to look at if the source cannot be reached.
    translate : callable
        Returns for an error of a library that of `Connection`, any other error as it is.
    direct : Connection or None
        Is used without a time limit: a local disk does not freeze, and small frames would be slower
        by a third.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Connection],
        hint: str,
        translate: Translation = lambda error: error,
        direct: Connection | None = None,
    ):
        self.name, self.hint = name, hint
        self.connect, self.translate, self.direct = connect, translate, direct
        self.limit = time_limit()
        self.threads = threading.local()
        # Why it cannot be reached, from then on: planning lists many nights, and each wrong login
        # may count towards a lock of the account.
        self.failure = ""

    def check(self) -> None:
        """Raise `TryLater` unless the source can be reached."""
        self.call(lambda connection: connection.check())

    def nights(self) -> list[str]:
        """Return the nights that have a folder, or a link in its place, sorted by name."""
        found = self.call(lambda connection: connection.scan("", ""))
        folders = (raw.name for raw in found if raw.kind in (Kind.FOLDER, Kind.LINK))
        return sorted(name for name in folders if NIGHT.fullmatch(name))

    def entries(self, night: str) -> list[Entry]:
        """Return every entry of a night's folder and of the folders in it, sorted by name.

        Each is a frame to take, or has a fault. There is none if the night has no folder. Raises
        `TryLater` if it cannot be read, too.
        """
        found: dict[str, Entry] = {}
        folders, scanned = [""], 0
        while folders:
            folder = folders.pop()
            parent, _, name = folder.rpartition("/")
            try:
                if folder.count("/") == DEEPEST:
                    raise OSError(f"more than {DEEPEST} folders deep")
                if scanned > MOST_FOLDERS:
                    raise OSError(f"the night has more than {MOST_FOLDERS} folders")
                scanned += 1
                inner, entries = self.scan(night, folder)
                folders += inner
            except FileNotFoundError:  # no such night, or removed just now
                continue
            except TryLater:
                raise
            except OSError as error:
                if not folder:
                    message = f"night {night} of {self.name} cannot be read: {words(error)}"
                    raise TryLater(message) from error
                entries = [entry_of(parent, RawEntry(name, Kind.FOLDER, error=words(error)))]
            found |= {entry.name: entry for entry in entries}
        return [found[name] for name in sorted(found)]

    def scan(self, night: str, folder: str) -> tuple[list[str], list[Entry]]:
        """Return which folders are to be read in a folder, and its other entries."""
        folders, entries = [], []
        for raw in self.call(lambda connection: connection.scan(night, folder)):
            if raw.kind is Kind.FILE and not folder and PLAIN_FRAME.fullmatch(raw.name):
                # Nearly all entries: the result is that of `entry_of`, without its cost.
                entries.append(Entry(raw.name, raw.state))
                continue
            if raw.kind is Kind.LINK and not defect(raw.name):
                raw = self.follow(night, below(folder, raw.name), raw)
            # What is in a folder named like a frame could not be copied next to such a frame.
            if raw.kind is Kind.FOLDER and not (defect(raw.name) or FRAME_NAME.fullmatch(raw.name)):
                folders.append(below(folder, raw.name))
            else:
                entries.append(entry_of(folder, raw))
        return folders, entries

    def follow(self, night: str, path: str, link: RawEntry) -> RawEntry:
        """Return a link as what it leads to."""
        try:
            target = self.call(lambda connection: connection.look_up(night, path))
        except (FileNotFoundError, NotADirectoryError):
            return link
        except TryLater:
            raise
        except OSError as error:
            if error.errno == errno.ELOOP:
                return link._replace(kind=Kind.LOOP)
            return link._replace(error=words(error))
        kind = Kind.LINKED_FOLDER if target.kind is Kind.FOLDER else target.kind
        return link._replace(kind=kind, state=target.state)

    def open_frame(self, night: str, name: str) -> Handle:
        """Return a frame opened for reading, unbuffered; raise `OSError` if it cannot be opened."""
        handle = self.call(lambda connection: connection.open_frame(night, name), name)
        return handle if self.direct else Stream(self.worker(), handle)

    def state(self, night: str, name: str) -> FileState:
        """Return a frame's state now; raise `OSError` if it is not a regular file."""
        found = self.call(lambda connection: connection.look_up(night, name), name)
        if found.kind is not Kind.FILE:
            raise OSError(errno.EINVAL, f"not a regular file now: {found.kind.value}", name)
        return found.state

    def worker(self) -> Worker:
        """Return this thread's worker."""
        if not hasattr(self.threads, "worker"):
            self.threads.worker = Worker(self.connect, self.translate, self.limit)
        return self.threads.worker

    def call(self, request: Request[Answer], path: str = "") -> Answer:
        """Return what ``request(connection)`` returns; connect again if a connection is lost.

        A source that does not answer gets no second request: it would only take twice as long.
        An error names ``path``.
        """
        if self.direct:
            return request(self.direct)
        if self.failure:
            raise Unreachable(self.failure)
        pauses = iter(PAUSES)
        while True:
            try:
                return self.worker().call(request)
            except Unreachable as error:
                self.failure = str(error)
                raise
            except Lost as error:
                pause = next(pauses, None)
                if isinstance(error, NoAnswer):
                    del self.threads.worker
                    pause = None
                if pause is None:
                    self.failure = f"source {self.name} cannot be reached ({error}): {self.hint}"
                    raise Unreachable(self.failure) from error
                time.sleep(pause)
            except OSError as error:
                if error.errno and path and not error.filename:
                    error.filename = path
                raise


class Stream:
    """A frame that is read through a worker."""

    def __init__(self, worker: Worker, handle: Handle):
        self.worker, self.handle = worker, handle

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Read into a buffer; a connection that is lost is not made again."""
        return self.worker.call(lambda _: self.handle.readinto(buffer))

    def close(self) -> None:
        """Close the frame, without waiting for it."""
        self.worker.requests.put((lambda _: close_quietly(self.handle), Future()))
