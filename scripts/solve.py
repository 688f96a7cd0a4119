"""Solve the frames of a science sequence: a true WCS for each, whatever its header says.

A WCS in a raw header is a hint, no more: the observatory software copies that of the pointing
frame into every later frame of the action, and across a meridian flip.

What is wrong with one frame costs only its own coordinates. What all frames are solved with,
catalogue, index files and dark, must be readable, or the job fails.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from scripts.lib.files.durable import whole_file
from scripts.lib.files.log import logger, start_log
from scripts.lib.fits.cards import HeaderError
from scripts.lib.headers import values
from scripts.lib.headers.observatory import Observatory, load_exposure, open_observatory
from scripts.lib.headers.wcs import header_wcs, tangent_wcs
from scripts.lib.ledger.faults import BadFrame
from scripts.lib.ledger.records import Frame
from scripts.lib.ledger.snapshot import good, read_frames, sequences
from scripts.lib.settings.records import Configuration
from scripts.lib.solving.catalogue import Catalogue, open_catalogue
from scripts.lib.solving.darks import dark_for
from scripts.lib.solving.engine import Engine
from scripts.lib.solving.errors import SolvingError
from scripts.lib.solving.image import Dark, read_image
from scripts.lib.solving.settings import Solving
from scripts.lib.solving.solver import (
    Orientation,
    Prior,
    Sky,
    Solution,
    Unsolved,
    header_priors,
    middle,
    pointing_priors,
    solve,
)
from scripts.lib.solving.table import Solved, solved_bytes
from scripts.lib.solving.tangent import distance, moved_to

if TYPE_CHECKING:
    from scripts.lib.files.job import snakemake

FIELD_MARGIN = 0.35  # degrees around the frame: as far as pointings may be off
SAME_TARGET = 0.02  # degrees: frames that point this close share a cut of the catalogue
FEWEST_A_THREAD = 10  # frames: fewer are not worth a process
J2000 = datetime(2000, 1, 1, 12, tzinfo=UTC)


class Solver(NamedTuple):
    """What the frames of a sequence are solved with.

    Attributes
    ----------
    raw : Path
        Folder of the raw frames.
    observatory : Observatory
    catalogue : Catalogue
    engine : Engine or None
        For what cannot be solved otherwise.
    dark : Dark or None
    verify : bool
        Whether to begin with the header's WCS.
    """

    raw: Path
    observatory: Observatory
    catalogue: Catalogue
    engine: Engine | None
    dark: Dark | None
    verify: bool


class Aim(NamedTuple):
    """Where a frame's header says that it points.

    Attributes
    ----------
    pointing : tuple of float
        RA, DEC in degrees.
    mount : Orientation
    hints : list of Prior
        From the WCS in the header, if it has a credible one.
    """

    pointing: tuple[float, float]
    mount: Orientation
    hints: list[Prior]


# What a process sends: its frames, or the error that ended it.
Outcome = list[Solved] | Exception


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
    SolvingError
        If the catalogue or the index files cannot be read any more.
    RuntimeError
        If a process was killed.
    """
    threads = min(threads, max(1, len(frames) // FEWEST_A_THREAD))
    if threads == 1:
        return list(solve_stretch(frames, solver))
    size = -(-len(frames) // threads)
    stretches = [frames[i : i + size] for i in range(0, len(frames), size)]
    # Forked, the processes share catalogue, dark and modules, and start at once. Each ends by
    # itself: workers of a pool would wait without end if this process were killed.
    context = get_context("fork")
    receivers: list[Connection] = []
    workers = []
    try:
        for stretch in stretches:
            receiver, sender = context.Pipe(duplex=False)
            receivers.append(receiver)
            worker = context.Process(
                target=_send_stretch, args=(stretch, solver, sender, tuple(receivers))
            )
            worker.start()
            sender.close()
            workers.append(worker)
        return [solved for part in _received(receivers) for solved in part]
    finally:
        # After an error the others are of no use any more.
        for worker in workers:
            worker.terminate()
            worker.join()


def _received(receivers: list[Connection]) -> list[list[Solved]]:
    """Return what each process sends; raise the first error that one of them sends."""
    received: dict[Connection, list[Solved]] = {}
    while waiting := [receiver for receiver in receivers if receiver not in received]:
        ready = wait(waiting)
        for receiver in (one for one in waiting if one in ready):
            try:
                outcome: Outcome = receiver.recv()
            except (EOFError, OSError) as error:
                raise RuntimeError(
                    "a process that solved part of the sequence was killed"
                ) from error
            if isinstance(outcome, Exception):
                raise outcome
            received[receiver] = outcome
    return [received[receiver] for receiver in receivers]


def _send_stretch(
    frames: list[Frame], solver: Solver, sender: Connection, receivers: Iterable[Connection]
) -> None:
    """Send what became of some frames, or the error that ended it: the work of a process."""
    # While they are open here, nothing tells this process that nobody reads any more.
    for receiver in receivers:
        receiver.close()
    outcome: Outcome
    try:
        outcome = list(solve_stretch(frames, solver))
    except SolvingError as error:
        # Its cause does not go through the pipe.
        logger.exception("solving has ended")
        outcome = error
    except Exception as error:
        logger.exception("solving has ended")
        outcome = RuntimeError(
            f"a process that solved part of the sequence: {type(error).__name__}"
        )
    with suppress(BrokenPipeError):
        sender.send(outcome)


def solve_stretch(frames: list[Frame], solver: Solver) -> Iterator[Solved]:
    """Yield what became of each of some consecutive frames.

    Raises
    ------
    SolvingError
        If the catalogue or the index files cannot be read any more.
    """
    before: Solution | None = None
    sky: tuple[tuple[float, float], Sky] | None = None
    for frame in frames:
        begin = time.process_time()
        try:
            aim = read_aim(frame, solver)
            if sky is None or distance(*sky[0], *aim.pointing) > SAME_TARGET:
                sky, before = (aim.pointing, sky_around(aim, frame, solver)), None
            before = solve_frame(frame, solver, aim, sky[1], before)
            cpu = time.process_time() - begin
            solved = Solved.of(frame.file, before, solver.catalogue.name, cpu)
        except SolvingError:
            raise
        except Exception as error:
            # Whatever is wrong with one frame must not cost the others their coordinates.
            solved = Solved.failed(frame.file, unsolved(frame, error), time.process_time() - begin)
        yield solved


def unsolved(frame: Frame, error: Exception) -> Unsolved:
    """Log why a frame is unsolved, and return it as its header may say it.

    A header tells the world neither our paths nor what libraries say: the log does.
    """
    if isinstance(error, Unsolved):
        logger.warning("%s: unsolved: %s", frame.file, error)
        return error
    if isinstance(error, BadFrame):
        logger.warning("%s: unsolved: %s", frame.file, error)
        return Unsolved(error.fault.heading)
    logger.error("%s: unsolved", frame.file, exc_info=error)
    return Unsolved(f"error while solving ({type(error).__name__})")


def read_aim(frame: Frame, solver: Solver) -> Aim:
    """Return where a frame points by its header."""
    exposure = load_exposure(solver.raw, frame.file, solver.observatory)
    pointing = values.ra(exposure), values.dec(exposure)
    camera = solver.observatory.camera
    scale = camera.pixel_scale * exposure.facts.setting.xbinning
    mount = Orientation(scale, camera.rotation, camera.parity)
    if not solver.verify:
        return Aim(pointing, mount, [])
    try:
        wcs = tangent_wcs(header_wcs(exposure.raw, *pointing, scale))
    except HeaderError:
        return Aim(pointing, mount, [])
    return Aim(pointing, mount, header_priors(moved_to(wcs, *middle(frame.shape))))


def solve_frame(
    frame: Frame, solver: Solver, aim: Aim, sky: Sky, before: Solution | None
) -> Solution:
    """Return the solution of one frame.

    Raises
    ------
    Unsolved
        With the reason.
    EngineError
        If the index files cannot be read any more.
    """
    image = read_image(solver.raw / frame.file, frame, solver.dark)
    priors = aim.hints + pointing_priors(*aim.pointing, aim.mount, image.shape)
    return solve(image, sky, priors, aim.pointing, aim.mount, before, solver.engine)


def sky_around(aim: Aim, frame: Frame, solver: Solver) -> Sky:
    """Return the catalogue's stars around a target, at the epoch of a frame.

    Raises
    ------
    CatalogueError
        If the catalogue cannot be read any more.
    """
    epoch = 2000 + (frame.begin - J2000).total_seconds() / 86400 / 365.25
    diagonal = sum(n**2 for n in frame.shape) ** 0.5 * aim.mount.scale / 3600
    stars = solver.catalogue.cut(*aim.pointing, diagonal / 2 + FIELD_MARGIN, epoch)
    logger.info("%d catalogue stars around %.4f %+.4f", len(stars.ra), *aim.pointing)
    return Sky(stars.ra, stars.dec)


def open_solver(
    raw: Path, frames: list[Frame], night: list[Frame], observatory: Observatory, solving: Solving
) -> Solver:
    """Return what a sequence is solved with.

    Parameters
    ----------
    frames, night : list of Frame
        Good frames of the sequence, and of the whole night (for its darks).

    Raises
    ------
    CatalogueError, EngineError, DarkError
        If one of them cannot be read; the message names the file, what was found, what is right.
    """
    camera = observatory.camera
    return Solver(
        raw,
        observatory,
        open_catalogue(solving.stars, camera.band),
        Engine(Path(solving.index)) if solving.index else None,
        dark_for(frames[0], night, raw, solving.dark) if camera.fixed_pattern else None,
        solving.verify,
    )


def write_solved(
    target: Path,
    sequence: str,
    frames: list[Frame],
    raw: Path,
    observatory: Observatory,
    solving: Solving,
    threads: int = 1,
) -> None:
    """Solve a sequence and write the table of it.

    Parameters
    ----------
    target : Path
        The table.
    frames : list of Frame
        Of the whole night.
    raw : Path
        Folder of the raw frames.
    threads : int
        Processes.

    Raises
    ------
    LookupError
        If the night has no such sequence.
    SolvingError
        If catalogue, index files or dark cannot be read: there is no table then.
    """
    chosen = sequences(frames).get(sequence)
    if not chosen:
        raise LookupError(f"{sequence}: no good frame of this sequence; see frames.csv")
    solver = open_solver(raw, chosen, good(frames), observatory, solving)
    solved = solve_sequence(chosen, solver, threads)
    logger.info("%d of %d frames solved", sum(one.solved for one in solved), len(solved))
    with whole_file(target) as stream:
        stream.write(solved_bytes(solved))


def main() -> None:
    """Run the job."""
    start_log(snakemake.log[0])
    write_solved(
        Path(snakemake.output.solved),
        snakemake.wildcards.sequence,
        read_frames(Path(snakemake.input.frames), snakemake.params.snapshot),
        Path(snakemake.input.marker).parent,
        open_observatory(
            snakemake.wildcards.night,
            Configuration.of(snakemake.config),
            {key: str(path) for key, path in snakemake.input.items()},
            snakemake.params.programme,
            snakemake.params.named,
        ),
        Solving.from_mapping(snakemake.params.solving),
        snakemake.threads,
    )


if __name__ == "__main__":
    main()
