"""Write docs/eso.md: what ESO gets, from the tables that make it so."""

import sys
from collections.abc import Mapping
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scripts.lib.files.tables import read_table
from scripts.lib.headers.keywords import function_for

CHECKOUT = Path(__file__).parents[2]
TABLES = CHECKOUT / "config"


def description() -> str:
    """Return the page."""
    rows = read_table(TABLES / "keywords.csv")
    loader = FileSystemLoader(CHECKOUT / "templates")
    environment = Environment(
        loader=loader, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    return environment.get_template("eso.md").render(
        telescopes=read_table(TABLES / "telescopes.csv"),
        kinds=read_table(TABLES / "kinds.csv"),
        keywords=[row | {"origin": origin(row)} for row in rows if row["rule"] != "drop"],
        dropped=[row["keyword"] for row in rows if row["rule"] == "drop"],
        checks=[row | {"right": row["right"].replace("|", ", ")} for row in checks()],
    )


def checks() -> list[dict[str, str]]:
    """Return the rows of the table of checks."""
    return read_table(TABLES / "checks.csv")


def origin(row: Mapping[str, str]) -> str:
    """Return where the value of a keyword comes from."""
    if row["rule"] == "constant":
        return f"always `{row['value']}`"
    if row["rule"] == "copy":
        return "the raw frame"
    if row["rule"] == "wcs":
        return "the plate solution; without one, pixels"
    said = (function_for(row["keyword"]).__doc__ or "").strip().partition("\n")[0]
    return said.removesuffix(".").replace("``", "`")


if __name__ == "__main__":
    sys.stdout.write(description())
