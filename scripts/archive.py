"""Deliver a product: check it, stage it, record the intent, publish it, book it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scripts.lib.delivery.publish import publish_intents, stage, take_back
from scripts.lib.delivery.receipts import FOLDER, PASSED, frames_of, write_receipts
from scripts.lib.files.durable import sync_folder, write_text
from scripts.lib.files.errors import Damaged, JobFailed
from scripts.lib.files.log import logger, start_log
from scripts.lib.fits.cards import HeaderError
from scripts.lib.fits.checksum import add_at
from scripts.lib.gate import product_file
from scripts.lib.gate.checks import Check, errors, fault_of, judged, read_checks
from scripts.lib.gate.product_file import Context, ProductFile
from scripts.lib.headers.finished import read_headers, read_held, read_left_out
from scripts.lib.ledger.faults import BadFrame, Fault, Reason
from scripts.lib.ledger.ledger import Ledger, Overtaken, ledger_path
from scripts.lib.ledger.outlook import is_due
from scripts.lib.ledger.records import Frame, Intent, Night, Product, Status
from scripts.lib.ledger.snapshot import good
from scripts.lib.nights.cameras import of_night
from scripts.lib.nights.dates import night_bounds
from scripts.lib.settings.records import Configuration

if TYPE_CHECKING:
    from scripts.lib.files.log import snakemake


class Made(NamedTuple):
    """A product that has passed the gate, and the frames that are in it."""

    path: Path
    product: Product
    frames: list[Frame]


@dataclass
class Delivery:
    """The delivery of a cube, or of a sequence's frames, by one job."""

    ledger: Ledger
    archive: Path
    night: Night
    target: str  # what the job is called after
    checks: list[Check]
    context: Context  # what products are judged against
    failed: list[str]  # why products could not be delivered
    # What of raw headers is in no product, by file name: texts ``KEYWORD: why``.
    left_out: Mapping[str, list[str]] = field(default_factory=dict)

    def pass_gate(self, path: Path, frames: list[Frame]) -> Made:
        """Return a product that may be delivered, with its frames in time order.

        Raises `Damaged` if not every pixel of every frame is in it, `BadFrame` if ESO or the
        survey's reader would refuse it, or ESO has another of its name.
        """
        file = check_whole(path, frames, self.context)
        findings = judged(file, self.checks)
        if wrong := errors(findings):
            fault = fault_of(wrong)
            raise BadFrame(fault.reason, fault.detail, fault.subject)
        product = Product(
            name=file.name,
            night=self.night.night,
            target=self.target,
            programme=str(file.value("HIERARCH ESO OBS PROG ID")),
            dp_id=product_file.dp_id(file),
            bytes=file.size,
            datasum=int(str(file.value("DATASUM"))),
            checksum=str(file.value("CHECKSUM")),
            verdict="; ".join([PASSED, *map(str, findings), *self.losses(frames)]),
            delivery=self.night.redeliver,
        )
        check_free(product, self.ledger)
        return Made(path, product, frames)

    def losses(self, frames: list[Frame]) -> list[str]:
        """Return what is left out of frames' headers: by keyword the first, and how many."""
        texts = [text for frame in frames for text in self.left_out.get(frame.file, ())]
        counts = Counter(text.partition(":")[0] for text in texts)
        first = {text.partition(":")[0]: text for text in reversed(texts)}
        return [
            f"left out: {first[keyword]}" + (f" (in {count} frames)" if count > 1 else "")
            for keyword, count in counts.items()
        ]

    def pass_gate_each(self, folder: Path, frames: list[Frame]) -> list[Made]:
        """Return the frames of a folder that may be delivered.

        One that is refused is held back, one that is damaged is left out, each alone.
        """
        passed = []
        for frame in frames:
            try:
                passed.append(self.pass_gate(folder / frame.product, [frame]))
            except BadFrame as error:
                hold_back(self.ledger, [frame], {frame.file: error.fault})
            except (Damaged, FileNotFoundError) as error:
                logger.error("%s: not delivered: %s", frame.file, error)
                self.failed.append(str(error))
        return passed

    def deliver(self, made: list[Made], mode: int) -> None:
        """Stage products, record the intent, publish and book them."""
        new = []
        with self.ledger.transaction():
            for one in made:
                product, earlier = one.product, self.ledger.product(one.product.name)
                if (
                    earlier is None
                    or earlier.delivery < product.delivery
                    or not earlier.same_file(product)
                ):
                    new.append(one)
                    continue
                # By a ledger that did not know frames.
                logger.info("%s: had been delivered", product.name)
                self.ledger.record(
                    replace(frame, status=Status.DELIVERED, delivery=product.delivery)
                    for frame in one.frames
                )
        if not new:
            return
        intents = [
            Intent(one.product, stage(one.path, self.archive, mode, self.ledger)) for one in new
        ]
        sync_folder(self.archive)
        try:
            self.ledger.stage(intents, [frame for one in new for frame in one.frames])
        except Overtaken:
            # After any other error the intent may stand: then a hidden file that is gone counts as
            # published.
            for intent in intents:
                (self.archive / intent.hidden).unlink(missing_ok=True)
            raise
        self.failed += publish_intents(self.ledger, self.archive, intents).values()


