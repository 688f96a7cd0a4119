"""Corrections: what is known to be wrong in the headers of one night, as a small file.

``config/corrections/{telescope}_{night}.yaml``, a list of::

    - files: "*_flat_*"              # a pattern of raw file names
      reason: filter wheel reported the wrong slot
      set: {FILTER: zYJ}             # a value of null removes the keyword
"""

import re
from collections.abc import Iterable
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from scripts.lib.fits.cards import Header, Value

KEYWORD = re.compile(r"[A-Z0-9_-]{1,8}", re.ASCII)
REQUIRED = {"files": str, "reason": str, "set": dict}


class Correction(NamedTuple):
    """A pattern of raw file names, why they are wrong, and the new values; None removes one."""

    files: str
    reason: str
    changes: dict[str, Value]

    def concerns(self, name: str) -> bool:
        """Return whether a raw file is meant."""
        return fnmatchcase(name, self.files)


def correction_file(folder: Path, telescope: str, night: str) -> Path:
    """Return the path of a night's corrections, whether or not there are any."""
    return folder / f"{telescope.lower()}_{night}.yaml"


def corrected_nights(folder: Path, telescope: str) -> set[str]:
    """Return the nights of a telescope for which there are corrections."""
    prefix = f"{telescope.lower()}_"
    return {path.stem.removeprefix(prefix) for path in folder.glob(f"{prefix}????????.yaml")}


def read_corrections(path: Path) -> list[Correction]:
    """Return the corrections of a night; none if it has no file.

    Raises ValueError if the file is not YAML, or not a list of entries with files, reason and set;
    FileNotFoundError if there is no folder of corrections.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"corrections: the folder {path.parent} does not exist")
    if not path.exists():
        return []
    import yaml  # only nights with corrections pay for it

    try:
        entries = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    corrections = []
    for entry in entries if isinstance(entries, list) else [None]:
        if not isinstance(entry, dict) or entry.keys() != REQUIRED.keys():
            raise ValueError(f"{path}: each correction has exactly the keys files, reason, set")
        for key, kind in REQUIRED.items():
            if not isinstance(entry[key], kind):
                raise ValueError(f"{path}: {key} must be a {kind.__name__}, not {entry[key]!r}")
        for keyword, value in entry["set"].items():
            if not KEYWORD.fullmatch(str(keyword)):
                raise ValueError(f"{path}: {keyword!r} is not a keyword of a raw frame")
            if isinstance(value, date):  # YAML makes dates of what looks like one
                entry["set"][keyword] = value.isoformat()
            elif not isinstance(value, bool | int | float | str | None) or value != value:
                raise ValueError(
                    f"{path}: {keyword}: {value!r} is not a value that a card can have"
                )
        corrections.append(Correction(entry["files"], entry["reason"], entry["set"]))
    return corrections


def corrected_keywords(name: str, corrections: Iterable[Correction]) -> set[str]:
    """Return the keywords that corrections set for the raw file ``name``."""
    return {keyword for one in corrections if one.concerns(name) for keyword in one.changes}


def corrected(header: Header, name: str, corrections: Iterable[Correction]) -> Header:
    """Return the header of the raw file ``name`` with all corrections that are meant for it."""
    for correction in corrections:
        if correction.concerns(name):
            header = header.replaced(correction.changes)
    return header
