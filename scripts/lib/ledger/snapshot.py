"""``frames.csv``: a night's frames as a table, which jobs and people read.

It is written from the ledger. A job is handed the digest of the table it is to read, so one that
was cut off or edited is noticed, wherever it was cut.
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from scripts.lib.files.durable import whole_file
from scripts.lib.files.tables import damaged_table, read_table, table_text
from scripts.lib.ledger.faults import Fault, Reason
from scripts.lib.ledger.records import GOOD, Frame, Status
from scripts.lib.nights.times import iso

NAME = "frames.csv"
COLUMNS = (
    "file kind object filter exptime date_obs sequence product status reason eso_name bytes "
    "data_start naxis1 naxis2 datasum programme code"
).split()
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
    return {
        "file": frame.file,
        "kind": frame.kind,
        "object": frame.object,
        "filter": frame.filter,
        "exptime": f"{frame.exptime:.3f}",
        "date_obs": iso(frame.begin),
        "sequence": frame.sequence,
        "product": frame.product,
        "status": OK,
        "reason": "",
        "eso_name": frame.eso_name,
        "bytes": str(frame.source.bytes),
        "data_start": str(frame.data_start),
        "naxis1": str(frame.naxis1),
        "naxis2": str(frame.naxis2),
        "datasum": str(frame.pixels),
        "programme": frame.programme,
        "code": "",
    }


def frame_of(night: str, row: dict[str, str]) -> Frame:
    """Return the frame of a row, as far as the table has it."""
    if row["status"] != OK:
        code, _, subject = row["code"].partition(" ")
        fault = Fault(Reason[code], subject=subject) if code else None
        return Frame(night, row["file"], status=Status.HELD, fault=fault)
    return Frame(
        night,
        row["file"],
        status=Status.ASSIGNED,
        kind=row["kind"],
        object=row["object"],
        filter=row["filter"],
        exptime=float(row["exptime"]),
        date_obs=datetime.fromisoformat(f"{row['date_obs']}+00:00"),
        data_start=int(row["data_start"]),
        naxis1=int(row["naxis1"]),
        naxis2=int(row["naxis2"]),
        pixel_sum=int(row["datasum"]),
        eso_name=row["eso_name"],
        sequence=row["sequence"],
        product=row["product"],
        programme=row["programme"],
    )


def snapshot_bytes(frames: Iterable[Frame]) -> bytes:
    """Return the table of frames."""
    return table_text(COLUMNS, map(frame_row, frames)).encode()


def write_snapshot(path: Path, frames: Iterable[Frame]) -> str:
    """Write the table of a night's frames and return its digest."""
    content = snapshot_bytes(frames)
    with whole_file(path) as stream:
        stream.write(content)
    return digest(content)


def read_frames(path: Path, right: str) -> list[Frame]:
    """Return the frames of a night's table.

    Parameters
    ----------
    right : str
        Its digest in the ledger.

    Raises
    ------
    Damaged
        If it is another.
    """
    if file_digest(path) != right:
        raise damaged_table(path, "not as it was written; the next run writes it again")
    return [frame_of(path.absolute().parent.name, row) for row in read_table(path)]


def digest(content: bytes) -> str:
    """Return what tells a file's content apart from another's."""
    return hashlib.sha256(content).hexdigest()


def file_digest(path: Path) -> str:
    """Return the digest of a file's content; empty if it cannot be read."""
    try:
        return digest(path.read_bytes())
    except OSError:
        return ""
