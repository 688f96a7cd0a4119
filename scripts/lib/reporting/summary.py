"""What became of a night: the facts that page, summary, lists and mail tell."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from scripts.lib.delivery.receipts import warned_products
from scripts.lib.ledger.ledger import Ledger
from scripts.lib.ledger.outlook import latest
from scripts.lib.ledger.records import DONE, GOOD, Frame, Status
from scripts.lib.ledger.snapshot import held, sequences
from scripts.lib.solving.table import Solved, read_solved


@dataclass(frozen=True, slots=True)
class Sequence:
    """A sequence in a night's summary: times as ``hh:mm:ss``; None where nothing was solved."""

    name: str
    frames: int
    begin: str
    end: str
    product: str
    to_solve: int
    solved: int
    rms: float | None
    fwhm: float | None
    offset: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of a night.

    Attributes
    ----------
    raw : int
        Raw frames.
    kinds : mapping of int
        Good frames of each kind.
    products : list of str
        Delivered.
    delivered : int
        Frames.
    missing : list of str
        Raw files of good frames that are not delivered.
    warned : mapping of str
        By product, what the gate noted.
    held : list of Frame
    reasons : list of tuple
        Why, the most frequent first, and how many.
    to_solve : int
        Frames.
    unsolved : list of Solved
    """

    telescope: str
    night: str
    raw: int
    kinds: Mapping[str, int]
    sequences: list[Sequence]
    products: list[str]
    delivered: int
    missing: list[str]
    warned: Mapping[str, str]
    held: list[Frame]
    reasons: list[tuple[str, int]]
    to_solve: int
    unsolved: list[Solved]


def summarise(telescope: str, night: str, ledger: Ledger, solutions: Path | None) -> Summary:
    """Return what became of a night.

    Parameters
    ----------
    solutions : Path or None
        Folder of the night's solutions; None to leave them out.
    """
    frames, products = ledger.frames(night), ledger.products(night)
    good = [frame for frame in frames if frame.status in GOOD]
    waiting = [f for f in latest(frames).values() if f.status in (Status.SEEN, Status.COPIED)]
    refused = held(frames)
    grouped = sequences(good)
    solved = read_solutions(solutions, grouped) if solutions else {}
    tried = [one for table in solved.values() for one in table]
    return Summary(
        telescope=telescope,
        night=night,
        raw=len({frame.file for frame in frames}),
        kinds=Counter(frame.kind for frame in good),
        sequences=[sequence(name, m, solved.get(name, [])) for name, m in grouped.items()],
        products=sorted(product.name for product in products),
        delivered=sum(frame.status in DONE for frame in good),
        missing=[frame.file for frame in [*good, *waiting] if frame.status not in DONE],
        warned=warned_products(products),
        held=refused,
        reasons=Counter(f.fault.heading for f in refused if f.fault).most_common(),
        to_solve=len(tried),
        unsolved=[one for one in tried if not one.solved],
    )


def sequence(name: str, members: list[Frame], solved: list[Solved]) -> Sequence:
    """Return what the summary says of a sequence."""
    products = {frame.product for frame in members}
    good = [one for one in solved if one.solved]
    return Sequence(
        name=name,
        frames=len(members),
        begin=f"{members[0].begin:%H:%M:%S}",
        end=f"{members[-1].begin:%H:%M:%S}",
        product=products.pop() if len(products) == 1 else f"{len(products)} frames",
        to_solve=len(solved),
        solved=len(good),
        rms=median(one.rms for one in good) if good else None,
        fwhm=median(one.fwhm for one in good) if good else None,
        offset=max(one.offset for one in good) if good else None,
    )


def read_solutions(folder: Path, names: Iterable[str]) -> dict[str, list[Solved]]:
    """Return the solutions of sequences, of those that were to be solved."""
    paths = {name: folder / f"{name}.fits" for name in names}
    return {name: list(read_solved(p).values()) for name, p in paths.items() if p.exists()}
