"""``frames.csv``: a night's frames as a table, which jobs and people read.

It is written from the ledger. A job is handed the digest of the table it is to read, so one that
was cut off or edited is noticed, wherever it was cut.
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from scripts.lib.files.durable import write_text
from scripts.lib.files.tables import damaged_table, read_table, table_text
from scripts.lib.ledger.faults import Fault, Reason
from scripts.lib.ledger.records import GOOD, Frame, Status
from scripts.lib.nights.times import iso

NAME = "frames.csv"
COLUMNS = (
    "file kind object filter exptime date_obs sequence product status reason eso_name bytes "
    "data_start naxis1 naxis2 datasum programme code"
).split()
# Columns that are fields of a frame as they are, and those that are whole numbers.
TEXTS = ("file", "kind", "object", "filter", "sequence", "product", "eso_name", "programme")
NUMBERS = ("data_start", "naxis1", "naxis2")
OK, HELD = "ok", "held"


def good(frames: Iterable[Frame]) -> list[Frame]:
    """Return the frames that are to be delivered, or were, in time order."""
    chosen = [frame for frame in frames if frame.status in GOOD]
    return sorted(chosen, key=lambda frame: (frame.begin, frame.file))


def held(frames: Iterable[Frame]) -> list[Frame]:
    """Return the frames that are held back."""
    return [frame for frame in frames if frame.status is Status.HELD]


def sequences(frames: Iterable[Frame]) -> dict[str, list[Frame]]:
    """Return the good frames of each sequence, in time order."""
    grouped: dict[str, list[Frame]] = {}
    for frame in good(frames):
        grouped.setdefault(frame.sequence, []).append(frame)
    return grouped


def frame_row(frame: Frame) -> dict[str, str]:
    """Return a frame as a row of the table; of one that is held back only why."""
    if frame.status not in GOOD:
        code = f"{frame.fault.reason.name} {frame.fault.subject}".strip() if frame.fault else ""
        reason = str(frame.fault) if frame.fault else "not judged yet"
        return {"file": frame.file, "status": HELD, "reason": reason, "code": code}
    return {name: str(getattr(frame, name)) for name in TEXTS + NUMBERS} | {
        "exptime": f"{frame.exptime:.3f}",
        "date_obs": iso(frame.begin),
        "status": OK,
        "bytes": str(frame.source.bytes),
        "datasum": str(frame.pixels),
    }


def frame_of(night: str, row: dict[str, str]) -> Frame:
    """Return the frame of a row, as far as the table has it."""
    if row["status"] != OK:
        code, _, subject = row["code"].partition(" ")
        fault = Fault(Reason[code], subject=subject) if code else None
        return Frame(night, row["file"], status=Status.HELD, fault=fault)
    known: dict[str, Any] = {name: row[name] for name in TEXTS}
    return Frame(
        night,
        status=Status.ASSIGNED,
        exptime=float(row["exptime"]),
        date_obs=datetime.fromisoformat(f"{row['date_obs']}+00:00"),
        pixel_sum=int(row["datasum"]),
        **known | {name: int(row[name]) for name in NUMBERS},
    )


def snapshot_text(frames: Iterable[Frame]) -> str:
    """Return the table of frames."""
    return table_text(COLUMNS, map(frame_row, frames))


def write_view(path: Path, text: str) -> str:
    """Write a file that shows what the ledger knows, and return its digest."""
    write_text(path, text)
    return digest(text)


def read_frames(path: Path, right: str, sequence: str = "") -> list[Frame]:
    """Return the frames of a night's table, or of one sequence of it.

    Raises `Damaged` if the digest of the table is not ``right``.
    """
    if file_digest(path) != right:
        raise damaged_table(path, "not as it was written; the next run writes it again")
    night = path.absolute().parent.name
    rows = (row for row in read_table(path) if sequence in ("", row["sequence"]))
    return [frame_of(night, row) for row in rows]


def digest(text: str) -> str:
    """Return what tells a file's content apart from another's."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def file_digest(path: Path) -> str:
    """Return the digest of a file's content; empty if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
