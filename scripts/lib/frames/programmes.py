"""On whose time a frame was taken: ESO's programme ids, by night and target."""

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from scripts.lib.files.errors import JobFailed
from scripts.lib.ledger.records import Frame
from scripts.lib.nights.dates import parse_nights
from scripts.lib.settings.records import PROGRAMME, ProgrammeEntry


def check_programme(programme: str) -> str:
    """Return a programme id; raise ValueError if it does not have one of ESO's forms."""
    if not re.fullmatch(PROGRAMME, programme):
        raise ValueError(
            f"programme: {programme!r} is not a programme id; "
            "right are 60.A-9009(D) or 110.23WX.001"
        )
    return programme


def programmes_of(night: str, programmes: Iterable[ProgrammeEntry]) -> list[ProgrammeEntry]:
    """Return the entries of the configuration's ``programmes`` that concern a night.

    Raises `ConfigurationError` if an entry names something that is not a night.
    """
    return [entry for entry in programmes if night in parse_nights(entry.nights)]


def assignments(night: str, programmes: Iterable[ProgrammeEntry]) -> list[ProgrammeEntry]:
    """Return the entries that concern a night, those of targets first; see `programmes_of`."""
    return sorted(programmes_of(night, programmes), key=lambda entry: not entry.targets)


def check_assigned(night: str, assigned: Iterable[ProgrammeEntry]) -> None:
    """Raise `JobFailed` if an entry lists the night and does not say whose it is."""
    if not all(entry.programme for entry in assigned):
        raise JobFailed(
            f"programmes: {night} is listed without a programme id, so nothing of it is delivered: "
            "add `programme` to its entry, or name it once: "
            f"--config nights={night} programme=…"
        )


def programme_of(kind: str, target: str, assigned: list[ProgrammeEntry], default: str) -> str:
    """Return the programme id of a frame by its kind and OBJECT.

    An entry without targets has the whole night, calibrations too.
    """
    for entry in assigned:
        if not entry.targets:
            return entry.programme
        if kind == "science" and any(fnmatchcase(target, name) for name in entry.targets):
            return entry.programme
    return default


def programme_delivered(delivered: Iterable[Frame], assigned: list[ProgrammeEntry]) -> str:
    """Return the one id under which frames were delivered that have no assignment; or nothing."""
    found = {
        frame.programme
        for frame in delivered
        if not programme_of(frame.kind, frame.object, assigned, default="")
    }
    return found.pop() if len(found) == 1 else ""


def check_delivered(
    delivered: Iterable[Frame], assigned: list[ProgrammeEntry], default: str
) -> None:
    """Raise `JobFailed` if frames were delivered under an id that they no longer have."""
    changed = {
        (frame.programme, now)
        for frame in delivered
        if frame.programme != (now := programme_of(frame.kind, frame.object, assigned, default))
    }
    if changed:
        ids = ", ".join(f"{old} (now {new})" for old, new in sorted(changed))
        raise JobFailed(
            f"frames of this night were delivered under {ids}; to deliver them again under the "
            "new id, once ESO knows of it: --config redeliver=true"
        )
