"""Which differences from the products of the legacy pipeline are expected: config/compare.csv.

Each row names a keyword, or a pattern, where it stands, and one of the functions of ``KINDS`` that
says whether a difference is of the expected kind. The first row that does is its reason.
"""

import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import NamedTuple

from scripts.lib.files.tables import read_table
from scripts.lib.fits.cards import Value
from scripts.lib.frames.names import safe, stem
from scripts.lib.nights.times import parse_date

PLACES = {
    "frame": "header of a frame",
    "cube": "header of a cube",
    "plane": "row of METADATA",
    "table": "header of METADATA",
}
DAY = 86400
TIME = re.compile(r"\d{8}T\d{6}")


class Difference(NamedTuple):
    """Two values of a keyword, None where there is none.

    ``planes`` are the values that our cube's planes have, for a keyword of a cube's header; for its
    name the times of their starts.
    """

    place: str
    keyword: str
    ours: Value
    legacy: Value
    planes: tuple[Value, ...] = ()


class Expectation(NamedTuple):
    """A row of the table."""

    keyword: str
    where: str
    kind: str
    within: float
    reason: str


def _near(difference: Difference, within: float) -> bool:
    ours, legacy = difference.ours, difference.legacy
    if not isinstance(ours, int | float) or not isinstance(legacy, int | float):
        return False
    return abs(ours - legacy) <= within


def _minutes(difference: Difference, within: float) -> bool:
    """Return whether ours are seconds of a day, the legacy's the same in minutes."""
    ours, legacy = difference.ours, difference.legacy
    if not isinstance(ours, int | float) or not isinstance(legacy, int | float):
        return False
    apart = (ours - 60 * legacy) % DAY
    return min(apart, DAY - apart) <= within


def _instant(difference: Difference, within: float) -> bool:
    """Return whether both are dates, the same once cut to the millisecond."""
    try:
        ours, legacy = parse_date(str(difference.ours)), parse_date(str(difference.legacy))
    except ValueError:
        return False
    return abs((ours - legacy).total_seconds()) <= within


def _name(difference: Difference, within: float) -> bool:
    """Return whether ours is the legacy's in plain characters, with what sets a sequence apart."""
    plain = safe(stem(str(difference.legacy)))
    ours = stem(str(difference.ours))
    return ours == plain or ours.startswith(f"{plain}_")


def _start(difference: Difference, within: float) -> bool:
    """Return whether the names differ in the time only, and the legacy's is that of a plane."""
    ours, legacy = str(difference.ours), str(difference.legacy)
    first, other = TIME.search(ours), TIME.search(legacy)
    if not (first and other and other[0] in difference.planes):
        return False
    return _name(difference._replace(legacy=legacy.replace(other[0], first[0])), within)


KINDS: dict[str, Callable[[Difference, float], bool]] = {
    "any": lambda difference, within: True,
    "ours only": lambda difference, within: difference.legacy is None,
    "legacy only": lambda difference, within: difference.ours is None,
    "near": _near,
    "minutes": _minutes,
    "instant": _instant,
    "case": lambda d, within: str(d.ours).lower() == str(d.legacy).lower(),
    # The legacy pipeline wrote 0 where there is no value.
    "zero": lambda difference, within: difference.ours is None and difference.legacy == 0,
    "name": _name,
    "start": _start,
}
OF_A_PLANE = "of a plane"


class Expectations:
    """The table of expected differences.

    Parameters
    ----------
    path : Path
        ``config/compare.csv``.

    Raises
    ------
    ValueError
        If a row has an unknown place or kind.
    """

    def __init__(self, path: Path):
        self.rows = [_expectation(path, row) for row in read_table(path)]
        self._rows_for = cache(self._matching)

    def reason(self, difference: Difference) -> str | None:
        """Return why a difference is expected, None if it is not."""
        for row in self._rows_for(difference.place, difference.keyword):
            if self._holds(row, difference):
                return row.reason
        return None

    def _matching(self, place: str, keyword: str) -> list[Expectation]:
        return [
            row
            for row in self.rows
            if place in (row.where or place).split() and fnmatchcase(keyword, row.keyword)
        ]

    def _holds(self, row: Expectation, difference: Difference) -> bool:
        if row.kind != OF_A_PLANE:
            return KINDS[row.kind](difference, row.within)
        return any(self._is_of(value, difference) for value in dict.fromkeys(difference.planes))

    def _is_of(self, value: Value, difference: Difference) -> bool:
        """Return whether the legacy's value is that of a plane whose value is ``value`` here."""
        of_plane = Difference("plane", difference.keyword, value, difference.legacy)
        return value == difference.legacy or self.reason(of_plane) is not None


def _expectation(path: Path, row: Mapping[str, str]) -> Expectation:
    where, kind = row["where"] or "", row["difference"]
    if not set(where.split()) <= PLACES.keys():
        raise ValueError(f"{path}: {row['keyword']}: where is {where!r}, not of {list(PLACES)}")
    if kind not in KINDS and kind != OF_A_PLANE:
        kinds = [*KINDS, OF_A_PLANE]
        raise ValueError(f"{path}: {row['keyword']}: difference is {kind!r}, not of {kinds}")
    return Expectation(row["keyword"], where, kind, float(row["within"] or 0), row["reason"])
