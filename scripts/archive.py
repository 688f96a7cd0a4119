"""Deliver a product: check that it is whole, put it where ESO collects, write the receipt."""

from datetime import UTC, datetime
from pathlib import Path

from scripts.lib.cards import CARD, Header, padded, read_header
from scripts.lib.delivery import deliver
from scripts.lib.log import logger, start_log
from scripts.lib.night_frames import HELD, good_frames
from scripts.lib.receipts import promise_of, write_receipt
from scripts.lib.sizes import data_size
from scripts.lib.sums import add_at
from scripts.lib.tables import read_table
from scripts.lib.times import iso


class NotWhole(RuntimeError):
    """A product does not hold what its frames' rows say; the message names both."""


def archive_product(product: Path, frames: list[dict], archive: Path) -> list[dict]:
    """Deliver one product and return the rows of its receipt.

    Parameters
    ----------
    frames : list of dict
        Rows of ``frames.csv`` of the frames in it, in time order.

    Raises
    ------
    NotWhole
        If not every pixel of every frame is in it.
    NameTaken, DamagedCopy
        See `scripts.lib.delivery.deliver`.
    """
    header = check_whole(product, frames)
    if deliver(product, archive):
        logger.info("%s: delivered to %s", product.name, archive)
    else:
        logger.info("%s: lay in %s already", product.name, archive)
        header = read_primary(archive / product.name)
    record = {
        "programme": header.value("HIERARCH ESO OBS PROG ID"),
        "product_bytes": product.stat().st_size,
        "product_datasum": header.value("DATASUM"),
        "product_checksum": header.value("CHECKSUM"),
        "delivered": iso(datetime.now(UTC)),
    }
    return [row | record for row in frames]


def frames_in(table: Path, made: Path) -> list[dict]:
    """Return the rows of the frames in a product: a cube, or a folder of a sequence's frames."""
    key, name = ("sequence", made.name) if made.is_dir() else ("product", made.name)
    return [row for row in good_frames(read_table(table)) if row[key] == name]


def check_whole(product: Path, frames: list[dict]) -> Header:
    """Return a product's header; raise `NotWhole` unless its pixels are those of its frames.

    The sum in the header was made of the bytes as they were written. It is the sum of the raw
    frames' sums if, and only if, no bit of them changed on the way.
    """
    header = read_primary(product)
    begin = padded(CARD * (len(header.images) + 1))
    planes = header.value("NAXIS3") or 1
    if planes != len(frames):
        raise NotWhole(f"{product}: {planes} planes for {len(frames)} frames")
    pixels = data_size(header)
    if product.stat().st_size < begin + padded(pixels):
        raise NotWhole(f"{product}: {product.stat().st_size} bytes, too few for its header")
    expected = 0
    for number, row in enumerate(frames):
        expected = add_at(expected, int(row["datasum"]), number * (pixels // planes))
    if str(expected) != header.value("DATASUM"):
        raise NotWhole(
            f"{product}: DATASUM is {header.value('DATASUM')}, that of its raw frames {expected}"
        )
    return header


def read_primary(path: Path) -> Header:
    """Return the primary header of a file."""
    with open(path, "rb") as stream:
        return read_header(stream)


if __name__ == "__main__":
    start_log(snakemake.log[0])
    made = Path(snakemake.input.product)
    held = {row["file"]: row for row in read_table(Path(snakemake.input.headered) / HELD)}
    every = frames_in(Path(snakemake.input.frames), made)
    rows = [row for row in every if row["file"] not in held]
    archive = Path(snakemake.config["archive"])
    if not archive.is_dir():
        raise FileNotFoundError(f"archive: the directory {archive} does not exist; is it mounted?")
    receipt = Path(snakemake.output.receipt)
    promise = promise_of(receipt)
    promise.parent.mkdir(parents=True, exist_ok=True)
    write_receipt(promise, rows)
    if made.is_dir():
        record = [r for row in rows for r in archive_product(made / row["product"], [row], archive)]
    else:
        record = archive_product(made, rows, archive) if rows else []
    write_receipt(receipt, record + [held[row["file"]] for row in every if row["file"] in held])
    promise.unlink()
