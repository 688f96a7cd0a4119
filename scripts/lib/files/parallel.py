"""Work on a list shared between processes, for what Python computes on one core only."""

import os
import pickle
import traceback
from collections.abc import Callable
from typing import BinaryIO, TypeVar

from scripts.lib.files.errors import JobFailed

LEAST = 50  # items a process: with fewer, a process costs more than it saves

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_processes(
    function: Callable[[list[Item]], list[Result]], items: list[Item], count: int
) -> list[Result]:
    """Return ``function(items)``, computed by up to ``count`` processes, each a part of the items.

    The function returns results that can be pickled, and writes nothing but the log. The processes
    are forks of this one, so it needs no pickling itself; call it without other threads. If this
    process is killed, they end with their part. Raises `JobFailed` if one of them fails.
    """
    size = max(LEAST, -(-len(items) // count))
    parts = [items[begin : begin + size] for begin in range(0, len(items), size)]
    children = [fork(function, part) for part in parts[1:]]
    results = function(parts[0]) if parts else []
    for child, stream in children:
        results += answer_of(child, stream)
    return results


def fork(function: Callable[[list[Item]], list[Result]], items: list[Item]) -> tuple[int, BinaryIO]:
    """Return the id of a process that computes a part, and the pipe that brings its answer."""
    reading, writing = os.pipe()
    if child := os.fork():
        os.close(writing)
        return child, open(reading, "rb")
    # Nothing of the parent's may be closed, flushed or handled twice: no way out but `_exit`.
    try:
        os.close(reading)
        try:
            answer: list[Result] | str = function(items)
        except BaseException:
            answer = traceback.format_exc()
        with open(writing, "wb") as stream:
            pickle.dump(answer, stream)
    finally:
        os._exit(0)


def answer_of(child: int, stream: BinaryIO) -> list[Result]:
    """Return the results of a process; raise `JobFailed` if it has none."""
    with stream:
        try:
            answer: list[Result] | str = pickle.load(stream)
        except (EOFError, pickle.UnpicklingError):
            answer = f"process {child} ended before its answer: killed, or out of memory?"
    os.waitpid(child, 0)
    if isinstance(answer, str):
        raise JobFailed(answer.rstrip())
    return answer
