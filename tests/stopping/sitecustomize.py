"""Makes jobs stand still at chosen calls: on PYTHONPATH of a run that `tests.test_faults` injures.

Python imports this before a job's script. A point is "job before|after module.function word&word":
the first process of that job that calls the function with all the words in its arguments writes its
number to STOP_FOLDER and waits there until it is killed, or may go on. With "grows" in place of
before or after, the file that the function opens grows by a byte, at each such call.
"""

import importlib
import os
import sys
import time


def stop(number: int) -> None:
    """Stand still, but only one process at each point."""
    place = os.path.join(os.environ["STOP_FOLDER"], str(number))
    try:
        os.symlink(str(os.getpid()), place)
    except FileExistsError:
        return
    while not os.path.lexists(f"{place}.go"):
        time.sleep(0.005)


def watched(function, number: int, when: str, words: str):
    """Return a function that stops before or after its work."""

    def replacement(*values, **named):
        meant = all(word in repr(values) for word in words.split("&"))
        if meant and when == "before":
            stop(number)
        result = function(*values, **named)
        if meant and when == "after":
            stop(number)
        if meant and when == "grows":
            with function(values[0], "ab") as file:
                file.write(b"x")
        return result

    return replacement


for number, point in enumerate(filter(None, os.environ.get("STOP_POINTS", "").split("\n"))):
    job, when, call, words = point.split(" ", 3)
    if any(word.endswith(f".{job}.py") for word in sys.orig_argv):
        module, _, name = call.rpartition(".")
        module = importlib.import_module(module)
        setattr(module, name, watched(getattr(module, name), number, when, words))
