"""On whose time a frame was taken: ESO's programme ids, by night and target."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

from scripts.lib.frames.instruments import check_programme
from scripts.lib.ledger.records import Frame
from scripts.lib.nights.dates import parse_nights
from scripts.lib.settings.records import ProgrammeEntry


class Assignment(NamedTuple):
    """A programme that has a night, or some of its targets.

    Attributes
    ----------
    id : str
        ESO's programme id.
    targets : tuple of str
        Patterns of OBJECT; none for the whole night, calibrations too.
    """

    id: str
    targets: tuple[str, ...]


class OtherProgramme(RuntimeError):
    """Frames were delivered under another programme id than they have now."""


def programmes_of(night: str, programmes: Iterable[ProgrammeEntry]) -> list[ProgrammeEntry]:
    """Return the entries of the configuration's ``programmes`` that concern a night.

    Raises
    ------
    NightError
        If an entry names something that is no night.
    """
    return [entry for entry in programmes if night in parse_nights(entry.nights)]


def assignments(entries: Iterable[ProgrammeEntry]) -> list[Assignment]:
    """Return the assignments of a night, those of targets first.

    Parameters
    ----------
    entries : iterable of ProgrammeEntry
        See `programmes_of`.

    Raises
    ------
    ValueError
        If a programme id is none.
    """
    found = [
        Assignment(check_programme(entry.programme), tuple(entry.targets)) for entry in entries
    ]
    return sorted(found, key=lambda assignment: not assignment.targets)


def programme_of(kind: str, target: str, assigned: list[Assignment], default: str) -> str:
    """Return the programme id of a frame by its kind and OBJECT."""
    for assignment in assigned:
        if not assignment.targets:
            return assignment.id
        if kind == "science" and any(fnmatchcase(target, name) for name in assignment.targets):
            return assignment.id
    return default


def programme_delivered(frames: Iterable[Frame], assigned: list[Assignment]) -> str:
    """Return the one id under which frames were delivered that have no assignment; or nothing.

    Parameters
    ----------
    frames : iterable of Frame
        Those that were delivered.
    """
    found = {
        frame.programme
        for frame in frames
        if not programme_of(frame.kind, frame.object, assigned, default="")
    }
    return found.pop() if len(found) == 1 else ""


def check_delivered(frames: Iterable[Frame], assigned: list[Assignment], default: str) -> None:
    """Raise `OtherProgramme` if frames were delivered under an id that they no longer have.

    Parameters
    ----------
    frames : iterable of Frame
        Those that were delivered.
    """
    changed = {
        (frame.programme, now)
        for frame in frames
        if frame.programme != (now := programme_of(frame.kind, frame.object, assigned, default))
    }
    if changed:
        ids = ", ".join(f"{old} (now {new})" for old, new in sorted(changed))
        raise OtherProgramme(
            f"frames of this night were delivered under {ids}; to deliver them again under the "
            "new id, once ESO has been told: --config redeliver=true"
        )
