"""Telescopes and sites: config/telescopes.csv and config/sites.csv, the one list of telescopes."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

from scripts.lib.files.tables import damaged_table, read_table

TABLE = Path(__file__).absolute().parents[3] / "config/telescopes.csv"
DEGREES_OF = {"degrees": 1.0, "hours": 15.0}
# What only ESO can say, and has not said yet.
UNKNOWN = "?"


class Site(NamedTuple):
    """Where a telescope is: degrees, east and north positive; metres above sea level; ORIGIN."""

    name: str
    longitude: float
    latitude: float
    altitude: float
    origin: str


class Telescope(NamedTuple):
    """A telescope as ESO's archive knows it.

    ``frames`` and ``cubes`` are how file names begin; ``ra_unit`` the degrees in a unit of RA,
    where a raw header has it as a number.
    """

    name: str
    site: Site
    telescop: str
    instrume: str
    frames: str
    cubes: str
    ra_unit: float

    @property
    def unknown(self) -> list[str]:
        """What has to be agreed with ESO before products are made: columns of the table."""
        return [column for column, value in self._asdict().items() if value == UNKNOWN]


def read_sites(path: Path) -> dict[str, Site]:
    """Return the sites by name; raise `Damaged` for a row that is not one."""
    sites = {}
    for row in read_table(path):
        try:
            place = [float(row[column]) for column in ("longitude", "latitude", "altitude")]
        except ValueError:
            raise damaged_table(path, f"{row['site']}: a coordinate is not a number") from None
        sites[row["site"]] = Site(row["site"], place[0], place[1], place[2], row["origin"])
    return sites


def read_telescopes(path: Path) -> dict[str, Telescope]:
    """Return the telescopes by name, with their sites, which are in sites.csv beside the table.

    Raises `Damaged` if a row names a site or a unit of RA that does not exist, or two telescopes
    have the same INSTRUME or the same beginning of names: ESO could not tell them apart.
    """
    sites = read_sites(path.with_name("sites.csv"))
    telescopes: dict[str, Telescope] = {}
    for row in read_table(path):
        name = row["telescope"]
        for column, known in (("site", sites), ("ra", DEGREES_OF)):
            if row[column] not in known:
                right = ", ".join(known)
                raise damaged_table(path, f"{name}: {column} is {row[column]!r}; known are {right}")
        names = [row[column] for column in ("telescop", "instrume", "frames", "cubes")]
        new = Telescope(
            name,
            sites[row["site"]],
            row["telescop"],
            row["instrume"],
            row["frames"],
            row["cubes"],
            DEGREES_OF[row["ra"]],
        )
        for other in telescopes.values():
            if name == other.name or (set(names) & set(other[2:6])) - {UNKNOWN}:
                raise damaged_table(path, f"{name} has a name of {other.name}")
        telescopes[name] = new
    return telescopes


@cache
def telescopes() -> dict[str, Telescope]:
    """Return the telescopes of this checkout by name."""
    return read_telescopes(TABLE)


def telescope_of(name: str) -> Telescope | None:
    """Return a telescope by its name in any case; None if there is none."""
    return next((t for t in telescopes().values() if t.name.lower() == name.lower()), None)
