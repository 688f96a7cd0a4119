"""Receipts: what was delivered, product by product and frame by frame, as tables for people.

One row per source frame: the frame's row of ``frames.csv``, and what was delivered. Frames that
were held back late, unsolved or refused by the gate, have a row too, with the reason. Receipts
are written from the ledger; nothing is read back from them.
"""

from collections.abc import Iterable
from pathlib import Path

from scripts.lib.files.tables import table_text
from scripts.lib.frames.names import stem
from scripts.lib.ledger.ledger import Ledger
from scripts.lib.ledger.records import DONE, Frame, Product, Status
from scripts.lib.ledger.snapshot import COLUMNS, OK, frame_row, write_view
from scripts.lib.nights.times import iso

FOLDER = "archived"
# The verdict of the gate on a product without any finding.
PASSED = "passed"
DELIVERY = ["dp_id", "product_bytes", "product_datasum", "product_checksum", "delivered", "verdict"]


def target_of(product: str, sequence: str, cubes: bool) -> str:
    """Return the name of the job that delivers a product: of a cube its own."""
    return stem(product) if cubes else sequence


def frames_of(ledger: Ledger, night: str, target: str, cubes: bool) -> list[Frame]:
    """Return the frames of a job: those of a cube, or of a sequence."""
    if cubes:
        return ledger.frames(night, product=f"{target}.fits")
    return ledger.frames(night, sequence=target)


def write_receipts(
    ledger: Ledger, night: str, folder: Path, cubes: bool, target: str | None = None
) -> None:
    """Write the receipts of a night, or only that of one job, into its folder ``archived``."""
    products = {product.name: product for product in ledger.products(night)}
    grouped: dict[str, list[Frame]] = {}
    for frame in frames_of(ledger, night, target, cubes) if target else ledger.frames(night):
        if frame.sequence and frame.status in DONE | {Status.HELD}:
            name = target_of(frame.product, frame.sequence, cubes)
            grouped.setdefault(name, []).append(frame)
    folder.mkdir(parents=True, exist_ok=True)
    digests = {}
    for name, frames in grouped.items():
        text = table_text([*COLUMNS, *DELIVERY], rows(frames, products))
        digests[f"{FOLDER}/{name}.csv"] = write_view(folder / f"{name}.csv", text)
    ledger.set_views(night, digests)


def rows(frames: Iterable[Frame], products: dict[str, Product]) -> list[dict[str, str]]:
    """Return the rows of a receipt, in time order."""
    found = []
    for frame in sorted(frames, key=lambda frame: (frame.begin, frame.file)):
        row = frame_row(frame)
        product = products.get(frame.product)
        if row["status"] == OK and product and product.delivered:
            row |= {
                "programme": product.programme,
                "dp_id": product.dp_id,
                "product_bytes": str(product.bytes),
                "product_datasum": str(product.datasum),
                "product_checksum": product.checksum,
                "delivered": iso(product.delivered),
                "verdict": product.verdict,
            }
        found.append(row)
    return found


def warned_products(products: Iterable[Product]) -> dict[str, str]:
    """Return what the gate said of products that it passed with a warning."""
    return {
        product.name: product.verdict.removeprefix(f"{PASSED}; ")
        for product in products
        if product.verdict not in ("", PASSED)
    }
