"""The header of a product: the table ``config/keywords.csv`` applied to one exposure."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from scripts.lib.files.tables import read_table
from scripts.lib.fits.cards import (
    COMMENTARY,
    HeaderError,
    Value,
    card,
    integer,
    keyword_of,
    literal,
    parse_value,
    quoted,
)
from scripts.lib.frames.frame import unreadable
from scripts.lib.headers import values
from scripts.lib.headers.values import Exposure
from scripts.lib.ledger.faults import BadFrame, Reason

ALLOWED = re.compile(r"[A-Z0-9_-]{1,8}")
SECTIONS = ("primary", "wcs", "eso", "rest")


class Entry(NamedTuple):
    """One card of a product: keyword, value and the 80 bytes."""

    keyword: str
    value: Value
    image: bytes


class Rule(NamedTuple):
    """One row of the keyword table."""

    keyword: str
    section: str
    rule: str
    format: str
    value: str
    unit: str
    comment: str


class Keywords:
    """The keyword table.

    Parameters
    ----------
    rules : list of Rule
        In the order of the table.
    """

    def __init__(self, rules: list[Rule]):
        self._exact = {r.keyword: r for r in rules if not _is_pattern(r.keyword)}
        self._patterns = [r for r in rules if _is_pattern(r.keyword)]
        self._found: dict[str, Rule | None] = {}
        self.sections = {s: [r for r in rules if r.section == s] for s in SECTIONS}

    def rule(self, keyword: str) -> Rule | None:
        """Return the rule for a keyword; None if the table does not know it."""
        if keyword not in self._found:
            fitting = (r for r in self._patterns if fnmatchcase(keyword, r.keyword))
            self._found[keyword] = self._exact.get(keyword) or next(fitting, None)
        return self._found[keyword]

    def listed(self, keyword: str) -> Rule:
        """Return the rule for a keyword; raise LookupError if the table does not know it."""
        rule = self.rule(keyword)
        if rule is None:
            raise LookupError(f"{keyword} is not in the table of keywords")
        return rule

    def unit(self, keyword: str) -> str:
        """Return the FITS unit of a keyword's value, empty if it has none."""
        rule = self.rule(keyword)
        return rule.unit if rule else ""

    def entry(self, keyword: str, value: bool | int | float | str) -> Entry:
        """Return a card of this table.

        Raises
        ------
        HeaderError
            If keyword and value do not fit on a card.
        """
        rule = self._found.get(keyword) or self.listed(keyword)
        written, text = _formatted(keyword, value, rule.format)
        return Entry(keyword, written, card(keyword, text, rule.comment))


def read_keywords(path: Path) -> Keywords:
    """Return the keyword table of a file."""
    return Keywords([Rule(**row) for row in read_table(path)])


def compose(
    exposure: Exposure, table: Keywords, special: Mapping[str, Value] | None = None
) -> list[Entry]:
    """Return the finished header of one exposure, but for structure and checksums.

    Parameters
    ----------
    special : mapping, optional
        Values that come before those of the rule ``set``: those of a whole cube.

    Raises
    ------
    BadFrame
        If a value of the raw frame cannot be written as ESO wants it.
    """
    wcs = _by_rule(exposure.wcs, table)
    listed = [
        entry
        for section in SECTIONS
        for rule in table.sections[section]
        for entry in _entries(exposure, table, rule, wcs, special or {})
    ]
    try:
        return listed + list(_unlisted(exposure, table))
    except HeaderError as error:
        raise unreadable(error) from error


def _by_rule(wcs: Mapping[str, Value], table: Keywords) -> dict[str, list[tuple[str, Value]]]:
    """Return the keywords of a WCS, and their values, by the row of the table they belong to."""
    found: dict[str, list[tuple[str, Value]]] = {}
    for keyword, value in wcs.items():
        found.setdefault(table.listed(keyword).keyword, []).append((keyword, value))
    return found


def _entries(
    exposure: Exposure,
    table: Keywords,
    rule: Rule,
    wcs: Mapping[str, list[tuple[str, Value]]],
    special: Mapping[str, Value],
) -> list[Entry]:
    try:
        values = _values(exposure, rule, wcs, special)
        return [table.entry(k, value) for k, value in values if value is not None and value != ""]
    except BadFrame:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        raise BadFrame(Reason.UNREADABLE, str(error), rule.keyword) from error


def _values(
    exposure: Exposure,
    rule: Rule,
    wcs: Mapping[str, list[tuple[str, Value]]],
    special: Mapping[str, Value],
) -> list[tuple[str, Value]]:
    """Return keyword and value of the cards that a rule gives: one, or several of a pattern."""
    if rule.rule == "wcs":
        return wcs.get(rule.keyword, [])
    if rule.keyword in special:
        return [(rule.keyword, special[rule.keyword])]
    if rule.rule == "set":
        return [(rule.keyword, function_for(rule.keyword)(exposure))]
    if rule.rule == "constant":
        return [(rule.keyword, rule.value)]
    return [(rule.keyword, exposure.raw.value(rule.keyword))]


def function_for(keyword: str) -> Callable[[Exposure], Value]:
    """Return the function of `scripts.lib.headers.values` that is named for a keyword."""
    name = keyword.removeprefix("HIERARCH ESO ").lower()
    name = name.replace("-", "_").replace(" ", "_")
    function: Callable[[Exposure], Value] = getattr(values, name)
    return function


def _unlisted(exposure: Exposure, table: Keywords) -> Iterator[Entry]:
    """Yield the raw frame's other cards as they are, each keyword once.

    Left out is what no product can hold: keywords that FITS does not allow, and cards without a
    value. A text that goes on in CONTINUE cards is cut to one.
    """
    raw = exposure.raw
    seen = set()
    for place, image in enumerate(raw.images):
        keyword = keyword_of(image)
        if keyword in COMMENTARY:
            if keyword:
                yield Entry(keyword, None, image)
        elif keyword not in seen and table.rule(keyword) is None and ALLOWED.fullmatch(keyword):
            seen.add(keyword)
            value = raw.value_at(place)
            if value is None or value == "":
                continue
            if isinstance(value, str) and value != parse_value(image):
                image = card(keyword, quoted(value))
            yield Entry(keyword, value, image)


def _formatted(
    keyword: str, value: bool | int | float | str, form: str
) -> tuple[bool | int | float | str, str]:
    """Return a value as it is written, and the text of its card."""
    if form == "d":
        whole = integer(int(value), keyword)
        return whole, str(whole)
    if form == "s":
        plain = str(value).strip()
        return plain, quoted(plain)
    if form:
        text = f"{float(value):{form}}"
        if not math.isfinite(float(text)):
            raise ValueError(f"{value!r} is not a number")
        return float(text), text
    return value, literal(value)


def _is_pattern(keyword: str) -> bool:
    return "*" in keyword or "?" in keyword
