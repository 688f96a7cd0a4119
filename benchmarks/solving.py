"""Judge plate solving on frames of known truth, every difficulty among them.

``python -m benchmarks.solving`` draws frames of both cameras and prints, for each kind of
difficulty, how many were solved, how wrong the solutions are over the whole detector, and what they
cost in CPU seconds of one thread; then sequences, then frames that follow a move of the telescope
and show something of where it was, then trials that must not be solved: star lists on other skies,
of which some catalogues cover little. ``--repeat`` multiplies the frames, ``--size`` cuts them.
With ``--solve-field`` the command of the legacy pipeline gets some of the same frames, on index
files made from the same catalogue (Debian's astrometry.net must be installed).
"""

import argparse
import resource
import subprocess
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy.wcs import WCS, FITSFixedWarning

from scripts.commands.catalogue import make_index
from scripts.lib.files.errors import JobFailed
from scripts.lib.solving.detection import Found, detect
from scripts.lib.solving.image import Dark, Image, make_dark
from scripts.lib.solving.priors import (
    Orientation,
    Prior,
    header_priors,
    middle,
    pointing_priors,
    sequence_priors,
)
from scripts.lib.solving.solver import Solution, Unsolved, solve, solve_detected
from scripts.lib.solving.stars import GAIA_DR2, CatalogueStars
from scripts.lib.solving.tangent import TangentWCS, distance, moved_to, oriented, to_sky
from scripts.simulator.night import frame_bytes, header_cards, read_camera, stored
from scripts.simulator.sky import Shot, SimulatedCamera, Sky, aimed, astropy_wcs, linear, stretched

Size = tuple[int, int] | None  # columns and rows of all frames; None for the camera's own
EPOCH = datetime(2026, 3, 6, 3, tzinfo=UTC)
WRONG = 3.0  # arcsec: a solution farther off than this is wrong
DETECTABLE = 1.5  # pixels from a drawn star to what was detected
# What the configuration of the telescopes says; the truth differs a little.
MOUNTS = {"Io": Orientation(0.348, 0.0, 1), "Callisto": Orientation(0.309, 0.0, -1)}


class Difficulty(NamedTuple):
    """A kind of frame: how many frames there are of it, and what makes it so.

    ``fields`` has choices for the fields of a Shot; ``stars`` is the density as catalogue stars in
    a frame.
    """

    name: str
    frames: int
    fields: dict
    header: str = ""
    rotation: float | None = None
    mirrored: bool = False


DIFFICULTIES = [
    Difficulty("normal", 14, {"density": (1, 2, 5, 10, 15)}),
    Difficulty("600 cosmic rays", 4, {"density": (2, 6), "cosmics": (600,)}),
    Difficulty("cloud 3 mag", 8, {"density": (2, 6, 12), "cloud": (3.0,)}),
    Difficulty("defocused 4 arcsec", 5, {"density": (2, 6), "fwhm": (4.0,)}),
    Difficulty("trailed 12 pixels", 5, {"density": (2, 6), "trail": (12.0,)}),
    Difficulty("saturated, 60 s", 3, {"density": (5,), "exptime": (60.0,)}),
    Difficulty("10 arcmin off", 6, {"density": (1, 3, 8), "mispointing": (600.0,)}),
    Difficulty("stale header after a flip", 8, {"density": (1, 3, 8)}, header="flipped"),
    Difficulty("header 40 arcsec stale", 4, {"density": (1, 3, 8)}, header="moved"),
    Difficulty("mirrored", 4, {"density": (1, 3, 8)}, mirrored=True),
    Difficulty("rotated by 77 degrees", 4, {"density": (2, 6)}, rotation=77.0),
    Difficulty("sparse", 16, {"stars": (14, 18, 24), "exptime": (5.0, 10.0)}),
    Difficulty("very sparse", 30, {"stars": (6, 8, 10, 13), "exptime": (5.0, 10.0)}),
    Difficulty("blooming, 60 s", 4, {"density": (5,), "exptime": (60.0,), "blooming": (True,)}),
    Difficulty("moonlight, gradient 0.6", 4, {"density": (2, 6), "moon": (0.6,)}),
    Difficulty("vignetting of 0.7", 4, {"density": (2, 6), "vignetting": (0.7,)}),
    Difficulty("fringes of 0.1", 4, {"density": (2, 6), "fringes": (0.1,)}),
    Difficulty("amplifier glow", 4, {"density": (2, 6), "glow": (300.0,)}),
    Difficulty("donuts of 5 arcsec", 5, {"density": (2, 6), "donut": (5.0,), "fwhm": (1.4,)}),
    Difficulty("no stars", 8, {"starless": (True,), "cosmics": (3, 100)}),
]


