"""Sources that are folders of this machine, read by plain system calls."""

import os
import re
from io import FileIO
from pathlib import Path

from scripts.lib.sources.listing import Kind, RawEntry, raw_entry, words
from scripts.lib.sources.source import Unreachable

MOUNTS, SYSTEMS = Path("/proc/self/mountinfo"), Path("/proc/filesystems")
# Kinds of file systems that are of this machine, though they need no disk that the kernel knows.
WITHOUT_DISK = {"autofs", "devtmpfs", "overlay", "ramfs", "rootfs", "tmpfs", "zfs"}
# How the kernel writes blanks and the like in the names of mount points.
OCTAL = re.compile(r"\\([0-7]{3})")
HINT = "is the telescope's control PC on, and its share mounted?"


class LocalFolder:
    """The connection to a folder: plain system calls."""

    def __init__(self, root: Path, mounted: bool):
        self.root, self.mounted = root, mounted

    def check(self) -> None:
        try:
            with os.scandir(self.root):
                pass
            mounted = not self.mounted or is_mounted(self.root)
        except OSError as error:
            message = f"source {self.root} cannot be reached ({error.strerror}): {HINT}"
            raise Unreachable(message) from error
        if not mounted:
            raise Unreachable(f"source {self.root} is not a mount point: is the share mounted?")

    def scan(self, night: str, folder: str) -> list[RawEntry]:
        self.check()
        with os.scandir(self.root / night / folder) as entries:
            return [raw for entry in entries if (raw := described(entry))]

    def look_up(self, night: str, path: str) -> RawEntry:
        status = os.stat(self.root / night / path)
        return raw_entry(path, status.st_mode, status.st_size, status.st_mtime_ns)

    def open_frame(self, night: str, path: str) -> FileIO:
        return open(self.root / night / path, "rb", buffering=0)

    def close(self) -> None:
        pass


def described(entry: os.DirEntry[str]) -> RawEntry | None:
    """Return an entry of a folder; None if it was removed just now."""
    try:
        status = entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        return RawEntry(entry.name, Kind.OTHER, error=words(error))
    return raw_entry(entry.name, status.st_mode, status.st_size, status.st_mtime_ns)


def is_mounted(folder: Path) -> bool:
    """Return whether a folder is a mount point, or on a share that is mounted above it.

    A disk of this machine above it proves nothing: it also holds the empty folder that a share
    leaves which is not mounted.
    """
    folder = folder.resolve()
    if folder.name and os.path.ismount(folder):
        return True
    return is_share(kind_of_mount(folder, MOUNTS.read_text(errors="surrogateescape")))


def kind_of_mount(folder: Path, mounts: str) -> str:
    """Return the kind of file system that a folder lies on; nothing for that of the root of all.

    The kernel lists a later mount behind an earlier one in whose place it is.
    """
    kinds = {}
    for line in mounts.splitlines():
        mount, _, system = line.partition(" - ")
        point = OCTAL.sub(lambda code: chr(int(code[1], 8)), mount.split()[4])
        kinds[Path(point)] = system.split()[0]
    above = (path for path in (folder, *folder.parents) if path.name)
    return next((kinds[path] for path in above if path in kinds), "")


def is_share(kind: str) -> bool:
    """Return whether a kind of file system is none of this machine's own disks.

    The kernel lists which kinds need a disk. Kinds of shares are too many to be listed.
    """
    systems = (line.split("\t") for line in SYSTEMS.read_text().splitlines())
    disks = {name for nodev, name in systems if not nodev}
    return bool(kind) and kind.partition(".")[0] not in disks | WITHOUT_DISK
