"""Simulate a night's raw frames as the observatory software Astra writes them.

Used by the demo, the tests and the benchmarks. It knows nothing of the workflow's rules: headers
come from ``config/simulate/astra.csv``, checksums and projections from astropy. The truth (pixel
digests, world coordinates, faults) goes into a table beside the night.
"""

import argparse
import csv
import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

TABLES = Path(__file__).parent.parent / "config" / "simulate"


def read_csv(name: str) -> list[dict[str, str]]:
    """Return the rows of a table of ``config/simulate``."""
    with open(TABLES / name, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(line for line in stream if not line.startswith("#")))


TRUTH = (
    "file kind object filter exptime date_obs naxis1 naxis2 datasum pixels_sha256 ctype "
    "crpix1 crpix2 crval1 crval2 cd1_1 cd1_2 cd2_1 cd2_2 flipped header_wcs_stale fault of"
).split()
KINDS = {  # IMAGETYP, ASTRATYP, share of a night's frames, most frames of a night
    "bias": ("Bias Frame", "calibration", 0.08, 20),
    "dark": ("Dark Frame", "calibration", 0.12, 30),
    "flat": ("Flat Frame", "flats", 0.10, 10),
}
LATITUDE, LONGITUDE = -24.615667, -70.390278
POINTING_OFFSET = 60.0  # arcsec
STALE_AFTER_FLIP = 2  # frames that still carry the WCS from before a meridian flip
FWHM = 1.4  # arcsec
STARS_PER_SQUARE_ARCMIN = 3.0
FEWEST_STARS = 30
CARDS = read_csv("astra.csv")
MARGIN = 256  # pixels by which the pool of noise is larger than a frame


@dataclass(frozen=True)
class Camera:
    """A row of cameras.csv, with the size in use."""

    telescope: str
    instrume: str
    sensor: str
    naxis1: int
    naxis2: int
    scale: float
    pixel: float
    bias: float
    noise: float
    parity: int
    filter: str
    other_filter: str
    wcs: str


@dataclass(frozen=True)
class Shot:
    """One exposure to be simulated. Angles in degrees, times in s, moments in UTC."""

    kind: str
    start: datetime
    exptime: float
    filter: str
    object: str = ""
    ra: float = 10.0
    dec: float = -24.0
    number: int = 0
    flipped: bool = False
    wcs: dict = field(default_factory=dict)
    header_wcs: dict = field(default_factory=dict)
    cards: dict = field(default_factory=dict)
    rows_less: int = 0
    fault: str = ""
    of: str = ""


def read_camera(telescope: str, size: tuple[int, int] | None) -> Camera:
    """Return a telescope's camera; ``size`` (columns, rows) in place of its own."""
    row = next((r for r in read_csv("cameras.csv") if r["telescope"] == telescope), None)
    if row is None:
        raise ValueError(f"no telescope {telescope!r} in {TABLES / 'cameras.csv'}")
    types = Camera.__annotations__
    camera = Camera(**{key: types[key](value) for key, value in row.items()})
    return replace(camera, naxis1=size[0], naxis2=size[1]) if size else camera


def plan_night(
    camera: Camera, night: str, frames: int, wcs: str, seed: int, flats: int | None = None
) -> list[Shot]:
    """Return the exposures of a night in time order: calibrations at dusk, then science."""
    rng = np.random.default_rng([seed, 1])
    dusk = datetime.strptime(night, "%Y%m%d").replace(tzinfo=UTC) + timedelta(hours=21.5)
    targets = read_csv("targets.csv")
    counts = {
        kind: min(most, max(3, round(frames * share)))
        for kind, (_, _, share, most) in KINDS.items()
    }
    counts["flat"] = flats or counts["flat"]
    science = frames - sum(counts.values())
    if science < len(targets):
        raise ValueError(f"{frames} frames are too few for a night: at least 12")
    exptimes = [float(target["exptime"]) for target in targets]
    shots = []
    clock = dusk
    for kind, count in counts.items():
        for i in range(count):
            exptime = {"bias": 0.0, "dark": exptimes[i % 3], "flat": 2.0 + 0.317 * i}[kind]
            shots.append(Shot(kind, clock, round(exptime, 3), camera.filter))
            clock += timedelta(seconds=exptime + 1, microseconds=int(rng.integers(1, 999_999)))
    clock = max(clock, dusk + timedelta(hours=2.5, seconds=10))
    for target, count in zip(targets, split(science, targets), strict=True):
        for shot in observe(camera, target, count, clock, wcs, rng):
            shots.append(shot)
            clock = shot.start + timedelta(seconds=shot.exptime + 1)
    if clock > dusk + timedelta(hours=14):
        raise ValueError(f"{frames} frames do not fit into one night; about 3300 do")
    return [replace(shot, number=i) for i, shot in enumerate(shots)]


