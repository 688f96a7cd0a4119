"""A limit to how long something outside may take."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from scripts.lib.files.errors import TryLater

Result = TypeVar("Result")


def within(seconds: float, name: str, work: Callable[[], Result]) -> Result:
    """Return what ``work`` returns, or raise what it raises.

    Work that takes longer is left behind, and that is a `TryLater` which names what was asked. It
    is a thread: time-outs of sockets start again with each byte, and name servers have none.
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if not future.done():
        raise TryLater(f"{name}: no end after {seconds:g} s")
    return future.result()
