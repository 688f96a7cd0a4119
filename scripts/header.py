"""Finish the ESO headers of a night: times and world coordinates for all frames at once.

Each sequence gets one FITS file of headers without data: the cube's primary header and METADATA
(for cubes), then the header of each frame. Structure and checksums of the products are written
with the pixels, by the rules `cube` and `frames`.

Science frames and calibrations have a job each: calibrations do not wait for plate solving.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scripts.lib.files.durable import whole_file, whole_folder
from scripts.lib.files.log import logger, start_log
from scripts.lib.fits.cards import Header, Value
from scripts.lib.fits.hdu import empty_structure, image_structure, sealed
from scripts.lib.frames import names
from scripts.lib.gate.checks import Check, Finding, errors, fault_of, judged, read_checks
from scripts.lib.gate.product_file import Expected, ProductFile
from scripts.lib.headers import values
from scripts.lib.headers.held_back import write_held
from scripts.lib.headers.keywords import Entry, Keywords, compose
from scripts.lib.headers.metadata import cube_values, metadata_hdu, partial_keywords
from scripts.lib.headers.observatory import Observatory, load_exposure, open_observatory
from scripts.lib.headers.pixel_wcs import pixel_wcs
from scripts.lib.headers.sidereal import sidereal_seconds
from scripts.lib.headers.sky_wcs import WrongWCS, header_wcs, sky_wcs
from scripts.lib.headers.values import Exposure
from scripts.lib.ledger.faults import BadFrame, Fault, Reason
from scripts.lib.ledger.outlook import too_many_held
from scripts.lib.ledger.records import Frame, Status
from scripts.lib.ledger.snapshot import read_frames, sequences
from scripts.lib.settings.records import Configuration
from scripts.lib.solving.table import Solved, read_solved

if TYPE_CHECKING:
    from scripts.lib.files.job import snakemake

# Of one sequence, by file name.
Solutions = Mapping[str, Solved]


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
    """A frame whose header is finished, and what it was made of."""

    frame: Frame
    exposure: Exposure
    header: list[Entry]

    @property
    def values(self) -> dict[str, Value]:
        """Keyword and value of each card."""
        return {entry.keyword: entry.value for entry in self.header}


def read_exposures(
    raw: Path, frames: list[Frame], night: Night, solved: Solutions | None
) -> tuple[dict[str, Exposure], dict[str, Fault]]:
    """Return exposures with programme, sidereal time and sky, and why some frames have none.

    A frame that was delivered before and is gone since has neither.

    Parameters
    ----------
    solved : mapping of Solved or None
        None if the frames were not to be solved.
    """
    exposures: dict[str, Exposure] = {}
    faults = {}
    for frame in frames:
        try:
            exposure = load_exposure(raw, frame.file, night.observatory)
            programme = exposure.programme._replace(id=frame.programme)
            exposure = exposure._replace(programme=programme)
            exposures[frame.file] = with_sky(frame.file, exposure, night.observatory, solved)
        except BadFrame as error:
            logger.warning("%s: no header: %s", frame.file, error)
            if error.fault.reason is not Reason.GONE:
                faults[frame.file] = error.fault
    if not exposures:
        return {}, faults
    times = [exposure.facts.date_obs for exposure in exposures.values()]
    lst = sidereal_seconds(times, night.longitude)
    found = zip(exposures.items(), lst, strict=True)
    return {file: exposure._replace(lst=seconds) for (file, exposure), seconds in found}, faults


def with_sky(
    name: str, exposure: Exposure, observatory: Observatory, solved: Solutions | None
) -> Exposure:
    """Return an exposure with its world coordinates.

    They are on the sky if the frame was solved; where nothing is solved, if its own header has
    credible ones. Otherwise they stay pixels.
    """
    if exposure.facts.kind.name != "science":
        return exposure
    if solved is not None:
        found = solved[name]
        wcs = sky_wcs(found.wcs) if found.solved else exposure.wcs
        return exposure._replace(wcs=wcs, solver=found.provenance)
    scale = observatory.camera.pixel_scale * exposure.facts.setting.xbinning
    try:
        wcs = header_wcs(exposure.raw, values.ra(exposure), values.dec(exposure), scale)
        return exposure._replace(wcs=wcs)
    except WrongWCS as error:
        logger.info("%s: no sky WCS: %s", name, error)
        return exposure


def unsolved_faults(
    frames: Iterable[Frame], solved: Solutions | None, policy: str
) -> dict[str, Fault]:
    """Return why frames are held back because they are unsolved, by file name.

    Parameters
    ----------
    policy : str
        ``unsolved`` of the configuration: deliver or hold.
    """
    if solved is None or policy != "hold":
        return {}
    found = {frame.file: solved[frame.file] for frame in frames}
    return {
        file: Fault(Reason.UNSOLVED, one.reason) for file, one in found.items() if not one.solved
    }


def refused(composed: list[Composed], night: Night) -> dict[str, Fault]:
    """Return why the gate would refuse frames, by file name.

    Better now than when a cube is made of them: here a frame costs nothing but itself.
    """
    found = {}
    for one in composed:
        structure = image_structure((one.frame.naxis1, one.frame.naxis2), extended=False)
        if wrong := wrong_with(one.frame.eso_name, structure, one.header, night):
            found[one.frame.file] = fault_of(wrong)
    return found


def refused_as_first(composed: list[Composed], sequence: str, night: Night) -> dict[str, Fault]:
    """Return why no cube can begin with some frames, by file name.

    A cube's own header is that of its first frame but for the sky, so it may be refused for what
    the frame's is not.
    """
    found: dict[str, Fault] = {}
    for place, one in enumerate(composed):
        primary = primary_of(composed[place:], sequence, night.observatory.keywords)
        wrong = wrong_with(one.frame.product, empty_structure(), primary, night)
        if not wrong:
            break
        found[one.frame.file] = fault_of(wrong)
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
    return errors(judged(ProductFile(name, cards, expected), night.checks))


def without(composed: list[Composed], faults: Mapping[str, Fault]) -> list[Composed]:
    """Return the frames that are not held back."""
    return [one for one in composed if one.frame.file not in faults]


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
        eso_names = [one.frame.eso_name for one in composed]
        hdus = [
            headers_only(primary_of(composed, sequence, table)),
            metadata_hdu(eso_names, [frame.values for frame in composed], table),
        ]
    else:
        hdus = [headers_only([])]
    for one in composed:
        hdus.append(headers_only(one.header, names.stem(one.frame.eso_name)))
    return b"".join(hdus)


def headers_only(header: list[Entry], extname: str = "") -> bytes:
    """Return an HDU without data: primary, or a named extension."""
    return sealed(empty_structure(extname) + [entry.image for entry in header], 0)


def compose_sequence(
    sequence: str, frames: list[Frame], raw: Path, night: Night, solved: Solutions | None
) -> tuple[list[Composed], dict[str, Fault]]:
    """Return the frames of a sequence with finished headers, and why others are held back."""
    faults = unsolved_faults(frames, solved, night.unsolved)
    frames = [frame for frame in frames if frame.file not in faults]
    exposures, unread = read_exposures(raw, frames, night, solved)
    faults |= unread
    table = night.observatory.keywords
    composed = [
        Composed(frame, exposures[frame.file], compose(exposures[frame.file], table))
        for frame in frames
        if frame.file in exposures
    ]
    faults |= refused(composed, night)
    composed = without(composed, faults)
    if night.cubes:
        faults |= refused_as_first(composed, sequence, night)
    return without(composed, faults), faults


def write_headers(
    folder: Path,
    grouped: Mapping[str, list[Frame]],
    raw: Path,
    night: Night,
    solved: Mapping[str, Solutions],
) -> dict[str, Fault]:
    """Write the headers of sequences and return why frames are held back, by file name.

    Parameters
    ----------
    grouped : mapping of list of Frame
        Frames by sequence, in time order.
    raw : Path
        Folder of the raw frames.
    solved : mapping of Solutions
        By sequence; one that was not to be solved is not in it.
    """
    found: dict[str, Fault] = {}
    for sequence, frames in grouped.items():
        composed, faults = compose_sequence(sequence, frames, raw, night, solved.get(sequence))
        found |= faults
        if composed:
            content = sequence_headers(sequence, composed, night.observatory.keywords, night.cubes)
            with whole_file(folder / f"{sequence}.fits") as stream:
                stream.write(content)
    return found


def check_night(frames: Iterable[Frame], faults: Mapping[str, Fault], max_held: float) -> None:
    """Raise RuntimeError if too many of a night's frames are held back now."""
    now = [
        replace(frame, status=Status.HELD, fault=faults[frame.file])
        if frame.file in faults
        else frame
        for frame in frames
    ]
    if faults and (reason := too_many_held(now, max_held)):
        raise RuntimeError(f"{reason}. To deliver unsolved ones: --config unsolved=deliver")


def main() -> None:
    """Run the job."""
    start_log(snakemake.log[0])
    settings = Configuration.of(snakemake.config)
    night = Night(
        open_observatory(
            snakemake.wildcards.night,
            settings,
            {key: str(path) for key, path in snakemake.input.items()},
            snakemake.params.programme,
            snakemake.params.named,
        ),
        settings.longitude,
        read_checks(Path(snakemake.input.checks)),
        settings.products == "cubes",
        settings.unsolved,
    )
    frames = read_frames(Path(snakemake.input.frames), snakemake.params.snapshot)
    group = snakemake.wildcards.group
    grouped = {name: m for name, m in sequences(frames).items() if names.group_of(name) == group}
    solved = {Path(path).stem: read_solved(Path(path)) for path in snakemake.input.solved}
    with whole_folder(Path(snakemake.output.headers)) as folder:
        raw = Path(snakemake.input.marker).parent
        faults = write_headers(folder, grouped, raw, night, solved)
        check_night(frames, faults, settings.max_held)
        write_held(folder, faults)


if __name__ == "__main__":
    main()
