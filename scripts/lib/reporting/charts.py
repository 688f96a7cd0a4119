"""A night against the hour: what was exposed when, and how the sky was.

Only geometry, in percent of a chart's width and height; the page's template draws it. All points
of a target are one path, so that the page of a night of 3,000 frames stays small.
"""

import math
from collections.abc import Iterable
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
    "background": ("Background", "adu"),
    "matched": ("Stars matched", ""),
    "offset": ("Distance from RA, DEC", "″"),
}
# Share of the points, at either end, that may lie outside: a few must not flatten a night.
OUTLIERS = 0.01
FEWEST_TICKS = 3
# The shortest gap that is drawn; between two exposures lies the read-out.
SHORTEST_GAP = timedelta(seconds=30)


class Span(NamedTuple):
    """The whole hours that a chart shows."""

    begin: datetime
    end: datetime

    def x(self, moment: datetime) -> float:
        """Return where a moment lies, percent of the width."""
        return 100 * ((moment - self.begin) / (self.end - self.begin))


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
    """A measured quantity: its title and unit, the ticks of its axis, a path of each target."""

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


def draw(every: Iterable[Frame], solved: Iterable[Solved]) -> Charts | None:
    """Return the charts of a night; None if it has no good frame.

    Parameters
    ----------
    every : iterable of Frame
        The night's frames.
    solved : iterable of Solved
        Of all sequences.
    """
    frames = good(every)
    if not frames:
        return None
    targets: dict[str, list[Frame]] = {}
    for frame in frames:
        targets.setdefault(frame.object, []).append(frame)
    span = span_of(frames)
    tried = {one.file: one for one in solved}
    found = {file: one for file, one in tried.items() if one.solved}
    lost = [frame for frame in frames if frame.file in tried.keys() - found.keys()]
    exposures = [
        Line(target, colour, bars(members, span))
        for colour, (target, members) in enumerate(targets.items())
    ]
    curves = [curve(column, targets, found, span) for column in CURVES if found]
    unsolved = dots([(span.x(frame.begin), 0.0) for frame in lost], 0, 1)
    return Charts(hour_ticks(span), exposures, unsolved, curves)


def span_of(frames: list[Frame]) -> Span:
    """Return the whole hours around frames in time order."""
    first, last = frames[0].begin, open_shutter(frames[-1])[1]
    begin = first.replace(minute=0, second=0, microsecond=0)
    return Span(begin, begin + HOUR * max(1, math.ceil((last - begin) / HOUR)))


def open_shutter(frame: Frame) -> tuple[datetime, datetime]:
    """Return when an exposure began and ended."""
    return frame.begin, after(frame.begin, frame.exptime)


def hour_ticks(span: Span) -> list[Tick]:
    """Return the full hours, every second one if they would stand too close on a telephone."""
    count = round((span.end - span.begin) / HOUR)
    hours = [span.begin + HOUR * n for n in range(0, count + 1, 1 if count <= 9 else 2)]
    return [Tick(span.x(hour), f"{hour:%H}") for hour in hours]


def bars(frames: list[Frame], span: Span) -> str:
    """Return the path of exposures: a bar for those that follow each other without a gap."""
    joined: list[tuple[datetime, datetime]] = []
    for begin, end in map(open_shutter, frames):
        if joined and begin - joined[-1][1] < SHORTEST_GAP:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((begin, end))
    return "".join(f"M{span.x(begin):.2f} 50H{span.x(end):.2f}" for begin, end in joined)


def curve(
    column: str, targets: dict[str, list[Frame]], found: dict[str, Solved], span: Span
) -> Curve:
    """Return a quantity of solved frames as a chart."""
    points = {
        target: [
            (span.x(frame.begin), float(getattr(found[frame.file], column)))
            for frame in members
            if frame.file in found
        ]
        for target, members in targets.items()
    }
    low, high = limits([y for members in points.values() for _, y in members])
    lines = [
        Line(target, colour, dots(members, low, high))
        for colour, (target, members) in enumerate(points.items())
        if members
    ]
    return Curve(*CURVES[column], value_ticks(low, high), lines)


def limits(values: list[float]) -> tuple[float, float]:
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
    """Return where a value lies, percent from the top; outliers lie on the edge."""
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
