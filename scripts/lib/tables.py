"""CSV tables: a list of rows, each a dict of strings, in the order of the columns."""

import csv
import io
from itertools import dropwhile
from pathlib import Path

from scripts.lib.durable import write_text


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV table: comments (# …), a line of column names, the rows."""
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return list(csv.DictReader(dropwhile(lambda line: line.startswith("#"), stream)))


def write_table(path: Path, columns: list[str], rows: list[dict]) -> None:
    """Write rows as CSV, whole or not at all; a column a row lacks stays empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())
