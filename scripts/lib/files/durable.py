"""Writing files so that a kill or a power cut leaves the old file or the new one, never half.

Temporary name, fsync, rename, fsync of the folder. Without the fsync a file that was renamed
before a power cut can come back with no bytes.
"""

import os
import re
import shutil
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

# Bytes; file systems take 255, a temporary name has the process and its host as well.
LONGEST_NAME = 190
# At the end of temporary names; without the host: by a version before 0.4.
WRITER = re.compile(r"(\d+)(?:@([^@]+))?\.part")
# s: a writer that has written nothing for as long has ended.
LONGEST_PAUSE = 2 * 86400
HOST = socket.gethostname()[:40]


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that gets its name only once it is whole and on disk."""
    part = part_name(path)
    try:
        with open(part, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    sync(path.parent)


class WholeFiles:
    """Files that get their names together, each only once it is whole and on disk.

    To wait for the disk once for some files takes half as long as to wait for each. The end of the
    ``with`` statement names them; then `failed` has the errors of those that did not reach the
    disk, by path. The names outlast a power cut once `sync` was called for their folder.
    """

    def __init__(self) -> None:
        self.failed: dict[Path, OSError] = {}
        self._written: dict[Path, BinaryIO] = {}

    @contextmanager
    def file(self, path: Path) -> Iterator[BinaryIO]:
        """Open one of them for writing; again, if what was written is to be replaced."""
        self.discard(path)
        stream = open(part_name(path), "wb")
        self._written[path] = stream
        try:
            yield stream
            begin_writing(stream)
        except BaseException:
            self.discard(path)
            raise

    def discard(self, path: Path) -> None:
        """Remove one of them, if it was written."""
        if stream := self._written.pop(path, None):
            with suppress(OSError):  # what it still holds does not matter
                stream.close()
            part_name(path).unlink(missing_ok=True)

    def __enter__(self) -> "WholeFiles":
        return self

    def __exit__(self, *error: object) -> None:
        self.name()

    def name(self) -> None:
        """Name what has been written so far: before a pause, say, in which a kill may come."""
        for path, stream in list(self._written.items()):
            try:
                os.fsync(stream.fileno())
                os.replace(stream.name, path)
            except OSError as failure:
                self.failed[path] = failure
                self.discard(path)
            else:
                stream.close()
        self._written.clear()


def begin_writing(stream: BinaryIO, begin: int = 0) -> None:
    """Let the system write to disk, from byte ``begin`` on, without waiting for it.

    Otherwise most systems begin only when a sync asks for it.
    """
    stream.flush()
    # Linux takes it as "will not be read soon": it writes what is new, and forgets what is written.
    os.posix_fadvise(stream.fileno(), begin, 0, os.POSIX_FADV_DONTNEED)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Fill a folder that gets its name only once its files are whole and on disk.

    Snakemake does not see that a folder was left half-filled by a killed run.
    """
    for part in path.parent.glob(f".{path.name}.*.part"):
        if is_left(part):
            shutil.rmtree(part, ignore_errors=True)
    part = part_name(path)
    part.mkdir(parents=True)
    try:
        yield part
        for name in part.iterdir():
            sync(name)
        sync(part)
        os.rename(part, path)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    sync(path.parent)


def part_name(path: Path) -> Path:
    """Return this process's temporary name of a file: hidden, and not ending like a product.

    A job that outlives a killed run must not share it with the job of the next run, which may be on
    another host. Of a name that leaves no room for more, only the beginning and a sum are in it.
    """
    name = path.name
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = f"{name[:60]}-{zlib.crc32(os.fsencode(name)):08x}"
    return path.with_name(f".{name}.{writer()}.part")


def writer() -> str:
    """Return what tells this process apart from all others that write to a shared disk."""
    return f"{os.getpid()}@{HOST}"


def is_left(part: Path) -> bool:
    """Return whether nobody writes to a temporary file any more.

    Of another host's processes nothing is known here: what they write counts as left once it has
    not changed for two days.
    """
    match = WRITER.search(part.name)
    if match and (match[2] or HOST) == HOST:
        return int(match[1]) == os.getpid() or not Path("/proc", match[1]).exists()
    try:
        return time.time() - part.stat().st_mtime > LONGEST_PAUSE
    except FileNotFoundError:
        return False


def remove_parts(folder: Path, name: str = "*") -> None:
    """Remove what killed jobs left half-written of the files called ``name`` (a pattern)."""
    for part in folder.glob(f".{name}.part"):
        if is_left(part):
            part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a whole text file, or leave the old one."""
    with whole_file(path) as stream:
        # File names may hold bytes that are not text; they pass through unchanged.
        stream.write(text.encode(errors="surrogateescape"))


def sync(path: Path) -> None:
    """Make what is in a file, or the names in a folder, outlast a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
