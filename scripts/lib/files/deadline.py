"""A limit to how long something outside may take."""

import threading
from collections.abc import Callable
from typing import TypeVar

from scripts.lib.files.errors import TryLater

Result = TypeVar("Result")


def within(seconds: float, name: str, work: Callable[[], Result]) -> Result:
    """Return what ``work`` returns, or raise what it raises.

    Work that takes longer is left behind, and that is a `TryLater` which names what was asked. It
    is a thread: time-outs of sockets start again with each byte, and name servers have none.
    """
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TryLater(f"{name}: no end after {seconds:g} s")
    return results[0]
