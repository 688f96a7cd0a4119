"""What of a night reached the archive directory and what did not, as operators look it up.

``logs/{night}/transferred`` names products, ``non_transferred`` raw frames, each with the reason.
They are written at the end of every run, also of one that failed.
"""

from collections.abc import Iterable
from pathlib import Path

from scripts.lib.files.durable import write_text
from scripts.lib.ledger.ledger import Ledger
from scripts.lib.reporting.summary import summarise

PENDING = "not delivered yet: a job failed or was stopped"


def write_transfer_lists(ledger: Ledger, workdir: Path, night: str) -> None:
    """Write both lists of a night; none for a night of which no frame was ever seen."""
    summary = summarise("", night, ledger, None)
    if not summary.raw:
        return
    waiting = dict.fromkeys(summary.missing, PENDING)
    waiting |= {frame.file: str(frame.fault) for frame in summary.held}
    folder = workdir / "logs" / night
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "transferred", as_lines(summary.products))
    write_text(folder / "non_transferred", as_lines(f"{name}: {waiting[name]}" for name in waiting))


def as_lines(texts: Iterable[str]) -> str:
    """Return texts as the lines of a file."""
    return "".join(f"{text}\n" for text in texts)
