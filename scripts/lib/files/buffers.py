"""A buffer for each thread, used again: a new one for each frame costs as much as the copy."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_of_thread = threading.local()


@contextmanager
def thread_buffer(size: int) -> Iterator[memoryview]:
    """Lend this thread's buffer of so many bytes; not twice at a time.

    After an error there is a new one: a server that was given up may still fill the old one.
    """
    buffer = getattr(_of_thread, "buffer", memoryview(b""))
    _of_thread.buffer = memoryview(b"")
    if len(buffer) != size:
        buffer = memoryview(bytearray(size))
    yield buffer
    _of_thread.buffer = buffer