def split(count: int, targets: list[dict]) -> list[int]:
    """Return how many frames each target gets, at least one."""
    others = [max(1, round(count * float(target["share"]))) for target in targets[1:]]
    return [count - sum(others), *others]


def observe(camera: Camera, target: dict, count: int, clock: datetime, wcs: str, rng) -> Iterator:
    """Yield the frames of one action: drifting, and turned by 180 degrees half-way if it is long.

    The header's WCS is that of the pointing frame at the start of the action, or after the flip.
    """
    ra, dec, exptime = float(target["ra"]), float(target["dec"]), float(target["exptime"])
    flip = count // 2 if count >= 6 else count
    angle = rng.uniform(0, 2 * math.pi)
    off = np.array([math.cos(angle), math.sin(angle)]) * POINTING_OFFSET / 3600
    pointed: dict = {}
    for i in range(count):
        flipped = i >= flip
        jump = np.array([20.0, -15.0]) / 3600 * flipped
        sky = off + jump + rng.normal(0, 0.3 / 3600, 2) + i * 0.02 / 3600
        true = tangent_wcs(camera, ra + sky[0] / math.cos(math.radians(dec)), dec + sky[1], flipped)
        if i in (0, flip + STALE_AFTER_FLIP):
            pointed = true
        fraction = {0: 999_999, 1: 0}.get(i, int(rng.integers(1, 999_999)))
        yield Shot(
            "science",
            clock.replace(microsecond=0) + timedelta(microseconds=fraction),
            exptime,
            getattr(camera, target["filter"]),
            target["object"],
            ra,
            dec,
            flipped=flipped,
            wcs=true,
            header_wcs=pointed if wcs == "astra" else {},
        )
        clock += timedelta(seconds=exptime + 1.5)


def tangent_wcs(camera: Camera, ra: float, dec: float, flipped: bool) -> dict:
    """Return a TAN WCS with its centre at ra, dec (degrees), 0.7 degrees off north."""
    turn = math.radians(0.7 + 180 * flipped)
    scale = camera.scale / 3600
    return {
        "crpix1": camera.naxis1 / 2 + 0.5,
        "crpix2": camera.naxis2 / 2 + 0.5,
        "crval1": ra,
        "crval2": dec,
        "cd1_1": -camera.parity * scale * math.cos(turn),
        "cd1_2": scale * math.sin(turn),
        "cd2_1": camera.parity * scale * math.sin(turn),
        "cd2_2": scale * math.cos(turn),
    }


def astropy_wcs(wcs: dict) -> WCS:
    """Return a WCS table row as astropy has it."""
    header = {"ctype1": "RA---TAN", "ctype2": "DEC--TAN", "cunit1": "deg", "cunit2": "deg"} | wcs
    return WCS(fits.Header({key.upper(): value for key, value in header.items()}))


def star_catalogue(camera: Camera, shot: Shot, seed: int) -> np.ndarray:
    """Return ra, dec (degrees) and flux (ADU) of the stars around a target, brightest first."""
    rng = np.random.default_rng([seed, round(shot.ra * 1000)])
    width, height = (n * camera.scale / 60 * 1.1 for n in (camera.naxis1, camera.naxis2))
    count = max(FEWEST_STARS, round(STARS_PER_SQUARE_ARCMIN * width * height))
    x, y = rng.uniform(-0.5, 0.5, (2, count)) * np.array([[width], [height]]) / 60
    flux = np.sort(3e5 * 10 ** (-rng.power(2.0, count) * 2.2))[::-1]
    return np.array([shot.ra + x / math.cos(math.radians(shot.dec)), shot.dec + y, flux]).T


