"""Simulate a night's raw frames as the observatory software Astra writes them.

Used by the demo, the tests and the benchmarks. It knows nothing of the workflow's rules: headers
come from ``config/simulate/astra.csv``, checksums and projections from astropy, pixels from
`scripts.simulator.sky`. The truth (pixel digests, world coordinates, difficulties, faults) and
the catalogue of the stars go into tables beside the night.
"""

import csv
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from scripts.simulator.sky import (
    LINEAR,
    RADIAL,
    Shot,
    SimulatedCamera,
    Sky,
    Stars,
    Value,
    WcsRow,
    aimed,
    astropy_wcs,
    dense_enough,
    linear,
    projection,
    stretched,
)

TABLES = Path(__file__).parents[2] / "config" / "simulate"


def read_csv(name: str) -> list[dict[str, str]]:
    """Return the rows of a table, named from ``config/simulate``."""
    with open(TABLES / name, newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(line for line in stream if not line.startswith("#")))


# A row of the truth table, by its columns.
Truth = dict[str, Value]
DIFFICULTIES = "cloud fwhm trail starless mispointing".split()
TRUTH = [
    *"file kind object filter exptime date_obs naxis1 naxis2 datasum pixels_sha256 ctype".split(),
    *(*LINEAR, *RADIAL, "flipped", "header_wcs_stale", *DIFFICULTIES, "fault", "of"),
]
KINDS = {  # IMAGETYP, ASTRATYP, share of a night's frames, most frames of a night
    "bias": ("Bias Frame", "calibration", 0.08, 20),
    "dark": ("Dark Frame", "calibration", 0.12, 30),
    "flat": ("Flat Frame", "flats", 0.10, 10),
}
DUSK = 4.8  # hours after local mean noon that a night begins, to the half hour of UTC
POINTING_OFFSET = 60.0  # arcsec
SCALE_ERROR = 5e-4  # at most, of the camera's scale
REFRACTION = 5e-4  # at most, relative stretch of the frame along some direction
SEEING, SEEING_SWING, SEEING_PERIOD = 1.4, 0.3, 1.1  # arcsec, arcsec, hours
FEWEST_TO_FLIP = 6  # frames of the main target
FEWEST_FOR_EVENTS = 8  # frames of a target: fewer would have all events in one frame
STALE_AFTER_FLIP = 2  # frames that still carry the WCS from before a meridian flip
LONGEST_SCIENCE = 9.9 * 3600  # s: from midnight to the morning
OVERHEAD = 1.5  # s between two science exposures
CARDS = read_csv("astra.csv")
EVENTS = read_csv("events.csv")


def read_camera(
    telescope: str, size: tuple[int, int] | None, night: str = "99991231"
) -> SimulatedCamera:
    """Return a telescope's camera of a night, the present one by default.

    The telescope's name may be in any case. ``size`` (columns, rows) is in place of the camera's.
    """
    rows = [r for r in read_csv("cameras.csv") if r["telescope"].lower() == telescope.lower()]
    row = next((r for r in rows if not r["until"] or night <= r["until"]), None)
    if row is None:
        known = ", ".join(dict.fromkeys(r["telescope"] for r in read_csv("cameras.csv")))
        raise ValueError(
            f"no telescope {telescope!r} in {TABLES / 'cameras.csv'}; known are {known}"
        )
    sites = {r["telescope"]: r["site"] for r in read_csv("../telescopes.csv")}
    site = next(r for r in read_csv("../sites.csv") if r["site"] == sites[row["telescope"]])
    types = SimulatedCamera.__annotations__
    values = row | {key: site[key] for key in ("longitude", "latitude", "altitude")}
    camera = SimulatedCamera(**{key: types[key](value) for key, value in values.items()})
    return cropped(camera, *size) if size else camera


