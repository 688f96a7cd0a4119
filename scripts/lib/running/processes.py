"""A command with all the processes that it starts: watched, limited in time, ended together.

Processes know their run by a variable in their environment, which children inherit. So jobs
that outlived a killed run are found after any time, whatever their parent or group; a recorded
process id could by then be somebody else's.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

MARKER = "SPECULOOS_RUN"
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# Seconds from asking to end to killing; meanwhile Snakemake writes its mail.
GRACE = 180
# Seconds after which jobs that are still there are asked again.
REPEAT = 5
# Seconds for killed processes to vanish; one that waits for a frozen disk does not.
VANISHING = 10
PAUSE = 0.1


class Ended(NamedTuple):
    """How a command ended: its exit status as a shell has it, and why it was ended, if it was."""

    status: int
    cause: str


@contextmanager
def caught(signals: Sequence[signal.Signals]) -> Iterator[list[int]]:
    """Collect signals in a list for a while, instead of being ended by them."""
    received: list[int] = []
    before = {number: signal.signal(number, lambda n, _: received.append(n)) for number in signals}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class MarkedCommand:
    """A command at work in its own process group, of which nothing is left behind.

    A request to end, or the time limit, ends the whole group: first TERM, because Snakemake then
    removes what is half-made and reports, then KILL. TERM to Snakemake alone would wait for its
    jobs without limit, and HUP would leave them behind. Jobs get it several times: one that is just
    being started loses it.

    Parameters
    ----------
    mark : str
        The run's value of the variable ``variable``.
    log : file object
        Gets what the command prints.
    limit, grace : float
        Seconds until the group is asked to end, and from then until it is killed.
    asked : callable, optional
        Called with the id of the command's process whenever the group is asked to end: for what
        the command started elsewhere.
    """

    def __init__(
        self,
        command: Sequence[str],
        mark: str,
        environ: Mapping[str, str],
        cwd: Path,
        log: IO[Any],
        limit: float,
        grace: float = GRACE,
        variable: str = MARKER,
        asked: Callable[[int], None] | None = None,
    ):
        self.mark, self.variable, self.limit, self.grace = mark, variable, limit, grace
        self.asked = asked or (lambda process: None)
        self.cause, self.kill_at, self.repeat_at = "", float("inf"), float("inf")
        self.process = subprocess.Popen(
            command,
            env={**environ, variable: mark},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        self.ends_at = time.monotonic() + limit

    def end(self, cause: str) -> None:
        """Ask it to end, unless it was asked before."""
        if not self.cause:
            now = time.monotonic()
            self.cause, self.kill_at, self.repeat_at = cause, now + self.grace, now + REPEAT
            os.killpg(self.process.pid, signal.SIGTERM)
            self.asked(self.process.pid)

    def poll(self) -> Ended | None:
        """Return how it ended, None while it is at work; to be called several times a second."""
        if self.process.poll() is None:
            now = time.monotonic()
            if now > self.ends_at:
                self.end(f"ended after {self.limit / 3600:g} h, its time limit")
            if now > self.kill_at:
                os.killpg(self.process.pid, signal.SIGKILL)
            elif now > self.repeat_at:
                self.repeat_at = now + REPEAT
                jobs = marked(self.mark, self.variable)
                send(signal.SIGTERM, [number for number in jobs if number != self.process.pid])
                self.asked(self.process.pid)
            return None
        end_marked(self.mark, self.variable)
        status = self.process.returncode
        if status >= 0:
            return Ended(status, self.cause)
        killed = f"killed by signal {signal.Signals(-status).name}"
        return Ended(128 - status, self.cause or killed)


def run_marked(start: Callable[[], MarkedCommand]) -> Ended:
    """Start a command and wait until it ends; a signal to this process ends it."""
    with caught(STOPPING) as signals:
        running = start()
        while not (ended := running.poll()):
            if signals:
                running.end(f"ended by signal {signal.Signals(signals[0]).name}")
            time.sleep(PAUSE)
    return ended


def marked(mark: str, variable: str = MARKER) -> list[int]:
    """Return the processes that belong to a run, but for this one."""
    wanted = f"{variable}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        # A process may end, or be another user's, while it is looked at.
        with suppress(OSError):
            if entry.name.isdigit() and wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return [number for number in found if number != os.getpid()]


def end_marked(mark: str, variable: str = MARKER) -> list[int]:
    """Kill the processes of a run, also those that they start meanwhile; return those that stay.

    Killed immediately: no job is harmed, and one that is asked to end could wait for something.
    """
    until = time.monotonic() + VANISHING
    while (left := marked(mark, variable)) and time.monotonic() < until:
        send(signal.SIGKILL, left)
        time.sleep(PAUSE)
    return left


def send(number: signal.Signals, processes: Iterable[int]) -> None:
    """Send a signal to processes, as far as they are still there."""
    for process in processes:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process, number)