class Sky:
    """Draws pixels; keeps a pool of noise and the catalogues of the targets seen.

    Parameters
    ----------
    camera : Camera
    seed : int
    """

    def __init__(self, camera: Camera, seed: int):
        rng = np.random.default_rng([seed, 2])
        shape = (camera.naxis2 + MARGIN, camera.naxis1 + MARGIN)
        self.camera, self.seed = camera, seed
        self.noise = np.rint(rng.normal(0, camera.noise, shape)).astype(np.int32)
        y, x = np.mgrid[: camera.naxis2, : camera.naxis1]
        radius = np.hypot(x / camera.naxis1 - 0.5, y / camera.naxis2 - 0.5)
        self.vignette = (1 - 0.25 * radius**2).astype(np.float32)
        self.catalogues: dict[str, np.ndarray] = {}

    def pixels(self, shot: Shot) -> np.ndarray:
        """Return a frame's pixels, uint16 of (rows, columns)."""
        camera = self.camera
        corner = divmod(shot.number * 7919 % (MARGIN * MARGIN), MARGIN)
        noise = self.noise[
            corner[0] : corner[0] + camera.naxis2, corner[1] : corner[1] + camera.naxis1
        ]
        level = {"bias": 0.0, "dark": 5.0, "flat": 0.0, "science": 20.0}[shot.kind] * shot.exptime
        image = noise + int(camera.bias + level + shot.number % 13)
        if shot.kind == "flat":
            image = image + (20_000 * self.vignette).astype(np.int32)
        if shot.wcs:
            self.draw(shot, image)
        image[0, :2] = (0, 65535)
        pixels = np.clip(image, 0, 65535).astype(np.uint16)
        return pixels[: camera.naxis2 - shot.rows_less]

    def draw(self, shot: Shot, image: np.ndarray) -> None:
        """Add the stars of a frame to its image."""
        if shot.object not in self.catalogues:
            self.catalogues[shot.object] = star_catalogue(self.camera, shot, self.seed)
        ra, dec, flux = self.catalogues[shot.object].T
        x, y = astropy_wcs(shot.wcs).all_world2pix(ra, dec, 0)
        sigma = FWHM / 2.355 / self.camera.scale
        half = math.ceil(4 * sigma)
        rows, columns = image.shape
        inside = (x > half) & (x < columns - half - 1) & (y > half) & (y < rows - half - 1)
        grid = np.arange(-half, half + 1)
        for cx, cy, counts in zip(x[inside], y[inside], flux[inside], strict=True):
            ix, iy = round(cx), round(cy)
            gx = np.exp(-((grid + ix - cx) ** 2) / (2 * sigma**2))
            gy = np.exp(-((grid + iy - cy) ** 2) / (2 * sigma**2))
            stamp = np.outer(gy, gx) * (counts * shot.exptime / 10 / (2 * math.pi * sigma**2))
            image[iy - half : iy + half + 1, ix - half : ix + half + 1] += stamp.astype(np.int32)