class Move(NamedTuple):
    """What a frame shows after the telescope moved: see `Shot`. Shares are ranges."""

    name: str
    pixels: tuple[float, float]  # by which it moved; 0 for a flip
    second: tuple[float, float]
    moved: bool = False
    cloud: float = 0.0


MOVES = [
    Move("jump", (20, 40), (0, 0)),
    Move("jump, persistence 0.3 %", (20, 40), (0.003, 0.003)),
    Move("jump, persistence 1 to 5 %", (8, 60), (0.01, 0.05)),
    Move("jump under 1 mag of cloud, 3 %", (20, 40), (0.03, 0.03), cloud=1.0),
    Move("jump during the exposure, 10 to 30 %", (20, 40), (0.1, 0.3), True),
    Move("the same, 30 to 50 %", (12, 60), (0.3, 0.5), True),
    Move("double image, 50 to 100 %", (12, 60), (0.5, 1.0)),
    Move("flip, persistence 1 %", (0, 0), (0.01, 0.01)),
]


class Trial(NamedTuple):
    """A frame and what solving needs to know of it."""

    kind: str
    camera: SimulatedCamera
    shot: Shot
    pixels: np.ndarray
    image: Image
    stars: CatalogueStars
    mount: Orientation
    header: TangentWCS | None
    found: Found
    detectable: int


def shots(
    camera: SimulatedCamera, difficulty: Difficulty, rng: np.random.Generator
) -> Iterator[tuple]:
    """Yield camera and exposure of each frame of a kind."""
    for i in range(difficulty.frames):
        fields = {key: rng.choice(values).item() for key, values in difficulty.fields.items()}
        fields = {"fwhm": rng.uniform(1.0, 2.0), "mispointing": rng.uniform(0, 120)} | fields
        seen = camera
        if difficulty.mirrored:
            seen = replace(seen, parity=-camera.parity)
        if difficulty.rotation is not None:
            seen = replace(seen, rotation=difficulty.rotation)
        seen = replace(seen, rotation=seen.rotation + rng.normal(0, 0.3))
        if stars := fields.pop("stars", 0):
            fields["density"] = stars / (camera.naxis1 * camera.naxis2 * (camera.scale / 60) ** 2)
        shot = Shot(
            "science",
            EPOCH + timedelta(seconds=30 * i),
            fields.pop("exptime", 10.0),
            camera.filter,
            "target",
            rng.uniform(0, 360),
            rng.uniform(-75, 20),
            number=int(rng.integers(1_000_000)),
            flipped=bool(rng.integers(2)),
            trail_angle=rng.uniform(0, 180),
            **fields,
        )
        yield seen, aimed(seen, shot, rng.uniform(0, 360), stretch_of(rng))


def stretch_of(rng: np.random.Generator) -> np.ndarray:
    return stretched(rng.uniform(-5e-4, 5e-4), rng.uniform(0, 1e-3), rng.uniform(0, 180))


def trials(
    telescope: str, rng: np.random.Generator, seed: int, size: Size, repeat: int
) -> Iterator[Trial]:
    """Yield the frames of a camera."""
    camera = read_camera(telescope, size)
    drawer = Sky(camera, seed)
    darks = {time: dark_of(drawer, time) for time in (3.0, 5.0, 10.0, 60.0)}
    for difficulty in (one for one in DIFFICULTIES for _ in range(repeat)):
        for seen, shot in shots(camera, difficulty, rng):
            drawer.camera = seen
            pixels = drawer.pixels(shot)
            image = image_of(pixels, darks[shot.exptime])
            stars = catalogue_of(drawer, shot)
            header = stale_header(difficulty.header, seen, shot, rng)
            found = detect(image)
            yield Trial(
                difficulty.name,
                seen,
                shot,
                pixels,
                image,
                stars,
                MOUNTS[telescope],
                header,
                found,
                detectable(image, found, drawer, shot),
            )
            drawer.fields.clear()


def dark_of(drawer: Sky, exptime: float) -> Dark | None:
    """Return the dark of a camera with a fixed pattern, of seven frames."""
    if drawer.camera.band != "j":
        return None
    frames = [
        Shot("dark", EPOCH, exptime, "zYJ", number=2_000_000 + i, cosmics=3) for i in range(7)
    ]
    return make_dark([stored_array(drawer.pixels(frame)) for frame in frames])


