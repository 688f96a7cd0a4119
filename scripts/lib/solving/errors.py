"""Errors of what all frames are solved with: the job fails, no frame is blamed for them."""

import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scripts.lib.fits.cards import HeaderError

LONGEST = 40  # characters of a file's content in a message


class Unreadable(ValueError):
    """A file is not what it must be; the message is what was found, without the file's name."""


class SolvingError(ValueError):
    """Something that all frames are solved with cannot be used.

    The message names the file, what was found there and what is right.
    """


class CatalogueError(SolvingError):
    """A star catalogue cannot be used, or not be made."""


class EngineError(SolvingError):
    """The astrometry.net engine or its index files cannot be used."""


class DarkError(SolvingError):
    """The dark that the configuration names cannot be used."""


@contextmanager
def explained(kind: type[SolvingError], setting: str, path: Path) -> Iterator[None]:
    """Turn whatever fails inside into an error that names the file.

    Parameters
    ----------
    kind : type
        Of the error.
    setting : str
        Of the configuration that names the file.
    path : Path

    Raises
    ------
    SolvingError
        Of that kind.
    """
    try:
        yield
    except SolvingError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise kind(f"{setting}: {path} does not exist; is its disk mounted?") from error
    except Exception as error:
        raise kind(f"{setting}: {path} cannot be read: {found_in(error)}") from error


@contextmanager
def within(name: str) -> Iterator[None]:
    """Turn whatever fails inside into `Unreadable` that names one file of a folder."""
    try:
        yield
    except Exception as error:
        raise Unreadable(f"{name}: {found_in(error)}") from error


def found_in(error: Exception) -> str:
    """Return what an error says of a file: our own words or the system's, never Python's."""
    if isinstance(error, Unreadable | HeaderError):
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
    """Return the size of a file, bytes.

    Parameters
    ----------
    path : Path
    lacks : str
        What an empty file lacks, for the message.

    Raises
    ------
    OSError
        If it cannot be opened for reading.
    Unreadable
        If it is empty or not a regular file: a pipe would be waited for without end.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise Unreadable(f"it is {'a folder' if path.is_dir() else 'not a regular file'}")
    with open(path, "rb"):
        pass
    if not status.st_size:
        raise Unreadable(f"it is empty: {lacks}" if lacks else "it is empty")
    return status.st_size


def first_wrong(values: Iterable[Any]) -> str:
    """Return the first value that is neither missing nor a number, as text for a message."""
    for value in values:
        try:
            float("nan" if value is None else value)
        except (TypeError, ValueError):
            return repr(value[:LONGEST] if isinstance(value, str | bytes) else value)
    return "a value"
