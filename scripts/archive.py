"""Deliver a product: check it, stage it, record the intent, publish it, book it."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scripts.lib.delivery.publish import publish_all, settle, stage, take_back
from scripts.lib.delivery.receipts import FOLDER, PASSED, frames_of, write_receipts
from scripts.lib.files.durable import sync_folder, write_text
from scripts.lib.files.log import logger, start_log
from scripts.lib.fits.cards import HeaderError
from scripts.lib.fits.checksum import add_at
from scripts.lib.gate.checks import Check, Finding, errors, fault_of, judged, read_checks
from scripts.lib.gate.expectations import expected_of
from scripts.lib.gate.product_file import Expected, ProductFile, dp_id, read_product_file
from scripts.lib.headers.finished import read_headers, read_held
from scripts.lib.ledger.faults import Fault, Reason
from scripts.lib.ledger.ledger import Ledger, Overtaken, ledger_path
from scripts.lib.ledger.outlook import is_due
from scripts.lib.ledger.records import Frame, Intent, Night, Product, Status
from scripts.lib.settings.records import Configuration

if TYPE_CHECKING:
    from scripts.lib.files.job import snakemake


class NotWhole(RuntimeError):
    """A product does not hold what its frames' rows say; the message names both."""


class Refused(RuntimeError):
    """A product that ESO or the survey's reader would refuse.

    Attributes
    ----------
    fault : Fault
        Why; the message says it too.
    """

    def __init__(self, fault: Fault):
        super().__init__(str(fault))
        self.fault = fault


class Undelivered(RuntimeError):
    """Products that could not be delivered; the message counts them and says why."""


class Made(NamedTuple):
    """A product that has passed the gate, and the frames that are in it."""

    path: Path
    product: Product
    frames: list[Frame]


class Gate(NamedTuple):
    """What products must pass.

    Attributes
    ----------
    checks : list of Check
        See `scripts.lib.gate`.
    expected : Expected
        What they are held against.
    ledger : Ledger
    night : Night
    target : str
        Of the job.
    """

    checks: list[Check]
    expected: Expected
    ledger: Ledger
    night: Night
    target: str


def pass_gate(path: Path, frames: list[Frame], gate: Gate) -> Made:
    """Return a product that may be delivered.

    Parameters
    ----------
    frames : list of Frame
        In it, in time order.

    Raises
    ------
    NotWhole
        If not every pixel of every frame is in it.
    Refused
        If it does not pass the gate, or ESO has another of its name.
    """
    subject = check_whole(path, frames, gate.expected)
    findings = judged(subject, gate.checks)
    if wrong := errors(findings):
        raise Refused(fault_of(wrong))
    product = Product(
        name=subject.name,
        night=gate.night.night,
        target=gate.target,
        programme=str(subject.value("HIERARCH ESO OBS PROG ID")),
        dp_id=dp_id(subject),
        bytes=subject.size,
        datasum=int(str(subject.value("DATASUM"))),
        checksum=str(subject.value("CHECKSUM")),
        verdict=verdict(findings),
        delivery=gate.night.redeliver,
    )
    check_free(product, gate)
    return Made(path, product, frames)


def check_free(product: Product, gate: Gate) -> None:
    """Raise `Refused` if ESO has another product of the name that it would give this one."""
    for earlier in gate.ledger.named(product.dp_id):
        again = earlier.delivery < gate.night.redeliver and earlier.night == gate.night.night
        if earlier.same_file(product) or again:
            continue
        detail = (
            f"ESO would name {product.name} {product.dp_id}, as {earlier.name}, which was "
            f"delivered on {earlier.delivered:%F %H:%M}. Find out which is right; redeliver=true "
            "delivers it"
        )
        raise Refused(Fault(Reason.REFUSED, detail, "T24"))


def verdict(findings: list[Finding]) -> str:
    """Return what the gate says of a product that passed it."""
    return "; ".join([PASSED, *map(str, findings)])


def check_whole(product: Path, frames: list[Frame], expected: Expected) -> ProductFile:
    """Return a product as what is judged; raise `NotWhole` unless its pixels are its frames'.

    The sum in the header was made of the bytes as they were written. It is the sum of the raw
    frames' sums if, and only if, no bit of them changed on the way.
    """
    planes, pixels = len(frames), frames[0].pixel_bytes
    total = 0
    for number, frame in enumerate(frames):
        total = add_at(total, frame.pixels, number * pixels)
    try:
        subject = read_product_file(product, expected, total)
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


