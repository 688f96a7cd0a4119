"""Write the frames of a sequence as ESO gets them: finished header, raw bytes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.lib.files.buffers import thread_buffer
from scripts.lib.files.durable import begin_writing, whole_folder
from scripts.lib.files.log import start_log
from scripts.lib.fits.cards import Header
from scripts.lib.fits.hdu import image_structure, padding, with_checksums
from scripts.lib.frames.names import stem
from scripts.lib.headers.finished import product_cards, read_headers, with_headers
from scripts.lib.ledger.records import Frame
from scripts.lib.ledger.snapshot import read_frames
from scripts.lib.sources.raw_copies import RawCopies

if TYPE_CHECKING:
    from scripts.lib.files.log import snakemake


def write_frames(
    folder: Path, frames: list[Frame], raw: RawCopies, headers: dict[str, Header], threads: int
) -> None:
    """Write every frame of a sequence into ``folder``, ``threads`` at a time.

    ``headers`` are finished ones, by ESO's name without its ending. Raises `Damaged` if a frame
    cannot be read as it was ingested.
    """

    def write(frame: Frame) -> None:
        structure = image_structure((frame.naxis1, frame.naxis2), extended=False)
        cards = structure + product_cards(headers[stem(frame.eso_name)])
        with thread_buffer(frame.pixel_bytes) as pixels:
            total = raw.read(frame, pixels)
            with open(part / frame.product, "wb") as product:
                product.write(with_checksums(cards, total))
                product.write(pixels)
                product.write(padding(len(pixels)))
                begin_writing(product)

    with whole_folder(folder) as part, ThreadPoolExecutor(threads) as pool:
        list(pool.map(write, frames))


def main() -> None:
    """Run the job."""
    start_log(snakemake.log[0])
    sequence = snakemake.wildcards.sequence
    headers = read_headers(Path(snakemake.input.headers) / f"{sequence}.fits")
    frames = read_frames(Path(snakemake.input.frames), snakemake.params.snapshot, sequence)
    write_frames(
        Path(snakemake.output.folder),
        with_headers(frames, sequence, headers),
        RawCopies(Path(snakemake.input.marker).parent, snakemake.config),
        headers,
        snakemake.threads,
    )


if __name__ == "__main__":
    main()