def cropped(camera: SimulatedCamera, columns: int, rows: int) -> SimulatedCamera:
    """Return a camera that reads the middle of its frame only, without overscan."""
    share = math.hypot(columns, rows) / math.hypot(camera.naxis1, camera.naxis2)
    bend = camera.distortion * share**3
    return replace(camera, naxis1=columns, naxis2=rows, distortion=bend, overscan=0)


def plan_night(
    camera: SimulatedCamera, night: str, frames: int, wcs: str, seed: int, flats: int | None = None
) -> list[Shot]:
    """Return the exposures of a night in time order: calibrations at dusk, then science."""
    rng = np.random.default_rng([seed, 1])
    hours = round(2 * (12 - camera.longitude / 15 + DUSK)) / 2
    dusk = datetime.strptime(night, "%Y%m%d").replace(tzinfo=UTC) + timedelta(hours=hours)
    targets = read_csv("targets.csv")
    counts = {
        kind: min(most, max(3, round(frames * share)))
        for kind, (_, _, share, most) in KINDS.items()
    }
    counts["flat"] = flats or counts["flat"]
    science = frames - sum(counts.values())
    if science < len(targets):
        raise ValueError(f"{frames} frames are too few for a night: at least 12")
    numbers = split(science, targets)
    exptimes = fitting([float(target["exptime"]) for target in targets], numbers)
    shots = []
    clock = dusk
    for kind, count in counts.items():
        for i in range(count):
            exptime = {"bias": 0.0, "dark": exptimes[i % 3], "flat": 2.0 + 0.317 * i}[kind]
            shots.append(Shot(kind, clock, round(exptime, 3), camera.filter))
            clock += timedelta(seconds=exptime + 1, microseconds=int(rng.integers(1, 999_999)))
    clock = max(clock, dusk + timedelta(hours=2.5, seconds=10))
    for i, target in enumerate(targets):
        flip = numbers[i] // 2 if i == 0 and numbers[i] >= FEWEST_TO_FLIP else numbers[i]
        for shot in observe(camera, target, exptimes[i], numbers[i], flip, clock, rng):
            shots.append(shot if wcs == "astra" else replace(shot, header_wcs={}))
            clock = shot.start + timedelta(seconds=shot.exptime + 1)
    return [replace(shot, number=i) for i, shot in enumerate(shots)]


def split(count: int, targets: list[dict[str, str]]) -> list[int]:
    """Return how many frames each target gets, at least one."""
    others = [max(1, round(count * float(target["share"]))) for target in targets[1:]]
    return [count - sum(others), *others]


def fitting(exptimes: list[float], numbers: list[int]) -> list[float]:
    """Return the exposure times (s), all shortened alike if the night is too short for them."""
    total = sum(time * number for time, number in zip(exptimes, numbers, strict=True))
    share = min(1.0, (LONGEST_SCIENCE - OVERHEAD * sum(numbers)) / total)
    shortened = [math.floor(time * share * 10 + 1e-6) / 10 for time in exptimes]
    if min(shortened) <= 0:
        raise ValueError(f"{sum(numbers)} science frames do not fit into one night")
    return shortened


