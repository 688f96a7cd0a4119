"""A folder of this machine, read by plain system calls."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from scripts.lib.sources.source import FRAME_NAME, Listing, State, Unreachable


class LocalFolder:
    """The connection of a `Folder`: plain system calls."""

    def __init__(self, root: Path, mounted: bool, hint: str):
        self.root, self.mounted, self.hint = root, mounted, hint

    def check(self) -> None:
        """Raise `Unreachable` unless the folder can be reached."""
        try:
            with os.scandir(self.root):
                pass
            mounted = not self.mounted or is_mounted(self.root)
        except OSError as error:
            message = f"source {self.root} cannot be reached ({error.strerror}): {self.hint}"
            raise Unreachable(message) from error
        if not mounted:
            raise Unreachable(f"source {self.root} is not a mount point: is the share mounted?")

    def list(self, night: str) -> Listing:
        """Return the frames of a night."""
        self.check()
        with os.scandir(self.root / night) as entries:
            return dict(states(sorted(entries, key=lambda entry: entry.name)))

    def open(self, night: str, name: str):
        """Return a frame opened for reading."""
        return open(self.root / night / name, "rb", buffering=0)

    def state(self, night: str, name: str) -> State:
        """Return a frame's state now."""
        return state_of(os.stat(self.root / night / name))

    def close(self) -> None:
        """Do nothing: there is nothing to hang up."""
        pass


def states(entries: Iterable[os.DirEntry]) -> Iterator[tuple[str, State]]:
    """Yield name and state of each frame; one that was removed this very moment is left out."""
    for entry in entries:
        with suppress(FileNotFoundError):
            if FRAME_NAME.fullmatch(entry.name) and entry.is_file():
                yield entry.name, state_of(entry.stat())


def state_of(stat: os.stat_result) -> State:
    """Return the state that the system tells."""
    return State(stat.st_size, stat.st_mtime_ns)


def is_mounted(folder: Path) -> bool:
    """Tell whether a folder, or one above it but the root of all, is a mount point."""
    folder = folder.resolve()
    return any(os.path.ismount(path) for path in (folder, *folder.parents) if path.name)
