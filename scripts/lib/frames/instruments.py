"""Kinds of frames as ESO's archive names them: ``config/kinds.csv``."""

from pathlib import Path
from typing import NamedTuple

from scripts.lib.files.tables import read_table


class Kind(NamedTuple):
    """A kind of frame: letter in sequence names, words of IMAGETYP, and the keywords' values."""

    name: str
    group: str
    words: tuple[str, ...]
    imagetyp: str
    catg: str
    type: str
    tech: str


def read_kinds(path: Path) -> dict[str, Kind]:
    """Return the kinds of frames by name."""
    return {
        row["kind"]: Kind(
            row["kind"],
            row["group"],
            tuple(row["words"].split("|")),
            *(row[column] for column in ("imagetyp", "catg", "type", "tech")),
        )
        for row in read_table(path)
    }
