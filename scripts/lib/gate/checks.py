"""Products held against the table of checks."""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from scripts.lib.files.tables import read_table
from scripts.lib.fits.cards import HeaderError
from scripts.lib.gate import coordinates, cube, fits, identity, times
from scripts.lib.gate.product_file import TRAITS, ProductFile
from scripts.lib.ledger.faults import Fault, Reason

ERROR, WARNING = "error", "warning"
KNOWN = f"{ERROR}, {WARNING}; {', '.join(sorted(TRAITS))}"
MODULES = (fits, identity, times, coordinates, cube)
DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}")
DECIMALS = re.compile(rb"= +[+-]?\d+\.(\d*)(?![EeDd\d])")


# Returns what is wrong, nothing if nothing is.
Judge = Callable[[ProductFile], str]


class Check(NamedTuple):
    """One row of the table of checks."""

    id: str
    level: str
    on: frozenset[str]
    keyword: str
    source: str
    right: str
    judge: Judge


class Finding(NamedTuple):
    """What a check found wrong, and what is right."""

    id: str
    level: str
    keyword: str
    found: str
    right: str
    source: str

    @property
    def text(self) -> str:
        """What was found and what is right, without the check's id."""
        what = f"{self.keyword} " if self.keyword else ""
        return f"{what}{self.found}; right is {self.right} ({self.source})"

    def __str__(self) -> str:
        return f"{self.id} {self.text}"


def read_checks(path: Path) -> list[Check]:
    """Return the checks of a table.

    Raises
    ------
    ValueError
        If a row has an unknown level or word in ``on``, or names no rule and no function.
    """
    return [check_of(row) for row in read_table(path)]


def check_of(row: Mapping[str, str]) -> Check:
    """Return the check of a row; raise `ValueError` for a word that nobody knows."""
    on = frozenset(row["on"].split())
    if row["level"] not in (ERROR, WARNING) or not on <= TRAITS:
        words = ", ".join([row["level"], *sorted(on)])
        raise ValueError(f"check {row['id']}: level and on are {words}; known are {KNOWN}")
    return Check(
        row["id"], row["level"], on, row["keyword"], row["source"], row["right"], rule_of(row)
    )


def judged(subject: ProductFile, checks: Iterable[Check]) -> list[Finding]:
    """Return all that is wrong with a subject, in the order of the table."""
    traits = subject.traits
    findings = []
    for check in checks:
        if check.on <= traits and (found := outcome(check, subject)):
            findings.append(
                Finding(check.id, check.level, check.keyword, found, check.right, check.source)
            )
    return findings


def outcome(check: Check, subject: ProductFile) -> str:
    """Return what a check found wrong; what cannot be judged is wrong."""
    try:
        return check.judge(subject)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        return f"cannot be judged ({error or type(error).__name__})"


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that keep a product from being delivered."""
    return [finding for finding in findings if finding.level == ERROR]


def warnings(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that are only told."""
    return [finding for finding in findings if finding.level == WARNING]


def fault_of(findings: list[Finding]) -> Fault:
    """Return why a product is refused, in one line: the first finding, and how many more."""
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return Fault(Reason.REFUSED, f"{findings[0].text}{more}", findings[0].id)


# Rules of the table


def rule_of(row: Mapping[str, str]) -> Judge:
    """Return the judge of a row: a rule with its keyword and value, or a function."""
    name, keyword, value = row["rule"], row["keyword"], row["value"]
    maybe = name.startswith("maybe ")
    rule = RULES.get(name.removeprefix("maybe "))
    if rule is None:
        functions: list[Judge | None] = [getattr(module, name, None) for module in MODULES]
        if not (found := [function for function in functions if function]):
            raise ValueError(f"check {row['id']}: {name} is no rule and no function")
        return found[0]
    prepared = rule(keyword, value)

    def judge(subject: ProductFile) -> str:
        if keyword not in subject.header:
            return "" if maybe or name == "absent" else "missing"
        return prepared(subject)

    return judge


def absent(keyword: str, _: str) -> Judge:
    """Make the rule: the keyword is not there."""
    return lambda subject: f"there, {subject.value(keyword)!r}"


def equal(keyword: str, value: str) -> Judge:
    """Make the rule: the value is this one, a number or a text."""
    wanted = float(value) if re.fullmatch(r"-?\d+(\.\d+)?", value) else value

    def judge(subject: ProductFile) -> str:
        found = subject.value(keyword)
        same = found == wanted and not isinstance(found, bool)
        return "" if same else repr(found)

    return judge


def among(keyword: str, value: str) -> Judge:
    """Make the rule: the value is one of those between bars."""
    wanted = value.split("|")
    return lambda subject: "" if subject.value(keyword) in wanted else repr(subject.value(keyword))


def like(keyword: str, value: str) -> Judge:
    """Make the rule: the text has this form, a regular expression."""
    form = re.compile(value, re.ASCII)

    def judge(subject: ProductFile) -> str:
        found = subject.value(keyword)
        return "" if isinstance(found, str) and form.fullmatch(found) else repr(found)

    return judge


def within(keyword: str, value: str) -> Judge:
    """Make the rule: the number lies in a range, its ends included."""
    low, high = map(float, value.split(".."))

    def judge(subject: ProductFile) -> str:
        found = subject.value(keyword)
        if not isinstance(found, int | float) or isinstance(found, bool):
            return repr(found)
        return "" if low <= found <= high else repr(found)

    return judge


def text(keyword: str, value: str) -> Judge:
    """Make the rule: a text that is not empty, of so many characters at most."""
    longest = int(value)

    def judge(subject: ProductFile) -> str:
        found = subject.value(keyword)
        if not isinstance(found, str) or not found.strip():
            return repr(found)
        return "" if len(found) <= longest else f"{len(found)} characters"

    return judge


def date(keyword: str, _: str) -> Judge:
    """Make the rule: a date and time with three decimals that is in the calendar."""

    def judge(subject: ProductFile) -> str:
        found = subject.value(keyword)
        if not isinstance(found, str) or not DATE.fullmatch(found):
            return repr(found)
        try:
            datetime.fromisoformat(found)
        except ValueError as error:
            return f"{found}, {error}"
        return ""

    return judge


def decimals(keyword: str, value: str) -> Judge:
    """Make the rule: a number that is written with so many decimals at least."""
    fewest = int(value)

    def judge(subject: ProductFile) -> str:
        image = subject.header.images[subject.header.keywords.index(keyword)]
        match = DECIMALS.search(image)
        if match is None:
            raise HeaderError(f"{subject.value(keyword)!r} has no decimals")
        return "" if len(match[1]) >= fewest else f"{len(match[1])} decimals"

    return judge


RULES: dict[str, Callable[[str, str], Judge]] = {
    "absent": absent,
    "is": equal,
    "among": among,
    "like": like,
    "range": within,
    "text": text,
    "date": date,
    "decimals": decimals,
}
