"""Finish the ESO headers of a night: times and world coordinates for all frames at once.

Each sequence gets one FITS file of headers without data: the cube's primary header and METADATA
(for cubes), then the header of each frame. Structure and checksums of the products are written
with the pixels, by the rules `cube` and `frames`.
"""

from pathlib import Path
from typing import NamedTuple

from scripts.lib.files.durable import whole_file, whole_folder
from scripts.lib.files.log import logger, start_log
from scripts.lib.files.tables import read_table, write_table
from scripts.lib.fits.cards import Header
from scripts.lib.fits.hdu import empty_structure, image_structure, sealed
from scripts.lib.frames import names
from scripts.lib.frames.frame import BadFrame, open_header
from scripts.lib.gate.checks import Check, Finding, errors, judged, read_checks, reason_of
from scripts.lib.gate.subject import Expected, Subject
from scripts.lib.headers import values
from scripts.lib.headers.keywords import Entry, Keywords, compose
from scripts.lib.headers.metadata import cube_values, metadata_hdu, partial_keywords
from scripts.lib.headers.observatory import Observatory, expose, open_observatory
from scripts.lib.headers.pixel_wcs import pixel_wcs
from scripts.lib.headers.sidereal import sidereal_seconds
from scripts.lib.headers.sky_wcs import WrongWCS, header_wcs, sky_wcs
from scripts.lib.headers.values import Exposure
from scripts.lib.nights.night_frames import COLUMNS, HELD, sequences
from scripts.lib.solving.table import Solved, read_solved


class Night(NamedTuple):
    """What the headers of a night are made with.

    Attributes
    ----------
    observatory : Observatory
    longitude : float
        Of the site, in degrees, east positive.
    checks : list of Check
        Of the gate.
    cubes : bool
        Whether products are cubes.
    unsolved : str
        What becomes of unsolved frames: deliver or hold.
    """

    observatory: Observatory
    longitude: float
    checks: list[Check]
    cubes: bool
    unsolved: str = "deliver"


class Composed(NamedTuple):
    """A frame whose header is finished: its row of ``frames.csv``, and what it was made of."""

    row: dict
    exposure: Exposure
    header: list[Entry]

    @property
    def values(self) -> dict[str, object]:
        """Keyword and value of each card."""
        return {entry.keyword: entry.value for entry in self.header}


def read_exposures(
    raw: Path,
    frames: list[dict],
    observatory: Observatory,
    longitude: float,
    solved: dict[str, Solved] | None,
) -> list[Exposure]:
    """Return the exposures of frames, with sidereal time and sky.

    Parameters
    ----------
    frames : list of dict
        Rows of ``frames.csv``.
    longitude : float
        Of the site, in degrees, east positive.
    solved : dict of Solved or None
        By file name; None if the frames were not to be solved.
    """
    exposures = []
    for row in frames:
        header, data_start = open_header(raw / row["file"])
        exposure = expose(row["file"], header, data_start, observatory)
        exposures.append(with_sky(row["file"], exposure, observatory, solved))
    lst = sidereal_seconds([e.frame.date_obs for e in exposures], longitude)
    return [e._replace(lst=seconds) for e, seconds in zip(exposures, lst, strict=True)]


def with_sky(
    name: str, exposure: Exposure, observatory: Observatory, solved: dict[str, Solved] | None
) -> Exposure:
    """Return an exposure with its world coordinates.

    They are on the sky if the frame was solved; where nothing is solved, if its own header has
    credible ones. Otherwise they stay pixels.
    """
    if exposure.frame.kind.name != "science":
        return exposure
    if solved is not None:
        found = solved[name]
        wcs = sky_wcs(found.wcs) if found.solved else exposure.wcs
        return exposure._replace(wcs=wcs, solver=found.provenance)
    scale = observatory.camera.pixel_scale * exposure.frame.setting.xbinning
    try:
        wcs = header_wcs(exposure.raw, values.ra(exposure), values.dec(exposure), scale)
        return exposure._replace(wcs=wcs)
    except WrongWCS as error:
        logger.info("%s: no sky WCS: %s", name, error)
        return exposure


def held_back(frames: list[dict], solved: dict[str, Solved] | None, policy: str) -> list[dict]:
    """Return the rows of frames that are held back because they are unsolved, with the reason.

    Parameters
    ----------
    policy : str
        ``unsolved`` of the configuration: deliver or hold.
    """
    if solved is None or policy != "hold":
        return []
    unsolved = [row for row in frames if not solved[row["file"]].solved]
    return [row | {"status": "held", "reason": solved[row["file"]].provenance} for row in unsolved]


def check_held(held: list[dict], rows: list[dict], max_held: float) -> None:
    """Raise RuntimeError if more than the share ``max_held`` of a night's frames is held back."""
    count = len(held) + sum(row["status"] == "held" for row in rows)
    if held and count > max_held * len(rows):
        raise RuntimeError(
            f"{len(held)} frames unsolved or refused; with them {count} of {len(rows)} frames are "
            f"held back, more than max_held {max_held} allows: {held[0]['reason']}. If they are to "
            "be left out: --config max_held=1. To deliver unsolved ones: --config unsolved=deliver"
        )


def refused(composed: list[Composed], night: Night) -> list[dict]:
    """Return the rows of frames that the gate would refuse, with the reason.

    Better now than when a cube is made of them: here a frame costs nothing but itself.
    """
    found = []
    for frame in composed:
        row = frame.row
        structure = image_structure((int(row["naxis1"]), int(row["naxis2"])), extended=False)
        if wrong := wrong_with(row["eso_name"], structure, frame.header, night):
            found.append(row | {"status": "held", "reason": reason_of(wrong)})
    return found


