"""Products judged by the table of checks."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from scripts.lib.files.errors import JobFailed
from scripts.lib.files.log import logger
from scripts.lib.files.tables import read_table

# Imported for the checks that they register.
from scripts.lib.gate import (  # noqa: F401
    cube_checks,
    file_checks,
    identity_checks,
    time_checks,
    wcs_checks,
)
from scripts.lib.gate.product_file import TRAITS, ProductFile
from scripts.lib.gate.rules import Judge, judge_of
from scripts.lib.ledger.faults import Fault, Reason

ERROR, WARNING = "error", "warning"


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
    """Return the checks of a table; raise `JobFailed` for a row with an unknown word."""
    checks = []
    for row in read_table(path):
        on = frozenset(row["on"].split())
        if row["level"] not in (ERROR, WARNING) or not on <= TRAITS:
            words = ", ".join([row["level"], *sorted(on)])
            known = f"{ERROR}, {WARNING}; {', '.join(sorted(TRAITS))}"
            raise JobFailed(f"check {row['id']}: level and on are {words}; known are {known}")
        judge = judge_of(row)
        checks.append(
            Check(row["id"], row["level"], on, row["keyword"], row["source"], row["right"], judge)
        )
    return checks


def judged(product: ProductFile, checks: Iterable[Check]) -> list[Finding]:
    """Return all that is wrong with a product; what cannot be judged is wrong."""
    findings = []
    for check in checks:
        if not check.on <= product.traits:
            continue
        try:
            found = check.judge(product)
        except ValueError as error:
            found = f"cannot be judged ({error})"
        except (ArithmeticError, AttributeError, LookupError, TypeError):
            logger.info("check %s of %s", check.id, product.name, exc_info=True)
            found = "cannot be judged"
        if found:
            findings.append(
                Finding(check.id, check.level, check.keyword, found, check.right, check.source)
            )
    return findings


def errors(findings: Iterable[Finding]) -> list[Finding]:
    """Return the findings that keep a product from being delivered; the others are warnings."""
    return [finding for finding in findings if finding.level == ERROR]


def fault_of(findings: list[Finding]) -> Fault:
    """Return why a product is refused, in one line: the first finding, and how many more."""
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return Fault(Reason.REFUSED, f"{findings[0].text}{more}", findings[0].id)
