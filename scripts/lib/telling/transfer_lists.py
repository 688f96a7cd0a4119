"""What of a night reached the archive directory and what did not, as operators look it up.

``logs/{night}/transferred`` names products, ``non_transferred`` raw frames, each with the reason.
They are written at the end of every run, also of one that failed.
"""

from pathlib import Path

from scripts.lib.delivery.receipts import read_receipts
from scripts.lib.files.durable import write_text
from scripts.lib.files.tables import read_table
from scripts.lib.nights import ingested
from scripts.lib.telling.summary import summarise

PENDING = "not delivered yet: a job failed or was stopped"


def write_transfer_lists(workdir: Path, night: str) -> None:
    """Write both lists of a night; none for a night that was never ingested."""
    if not (workdir / night / "ingested.csv").exists():
        return
    transferred, waiting = transfer_lists(workdir / night)
    folder = workdir / "logs" / night
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "transferred", as_lines(transferred))
    write_text(folder / "non_transferred", as_lines(f"{name}: {waiting[name]}" for name in waiting))


def transfer_lists(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Return a night's products in the archive, and its other raw frames with the reason.

    Parameters
    ----------
    folder : Path
        ``<workdir>/{night}``.
    """
    table = folder / "frames.csv"
    rows = read_table(table) if table.exists() else []
    facts = summarise("", folder.name, rows, read_receipts(folder / "archived"), {})
    waiting = {} if rows else {name: PENDING for name in ingested.recorded(folder / "ingested.csv")}
    waiting |= {name: PENDING for name in facts["missing"]}
    waiting |= {row["file"]: row["reason"] for row in facts["held"]}
    return sorted(facts["products"]), waiting


def as_lines(texts) -> str:
    """Return texts as the lines of a file."""
    return "".join(f"{text}\n" for text in texts)
