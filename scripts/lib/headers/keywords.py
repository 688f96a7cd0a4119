"""The header of a product: the table ``config/keywords.csv`` applied to one exposure."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from scripts.lib.files.errors import JobFailed
from scripts.lib.files.tables import read_table
from scripts.lib.fits import cards
from scripts.lib.fits.cards import HeaderError, Value
from scripts.lib.frames.frame import unreadable
from scripts.lib.headers.values import VALUES, Exposure
from scripts.lib.ledger.faults import BadFrame, Reason

ALLOWED = re.compile(r"[A-Z0-9_-]{1,8}")
RULES = frozenset(("copy", "set", "constant", "cube", "wcs", "drop"))


class Card(NamedTuple):
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
    """The keyword table; ``written`` are its rows without those that are never written, in order.

    Raises
    ------
    JobFailed
        If a row has an unknown rule, or no function computes its value.
    """

    def __init__(self, rules: Iterable[Rule]):
        self._exact: dict[str, Rule] = {}
        self._patterns: list[Rule] = []
        self._found: dict[str, Rule | None] = {}
        self.written: list[Rule] = []
        for rule in rules:
            if rule.rule not in RULES or (rule.rule == "set" and rule.keyword not in VALUES):
                raise JobFailed(
                    f"keyword {rule.keyword}: rule {rule.rule!r} is not one of "
                    f"{', '.join(sorted(RULES))}, or no function is registered for it"
                )
            if "*" in rule.keyword or "?" in rule.keyword:
                self._patterns.append(rule)
            else:
                self._exact[rule.keyword] = rule
            if rule.rule != "drop":
                self.written.append(rule)

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

    def is_wcs(self, keyword: str) -> bool:
        """Tell whether a keyword is one of world coordinates."""
        rule = self.rule(keyword)
        return rule is not None and rule.rule == "wcs"

    def unit(self, keyword: str) -> str:
        """Return the FITS unit of a keyword's value, empty if it has none."""
        rule = self.rule(keyword)
        return rule.unit if rule else ""

    def card(self, keyword: str, value: bool | int | float | str) -> Card:
        """Return a card of this table; raise `HeaderError` if it is longer than 80 bytes."""
        rule = self._found.get(keyword) or self.listed(keyword)
        written, text = _formatted(keyword, value, rule.format)
        return Card(keyword, written, cards.card(keyword, text, rule.comment))


def read_keywords(path: Path) -> Keywords:
    """Return the keyword table of a file."""
    return Keywords(Rule(**row) for row in read_table(path))


def compose(
    exposure: Exposure, table: Keywords, special: Mapping[str, Value] | None = None
) -> list[Card]:
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
    wcs: dict[str, list[tuple[str, Value]]] = {}  # by the row of the table
    for keyword, value in exposure.wcs.items():
        wcs.setdefault(table.listed(keyword).keyword, []).append((keyword, value))
    found = []
    for rule in table.written:
        try:
            if rule.rule == "wcs":
                values = wcs.get(rule.keyword, [])
            else:
                values = [(rule.keyword, _value(exposure, rule, special or {}))]
            found += [table.card(k, v) for k, v in values if v is not None and v != ""]
        except BadFrame:
            raise
        except (TypeError, ValueError, OverflowError) as error:
            raise BadFrame(Reason.UNREADABLE, str(error), rule.keyword) from error
    try:
        return found + list(_unlisted(exposure, table))
    except HeaderError as error:
        raise unreadable(error) from error


def _value(exposure: Exposure, rule: Rule, special: Mapping[str, Value]) -> Value:
    if rule.rule == "cube" or rule.keyword in special:
        return special.get(rule.keyword)
    if rule.rule == "set":
        return VALUES[rule.keyword](exposure)
    return rule.value if rule.rule == "constant" else exposure.raw.value(rule.keyword)


def _unlisted(exposure: Exposure, table: Keywords) -> Iterator[Card]:
    """Yield the raw frame's other cards as they are, each keyword once.

    Left out is what no product can hold: keywords that FITS does not allow, and cards without a
    value. A text that goes on in CONTINUE cards is cut to one.
    """
    raw = exposure.raw
    seen = set()
    for place, (keyword, image) in enumerate(raw):
        if keyword in cards.COMMENTARY:
            if keyword:
                yield Card(keyword, None, image)
        elif keyword not in seen and table.rule(keyword) is None and ALLOWED.fullmatch(keyword):
            seen.add(keyword)
            value = raw.value_at(place)
            if value is None or value == "":
                continue
            if isinstance(value, str) and value != cards.parse_value(image):
                image = cards.card(keyword, cards.quoted(value))
            yield Card(keyword, value, image)


def _formatted(
    keyword: str, value: bool | int | float | str, form: str
) -> tuple[bool | int | float | str, str]:
    """Return a value as it is written, and the text of its card."""
    if form == "d":
        whole = cards.integer(int(value), keyword)
        return whole, str(whole)
    if form == "s":
        plain = str(value).strip()
        return plain, cards.quoted(plain)
    if form:
        text = f"{float(value):{form}}"
        if not math.isfinite(float(text)):
            raise ValueError(f"{value!r} is not a number")
        return float(text), text
    return value, cards.literal(value)
