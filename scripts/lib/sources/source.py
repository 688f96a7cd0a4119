"""What all sources share: one folder per night, behind four functions.

A source can `check` that it can be reached, `list` what lies in a night's folder, `open` a frame,
and return a frame's present `state`. Kinds of source differ only in their connection, which
answers one question after the other and may take any time; `Source` has a connection for each
thread, ends every question after a time limit, and connects again after a connection was lost.
"""

import errno
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from scripts.lib.ledger.records import Entry, FileState
from scripts.lib.sources.listing import (
    DEEPEST,
    MOST_FOLDERS,
    PLAIN_FRAME,
    Kind,
    Listing,
    RawEntry,
    below,
    entry_of,
    words,
)

# Seconds before each further attempt at a source whose connection was lost.
PAUSES = (1, 4)
# Seconds for which a source that could not be reached is not asked again: planning asks for many
# nights, and each wrong login may count towards a lock of the account.
FORGIVE_AFTER = 60
PASSWORD = "SPECULOOS_SOURCE_PASSWORD"
TIMEOUT = "SPECULOOS_SOURCE_TIMEOUT"
DEFAULT_TIMEOUT = 30


class SourceError(OSError):
    """The source cannot be read; the message names it and says what to look at."""


class Unreachable(SourceError):
    """No night of the source can be read, as things are."""


class Lost(OSError):
    """The connection is gone; a new one may do better."""


class Silent(Lost):
    """No answer within the time limit."""


Answer = TypeVar("Answer")
Walked = list[str]


class Handle(Protocol):
    """An open frame."""

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Read into a buffer; return the bytes read, 0 at the end."""

    def close(self) -> None:
        """Close the frame."""


class Readable(Handle, Protocol):
    """An open frame that a ``with`` statement closes."""

    def __enter__(self) -> Handle: ...

    def __exit__(self, *_: Any) -> None: ...


class Connection(Protocol):
    """What kinds of source differ in.

    Every function raises `SourceError` for what no further attempt can mend, `Lost` for what one
    can, another `OSError` for a folder or entry alone. A path below the night's folder has ``/``
    between its names.
    """

    def check(self) -> None:
        """Raise `Unreachable` unless the folder of the nights can be reached."""

    def scan(self, night: str, folder: str) -> list[RawEntry]:
        """Return what lies in a folder below the night's folder, or, if empty, in that itself."""

    def look(self, night: str, path: str, follow: bool = True) -> RawEntry:
        """Return what an entry is now, or what a link leads to."""

    def open(self, night: str, path: str) -> Handle:
        """Return a frame opened for reading."""

    def close(self) -> None:
        """Hang up."""


def time_limit() -> float:
    """Return the seconds that a source has for each answer."""
    try:
        return float(os.environ.get(TIMEOUT) or DEFAULT_TIMEOUT)
    except ValueError as error:
        raise Unreachable(f"{TIMEOUT} is not a number of seconds") from error


# A question and its answer to come; None when there will be no more.
Questions = queue.SimpleQueue[tuple[Callable[[Connection], Any], Future[Any]] | None]


class Agent:
    """A thread that puts questions to a connection of its own, one after the other.

    A thread and not a limit inside the connection, because no library keeps one everywhere, and
    a frozen mount cannot be interrupted at all. The thread is a daemon: it holds no run up.
    """

    def __init__(self, connect: Callable[[], Connection], limit: float):
        self.limit = limit
        self.questions: Questions = queue.SimpleQueue()
        # The thread must not know the agent, or an agent that nobody needs would live on.
        threading.Thread(target=answer, args=(self.questions, connect), daemon=True).start()

    def ask(self, question: Callable[[Connection], Answer]) -> Answer:
        """Return what ``question(connection)`` returns.

        Raises
        ------
        Silent
            If there is no answer in time. The agent cannot be used from then on.
        """
        future: Future[Answer] = Future()
        self.questions.put((question, future))
        try:
            return future.result(self.limit)
        except TimeoutError:
            if future.done():  # it is the answer that says so, or it came this very moment
                return future.result()
            self.leave()
            raise Silent(f"no answer within {self.limit:g} s") from None

    def leave(self) -> None:
        """Let the thread close its connection and end as soon as it can."""
        self.questions.put(None)

    __del__ = leave


