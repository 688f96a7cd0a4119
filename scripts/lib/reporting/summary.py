"""What became of a night: the facts that summary, lists and mail show."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.lib.delivery.receipts import warned_products
from scripts.lib.ledger import snapshot
from scripts.lib.ledger.ledger import Ledger
from scripts.lib.ledger.outlook import latest
from scripts.lib.ledger.records import DONE, GOOD, Frame, Status
from scripts.lib.solving.table import Solved, read_solved


@dataclass(frozen=True)
class Summary:
    """What became of a night.

    ``judged`` is whether its frames were judged yet. ``raw`` counts raw frames, ``kinds`` and
    ``delivered`` delivered ones. ``missing`` are raw files of good frames that are not delivered,
    ``warned`` what the gate noted of products, ``reasons`` the frames held back for each,
    ``not_for_eso`` engineering exposures and the like, which are no fault. ``kinds`` and
    ``reasons`` begin with the most frequent.
    """

    telescope: str
    night: str
    judged: bool
    raw: int
    kinds: Mapping[str, int]
    sequences: Mapping[str, list[Frame]]
    products: list[str]
    delivered: int
    missing: list[str]
    warned: Mapping[str, str]
    held: list[Frame]
    not_for_eso: list[Frame]
    reasons: Mapping[str, list[Frame]]
    solved: list[Solved]
    unsolved: list[Solved]


def summarise(telescope: str, night: str, ledger: Ledger, solutions: Path | None) -> Summary:
    """Return what became of a night; ``solutions`` is their folder, None to leave them out."""
    frames, products = ledger.frames(night), ledger.products(night)
    good = [frame for frame in frames if frame.status in GOOD]
    delivered = [frame for frame in good if frame.status in DONE]
    waiting = [f for f in latest(frames).values() if f.status in (Status.SEEN, Status.COPIED)]
    refused, reasons = snapshot.held(frames), dict[str, list[Frame]]()
    held = [frame for frame in refused if not (frame.fault and frame.fault.expected)]
    for frame in held:
        heading = frame.fault.heading if frame.fault else "not judged yet"
        reasons.setdefault(heading, []).append(frame)
    grouped = snapshot.sequences(good)
    paths = {name: solutions / f"{name}.fits" for name in grouped} if solutions else {}
    tables = {name: [*read_solved(p).values()] for name, p in paths.items() if p.exists()}
    tried = [one for table in tables.values() for one in table]
    return Summary(
        telescope=telescope,
        night=night,
        judged=bool(ledger.night(night).snapshot),
        raw=len({frame.file for frame in frames}),
        kinds=dict(Counter(frame.kind for frame in delivered).most_common()),
        sequences=grouped,
        products=sorted(product.name for product in products),
        delivered=len(delivered),
        missing=[frame.file for frame in [*good, *waiting] if frame.status not in DONE],
        warned=warned_products(products),
        held=held,
        not_for_eso=[frame for frame in refused if frame.fault and frame.fault.expected],
        reasons=dict(sorted(reasons.items(), key=lambda item: (-len(item[1]), item[0]))),
        solved=[one for one in tried if one.solved],
        unsolved=[one for one in tried if not one.solved],
    )
