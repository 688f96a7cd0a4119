"""CSV tables: a list of rows, each a dict of strings, in the order of the columns."""

import csv
import hashlib
from itertools import takewhile
from pathlib import Path

from scripts.lib.files.durable import write_text


class DamagedTable(ValueError):
    """A table that is not as it was written; the message names file and line, and what to do."""

    def __init__(self, path: Path, line: int, damage: str):
        where = f"{path.absolute()}, line {line}"
        super().__init__(f"{where}: {damage}; what to do: docs/operations.md, Damaged tables")


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV table: comments (# …), a line of column names, the rows.

    Raises
    ------
    DamagedTable
        If the line of column names is missing or cut off, or a row has not just these columns.
    """
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as stream:
        lines = list(stream)
    comments = sum(1 for _ in takewhile(lambda line: line.startswith("#"), lines))
    names = "".join(lines[comments : comments + 1])
    if not names.endswith(("\n", "\r")):
        raise DamagedTable(path, comments + 1, "no whole line of column names")
    reader = csv.DictReader(lines[comments:])
    rows = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise DamagedTable(path, comments + reader.line_num, "too few or too many columns")
            rows.append(row)
    except csv.Error as error:
        raise DamagedTable(path, comments + reader.line_num, str(error)) from error
    return rows


def table_digest(path: Path) -> str:
    """Return what tells a table's content apart from another's."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_table(path: Path, columns: list[str], rows: list[dict]) -> None:
    """Write rows as CSV, whole or not at all; a column a row lacks stays empty."""
    unknown = {name for row in rows for name in row} - set(columns)
    if unknown:
        raise ValueError(f"{path} has no columns {', '.join(sorted(unknown))}")
    lines = [columns, *([row.get(name, "") for name in columns] for row in rows)]
    write_text(path, "".join(",".join(map(_field, line)) + "\n" for line in lines))


def _field(value) -> str:
    """Return a value as it stands in a table.

    Python's own writer leaves a carriage return unquoted, at which its reader ends the line.
    """
    text = "" if value is None else str(value)
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\r\n') else text