def check_whole(path: Path, frames: list[Frame], context: Context) -> ProductFile:
    """Return a product's file; raise `Damaged` unless its pixels are its frames'.

    The sum in the header was made of the bytes as they were written. It is the sum of the raw
    frames' sums if, and only if, no bit of them changed on the way.
    """
    planes, pixels = len(frames), frames[0].pixel_bytes
    total = 0
    for number, frame in enumerate(frames):
        total = add_at(total, frame.pixels, number * pixels)
    try:
        file = product_file.read_product_file(path, context, total)
    except (HeaderError, TypeError) as error:
        raise Damaged(f"{path}: {error}") from error
    found = file.value("NAXIS3") or 1
    if found != planes or file.hdus[0].data_size != planes * pixels:
        raise Damaged(f"{path}: {found} planes for {planes} frames")
    if str(total) != file.value("DATASUM"):
        raise Damaged(f"{path}: DATASUM is {file.value('DATASUM')}, that of its raw frames {total}")
    return file


def check_free(product: Product, ledger: Ledger) -> None:
    """Raise `BadFrame` if ESO has another product of the name that it would give this one."""
    if (earlier := ledger.namesake(product)) and earlier.delivered:
        detail = (
            f"ESO would name {product.name} {product.dp_id}, as {earlier.name}, which was "
            f"delivered on {earlier.delivered:%F %H:%M}. Find out which is right; "
            "redeliver=true delivers it"
        )
        raise BadFrame(Reason.REFUSED, detail, "T24")


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


def main() -> None:
    """Run the job."""
    start_log(snakemake.log[0])
    night_name, target = snakemake.wildcards.night, snakemake.wildcards.product
    settings = of_night(Configuration.of(snakemake.config), night_name)
    archive, cubes = settings.archive, settings.products == "cubes"
    if not archive.is_dir():
        raise FileNotFoundError(f"archive: the directory {archive} does not exist; is it mounted?")
    with Ledger(ledger_path(Path())) as ledger:
        intents = ledger.intents(night_name, target)
        failed = list(publish_intents(ledger, archive, intents).values())
        night = ledger.night(night_name)
        frames = good(
            frame
            for frame in frames_of(ledger, night_name, target, cubes)
            if is_due(frame, night) and frame.status is not Status.STAGED
        )
        if frames and snakemake.input.product:
            made, headers = Path(snakemake.input.product), Path(snakemake.input.headers)
            faults = read_held(headers)
            hold_back(ledger, frames, faults)
            frames = [frame for frame in frames if frame.file not in faults]
        if frames and snakemake.input.product:
            if night.redeliver:
                # Products of before that no frame belongs to any more.
                used = {frame.product for frame in ledger.frames(night_name)}
                for product in ledger.products(night_name):
                    if product.delivery < night.redeliver and product.name not in used:
                        take_back(ledger, archive, product)
            planes = read_headers(headers / f"{frames[0].sequence}.fits") if cubes else {}
            programmes = {frame.programme for frame in frames}
            bounds = night_bounds(night_name, settings.place.longitude)
            context = product_file.context_of(
                settings.telescope, settings.camera, bounds, planes, tuple(programmes)
            )
            checks = read_checks(Path(snakemake.input.checks))
            left_out = read_left_out(headers)
            delivery = Delivery(ledger, archive, night, target, checks, context, failed, left_out)
            if cubes:
                passed = [delivery.pass_gate(made, frames)]
            else:
                passed = delivery.pass_gate_each(made, frames)
            delivery.deliver(passed, int(settings.mode, 8))
        ledger.note_night(night_name, reported=0)
        write_receipts(ledger, night_name, Path(night_name) / FOLDER, cubes, target)
    if failed:
        some = f"{len(failed)} of {len(frames)} frames could not be delivered, the others were: "
        raise JobFailed(failed[0] if len(frames) in (0, 1, len(failed)) else some + failed[0])
    write_text(Path(snakemake.output.stamp), f"{target}: see the ledger\n")


if __name__ == "__main__":
    main()
