"""Solve the frames of a science sequence: a true WCS for each, whatever its header says.

A WCS in a raw header is a hint, no more: the observatory software copies that of the pointing
frame into every later frame of the action, and across a meridian flip.

What is wrong with one frame costs only its own coordinates. What all frames are solved with,
catalogue, index files and dark, must be readable, or the job fails.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scripts.lib.files.durable import whole_file
from scripts.lib.files.errors import JobFailed
from scripts.lib.files.log import logger, start_log
from scripts.lib.fits.cards import HeaderError
from scripts.lib.headers import values
from scripts.lib.headers.observatory import Observatory, load_exposure, open_observatory
from scripts.lib.headers.wcs import header_wcs, tangent_wcs
from scripts.lib.ledger.faults import BadFrame
from scripts.lib.ledger.records import Frame
from scripts.lib.ledger.snapshot import good, read_frames, sequences
from scripts.lib.settings.records import Configuration
from scripts.lib.solving import solver as frame_solver
from scripts.lib.solving.darks import dark_for, pedestal_for
from scripts.lib.solving.engine import Engine
from scripts.lib.solving.image import Dark, Image, map_pixels
from scripts.lib.solving.priors import (
    Limits,
    Orientation,
    Prior,
    header_priors,
    limits_of,
    middle,
    pointing_priors,
)
from scripts.lib.solving.solver import Solution, Unsolved
from scripts.lib.solving.star_catalogue import Catalogue, open_catalogue
from scripts.lib.solving.stars import CatalogueStars
from scripts.lib.solving.table import Solved, solved_bytes, with_transparency
from scripts.lib.solving.tangent import distance, moved_to

if TYPE_CHECKING:
    from scripts.lib.files.log import snakemake

FIELD_MARGIN = 60.0  # arcsec around what pointings that are off show
FEWEST_AROUND = 10  # catalogue stars around a target: the poorest field of Gaia has some hundred
SAME_TARGET = 0.02  # degrees: frames that point this close share a cut of the catalogue
FEWEST_A_THREAD = 10  # frames: fewer are not worth a process
J2000 = datetime(2000, 1, 1, 12, tzinfo=UTC)


class Solver(NamedTuple):
    """What the frames of a sequence are solved with, opened."""

    raw: Path  # folder of the raw frames
    observatory: Observatory
    catalogue: Catalogue
    engine: Engine | None  # for what cannot be solved otherwise
    dark: Dark | None
    pedestal: float  # ADU, level of a frame without light
    verify: bool  # whether to begin with the header's WCS


class Aim(NamedTuple):
    """Where a frame's header says that it points."""

    pointing: tuple[float, float]  # RA, DEC in degrees
    mount: Orientation
    limits: Limits
    hints: list[Prior]  # from the WCS in the header, if it has a credible one


