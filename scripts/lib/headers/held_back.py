"""Frames that are held back when headers are finished: unsolved, or refused by the gate.

The job that finishes headers may run on another machine, where the ledger is not written. It
leaves this table beside the headers; the job that delivers writes it into the ledger.
"""

from collections.abc import Mapping
from pathlib import Path

from scripts.lib.files.tables import read_table, write_table
from scripts.lib.ledger.faults import Fault, Reason

NAME = "held_back.csv"
COLUMNS = ["file", "reason", "subject", "detail"]


def write_held(folder: Path, faults: Mapping[str, Fault]) -> None:
    """Write why frames are held back, by file name."""
    rows = [
        {"file": file, "reason": f.reason.name, "subject": f.subject, "detail": f.detail}
        for file, f in faults.items()
    ]
    write_table(folder / NAME, COLUMNS, rows)


def read_held(folder: Path) -> dict[str, Fault]:
    """Return why frames are held back, by file name."""
    return {
        row["file"]: Fault(Reason[row["reason"]], row["detail"], row["subject"])
        for row in read_table(folder / NAME)
    }
