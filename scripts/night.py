"""Report a night: page, summary, its line in the transfer log; then free the raw copies' space."""

import shutil
from collections import Counter
from pathlib import Path
from statistics import median

from scripts.lib.durable import write_text
from scripts.lib.log import logger, start_log
from scripts.lib.night_frames import sequences
from scripts.lib.receipts import delivered_rows, products_delivered, read_receipts, withheld_rows
from scripts.lib.solving.table import Solved, read_solved
from scripts.lib.tables import read_table
from scripts.lib.transfer_log import log_transfer, products_by_programme, transfer_log_name


def summarise(
    telescope: str,
    night: str,
    rows: list[dict],
    receipts: list[dict],
    solved: dict[str, list[Solved]],
) -> dict:
    """Return what page and summary say of a night.

    Parameters
    ----------
    rows : list of dict
        Of ``frames.csv``.
    receipts : list of dict
        Rows of the night's receipts.
    solved : dict of list of Solved
        By sequence, of those that were to be solved.
    """
    here = {row["file"] for row in delivered_rows(receipts)}
    unsolved = {row["file"]: row for row in withheld_rows(receipts)}
    held = [unsolved.get(row["file"], row) for row in rows if _is_held(row, unsolved)]
    good = [row for row in rows if not _is_held(row, unsolved)]
    frames = [frame for table in solved.values() for frame in table]
    return {
        "telescope": telescope,
        "night": night,
        "raw": len({row["file"] for row in rows}),
        "kinds": Counter(row["kind"] for row in good),
        "sequences": [
            _sequence(name, members, solved.get(name, []))
            for name, members in sequences(good).items()
        ],
        "products": products_delivered(receipts),
        "delivered": sum(row["file"] in here for row in good),
        "missing": [row["file"] for row in good if row["file"] not in here],
        "held": held,
        "reasons": Counter(row["reason"].partition(":")[0] for row in held).most_common(),
        "to_solve": len(frames),
        "unsolved": [frame for frame in frames if not frame.solved],
    }


def _is_held(row: dict, unsolved: dict[str, dict]) -> bool:
    return row["status"] == "held" or row["file"] in unsolved


def _sequence(name: str, members: list[dict], solved: list[Solved]) -> dict:
    first, last = members[0]["date_obs"], members[-1]["date_obs"]
    products = {row["product"] for row in members}
    product = products.pop() if len(products) == 1 else f"{len(products)} frames"
    good = [frame for frame in solved if frame.solved]
    return {
        "name": name,
        "frames": len(members),
        "begin": first[11:19],
        "end": last[11:19],
        "product": product,
        "to_solve": len(solved),
        "solved": len(good),
        "rms": median(frame.rms for frame in good) if good else None,
        "fwhm": median(frame.fwhm for frame in good) if good else None,
        "offset": max(frame.offset for frame in good) if good else None,
    }


def read_solutions(folder: Path, rows: list[dict]) -> dict[str, list[Solved]]:
    """Return the solutions of a night's frames by sequence, of those that were to be solved."""
    paths = {name: folder / f"{name}.fits" for name in sequences(rows)}
    return {name: list(read_solved(p).values()) for name, p in paths.items() if p.exists()}


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


def page(facts: dict, template: Path) -> str:
    """Return a night's page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(template.parent)
    environment = Environment(autoescape=True, loader=loader, undefined=StrictUndefined)
    return environment.get_template(template.name).render(facts)


def free_raw(folder: Path, marker: Path) -> None:
    """Remove the raw copies of a night. The marker goes first: without it they count as absent."""
    marker.unlink(missing_ok=True)
    shutil.rmtree(folder)
    logger.info("raw copies removed: all that could be delivered has been")


if __name__ == "__main__":
    start_log(snakemake.log[0])
    output = Path(snakemake.output.page)
    night = snakemake.wildcards.night
    rows = read_table(Path(snakemake.input.frames))
    receipts = read_receipts(output.parent / "archived")
    facts = summarise(
        snakemake.config["telescope"],
        night,
        rows,
        receipts,
        read_solutions(output.parent / "solved", rows),
    )
    if facts["missing"]:
        raise RuntimeError(
            f"{len(facts['missing'])} good frames have no receipt: {facts['missing']}"
        )
    write_text(output.parent / "summary.txt", summary_text(facts))
    counts = products_by_programme(receipts)
    own = snakemake.config["programme"]
    for programme in counts.keys() | {own}:
        name = transfer_log_name(programme, own)
        log_transfer(output.parent.parent / name, night, counts.get(programme, 0))
    raw = output.parent / "raw"
    if raw.exists() and not snakemake.config["keep_raw"]:
        free_raw(raw, raw / "complete")
    write_text(output, page(facts, Path(snakemake.input.template)))
