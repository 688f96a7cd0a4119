"""Deliver a product: check it, put it where ESO collects, write the receipt."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from scripts.lib.delivery.ledger import (
    Clash,
    Line,
    check_free,
    dp_id,
    enter,
    ledger_path,
    read_ledger,
)
from scripts.lib.delivery.placing import DamagedCopy, NameTaken, check_same, deliver
from scripts.lib.delivery.receipts import PASSED, promise_of, write_receipt
from scripts.lib.files.log import logger, start_log
from scripts.lib.files.tables import read_table
from scripts.lib.fits.cards import HeaderError
from scripts.lib.fits.sums import add_at
from scripts.lib.gate.checks import Check, Finding, errors, judged, read_checks, reason_of
from scripts.lib.gate.expectations import expected_of
from scripts.lib.gate.subject import Expected, Subject, read_subject
from scripts.lib.headers.headered import read_headers
from scripts.lib.nights.night_frames import HELD, good_frames
from scripts.lib.nights.times import iso


class NotWhole(RuntimeError):
    """A product does not hold what its frames' rows say; the message names both."""


class Refused(RuntimeError):
    """A product that ESO or the survey's reader would refuse; the message says why."""


class Undelivered(RuntimeError):
    """Frames of a sequence that could not be delivered; the message counts them and says why."""


class Gate(NamedTuple):
    """What products must pass.

    Attributes
    ----------
    checks : list of Check
        See `scripts.lib.gate`.
    expected : Expected
        What they are held against.
    ledger : Path
        The night's, see `scripts.lib.delivery.ledger`.
    delivered : dict of Line
        What it held when the job began.
    again : bool
        Whether what was delivered is to be delivered again.
    interrupted : bool
        Whether an earlier run was killed during this delivery.
    """

    checks: list[Check]
    expected: Expected
    ledger: Path
    delivered: Mapping[str, Line]
    again: bool = False
    interrupted: bool = False


def archive_product(product: Path, frames: list[dict], archive: Path, gate: Gate) -> list[dict]:
    """Deliver one product and return the rows of its receipt.

    Parameters
    ----------
    frames : list of dict
        Rows of ``frames.csv`` of the frames in it, in time order.

    Raises
    ------
    NotWhole
        If not every pixel of every frame is in it.
    Refused
        If it does not pass the gate.
    Clash
        If ESO has it, or another of its name.
    NameTaken, DamagedCopy
        See `scripts.lib.delivery.placing.deliver`.
    """
    subject = check_whole(product, frames, gate.expected)
    findings = judged(subject, gate.checks)
    if wrong := errors(findings):
        raise Refused(reason_of(wrong))
    line = line_of(subject)
    earlier = None if gate.again else check_free(gate.delivered, line)
    if earlier:
        # Never delivered anew: ESO may collect it at this very moment.
        there = lies_in(archive, product)
        if not (there or gate.interrupted):
            raise Clash(
                f"refused by check T24: {product.name} was delivered on {earlier.delivered} as "
                f"{earlier.dp_id}, and collected. If ESO is to get it again: "
                "--config redeliver=true"
            )
        became = "lies there" if there else "was collected"
        logger.info("%s: delivered on %s, %s", product.name, earlier.delivered, became)
        line = earlier
    elif deliver(product, archive):
        logger.info("%s: delivered to %s", product.name, archive)
        enter(gate.ledger, line)
    else:
        logger.info("%s: lay in %s already", product.name, archive)
        line = line_of(read_subject(archive / product.name, gate.expected, subject.hdus[0].sum))
        enter(gate.ledger, line)
    record = {
        "programme": subject.value("HIERARCH ESO OBS PROG ID"),
        "dp_id": line.dp_id,
        "product_bytes": line.bytes,
        "product_datasum": line.datasum,
        "product_checksum": line.checksum,
        "delivered": line.delivered,
        "verdict": verdict(findings),
    }
    return [row | record for row in frames]


def lies_in(archive: Path, product: Path) -> bool:
    """Tell whether a product lies in the archive directory; raise `NameTaken` if another does."""
    try:
        check_same(product, archive / product.name)
    except FileNotFoundError:
        return False
    return True


