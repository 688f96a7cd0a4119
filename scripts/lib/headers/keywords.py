"""The header of a product: the table ``config/keywords.csv`` applied to one exposure."""

import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from scripts.lib.files.errors import JobFailed
from scripts.lib.files.tables import read_table
from scripts.lib.fits import cards
from scripts.lib.fits.cards import Header, HeaderError, Value, plain_number
from scripts.lib.fits.reserved import Reserved, read_reserved
from scripts.lib.headers.values import VALUES, Exposure
from scripts.lib.ledger.faults import BadFrame, Reason

ALLOWED = re.compile(r"[A-Z0-9_-]{1,8}")
RULES = frozenset(("copy", "optional", "set", "constant", "cube", "wcs", "drop"))


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
        self._passages: dict[str, tuple[bool, str]] = {}
        self.written = [rule for rule in rules if rule.rule != "drop"]
        copied = (r for r in rules if r.rule == "optional" and r.keyword not in VALUES)
        self.words = {rule.keyword: words_of(rule) for rule in copied}
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

    def passage(self, keyword: str) -> tuple[bool, str]:
        """Return whether a raw card passes that the table does not list; if not, why, in words.

        No words if nothing of it is missed: it is listed, or a product has its own.
        """
        if keyword not in self._passages:
            reserved, words = self.reserved.row(keyword), ""
            if reserved and reserved.use == "never":
                words = self.reserved.fault(keyword, "")
            elif not ALLOWED.fullmatch(keyword) and keyword not in cards.COMMENTARY:
                words = f"{keyword}: not a keyword of FITS"
            free = reserved is None or reserved.use == "pass"
            free &= self.rule(keyword) is None and ALLOWED.fullmatch(keyword) is not None
            known = self.rule(keyword) is not None or keyword == "CONTINUE"
            self._passages[keyword] = free, "" if known else words
        return self._passages[keyword]

    def is_wcs(self, keyword: str) -> bool:
        """Return whether a keyword is one of world coordinates."""
        rule = self.rule(keyword)
        return rule is not None and rule.rule == "wcs"

    def unit(self, keyword: str) -> str:
        """Return the FITS unit of a keyword's value, empty if it has none."""
        rule = self.rule(keyword)
        return rule.unit if rule else ""


def words_of(rule: Rule) -> dict[str, int]:
    """Return the numbers that words stand for in raw frames: of ``0 east, 1 west`` two."""
    pairs = (pair.split() for pair in rule.value.split(",") if pair)
    return {word: int(number) for number, *words in pairs for word in words}


def read_keywords(path: Path, reserved: Path) -> Keywords:
    """Return the keyword table of a file, and with it that of the keywords that FITS reserves."""
    return Keywords([Rule(**row) for row in read_table(path)], read_reserved(reserved))


def compose(
    exposure: Exposure,
    table: Keywords,
    special: Mapping[str, Value] | None = None,
    left_out: list[str] | None = None,
) -> list[Card]:
    """Return the finished header of one exposure, but for structure and checksums.

    Parameters
    ----------
    special : mapping, optional
        The values of a whole cube; they come before those of the rule ``set``.
    left_out : list of str, optional
        Gets what the raw frame says that cannot be written: ``KEYWORD: why``.

    Raises
    ------
    BadFrame
        If a value that a product needs cannot be written as ESO wants it.
    """
    special = special or {}
    left_out = [] if left_out is None else left_out
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
            elif rule.rule == "constant":
                values = [(rule.keyword, rule.value)]
            elif rule.keyword in VALUES:
                values = [(rule.keyword, VALUES[rule.keyword](exposure))]
            else:
                values = [(rule.keyword, exposure.raw.value(rule.keyword))]
            if words := table.words.get(rule.keyword):
                values = [(k, words.get(str(v).strip().lower(), v)) for k, v in values]
            found += [card_of(rule, k, v) for k, v in values if v is not None and v != ""]
        except BadFrame:
            raise
        except (TypeError, ValueError, OverflowError) as error:
            detail = str(error).removeprefix(f"{rule.keyword}: ")
            if rule.rule != "optional":
                raise BadFrame(Reason.UNREADABLE, detail, rule.keyword) from error
            left_out.append(f"{rule.keyword}: {detail}")
    return found + list(_unlisted(exposure.raw, table, left_out))


def card_of(rule: Rule, keyword: str, value: bool | int | float | str) -> Card:
    """Return a card as its rule has it; raise `HeaderError` if it is longer than 80 bytes.

    Raises ValueError if the value is not what the format demands.
    """
    if rule.format == "d":
        # Astra interpolates states between two readings: 0.987 is 1.
        whole = value if isinstance(value, int) else round(plain_number(value))
        value = cards.integer(int(whole), keyword)
    elif rule.format == "s":
        if not isinstance(value, str):
            raise ValueError(f"{cards.shown(value)} is not a text")
        value = value.strip()
    elif rule.format == "n":
        value = value if type(value) is int else plain_number(value)
    elif rule.format:
        text = f"{plain_number(value):{rule.format}}"
        return Card(keyword, float(text), cards.card(keyword, text, rule.comment))
    return Card(keyword, value, cards.card(keyword, cards.literal(value), rule.comment))


def _unlisted(raw: Header, table: Keywords, left_out: list[str]) -> Iterator[Card]:
    """Yield the raw frame's other cards as they are, each keyword once.

    Left out is what no product can hold: keywords that FITS does not allow or reserves for
    something else, and cards without a value that FITS knows. A text that goes on in CONTINUE
    cards is cut to one.
    """
    seen = set()
    for place, (keyword, image) in enumerate(raw):
        if keyword in ("COMMENT", "HISTORY"):
            yield Card(keyword, None, image)
        elif keyword not in seen:
            seen.add(keyword)
            passes, why = table.passage(keyword)
            if not passes:
                left_out += [why] if why else []
                continue
            try:
                value, image = raw.value_at(place), cards.mended(image)
            except HeaderError as error:
                left_out.append(str(error))
                continue
            if value is None or value == "":
                continue
            if fault := table.reserved.fault(keyword, value):
                left_out.append(fault)
                continue
            if isinstance(value, str) and value != cards.parse_value(image):
                image = cards.card(keyword, cards.quoted(value))
            yield Card(keyword, value, image)