def stored_array(pixels: np.ndarray) -> np.ndarray:
    return np.frombuffer(stored(pixels), ">i2").reshape(pixels.shape)


def image_of(pixels: np.ndarray, dark: Dark | None) -> Image:
    return Image(stored_array(pixels), dark)


def catalogue_of(drawer: Sky, shot: Shot) -> CatalogueStars:
    """Return the catalogue around an exposure, brightest first, at its epoch."""
    stars = drawer.stars(shot)
    ra, dec = stars.at(shot.start)
    mag = stars.j if drawer.camera.band == "j" else stars.mag
    known = np.flatnonzero(stars.mag < 19)
    order = known[np.argsort(mag[known])]
    # In order of brightness, and as if it did not move: all that solving needs.
    zero = np.zeros(len(order))
    mag = np.linspace(8, 19, len(order))
    return CatalogueStars(ra[order], dec[order], mag, zero, zero, zero + GAIA_DR2, zero + np.nan)


def stale_header(kind: str, camera: SimulatedCamera, shot: Shot, rng) -> TangentWCS | None:
    """Return the WCS that the header claims: that of before a flip, or of an earlier pointing."""
    if not kind:
        return None
    wcs = tangent_of(linear(shot.wcs))
    if kind == "flipped":
        wcs = wcs._replace(cd=-wcs.cd)
    east, north = rng.normal(0, 40 / 3600, 2)
    return wcs._replace(ra=wcs.ra + east / np.cos(np.radians(wcs.dec)), dec=wcs.dec + north)


def tangent_of(wcs: dict) -> TangentWCS:
    cd = 3600 * np.array([[wcs["cd1_1"], wcs["cd1_2"]], [wcs["cd2_1"], wcs["cd2_2"]]])
    return TangentWCS(wcs["crval1"], wcs["crval2"], wcs["crpix1"], wcs["crpix2"], cd)


def detectable(image: Image, detected: Found, drawer: Sky, shot: Shot) -> int:
    """Return how many stars of the catalogue were detected, judged by the truth."""
    if shot.starless:
        return 0
    stars = catalogue_of(drawer, shot)
    wcs = astropy_wcs(shot.wcs)
    x, y = wcs.wcs_world2pix(stars.ra, stars.dec, 1)
    near = (abs(x - image.shape[1] / 2) < image.shape[1]) & (
        abs(y - image.shape[0] / 2) < image.shape[0]
    )
    x, y = wcs.all_world2pix(stars.ra[near], stars.dec[near], 1)
    found = detected.stars
    apart = np.hypot(x[:, None] - found.x, y[:, None] - found.y)
    limit = DETECTABLE + shot.trail / 2
    return int((apart.min(1, initial=np.inf) < limit).sum())


def error_of(wcs: TangentWCS, shot: Shot, shape: tuple[int, int]) -> float:
    """Return the rms distance (arcsec) from truth to solution, over a grid on the detector."""
    grid = np.meshgrid(np.linspace(1, shape[1], 21), np.linspace(1, shape[0], 21))
    xy = np.column_stack([axis.ravel() for axis in grid])
    true = astropy_wcs(shot.wcs).all_pix2world(xy, 1)
    mine = to_sky(wcs, xy)
    apart = [distance(*a, *b) for a, b in zip(true, np.transpose(mine), strict=True)]
    return 3600 * float(np.sqrt(np.mean(np.square(apart))))


def priors_of(trial: Trial) -> list[Prior]:
    hints = (
        header_priors(moved_to(trial.header, *middle(trial.image.shape))) if trial.header else []
    )
    return hints + pointing_priors(trial.shot.ra, trial.shot.dec, trial.mount, trial.image.shape)


def solve_cold(trial: Trial) -> tuple[float | None, float]:
    """Return the error (arcsec; None unsolved) and the CPU seconds of a frame on its own."""
    begin = time.process_time()
    try:
        pointing = trial.shot.ra, trial.shot.dec
        found = solve(trial.image, trial.stars, priors_of(trial), pointing, trial.mount)
    except Unsolved:
        return None, time.process_time() - begin
    cpu = time.process_time() - begin
    return error_of(found.wcs, trial.shot, trial.image.shape), cpu


class Result(NamedTuple):
    """What became of a frame: error in arcsec (None if unsolved), CPU seconds."""

    kind: str
    detectable: int
    error: float | None
    cpu: float