def solve_sequence(frames: list[Frame], solver: Solver, threads: int) -> list[Solved]:
    """Return what became of each frame of a sequence.

    Parameters
    ----------
    frames : list of Frame
        In time order.
    threads : int
        Processes: each takes a stretch of the sequence.

    Raises
    ------
    JobFailed
        If the catalogue or the index files cannot be read any more.
    RuntimeError
        If a process was killed.
    """
    threads = min(threads, max(1, len(frames) // FEWEST_A_THREAD))
    if threads == 1:
        return list(solve_stretch(frames, solver))
    size = -(-len(frames) // threads)
    # Forked, the processes share catalogue, dark and modules, and start immediately. Each ends by
    # itself: workers of a pool would wait without end if this process were killed.
    context = get_context("fork")
    receivers: list[Connection] = []
    workers = []
    solved: list[Solved] = []
    try:
        for begin in range(0, len(frames), size):
            receiver, sender = context.Pipe(duplex=False)
            receivers.append(receiver)
            stretch = frames[begin : begin + size]
            work = (stretch, solver, sender, tuple(receivers))
            workers.append(context.Process(target=_send_stretch, args=work))
            workers[-1].start()
            sender.close()
        for receiver in receivers:
            try:
                outcome: list[Solved] | Exception = receiver.recv()
            except (EOFError, OSError) as error:
                raise RuntimeError(
                    "a process that solved part of the sequence was killed"
                ) from error
            if isinstance(outcome, Exception):
                raise outcome
            solved += outcome
    finally:
        # After an error the others are of no use any more.
        for worker in workers:
            worker.terminate()
            worker.join()
    return solved


def _send_stretch(
    frames: list[Frame], solver: Solver, sender: Connection, receivers: tuple[Connection, ...]
) -> None:
    """Send what became of some frames, or the error that ended it: the work of a process."""
    # While they are open here, this process does not notice that nobody reads any more.
    for receiver in receivers:
        receiver.close()
    outcome: list[Solved] | Exception
    try:
        outcome = list(solve_stretch(frames, solver))
    except Exception as error:
        logger.exception("solving has ended")
        # The cause of an error does not go through the pipe, nor does every error.
        outcome = error
        if not isinstance(error, JobFailed):
            kind = type(error).__name__
            outcome = RuntimeError(f"a process that solved part of the sequence: {kind}")
    with suppress(BrokenPipeError):
        sender.send(outcome)


def solve_stretch(frames: list[Frame], solver: Solver) -> Iterator[Solved]:
    """Yield what became of each of some consecutive frames; raise as `solve_sequence` does."""
    before: Solution | None = None
    centre: tuple[float, float] | None = None
    for frame in frames:
        begin = time.process_time()
        try:
            aim = read_aim(frame, solver)
            if centre is None or distance(*centre, *aim.pointing) > SAME_TARGET:
                stars, centre, before = stars_around(aim, frame, solver), aim.pointing, None
            before = solve_frame(frame, solver, aim, stars, before)
            cpu = time.process_time() - begin
            solved = Solved.of(frame.file, before, solver.catalogue.name, cpu)
        except JobFailed:
            raise
        except Exception as error:
            # Whatever is wrong with one frame must not cost the others their coordinates.
            solved = Solved.failed(frame.file, unsolved(frame, error), time.process_time() - begin)
        yield solved


def unsolved(frame: Frame, error: Exception) -> Unsolved:
    """Log why a frame is unsolved, and return it as its header may say it.

    A header shows neither our paths nor what libraries say: the log does.
    """
    if isinstance(error, Unsolved | BadFrame):
        logger.warning("%s: unsolved: %s", frame.file, error)
        return error if isinstance(error, Unsolved) else Unsolved(error.fault.heading)
    logger.error("%s: unsolved", frame.file, exc_info=error)
    return Unsolved(f"error while solving ({type(error).__name__})")


def read_aim(frame: Frame, solver: Solver) -> Aim:
    """Return where a frame points by its header."""
    exposure = load_exposure(solver.raw, frame.file, solver.observatory)
    pointing = values.ra(exposure), values.dec(exposure)
    camera = solver.observatory.camera
    scale = camera.pixel_scale * exposure.facts.setting.xbinning
    mount = Orientation(scale, camera.rotation, camera.parity)
    aim = Aim(pointing, mount, limits_of(camera, scale), [])
    if not solver.verify:
        return aim
    try:
        wcs = tangent_wcs(header_wcs(exposure.raw, *pointing, scale))
    except HeaderError:
        return aim
    centred = moved_to(wcs, *middle(frame.shape))
    return aim._replace(hints=header_priors(centred))


def solve_frame(
    frame: Frame, solver: Solver, aim: Aim, stars: CatalogueStars, before: Solution | None
) -> Solution:
    """Return the solution of one frame; raise as `frame_solver.solve` does."""
    pixels = map_pixels(solver.raw / frame.file, frame.data_start, frame.shape)
    camera, limits = solver.observatory.camera, aim.limits
    image = Image(pixels, solver.dark, frame.exptime, solver.pedestal, camera.saturation)
    priors = aim.hints + pointing_priors(*aim.pointing, aim.mount, image.shape, limits.search)
    return frame_solver.solve(
        image, stars, priors, aim.pointing, aim.mount, before, solver.engine, limits
    )


def stars_around(aim: Aim, frame: Frame, solver: Solver) -> CatalogueStars:
    """Return the catalogue's stars around a target, at the epoch of a frame."""
    epoch = 2000 + (frame.begin - J2000).total_seconds() / 86400 / 365.25
    diagonal = sum(n**2 for n in frame.shape) ** 0.5 * aim.mount.scale / 3600
    margin = (aim.limits.farthest + FIELD_MARGIN) / 3600
    stars = solver.catalogue.cut(*aim.pointing, diagonal / 2 + margin, epoch)
    logger.info("%d catalogue stars around %.4f %+.4f", len(stars.ra), *aim.pointing)
    if len(stars.ra) < FEWEST_AROUND:
        ra, dec = aim.pointing
        raise JobFailed(
            f"catalogue: {solver.catalogue.path} has {len(stars.ra)} stars within "
            f"{diagonal / 2 + margin:.2f} degrees of {ra:.4f} {dec:+.4f}, {FEWEST_AROUND} are "
            "needed: it does not cover this field"
        )
    return stars


def open_solver(
    raw: Path,
    frames: list[Frame],
    night: list[Frame],
    observatory: Observatory,
    settings: Configuration,
) -> Solver:
    """Return what good frames of a sequence are solved with; the night's have its darks.

    Raises `JobFailed` if catalogue, index files or dark cannot be read.
    """
    camera = observatory.camera
    return Solver(
        raw,
        observatory,
        open_catalogue(settings.catalogue or settings.index, camera.band, settings.catalogue_epoch),
        Engine(Path(settings.index), camera.engine_radius) if settings.index else None,
        dark_for(frames[0], night, raw, settings.dark) if camera.fixed_pattern else None,
        pedestal_for(frames[0], night, raw),
        settings.solve == "verify",
    )


def write_solved(
    target: Path,
    sequence: str,
    frames: list[Frame],
    raw: Path,
    observatory: Observatory,
    settings: Configuration,
    threads: int = 1,
) -> None:
    """Solve a sequence of a night's frames, in so many processes, and write the table of it.

    Raises
    ------
    LookupError
        If the night has no such sequence.
    JobFailed
        If catalogue, index files or dark cannot be read: there is no table then.
    """
    chosen = sequences(frames).get(sequence)
    if not chosen:
        raise LookupError(f"{sequence}: no good frame of this sequence; see frames.csv")
    solver = open_solver(raw, chosen, good(frames), observatory, settings)
    solved = solve_sequence(chosen, solver, threads)
    logger.info("%d of %d frames solved", sum(one.solved for one in solved), len(solved))
    with whole_file(target) as stream:
        stream.write(solved_bytes(with_transparency(solved)))


def main() -> None:
    """Run the job."""
    start_log(snakemake.log[0])
    settings = Configuration.of(snakemake.config)
    tables = {key: str(path) for key, path in snakemake.input.items()}
    given = snakemake.wildcards.night, settings, tables
    write_solved(
        Path(snakemake.output.solved),
        snakemake.wildcards.sequence,
        read_frames(Path(snakemake.input.frames), snakemake.params.snapshot),
        Path(snakemake.input.marker).parent,
        open_observatory(*given, snakemake.params.programme, snakemake.params.named),
        settings,
        snakemake.threads,
    )


if __name__ == "__main__":
    main()