def line_of(subject: Subject) -> Line:
    """Return the line of the ledger for a product that is delivered now."""
    return Line(
        dp_id(subject),
        subject.name,
        str(subject.size),
        str(subject.value("DATASUM")),
        str(subject.value("CHECKSUM")),
        iso(datetime.now(UTC)),
    )


def verdict(findings: list[Finding]) -> str:
    """Return what the gate says of a product that passed it."""
    return "; ".join([PASSED, *map(str, findings)])


def frames_in(table: Path, made: Path) -> list[dict]:
    """Return the rows of the frames in a product: a cube, or a folder of a sequence's frames."""
    key, name = ("sequence", made.name) if made.is_dir() else ("product", made.name)
    return [row for row in good_frames(read_table(table)) if row[key] == name]


def check_whole(product: Path, frames: list[dict], expected: Expected) -> Subject:
    """Return a product as what is judged; raise `NotWhole` unless its pixels are its frames'.

    The sum in the header was made of the bytes as they were written. It is the sum of the raw
    frames' sums if, and only if, no bit of them changed on the way.
    """
    planes = len(frames)
    pixels = 2 * int(frames[0]["naxis1"]) * int(frames[0]["naxis2"])
    total = 0
    for number, row in enumerate(frames):
        total = add_at(total, int(row["datasum"]), number * pixels)
    try:
        subject = read_subject(product, expected, total)
    except (HeaderError, TypeError) as error:
        raise NotWhole(f"{product}: {error}") from error
    found = subject.value("NAXIS3") or 1
    if found != planes or subject.hdus[0].data_size != planes * pixels:
        raise NotWhole(f"{product}: {found} planes for {planes} frames")
    if str(total) != subject.value("DATASUM"):
        raise NotWhole(
            f"{product}: DATASUM is {subject.value('DATASUM')}, that of its raw frames {total}"
        )
    return subject


def archive_frames(folder: Path, frames: list[dict], archive: Path, gate: Gate) -> list[dict]:
    """Deliver the frames of a sequence and return the rows of its receipt.

    One that is refused is held back alone. One that stumbles over its file, or over another in
    the archive directory, does so alone too: the others are delivered first.

    Raises
    ------
    Undelivered
        If frames could not be delivered that are not refused.
    """
    record, failed = [], []
    for row in frames:
        try:
            record += archive_product(folder / row["product"], [row], archive, gate)
        except (Refused, Clash) as error:
            logger.error("%s: held back: %s", row["file"], error)
            record.append(row | {"status": "held", "reason": str(error)})
        except (NotWhole, NameTaken, DamagedCopy, FileNotFoundError) as error:
            logger.error("%s: not delivered: %s", row["file"], error)
            failed.append(str(error))
    if failed:
        raise Undelivered(
            f"{len(failed)} of {len(frames)} frames could not be delivered, the others were: "
            f"{failed[0]}"
        )
    return record


if __name__ == "__main__":
    start_log(snakemake.log[0])
    made, headered = Path(snakemake.input.product), Path(snakemake.input.headered)
    held = {row["file"]: row for row in read_table(headered / HELD)}
    every = frames_in(Path(snakemake.input.frames), made)
    rows = [row for row in every if row["file"] not in held]
    archive = Path(snakemake.config["archive"])
    if not archive.is_dir():
        raise FileNotFoundError(f"archive: the directory {archive} does not exist; is it mounted?")
    receipt = Path(snakemake.output.receipt)
    promise = promise_of(receipt)
    cube = not made.is_dir()
    night = snakemake.wildcards.night
    ledger = ledger_path(Path(), night)
    headers = read_headers(headered / f"{rows[0]['sequence']}.fits") if cube and rows else {}
    config = snakemake.config | {"programme": snakemake.params.programme}
    gate = Gate(
        read_checks(Path(snakemake.input.checks)),
        expected_of(config, night, headers),
        ledger,
        read_ledger(ledger),
        snakemake.params.redeliver,
        promise.exists(),
    )
    promise.parent.mkdir(parents=True, exist_ok=True)
    write_receipt(promise, rows)
    if cube:
        record = archive_product(made, rows, archive, gate) if rows else []
    else:
        record = archive_frames(made, rows, archive, gate)
    write_receipt(receipt, record + [held[row["file"]] for row in every if row["file"] in held])
    promise.unlink()
