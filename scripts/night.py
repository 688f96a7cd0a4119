"""Report a night: page, summary, receipts, its table; then free the raw copies' space."""

import shutil
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.lib.delivery.receipts import FOLDER, write_receipts
from scripts.lib.files.durable import write_text
from scripts.lib.files.log import logger, start_log
from scripts.lib.ledger.ledger import Ledger, ledger_path
from scripts.lib.ledger.snapshot import NAME as TABLE
from scripts.lib.ledger.snapshot import digest, file_digest, snapshot_bytes, write_snapshot
from scripts.lib.reporting.charts import Charts, draw
from scripts.lib.reporting.summary import Summary, read_solutions, summarise
from scripts.lib.settings.records import Configuration

if TYPE_CHECKING:
    from scripts.lib.files.job import snakemake

PAGE, SUMMARY = "night.html", "summary.txt"


def summary_text(summary: Summary) -> str:
    """Return a night's summary as plain text."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in summary.kinds.items()) or "no frames"
    lines = [
        f"{summary.telescope} {summary.night}",
        f"raw frames   {summary.raw}",
        f"good         {sum(summary.kinds.values())} ({kinds})",
        f"delivered    {summary.delivered} frames in {len(summary.products)} products",
        f"held back    {len(summary.held)}",
        *(f"             {count} x {reason}" for reason, count in summary.reasons),
        *solving_lines(summary),
        "",
        *(f"{s.frames:5d} frames  {s.name}  {s.product}" for s in summary.sequences),
        "",
        *(f"warning: {name}: {text}" for name, text in summary.warned.items()),
        *(f"held back: {frame.file}: {frame.fault}" for frame in summary.held),
        *(f"unsolved: {frame.file}: {frame.reason}" for frame in summary.unsolved),
        *(f"NOT DELIVERED: {name}" for name in summary.missing),
    ]
    return "\n".join(lines).rstrip() + "\n"


def solving_lines(summary: Summary) -> list[str]:
    """Return the lines of the summary about plate solving; none if none was wanted."""
    if not summary.to_solve:
        return []
    return [f"solved       {summary.to_solve - len(summary.unsolved)} of {summary.to_solve}"]


def page(summary: Summary, charts: Charts | None, template: Path) -> str:
    """Return a night's page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(template.parent)
    environment = Environment(autoescape=True, loader=loader, undefined=StrictUndefined)
    facts = {field.name: getattr(summary, field.name) for field in fields(summary)}
    return environment.get_template(template.name).render(facts, charts=charts)


def free_raw(folder: Path) -> None:
    """Remove the raw copies of a night. The marker goes first: without it they count as absent."""
    (folder / "complete").unlink(missing_ok=True)
    shutil.rmtree(folder)
    logger.info("raw copies removed: all that could be delivered has been")


def free_made(folder: Path) -> None:
    """Remove cubes and frames, all delivered: Snakemake keeps some if another night failed."""
    for name in ("cubes", "frames"):
        shutil.rmtree(folder / name, ignore_errors=True)


def write_views(
    ledger: Ledger, night: str, folder: Path, settings: Configuration, template: Path
) -> None:
    """Write all that people read of a night, from the ledger.

    Raises
    ------
    RuntimeError
        If a good frame is not delivered.
    """
    summary = summarise(settings.telescope, night, ledger, folder / "solved")
    if summary.missing:
        count = len(summary.missing)
        raise RuntimeError(f"{count} good frames are not delivered: {summary.missing}")
    frames = ledger.frames(night)
    content = snapshot_bytes(frames)
    # Jobs compare its time with theirs: it is not touched without need.
    if file_digest(folder / TABLE) != digest(content):
        write_snapshot(folder / TABLE, frames)
    ledger.note_night(night, snapshot=digest(content))
    write_receipts(ledger, night, folder / FOLDER, settings.products == "cubes")
    solved = read_solutions(folder / "solved", [sequence.name for sequence in summary.sequences])
    texts = {
        SUMMARY: summary_text(summary),
        PAGE: page(summary, draw(frames, chain.from_iterable(solved.values())), template),
    }
    for name, text in texts.items():
        write_text(folder / name, text)
    ledger.set_views(
        night, {name: digest(text.encode(errors="surrogateescape")) for name, text in texts.items()}
    )


def main() -> None:
    """Run the job."""
    start_log(snakemake.log[0])
    output, night = Path(snakemake.output.page), snakemake.wildcards.night
    settings = Configuration.of(snakemake.config)
    folder = output.parent
    with Ledger(ledger_path(Path())) as ledger:
        write_views(ledger, night, folder, settings, Path(snakemake.input.template))
        free_made(folder)
        if (folder / "raw").exists() and not settings.keep_raw:
            free_raw(folder / "raw")
        ledger.note_night(night, reported=1)
    write_text(Path(snakemake.output.stamp), "reported: see the ledger\n")


if __name__ == "__main__":
    main()
