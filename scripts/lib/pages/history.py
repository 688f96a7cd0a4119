"""The history of a telescope: ``history.csv``, one row a night, made from each ``night.json``.

`load_history` reads it for analysis; runs only replace the rows of their nights.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING

from scripts.lib.files.durable import write_text
from scripts.lib.files.errors import Damaged
from scripts.lib.files.tables import read_table, table_text
from scripts.lib.pages.sky import METRICS
from scripts.lib.pages.verdict import Data

if TYPE_CHECKING:  # half a second to import
    import pandas

NAME = "history.csv"
COLUMNS = (
    "night telescope camera state made raw due delivered products faulty engineering to_solve "
    "unsolved bytes science_h dark_h fwhm zero_point sky rms offset transparency bias read_noise "
    "dark_rate confirmed missing headline targets"
).split()
USUAL_NIGHTS, FEWEST_NIGHTS = 90, 5
MEASURED = (*METRICS, "bias", "read_noise", "science_h")

Row = Mapping[str, str]


def history_row(data: Data) -> dict[str, object]:
    """Return the row of a night: medians, counts, and the hours of each target as JSON."""
    bias, eso = data["calibration"]["bias"] or {}, data["eso"] or {}
    darks = [dark["rate"] for dark in data["calibration"]["dark"] if dark["rate"] is not None]
    targets: dict[str, float] = {}
    for one in data["sequences"]:
        if one["kind"] == "science":
            hours = targets.get(one["target"], 0.0) + one["frames"] * one["exptime"] / 3600
            targets[one["target"]] = round(hours, 3)
    known = data | data["counts"] | data["times"]
    known |= {name: (values or [None, None])[1] for name, values in data["sky"].items()}
    known |= {
        "transparency": (data["transparency"] or {}).get("worst"),
        "bias": bias.get("level"),
        "read_noise": bias.get("noise"),
        "dark_rate": max(darks, default=None),
        "confirmed": eso.get("confirmed"),
        "missing": eso.get("missing"),
        "targets": json.dumps(targets),
    }
    return {name: known[name] for name in COLUMNS}


def read_history(workdir: Path) -> dict[str, Row]:
    """Return the rows of a telescope's history by night; none if there is no whole table."""
    try:
        rows = read_table(workdir / NAME)
    except (OSError, Damaged):
        return {}
    return {row["night"]: row for row in rows if row.keys() == set(COLUMNS)}


def update_history(workdir: Path, nights: Iterable[str]) -> dict[str, Row]:
    """Bring the rows of these nights, and of those that have none, up to date; return all rows."""
    rows, changed = dict(read_history(workdir)), set(nights)
    folders = [path.parent for path in workdir.glob("[0-9]" * 8 + "/night.json")]
    for folder in folders:
        if folder.name in changed or folder.name not in rows:
            try:
                data = json.loads((folder / "night.json").read_text())
                rows[folder.name] = {
                    name: "" if value is None else str(value)
                    for name, value in history_row(data).items()
                }
            except (OSError, ValueError, KeyError, TypeError):
                continue  # the next run writes its page again
    text = table_text(COLUMNS, (rows[night] for night in sorted(rows)))
    path = workdir / NAME
    if not path.exists() or path.read_text() != text:
        write_text(path, text)
    return rows


def usual_values(rows: Mapping[str, Row], night: str) -> dict[str, list[float] | None]:
    """Return the quartiles of what the last nights before one were measured in; None of too few."""
    before = [rows[name] for name in sorted(rows) if name < night][-USUAL_NIGHTS:]
    found: dict[str, list[float] | None] = {}
    for name in MEASURED:
        values = [float(row[name]) for row in before if row[name]]
        found[name] = None
        if len(values) >= FEWEST_NIGHTS:
            low, _, high = quantiles(values, n=4, method="inclusive")
            found[name] = [float(f"{low:.4g}"), float(f"{high:.4g}")]
    return found


def load_history(path: Path) -> "pandas.DataFrame":
    """Return the history of a telescope for analysis: the night as a date, targets as a mapping."""
    import pandas

    table = pandas.read_csv(path, dtype={"night": str})
    table["date"] = pandas.to_datetime(table["night"], format="%Y%m%d")
    table["targets"] = table["targets"].map(json.loads)
    return table


def hours_of_targets(table: "pandas.DataFrame") -> "pandas.DataFrame":
    """Return a row for each night and target, with the hours of exposure."""
    import pandas

    pairs = [
        (night, target, hours)
        for night, targets in zip(table["night"], table["targets"], strict=True)
        for target, hours in targets.items()
    ]
    return pandas.DataFrame(pairs, columns=["night", "target", "hours"]).merge(
        table.drop(columns="targets"), on="night"
    )
