"""Name what is wrong with a file that all frames are solved with: the job fails, no frame does."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.lib.files.errors import Damaged, JobFailed
from scripts.lib.fits.cards import HeaderError

LONGEST = 40  # characters of a file's content in a message


@contextmanager
def failing_job(setting: str, path: Path) -> Iterator[None]:
    """Turn any error inside into a `JobFailed` that names a setting and its file."""
    try:
        yield
    except JobFailed:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise JobFailed(f"{setting}: {path} does not exist; is its disk mounted?") from error
    except Exception as error:
        raise JobFailed(f"{setting}: {path} cannot be read: {found_in(error)}") from error


@contextmanager
def one_of_folder(name: str) -> Iterator[None]:
    """Turn any error inside into a `Damaged` that names one file of a folder."""
    try:
        yield
    except Exception as error:
        raise Damaged(f"{name}: {found_in(error)}") from error


def found_in(error: Exception) -> str:
    """Return what an error says of a file: our own words or the system's, never Python's."""
    if isinstance(error, Damaged | HeaderError):
        return str(error)
    if isinstance(error, PermissionError):
        return "no permission: the user who runs the workflow must be able to read it"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 text: byte {error.object[error.start]:#04x}"
    if isinstance(error, MemoryError):
        return "there is not enough memory for it"
    return "its content is damaged"


def check_file(path: Path, lacks: str = "") -> int:
    """Return the size of a file, bytes; ``lacks`` says what it lacks if it is empty.

    Raises OSError if it cannot be opened for reading, `Damaged` if it is empty or not a regular
    file: reading from a pipe would wait without end.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise Damaged(f"it is {'a folder' if path.is_dir() else 'not a regular file'}")
    with open(path, "rb"):
        pass
    if not status.st_size:
        raise Damaged(f"it is empty: {lacks}" if lacks else "it is empty")
    return status.st_size


def check_size(size: int, right: int) -> None:
    """Raise `Damaged` if a file is too short, in bytes: to read its mapped end would kill a job."""
    if size < right:
        raise Damaged(f"it is truncated: {size} bytes of {right}")