def frame_values(camera: Camera, shot: Shot) -> dict:
    """Return the values in which a frame's header differs from others."""
    mjd = (shot.start - datetime(1858, 11, 17, tzinfo=UTC)) / timedelta(days=1)
    end = shot.start + timedelta(seconds=shot.exptime)
    jitter = np.random.default_rng([shot.number, 3]).normal(0, 1, 5)
    # Mean sidereal time to some seconds, as near as the header of a raw frame must be.
    sidereal = (
        24055.3 + 236.5553679 * (mjd - 51544.5) + 86400 * (mjd % 1) + LONGITUDE * 240
    ) % 86400
    hours = (sidereal / 3600 - shot.ra / 15 + 12) % 24 - 12
    sign = "-" if hours < 0 else ""
    sexagesimal = f"{sign}{int(abs(hours)):02d} {int(abs(hours) * 60 % 60):02d}"
    altitude = math.degrees(
        math.asin(
            math.sin(math.radians(LATITUDE)) * math.sin(math.radians(shot.dec))
            + math.cos(math.radians(LATITUDE))
            * math.cos(math.radians(shot.dec))
            * math.cos(math.radians(hours * 15))
        )
    )
    imagetyp, astratyp, *_ = KINDS.get(shot.kind, ("Light Frame", "object"))
    values = {
        "NAXIS1": camera.naxis1,
        "NAXIS2": camera.naxis2 - shot.rows_less,
        "TELESCOP": camera.telescope,
        "INSTRUME": camera.instrume,
        "OBJECT": shot.object,
        "RADESYS": "ICRS" if shot.header_wcs else "FK5",
        "EXPTIME": shot.exptime,
        "XPIXSZ": camera.pixel,
        "YPIXSZ": camera.pixel,
        "CAM-SNAM": camera.sensor,
        "CAM-DNAM": camera.instrume,
        "FILTER": shot.filter,
        "IMAGETYP": imagetyp,
        "ASTRATYP": astratyp,
        "DATE-OBS": shot.start.strftime("%Y-%m-%dT%H:%M:%S.%f"),
        "DATE": (end + timedelta(hours=10)).strftime("%Y-%m-%dT%H:%M:%S.%f"),
        "CCD-TEMP": -60 + 0.02 * jitter[0],
        "FW-POS": 2.0,
        "FOCUSPOS": 11000 + 3 * jitter[1],
        "FOCUSTEM": 9.1 + 0.05 * jitter[2],
        "ALTITUDE": altitude,
        "AZIMUTH": 124 + 0.01 * jitter[3],
        "RA": shot.ra,
        "DEC": shot.dec,
        "PIERSIDE": float(not shot.flipped),
        "HUMIDITY": 11.5 + 0.1 * jitter[4],
        "MJD-OBS": mjd,
        "LST": sidereal,
        "HA": f"{sexagesimal} {abs(hours) * 3600 % 60:.8f}",
        "JD-OBS": mjd + 2400000.5,
        "HJD-OBS": mjd + 2400000.5 + 0.0041,
        "BJD-OBS": mjd + 2400000.5 + 0.0049,
        "JD-END": mjd + 2400000.5 + shot.exptime / 86400,
        "MJD-END": mjd + shot.exptime / 86400,
        "DATE-END": end.strftime("%Y-%m-%dT%H:%M:%S.%f"),
        "AIRMASS": 1 / math.sin(math.radians(max(altitude, 10.0))),
    }
    wcs = {key.upper().replace("CD", "PC"): value for key, value in shot.header_wcs.items()}
    return values | wcs | ({"LATPOLE": wcs["CRVAL2"]} if wcs else {}) | shot.cards


def header_cards(camera: Camera, shot: Shot, completed: bool = True) -> list[fits.Card]:
    """Return the cards of a frame in Astra's order, without checksums."""
    values = frame_values(camera, shot)
    wanted = {"always": True, "science": bool(shot.object), "wcs": bool(shot.header_wcs)}
    wanted["completed"] = completed
    cards = []
    for row in CARDS:
        value = values.get(row["keyword"], constant(row["value"]))
        if wanted[row["when"]] and value is not None:
            cards.append(fits.Card(row["keyword"], value, row["comment"]))
    return cards


def constant(text: str) -> bool | int | float | str:
    """Return the value that a table's text stands for."""
    if text.startswith("'"):
        return text.strip("'")
    if text == "T":
        return True
    return float(text) if "." in text else int(text) if text != "{}" else ""


def frame_bytes(cards: list[fits.Card], pixels: np.ndarray, checksums: bool = True) -> bytes:
    """Return a whole FITS file: cards, pixels as signed 16 bit with BZERO, padding."""
    data = (pixels.astype(np.int32) - 32768).astype(">i2").tobytes()
    data += bytes(-len(data) % 2880)
    header = fits.Header(cards)
    if not checksums:
        return header.tostring().encode() + data
    hdu = fits.PrimaryHDU.fromstring(header.tostring().encode() + data)
    hdu.add_checksum(when=f"HDU checksum updated {header['DATE'][:19]}")
    return hdu.header.tostring().encode() + data


