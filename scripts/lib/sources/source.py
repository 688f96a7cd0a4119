"""What all sources share: one folder per night, behind four functions.

A source knows how to `check` that it can be reached, `list` a night's frames and `open` one,
and to tell a frame's present `state`. Kinds of source differ only in their connection, which
asks one question after the other and may take for ever; `Source` has a connection for each
thread, ends every question after a time limit, and connects again after a connection was lost.
"""

import hashlib
import os
import queue
import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import NamedTuple

FRAME_NAME = re.compile(r"(?!\.).*\.(fits|fts)", re.IGNORECASE | re.DOTALL)
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


class State(NamedTuple):
    """What tells whether a frame has changed: bytes, and time of last change (ns)."""

    bytes: int
    mtime_ns: int


Listing = dict[str, State]


def time_limit() -> float:
    """Return the seconds that a source has for each answer."""
    try:
        return float(os.environ.get(TIMEOUT) or DEFAULT_TIMEOUT)
    except ValueError as error:
        raise Unreachable(f"{TIMEOUT} is no number of seconds") from error


class Agent:
    """A thread that puts questions to a connection of its own, one after the other.

    A thread and not a limit inside the connection, because no library keeps one everywhere, and
    a frozen mount cannot be interrupted at all. The thread is a daemon: it holds no run up.
    """

    def __init__(self, connect: Callable, limit: float):
        self.limit = limit
        self.questions = queue.SimpleQueue()
        # The thread must not know the agent, or an agent that nobody needs would live on.
        threading.Thread(target=answer, args=(self.questions, connect), daemon=True).start()

    def ask(self, question: Callable):
        """Return what ``question(connection)`` returns.

        Raises
        ------
        Silent
            If there is no answer in time. The agent is of no use from then on.
        """
        future = Future()
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


def answer(questions: queue.SimpleQueue, connect: Callable) -> None:
    """Put questions to a connection; connect before the first one and after a loss."""
    connection = None
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


def close_quietly(connection) -> None:
    """Close what may be lost already."""
    # Nobody is there to be told, and nothing depends on it.
    with suppress(Exception):
        if connection:
            connection.close()


class Source:
    """Nights behind connections, one for each thread that asks.

    Parameters
    ----------
    name : str
        Address as it may be shown.
    connect : callable
        Returns a connection: an object with ``check()``, ``list(night)``, ``open(night, name)``,
        ``state(night, name)`` and ``close()``. It raises `Unreachable` for what no further
        attempt can mend, `Lost` for what one can, another `OSError` for a night or frame alone.
    hint : str
        What to look at if the source cannot be reached.
    """

    def __init__(self, name: str, connect: Callable, hint: str):
        self.name, self.hint = name, hint
        self.connect = connect
        self.limit = time_limit()
        self.threads = threading.local()
        self.failure: tuple[str, float] | None = None

    def check(self) -> None:
        """Raise `SourceError` unless the source can be reached."""
        self.ask(lambda connection: connection.check())

    def list(self, night: str) -> Listing:
        """Return the frames of a night; none if the night has no folder.

        Raises
        ------
        SourceError
            If the source cannot be reached, or the night's folder not be read.
        """
        return self.ask(lambda connection: listing(connection, night, self.name))

    def open(self, night: str, name: str) -> "Stream":
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

    def state(self, night: str, name: str) -> State:
        """Return a frame's state now.

        Raises
        ------
        SourceError
            If the source cannot be reached.
        OSError
            If the frame is not there, or cannot be looked at.
        """
        return self.ask(lambda connection: connection.state(night, name))

    def agent(self) -> Agent:
        """Return this thread's agent."""
        if not hasattr(self.threads, "agent"):
            self.threads.agent = Agent(self.connect, self.limit)
        return self.threads.agent

    def ask(self, question: Callable):
        """Return the answer to a question; connect again, a few times, if a connection is lost.

        A source that does not answer is not asked twice: it would only take twice as long.
        """
        if self.failure and time.monotonic() < self.failure[1]:
            raise Unreachable(self.failure[0])
        for pause in (*PAUSES, None):
            try:
                return self.agent().ask(question)
            except Unreachable as error:
                self.remember(error)
                raise
            except Lost as error:
                if isinstance(error, Silent):
                    del self.threads.agent
                if isinstance(error, Silent) or pause is None:
                    message = f"source {self.name} cannot be reached ({error}): {self.hint}"
                    raise self.remember(Unreachable(message)) from error
            time.sleep(pause)

    def remember(self, error: Unreachable) -> Unreachable:
        """Answer at once for a while, to all threads, what was found out once."""
        self.failure = str(error), time.monotonic() + FORGIVE_AFTER
        return error


def listing(connection, night: str, name: str) -> Listing:
    """Return the frames of a night of the source of that name; none if the night has no folder."""
    try:
        return connection.list(night)
    except FileNotFoundError:
        return {}
    except (SourceError, Lost):
        raise
    except OSError as error:
        message = f"night {night} of {name} cannot be read: {error.strerror or error}"
        raise SourceError(message) from error


class Stream:
    """A frame that is read through an agent."""

    def __init__(self, agent: Agent, handle):
        self.agent, self.handle = agent, handle

    def readinto(self, buffer) -> int:
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

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def digest(listing: Listing) -> str:
    """Return a short text that changes when a listing does."""
    lines = (f"{name}\0{state.bytes}\0{state.mtime_ns}\n" for name, state in listing.items())
    return hashlib.sha256("".join(sorted(lines)).encode(errors="surrogateescape")).hexdigest()[:16]
