"""A night against the hour: what was observed when, and how the sky was.

Only geometry, in percent of a chart's width and height; the page's template draws it. All points
of a target are one path, so that the page of a night of 3,000 frames stays small.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from scripts.lib.ledger.records import Frame
from scripts.lib.ledger.snapshot import good
from scripts.lib.nights.times import after
from scripts.lib.solving.table import Solved

HOUR = timedelta(hours=1)
# Title and unit of each curve, by the column of the solutions that it shows.
CURVES = {
    "fwhm": ("Width of the stars", "″"),
    "background": ("Background", "ADU"),
    "matched": ("Stars matched", ""),
    "offset": ("Distance from RA, DEC", "″"),
}
# Share of the points, at either end, that may be outside: a few must not flatten a night.
OUTLIERS = 0.01
FEWEST_TICKS = 3
# The shortest gap that is drawn; between two exposures is the read-out.
SHORTEST_GAP = timedelta(seconds=30)


class Tick(NamedTuple):
    """A labelled place on an axis, percent."""

    at: float
    label: str


class Line(NamedTuple):
    """The exposures of a target as a path, and which of the colours it has."""

    target: str
    colour: int
    path: str


class Curve(NamedTuple):
    """A measured quantity; its axis is vertical."""

    title: str
    unit: str
    ticks: list[Tick]
    lines: list[Line]


class Charts(NamedTuple):
    """All charts of a night, over the same hours; ``unsolved`` is the path of unsolved frames."""

    hours: list[Tick]
    exposures: list[Line]
    unsolved: str
    curves: list[Curve]


def draw(every: Iterable[Frame], solutions: Iterable[Solved]) -> Charts | None:
    """Return the charts of a night from its frames; None if it has no good frame."""
    frames = good(every)
    if not frames:
        return None
    targets: dict[str, list[Frame]] = {}
    for frame in frames:
        targets.setdefault(frame.object, []).append(frame)
    begin = frames[0].begin.replace(minute=0, second=0, microsecond=0)
    count = max(1, math.ceil((end_of(frames[-1]) - begin) / HOUR))

    def x(time: datetime) -> float:
        return 100 * ((time - begin) / (count * HOUR))

    # Every second hour if they would stand too close on a telephone.
    hours = [begin + HOUR * n for n in range(0, count + 1, 1 if count <= 9 else 2)]
    tried = {one.file: one for one in solutions}
    found = {f.file: (x(f.begin), tried[f.file]) for f in frames if f.file in tried}
    lost = [(at, 0.0) for at, one in found.values() if not one.solved]
    found = {file: (at, one) for file, (at, one) in found.items() if one.solved}
    return Charts(
        hours=[Tick(x(hour), f"{hour:%H}") for hour in hours],
        exposures=lines({target: bars(members, x) for target, members in targets.items()}),
        unsolved=dots(lost, 0, 1),
        curves=[curve(column, targets, found) for column in CURVES if found],
    )


def curve(
    column: str, targets: Mapping[str, list[Frame]], found: Mapping[str, tuple[float, Solved]]
) -> Curve:
    """Return a quantity of solved frames, each with its place in the night, as a chart."""
    values = {file: (at, float(getattr(one, column))) for file, (at, one) in found.items()}
    low, high = limits(value for _, value in values.values())
    points = {
        target: [values[frame.file] for frame in members if frame.file in values]
        for target, members in targets.items()
    }
    paths = {target: dots(members, low, high) for target, members in points.items()}
    return Curve(*CURVES[column], value_ticks(low, high), lines(paths))


def lines(paths: Mapping[str, str]) -> list[Line]:
    """Return a line for each target that has a path; its colour is the same in all charts."""
    return [Line(target, n, path) for n, (target, path) in enumerate(paths.items()) if path]


def end_of(frame: Frame) -> datetime:
    """Return when an exposure ended."""
    return after(frame.begin, frame.exptime)


def bars(frames: list[Frame], x: Callable[[datetime], float]) -> str:
    """Return the path of exposures: a bar for those that follow each other without a gap."""
    joined: list[tuple[datetime, datetime]] = []
    for frame in frames:
        begin, end = frame.begin, end_of(frame)
        if joined and begin - joined[-1][1] < SHORTEST_GAP:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((begin, end))
    return "".join(f"M{x(begin):.2f} 50H{x(end):.2f}" for begin, end in joined)


def limits(values: Iterable[float]) -> tuple[float, float]:
    """Return the range of an axis: that of the values but for outliers, with some margin."""
    ordered = sorted(value for value in values if math.isfinite(value)) or [0.0]
    cut = int(OUTLIERS * len(ordered))
    low, high = ordered[cut], ordered[-1 - cut]
    margin = 0.1 * (high - low) or 0.1 * abs(high) or 1.0
    return low - margin if low - margin > 0 or low < 0 else 0.0, high + margin


def dots(points: list[tuple[float, float]], low: float, high: float) -> str:
    """Return the path of points: strokes without length, which round ends make dots."""
    return "".join(f"M{x:.2f} {height(y, low, high):.1f}h0" for x, y in points if math.isfinite(y))


def height(value: float, low: float, high: float) -> float:
    """Return where a value is, percent from the top; outliers are on the edge."""
    return 100 * (high - min(max(value, low), high)) / (high - low)


def value_ticks(low: float, high: float) -> list[Tick]:
    """Return a few round values of an axis."""
    rough = (high - low) / FEWEST_TICKS
    power = 10 ** math.floor(math.log10(rough))
    step = max(factor * power for factor in (1, 2, 5) if factor * power <= rough)
    decimals = max(0, -math.floor(math.log10(step)))
    first, last = math.ceil(low / step), math.floor(high / step)
    return [
        Tick(height(n * step, low, high), f"{n * step:.{decimals}f}")
        for n in range(first, last + 1)
    ]
