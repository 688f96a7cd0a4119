"""A job's log: messages, warnings and uncaught errors in one file; the end of any log."""

import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

LONGEST_TAIL = 100_000  # bytes

logger = logging.getLogger("speculoos")

# What Snakemake defines in a rule's script: files, parameters and wildcards by their names. A
# script imports it from here if TYPE_CHECKING only, for linters and type checkers.
snakemake: Any


def start_log(path: str) -> None:
    """Send messages, warnings and an uncaught error of this process to ``path``.

    The error's own line goes to standard error too, so that the operator sees it immediately.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    line = "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(filename=path, filemode="w", level=logging.INFO, format=line, force=True)
    logging.captureWarnings(True)

    def on_crash(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        logger.critical("job failed", exc_info=(kind, error, trace))
        print(f"{kind.__name__}: {error}", file=sys.stderr)

    sys.excepthook = on_crash


def tail(path: Path, lines: int, begin: int = 0) -> list[str]:
    """Return the last lines that were written to a log after its first ``begin`` bytes.

    For people: tracebacks are left out.
    """
    with open(path, "rb") as stream:
        stream.seek(max(begin, path.stat().st_size - LONGEST_TAIL))
        text = stream.read().decode(errors="replace")
    return without_tracebacks(text.splitlines())[-lines:]


def without_tracebacks(lines: Iterable[str]) -> list[str]:
    """Return the lines of a log but those of tracebacks; what ends one, the error, stays."""
    kept: list[str] = []
    inside = -1  # its indentation; none
    for line in lines:
        indented = len(line) - len(line.lstrip())
        if line.lstrip().startswith("Traceback (most recent call last):"):
            inside = indented
        elif inside < 0 or (line.strip() and indented <= inside):
            inside = -1
            kept.append(line)
    return kept