def report(title: str, results: list[Result]) -> str:
    """Return a row of a Markdown table."""
    errors = [r.error for r in results if r.error is not None]
    right = [error for error in errors if error <= WRONG]
    cpu = np.median([r.cpu for r in results])
    quality = f"{np.median(right):.3f} | {max(right):.3f}" if right else "- | -"
    return (
        f"| {title} | {len(right)}/{len(results)} | {len(errors) - len(right)} | {quality} | "
        f"{cpu:.3f} | {max(r.cpu for r in results):.2f} |"
    )


HEAD = (
    '| frames | solved | wrong | median error " | worst " | CPU s median | worst |\n'
    "|---|---|---|---|---|---|---|"
)


def run_cold(
    telescope: str, seed: int, keep: int, size: Size, repeat: int
) -> tuple[list[Result], list, list]:
    """Print how the frames of a camera fare, each on its own.

    Returns
    -------
    list of Result, list of tuple, list of Trial
        All results; detected stars for the trials with other skies; frames for solve-field.
    """
    results, lists, kept = [], [], []
    seen: dict[str, int] = {}
    for trial in trials(telescope, np.random.default_rng(seed), seed, size, repeat):
        results.append(Result(trial.kind, trial.detectable, *solve_cold(trial)))
        lists.append((trial.found, trial.image.shape, trial.mount))
        seen[trial.kind] = seen.get(trial.kind, 0) + 1
        if seen[trial.kind] <= keep:
            kept.append(trial)
    print(f"\n{telescope}: {len(results)} frames, each on its own\n\n{HEAD}")
    for difficulty in DIFFICULTIES:
        print(report(difficulty.name, [r for r in results if r.kind == difficulty.name]))
    starry = [r for r in results if r.kind != "no stars"]
    for low, high in ((8, 10_000), (5, 7), (0, 4)):
        chosen = [r for r in starry if low <= r.detectable <= high]
        if chosen:
            title = f"{low}-{high} detectable stars" if high < 1000 else "8 or more detectable"
            print(report(f"**{title}**", chosen))
    print(report("**all**", results), flush=True)
    return results, lists, kept


