"""A job's log: messages, warnings and uncaught errors in one file; the end of any log."""

import logging
import sys
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
    """Return the last lines that were written to a log after its first ``begin`` bytes."""
    with open(path, "rb") as stream:
        stream.seek(max(begin, path.stat().st_size - LONGEST_TAIL))
        return stream.read().decode(errors="replace").splitlines()[-lines:]