def name_of(camera: Camera, shot: Shot) -> str:
    """Return the name of a good frame: some have the older ending."""
    return file_name(camera, shot, ".fts" if shot.number % 20 == 7 else ".fits")


def file_name(camera: Camera, shot: Shot, suffix: str) -> str:
    """Return the name under which Astra would write a frame."""
    what = (shot.object or shot.kind).replace("/", "-")
    moment = shot.start.strftime("%Y%m%d_%H%M%S.%f")[:-3]
    return f"{camera.telescope}_{what}_{shot.filter}_{shot.exptime:.3f}s_{moment}{suffix}"


def truth_row(camera: Camera, name: str, shot: Shot, pixels: np.ndarray) -> dict:
    """Return the row of the truth table for a frame."""
    data = (pixels.astype(np.int32) - 32768).astype(">i2").tobytes()
    words = np.frombuffer(data + bytes(-len(data) % 4), ">u4").sum(dtype=np.uint64)
    stale = bool(shot.header_wcs) and shot.header_wcs["cd1_1"] * shot.wcs["cd1_1"] < 0
    return {
        "file": name,
        "kind": shot.kind,
        "object": shot.object,
        "filter": shot.filter,
        "exptime": shot.exptime,
        "date_obs": shot.start.strftime("%Y-%m-%dT%H:%M:%S.%f"),
        "naxis1": camera.naxis1,
        "naxis2": camera.naxis2 - shot.rows_less,
        "datasum": int(words) % 0xFFFFFFFF,
        "pixels_sha256": hashlib.sha256(data).hexdigest(),
        "ctype": "TAN" if shot.wcs else "",
        **shot.wcs,
        "flipped": int(shot.flipped),
        "header_wcs_stale": int(stale),
        "fault": shot.fault,
        "of": shot.of,
    }


