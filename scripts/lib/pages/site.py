"""The pages of all nights of all telescopes: a folder of files that any browser opens.

Each telescope writes its own files only, and those only that changed. The browser loads data as
scripts, because it reads no other file from a disk.
"""

import json
import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scripts.lib.files.durable import part_name, write_text
from scripts.lib.pages.history import NAME as HISTORY
from scripts.lib.pages.history import Row
from scripts.lib.pages.night_data import text
from scripts.lib.pages.night_page import (
    DATA,
    PAGE,
    asset,
    embedded,
    filled,
    write_changed,
    write_nights,
)
from scripts.lib.pages.sky import Column
from scripts.lib.settings.records import Configuration
from scripts.lib.settings.telescopes import telescopes

# Columns of a year's data: numbers, and what is text.
NUMBERS = (
    "due delivered faulty science_h dark_h fwhm zero_point sky bias read_noise bytes missing"
).split()
TEXTS = ["night", "state", "camera"]


def publish(settings: Configuration, rows: Mapping[str, Row], health: Mapping[str, Any]) -> None:
    """Bring a telescope's part of the site up to date.

    Parameters
    ----------
    rows : mapping of dict
        Its history, by night.
    health : mapping
        How it stands: problems, and its last successful run.

    Raises
    ------
    OSError
        If the site cannot be written.
    """
    site, telescope = Path(settings.site), settings.telescope
    own = site / telescope
    if not site.parent.is_dir():
        raise OSError(f"the directory {site.parent} does not exist; is its disk mounted?")
    for folder in (site, site / "data", own):
        folder.mkdir(exist_ok=True)
    published = [night for night in sorted(rows) if publish_night(settings.workdir / night, own)]
    write_nights(own, published, f"../../{telescope}.html")
    years = sorted({night[:4] for night in published})
    for year in years:
        chosen = [rows[night] for night in published if night[:4] == year]
        name = f"{telescope}-{year}"
        write_changed(site / "data" / f"{name}.js", script(name, year_data(chosen)))
    write_changed(site / f"{telescope}.csv", (settings.workdir / HISTORY).read_text())
    standing = {
        "telescope": telescope,
        "colour": list(telescopes()).index(telescope),
        "written": text(datetime.now(UTC)),
        "scheduled": health["heartbeat"]["start"] is not None,
        "success": health["heartbeat"]["success"],
        "problems": health["problems"],
        "workdir": str(settings.workdir),
        "years": years,
    }
    write_text(site / "data" / f"{telescope}.js", script(telescope, standing))
    shown = [name for name in telescopes() if (site / name).is_dir()]
    write_changed(site / "index.html", site_page("SPECULOOS to ESO", shown))
    write_changed(site / f"{telescope}.html", site_page(telescope, [telescope]))


def publish_night(folder: Path, own: Path) -> bool:
    """Copy the page of a night if it changed; return whether the site has it."""
    for name in (DATA, PAGE):
        source, target = folder / name, own / folder.name / name
        try:
            state = source.stat()
        except FileNotFoundError:
            continue
        if target.exists():
            there = target.stat()
            if (there.st_size, there.st_mtime_ns) == (state.st_size, state.st_mtime_ns):
                continue
        target.parent.mkdir(exist_ok=True)
        part = part_name(target)
        shutil.copy2(source, part)
        os.replace(part, target)
    return (own / folder.name / PAGE).exists()


def year_data(rows: list[Row]) -> dict[str, Column]:
    """Return the nights of a year as columns; what is said of a night only if it is not well."""
    columns: dict[str, Column] = {name: [row[name] for row in rows] for name in TEXTS}
    for name in NUMBERS:
        columns[name] = [short(row[name]) for row in rows]
    columns["headline"] = [row["headline"] if row["state"] != "ok" else "" for row in rows]
    columns["targets"] = [json.loads(row["targets"] or "{}") for row in rows]
    return columns


def short(number: str) -> float | int | None:
    """Return a number, whole if it may be; None if there is none."""
    if not number:
        return None
    value = float(number)
    return int(value) if value.is_integer() else value


def script(name: str, value: Any) -> str:
    """Return data as a script that a page loads."""
    return f"site({json.dumps(name)},{embedded(value)});\n"


def site_page(title: str, telescopes: list[str]) -> str:
    """Return the page of some telescopes; it changes with none of their nights."""
    return filled(
        "site.html",
        title=title,
        style=asset("uplot/uPlot.min.css") + asset("style.css"),
        library=asset("uplot/uPlot.iife.min.js"),
        script="\n".join(map(asset, ("common.js", "site.js"))),
        telescopes=embedded(telescopes),
    )
