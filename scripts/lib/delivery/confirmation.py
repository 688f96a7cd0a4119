"""Whether ESO's archive shows what was delivered to it: the table ``confirmed.csv`` of a night.

A product is in ESO's table of raw data under a dp_id that its instrument and DATE-OBS make, and
with the name of the file as it was delivered. ESO needs some hours to take files in. So a product
that is not seen is waiting at first, and missing once ``confirm_after`` hours have passed. Asked
without a password, ESO shows nothing but public calibrations: what is not seen of the sky is then
unknown, not missing.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from scripts.lib.files.durable import write_text
from scripts.lib.files.tables import read_table, write_table
from scripts.lib.frames import names
from scripts.lib.frames.instruments import Kind
from scripts.lib.ledger.ledger import Ledger
from scripts.lib.ledger.records import DONE, Frame
from scripts.lib.ledger.snapshot import good
from scripts.lib.nights.dates import night_bounds
from scripts.lib.nights.times import iso, mjd, parse_date
from scripts.lib.settings.records import Configuration
from scripts.lib.settings.telescopes import Telescope

CONFIRMED, WAITING, MISSING = "confirmed", "waiting", "missing"
DIFFERENT, UNKNOWN = "different", "unknown"
STATUSES = (CONFIRMED, WAITING, MISSING, DIFFERENT, UNKNOWN)
# What somebody must look at.
BAD = (MISSING, DIFFERENT)

TABLE = "confirmed.csv"
ASKED = "confirm.asked"  # in a night's folder: by which run it was asked, and why that failed
REPORTED = "confirmed.told"  # in a night's folder: what a mail has reported
FAILED = "confirm.failed"  # in the working directory: runs in a row that failed to ask
# ESO is not asked earlier: nothing is there yet.
FIRST_ASKED = timedelta(hours=3)
# What could not be reported for so long after it was given up is given up too.
GRACE = timedelta(days=30)


class Delivered(NamedTuple):
    """A delivered product, as ESO's archive should show it."""

    name: str
    programme: str
    kind: str
    start: datetime
    delivered: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """What ESO's archive says of a product: a row of the table."""

    product: str
    dp_id: str
    programme: str
    dp_type: str
    delivered: str
    status: str = WAITING
    differs: str = ""
    found_dp_id: str = ""
    found_origfile: str = ""
    found_prog_id: str = ""
    found_dp_cat: str = ""
    found_dp_type: str = ""
    asked: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """The delivery that it is about."""
        return self.product, self.delivered


COLUMNS = [field.name for field in fields(Answer)]


class Instrument(NamedTuple):
    """A telescope's instrument as ESO's archive names it, and its kinds of frames."""

    telescope: Telescope
    kinds: dict[str, Kind]

    def unasked(self, product: Delivered) -> Answer:
        """Return the answer for a product that was not queried yet."""
        dp_id, dp_type = names.dp_id(self.telescope, product.start), self.kinds[product.kind].type
        return Answer(product.name, dp_id, product.programme, dp_type, iso(product.delivered))


def products_of(ledger: Ledger, night: str) -> list[Delivered]:
    """Return the delivered products of a night; the first of its frames dates a product."""
    firsts: dict[str, Frame] = {}
    for frame in good(ledger.frames(night)):
        if frame.status in DONE:
            firsts.setdefault(frame.product, frame)
    return [
        Delivered(product.name, product.programme, first.kind, first.begin, product.delivered)
        for product in ledger.products(night)
        if product.delivered and (first := firsts.get(product.name))
    ]


def query_of(night: str, telescope: Telescope, longitude: float) -> str:
    """Return the question for all that ESO has of a telescope's night.

    The instrument is known by the beginning of its dp_ids. The night's bounds make it one question
    whatever the number of products.
    """
    begin, end = map(mjd, night_bounds(night, longitude))
    return (
        "SELECT dp_id, origfile, prog_id, dp_cat, dp_type, mjd_obs, instrument FROM dbo.raw "
        f"WHERE dp_id LIKE '{telescope.cubes}.%' AND mjd_obs >= {begin:.6f} AND mjd_obs < {end:.6f}"
    )


# Judging


def judge_all(
    products: list[Delivered],
    found: Sequence[Mapping[str, str]],
    instrument: Instrument,
    now: datetime,
    limit: timedelta,
    anonymous: bool,
) -> list[Answer]:
    """Return what ESO's archive says of each product; ``found`` are its rows of the night.

    A product that is not seen is missing after ``limit``. Rows that were asked for without a
    password are ``anonymous``.
    """
    by_id = {row["dp_id"]: row for row in found}
    by_file = {row["origfile"]: row for row in found if row["origfile"]}
    answers = []
    for product in products:
        kind, late = instrument.kinds[product.kind], now - product.delivered >= limit
        answer = replace(instrument.unasked(product), asked=iso(now))
        # One of its name alone may be an earlier delivery; it is the product's if no other comes.
        row = by_id.get(answer.dp_id) or (by_file.get(product.name) if late else None)
        if row:
            answer = judged(answer, row, kind)
        elif anonymous and kind.catg == "SCIENCE":
            answer = replace(answer, status=UNKNOWN)
        elif late:
            answer = replace(answer, status=MISSING)
        answers.append(answer)
    return answers


