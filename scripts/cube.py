"""Stack the frames of a sequence into a cube: finished header, raw bytes, METADATA.

Planes are read, summed and written one at a time, so memory does not grow with the cube. The
header is written last, over the place kept for it, with the sum of what was really written.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from scripts.lib.files.durable import remove_parts, whole_file
from scripts.lib.files.log import start_log
from scripts.lib.fits.cards import Header, padded, read_header
from scripts.lib.fits.hdu import image_structure, sealed, without_structure
from scripts.lib.fits.pixels import Raw, dated_now
from scripts.lib.fits.sizes import data_size, padding
from scripts.lib.fits.sums import add_at
from scripts.lib.headers.finished import read_headers, with_headers
from scripts.lib.ledger.records import Frame
from scripts.lib.ledger.snapshot import read_frames
from scripts.lib.sources.repair import raw_of

if TYPE_CHECKING:
    from scripts.lib.files.job import snakemake


def write_cube(target: Path, frames: list[Frame], raw: Raw, headers: Path) -> None:
    """Write a cube.

    Parameters
    ----------
    frames : list of Frame
        In time order: the planes. Without any an empty file is left, which is not delivered.
    raw : Raw
        Their pixels.
    headers : Path
        Finished headers of the sequence.

    Raises
    ------
    LostPixels
        If a frame cannot be read as it was ingested. No cube is left then.
    ValueError
        If the frames are not of one size.
    """
    if not frames:
        with whole_file(target):
            return
    sizes = {frame.shape for frame in frames}
    if len(sizes) != 1:
        raise ValueError(f"{target.name}: frames of several sizes: {sorted(sizes)}")
    primary, metadata = read_cube_headers(headers)
    shape = (frames[0].naxis1, frames[0].naxis2, len(frames))
    cards = image_structure(shape, extended=True) + dated_now(without_structure(primary.images))
    plane = bytearray(frames[0].pixel_bytes)
    remove_parts(target.parent, f"{target.name}.*")
    with whole_file(target) as cube:
        cube.write(bytes(len(sealed(cards, 0))))
        total = 0
        for number, frame in enumerate(frames):
            total = add_at(total, raw.read(frame, plane), number * len(plane))
            cube.write(plane)
        cube.write(padding(len(frames) * len(plane)))
        cube.write(metadata)
        cube.seek(0)
        cube.write(sealed(cards, total))


def read_cube_headers(headers: Path) -> tuple[Header, bytes]:
    """Return a cube's primary header and the bytes of its METADATA."""
    with open(headers, "rb") as stream:
        primary = read_header(stream)
        begin = stream.tell()
        table = read_header(stream)
        size = stream.tell() - begin + padded(data_size(table))
        stream.seek(begin)
        return primary, stream.read(size)


def main() -> None:
    """Run the job."""
    start_log(snakemake.log[0])
    sequence = snakemake.wildcards.sequence
    headers = Path(snakemake.input.headers) / f"{sequence}.fits"
    frames = read_frames(Path(snakemake.input.frames), snakemake.params.snapshot)
    write_cube(
        Path(snakemake.output.cube),
        with_headers(frames, sequence, read_headers(headers)),
        raw_of(Path(snakemake.input.marker).parent, snakemake.config),
        headers,
    )


if __name__ == "__main__":
    main()
