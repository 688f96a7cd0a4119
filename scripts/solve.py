"""Solve the frames of a science sequence: a true WCS for each, whatever its header says.

A WCS in a raw header is a hint, no more: the observatory software copies that of the pointing
frame into every later frame of the action, and across a meridian flip.
"""

import time
from collections.abc import Iterator
from datetime import datetime
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from scripts.lib.files.durable import whole_file
from scripts.lib.files.log import logger, start_log
from scripts.lib.files.tables import read_table
from scripts.lib.frames.frame import open_header
from scripts.lib.headers import values
from scripts.lib.headers.observatory import Observatory, expose, open_observatory
from scripts.lib.headers.sky_wcs import WrongWCS, header_wcs, tangent_wcs
from scripts.lib.nights.night_frames import frames_of, good_frames
from scripts.lib.solving.catalogue import Catalogue, open_catalogue
from scripts.lib.solving.darks import dark_for
from scripts.lib.solving.engine import Engine
from scripts.lib.solving.image import Dark, read_image
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

FIELD_MARGIN = 0.35  # degrees around the frame: as far as pointings may be off
SAME_TARGET = 0.02  # degrees: frames that point this close share a cut of the catalogue
FEWEST_A_THREAD = 10  # frames: fewer are not worth a process


class Solver(NamedTuple):
    """What the frames of a sequence are solved with.

    Attributes
    ----------
    raw : Path
        Folder of the raw frames.
    observatory : Observatory
    catalogue : Catalogue
    name : str
        File name of the catalogue.
    engine : Engine or None
        For what cannot be solved otherwise.
    dark : Dark or None
    verify : bool
        Whether to begin with the header's WCS.
    """

    raw: Path
    observatory: Observatory
    catalogue: Catalogue
    name: str
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