# Faults that are a card: its value, or None for a missing one.
CARD_FAULTS = {
    "no_date_obs": {"DATE-OBS": None},
    "bad_date_obs": {"DATE-OBS": "05/03/26 23:00"},
    "no_exptime": {"EXPTIME": None},
    "bad_exptime": {"EXPTIME": "ten"},
    "no_imagetyp": {"IMAGETYP": None},
    "no_filter": {"FILTER": None},
    "unknown_imagetyp": {"IMAGETYP": "Unknown Frame"},
    "pointing": {"ASTRATYP": "pointing"},
    "autofocus": {"ASTRATYP": "autofocus"},
    "calibrate_guiding": {"ASTRATYP": "calibrate_guiding"},
    "wrong_telescope": {"TELESCOP": "Elsewhere"},
}
# Faults of the file's bytes: what becomes of the right ones, given where the data begin.
BYTE_FAULTS = {
    "empty": lambda content, begin: b"",
    "truncated": lambda content, begin: content[: begin + (len(content) - begin) // 2],
    "truncated_header": lambda content, begin: content[:4000],
    "not_fits": lambda content, begin: b"<html>404 not found</html>\n" * 400,
    "bad_datasum": lambda content, begin: (
        content[: begin + 1000] + bytes([content[begin + 1000] ^ 4]) + content[begin + 1001 :]
    ),
    "non_ascii": lambda content, begin: content.replace(b"M. Gillon", b"M. Gill\xf3n", 1),
}
SHOT_FAULTS = ("incomplete", "wrong_size", "other_night", "duplicate_pixels", "name_clash")


def faulty_shots(shots: list[Shot], camera: Camera) -> Iterator[tuple[Shot, str]]:
    """Yield a faulty exposure and its file name for every fault there is."""
    model = next(shot for shot in shots if shot.kind == "science")
    clock = shots[-1].start + timedelta(minutes=10)
    for i, fault in enumerate([*CARD_FAULTS, *BYTE_FAULTS, *SHOT_FAULTS]):
        shot = replace(
            model,
            start=clock + timedelta(seconds=20 * i, microseconds=1000 * i),
            number=shots[-1].number + 1 + i,
            cards=CARD_FAULTS.get(fault, {}),
            fault=fault,
            rows_less=3 if fault == "wrong_size" else 0,
        )
        if fault == "other_night":
            shot = replace(shot, start=shot.start + timedelta(days=2))
        if fault == "duplicate_pixels":
            shot = replace(
                model,
                start=model.start + timedelta(seconds=1),
                fault=fault,
                of=name_of(camera, model),
            )
        if fault == "name_clash":
            twin = shots[-1]
            shot = replace(
                shot,
                start=twin.start.replace(microsecond=twin.start.microsecond // 1000 * 1000 + 500),
                fault=fault,
                of=name_of(camera, twin),
            )
        yield shot, file_name(camera, shot, f"_{fault}.fits")


def simulate(
    telescope: str,
    night: str,
    output: Path | str,
    frames: int = 60,
    size: tuple[int, int] | None = None,
    seed: int = 1,
    wcs: str | None = None,
    faults: bool = False,
    truth: Path | str | None = None,
    flats: int | None = None,
) -> list[dict]:
    """Write a night of raw frames, and return the rows of its truth table.

    Parameters
    ----------
    output : Path
        Gets the folder ``{night}`` and, unless ``truth`` says otherwise, ``{night}.truth.csv``.
    frames : int
        Good frames; those with faults come on top.
    size : tuple of int, optional
        Columns and rows, in place of the camera's.
    wcs : str, optional
        ``astra`` (as Astra writes it: of the pointing frame, stale after a flip) or ``none``;
        otherwise as the telescope's camera has it.
    flats : int, optional
        Sky flats, each with its own exposure time, in place of a tenth of the frames or 10.

    Raises
    ------
    ValueError
        If telescope or number of frames is impossible.
    FileExistsError
        If the night's folder already holds files.
    """
    camera = read_camera(telescope, size)
    folder = Path(output) / night
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} already holds files: remove them first")
    sky = Sky(camera, seed)
    shots = plan_night(camera, night, frames, wcs or camera.wcs, seed, flats)
    named = [(shot, name_of(camera, shot)) for shot in shots]
    if faults:
        named += faulty_shots(shots, camera)
    rows = []
    for shot, name in named:
        pixels = sky.pixels(shot)
        finished = shot.fault != "incomplete"
        content = frame_bytes(header_cards(camera, shot, finished), pixels, finished)
        if shot.fault in BYTE_FAULTS:
            begin = len(content) - -(-pixels.nbytes // 2880) * 2880
            content = BYTE_FAULTS[shot.fault](content, begin)
        (folder / name).write_bytes(content)
        rows.append(truth_row(camera, name, shot, pixels))
    with open(truth or Path(output) / f"{night}.truth.csv", "w", newline="") as stream:
        writer = csv.DictWriter(stream, TRUTH, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return rows


def parse_size(text: str) -> tuple[int, int]:
    """Return columns and rows of a size written ``1024x1280``."""
    columns, rows = text.split("x")
    return int(columns), int(rows)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--telescope", required=True)
    parser.add_argument("--night", required=True, help="YYYYMMDD")
    parser.add_argument("--output", required=True, type=Path, help="gets a folder for the night")
    parser.add_argument("--frames", type=int, default=60, help="good frames")
    parser.add_argument("--size", type=parse_size, help="NAXIS1xNAXIS2")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--wcs", choices=["astra", "none"], help="header WCS; default by telescope")
    parser.add_argument("--faults", action="store_true", help="add a file with each known fault")
    parser.add_argument(
        "--truth", type=Path, help="the truth table; default <output>/<night>.truth.csv"
    )
    options = parser.parse_args()
    rows = simulate(**vars(options))
    bad = sum(bool(row["fault"]) for row in rows)
    print(f"{options.output / options.night}: {len(rows)} raw frames, {bad} of them with a fault")


if __name__ == "__main__":
    main()
