"""Failures in a row of something that must not fail a run; reported once they are many."""

from pathlib import Path

from scripts.lib.files.durable import write_text

ALERT_AFTER = 3  # failures in a row


def count_failure(record: Path, cause: str) -> int:
    """Return how many runs in a row have failed, and write it down; no cause means success.

    The record is a file of the count and the last cause; there is none while all is well.
    """
    if not cause:
        record.unlink(missing_ok=True)
        return 0
    count = last_failure(record)[0] + 1
    write_text(record, f"{count} {cause}\n")
    return count


def last_failure(record: Path) -> tuple[int, str]:
    """Return how many runs in a row have failed so far, 0 if none, and the last cause."""
    count, _, cause = record.read_text().partition(" ") if record.exists() else ("", "", "")
    return (int(count), cause.strip()) if count.isdigit() else (0, "")
