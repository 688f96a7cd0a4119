"""Whether ESO's archive shows what was delivered to it: the table ``confirmed.csv`` of a night.

One row per product of the night's receipts. A product is in ESO's table of raw data under a dp_id
that its instrument and DATE-OBS make, and with the name of the file as it was delivered.

ESO needs some hours to take files in. So a product that is not seen is waiting at first, and
missing once ``confirm_after`` hours have passed. Asked without a password, ESO shows nothing but
public calibrations: what is not seen of the sky is then unknown, not missing.
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
from scripts.lib.nights.dates import night_bounds
from scripts.lib.nights.times import iso, mjd, parse_date
from scripts.lib.settings.records import Configuration

CONFIRMED, WAITING, MISSING = "confirmed", "waiting", "missing"
DIFFERENT, UNKNOWN = "different", "unknown"
STATUSES = (CONFIRMED, WAITING, MISSING, DIFFERENT, UNKNOWN)
# What somebody must look at.
BAD = (MISSING, DIFFERENT)

TABLE = "confirmed.csv"
ASKED = "confirm.asked"  # in a night's folder: by which run it was asked, and why in vain
TOLD = "confirmed.told"  # in a night's folder: what a mail has told of
FAILED = "confirm.failed"  # in the working directory: runs in a row that asked in vain
FOUND = ["dp_id", "origfile", "prog_id", "dp_cat", "dp_type"]
# ESO is not asked earlier: nothing is there yet.
FIRST_ASKED = timedelta(hours=3)
# What nobody could be told of for so long after it was given up is given up too, unlooked at.
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
    status: str
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


class Expected(NamedTuple):
    """What ESO's archive is to show of a telescope: its number and the kinds of frames."""

    number: int
    kinds: dict[str, Kind]

    def dp_id(self, product: Delivered) -> str:
        """Return the name under which ESO has a product."""
        return names.dp_id(self.number, product.start)


def products_of(ledger: Ledger, night: str) -> list[Delivered]:
    """Return the delivered products of a night; the first of its frames dates a product."""
    grouped: dict[str, list[Frame]] = {}
    for frame in ledger.frames(night):
        if frame.status in DONE:
            grouped.setdefault(frame.product, []).append(frame)
    return [
        Delivered(
            name=product.name,
            programme=product.programme,
            kind=frames[0].kind,
            start=min(frame.begin for frame in frames),
            delivered=product.delivered,
        )
        for product in ledger.products(night)
        if product.delivered and (frames := grouped.get(product.name, []))
    ]


def query_of(night: str, number: int) -> str:
    """Return the question for all that ESO has of a telescope's night.

    The instrument is known by the beginning of its dp_ids. The night's bounds make it one question
    whatever the number of products.
    """
    begin, end = (mjd(moment) for moment in night_bounds(night))
    return (
        "SELECT dp_id, origfile, prog_id, dp_cat, dp_type, mjd_obs, instrument FROM dbo.raw "
        f"WHERE dp_id LIKE 'SPECU{number}.%' AND mjd_obs >= {begin:.6f} AND mjd_obs < {end:.6f}"
    )


# Judging


def judge_all(
    products: list[Delivered],
    found: Sequence[Mapping[str, str]],
    expected: Expected,
    now: datetime,
    patience: timedelta,
    anonymous: bool,
) -> list[Answer]:
    """Return what ESO's archive says of each product.

    Parameters
    ----------
    found : sequence of mapping
        ESO's rows of the night.
    patience : timedelta
        After which a product that is not seen is missing.
    anonymous : bool
        Whether they were asked for without a password.
    """
    ids = {row["dp_id"]: row for row in found}
    files = {row["origfile"]: row for row in found if row["origfile"]}
    answers = []
    for product in products:
        row = ids.get(expected.dp_id(product))
        # One of its name alone may be an earlier delivery; it is the product's if no other comes.
        row = row or (files.get(product.name) if now - product.delivered >= patience else None)
        if row:
            differs = differences(product, row, expected)
            status = DIFFERENT if differs else CONFIRMED
        else:
            differs = ""
            status = status_of_unseen(product, expected, now, patience, anonymous)
        known = {f"found_{name}": row[name] for name in FOUND} if row else {}
        plain = unasked_answer(product, expected)
        answers.append(replace(plain, status=status, differs=differs, asked=iso(now), **known))
    return answers


def unasked_answer(product: Delivered, expected: Expected) -> Answer:
    """Return what is known of a product that ESO was not asked for yet."""
    return Answer(
        product=product.name,
        dp_id=expected.dp_id(product),
        programme=product.programme,
        dp_type=expected.kinds[product.kind].type,
        delivered=iso(product.delivered),
        status=WAITING,
    )


def differences(product: Delivered, row: Mapping[str, str], expected: Expected) -> str:
    """Return in what ESO's row is unlike the product; nothing if it is as it should be.

    The category of science data comes back as SCIENCE or as CALIB, which means nothing.
    """
    kind = expected.kinds[product.kind]
    right = {
        "dp_id": expected.dp_id(product),
        "origfile": product.name,
        "prog_id": product.programme,
        "dp_type": kind.type,
    }
    if not is_science(kind):
        right["dp_cat"] = kind.catg
    return "; ".join(
        f"{key} is {row[key] or 'empty'}, not {value}"
        for key, value in right.items()
        if row[key] != value
    )


