"""The table of an ingested night: one row per frame that the source ever listed."""

from pathlib import Path

from scripts.lib.files.tables import read_table, write_table
from scripts.lib.sources.source import Listing, State

COLUMNS = ["file", "bytes", "mtime_ns", "datasum", "status", "reason"]

# The state of a frame of which there is no copy: never that of a frame at a source.
NO_STATE = State(-1, -1)


def row(name: str, state: State, datasum: int | None, reason: str = "") -> dict[str, str]:
    """Return the row of a frame: copied, or failed for a reason.

    Parameters
    ----------
    datasum : int or None
        Sum of the data behind the first header; None if there is none.
    """
    return {
        "file": name,
        "bytes": str(state.bytes),
        "mtime_ns": str(state.mtime_ns),
        "datasum": "" if datasum is None else str(datasum),
        "status": "failed" if reason else "copied",
        "reason": reason,
    }


def state_of(row: dict[str, str]) -> State:
    """Return the state in which a frame was copied."""
    return State(int(row["bytes"]), int(row["mtime_ns"]))


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows of a night's table; none if the night was never ingested."""
    return read_table(path) if path.exists() else []


def write(path: Path, rows: list[dict[str, str]]) -> None:
    """Write a night's table."""
    write_table(path, COLUMNS, rows)


def recorded(path: Path) -> Listing:
    """Return the states of all frames in a night's table."""
    return {row["file"]: state_of(row) for row in read(path)}
