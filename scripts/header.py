"""Finish the ESO headers of a night: times and world coordinates of all frames together.

Each sequence gets one FITS file of headers without data: the cube's primary header and METADATA
(for cubes), then the header of each frame. Structure and checksums of the products are written
with the pixels, by the rules `cube` and `frames`.

Science frames and calibrations have a job each: calibrations do not wait for plate solving.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scripts.lib.files.durable import whole_file, whole_folder
from scripts.lib.files.errors import JobFailed
from scripts.lib.files.log import logger, start_log
from scripts.lib.files.parallel import in_processes
from scripts.lib.fits.cards import Header, HeaderError, Value
from scripts.lib.fits.hdu import empty_structure, image_structure, with_checksums
from scripts.lib.frames import names
from scripts.lib.gate.checks import Check, errors, fault_of, judged, read_checks
from scripts.lib.gate.product_file import Context, ProductFile
from scripts.lib.headers import values, wcs
from scripts.lib.headers.finished import write_held, write_left_out
from scripts.lib.headers.keywords import Card, Keywords, compose
from scripts.lib.headers.metadata import cube_values, metadata_hdu, partial_keywords
from scripts.lib.headers.observatory import Observatory, load_exposure, open_observatory
from scripts.lib.headers.sidereal import sidereal_seconds
from scripts.lib.headers.values import Exposure
from scripts.lib.ledger.faults import BadFrame, Fault, Reason
from scripts.lib.ledger.outlook import too_many_held
from scripts.lib.ledger.records import Frame, Status
from scripts.lib.ledger.snapshot import read_frames, sequences
from scripts.lib.nights.cameras import of_night
from scripts.lib.settings.records import Configuration
from scripts.lib.solving.table import Solved, read_solved

if TYPE_CHECKING:
    from scripts.lib.files.log import snakemake

# Of one sequence, by file name.
Solutions = Mapping[str, Solved]


class Night(NamedTuple):
    """What the headers of a night are made with."""

    observatory: Observatory
    longitude: float  # of the site, degrees, east positive
    checks: list[Check]
    cubes: bool
    unsolved: str = "deliver"  # or hold


class Composed(NamedTuple):
    """A frame whose header is finished."""

    frame: Frame
    hdu: bytes  # the header as an extension without data
    values: dict[str, Value]  # of its keywords
    left_out: list[str]  # what of its raw header is not in it: ``KEYWORD: why``


def load_with_sky(
    raw: Path, frame: Frame, night: Night, solved: Solutions | None, lst: float
) -> Exposure:
    """Return a frame's exposure with programme, sidereal time (s) and world coordinates.

    The coordinates are on the sky if the frame was solved; where nothing is solved, if its own
    header has credible ones. Otherwise they stay pixels, or an unsolved frame raises `BadFrame`.
    """
    observatory = night.observatory
    found = solved[frame.file] if solved is not None else None
    if found and not found.solved and night.unsolved == "hold":
        raise BadFrame(Reason.UNSOLVED, found.reason)
    exposure = load_exposure(raw, frame.file, observatory)
    programme = exposure.programme._replace(id=frame.programme)
    exposure = exposure._replace(programme=programme, lst=lst)
    if exposure.facts.kind.name != "science":
        return exposure
    if found:
        keywords = wcs.sky_wcs(found.wcs, found.centre_error) if found.solved else exposure.wcs
        return exposure._replace(wcs=keywords, solver=found.provenance)
    scale = observatory.camera.pixel_scale * exposure.facts.setting.xbinning
    ra, dec = values.ra(exposure), values.dec(exposure)
    try:
        return exposure._replace(wcs=wcs.header_wcs(exposure.raw, ra, dec, scale))
    except HeaderError as error:
        logger.info("%s: no sky WCS: %s", frame.file, error)
        return exposure


def compose_sequence(
    sequence: str,
    frames: list[Frame],
    raw: Path,
    night: Night,
    solved: Solutions | None,
    processes: int,
) -> tuple[list[Card], list[Composed], dict[str, Fault]]:
    """Return a cube's own header, its frames with finished ones, and why others are held back.

    A frame that was delivered before and is gone since is neither. ``solved`` is None if the frames
    were not to be solved. The gate judges each header now: here a frame that it refuses costs
    nothing but itself.
    """
    times = sidereal_seconds([frame.begin for frame in frames], night.longitude)
    lst = dict(zip((frame.file for frame in frames), times, strict=True))

    def load(frame: Frame) -> Exposure:
        return load_with_sky(raw, frame, night, solved, lst[frame.file])

    def compose_each(part: list[Frame]) -> list[Composed | Fault]:
        return [compose_frame(frame, load, night) for frame in part]

    composed, faults = [], {}
    for frame, one in zip(frames, in_processes(compose_each, frames, processes), strict=True):
        if isinstance(one, Composed):
            composed.append(one)
        elif one.reason is not Reason.GONE:
            faults[frame.file] = one
    primary: list[Card] = []
    # A cube's own header is that of its first frame but for the sky, so it may be refused for what
    # the frame's is not.
    while night.cubes and composed:
        ends = load(composed[0].frame), load(composed[-1].frame)
        primary = primary_of(composed, ends, sequence, night.observatory.keywords)
        first = composed[0].frame
        if not (fault := refusal(first.product, empty_structure(), primary, night)):
            break
        faults[first.file] = fault
        del composed[0]
    return primary, composed, faults


def compose_frame(
    frame: Frame, load: Callable[[Frame], Exposure], night: Night
) -> Composed | Fault:
    """Return a frame with its finished header, or why it has none."""
    try:
        exposure = load(frame)
    except BadFrame as error:
        logger.warning("%s: no header: %s", frame.file, error)
        return error.fault
    left_out: list[str] = []
    cards = compose(exposure, night.observatory.keywords, left_out=left_out)
    structure = image_structure((frame.naxis1, frame.naxis2), extended=False)
    if fault := refusal(frame.eso_name, structure, cards, night):
        return fault
    hdu = headers_only(cards, names.stem(frame.eso_name))
    return Composed(frame, hdu, {card.keyword: card.value for card in cards}, left_out)


def refusal(name: str, structure: list[bytes], header: list[Card], night: Night) -> Fault | None:
    """Return why the gate would refuse a product of this name and header; None if it would not."""
    observatory = night.observatory
    context = Context(
        {observatory.telescope.name: observatory.telescope},
        observatory.kinds,
        observatory.keywords.reserved,
        observatory.telescope,
        observatory.camera,
        bounds=observatory.bounds,
    )
    cards = Header(structure + [card.image for card in header])
    wrong = errors(judged(ProductFile(name, cards, context), night.checks))
    return fault_of(wrong) if wrong else None


def primary_of(
    composed: list[Composed], ends: tuple[Exposure, Exposure], sequence: str, table: Keywords
) -> list[Card]:
    """Return the finished primary header of a cube of frames, in time order.

    It is that of the first frame, in pixel coordinates, but for what not all frames have. ``ends``
    are the exposures of the first frame and the last.
    """
    first, last = ends
    special = cube_values(composed[0].values, last, sequence)
    header = compose(first._replace(wcs=wcs.pixel_wcs(3)), table, special)
    partial = partial_keywords([frame.values for frame in composed], table)
    return [card for card in header if card.keyword not in partial]


def sequence_headers(
    primary: list[Card], composed: list[Composed], table: Keywords, cube: bool
) -> Iterator[bytes]:
    """Yield the HDUs of a FITS file without data: the headers of a sequence.

    Those of a ``cube`` begin with its own header and METADATA.
    """
    yield headers_only(primary)
    if cube:
        eso_names = [one.frame.eso_name for one in composed]
        yield metadata_hdu(eso_names, [one.values for one in composed], table)
    for one in composed:
        yield one.hdu


def headers_only(header: list[Card], extname: str = "") -> bytes:
    """Return an HDU without data: primary, or a named extension."""
    return with_checksums(empty_structure(extname) + [card.image for card in header], 0)


def write_headers(
    folder: Path,
    grouped: Mapping[str, list[Frame]],
    raw: Path,
    night: Night,
    solved: Mapping[str, Solutions],
    processes: int = 1,
) -> dict[str, Fault]:
    """Write the headers of sequences, and what is left out of them.

    Return why frames are held back, by file name.

    ``grouped`` has the frames by sequence, in time order; a sequence that was not to be solved is
    not in ``solved``.
    """
    table = night.observatory.keywords
    found: dict[str, Fault] = {}
    left_out: dict[str, list[str]] = {}
    for sequence, frames in grouped.items():
        primary, composed, faults = compose_sequence(
            sequence, frames, raw, night, solved.get(sequence), processes
        )
        found |= faults
        left_out |= {one.frame.file: one.left_out for one in composed if one.left_out}
        if composed:
            with whole_file(folder / f"{sequence}.fits") as stream:
                stream.writelines(sequence_headers(primary, composed, table, night.cubes))
    for file, texts in left_out.items():
        logger.warning("%s: left out of the product: %s", file, "; ".join(texts))
    write_left_out(folder, left_out)
    return found


def check_night(frames: Iterable[Frame], faults: Mapping[str, Fault], max_held: float) -> None:
    """Raise JobFailed if too many of a night's frames are held back now."""
    now = []
    for frame in frames:
        if fault := faults.get(frame.file):
            frame = replace(frame, status=Status.HELD, fault=fault)
        now.append(frame)
    if faults and (reason := too_many_held(now, max_held)):
        raise JobFailed(f"{reason}. To deliver unsolved ones: --config unsolved=deliver")


def main() -> None:
    """Run the job."""
    start_log(snakemake.log[0])
    settings, params = Configuration.of(snakemake.config), snakemake.params
    settings = of_night(settings, snakemake.wildcards.night)
    tables = {key: str(path) for key, path in snakemake.input.items()}
    observatory = open_observatory(
        snakemake.wildcards.night, settings, tables, params.programme, params.named
    )
    checks, cubes = read_checks(Path(snakemake.input.checks)), settings.products == "cubes"
    night = Night(observatory, settings.place.longitude, checks, cubes, settings.unsolved)
    frames = read_frames(Path(snakemake.input.frames), params.snapshot)
    group = snakemake.wildcards.group
    grouped = {name: m for name, m in sequences(frames).items() if names.group_of(name) == group}
    solved = {Path(path).stem: read_solved(Path(path)) for path in snakemake.input.solved}
    with whole_folder(Path(snakemake.output.headers)) as folder:
        raw = Path(snakemake.input.marker).parent
        faults = write_headers(folder, grouped, raw, night, solved, snakemake.threads)
        check_night(frames, faults, settings.max_held)
        write_held(folder, faults)


if __name__ == "__main__":
    main()
