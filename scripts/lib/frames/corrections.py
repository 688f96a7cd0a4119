"""Corrections: what is known to be wrong in the headers of one night, as a small file.

``config/corrections/{telescope}_{night}.yaml``, a list of::

    - files: "*_flat_*"              # a pattern of raw file names
      reason: filter wheel reported the wrong slot
      set: {FILTER: zYJ}             # a value of null removes the keyword
"""

import re
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path

from scripts.lib.fits.cards import Header

KEYWORD = re.compile(r"[A-Z0-9_-]{1,8}", re.ASCII)
REQUIRED = {"files": str, "reason": str, "set": dict}


def correction_file(folder: Path, telescope: str, night: str) -> Path:
    """Return the path of a night's corrections, whether or not there are any."""
    return folder / f"{telescope.lower()}_{night}.yaml"


def read_corrections(path: Path) -> list[dict]:
    """Return the corrections of a night; none if it has no file.

    Raises
    ------
    ValueError
        If the file is no YAML, or not a list of entries with files, reason and set.
    FileNotFoundError
        If there is no folder of corrections.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"corrections: the folder {path.parent} does not exist")
    if not path.exists():
        return []
    import yaml  # only nights with corrections pay for it

    try:
        entries = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    for entry in entries if isinstance(entries, list) else [None]:
        if not isinstance(entry, dict) or entry.keys() != REQUIRED.keys():
            raise ValueError(f"{path}: each correction has exactly the keys files, reason, set")
        for key, kind in REQUIRED.items():
            if not isinstance(entry[key], kind):
                raise ValueError(f"{path}: {key} must be a {kind.__name__}, not {entry[key]!r}")
        for keyword in entry["set"]:
            if not KEYWORD.fullmatch(str(keyword)):
                raise ValueError(f"{path}: {keyword!r} is no keyword of a raw frame")
        entry["set"] = {keyword: _value(value) for keyword, value in entry["set"].items()}
    return entries


def corrected(header: Header, name: str, corrections: list[dict]) -> Header:
    """Return the header of the raw file ``name`` with all corrections that are meant for it."""
    for entry in corrections:
        if fnmatchcase(name, entry["files"]):
            header = header.replaced(entry["set"])
    return header


def _value(value):
    """Return a value as a header has it: YAML makes dates of what looks like one."""
    return value.isoformat() if isinstance(value, date) else value
