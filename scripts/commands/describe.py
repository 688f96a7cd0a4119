"""Write what is made from the tables and records that define it: `make docs`.

docs/eso.md (what ESO gets), config/schema.yaml and config/telescope.yaml.example (what can be
configured).
"""

import argparse
import json
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scripts.lib.files.durable import write_text
from scripts.lib.files.tables import read_table
from scripts.lib.settings.check import CHECKOUT, schema_of
from scripts.lib.settings.records import Configuration

WIDTH = 100


def description() -> str:
    """Return the page of what ESO gets."""
    loader = FileSystemLoader(CHECKOUT / "templates")
    environment = Environment(
        loader=loader, undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    names = ("telescopes", "kinds", "keywords", "reserved", "checks")
    tables = {name: read_table(CHECKOUT / "config" / f"{name}.csv") for name in names}
    return environment.get_template("eso.md").render(tables)


def schema() -> str:
    """Return the JSON schema of configurations, as editors use it."""
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of one telescope",
        "description": "One file per telescope; --config key=value overrides any key.",
    }
    content: str = yaml.safe_dump(
        head | schema_of(Configuration), sort_keys=False, allow_unicode=True, width=WIDTH
    )
    return f"# Written by make docs from scripts/lib/settings/records.py.\n{content}"


def example() -> str:
    """Return a configuration that explains all keys; what may be left out is commented out."""
    lines = [
        "# yaml-language-server: $schema=schema.yaml",
        "# A telescope's configuration. Written by make docs from scripts/lib/settings/records.py.",
    ]
    full = schema_of(Configuration)
    for name, rule in full["properties"].items():
        lines += ["", *example_lines(name, rule, name not in full["required"])]
    return "\n".join(lines) + "\n"


def example_lines(
    name: str, rule: dict[str, Any], optional: bool, indent: str = ""
) -> Iterator[str]:
    """Yield the lines that explain a key and show a value of it."""
    comment, mark = f"{indent}# ", f"{indent}# " if optional else indent
    text, default, parts = rule["description"], rule.get("default"), rule.get("properties")
    has_default = not parts and default not in (None, [])
    if has_default:
        text += f" Default: {json.dumps(default)}."
    yield from textwrap.wrap(text, WIDTH, initial_indent=comment, subsequent_indent=comment)
    if parts:
        yield f"{mark}{name}:"
        for part, inner in parts.items():
            within = optional or part not in rule.get("required", [])
            yield from example_lines(part, inner, within, f"{indent}  ")
    else:
        shown = default if has_default else (rule.get("examples") or rule["enum"])[0]
        line = yaml.safe_dump({name: shown}, default_flow_style=True, width=10 * WIDTH)
        yield f"{mark}{line.strip()[1:-1]}"


PAGES = {
    "docs/eso.md": description,
    "config/schema.yaml": schema,
    "config/telescope.yaml.example": example,
}


def main(words: list[str] | None = None) -> int:
    """Write all of it."""
    argparse.ArgumentParser(prog="speculoos-archive describe", description=__doc__).parse_args(
        words
    )
    for name, page in PAGES.items():
        write_text(CHECKOUT / name, page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
