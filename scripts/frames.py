"""Write the frames of a sequence as ESO gets them: finished header, raw bytes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.lib.files.durable import whole_file, whole_folder
from scripts.lib.files.log import start_log
from scripts.lib.fits.cards import Header
from scripts.lib.fits.hdu import image_structure, sealed, without_structure
from scripts.lib.fits.pixels import Raw, dated_now
from scripts.lib.fits.sizes import padding
from scripts.lib.frames.names import stem
from scripts.lib.headers.finished import read_headers, with_headers
from scripts.lib.ledger.records import Frame
from scripts.lib.ledger.snapshot import read_frames
from scripts.lib.sources.repair import raw_of

if TYPE_CHECKING:
    from scripts.lib.files.job import snakemake


def write_frames(
    folder: Path, frames: list[Frame], raw: Raw, headers: dict[str, Header], threads: int
) -> None:
    """Write every frame of a sequence into ``folder``.

    Parameters
    ----------
    headers : dict of Header
        Finished, by ESO's name without its ending.
    threads : int
        Frames written at a time.

    Raises
    ------
    LostPixels
        If a frame cannot be read as it was ingested.
    """
    with whole_folder(folder) as part, ThreadPoolExecutor(threads) as pool:

        def write(frame: Frame) -> None:
            write_frame(part / frame.product, frame, raw, headers[stem(frame.eso_name)])

        for _ in pool.map(write, frames):
            pass


def write_frame(target: Path, frame: Frame, raw: Raw, header: Header) -> None:
    """Write one frame."""
    pixels = bytearray(frame.pixel_bytes)
    total = raw.read(frame, pixels)
    shape = (frame.naxis1, frame.naxis2)
    cards = image_structure(shape, extended=False) + dated_now(without_structure(header.images))
    with whole_file(target, lasting=False) as product:
        product.write(sealed(cards, total))
        product.write(pixels)
        product.write(padding(len(pixels)))


def main() -> None:
    """Run the job."""
    start_log(snakemake.log[0])
    sequence = snakemake.wildcards.sequence
    headers = read_headers(Path(snakemake.input.headers) / f"{sequence}.fits")
    frames = read_frames(Path(snakemake.input.frames), snakemake.params.snapshot)
    write_frames(
        Path(snakemake.output.folder),
        with_headers(frames, sequence, headers),
        raw_of(Path(snakemake.input.marker).parent, snakemake.config),
        headers,
        snakemake.threads,
    )


if __name__ == "__main__":
    main()
