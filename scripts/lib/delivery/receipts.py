"""Receipts: the record that a product, or a sequence's frames, were delivered.

A receipt has one row per source frame: the frame's row of ``frames.csv``, and what was delivered.
Frames that were held back late, unsolved or refused by the gate, have a row too, with the reason. A
receipt is written last, so what has one lies in the archive directory, or was collected from it.

Before a delivery begins, its rows are written as a promise. If a run is killed between delivery and
receipt, the promise keeps the frames together under the same name until the next run has found out.
"""

from pathlib import Path

from scripts.lib.files.tables import read_table, write_table
from scripts.lib.nights.night_frames import COLUMNS

PROMISED = "promised"
# The verdict of the gate on a product without any finding.
PASSED = "passed"
DELIVERY = [
    "programme",
    "dp_id",
    "product_bytes",
    "product_datasum",
    "product_checksum",
    "delivered",
    "verdict",
]


def write_receipt(path: Path, rows: list[dict]) -> None:
    """Write a receipt, whole or not at all."""
    write_table(path, COLUMNS + DELIVERY, rows)


def promise_of(receipt: Path) -> Path:
    """Return the path of the promise that goes before a receipt."""
    return receipt.parent / PROMISED / receipt.name


def read_receipts(archived: Path) -> list[dict[str, str]]:
    """Return the rows of all receipts of a night; none if nothing was delivered."""
    return [row for path in sorted(archived.glob("[!.]*.csv")) for row in read_table(path)]


def delivered_rows(rows: list[dict]) -> list[dict]:
    """Return the receipts' rows of frames that were delivered."""
    return [row for row in rows if row["status"] == "ok"]


def withheld_rows(rows: list[dict]) -> list[dict]:
    """Return the receipts' rows of frames that were held back, and not delivered later."""
    done = {row["file"] for row in delivered_rows(rows)}
    return [row for row in rows if row["status"] == "held" and row["file"] not in done]


def products_delivered(rows: list[dict]) -> list[str]:
    """Return the names of the products in receipts' rows, each once."""
    return list(dict.fromkeys(row["product"] for row in delivered_rows(rows)))


def warned_products(rows: list[dict]) -> dict[str, str]:
    """Return what the gate said of products that it passed with a warning."""
    # Receipts from before there was a gate have no verdict.
    said = {row["product"]: row.get("verdict") or PASSED for row in delivered_rows(rows)}
    return {
        product: verdict.removeprefix(f"{PASSED}; ")
        for product, verdict in said.items()
        if verdict != PASSED
    }
