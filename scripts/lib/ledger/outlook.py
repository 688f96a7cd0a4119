"""What is still to be done for a frame: the one place that judges its state."""

import hashlib
from collections import Counter
from collections.abc import Iterable

from scripts.lib.ledger.faults import Reason
from scripts.lib.ledger.records import DELIVERY, DONE, Entry, Frame, Night, Status

# Without an outcome yet.
OPEN = frozenset({Status.SEEN, Status.COPIED, Status.ASSIGNED})


def listing_digest(entries: Iterable[Entry]) -> str:
    """Return a text that changes when the listing of the source does."""
    lines = [f"{e.name}\0{e.state.bytes}\0{e.state.mtime_ns}\0{e.fault or ''}" for e in entries]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def latest(frames: Iterable[Frame]) -> dict[str, Frame]:
    """Return the last version of each frame, by file."""
    return {frame.file: frame for frame in sorted(frames, key=lambda frame: frame.key)}


def is_new(entry: Entry, frame: Frame | None) -> bool:
    """Return whether something at the source is not known as it is now."""
    if frame is None or frame.status is Status.SEEN:
        return True
    if entry.fault:
        return frame.status not in DELIVERY and frame.fault != entry.fault
    return frame.source != entry.state


def is_fixed(frame: Frame, night: Night) -> bool:
    """Return whether a frame keeps its product: it was delivered, or may have been."""
    return frame.status in DELIVERY and frame.delivery >= night.redeliver


def is_due(frame: Frame, night: Night) -> bool:
    """Return whether a frame is in a product that is still to be published."""
    again = frame.status in DONE and frame.delivery < night.redeliver
    return frame.status in (Status.ASSIGNED, Status.STAGED) or again


def is_judged_again(frame: Frame, night: Night, judged: str) -> bool:
    """Return whether the inventory is to look at a frame, now that it is ``judged`` by that."""
    if frame.status is Status.HELD and frame.fault:
        if frame.fault.reason is Reason.CHANGED and night.redeliver:
            return True
        return night.judged != judged and frame.fault.has_copy
    return not is_fixed(frame, night) and frame.status is not Status.SEEN


def too_many_held(frames: Iterable[Frame], share: float) -> str:
    """Return why a night is bad rather than its frames: more than ``share`` of them are held back.

    Nothing if it is not. Frames that every night has, engineering exposures say, do not count.
    """
    counted = [f for f in frames if not (f.status is Status.HELD and f.fault and f.fault.expected)]
    held = [frame.fault for frame in counted if frame.status is Status.HELD]
    if len(held) <= share * len(counted):
        return ""
    # Sorted first: reasons that are as frequent are listed by name.
    reasons = Counter(sorted(fault.heading if fault else "" for fault in held))
    causes = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common(5))
    return (
        f"{len(held)} of {len(counted)} frames held back, more than max_held {share} allows: "
        f"{causes}. If they are to be left out, run again with --config max_held=1"
    )
