"""A folder of this machine, read by plain system calls."""

import os
from pathlib import Path

from scripts.lib.sources.source import FRAME_NAME, Listing, SourceError, State, Unreachable


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

    def open(self, night: str, name: str):
        """Return a frame opened for reading."""
        return open(self.root / night / name, "rb", buffering=0)

    def state(self, night: str, name: str) -> State:
        """Return a frame's state now."""
        stat = os.stat(self.root / night / name)
        return State(stat.st_size, stat.st_mtime_ns)

    def close(self) -> None:
        """Do nothing: there is nothing to hang up."""
        pass


def is_mounted(folder: Path) -> bool:
    """Tell whether a folder, or one above it but the root of all, is a mount point."""
    folder = folder.resolve()
    return any(os.path.ismount(path) for path in (folder, *folder.parents) if path.name)