def observe(
    camera: SimulatedCamera,
    target: Mapping[str, str],
    exptime: float,
    count: int,
    flip: int,
    clock: datetime,
    rng: np.random.Generator,
) -> Iterator[Shot]:
    """Yield the frames of one action: drifting, and turned by 180 degrees from number ``flip`` on.

    The header's WCS is that of the pointing frame at the start of the action, or after the flip.
    """
    ra, dec = float(target["ra"]), float(target["dec"])
    if camera.latitude > 0:
        dec = -dec  # the table is of the southern sky
    off = rng.uniform(0, 2 * math.pi)
    stretch = stretched(
        rng.uniform(-SCALE_ERROR, SCALE_ERROR), rng.uniform(0, REFRACTION), rng.uniform(0, 180)
    )
    pointed: WcsRow = {}
    for i in range(count):
        flipped = i >= flip
        event = events(target["object"], i, count)
        offset = event.pop("mispointing", POINTING_OFFSET)
        east, north = np.array([math.cos(off), math.sin(off)]) * offset
        east, north = (east, north) + rng.normal(0, 0.3, 2) + i * 0.02
        if flipped:
            east, north = east + 20.0, north - 15.0
        fraction = {0: 999_999, 1: 0}.get(i, int(rng.integers(1, 999_999)))
        shot = Shot(
            "science",
            clock.replace(microsecond=0) + timedelta(microseconds=fraction),
            exptime,
            getattr(camera, target["filter"]),
            target["object"],
            ra,
            dec,
            density=dense_enough(camera, float(target["density"])),
            flipped=flipped,
            mispointing=math.hypot(east, north),
            **{"fwhm": seeing(clock)} | event,
        )
        shot = aimed(camera, shot, math.degrees(math.atan2(east, north)), stretch)
        if i in (0, flip + STALE_AFTER_FLIP):
            pointed = linear(shot.wcs)
        yield replace(shot, header_wcs=pointed)
        clock += timedelta(seconds=exptime + OVERHEAD)


def seeing(start: datetime) -> float:
    """Return the width of the stars (arcsec), which varies slowly over the night."""
    phase = 2 * math.pi * start.timestamp() / 3600 / SEEING_PERIOD
    return SEEING + SEEING_SWING * math.sin(phase)


def events(target: str, number: int, count: int) -> dict[str, Any]:
    """Return what goes wrong at one of a target's frames: values of a Shot's fields."""
    if count < FEWEST_FOR_EVENTS:
        return {}
    return {
        row["field"]: Shot.__annotations__[row["field"]](float(row["value"]))
        for row in EVENTS
        if row["object"] == target
        and int(float(row["begin"]) * count) <= number <= int(float(row["end"]) * count)
    }


@lru_cache(maxsize=8)
def wcs_cards(wcs: tuple[tuple[str, float], ...]) -> dict[str, fits.Card]:
    """Return the cards of a WCS, given as its items, as astropy formats them for Astra too."""
    cards = astropy_wcs(dict(wcs)).to_header().cards
    return {card.keyword: card for card in cards if card.keyword != "RADESYS"}


def sidereal_time(mjd: float, longitude: float) -> float:
    """Return the mean sidereal time (s) at a longitude (degrees), right to 0.1 s."""
    greenwich = 24110.54841 + 236.5553679 * (mjd - 51544.5) + 86400 * (mjd % 1)
    return (greenwich + longitude * 240) % 86400


def hours_text(hours: float) -> str:
    """Return an angle (hours) as Astra writes it: ``-01 50 23.68720238``."""
    seconds = round(abs(hours) * 3600, 8)
    minutes, seconds = divmod(seconds, 60)
    return f"{'-' * (hours < 0)}{minutes // 60:02.0f} {minutes % 60:02.0f} {seconds:011.8f}"


def heliocentric_delay(mjd: float, ra: float, dec: float) -> float:
    """Return how much later (days) light from ra, dec (degrees) reaches the Sun than the Earth.

    The Sun's place is of low precision: right to some seconds.
    """
    days = mjd - 51544.5
    anomaly = math.radians(357.528 + 0.9856003 * days)
    longitude = math.radians(280.46 + 0.9856474 * days + 1.915 * math.sin(anomaly))
    obliquity = math.radians(23.439)
    ra, dec = math.radians(ra), math.radians(dec)
    along = math.cos(dec) * math.cos(ra) * math.cos(longitude) + math.sin(longitude) * (
        math.cos(obliquity) * math.cos(dec) * math.sin(ra) + math.sin(obliquity) * math.sin(dec)
    )
    return -0.0057755 * (1.00014 - 0.01671 * math.cos(anomaly)) * along