def answer(questions: Questions, connect: Callable[[], Connection]) -> None:
    """Put questions to a connection; connect before the first one and after a loss."""
    connection: Connection | None = None
    while item := questions.get():
        question, future = item
        try:
            connection = connection or connect()
            future.set_result(question(connection))
        except Exception as error:
            if isinstance(error, Lost):
                close_quietly(connection)
                connection = None
            future.set_exception(error)
        del item, question, future
    close_quietly(connection)


def close_quietly(opened: Connection | Handle | None) -> None:
    """Close what may be lost already."""
    # An error would concern nobody, and nothing depends on it.
    with suppress(Exception):
        if opened:
            opened.close()


class Source:
    """Nights behind connections, one for each thread that asks.

    Parameters
    ----------
    name : str
        Address as it may be shown.
    connect : callable
        Returns a `Connection`; raises what its functions raise.
    hint : str
        What to look at if the source cannot be reached.
    """

    def __init__(self, name: str, connect: Callable[[], Connection], hint: str):
        self.name, self.hint = name, hint
        self.connect = connect
        self.limit = time_limit()
        self.threads = threading.local()
        self.failure: tuple[str, float] | None = None

    def check(self) -> None:
        """Raise `SourceError` unless the source can be reached."""
        self.ask(lambda connection: connection.check())

    def list(self, night: str) -> Listing:
        """Return every entry of a night's folder and of the folders in it, sorted by name.

        Each is a frame to take, or has a fault. There is none if the night has no folder.

        Raises
        ------
        SourceError
            If the source cannot be reached, or the night's folder not be read.
        """
        try:
            entries = {entry.name: entry for entry in self.walk(night, "", [])}
        except FileNotFoundError:
            return []
        except SourceError:
            raise
        except OSError as error:
            message = f"night {night} of {self.name} cannot be read: {words(error)}"
            raise SourceError(message) from error
        return [entries[name] for name in sorted(entries)]

    def walk(self, night: str, folder: str, walked: Walked) -> Iterator[Entry]:
        """Yield the entries of a folder and of those in it.

        Parameters
        ----------
        folder : str
            Path below the night's folder; empty for that itself.
        walked : list of str
            The folders so far; this one is added.

        Raises
        ------
        OSError
            If this folder cannot be read. One in it that cannot is an entry with a fault.
        """
        walked.append(folder)
        for raw in self.ask(lambda connection: connection.scan(night, folder)):
            if not folder and raw.kind is Kind.FILE and PLAIN_FRAME.fullmatch(raw.name):
                # Nearly all entries: what the rest of this says of them, without asking it.
                yield Entry(raw.name, raw.state)
                continue
            path = below(folder, raw.name)
            if raw.is_folder:
                yield from self.walk_below(night, folder, raw, walked)
            elif not raw.is_link:
                yield entry_of(folder, raw)
            elif target := self.follow(night, path, raw):
                yield entry_of(folder, target)

    def walk_below(self, night: str, folder: str, raw: RawEntry, walked: Walked) -> Iterator[Entry]:
        """Yield what is in a folder of a folder, or the former if it is not looked into.

        Nothing if it was removed this very moment.
        """
        path = below(folder, raw.name)
        error = ""
        if path.count("/") == DEEPEST:
            error = f"more than {DEEPEST} folders deep"
        elif len(walked) > MOST_FOLDERS:
            error = f"the night has more than {MOST_FOLDERS} folders"
        else:
            try:
                yield from self.walk(night, path, walked)
            except FileNotFoundError:
                return
            except SourceError:
                raise
            except OSError as caught:
                error = words(caught)
        if error:
            yield entry_of(folder, raw._replace(error=error))

    def follow(self, night: str, path: str, link: RawEntry) -> RawEntry | None:
        """Return what a link leads to; None if it was removed this very moment."""
        try:
            target = self.ask(lambda connection: connection.look(night, path))
        except (FileNotFoundError, NotADirectoryError):
            return link if self.has(night, path) else None
        except SourceError:
            raise
        except OSError as error:
            if error.errno == errno.ELOOP:
                return link._replace(kind=Kind.LOOP)
            return link._replace(error=words(error))
        kind = Kind.LINKED_FOLDER if target.kind is Kind.FOLDER else target.kind
        return link._replace(kind=kind, state=target.state)

    def has(self, night: str, path: str) -> bool:
        """Tell whether there is an entry, wherever it may lead."""
        try:
            self.ask(lambda connection: connection.look(night, path, follow=False))
        except FileNotFoundError:
            return False
        except SourceError:
            raise
        except OSError:
            pass
        return True

    def open(self, night: str, name: str) -> Readable:
        """Return a frame opened for reading, unbuffered; nobody else is kept from it.

        Raises
        ------
        SourceError
            If the source cannot be reached.
        OSError
            If the frame cannot be opened.
        """
        handle = self.ask(lambda connection: connection.open(night, name))
        return Stream(self.agent(), handle)

    def state(self, night: str, name: str) -> FileState:
        """Return a frame's state now.

        Raises
        ------
        SourceError
            If the source cannot be reached.
        OSError
            If the frame is not there, is not a file now, or cannot be looked at.
        """
        return self.ask(lambda connection: state_now(connection, night, name))

    def agent(self) -> Agent:
        """Return this thread's agent."""
        if not hasattr(self.threads, "agent"):
            self.threads.agent = Agent(self.connect, self.limit)
        return self.threads.agent

    def ask(self, question: Callable[[Connection], Answer]) -> Answer:
        """Return the answer to a question; connect again, a few times, if a connection is lost.

        A source that does not answer is not asked twice: it would only take twice as long.
        """
        if self.failure and time.monotonic() < self.failure[1]:
            raise Unreachable(self.failure[0])
        attempt = 0
        while True:
            try:
                return self.agent().ask(question)
            except Unreachable as error:
                self.remember(error)
                raise
            except Lost as error:
                if isinstance(error, Silent):
                    del self.threads.agent
                if isinstance(error, Silent) or attempt == len(PAUSES):
                    message = f"source {self.name} cannot be reached ({error}): {self.hint}"
                    raise self.remember(Unreachable(message)) from error
            time.sleep(PAUSES[attempt])
            attempt += 1

    def remember(self, error: Unreachable) -> Unreachable:
        """Answer immediately for a while, to all threads, what was found out once."""
        self.failure = str(error), time.monotonic() + FORGIVE_AFTER
        return error


def state_now(connection: Connection, night: str, name: str) -> FileState:
    """Return the present state of a file, or raise `OSError`."""
    found = connection.look(night, name)
    if found.kind is not Kind.FILE:
        raise OSError(errno.EINVAL, f"not a regular file now: {found.kind.value}", name)
    return found.state


class Stream:
    """A frame that is read through an agent."""

    def __init__(self, agent: Agent, handle: Handle):
        self.agent, self.handle = agent, handle

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Read into a buffer; return the bytes read, 0 at the end.

        Raises
        ------
        Lost
            If the connection is lost, or there is no answer in time.
        OSError
            If the frame cannot be read.
        """
        return self.agent.ask(lambda _: self.handle.readinto(buffer))

    def close(self) -> None:
        """Close the frame, without waiting for it."""
        self.agent.questions.put((lambda _: close_quietly(self.handle), Future()))

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
