"""Keywords that the FITS standard and the WCS papers reserve: the table ``config/reserved.csv``.

What a header is composed of and what the gate lets through are judged by the same rows.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from scripts.lib.files.errors import JobFailed
from scripts.lib.files.tables import read_table
from scripts.lib.fits.cards import Value, shown

TYPES: dict[str, tuple[type, ...]] = {
    "": (bool, int, float, str),
    "text": (str,),
    "number": (int, float),
    "amount": (int, float),  # 0 or more
    "whole": (int,),
    "logical": (bool,),
}
NEVER = ("never", "replaced")
USES = ("ours", "pass", *NEVER)
# How the standard writes numbers and the letter of an alternate WCS in keywords.
NOTATION = dict.fromkeys("nijkm", r"\d+") | {"a": "[A-Z]?", "*": ".*"}


class ReservedKeyword(NamedTuple):
    """One row of the table."""

    keyword: str
    type: str
    use: str
    source: str


class Reserved:
    """The table; raises `JobFailed` for a row with an unknown type or use."""

    def __init__(self, rows: Iterable[ReservedKeyword]):
        self._forms: list[tuple[re.Pattern[str], ReservedKeyword]] = []
        self._found: dict[str, ReservedKeyword | None] = {}
        for row in rows:
            if row.type not in TYPES or row.use not in USES:
                known = f"{', '.join(filter(None, TYPES))}; {', '.join(USES)}"
                raise JobFailed(
                    f"reserved keyword {row.keyword}: type and use are {row.type!r}, {row.use!r}; "
                    f"known are {known}"
                )
            form = "".join(NOTATION.get(sign, re.escape(sign)) for sign in row.keyword)
            self._forms.append((re.compile(form), row))

    def row(self, keyword: str) -> ReservedKeyword | None:
        """Return the first row that fits a keyword; None if it is not reserved."""
        if keyword not in self._found:
            fitting = (row for form, row in self._forms if form.fullmatch(keyword))
            self._found[keyword] = next(fitting, None)
        return self._found[keyword]

    def fault(self, keyword: str, value: Value) -> str:
        """Return why a keyword may not be in a product's primary header; nothing if it may."""
        row = self.row(keyword)
        if row is None:
            return ""
        if row.use in NEVER:
            return f"{keyword}: reserved for other headers ({row.source})"
        # Not isinstance: Python takes a logical for a whole number.
        negative = row.type == "amount" and isinstance(value, int | float) and value < 0
        if type(value) in TYPES[row.type] and not negative:
            return ""
        return f"{keyword}: {shown(value)} is not a {row.type} ({row.source})"


def read_reserved(path: Path) -> Reserved:
    """Return the table of a file."""
    return Reserved(ReservedKeyword(**row) for row in read_table(path))