def frame_values(camera: SimulatedCamera, shot: Shot) -> dict[str, Value]:
    """Return the values in which a frame's header differs from others."""
    mjd = (shot.start - datetime(1858, 11, 17, tzinfo=UTC)) / timedelta(days=1)
    end = shot.start + timedelta(seconds=shot.exptime)
    jitter = np.random.default_rng([shot.number, 3]).normal(0, 1, 5)
    sidereal = sidereal_time(mjd, camera.longitude)
    latitude = math.radians(camera.latitude)
    hours = (sidereal / 3600 - shot.ra / 15 + 12) % 24 - 12
    hjd = mjd + 2400000.5 + heliocentric_delay(mjd, shot.ra, shot.dec)
    altitude = math.degrees(
        math.asin(
            math.sin(latitude) * math.sin(math.radians(shot.dec))
            + math.cos(latitude)
            * math.cos(math.radians(shot.dec))
            * math.cos(math.radians(hours * 15))
        )
    )
    hour_angle, declination = math.radians(hours * 15), math.radians(shot.dec)
    east = -math.cos(declination) * math.sin(hour_angle)
    north = math.sin(declination) * math.cos(latitude) - math.cos(declination) * math.cos(
        hour_angle
    ) * math.sin(latitude)
    azimuth = math.degrees(math.atan2(east, north)) % 360
    imagetyp, astratyp, *_ = KINDS.get(shot.kind, ("Light Frame", "object"))
    ra: Value = shot.ra if camera.ra == "degrees" else shot.ra / 15
    if camera.ra == "text":
        ra = hours_text(shot.ra / 15)
    values: dict[str, Value] = {
        "NAXIS1": camera.naxis1,
        "NAXIS2": camera.naxis2 - shot.rows_less,
        "TELESCOP": camera.telescope,
        "INSTRUME": camera.instrume,
        "OBJECT": shot.object,
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
        "AZIMUTH": azimuth + 0.01 * jitter[3],
        "ALT-OBS": camera.altitude,
        "LAT-OBS": camera.latitude,
        "LONG-OBS": camera.longitude,
        "RA": ra,
        "DEC": hours_text(shot.dec) if camera.ra == "text" else shot.dec,
        "PIERSIDE": float(not shot.flipped),
        "HUMIDITY": 11.5 + 0.1 * jitter[4],
        "MJD-OBS": mjd,
        "LST": sidereal,
        "HA": hours_text(hours),
        "JD-OBS": mjd + 2400000.5,
        "HJD-OBS": hjd,
        "BJD-OBS": hjd + 0.0008,  # in TDB, 69 s ahead of UTC
        "JD-END": mjd + 2400000.5 + shot.exptime / 86400,
        "MJD-END": mjd + shot.exptime / 86400,
        "DATE-END": end.strftime("%Y-%m-%dT%H:%M:%S.%f"),
        "AIRMASS": 1 / math.sin(math.radians(max(altitude, 10.0))),
    }
    return values | shot.cards


def header_cards(camera: SimulatedCamera, shot: Shot, completed: bool = True) -> list[fits.Card]:
    """Return the cards of a frame in Astra's order, without checksums."""
    values = frame_values(camera, shot)
    solved = wcs_cards(tuple(linear(shot.header_wcs).items())) if shot.header_wcs else {}
    wanted = {"always": True, "science": bool(shot.object), "completed": completed}
    wanted |= {"wcs": bool(solved), "unsolved": not solved}
    cards = []
    for row in CARDS:
        keyword = row["keyword"]
        value = values.get(keyword, constant(row["value"]))
        if wanted[row["when"]] and value is not None:
            cards.append(solved.get(keyword) or fits.Card(keyword, value, row["comment"]))
    return cards


def constant(text: str) -> bool | int | float | str:
    """Return the value that a table's text stands for."""
    if text.startswith("'"):
        return text.strip("'")
    if text == "T":
        return True
    return float(text) if "." in text else int(text) if text != "{}" else ""


