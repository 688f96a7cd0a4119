"""Finish the ESO headers of a night: times and world coordinates for all frames at once.

Each sequence gets one FITS file of headers without data: the cube's primary header and METADATA
(for cubes), then the header of each frame. Structure and checksums of the products are written
with the pixels, by the rules `cube` and `frames`.
"""

from pathlib import Path

from scripts.lib import names, values
from scripts.lib.durable import whole_file, whole_folder
from scripts.lib.frame import BadFrame, open_header
from scripts.lib.hdu import empty_structure, sealed
from scripts.lib.keywords import Entry, Keywords, compose
from scripts.lib.log import logger, start_log
from scripts.lib.metadata import cube_values, metadata_hdu
from scripts.lib.night_frames import sequences
from scripts.lib.observatory import Observatory, expose, open_observatory
from scripts.lib.pixel_wcs import pixel_wcs
from scripts.lib.sidereal import sidereal_seconds
from scripts.lib.sky_wcs import WrongWCS, header_wcs
from scripts.lib.tables import read_table
from scripts.lib.values import Exposure


def read_exposures(
    raw: Path, frames: list[dict], observatory: Observatory, longitude: float
) -> list[Exposure]:
    """Return the exposures of frames, with sidereal time and sky.

    Parameters
    ----------
    frames : list of dict
        Rows of ``frames.csv``.
    longitude : float
        Of the site, in degrees, east positive.
    """
    exposures = []
    for row in frames:
        header, data_start = open_header(raw / row["file"])
        exposure = expose(row["file"], header, data_start, observatory)
        exposures.append(exposure._replace(wcs=sky_or_pixels(row["file"], exposure, observatory)))
    lst = sidereal_seconds([e.frame.date_obs for e in exposures], longitude)
    return [e._replace(lst=seconds) for e, seconds in zip(exposures, lst, strict=True)]


def sky_or_pixels(name: str, exposure: Exposure, observatory: Observatory) -> dict:
    """Return the WCS of a frame: on the sky if it is science and has a credible one."""
    if exposure.frame.kind.name != "science":
        return exposure.wcs
    scale = observatory.camera.pixel_scale * exposure.frame.setting.xbinning
    try:
        return header_wcs(exposure.raw, values.ra(exposure), values.dec(exposure), scale)
    except WrongWCS as error:
        logger.info("%s: no sky WCS: %s", name, error)
        return pixel_wcs()


def sequence_headers(
    sequence: str, frames: list[dict], exposures: list[Exposure], table: Keywords, cube: bool
) -> bytes:
    """Return the headers of a sequence as a FITS file without data.

    Parameters
    ----------
    frames : list of dict
        Rows of ``frames.csv``, in time order, one for each exposure.
    cube : bool
        Whether to begin with a cube's header and its METADATA.
    """
    headers = [compose(exposure, table) for exposure in exposures]
    if cube:
        first = exposures[0]._replace(wcs=pixel_wcs(3))
        primary = compose(first, table, cube_values(exposures[-1], sequence))
        records = [{entry.keyword: entry.value for entry in header} for header in headers]
        hdus = [
            headers_only(primary),
            metadata_hdu([row["eso_name"] for row in frames], records, table),
        ]
    else:
        hdus = [headers_only([])]
    for row, header in zip(frames, headers, strict=True):
        hdus.append(headers_only(header, names.stem(row["eso_name"])))
    return b"".join(hdus)


def headers_only(header: list[Entry], extname: str = "") -> bytes:
    """Return an HDU without data: primary, or a named extension."""
    return sealed(empty_structure(extname) + [entry.image for entry in header], 0)


if __name__ == "__main__":
    start_log(snakemake.log[0])
    observatory = open_observatory(
        snakemake.wildcards.night, snakemake.params.observatory, dict(snakemake.input.items())
    )
    raw = Path(snakemake.input.marker).parent
    cube = snakemake.params.products == "cubes"
    with whole_folder(Path(snakemake.output.headered)) as folder:
        for sequence, frames in sequences(read_table(Path(snakemake.input.frames))).items():
            try:
                exposures = read_exposures(raw, frames, observatory, snakemake.params.longitude)
            except BadFrame as error:
                # Delivered before, and gone or judged otherwise since: of no concern to the rest.
                logger.warning("%s: no headers: %s", sequence, error)
                continue
            content = sequence_headers(sequence, frames, exposures, observatory.keywords, cube)
            with whole_file(folder / f"{sequence}.fits") as stream:
                stream.write(content)
