"""Whether ESO's archive shows what was delivered to it: the table ``confirmed.csv`` of a night.

One row per product of the night's receipts. A product is in ESO's table of raw data under a dp_id
that its instrument and DATE-OBS make, and with the name of the file as it was delivered.

ESO needs some hours to take files in. So a product that is not seen is waiting at first, and
missing once ``confirm_after`` hours have passed. Asked without a password, ESO shows nothing but
public calibrations: what is not seen of the sky is then unknown, not missing.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from scripts.lib.delivery.receipts import delivered_rows, read_receipts
from scripts.lib.files.durable import write_text
from scripts.lib.files.tables import read_table
from scripts.lib.frames.identity import Kind
from scripts.lib.nights.dates import night_bounds
from scripts.lib.nights.times import iso, mjd, parse_date

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
COLUMNS = [
    *("product", "dp_id", "programme", "dp_type", "delivered", "status", "differs"),
    *(f"found_{name}" for name in FOUND),
    "asked",
]
# ESO is not asked earlier: nothing is there yet.
FIRST_ASKED = timedelta(hours=3)
# What nobody could be told of for so long after it was given up is given up too, unlooked at.
GRACE = timedelta(days=30)


class Product(NamedTuple):
    """A product of a night's receipts."""

    name: str
    programme: str
    kind: str
    start: datetime
    delivered: datetime


class Expected(NamedTuple):
    """What ESO's archive is to show of a telescope: its number and the kinds of frames."""

    number: int
    kinds: dict[str, Kind]

    def dp_id(self, product: Product) -> str:
        """Return the name under which ESO has a product."""
        return f"SPECU{self.number}.{iso(product.start)}"


def products_of(receipts: list[dict]) -> list[Product]:
    """Return the products of receipts' rows; the first of its frames dates a product."""
    grouped: dict[str, list[dict]] = {}
    for row in delivered_rows(receipts):
        grouped.setdefault(row["product"], []).append(row)
    return [
        Product(
            name=name,
            programme=rows[0]["programme"],
            kind=rows[0]["kind"],
            start=parse_date(min(row["date_obs"] for row in rows)),
            delivered=parse_date(max(row["delivered"] for row in rows)),
        )
        for name, rows in grouped.items()
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
    products: list[Product],
    found: list[dict],
    expected: Expected,
    now: datetime,
    patience: timedelta,
    anonymous: bool,
) -> list[dict]:
    """Return a row for each product.

    Parameters
    ----------
    found : list of dict
        ESO's rows of the night.
    patience : timedelta
        After which a product that is not seen is missing.
    anonymous : bool
        Whether they were asked for without a password.
    """
    ids = {row["dp_id"]: row for row in found}
    files = {row["origfile"]: row for row in found if row["origfile"]}
    rows = []
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
        rows.append(
            plain_row(product, expected)
            | {f"found_{name}": row[name] for name in FOUND if row}
            | {"status": status, "differs": differs, "asked": iso(now)}
        )
    return rows


def plain_row(product: Product, expected: Expected) -> dict:
    """Return the row of a product that ESO was not asked for yet."""
    return {
        "product": product.name,
        "dp_id": expected.dp_id(product),
        "programme": product.programme,
        "dp_type": expected.kinds[product.kind].type,
        "delivered": iso(product.delivered),
        "status": WAITING,
    }


def differences(product: Product, row: dict, expected: Expected) -> str:
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
    product: Product, expected: Expected, now: datetime, patience: timedelta, anonymous: bool
) -> str:
    """Return what a product is that ESO does not show."""
    if anonymous and is_science(expected.kinds[product.kind]):
        return UNKNOWN
    return MISSING if now - product.delivered >= patience else WAITING


def is_science(kind: Kind) -> bool:
    """Tell whether frames of a kind show the sky."""
    return kind.catg == "SCIENCE"


def unasked(products: list[Product], earlier: list[dict], expected: Expected) -> list[dict]:
    """Return the rows of products when ESO could not be asked: what is known stays.

    Parameters
    ----------
    earlier : list of dict
        The rows so far. One of before the product was delivered again counts no more.
    """
    known = {(row["product"], row["delivered"]): row for row in earlier}
    plain = [plain_row(product, expected) for product in products]
    return [known.get((row["product"], row["delivered"]), row) for row in plain]