def stored(pixels: np.ndarray) -> bytes:
    """Return pixels as a file holds them: big-endian, signed by BZERO, without padding."""
    return (pixels ^ np.uint16(0x8000)).astype(">u2").tobytes()


def frame_bytes(cards: list[fits.Card], data: bytes, checksums: bool = True) -> bytes:
    """Return a whole FITS file: cards, data, padding."""
    header = fits.Header(cards)
    padding = bytes(-len(data) % 2880)
    content = b"".join([header.tostring().encode(), data, padding])
    if not checksums:
        return content
    hdu = fits.PrimaryHDU.fromstring(content)
    hdu.add_datasum(when=f"data unit checksum updated {header['DATE'][:19]}")
    hdu.add_checksum(when=f"HDU checksum updated {header['DATE'][:19]}", override_datasum=True)
    return b"".join([hdu.header.tostring().encode(), data, padding])


def name_of(camera: SimulatedCamera, shot: Shot) -> str:
    """Return the name of a good frame: some have the older ending."""
    return file_name(camera, shot, ".fts" if shot.number % 20 == 7 else ".fits")


def file_name(camera: SimulatedCamera, shot: Shot, suffix: str) -> str:
    """Return the name under which Astra would write a frame."""
    what = (shot.object or shot.kind).replace("/", "-")
    start = shot.start.strftime("%Y%m%d_%H%M%S.%f")[:-3]
    return f"{camera.telescope}_{what}_{shot.filter}_{shot.exptime:.3f}s_{start}{suffix}"


def truth_row(camera: SimulatedCamera, name: str, shot: Shot, data: bytes) -> Truth:
    """Return the row of the truth table for a frame."""
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
        "ctype": projection(shot.wcs) if shot.wcs else "",
        **shot.wcs,
        "flipped": int(shot.flipped),
        "header_wcs_stale": int(stale),
        # The plus makes 0 or 1 of a bool.
        **({name: +getattr(shot, name) for name in DIFFICULTIES} if shot.wcs else {}),
        "fault": shot.fault,
        "of": shot.of,
    }