def judged(answer: Answer, row: Mapping[str, str], kind: Kind) -> Answer:
    """Return what ESO's row says of a product: in what it differs.

    The category of science data comes back as SCIENCE or as CALIB, which means nothing.
    """
    right = {
        "dp_id": answer.dp_id,
        "origfile": answer.product,
        "prog_id": answer.programme,
        "dp_type": kind.type,
        "dp_cat": row["dp_cat"] if kind.catg == "SCIENCE" else kind.catg,
    }
    differs = [
        f"{key} is {row[key] or 'empty'}, not {value}"
        for key, value in right.items()
        if row[key] != value
    ]
    status = DIFFERENT if differs else CONFIRMED
    found = {f"found_{key}": row[key] for key in right}
    return replace(answer, status=status, differs="; ".join(differs), **found)


def unasked(
    products: list[Delivered], earlier: list[Answer], instrument: Instrument
) -> list[Answer]:
    """Return the answers when the query failed: earlier ones, unless delivered again since."""
    known = {answer.key: answer for answer in earlier}
    return [known.get(one.key, one) for one in map(instrument.unasked, products)]


# Which nights


def nights_to_confirm(
    ledger: Ledger, settings: Configuration, nights: list[str], now: datetime
) -> list[str]:
    """Return the nights to be queried at ESO; only of ``nights``, if there are any."""
    if not settings.confirm or settings.redeliver:
        return []
    since = now - timedelta(days=settings.confirm_until) - GRACE
    wanted = [night for night in ledger.delivered_since(since) if not nights or night in nights]
    return [night for night in wanted if must_be_asked(ledger, night, settings, now)]


def must_be_asked(ledger: Ledger, night: str, settings: Configuration, now: datetime) -> bool:
    """Return whether a night is to be queried at ESO; its job reports a damaged table."""
    folder, limit = settings.workdir / night, timedelta(days=settings.confirm_until)
    mails = settings.mail.to and settings.mail.when != "never"
    try:
        answers = {answer.key: answer for answer in read_confirmed(folder / TABLE)}
        reported = read_reported(folder) if mails else marks_of(answers.values())
        for product in products_of(ledger, night):
            answer = answers.get((product.name, iso(product.delivered)))
            if is_open(now - product.delivered, answer, reported, limit):
                return True
    except (OSError, KeyError, ValueError):
        return True
    return False


def is_open(age: timedelta, answer: Answer | None, reported: set[str], limit: timedelta) -> bool:
    """Return whether a product that was delivered so long ago is to be queried at ESO.

    Once it is older than ``limit``, only until it was judged and reported. What was never asked
    for by then is from before somebody wanted to know.
    """
    if age < FIRST_ASKED or (answer and answer.status == CONFIRMED):
        return False
    if age <= limit:
        return True
    if answer is None:
        return False
    return answer.status == WAITING or not marks_of([answer]) <= reported


# What became of it


def read_confirmed(path: Path) -> list[Answer]:
    """Return the answers in a night's table; none if it was never queried."""
    return [Answer(**row) for row in read_table(path)] if path.exists() else []


def write_confirmed(path: Path, answers: Iterable[Answer]) -> None:
    """Write a night's table."""
    write_table(path, COLUMNS, map(asdict, answers))


def bad_answers(answers: Iterable[Answer]) -> list[Answer]:
    """Return the answers that need a person's attention."""
    return [answer for answer in answers if answer.status in BAD]


def marks_of(answers: Iterable[Answer]) -> set[str]:
    """Return a short text for each product that is missing or different, and how."""
    texts = ("\t".join((*one.key, one.status, one.differs)) for one in bad_answers(answers))
    return {hashlib.sha256(text.encode()).hexdigest()[:16] for text in texts}


def read_reported(folder: Path) -> set[str]:
    """Return the marks of what a mail has reported of a night."""
    path = folder / REPORTED
    return set(path.read_text().split()) if path.exists() else set()


def write_reported(folder: Path, marks: set[str]) -> None:
    """Write down what a mail has reported of a night."""
    write_text(folder / REPORTED, "".join(f"{mark}\n" for mark in sorted(marks)))


def recent_answers(workdir: Path, since: datetime) -> dict[str, list[Answer]]:
    """Return by night what is said of what was delivered since a time."""
    found: dict[str, list[Answer]] = {}
    for path in sorted(workdir.glob(f"{'[0-9]' * 8}/{TABLE}")):
        # A table is never older than what it says.
        if datetime.fromtimestamp(path.stat().st_mtime, UTC) >= since:
            answers = [a for a in read_confirmed(path) if parse_date(a.delivered) >= since]
            found |= {path.parent.name: answers} if answers else {}
    return found


def counts_of(tables: Iterable[list[Answer]]) -> dict[str, int]:
    """Return how many products have each status, of those that there are."""
    counts = Counter(answer.status for answers in tables for answer in answers)
    return {status: counts[status] for status in STATUSES if counts[status]}


def write_asked(folder: Path, attempt: str, cause: str) -> None:
    """Record that a run queried a night, and why the query failed."""
    write_text(folder / ASKED, f"{attempt} {cause}\n")


def failed_attempts(workdir: Path, nights: Iterable[str], attempt: str) -> list[str]:
    """Return for each night that a run queried why the query failed; empty if it did not."""
    paths = [workdir / night / ASKED for night in nights]
    found = [path.read_text().strip().partition(" ") for path in paths if path.exists()]
    return [cause for by, _, cause in found if by == attempt]
