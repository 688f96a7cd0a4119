"""Make and deliver small products, several in one job.

A job of its own takes longer to start than such a product to write. Each fails alone: the others
of the batch are delivered.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.archive import Delivery, Made, open_delivery
from scripts.cube import write_cube
from scripts.frames import write_frames
from scripts.lib.delivery.receipts import FOLDER, write_receipts
from scripts.lib.files.durable import write_text
from scripts.lib.files.errors import JobFailed
from scripts.lib.files.log import logger, start_log
from scripts.lib.headers.finished import read_headers, with_headers
from scripts.lib.ledger.ledger import Ledger, ledger_path
from scripts.lib.ledger.records import Frame
from scripts.lib.ledger.snapshot import read_frames
from scripts.lib.nights.cameras import of_night
from scripts.lib.settings.records import Configuration
from scripts.lib.sources.raw_copies import RawCopies

if TYPE_CHECKING:
    from scripts.lib.files.log import snakemake


def make(
    delivery: Delivery,
    target: str,
    folder: Path,
    table: list[Frame],
    raw: RawCopies,
    headers: Path,
) -> list[Made]:
    """Make the products of a target in ``folder``; return those that may be delivered.

    ``table`` has the frames of the night as the headers were made from them.
    """
    frames = delivery.due(target)
    if not frames:
        return []
    sequence = frames[0].sequence
    path = headers / f"{sequence}.fits"
    finished = read_headers(path)
    members = with_headers(table, sequence, finished)
    if delivery.cubes:
        made = folder / f"{target}.fits"
        write_cube(made, members, raw, path)
    else:
        made = folder / target
        write_frames(made, members, raw, finished, 1)
    return delivery.pass_gate(target, made, headers, frames)


def main() -> None:
    """Run the job."""
    start_log(snakemake.log[0])
    night, targets = snakemake.wildcards.night, snakemake.params.members
    settings = of_night(Configuration.of(snakemake.config), night)
    table = read_frames(Path(snakemake.input.frames), snakemake.params.snapshot)
    raw = RawCopies(Path(snakemake.input.marker).parent, snakemake.config)
    folder = Path(night) / "batches" / snakemake.wildcards.batch
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with Ledger(ledger_path(Path())) as ledger:
        delivery = open_delivery(ledger, night, settings, Path(snakemake.input.checks))
        made = []
        for target in targets:
            try:
                made += make(delivery, target, folder, table, raw, Path(snakemake.input.headers))
            except Exception as error:
                # Whatever it is, it must not keep the other products from ESO.
                logger.exception("%s: not delivered", target)
                delivery.failed.append(f"{target}: {error}")
        delivery.deliver(made, int(settings.mode, 8))
        ledger.note_night(night, reported=0)
        for target in targets:
            write_receipts(ledger, night, Path(night) / FOLDER, delivery.cubes, target)
    shutil.rmtree(folder)
    if failed := delivery.failed:
        some = f"{len(failed)} products could not be delivered, the others were: " if made else ""
        raise JobFailed(some + failed[0])
    write_text(Path(snakemake.output.stamp), "see the ledger\n")


if __name__ == "__main__":
    main()