# Which nights


def nights_to_confirm(config: dict, nights: list[str], now: datetime) -> list[str]:
    """Return the nights that ESO is to be asked for, of all below the working directory.

    Parameters
    ----------
    nights : list of str
        Only these; if there are none, all.
    """
    if not config["confirm"] or config["redeliver"]:
        return []
    folders = sorted(Path(config["workdir"]).glob("[0-9]" * 8))
    wanted = [folder for folder in folders if not nights or folder.name in nights]
    return [folder.name for folder in wanted if is_due(folder, config, now)]


def is_due(folder: Path, config: dict, now: datetime) -> bool:
    """Tell whether ESO is to be asked for a night; a damaged table is its job's to tell of."""
    try:
        delivered = datetime.fromtimestamp((folder / "archived").stat().st_mtime, UTC)
    except OSError:
        return False
    limit = timedelta(days=config["confirm_until"])
    # Old nights cost a look at their folder's date, not at their tables.
    if now - delivered > limit + GRACE:
        return False
    try:
        rows = read_confirmed(folder / TABLE)
        known = {(row["product"], row["delivered"]): row for row in rows}
        told = read_told(folder) if is_telling(config) else marks_of(rows)
        products = products_of(read_receipts(folder / "archived"))
        return any(
            is_open(product, known.get((product.name, iso(product.delivered))), told, limit, now)
            for product in products
        )
    except (OSError, KeyError, ValueError):
        return True


def is_open(
    product: Product, row: dict | None, told: set[str], limit: timedelta, now: datetime
) -> bool:
    """Tell whether ESO is to be asked for a product.

    Once it is older than ``limit``, only until it was judged and told of. What was never asked for
    by then is from before somebody wanted to know.
    """
    age = now - product.delivered
    if age < FIRST_ASKED or (row and row["status"] == CONFIRMED):
        return False
    if age <= limit:
        return True
    if row is None:
        return False
    untold = row["status"] in BAD and not marks_of([row]) <= told
    return row["status"] == WAITING or untold


def is_telling(config: dict) -> bool:
    """Tell whether mails are sent at all."""
    mail = config.get("mail") or {}
    return bool(mail.get("to")) and mail.get("when") != "never"


# What became of it


def read_confirmed(path: Path) -> list[dict]:
    """Return the rows of a night's table; none if ESO was never asked."""
    return read_table(path) if path.exists() else []


def bad_rows(rows: list[dict]) -> list[dict]:
    """Return the rows of products that somebody must look at."""
    return [row for row in rows if row["status"] in BAD]


def marks_of(rows: list[dict]) -> set[str]:
    """Return a short text for each product that is missing or different, and how."""
    keys = ("product", "delivered", "status", "differs")
    texts = ("\t".join(row[key] for key in keys) for row in rows)
    return {hashlib.sha256(text.encode()).hexdigest()[:16] for text in texts}


def read_told(folder: Path) -> set[str]:
    """Return the fingerprints of what a mail has told of a night."""
    path = folder / TOLD
    return set(path.read_text().split()) if path.exists() else set()


def write_told(folder: Path, told: set[str]) -> None:
    """Write down what a mail has told of a night."""
    write_text(folder / TOLD, "".join(f"{one}\n" for one in sorted(told)))


def recent_tables(workdir: Path, since: datetime) -> dict[str, list[dict]]:
    """Return for each night the rows of what was delivered since a moment; none if it has none."""
    tables = {}
    for folder in sorted(workdir.glob("[0-9]" * 8)):
        path = folder / TABLE
        # A table is never older than what it tells of.
        if path.exists() and datetime.fromtimestamp(path.stat().st_mtime, UTC) >= since:
            rows = [row for row in read_table(path) if parse_date(row["delivered"]) >= since]
            tables |= {folder.name: rows} if rows else {}
    return tables


def counts_of(tables: Iterable[list[dict]]) -> dict[str, int]:
    """Return how many products have each status, of those that there are."""
    counts = Counter(row["status"] for rows in tables for row in rows)
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
