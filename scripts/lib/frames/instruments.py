"""Telescopes and kinds of frames as ESO's archive names them: two tables of ``config/``."""

from pathlib import Path
from typing import NamedTuple

from scripts.lib.files.tables import read_table


class Telescope(NamedTuple):
    """A telescope: its name, its number in file names, and its TELESCOP and INSTRUME."""

    name: str
    number: int
    telescop: str
    instrume: str


class Kind(NamedTuple):
    """A kind of frame: letter in sequence names, words of IMAGETYP, and the keywords' values."""

    name: str
    group: str
    words: tuple[str, ...]
    imagetyp: str
    catg: str
    type: str
    tech: str


def read_telescopes(path: Path) -> dict[str, Telescope]:
    """Return the telescopes by name."""
    return {
        row["telescope"]: Telescope(
            row["telescope"], int(row["number"]), row["telescop"], row["instrume"]
        )
        for row in read_table(path)
    }


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
