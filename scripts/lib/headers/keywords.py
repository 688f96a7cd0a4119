"""The header of a product: the table ``config/keywords.csv`` applied to one exposure."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from scripts.lib.files.errors import JobFailed
from scripts.lib.files.log import logger
from scripts.lib.files.tables import read_table
from scripts.lib.fits import cards
from scripts.lib.fits.cards import Header, HeaderError, Value
from scripts.lib.fits.reserved import Reserved, read_reserved
from scripts.lib.frames.frame import unreadable
from scripts.lib.headers.values import VALUES, Exposure, plain_number
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

    Raises `JobFailed` if a row has an unknown rule, or no function computes its value.
    """

    def __init__(self, rules: Iterable[Rule], reserved: Reserved):
        rules = list(rules)
        self.reserved = reserved
        self._exact = {rule.keyword: rule for rule in rules}
        self._patterns = [rule for rule in rules if "?" in rule.keyword or "*" in rule.keyword]
        self._found: dict[str, Rule | None] = {}
        self.written = [rule for rule in rules if rule.rule != "drop"]
        for rule in rules:
            if rule.rule not in RULES or (rule.rule == "set" and rule.keyword not in VALUES):
                raise JobFailed(
                    f"keyword {rule.keyword}: rule {rule.rule!r} is not one of "
                    f"{', '.join(sorted(RULES))}, or no function is registered for it"
                )

    def rule(self, keyword: str) -> Rule | None:
        """Return the rule for a keyword; None if the table does not know it."""
        if keyword not in self._found:
            fitting = (r for r in self._patterns if fnmatchcase(keyword, r.keyword))
            self._found[keyword] = self._exact.get(keyword) or next(fitting, None)
        return self._found[keyword]

    def is_free(self, keyword: str) -> bool:
        """Return whether a raw card passes that the table does not list."""
        reserved = self.reserved.row(keyword)
        free = self.rule(keyword) is None and (reserved is None or reserved.use == "pass")
        return free and ALLOWED.fullmatch(keyword) is not None

    def is_wcs(self, keyword: str) -> bool:
        """Return whether a keyword is one of world coordinates."""
        rule = self.rule(keyword)
        return rule is not None and rule.rule == "wcs"

    def unit(self, keyword: str) -> str:
        """Return the FITS unit of a keyword's value, empty if it has none."""
        rule = self.rule(keyword)
        return rule.unit if rule else ""


def read_keywords(path: Path, reserved: Path) -> Keywords:
    """Return the keyword table of a file, and with it that of the keywords that FITS reserves."""
    return Keywords([Rule(**row) for row in read_table(path)], read_reserved(reserved))


def compose(
    exposure: Exposure, table: Keywords, special: Mapping[str, Value] | None = None
) -> list[Card]:
    """Return the finished header of one exposure, but for structure and checksums.

    The values of a whole cube, in ``special``, come before those of the rule ``set``. Raises
    `BadFrame` if a value of the raw frame cannot be written as ESO wants it.
    """
    special = special or {}
    wcs: dict[str, list[tuple[str, Value]]] = {}  # by the row of the table
    for keyword, value in exposure.wcs.items():
        if (row := table.rule(keyword)) is None:
            raise LookupError(f"{keyword} is not in the table of keywords")
        wcs.setdefault(row.keyword, []).append((keyword, value))
    found = []
    for rule in table.written:
        try:
            if rule.rule == "wcs":
                values = wcs.get(rule.keyword, [])
            elif rule.rule == "cube" or rule.keyword in special:
                values = [(rule.keyword, special.get(rule.keyword))]
            elif rule.rule == "set":
                values = [(rule.keyword, VALUES[rule.keyword](exposure))]
            elif rule.rule == "constant":
                values = [(rule.keyword, rule.value)]
            else:
                values = [(rule.keyword, exposure.raw.value(rule.keyword))]
            found += [card_of(rule, k, v) for k, v in values if v is not None and v != ""]
        except BadFrame:
            raise
        except (TypeError, ValueError, OverflowError) as error:
            raise BadFrame(Reason.UNREADABLE, str(error), rule.keyword) from error
    try:
        return found + list(_unlisted(exposure.raw, table))
    except HeaderError as error:
        raise unreadable(error) from error


def card_of(rule: Rule, keyword: str, value: bool | int | float | str) -> Card:
    """Return a card as its rule has it; raise `HeaderError` if it is longer than 80 bytes."""
    if rule.format == "d":
        whole = value if isinstance(value, int) else plain_number(value)
        value = cards.integer(int(whole), keyword)
    elif rule.format == "s":
        value = str(value).strip()
    elif rule.format:
        text = f"{plain_number(value):{rule.format}}"
        if not math.isfinite(float(text)):
            raise ValueError(f"{value!r} is not a number")
        return Card(keyword, float(text), cards.card(keyword, text, rule.comment))
    return Card(keyword, value, cards.card(keyword, cards.literal(value), rule.comment))


def _unlisted(raw: Header, table: Keywords) -> Iterator[Card]:
    """Yield the raw frame's other cards as they are, each keyword once.

    Left out is what no product can hold: keywords that FITS does not allow or reserves for
    something else, and cards without a value. A text that goes on in CONTINUE cards is cut to one.
    """
    seen = set()
    for place, (keyword, image) in enumerate(raw):
        if keyword in ("COMMENT", "HISTORY"):
            yield Card(keyword, None, image)
        elif keyword not in seen and table.is_free(keyword):
            seen.add(keyword)
            value = raw.value_at(place)
            if value is None or value == "":
                continue
            if fault := table.reserved.fault(keyword, value):
                logger.warning("frame of %s: left out: %s", raw.value("DATE-OBS"), fault)
                continue
            if isinstance(value, str) and value != cards.parse_value(image):
                image = cards.card(keyword, cards.quoted(value))
            yield Card(keyword, value, image)
