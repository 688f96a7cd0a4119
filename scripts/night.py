"""Report a night: page, data, summary, receipts, its table; then free the raw copies' space."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.lib.delivery.receipts import FOLDER, write_receipts
from scripts.lib.files.durable import write_text
from scripts.lib.files.errors import JobFailed
from scripts.lib.files.log import logger, start_log
from scripts.lib.ledger import snapshot
from scripts.lib.ledger.ledger import Ledger, ledger_path
from scripts.lib.nights.cameras import of_night
from scripts.lib.pages.night_page import write_night_page
from scripts.lib.reporting.summary import summarise
from scripts.lib.reporting.templates import render
from scripts.lib.settings.records import Configuration

if TYPE_CHECKING:
    from scripts.lib.files.log import snakemake

SUMMARY = "summary.txt"
TEMPLATES = Path(__file__).parents[1] / "templates"


def write_views(ledger: Ledger, night: str, folder: Path, settings: Configuration) -> None:
    """Write all that people read of a night, from the ledger; all good frames are delivered."""
    summary = summarise(settings.telescope, night, ledger, folder / "solved")
    if summary.missing:
        names = ", ".join(summary.missing)
        raise JobFailed(f"{len(summary.missing)} good frames are not delivered: {names}")
    frames = ledger.frames(night)
    table, text = folder / snapshot.NAME, snapshot.snapshot_text(frames)
    # Jobs compare its time with theirs: it is not touched without need.
    if snapshot.file_digest(table) != snapshot.digest(text):
        write_text(table, text)
    ledger.note_night(night, snapshot=snapshot.digest(text))
    write_receipts(ledger, night, folder / FOLDER, of_night(settings, night).products == "cubes")
    text = render(TEMPLATES / SUMMARY, **vars(summary))
    ledger.set_views(night, {SUMMARY: snapshot.write_view(folder / SUMMARY, text)})
    write_night_page(ledger, night, settings)


def main() -> None:
    """Run the job."""
    start_log(snakemake.log[0])
    output, night = Path(snakemake.output.page), snakemake.wildcards.night
    settings, folder = Configuration.of(snakemake.config), output.parent
    with Ledger(ledger_path(Path())) as ledger:
        write_views(ledger, night, folder, settings)
        # All are delivered. Snakemake keeps some if another night failed.
        for name in ("cubes", "frames", "batches"):
            shutil.rmtree(folder / name, ignore_errors=True)
        if (folder / "raw").exists() and not settings.keep_raw:
            # The marker goes first: without it the copies count as absent.
            (folder / "raw/complete").unlink(missing_ok=True)
            shutil.rmtree(folder / "raw")
            logger.info("raw copies removed: all that could be delivered has been")
        ledger.note_night(night, reported=1)
    write_text(Path(snakemake.output.stamp), "reported: see the ledger\n")


if __name__ == "__main__":
    main()
