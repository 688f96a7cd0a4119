"""Deliver products: check them, stage them, record the intent, publish them, book them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scripts.lib.delivery.publish import publish_intents, stage, take_back
from scripts.lib.delivery.receipts import FOLDER, PASSED, frames_of, write_receipts
from scripts.lib.files.durable import sync, write_text
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
    """The delivery of some targets of a night by one job: cubes, or the frames of sequences."""

    ledger: Ledger
    archive: Path
    night: Night
    cubes: bool
    checks: list[Check]
    context: Context  # what products are judged against
    failed: list[str] = field(default_factory=list)  # why products could not be delivered

    def due(self, target: str) -> list[Frame]:
        """Return the frames of a target that are to be delivered, once what is staged is."""
        name = self.night.night
        intents = self.ledger.intents(name, target)
        self.failed += publish_intents(self.ledger, self.archive, intents).values()
        found = frames_of(self.ledger, name, target, self.cubes)
        return good(f for f in found if is_due(f, self.night) and f.status is not Status.STAGED)

    def pass_gate(self, target: str, made: Path, headers: Path, frames: list[Frame]) -> list[Made]:
        """Return the products of a target that may be delivered: a cube, or frames in a folder.

        ``headers`` is the folder of finished headers, ``frames`` are those to be delivered. Those
        that `header` has held back are written down. Raises `Damaged` or `BadFrame` for a cube, see
        `judge`; a frame that is refused is held back, one that is damaged is left out, each alone.
        """
        faults = read_held(headers)
        hold_back(self.ledger, frames, faults)
        frames = [frame for frame in frames if frame.file not in faults]
        if not frames:
            return []
        if self.night.redeliver:
            self.take_back_unused()
        context = self.context._replace(programmes=tuple({frame.programme for frame in frames}))
        left_out = read_left_out(headers)
        if self.cubes:
            planes = read_headers(headers / f"{frames[0].sequence}.fits")
            context = context._replace(headers=planes)
            return [self.judge(target, made, frames, context, left_out)]
        passed = []
        for frame in frames:
            try:
                path = made / frame.product
                passed.append(self.judge(target, path, [frame], context, left_out))
            except BadFrame as error:
                hold_back(self.ledger, [frame], {frame.file: error.fault})
            except (Damaged, FileNotFoundError) as error:
                logger.error("%s: not delivered: %s", frame.file, error)
                self.failed.append(str(error))
        return passed

    def take_back_unused(self) -> None:
        """Remove products of before that no frame belongs to any more."""
        used = {frame.product for frame in self.ledger.frames(self.night.night)}
        for product in self.ledger.products(self.night.night):
            if product.delivery < self.night.redeliver and product.name not in used:
                take_back(self.ledger, self.archive, product)

    def judge(
        self,
        target: str,
        path: Path,
        frames: list[Frame],
        context: Context,
        left_out: Mapping[str, list[str]],
    ) -> Made:
        """Return a product that may be delivered, with its frames in time order.

        ``left_out`` says what of raw headers is in no product, by file name. Raises `Damaged` if
        not every pixel of every frame is in it, `BadFrame` if ESO or the survey's reader would
        refuse it, or ESO has another of its name.
        """
        file = check_whole(path, frames, context)
        findings = judged(file, self.checks)
        if wrong := errors(findings):
            fault = fault_of(wrong)
            raise BadFrame(fault.reason, fault.detail, fault.subject)
        product = Product(
            name=file.name,
            night=self.night.night,
            target=target,
            programme=str(file.value("HIERARCH ESO OBS PROG ID")),
            dp_id=product_file.dp_id(file),
            bytes=file.size,
            datasum=int(str(file.value("DATASUM"))),
            checksum=str(file.value("CHECKSUM")),
            verdict="; ".join([PASSED, *map(str, findings), *losses(frames, left_out)]),
            delivery=self.night.redeliver,
        )
        check_free(product, self.ledger)
        return Made(path, product, frames)

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
        intents, frames = [], []
        for one in new:
            try:
                hidden = stage(one.path, self.archive, mode, self.ledger)
            except (Damaged, OSError) as error:
                logger.error("%s: not delivered: %s", one.product.name, error)
                self.failed.append(f"{one.product.name}: {error}")
            else:
                intents.append(Intent(one.product, hidden))
                frames += one.frames
        sync(self.archive)
        try:
            self.ledger.stage(intents, frames)
        except Overtaken:
            # After any other error the intent may stand: then a hidden file that is gone counts as
            # published.
            for intent in intents:
                (self.archive / intent.hidden).unlink(missing_ok=True)
            raise
        self.failed += publish_intents(self.ledger, self.archive, intents).values()


def losses(frames: list[Frame], left_out: Mapping[str, list[str]]) -> list[str]:
    """Return what is left out of frames' headers: by keyword the first, and how many."""
    texts = [text for frame in frames for text in left_out.get(frame.file, ())]
    counts = Counter(text.partition(":")[0] for text in texts)
    first = {text.partition(":")[0]: text for text in reversed(texts)}
    return [
        f"left out: {first[keyword]}" + (f" (in {count} frames)" if count > 1 else "")
        for keyword, count in counts.items()
    ]


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


def open_delivery(ledger: Ledger, night: str, settings: Configuration, checks: Path) -> Delivery:
    """Return what a job delivers with; raise `FileNotFoundError` without an archive directory."""
    archive, bounds = settings.archive, night_bounds(night, settings.place.longitude)
    if not archive.is_dir():
        raise FileNotFoundError(f"archive: the directory {archive} does not exist; is it mounted?")
    context = product_file.context_of(settings.telescope, settings.camera, bounds)
    cubes = settings.products == "cubes"
    return Delivery(ledger, archive, ledger.night(night), cubes, read_checks(checks), context)


def main() -> None:
    """Run the job."""
    start_log(snakemake.log[0])
    night, target = snakemake.wildcards.night, snakemake.wildcards.product
    settings = of_night(Configuration.of(snakemake.config), night)
    with Ledger(ledger_path(Path())) as ledger:
        delivery = open_delivery(ledger, night, settings, Path(snakemake.input.checks))
        frames = delivery.due(target)
        if frames and snakemake.input.product:
            product, headers = Path(snakemake.input.product), Path(snakemake.input.headers)
            made = delivery.pass_gate(target, product, headers, frames)
            delivery.deliver(made, int(settings.mode, 8))
        ledger.note_night(night, reported=0)
        write_receipts(ledger, night, Path(night) / FOLDER, delivery.cubes, target)
    if failed := delivery.failed:
        some = f"{len(failed)} of {len(frames)} frames could not be delivered, the others were: "
        raise JobFailed(failed[0] if len(frames) in (0, 1, len(failed)) else some + failed[0])
    write_text(Path(snakemake.output.stamp), f"{target}: see the ledger\n")


if __name__ == "__main__":
    main()
