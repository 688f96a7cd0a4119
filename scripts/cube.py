"""Stack the frames of a sequence into a cube: finished header, raw bytes, METADATA.

Planes are read, summed and written one at a time, so memory does not grow with the cube. The
header is written last, over the place kept for it, with the sum of what was really written.
"""

from pathlib import Path

from scripts.lib.files.durable import remove_parts, whole_file
from scripts.lib.files.log import start_log
from scripts.lib.fits.cards import Header, padded, read_header
from scripts.lib.fits.hdu import image_structure, sealed, without_structure
from scripts.lib.fits.pixels import dated_now, pixel_bytes, read_pixels
from scripts.lib.fits.sizes import data_size, padding
from scripts.lib.fits.sums import add_at
from scripts.lib.nights.night_frames import headered_frames


def write_cube(target: Path, frames: list[dict], raw: Path, headered: Path) -> None:
    """Write a cube.

    Parameters
    ----------
    frames : list of dict
        Rows of ``frames.csv``, in time order: the planes. Without any an empty file is left, which
        is not delivered.
    raw : Path
        Folder of the raw frames.
    headered : Path
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
    sizes = {(int(row["naxis1"]), int(row["naxis2"])) for row in frames}
    if len(sizes) != 1:
        raise ValueError(f"{target.name}: frames of several sizes: {sorted(sizes)}")
    primary, metadata = read_cube_headers(headered)
    shape = (*sizes.pop(), len(frames))
    cards = image_structure(shape, extended=True) + dated_now(without_structure(primary.images))
    plane = bytearray(pixel_bytes(frames[0]))
    remove_parts(target.parent, f"{target.name}.*")
    with whole_file(target) as cube:
        cube.write(bytes(len(sealed(cards, 0))))
        total = 0
        for number, row in enumerate(frames):
            total = add_at(total, read_pixels(raw, row, plane), number * len(plane))
            cube.write(plane)
        cube.write(padding(len(frames) * len(plane)))
        cube.write(metadata)
        cube.seek(0)
        cube.write(sealed(cards, total))


def read_cube_headers(headered: Path) -> tuple[Header, bytes]:
    """Return a cube's primary header and the bytes of its METADATA."""
    with open(headered, "rb") as stream:
        primary = read_header(stream)
        begin = stream.tell()
        table = read_header(stream)
        size = stream.tell() - begin + padded(data_size(table))
        stream.seek(begin)
        return primary, stream.read(size)


if __name__ == "__main__":
    start_log(snakemake.log[0])
    sequence, headered = snakemake.wildcards.sequence, Path(snakemake.input.headered)
    write_cube(
        Path(snakemake.output.cube),
        headered_frames(Path(snakemake.input.frames), sequence, headered),
        Path(snakemake.input.marker).parent,
        headered / f"{sequence}.fits",
    )
