"""Where nights are read from: one folder per night, behind four functions.

A source knows how to `check` that it can be reached, `list` a night's frames and `open` one,
and to tell a frame's present `state`. Other kinds of source are one more class in `SOURCES`.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import BinaryIO, NamedTuple

FRAME_NAME = re.compile(r"(?!\.).*\.(fits|fts)", re.IGNORECASE | re.DOTALL)


class SourceError(OSError):
    """The source cannot be read; the message names it and says what to look at."""


class State(NamedTuple):
    """What tells whether a frame has changed: bytes, and time of last change (ns)."""

    bytes: int
    mtime_ns: int


Listing = dict[str, State]


class Folder:
    """A source that is a local or mounted folder.

    Parameters
    ----------
    root : str
        The folder that holds one folder per night.
    """

    def __init__(self, root: str):
        self.root = Path(root)

    def check(self) -> None:
        """Raise `SourceError` unless the source can be reached."""
        try:
            with os.scandir(self.root):
                pass
        except OSError as error:
            raise SourceError(
                f"source {self.root} cannot be reached ({error.strerror}): "
                "is the telescope's control PC on, and its share mounted?"
            ) from error

    def list(self, night: str) -> Listing:
        """Return the frames of a night; none if the night has no folder.

        Raises
        ------
        SourceError
            If the source cannot be reached, or the night's folder not be read.
        """
        self.check()
        try:
            with os.scandir(self.root / night) as entries:
                return {
                    entry.name: State(entry.stat().st_size, entry.stat().st_mtime_ns)
                    for entry in sorted(entries, key=lambda entry: entry.name)
                    if FRAME_NAME.fullmatch(entry.name) and entry.is_file()
                }
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise SourceError(f"night {self.root / night} cannot be read: {error}") from error

    def open(self, night: str, name: str) -> BinaryIO:
        """Return a frame opened for reading, unbuffered."""
        return open(self.root / night / name, "rb", buffering=0)

    def state(self, night: str, name: str) -> State:
        """Return a frame's state now."""
        stat = os.stat(self.root / night / name)
        return State(stat.st_size, stat.st_mtime_ns)


SOURCES = {"": Folder}


def open_source(address: str):
    """Return the source behind an address.

    Parameters
    ----------
    address : str
        A folder, or ``scheme://…``.

    Raises
    ------
    SourceError
        If no source knows the scheme.
    """
    scheme = address.partition("://")[0] if "://" in address else ""
    if scheme not in SOURCES:
        raise SourceError(f"source {address}: {scheme}:// is not known; mount it, name the folder")
    return SOURCES[scheme](address)


def digest(listing: Listing) -> str:
    """Return a short text that changes when a listing does."""
    lines = (f"{name}\0{state.bytes}\0{state.mtime_ns}\n" for name, state in listing.items())
    return hashlib.sha256("".join(sorted(lines)).encode(errors="surrogateescape")).hexdigest()[:16]
