"""Which star of a frame is which of the catalogue: pair voting, and the chance of a false match.

Two stars of the frame and two of the catalogue whose distances and directions agree vote for an
offset; true pairs vote for the same one. Complex numbers stand for places on the tangent plane
(east + i north, arcsec): a similarity is then ``w = q z + t``.
"""

import math
from typing import NamedTuple

import numpy as np

MATCH = 2.0  # arcsec within which a star of the frame is that of the catalogue, at first
CELL = 2.0  # such radii: votes closer than this agree
CLOSE = (0.3, 0.5, 1.0)  # such radii, within which the stars of a match are counted
CANDIDATES = 12  # offsets with most votes that are looked at closely
SHORTEST = 0.08  # of the largest distance in the frame: closer pairs give no direction
MOST_VOTES = 3_000_000
JUDGED = (14, 40, 150)  # brightest stars of the frame, by which a refined solution is judged
FINAL = (0.2, 1 / 3, 2 / 3, 1.0)  # of the radius, within which they are counted
MISSING = 1.0  # log10 of how much less likely a bright star that is not there makes a solution
Similarity = tuple[complex, complex]  # turn and shift


class Match(NamedTuple):
    """A similarity that maps stars of the frame onto the catalogue."""

    turn: complex  # scale and rotation relative to the assumed ones
    shift: complex  # arcsec
    pairs: np.ndarray  # index of frame star and of catalogue star, shape (n, 2)
    log_fap: float  # log10 of the expected number of such matches by chance


def vote(
    stars: np.ndarray,
    catalogue: np.ndarray,
    rotation: float,
    scale: float,
    window: float,
    radius: float = MATCH,
) -> tuple[list[Similarity], int]:
    """Return the similarities that most pairs vote for, and how many votes there were.

    ``stars`` are the complex places of the frame's under the assumed scale and rotation. The
    largest errors of these are ``scale`` (relative) and ``rotation`` (radians; pi or more for
    any), ``window`` is the largest offset along an axis, ``radius`` that within which stars are the
    same, arcsec.
    """
    first, second = np.triu_indices(len(stars), 1)
    base = stars[second] - stars[first]
    length = abs(base)
    if not len(length) or len(catalogue) < 2:
        return [], 0
    far = length > SHORTEST * length.max()
    first, base, length = first[far], base[far], length[far]
    one, other = np.nonzero(~np.eye(len(catalogue), dtype=bool))
    between = catalogue[other] - catalogue[one]
    distance = abs(between)
    near = distance < length.max() * (1 + scale)
    one, between, distance = one[near], between[near], distance[near]
    order = np.argsort(distance)
    one, between, distance = one[order], between[order], distance[order]
    slack = scale + radius / length
    low = np.searchsorted(distance, length * (1 - slack))
    high = np.searchsorted(distance, length * (1 + slack))
    count = high - low
    enough = np.searchsorted(np.cumsum(count), MOST_VOTES)
    low, count, first, base, length = (a[: enough + 1] for a in (low, count, first, base, length))
    mine = np.repeat(np.arange(len(count)), count)
    theirs = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + low[mine]
    turn = between[theirs] / base[mine]
    if rotation < math.pi:
        right = abs(np.angle(turn)) < rotation + radius / length[mine]
        mine, theirs, turn = mine[right], theirs[right], turn[right]
    shift = catalogue[one[theirs]] - turn * stars[first[mine]]
    right = (abs(shift.real) < window) & (abs(shift.imag) < window)
    turn, shift = turn[right], shift[right]
    return _most_voted(turn, shift, window, CELL * radius), len(turn)


def _most_voted(
    turn: np.ndarray, shift: np.ndarray, window: float, side: float
) -> list[Similarity]:
    """Return the similarities of the cells with most votes, on a grid and on it moved by half."""
    found = []
    for move in (0.0, 0.5):
        column = ((shift.real + window) / side + move).astype(np.int64)
        row = ((shift.imag + window) / side + move).astype(np.int64)
        width = int(2 * window / side) + 3
        cells = row * width + column
        _, inverse, counts = np.unique(cells, return_inverse=True, return_counts=True)
        best = np.argsort(-counts, kind="stable")[:CANDIDATES]
        for cell in best:
            members = inverse == cell
            found.append((counts[cell], _middle(turn[members]), _middle(shift[members])))
    found.sort(key=lambda item: -item[0])
    return [(turn, shift) for _, turn, shift in found]


def _middle(values: np.ndarray) -> complex:
    return complex(np.median(values.real), np.median(values.imag))


def pair_up(predicted: np.ndarray, catalogue: np.ndarray, radius: float) -> np.ndarray:
    """Return the pairs that are each other's nearest and closer than ``radius``: shape (n, 2)."""
    if not len(predicted) or not len(catalogue):
        return np.empty((0, 2), int)
    distance = abs(predicted[:, None] - catalogue[None, :])
    nearest = distance.argmin(1)
    back = distance.argmin(0)
    index = np.arange(len(predicted))
    good = (back[nearest] == index) & (distance[index, nearest] < radius)
    return np.column_stack([index[good], nearest[good]])


