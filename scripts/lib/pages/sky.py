"""How the sky was, from what plate solving measured on each frame."""

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from scripts.lib.files.log import logger
from scripts.lib.ledger.records import Frame
from scripts.lib.solving.table import Solved, read_solved

Column = list[Any]  # one value a frame

# Columns of `solved/` that are shown, and the decimals that are kept.
METRICS = {"fwhm": 2, "zero_point": 2, "sky": 1, "rms": 3, "offset": 1}
# Where the telescope points, arcsec from the median of the sequence.
DRIFT = ("ra_offset", "dec_offset")
CLOUD, SMOOTHED, SHORTEST_CLOUD = 0.3, 5, 600  # mag below the clear sky; frames; s


def read_solutions(folder: Path, names: Iterable[str]) -> dict[str, Solved]:
    """Return what became of each frame that was to be solved; of a damaged table nothing."""
    found: dict[str, Solved] = {}
    for path in (folder / f"{name}.fits" for name in names):
        try:
            found |= read_solved(path) if path.exists() else {}
        except (OSError, ValueError, TypeError) as error:
            logger.warning("%s: not shown: %s", path, error)
    return found


def frame_table(
    grouped: Mapping[str, list[Frame]],
    solved: Mapping[str, Solved],
    begin: datetime,
) -> dict[str, Column]:
    """Return the science frames as columns, in time order.

    ``t`` is seconds after the beginning of the night, ``sequence`` the number of the sequence.
    """
    numbers = {name: number for number, name in enumerate(grouped)}
    science = sorted(
        (frame for members in grouped.values() for frame in members if frame.kind == "science"),
        key=lambda frame: frame.begin,
    )
    drift = pointing_drift(grouped, solved)
    table: dict[str, Column] = {
        "t": [round((frame.begin - begin).total_seconds()) for frame in science],
        "sequence": [numbers[frame.sequence] for frame in science],
        "solved": [
            None if frame.file not in solved else int(solved[frame.file].solved)
            for frame in science
        ],
    }
    for name, digits in METRICS.items():
        values = [getattr(solved.get(frame.file), name, None) for frame in science]
        table[name] = [rounded(value, digits) for value in values]
    for number, name in enumerate(DRIFT):
        values = [drift[f.file][number] if f.file in drift else None for f in science]
        table[name] = [rounded(value, 1) for value in values]
    return table


def rounded(value: float | None, digits: int) -> float | None:
    """Return a number as short as it may be; None for what is not known."""
    if value is None or not math.isfinite(value):
        return None
    return round(value, digits) if abs(value) < 1000 else round(value)


def pointing_drift(
    grouped: Mapping[str, list[Frame]], solved: Mapping[str, Solved]
) -> dict[str, tuple[float, float]]:
    """Return how far east and north of its sequence's median each solved frame lies, arcsec."""
    found: dict[str, tuple[float, float]] = {}
    for members in grouped.values():
        chosen = [(f, solved[f.file]) for f in members if f.file in solved]
        chosen = [(frame, one) for frame, one in chosen if one.solved]
        if not chosen:
            continue
        centre = np.array([(f.naxis1 + 1, f.naxis2 + 1) for f, _ in chosen]) / 2
        matrix = np.array([(o.cd1_1, o.cd1_2, o.cd2_1, o.cd2_2) for _, o in chosen])
        from_reference = centre - [(one.crpix1, one.crpix2) for _, one in chosen]
        moved = np.einsum("nij,nj->ni", matrix.reshape(-1, 2, 2), from_reference)
        ra, dec = np.array([(one.ra, one.dec) for _, one in chosen]).T
        cosine = np.cos(np.radians(dec))
        east = ((ra - ra[0] + 180) % 360 - 180) * cosine + moved[:, 0]
        places = 3600 * np.column_stack([east, dec + moved[:, 1]])
        places -= np.median(places, axis=0)
        found |= {
            frame.file: tuple(p) for (frame, _), p in zip(chosen, places.tolist(), strict=True)
        }
    return found


def percentiles(values: Iterable[float | None]) -> list[float] | None:
    """Return the percentiles 10, 50 and 90; None if nothing was measured."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return [float(f"{value:.4g}") for value in np.percentile(known, (10, 50, 90))]


def clear_sky(table: Mapping[str, Column]) -> list[float | None]:
    """Return how far below the clear sky of its sequence each frame's zero point is, mag."""
    best = {}
    for number in set(table["sequence"]):
        values = [
            zero
            for zero, mine in zip(table["zero_point"], table["sequence"], strict=True)
            if mine == number and zero is not None
        ]
        best[number] = float(np.percentile(values, 90)) if values else 0.0
    return [
        None if zero is None else zero - best[number]
        for zero, number in zip(table["zero_point"], table["sequence"], strict=True)
    ]


def transparency(table: Mapping[str, Column]) -> dict[str, float] | None:
    """Return the median and the worst transparency of a night, mag against its clear sky."""
    known = [value for value in clear_sky(table) if value is not None]
    if not known:
        return None
    median, worst = float(np.median(known)), float(np.percentile(known, 1))
    return {"median": round(median, 2), "worst": round(worst, 2)}


def cloud_spans(table: Mapping[str, Column]) -> list[tuple[float, float]]:
    """Return when stars were fainter by `CLOUD` for at least `SHORTEST_CLOUD`, begin and end."""
    pairs = zip(table["t"], clear_sky(table), strict=True)
    points = [(time, value) for time, value in pairs if value is not None]
    spans: list[tuple[float, float]] = []
    smooth = []
    for number, (time, _) in enumerate(points):
        near = points[max(0, number - SMOOTHED // 2) : number + SMOOTHED // 2 + 1]
        smooth.append((time, float(np.median([value for _, value in near]))))
    for cloudy, members in groupby(smooth, key=lambda point: point[1] < -CLOUD):
        times = [time for time, _ in members]
        if cloudy and times[-1] - times[0] >= SHORTEST_CLOUD:
            spans.append((times[0], times[-1]))
    return spans
