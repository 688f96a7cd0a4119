"""CSV tables: a list of rows, each a dict of strings, in the order of the columns."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path

from scripts.lib.files.durable import write_text
from scripts.lib.files.errors import Damaged


def damaged_table(path: Path, damage: str, line: int = 0) -> Damaged:
    """Return the error of a table that is not as it was written; line 0 for the whole of it."""
    where = f"{path.absolute()}, line {line}" if line else f"{path.absolute()}"
    return Damaged(f"{where}: {damage}; what to do: docs/operations.md, Damaged tables")


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV table: comments (# …), a line of column names, the rows.

    Raises `Damaged` if that line is missing or cut off, or a row has not just these columns.
    """
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as stream:
        lines = list(stream)
    comments = sum(1 for _ in takewhile(lambda line: line.startswith("#"), lines))
    names = "".join(lines[comments : comments + 1])
    if not names.endswith(("\n", "\r")):
        raise damaged_table(path, "no whole line of column names", comments + 1)
    reader = csv.DictReader(lines[comments:])
    rows = []
    try:
        for row in reader:
            if None in row or None in row.values():
                raise damaged_table(path, "too few or too many columns", comments + reader.line_num)
            rows.append(row)
    except csv.Error as error:
        raise damaged_table(path, str(error), comments + reader.line_num) from error
    return rows


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows as CSV, whole or not at all; a column a row lacks stays empty."""
    write_text(path, table_text(columns, rows))


def table_text(columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> str:
    """Return rows as CSV; raise ValueError if a row has a column that the table lacks."""
    known, lines = set(columns), [",".join(columns)]
    for row in rows:
        if unknown := row.keys() - known:
            raise ValueError(f"the table has no columns {', '.join(sorted(unknown))}")
        lines.append(",".join([_field(row.get(name, "")) for name in columns]))
    return "".join(f"{line}\n" for line in lines)


def _field(value: object) -> str:
    """Return a value as it is written in a table.

    Python's own writer leaves a carriage return unquoted, at which its reader ends the line.
    """
    text = "" if value is None else str(value)
    return '"' + text.replace('"', '""') + '"' if set(text) & set(',"\r\n') else text
