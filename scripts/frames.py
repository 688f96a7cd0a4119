"""Write the frames of a sequence as ESO gets them: finished header, raw bytes."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scripts.lib.files.durable import whole_file, whole_folder
from scripts.lib.files.log import start_log
from scripts.lib.fits.cards import Header
from scripts.lib.fits.hdu import image_structure, sealed, without_structure
from scripts.lib.fits.pixels import dated_now, pixel_bytes, read_pixels
from scripts.lib.fits.sizes import padding
from scripts.lib.frames.names import stem
from scripts.lib.headers.headered import read_headers
from scripts.lib.nights.night_frames import headered_frames


def write_frames(folder: Path, frames: list[dict], raw: Path, headered: Path, threads: int) -> None:
    """Write every frame of a sequence into ``folder``.

    Parameters
    ----------
    frames : list of dict
        Rows of ``frames.csv``.
    threads : int
        Frames written at a time.

    Raises
    ------
    LostPixels
        If a frame cannot be read as it was ingested.
    """
    headers = read_headers(headered)
    with whole_folder(folder) as part, ThreadPoolExecutor(threads) as pool:

        def write(row: dict) -> None:
            write_frame(part / row["product"], row, raw, headers[stem(row["eso_name"])])

        for _ in pool.map(write, frames):
            pass


def write_frame(target: Path, row: dict, raw: Path, header: Header) -> None:
    """Write one frame."""
    pixels = bytearray(pixel_bytes(row))
    total = read_pixels(raw, row, pixels)
    shape = (int(row["naxis1"]), int(row["naxis2"]))
    cards = image_structure(shape, extended=False) + dated_now(without_structure(header.images))
    with whole_file(target, lasting=False) as frame:
        frame.write(sealed(cards, total))
        frame.write(pixels)
        frame.write(padding(len(pixels)))


if __name__ == "__main__":
    start_log(snakemake.log[0])
    sequence, headered = snakemake.wildcards.sequence, Path(snakemake.input.headered)
    write_frames(
        Path(snakemake.output.folder),
        headered_frames(Path(snakemake.input.frames), sequence, headered),
        Path(snakemake.input.marker).parent,
        headered / f"{sequence}.fits",
        snakemake.threads,
    )
