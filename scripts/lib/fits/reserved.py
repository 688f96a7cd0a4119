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
    "date": (str,),
    "number": (int, float),
    "whole": (int,),
    "logical": (bool,),
}
NEVER = ("never", "replaced")
USES = ("ours", "pass", *NEVER)
# What the rows of a column `hdu` may stand in: HDUs of products are primary images and tables.
FITTING = {
    "any": ("primary", "table"),
    "primary": ("primary",),
    "image": ("primary",),
    "extension": ("table",),
    "table": ("table",),
    "groups": (),
    "compressed": (),
}
DATE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d+)?)?")
# How the standard writes numbers and the letter of an alternate WCS in keywords.
NOTATION = dict.fromkeys("nijkm", r"\d+") | {"a": "[A-Z]?", "*": ".*"}


class ReservedKeyword(NamedTuple):
    """One row of the table."""

    keyword: str
    type: str
    values: str
    hdu: str
    use: str
    source: str

    def allows(self, value: Value) -> bool:
        """Return whether a value is of the row's type and among its values."""
        # Not isinstance: Python takes a logical for a whole number.
        if type(value) not in TYPES[self.type]:
            return False
        if self.type == "date" and not DATE.fullmatch(str(value)):
            return False
        low, dots, high = self.values.partition("..")
        if dots:
            return float(low or "-inf") <= float(value or 0) <= float(high or "inf")
        return not self.values or str(value) in self.values.split()


class Reserved:
    """The table; raises `JobFailed` for a row with an unknown type, HDU or use."""

    def __init__(self, rows: Iterable[ReservedKeyword]):
        self._forms: list[tuple[re.Pattern[str], ReservedKeyword]] = []
        self._found: dict[str, ReservedKeyword | None] = {}
        for row in rows:
            if row.type not in TYPES or row.hdu not in FITTING or row.use not in USES:
                words = (TYPES, FITTING, USES)
                known = "; ".join(", ".join(filter(None, one)) for one in words)
                raise JobFailed(
                    f"reserved keyword {row.keyword}: type, hdu and use are {row.type!r}, "
                    f"{row.hdu!r}, {row.use!r}; known are {known}"
                )
            form = "".join(NOTATION.get(sign, re.escape(sign)) for sign in row.keyword)
            self._forms.append((re.compile(form), row))

    def row(self, keyword: str) -> ReservedKeyword | None:
        """Return the first row that fits a keyword; None if it is not reserved."""
        if keyword not in self._found:
            fitting = (row for form, row in self._forms if form.fullmatch(keyword))
            self._found[keyword] = next(fitting, None)
        return self._found[keyword]

    def fault(self, keyword: str, value: Value, hdu: str = "primary") -> str:
        """Return why a keyword may not be in a product's HDU; nothing if it may.

        Parameters
        ----------
        keyword, value
            of a card.
        hdu
            ``primary`` or ``table``.
        """
        row = self.row(keyword)
        if row is None:
            return ""
        if hdu not in FITTING[row.hdu]:
            return f"{keyword}: reserved for other headers ({row.hdu}, {row.source})"
        if hdu == "primary" and row.use in NEVER:
            return f"{keyword}: not in products ({row.source})"
        if row.allows(value):
            return ""
        right = row.values.replace(" ", ", ") or f"a {row.type}"
        return f"{keyword}: {shown(value)} is not {right} ({row.source})"


def read_reserved(path: Path) -> Reserved:
    """Return the table of a file."""
    return Reserved(ReservedKeyword(**row) for row in read_table(path))