# Faults that are a card: its value, or None for a missing one.
CARD_FAULTS: dict[str, dict[str, Value]] = {
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
    "non_ascii": {"PI-COI": "M. Gillon  b   b"},
}
# Faults of the file's bytes: what becomes of the right ones, given where the data begin.
BYTE_FAULTS: dict[str, Callable[[bytes, int], bytes]] = {
    "empty": lambda content, begin: b"",
    "truncated": lambda content, begin: content[: begin + (len(content) - begin) // 2],
    "truncated_header": lambda content, begin: content[:4000],
    "not_fits": lambda content, begin: b"<html>404 not found</html>\n" * 400,
    "bad_datasum": lambda content, begin: (
        content[: begin + 1000] + bytes([content[begin + 1000] ^ 4]) + content[begin + 1001 :]
    ),
    # A checksum adds up every fourth byte alike: o + b + b is \xf3 and two blanks.
    "non_ascii": lambda content, begin: content.replace(
        b"M. Gillon  b   b", b"M. Gill\xf3n       ", 1
    ),
}
SHOT_FAULTS = ("incomplete", "wrong_size", "other_night", "duplicate_pixels", "name_clash")


def faulty_shots(shots: list[Shot], camera: SimulatedCamera) -> Iterator[tuple[Shot, str]]:
    """Yield a faulty exposure and its file name for every fault there is."""
    model = next(shot for shot in shots if shot.kind == "science")
    clock = shots[-1].start + timedelta(minutes=10)
    for i, fault in enumerate(dict.fromkeys([*CARD_FAULTS, *BYTE_FAULTS, *SHOT_FAULTS])):
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
            last = shots[-1]
            whole, part = divmod(last.start.microsecond, 1000)
            shot = replace(
                shot,
                start=last.start.replace(microsecond=whole * 1000 + (part + 500) % 1000),
                fault=fault,
                of=name_of(camera, last),
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
    cloud: float = 0.0,
) -> list[Truth]:
    """Write a night of raw frames, and return the rows of its truth table.

    Parameters
    ----------
    output : Path
        Gets the folder ``{night}``, and the tables ``{night}.truth.csv`` and
        ``{night}.stars.csv`` (ra, dec: degrees, ICRS, epoch 2016.0; mag: g; pmra, pmdec: mas/yr).
    frames : int
        Good frames; those with faults come on top.
    size : tuple of int, optional
        Columns and rows, in place of the camera's.
    wcs : str, optional
        ``astra`` (as Astra writes it: of the pointing frame, stale after a flip) or ``none``;
        otherwise as the telescope's camera has it.
    truth : Path, optional
        In place of ``{night}.truth.csv``; the stars lie beside it.
    flats : int, optional
        Sky flats, each with its own exposure time, in place of a tenth of the frames or 10.
    cloud : float
        Magnitudes that the second half of the night loses.

    Raises
    ------
    ValueError
        If telescope or number of frames is impossible.
    FileExistsError
        If the night's folder already holds files.
    """
    camera = read_camera(telescope, size, night)
    folder = Path(output) / night
    shots = plan_night(camera, night, frames, wcs or camera.wcs, seed, flats)
    clear = len(shots) // 2
    shots = shots[:clear] + [
        replace(s, cloud=s.cloud + cloud * bool(s.object)) for s in shots[clear:]
    ]
    named = [(shot, name_of(camera, shot)) for shot in shots]
    if faults:
        named += faulty_shots(shots, camera)
    truth = Path(truth or Path(output) / f"{night}.truth.csv")
    return write_frames(Sky(camera, seed, night), named, folder, truth)


def simulate_shots(
    camera: SimulatedCamera, shots: list[Shot], folder: Path | str, seed: int = 1
) -> list[Truth]:
    """Write chosen exposures, and return the rows of their truth table.

    Parameters
    ----------
    shots : list of Shot
        Unlike each other in start (to the ms) and number; science frames from `aimed`. Those
        of one place share their density; places lie a degree apart or are the same.
    folder : Path
        Gets the frames; ``{folder}.truth.csv`` and ``{folder}.stars.csv`` lie beside it.

    Raises
    ------
    FileExistsError
        If the folder already holds files.
    """
    folder = Path(folder)
    named = [(shot, name_of(camera, shot)) for shot in shots]
    truth = folder.with_name(f"{folder.name}.truth.csv")
    return write_frames(Sky(camera, seed), named, folder, truth)


def write_frames(sky: Sky, named: list[tuple[Shot, str]], folder: Path, truth: Path) -> list[Truth]:
    """Write exposures under their names and the tables of truth and stars; return the truth."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} already holds files: remove them first")
    rows = []
    for shot, name in named:
        data = stored(sky.pixels(shot))
        finished = shot.fault != "incomplete"
        content = frame_bytes(header_cards(sky.camera, shot, finished), data, finished)
        if shot.fault in BYTE_FAULTS:
            begin = len(content) - -(-len(data) // 2880) * 2880
            content = BYTE_FAULTS[shot.fault](content, begin)
        (folder / name).write_bytes(content)
        rows.append(truth_row(sky.camera, name, shot, data))
    with open(truth, "w", newline="") as stream:
        writer = csv.DictWriter(stream, TRUTH, restval="")
        writer.writeheader()
        writer.writerows(rows)
    write_stars(truth.with_name(f"{folder.name}.stars.csv"), sky.catalogue())
    return rows


def write_stars(path: Path, stars: Stars) -> None:
    """Write a catalogue of stars as a CSV table."""
    formats = ("%.8f", "%.8f", "%.4f", "%.3f", "%.3f", "%.4f")
    header = ",".join(Stars._fields)
    np.savetxt(path, np.array(stars).T, formats, delimiter=",", header=header, comments="")
