"""Stack the frames of a sequence into a cube: finished header, raw bytes, METADATA.

Planes are read, summed and written one at a time, so memory does not grow with the cube. The
header is written last, over the place kept for it, with the sum of what was really written.
"""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.lib.files.durable import begin_writing, remove_parts, whole_file
from scripts.lib.files.errors import Damaged
from scripts.lib.files.log import start_log
from scripts.lib.fits.checksum import add_at
from scripts.lib.fits.hdu import image_structure, iter_hdus, padding, with_checksums
from scripts.lib.headers.finished import product_cards, read_headers, with_headers
from scripts.lib.ledger.records import Frame
from scripts.lib.ledger.snapshot import read_frames
from scripts.lib.sources.raw_copies import RawCopies

if TYPE_CHECKING:
    from scripts.lib.files.log import snakemake

PLANES = 16  # that the disk is given at a time


def write_cube(target: Path, frames: list[Frame], raw: RawCopies, headers: Path) -> None:
    """Write a cube of frames in time order with the finished headers of their sequence.

    Without any frame an empty file is left, which is not delivered. Raises `Damaged`, and leaves
    no cube, if a frame cannot be read as it was ingested or the headers have no METADATA.
    """
    if not frames:
        with whole_file(target):
            return
    sizes = {frame.shape for frame in frames}
    if len(sizes) != 1:
        raise ValueError(f"{target.name}: frames of several sizes: {sorted(sizes)}")
    with open(headers, "rb") as stream:
        primary, *tables = islice(iter_hdus(stream), 2)
        if not tables:
            raise Damaged(f"{headers}: no METADATA after the primary header")
        stream.seek(tables[0].begin)
        metadata = stream.read(tables[0].end - tables[0].begin)
    shape = (frames[0].naxis1, frames[0].naxis2, len(frames))
    cards = image_structure(shape, extended=True) + product_cards(primary.header)
    plane = memoryview(bytearray(frames[0].pixel_bytes))
    remove_parts(target.parent, f"{target.name}.*")
    with whole_file(target) as cube:
        cube.write(bytes(len(with_checksums(cards, 0))))
        total = written = 0
        for number, frame in enumerate(frames):
            total = add_at(total, raw.read(frame, plane), number * len(plane))
            cube.write(plane)
            if number % PLANES == 0:
                begin_writing(cube, written)
                written = cube.tell()
        cube.write(padding(len(frames) * len(plane)))
        cube.write(metadata)
        cube.seek(0)
        cube.write(with_checksums(cards, total))


def main() -> None:
    """Run the job."""
    start_log(snakemake.log[0])
    sequence = snakemake.wildcards.sequence
    headers = Path(snakemake.input.headers) / f"{sequence}.fits"
    frames = read_frames(Path(snakemake.input.frames), snakemake.params.snapshot, sequence)
    write_cube(
        Path(snakemake.output.cube),
        with_headers(frames, sequence, read_headers(headers)),
        RawCopies(Path(snakemake.input.marker).parent, snakemake.config),
        headers,
    )


if __name__ == "__main__":
    main()
