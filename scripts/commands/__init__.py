"""Commands that people, cron and systemd call: ``speculoos-archive COMMAND …``, from anywhere."""

import ast
import importlib
import sys
from pathlib import Path

from scripts import version


def summaries() -> dict[str, str]:
    """Return the commands and the first line of what each says of itself; none is imported."""
    paths = sorted(Path(__file__).parent.glob("[!_]*.py"))
    texts = {path.stem: ast.get_docstring(ast.parse(path.read_text("utf-8"))) for path in paths}
    return {name: (text or "").partition("\n")[0] for name, text in texts.items()}


def main(words: list[str] | None = None) -> int:
    """Do what the command line says; return the exit status of the command."""
    name, *rest = (sys.argv[1:] if words is None else words) or ["--help"]
    commands = summaries()
    if name in commands:
        return importlib.import_module(f"scripts.commands.{name}").main(rest) or 0
    if name == "--version":
        print(f"speculoos-archive {version()}")
        return 0
    asked = name in ("--help", "-h")
    out = sys.stdout if asked else sys.stderr
    if not asked:
        print(f"{name} is not a command of speculoos-archive\n", file=out)
    print("usage: speculoos-archive COMMAND …, or --version\n", file=out)
    for command, summary in commands.items():
        print(f"  {command:<11}{summary}", file=out)
    print("\nspeculoos-archive COMMAND --help says more.", file=out)
    return 0 if asked else 2