def solve_sequence(frames: list[dict], solver: Solver, threads: int) -> list[Solved]:
    """Return what became of each frame of a sequence.

    Parameters
    ----------
    frames : list of dict
        Rows of ``frames.csv``, in time order.
    threads : int
        Processes: each takes a stretch of the sequence.
    """
    threads = min(threads, max(1, len(frames) // FEWEST_A_THREAD))
    if threads == 1:
        return list(solve_stretch(frames, solver))
    size = -(-len(frames) // threads)
    stretches = [frames[i : i + size] for i in range(0, len(frames), size)]
    # Forked, the processes share catalogue, dark and modules, and start at once. Each ends by
    # itself: workers of a pool would wait for ever if this process were killed.
    context = get_context("fork")
    pipes = [context.Pipe(duplex=False) for _ in stretches]
    workers = [
        context.Process(target=_send_stretch, args=(stretch, solver, sender))
        for stretch, (_, sender) in zip(stretches, pipes, strict=True)
    ]
    for worker, (_, sender) in zip(workers, pipes, strict=True):
        worker.start()
        sender.close()
    try:
        return [solved for receiver, _ in pipes for solved in receiver.recv()]
    except EOFError as error:
        raise RuntimeError("a process that solved part of the sequence was killed") from error
    finally:
        for worker in workers:
            worker.join()


def _send_stretch(frames: list[dict], solver: Solver, sender: Connection) -> None:
    sender.send(list(solve_stretch(frames, solver)))


def solve_stretch(frames: list[dict], solver: Solver) -> Iterator[Solved]:
    """Yield what became of each of some consecutive frames."""
    before: Solution | None = None
    sky: tuple[tuple[float, float], Sky] | None = None
    for row in frames:
        begin = time.process_time()
        try:
            aim = read_aim(row, solver)
            if sky is None or distance(*sky[0], *aim.pointing) > SAME_TARGET:
                sky, before = (aim.pointing, sky_around(aim, row, solver)), None
            before = solve_frame(row, solver, aim, sky[1], before)
            yield Solved.of(row["file"], before, solver.name, time.process_time() - begin)
        except Unsolved as error:
            logger.warning("%s: unsolved: %s", row["file"], error)
            yield Solved.failed(row["file"], error, time.process_time() - begin)
        except Exception as error:
            # Whatever is wrong with one frame must not cost the others their coordinates.
            logger.exception("%s: unsolved", row["file"])
            reason = Unsolved(f"error while solving: {type(error).__name__}: {error}")
            yield Solved.failed(row["file"], reason, time.process_time() - begin)


def read_aim(row: dict, solver: Solver) -> Aim:
    """Return where a frame points by its header."""
    header, data_start = open_header(solver.raw / row["file"])
    exposure = expose(row["file"], header, data_start, solver.observatory)
    pointing = values.ra(exposure), values.dec(exposure)
    camera = solver.observatory.camera
    scale = camera.pixel_scale * exposure.frame.setting.xbinning
    mount = Orientation(scale, camera.rotation, camera.parity)
    if not solver.verify:
        return Aim(pointing, mount, [])
    try:
        wcs = tangent_wcs(header_wcs(exposure.raw, *pointing, scale))
    except WrongWCS:
        return Aim(pointing, mount, [])
    return Aim(pointing, mount, header_priors(moved_to(wcs, *middle(shape_of(row)))))


def solve_frame(row: dict, solver: Solver, aim: Aim, sky: Sky, before: Solution | None) -> Solution:
    """Return the solution of one frame.

    Raises
    ------
    Unsolved
        With the reason.
    """
    image = read_image(solver.raw / row["file"], row, solver.dark)
    priors = aim.hints + pointing_priors(*aim.pointing, aim.mount, image.shape)
    return solve(image, sky, priors, aim.pointing, aim.mount, before, solver.engine)


def sky_around(aim: Aim, row: dict, solver: Solver) -> Sky:
    """Return the catalogue's stars around a target, at the epoch of a frame."""
    moment = datetime.fromisoformat(row["date_obs"])
    epoch = 2000 + (moment - datetime(2000, 1, 1, 12)).total_seconds() / 86400 / 365.25
    diagonal = sum(n**2 for n in shape_of(row)) ** 0.5 * aim.mount.scale / 3600
    stars = solver.catalogue.cut(*aim.pointing, diagonal / 2 + FIELD_MARGIN, epoch)
    logger.info("%d catalogue stars around %.4f %+.4f", len(stars.ra), *aim.pointing)
    return Sky(stars.ra, stars.dec)


def shape_of(row: dict) -> tuple[int, int]:
    """Return rows and columns of a frame."""
    return int(row["naxis2"]), int(row["naxis1"])


def open_solver(
    raw: Path, frames: list[dict], night: list[dict], observatory: Observatory, settings: dict
) -> Solver:
    """Return what a sequence is solved with.

    Parameters
    ----------
    frames, night : list of dict
        Rows of ``frames.csv``: of the sequence, and of the whole night (for its darks).
    settings : dict
        catalogue, index, solve, dark: as in the configuration.

    Raises
    ------
    CatalogueError, EngineError, DarkError
        If one of them cannot be read; the message names it.
    """
    camera = observatory.camera
    index = Path(settings["index"]) if settings["index"] else None
    catalogue = settings["catalogue"] or settings["index"]
    return Solver(
        raw,
        observatory,
        open_catalogue(catalogue, camera.band),
        Path(catalogue).name,
        Engine(index) if index else None,
        dark_for(frames[0], night, raw, settings["dark"]) if camera.fixed_pattern else None,
        settings["solve"] == "verify",
    )


if __name__ == "__main__":
    start_log(snakemake.log[0])
    table = Path(snakemake.input.frames)
    raw = Path(snakemake.input.marker).parent
    frames = frames_of(table, snakemake.wildcards.sequence)
    solver = open_solver(
        raw,
        frames,
        good_frames(read_table(table)),
        open_observatory(
            snakemake.wildcards.night, snakemake.params.observatory, dict(snakemake.input.items())
        ),
        snakemake.params.solving,
    )
    solved = solve_sequence(frames, solver, snakemake.threads)
    good = sum(row.solved for row in solved)
    logger.info("%d of %d frames solved", good, len(solved))
    with whole_file(Path(snakemake.output.solved)) as stream:
        stream.write(solved_bytes(solved))
