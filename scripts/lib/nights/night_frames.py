"""The table ``frames.csv``: one row per raw frame of a night, the only one other rules ask."""

from pathlib import Path

from scripts.lib.files.tables import read_table

# In the folder of finished headers: rows of the frames held back because they are unsolved.
HELD = "held.csv"

COLUMNS = [
    "file",
    "kind",
    "object",
    "filter",
    "exptime",
    "date_obs",
    "sequence",
    "product",
    "status",
    "reason",
    "eso_name",
    "bytes",
    "data_start",
    "naxis1",
    "naxis2",
    "datasum",
]


def good_frames(rows: list[dict]) -> list[dict]:
    """Return the rows of frames that may be delivered, in time order."""
    return sorted((row for row in rows if row["status"] == "ok"), key=lambda row: row["date_obs"])


def sequences(rows: list[dict]) -> dict[str, list[dict]]:
    """Return the good frames of each sequence, in time order."""
    grouped: dict[str, list[dict]] = {}
    for row in good_frames(rows):
        grouped.setdefault(row["sequence"], []).append(row)
    return grouped


def frames_of(path: Path, sequence: str) -> list[dict]:
    """Return the good frames of one sequence in a night's table.

    Raises
    ------
    LookupError
        If the night has no such sequence.
    """
    frames = sequences(read_table(path)).get(sequence)
    if not frames:
        raise LookupError(f"{path}: no frame of sequence {sequence}; see its column sequence")
    return frames


def headered_frames(path: Path, sequence: str, headered: Path) -> list[dict]:
    """Return the frames of a sequence that are to be delivered; none if all are held back.

    Parameters
    ----------
    path : Path
        The night's table.
    headered : Path
        Folder of finished headers, which also names the frames held back there.
    """
    held = {row["file"] for row in read_table(headered / HELD)}
    return [row for row in frames_of(path, sequence) if row["file"] not in held]
