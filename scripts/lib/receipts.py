"""Receipts: the record that a product, or a sequence's frames, were delivered.

A receipt has one row per source frame: the frame's row of ``frames.csv``, and what was delivered.
It is written last, so what has a receipt lies in the archive directory, or was collected from it.
"""

from pathlib import Path

from scripts.lib.night_frames import COLUMNS
from scripts.lib.tables import read_table, write_table

DELIVERY = ["programme", "product_bytes", "product_datasum", "product_checksum", "delivered"]


def write_receipt(path: Path, rows: list[dict]) -> None:
    """Write a receipt, whole or not at all."""
    write_table(path, COLUMNS + DELIVERY, rows)


def read_receipts(archived: Path) -> list[dict[str, str]]:
    """Return the rows of all receipts of a night; none if nothing was delivered."""
    return [row for path in sorted(archived.glob("[!.]*.csv")) for row in read_table(path)]


def products_delivered(rows: list[dict]) -> list[str]:
    """Return the names of the products in receipts' rows, each once."""
    return list(dict.fromkeys(row["product"] for row in rows))