def made_products(made: Path, frames: list[Frame], gate: Gate) -> tuple[list[Made], list[str]]:
    """Return what may be delivered, a cube or frames, and why some frames could not be.

    A frame that is refused is held back alone; a cube that is refused fails.
    """
    if not made.is_dir():
        return [pass_gate(made, frames, gate)], []
    passed, failed = [], []
    for frame in frames:
        try:
            passed.append(pass_gate(made / frame.product, [frame], gate))
        except Refused as error:
            hold_back(gate.ledger, [frame], {frame.file: error.fault})
        except (NotWhole, FileNotFoundError) as error:
            logger.error("%s: not delivered: %s", frame.file, error)
            failed.append(str(error))
    return passed, failed


def hold_back(ledger: Ledger, frames: Iterable[Frame], faults: dict[str, Fault]) -> None:
    """Write down which frames are held back though they were good so far."""
    held = [
        replace(frame, status=Status.HELD, fault=faults[frame.file])
        for frame in frames
        if frame.file in faults
    ]
    for frame in held:
        logger.error("%s: held back: %s", frame.file, frame.fault)
    if held:
        with ledger.transaction():
            ledger.record(held)


def deliver(made: list[Made], archive: Path, mode: int, ledger: Ledger) -> dict[str, str]:
    """Publish products and return by name why some could not be."""
    new = [one for one in made if not is_known(one, ledger)]
    adopt(ledger, [one for one in made if one not in new])
    if not new:
        return {}
    intents = [Intent(one.product, stage(one.path, archive, mode)) for one in new]
    sync_folder(archive)
    try:
        ledger.stage(intents, [frame for one in new for frame in one.frames])
    except Overtaken:
        # After any other error the intent may stand: then a hidden file that is gone counts as
        # published.
        for intent in intents:
            (archive / intent.hidden).unlink(missing_ok=True)
        raise
    return publish_all(ledger, archive, intents)


def is_known(made: Made, ledger: Ledger) -> bool:
    """Tell whether this very product was delivered, by a ledger that did not know frames."""
    earlier = ledger.product(made.product.name)
    return bool(
        earlier and earlier.same_file(made.product) and earlier.delivery >= made.product.delivery
    )


def adopt(ledger: Ledger, made: list[Made]) -> None:
    """Write down that the frames of products have been delivered."""
    with ledger.transaction():
        for one in made:
            logger.info("%s: had been delivered", one.product.name)
            ledger.record(
                replace(frame, status=Status.DELIVERED, delivery=one.product.delivery)
                for frame in one.frames
            )


def take_back_replaced(ledger: Ledger, archive: Path, night: Night) -> None:
    """Remove uncollected products of before that no frame belongs to any more."""
    if night.redeliver:
        used = {frame.product for frame in ledger.frames(night.night)}
        for product in ledger.products(night.night):
            if product.delivery < night.redeliver and product.name not in used:
                take_back(ledger, archive, product)


def main() -> None:
    """Run the job."""
    start_log(snakemake.log[0])
    settings = Configuration.of(snakemake.config)
    night_name, target = snakemake.wildcards.night, snakemake.wildcards.product
    archive, cubes = settings.archive, settings.products == "cubes"
    stamp = Path(snakemake.output.stamp)
    if not archive.is_dir():
        raise FileNotFoundError(f"archive: the directory {archive} does not exist; is it mounted?")
    with Ledger(ledger_path(Path())) as ledger:
        failed = list(settle(ledger, archive, night_name, target).values())
        night = ledger.night(night_name)
        frames = [
            frame
            for frame in frames_of(ledger, night_name, target, cubes)
            if is_due(frame, night) and frame.status is not Status.STAGED
        ]
        frames.sort(key=lambda frame: (frame.begin, frame.file))
        if frames and snakemake.input.product:
            headers = Path(snakemake.input.headers)
            faults = read_held(headers)
            hold_back(ledger, frames, faults)
            frames = [frame for frame in frames if frame.file not in faults]
        if frames and snakemake.input.product:
            take_back_replaced(ledger, archive, night)
            planes = read_headers(headers / f"{frames[0].sequence}.fits") if cubes else {}
            programmes = {frame.programme for frame in frames}
            gate = Gate(
                read_checks(Path(snakemake.input.checks)),
                expected_of(
                    settings.telescope, settings.camera, night_name, planes, tuple(programmes)
                ),
                ledger,
                night,
                target,
            )
            made, refused = made_products(Path(snakemake.input.product), frames, gate)
            failed += refused
            failed += deliver(made, archive, int(settings.mode, 8), ledger).values()
        ledger.note_night(night_name, reported=0)
        write_receipts(ledger, night_name, Path(night_name) / FOLDER, cubes, target)
    if failed:
        raise Undelivered(undelivered_text(failed, len(frames)))
    write_text(stamp, f"{target}: see the ledger\n")


def undelivered_text(failed: list[str], count: int) -> str:
    """Return why products could not be delivered."""
    if count <= 1 or len(failed) == count:
        return failed[0]
    return f"{len(failed)} of {count} frames could not be delivered, the others were: {failed[0]}"


if __name__ == "__main__":
    main()