def run_sequence(telescope: str, density: float, seed: int, frames: int = 40) -> None:
    """Print how a sequence fares: drift, jitter, a cloud, a flip in its middle, growing stars."""
    rng = np.random.default_rng([seed, 7])
    camera = read_camera(telescope, None)
    drawer, mount = Sky(camera, seed), MOUNTS[telescope]
    dark = dark_of(drawer, 10.0)
    ra, dec = rng.uniform(0, 360), rng.uniform(-75, 20)
    stretch, angle = stretch_of(rng), rng.uniform(0, 360)
    results: list[Result] = []
    before: Solution | None = None
    for i in range(frames):
        flipped = i >= frames // 2
        shot = Shot(
            "science",
            EPOCH + timedelta(seconds=12 * i),
            10.0,
            camera.filter,
            "target",
            ra,
            dec,
            density=density,
            number=i,
            flipped=flipped,
            cloud=max(0.0, 2.5 - abs(i - frames // 4)),
            fwhm=1.2 + 0.02 * i,
            mispointing=60 + 54 * flipped + 0.02 * i + rng.normal(0, 0.3),
        )
        shot = aimed(camera, shot, angle, stretch)
        image = image_of(drawer.pixels(shot), dark)
        stars = catalogue_of(drawer, shot)
        found = None
        begin = time.process_time()
        try:
            priors = pointing_priors(ra, dec, mount, image.shape)
            found = before = solve(image, stars, priors, (ra, dec), mount, before)
        except Unsolved:
            pass
        cpu = time.process_time() - begin
        error = error_of(found.wcs, shot, image.shape) if found else None
        results.append(Result(found.method if found else "unsolved", 0, error, cpu))
    mean = np.mean([r.cpu for r in results])
    forced = np.median([r.cpu for r in results if r.kind == "forced"] or [np.nan])
    ways = Counter(r.kind for r in results)
    listed = ", ".join(f"{count} {way}" for way, count in ways.items())
    print(report(f"{telescope} sequence, {density:g} stars/arcmin2 ({listed})", results))
    print(f"| {'':27} CPU s: mean {mean:.4f}, forced {forced:.4f} | | | | | | |", flush=True)


def run_moves(telescope: str, seed: int, count: int, size: Size) -> list[tuple]:
    """Print how frames fare that follow a move of the telescope, and return their star lists.

    Right is where the telescope stood at the end; of a double image either place.
    """
    rng = np.random.default_rng([seed, 5])
    camera, mount = read_camera(telescope, size), MOUNTS[telescope]
    drawer = Sky(camera, seed)
    dark = dark_of(drawer, 10.0)
    results: dict[str, list[Result]] = {move.name: [] for move in MOVES}
    ways: dict[str, list[str]] = {move.name: [] for move in MOVES}
    lists = []
    for number in range(count):
        ra, dec = rng.uniform(0, 360), rng.uniform(-75, 20)
        stretch, angle = stretch_of(rng), rng.uniform(0, 360)
        density, fwhm = float(rng.choice([1, 2, 4, 8, 14])), rng.uniform(1.0, 2.0)
        shot = Shot("science", EPOCH, 10.0, camera.filter, "target", ra, dec, density, 10 * number)
        shot = aimed(camera, replace(shot, fwhm=fwhm, mispointing=60.0), angle, stretch)
        stars = catalogue_of(drawer, shot)
        priors, pointing = None, (ra, dec)
        first = None
        for order, move in enumerate([None, *MOVES]):
            now = shot
            if move is not None:
                way = camera.scale * rng.uniform(*move.pixels) * rng.choice([-1, 1])
                now = replace(
                    shot,
                    start=EPOCH + timedelta(seconds=12),
                    number=10 * number + order,
                    mispointing=60.0 + (way or 54.0),
                    flipped=not way,
                    cloud=move.cloud,
                    second=rng.uniform(*move.second),
                    second_wcs=shot.wcs,
                    moved=move.moved,
                )
                now = aimed(camera, now, angle, stretch)
            image = image_of(drawer.pixels(now), dark)
            priors = pointing_priors(ra, dec, mount, image.shape)
            begin = time.process_time()
            try:
                found = solve(image, stars, priors, pointing, mount, first)
            except Unsolved:
                found = None
            cpu = time.process_time() - begin
            if move is None:
                first = found
                lists.append((detect(image), image.shape, mount))
                continue
            error = error_of(found.wcs, now, image.shape) if found else None
            if found and error and now.second > 0.3:
                other = replace(now, wcs=shot.wcs)
                error = min(error, error_of(found.wcs, other, image.shape))
            results[move.name].append(Result(move.name, 0, error, cpu))
            ways[move.name].append(found.method if found else "unsolved")
        drawer.fields.clear()
    for name, rows in results.items():
        listed = ", ".join(f"{count} {way}" for way, count in Counter(ways[name]).most_common())
        print(report(f"{telescope}: {name} ({listed})", rows), flush=True)
    return lists


def run_wrong_skies(lists: list[tuple], count: int, seed: int) -> None:
    """Print how often star lists are solved on a sky that is not theirs."""
    rng = np.random.default_rng([seed, 9])
    solved, lowest, costs = 0, 0.0, []
    drawer = Sky(read_camera("Io", None), seed)
    skies = []
    for _ in range(24):
        shot = Shot("science", EPOCH, 10.0, "", "", rng.uniform(0, 360), rng.uniform(-75, 20))
        shot = replace(shot, density=float(rng.choice([0.2, 1, 4, 12])))
        skies.append((shot, catalogue_of(drawer, shot)))
        drawer.fields.clear()
    for i in range(count):
        found, shape, mount = lists[i % len(lists)]
        shot, sky = skies[rng.integers(len(skies))]
        if i % 3 == 0:
            # A catalogue that covers less than the window.
            near = np.hypot((sky.ra - shot.ra) * np.cos(np.radians(shot.dec)), sky.dec - shot.dec)
            sky = sky.taken(near < rng.uniform(0.02, 0.1))
        priors = pointing_priors(shot.ra, shot.dec, mount, shape)
        if i % 2:
            wcs = oriented(shot.ra, shot.dec, *middle(shape), mount.scale, 0.0, mount.parity)
            priors = sequence_priors(wcs) + priors
        begin = time.process_time()
        try:
            solve_detected(found, sky, priors, (shot.ra, shot.dec), shape)
            solved += 1
        except Unsolved as error:
            lowest = min(lowest, error.log_fap)
        costs.append(time.process_time() - begin)
    print(
        f"\n{count} star lists on other skies: {solved} solved; lowest log10 FAP {lowest:.1f}; "
        f"CPU {np.median(costs):.2f} s median, {max(costs):.2f} s worst",
        flush=True,
    )


LEGACY = (
    "solve-field --no-plots --no-remove-lines --uniformize 0 --overwrite --radius 4 --depth 100 "
    "--downsample 2 --no-tweak"
).split()


def run_solve_field(telescope: str, kept: list[Trial], folder: Path, results: list) -> None:
    """Print how the legacy pipeline's command fares on some of the frames, beside this one."""
    legacy, mine = [], []
    for number, trial in enumerate(kept):
        place = folder / f"{telescope}_{number}"
        place.mkdir()
        frame = place / "frame.fits"
        cards = header_cards(trial.camera, replace(trial.shot, header_wcs={}))
        frame.write_bytes(frame_bytes(cards, stored(trial.pixels)))
        settings = index_files(place, trial)
        ra, dec = trial.shot.ra, trial.shot.dec
        words = [*LEGACY, "--config", settings, "--ra", str(ra), "--dec", str(dec), str(frame)]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(words, capture_output=True, check=False, cwd=place)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        legacy.append(Result(trial.kind, trial.detectable, legacy_error(place, trial), cpu))
        mine.append(Result(trial.kind, trial.detectable, *solve_cold(trial)))
    print(f"\n{telescope}: {len(kept)} of the same frames\n\n{HEAD}")
    print(report("legacy solve-field", legacy))
    print(report("this workflow, each frame on its own", mine))
    solved = [(a.cpu, b.cpu) for a, b in zip(legacy, mine, strict=True) if a.error is not None]
    if solved:
        ratio = np.median([a / b for a, b in solved])
        print(f"\nCPU seconds, median ratio where both solved: {ratio:.0f}", flush=True)


def index_files(place: Path, trial: Trial) -> str:
    """Make index files of a frame's catalogue, and return the engine's configuration file."""
    try:
        make_index(trial.stars, place / "index")
    except JobFailed:
        (place / "index").mkdir(exist_ok=True)  # too few stars for a single quad
    settings = place / "engine.cfg"
    settings.write_text(f"add_path {place / 'index'}\nautoindex\ncpulimit 300\n")
    return str(settings)


def legacy_error(place: Path, trial: Trial) -> float | None:
    """Return the error (arcsec) of solve-field's WCS, None if there is none."""
    path = place / "frame.wcs"
    if not path.exists():
        return None
    from astropy.io import fits

    rows, columns = trial.image.shape
    grid = np.meshgrid(np.linspace(1, columns, 21), np.linspace(1, rows, 21))
    xy = np.column_stack([axis.ravel() for axis in grid])
    true = astropy_wcs(trial.shot.wcs).all_pix2world(xy, 1)
    theirs = WCS(fits.getheader(path)).all_pix2world(xy, 1)
    apart = [distance(*a, *b) for a, b in zip(true, theirs, strict=True)]
    return 3600 * float(np.sqrt(np.mean(np.square(apart))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--other-skies", type=int, default=2000, help="trials with other skies")
    parser.add_argument(
        "--solve-field", type=int, default=0, metavar="N", help="N frames of each kind for it too"
    )
    parser.add_argument("--moves", type=int, default=10, help="targets for each kind of move")
    parser.add_argument("--repeat", type=int, default=1, help="times as many frames of each kind")
    parser.add_argument("--size", type=int, nargs=2, metavar=("X", "Y"), help="pixels of a frame")
    parser.add_argument("--no-sequences", action="store_true", help="leave these out")
    options = parser.parse_args()
    size = tuple(options.size) if options.size else None
    warnings.simplefilter("ignore", FITSFixedWarning)
    with tempfile.TemporaryDirectory() as folder:
        lists = []
        for telescope in ("Io", "Callisto"):
            results, found, kept = run_cold(
                telescope, options.seed, options.solve_field, size, options.repeat
            )
            lists += found
            if kept:
                run_solve_field(telescope, kept, Path(folder), results)
        print(f"\nAfter a move of the telescope\n\n{HEAD}")
        for telescope in ("Io", "Callisto"):
            lists += run_moves(telescope, options.seed, options.moves, size)
        if not options.no_sequences:
            print(f"\nSequences of 40 frames\n\n{HEAD}")
            for telescope in ("Io", "Callisto"):
                for density in (6, 1, 0.3):
                    run_sequence(telescope, density, options.seed)
        run_wrong_skies(lists, options.other_skies, options.seed)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"seed {options.seed}; {memory:.0f} MB with the drawing of the frames")


if __name__ == "__main__":
    main()
