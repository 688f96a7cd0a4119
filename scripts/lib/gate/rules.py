"""What a row of the table of checks can require: a rule with a value, or a function."""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeGuard, TypeVar

from scripts.lib.files.errors import JobFailed
from scripts.lib.fits.cards import Value
from scripts.lib.gate.product_file import ProductFile

# Returns what is wrong, nothing if nothing is.
Judge = Callable[[ProductFile], str]
F = TypeVar("F", bound=Judge)
# Whether a keyword's value is right.
Test = Callable[[Value], bool]

DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}")
# By the id of their row.
FUNCTIONS: dict[str, Judge] = {}


def check(*ids: str) -> Callable[[F], F]:
    """Register a function as the judge of the rows with these ids."""

    def register(function: F) -> F:
        FUNCTIONS.update(dict.fromkeys(ids, function))
        return function

    return register


def judge_of(row: Mapping[str, str]) -> Judge:
    """Return the judge of a row; raise `JobFailed` if it has none."""
    keyword, name = row["keyword"], row["rule"].removeprefix("maybe ")
    if not name and row["id"] in FUNCTIONS:
        return FUNCTIONS[row["id"]]
    if name == "absent":
        return lambda p: f"there, {p.value(keyword)!r}" if keyword in p.header else ""
    if name not in RULES:
        known = f"absent, {', '.join(RULES)}"
        raise JobFailed(
            f"check {row['id']}: rule is {name!r}; known are {known}, or nothing where a function "
            "is registered for the id"
        )
    is_right = RULES[name](row["value"])
    missing = "" if row["rule"].startswith("maybe ") else "missing"

    def judge(product: ProductFile) -> str:
        if keyword not in product.header:
            return missing
        found = product.value(keyword)
        return "" if is_right(found) else repr(found)

    return judge


def is_number(value: Value) -> TypeGuard[int | float]:
    """Return whether a value is a number; Python takes a logical for one."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def equal(value: str) -> Test:
    """Make the rule ``is``: this number, or this text."""
    wanted = float(value) if re.fullmatch(r"-?\d+(\.\d+)?", value) else value
    return lambda found: found == wanted and not isinstance(found, bool)


def like(value: str) -> Test:
    """Make the rule: a text of this form, a regular expression."""
    form = re.compile(value, re.ASCII)
    return lambda found: isinstance(found, str) and form.fullmatch(found) is not None


def within(value: str) -> Test:
    """Make the rule ``range``: a number from one to another, both included."""
    low, high = map(float, value.split(".."))
    return lambda found: is_number(found) and low <= found <= high


def text(value: str) -> Test:
    """Make the rule: a text that is not empty, of so many characters at most."""
    longest = int(value)
    return lambda found: isinstance(found, str) and 0 < len(found.strip()) <= len(found) <= longest


def date(_: str) -> Test:
    """Make the rule: a date and time with three decimals that is in the calendar."""

    def is_date(found: Value) -> bool:
        if not isinstance(found, str) or not DATE.fullmatch(found):
            return False
        try:
            return bool(datetime.fromisoformat(found))
        except ValueError:
            return False

    return is_date


RULES: dict[str, Callable[[str], Test]] = {
    "is": equal,
    "like": like,
    "range": within,
    "text": text,
    "date": date,
}