def refused_as_first(composed: list[Composed], sequence: str, night: Night) -> list[dict]:
    """Return the rows of frames that no cube can begin with, with the reason.

    A cube's own header is that of its first frame but for the sky, so it may be refused for what
    the frame's is not. Each of these frames would be the next one's predecessor.
    """
    found = []
    for place, frame in enumerate(composed):
        primary = primary_of(composed[place:], sequence, night.observatory.keywords)
        wrong = wrong_with(frame.row["product"], empty_structure(), primary, night)
        if not wrong:
            break
        found.append(frame.row | {"status": "held", "reason": reason_of(wrong)})
    return found


def wrong_with(
    name: str, structure: list[bytes], header: list[Entry], night: Night
) -> list[Finding]:
    """Return the errors that the gate finds in a header, as that of a product of a name."""
    observatory = night.observatory
    expected = Expected(
        {observatory.telescope.name: observatory.telescope},
        observatory.kinds,
        observatory.telescope,
        observatory.camera,
        bounds=observatory.bounds,
    )
    cards = Header(structure + [entry.image for entry in header])
    return errors(judged(Subject(name, cards, expected), night.checks))


def without(frames: list[dict], others: list[dict]) -> list[dict]:
    """Return the rows of frames that are not among others."""
    files = {row["file"] for row in others}
    return [row for row in frames if row["file"] not in files]


def remaining(composed: list[Composed], others: list[dict]) -> list[Composed]:
    """Return the frames whose rows are not among others."""
    files = {row["file"] for row in others}
    return [frame for frame in composed if frame.row["file"] not in files]


def primary_of(composed: list[Composed], sequence: str, table: Keywords) -> list[Entry]:
    """Return the finished primary header of a cube of frames, in time order.

    It is that of the first frame, in pixel coordinates, but for what not all frames have.
    """
    first, last = composed[0], composed[-1]
    special = cube_values(first.values, last.exposure, sequence)
    header = compose(first.exposure._replace(wcs=pixel_wcs(3)), table, special)
    partial = partial_keywords([frame.values for frame in composed], table)
    return [entry for entry in header if entry.keyword not in partial]


def sequence_headers(sequence: str, composed: list[Composed], table: Keywords, cube: bool) -> bytes:
    """Return the headers of a sequence as a FITS file without data.

    Parameters
    ----------
    composed : list of Composed
        Its frames, in time order.
    cube : bool
        Whether to begin with a cube's header and its METADATA.
    """
    if cube:
        eso_names = [frame.row["eso_name"] for frame in composed]
        hdus = [
            headers_only(primary_of(composed, sequence, table)),
            metadata_hdu(eso_names, [frame.values for frame in composed], table),
        ]
    else:
        hdus = [headers_only([])]
    for frame in composed:
        hdus.append(headers_only(frame.header, names.stem(frame.row["eso_name"])))
    return b"".join(hdus)


def headers_only(header: list[Entry], extname: str = "") -> bytes:
    """Return an HDU without data: primary, or a named extension."""
    return sealed(empty_structure(extname) + [entry.image for entry in header], 0)


def write_headers(
    folder: Path, rows: list[dict], raw: Path, night: Night, solved: dict[str, dict[str, Solved]]
) -> list[dict]:
    """Write the headers of a night's sequences and return the rows of frames held back.

    Parameters
    ----------
    rows : list of dict
        Of ``frames.csv``.
    raw : Path
        Folder of the raw frames.
    solved : dict of dict of Solved
        By sequence and file name; a sequence that was not to be solved is not in it.
    """
    held = []
    for sequence, frames in sequences(rows).items():
        unsolved = held_back(frames, solved.get(sequence), night.unsolved)
        held += unsolved
        if not (frames := without(frames, unsolved)):
            continue
        try:
            exposures = read_exposures(
                raw, frames, night.observatory, night.longitude, solved.get(sequence)
            )
            composed = [
                Composed(row, exposure, compose(exposure, night.observatory.keywords))
                for row, exposure in zip(frames, exposures, strict=True)
            ]
        except BadFrame as error:
            # Delivered before, and gone or judged otherwise since: of no concern to the rest.
            logger.warning("%s: no headers: %s", sequence, error)
            continue
        wrong = refused(composed, night)
        composed = remaining(composed, wrong)
        if night.cubes:
            unfit = refused_as_first(composed, sequence, night)
            wrong, composed = wrong + unfit, remaining(composed, unfit)
        held += wrong
        if composed:
            content = sequence_headers(sequence, composed, night.observatory.keywords, night.cubes)
            with whole_file(folder / f"{sequence}.fits") as stream:
                stream.write(content)
    return held


if __name__ == "__main__":
    start_log(snakemake.log[0])
    night = Night(
        open_observatory(
            snakemake.wildcards.night, snakemake.params.observatory, dict(snakemake.input.items())
        ),
        snakemake.params.longitude,
        read_checks(Path(snakemake.input.checks)),
        snakemake.params.products == "cubes",
        snakemake.params.unsolved,
    )
    rows = read_table(Path(snakemake.input.frames))
    solved = {Path(path).stem: read_solved(Path(path)) for path in snakemake.input.solved}
    with whole_folder(Path(snakemake.output.headered)) as folder:
        raw = Path(snakemake.input.marker).parent
        held = write_headers(folder, rows, raw, night, solved)
        check_held(held, rows, snakemake.config["max_held"])
        write_table(folder / HELD, COLUMNS, held)