def similarity(
    stars: np.ndarray, catalogue: np.ndarray, pairs: np.ndarray, loose: bool
) -> Similarity:
    """Return turn and shift that map paired stars best; without ``loose`` the turn is 1."""
    z, w = stars[pairs[:, 0]], catalogue[pairs[:, 1]]
    if not loose or len(pairs) < 3:
        return 1 + 0j, complex((w - z).mean())
    middle = z.mean()
    turn = ((w - w.mean()) * (z - middle).conj()).sum() / (abs(z - middle) ** 2).sum()
    return complex(turn), complex(w.mean() - turn * middle)


def log_chance(matched: int, of: int, probability: float, hypotheses: float, given: int) -> float:
    """Return log10 of how many matches as good are expected by chance.

    Each hypothesis is made from ``given`` stars, which match for sure (2 of a pair vote, 1 where
    only the shift is sought); each other star has its own ``probability`` to have a catalogue star
    by its side. Bonferroni's bound: chance of one hypothesis (tail of the binomial distribution)
    times their number.
    """
    tries, hits = max(of - given, 0), max(matched - given, 0)
    if not hits:
        return 0.0
    probability = min(max(probability, 1e-12), 1 - 1e-12)
    terms = [
        math.lgamma(tries + 1)
        - math.lgamma(k + 1)
        - math.lgamma(tries - k + 1)
        + k * math.log(probability)
        + (tries - k) * math.log1p(-probability)
        for k in range(hits, tries + 1)
    ]
    top = max(terms)
    tail = top + math.log(sum(math.exp(t - top) for t in terms))
    return tail / math.log(10) + math.log10(max(hypotheses, 1.0))


def best_match(
    stars: np.ndarray,
    catalogue: np.ndarray,
    candidates: list[Similarity],
    hypotheses: float,
    density: float,
    loose: bool = True,
    radius: float = MATCH,
) -> Match | None:
    """Return the candidate that is least likely by chance, refined; None if no star matches.

    ``hypotheses`` is the number tried so far, also for other lists of the same frame; ``density``
    that of catalogue stars a square arcsec. If not ``loose``, the turn stays 1. Stars are the same
    within ``radius``, arcsec.
    """
    best = None
    for turn, shift in candidates:
        for reach in (2 * radius, radius, radius):
            pairs = pair_up(turn * stars + shift, catalogue, reach)
            if len(pairs) < 2:
                break
            turn, shift = similarity(stars, catalogue, pairs, loose)
        if len(pairs) < 2:
            continue
        distance = abs((turn * stars + shift)[pairs[:, 0]] - catalogue[pairs[:, 1]])
        for share in CLOSE:
            close = distance < share * radius
            single = density * math.pi * (share * radius) ** 2
            given = 2 if loose else 1
            count = len(CLOSE) * hypotheses
            chance = log_chance(int(close.sum()), len(stars), single, count, given)
            if best is None or chance < best.log_fap:
                best = Match(turn, shift, pairs[close], chance)
    return best


def covered(known: np.ndarray) -> float:
    """Return the area (square arcsec) that catalogue stars cover, given as complex places.

    That of the rectangle around them, which is larger than its outermost stars by their distance.
    A catalogue smaller than the window that is searched is dense in its own area.
    """
    if len(known) < 2:
        return math.inf
    sides = np.array([np.ptp(known.real), np.ptp(known.imag)])
    return float(np.prod(sides * (len(known) + 1) / (len(known) - 1))) or math.inf


def final_chance(
    xy: np.ndarray, known: np.ndarray, radius: float, shape: tuple[int, int], tried: int, given: int
) -> float:
    """Return log10 of how many solutions as good as a refined one are expected by chance.

    As `log_chance`, by the stars that belong together now, some of the brightest or all. Bright
    stars of the catalogue that are not there count against the solution: `MISSING`.

    Parameters
    ----------
    xy, known : numpy.ndarray
        Stars of the frame, and those of the catalogue on it, (n, 2), both brightest first: pixels.
    radius : float
        Pixels within which they belong together.
    """
    places, known = xy @ (1, 1j), known @ (1, 1j)
    best = 0.0
    numbers = sorted({min(number, len(places)) for number in JUDGED})
    hypotheses = len(FINAL) * len(numbers) * tried
    for number in numbers:
        theirs = known[: max(8, 2 * number)]
        pairs = pair_up(places[:number], theirs, radius)
        if len(pairs) <= given:
            continue
        apart = abs(places[pairs[:, 0]] - theirs[pairs[:, 1]])
        # Brighter than half of those that match, and not at the edge, where none is found.
        edge = np.minimum(theirs.real, theirs.imag) < radius
        edge |= (theirs.real > shape[1] - radius) | (theirs.imag > shape[0] - radius)
        bright = np.arange(len(theirs)) < np.median(pairs[:, 1])
        bright[pairs[:, 1]] = False
        near = pair_up(theirs[bright & ~edge], places, radius)
        missing = int((bright & ~edge).sum()) - len(near)
        density = len(theirs) / (shape[0] * shape[1])
        for share in FINAL:
            single = density * math.pi * (share * radius) ** 2
            count = int((apart < share * radius).sum())
            chance = log_chance(count, number, single, hypotheses, given)
            best = min(best, chance + MISSING * missing)
    return best
