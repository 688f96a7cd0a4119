"""Who took a frame and what it is, as ESO's archive names it: two tables of ``config/``."""

import re
from pathlib import Path
from typing import NamedTuple

from scripts.lib.files.tables import read_table

# ESO's programme ids: 60.A-9009(D) and the newer 110.23WX.001.
PROGRAMME = re.compile(r"\d{2,3}\.[A-Z]-\d{4}\([A-Z]{1,2}\)|\d{3}\.[A-Z0-9]{4}\.\d{3}")


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
            row["imagetyp"],
            row["catg"],
            row["type"],
            row["tech"],
        )
        for row in read_table(path)
    }


def check_programme(programme: str) -> str:
    """Return a programme id.

    Raises
    ------
    ValueError
        If it does not have one of ESO's forms.
    """
    if not PROGRAMME.fullmatch(programme):
        raise ValueError(
            f"programme: {programme!r} is not a programme id; "
            "right are 60.A-9009(D) or 110.23WX.001"
        )
    return programme