def status_of_unseen(
    product: Delivered, expected: Expected, now: datetime, patience: timedelta, anonymous: bool
) -> str:
    """Return what a product is that ESO does not show."""
    if anonymous and is_science(expected.kinds[product.kind]):
        return UNKNOWN
    return MISSING if now - product.delivered >= patience else WAITING


def is_science(kind: Kind) -> bool:
    """Tell whether frames of a kind show the sky."""
    return kind.catg == "SCIENCE"


def unasked(products: list[Delivered], earlier: list[Answer], expected: Expected) -> list[Answer]:
    """Return what is known of products when ESO could not be asked.

    Parameters
    ----------
    earlier : list of Answer
        So far. One of before the product was delivered again counts no more.
    """
    known = {answer.key: answer for answer in earlier}
    plain = [unasked_answer(product, expected) for product in products]
    return [known.get(answer.key, answer) for answer in plain]


# Which nights


def nights_to_confirm(
    ledger: Ledger, settings: Configuration, nights: list[str], now: datetime
) -> list[str]:
    """Return the nights that ESO is to be asked for.

    Parameters
    ----------
    nights : list of str
        Only these; if there are none, all.
    """
    if not settings.confirm or settings.redeliver:
        return []
    since = now - timedelta(days=settings.confirm_until) - GRACE
    wanted = [night for night in ledger.delivered_since(since) if not nights or night in nights]
    return [night for night in wanted if is_due(ledger, night, settings, now)]


def is_due(ledger: Ledger, night: str, settings: Configuration, now: datetime) -> bool:
    """Tell whether ESO is to be asked for a night; a damaged table is its job's to report."""
    folder, limit = settings.workdir / night, timedelta(days=settings.confirm_until)
    try:
        answers = read_confirmed(folder / TABLE)
        known = {answer.key: answer for answer in answers}
        reported = read_told(folder) if is_reporting(settings) else marks_of(answers)
        return any(
            is_open(
                product, known.get((product.name, iso(product.delivered))), reported, limit, now
            )
            for product in products_of(ledger, night)
        )
    except (OSError, KeyError, ValueError):
        return True


def is_open(
    product: Delivered, answer: Answer | None, reported: set[str], limit: timedelta, now: datetime
) -> bool:
    """Tell whether ESO is to be asked for a product.

    Once it is older than ``limit``, only until it was judged and reported. What was never asked
    for by then is from before somebody wanted to know.
    """
    age = now - product.delivered
    if age < FIRST_ASKED or (answer and answer.status == CONFIRMED):
        return False
    if age <= limit:
        return True
    if answer is None:
        return False
    unreported = answer.status in BAD and not marks_of([answer]) <= reported
    return answer.status == WAITING or unreported


def is_reporting(settings: Configuration) -> bool:
    """Tell whether mails are sent at all."""
    return bool(settings.mail.to) and settings.mail.when != "never"


# What became of it


def read_confirmed(path: Path) -> list[Answer]:
    """Return the answers in a night's table; none if ESO was never asked."""
    return [Answer(**row) for row in read_table(path)] if path.exists() else []


def write_confirmed(path: Path, answers: Iterable[Answer]) -> None:
    """Write a night's table."""
    write_table(path, COLUMNS, map(asdict, answers))


def bad_answers(answers: Iterable[Answer]) -> list[Answer]:
    """Return what is said of products that somebody must look at."""
    return [answer for answer in answers if answer.status in BAD]


def marks_of(answers: Iterable[Answer]) -> set[str]:
    """Return a short text for each product that is missing or different, and how."""
    texts = ("\t".join((*one.key, one.status, one.differs)) for one in answers)
    return {hashlib.sha256(text.encode()).hexdigest()[:16] for text in texts}


def read_told(folder: Path) -> set[str]:
    """Return the fingerprints of what a mail has told of a night."""
    path = folder / TOLD
    return set(path.read_text().split()) if path.exists() else set()


def write_told(folder: Path, told: set[str]) -> None:
    """Write down what a mail has told of a night."""
    write_text(folder / TOLD, "".join(f"{one}\n" for one in sorted(told)))


def recent_answers(workdir: Path, since: datetime) -> dict[str, list[Answer]]:
    """Return by night what is said of what was delivered since a moment."""
    found: dict[str, list[Answer]] = {}
    for folder in sorted(workdir.glob("[0-9]" * 8)):
        path = folder / TABLE
        # A table is never older than what it says.
        if path.exists() and datetime.fromtimestamp(path.stat().st_mtime, UTC) >= since:
            answers = [a for a in read_confirmed(path) if parse_date(a.delivered) >= since]
            found |= {folder.name: answers} if answers else {}
    return found


def counts_of(tables: Iterable[list[Answer]]) -> dict[str, int]:
    """Return how many products have each status, of those that there are."""
    counts = Counter(answer.status for answers in tables for answer in answers)
    return {status: counts[status] for status in STATUSES if counts[status]}


def write_asked(folder: Path, run: str, cause: str) -> None:
    """Write down that a night was asked for, and why in vain."""
    write_text(folder / ASKED, f"{run} {cause}\n")


def causes(workdir: Path, nights: list[str], run: str) -> list[str]:
    """Return for each night that a run asked for why in vain; an empty text if it was answered.

    Parameters
    ----------
    run : str
        The run, as it was handed to `write_asked`.
    """
    found = []
    for night in nights:
        path = workdir / night / ASKED
        by, _, cause = path.read_text().strip().partition(" ") if path.exists() else ("", "", "")
        if by == run:
            found.append(cause)
    return found
