"""Report a night: page, summary, its line in the transfer log; then free the raw copies' space."""

import shutil
from itertools import chain
from pathlib import Path

from scripts.lib.delivery.receipts import read_receipts
from scripts.lib.delivery.transfer_log import log_transfer, products_by_programme, transfer_log_name
from scripts.lib.files.durable import write_text
from scripts.lib.files.log import logger, start_log
from scripts.lib.files.tables import read_table, table_digest
from scripts.lib.telling.charts import Charts, draw
from scripts.lib.telling.summary import read_solutions, summarise


def summary_text(facts: dict) -> str:
    """Return a night's summary as plain text."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in facts["kinds"].items()) or "no frames"
    lines = [
        f"{facts['telescope']} {facts['night']}",
        f"raw frames   {facts['raw']}",
        f"good         {sum(facts['kinds'].values())} ({kinds})",
        f"delivered    {facts['delivered']} frames in {len(facts['products'])} products",
        f"held back    {len(facts['held'])}",
        *(f"             {count} x {reason}" for reason, count in facts["reasons"]),
        *solving_lines(facts),
        "",
        *(f"{s['frames']:5d} frames  {s['name']}  {s['product']}" for s in facts["sequences"]),
        "",
        *(f"warning: {name}: {text}" for name, text in facts["warned"].items()),
        *(f"held back: {row['file']}: {row['reason']}" for row in facts["held"]),
        *(f"unsolved: {frame.file}: {frame.reason}" for frame in facts["unsolved"]),
        *(f"NOT DELIVERED: {name}" for name in facts["missing"]),
    ]
    return "\n".join(lines).rstrip() + "\n"


def solving_lines(facts: dict) -> list[str]:
    """Return the lines of the summary that tell of plate solving; none if none was wanted."""
    if not facts["to_solve"]:
        return []
    return [f"solved       {facts['to_solve'] - len(facts['unsolved'])} of {facts['to_solve']}"]


def page(facts: dict, charts: Charts | None, table: str, template: Path) -> str:
    """Return a night's page.

    Parameters
    ----------
    table : str
        Digest of the ``frames.csv`` that the page is about.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(template.parent)
    environment = Environment(autoescape=True, loader=loader, undefined=StrictUndefined)
    return environment.get_template(template.name).render(
        facts | {"charts": charts, "table": table}
    )


def free_raw(folder: Path, marker: Path) -> None:
    """Remove the raw copies of a night. The marker goes first: without it they count as absent."""
    marker.unlink(missing_ok=True)
    shutil.rmtree(folder)
    logger.info("raw copies removed: all that could be delivered has been")


def free_made(folder: Path) -> None:
    """Remove cubes and frames, all delivered: Snakemake keeps some if another night failed."""
    for name in ("cubes", "frames"):
        shutil.rmtree(folder / name, ignore_errors=True)


if __name__ == "__main__":
    start_log(snakemake.log[0])
    output = Path(snakemake.output.page)
    night = snakemake.wildcards.night
    rows = read_table(Path(snakemake.input.frames))
    receipts = read_receipts(output.parent / "archived")
    solved = read_solutions(output.parent / "solved", rows)
    facts = summarise(snakemake.config["telescope"], night, rows, receipts, solved)
    if facts["missing"]:
        raise RuntimeError(
            f"{len(facts['missing'])} good frames have no receipt: {facts['missing']}"
        )
    write_text(output.parent / "summary.txt", summary_text(facts))
    counts = products_by_programme(receipts)
    own = snakemake.params.programme
    for programme in counts.keys() | {own}:
        name = transfer_log_name(programme, own)
        log_transfer(output.parent.parent / name, night, counts.get(programme, 0))
    free_made(output.parent)
    raw = output.parent / "raw"
    if raw.exists() and not snakemake.config["keep_raw"]:
        free_raw(raw, raw / "complete")
    charts = draw(rows, chain.from_iterable(solved.values()))
    table = table_digest(Path(snakemake.input.frames))
    write_text(output, page(facts, charts, table, Path(snakemake.input.template)))
