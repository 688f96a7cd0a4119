"""Entries of a night's folder: each is a frame to copy, or has a fault.

Connections describe what they find as `RawEntry`, with whatever name a server sent. Names of all
kinds of source are checked here, before anything is done with them.
"""

import hashlib
import re
import stat
from enum import Enum
from typing import NamedTuple

from scripts.lib.ledger.faults import Fault, Reason
from scripts.lib.ledger.records import NOT_COPIED, Entry, FileState

# A plain name of a frame: ASCII without separators, of a length that every file system takes.
PLAIN_FRAME = re.compile(r"(?!\.)[ -.0-\[\]-~]{1,250}\.(?:fits|fts|fit)")
# What Astra writes; a hidden file is not a frame.
FRAME_NAME = re.compile(r"(?!\.).*\.(fits|fts|fit)", re.IGNORECASE | re.DOTALL)
COMPRESSED_NAME = re.compile(
    r".*\.(fits|fts|fit)\.(gz|fz|bz2|zip|xz|z|zst|lz4|lzma|rar|7z)", re.IGNORECASE | re.DOTALL
)
# Separators, control characters, line and paragraph separators, and surrogates: these stand for
# bytes that are not UTF-8.
UNSAFE = re.compile(r"[/\\\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
LONGEST_NAME = 255  # bytes, in all usual file systems
# Beyond this a size or time cannot be stored.
LARGEST = 2**63 - 1


class Kind(Enum):
    """What an entry of a folder is, in words for people."""

    FILE = "a regular file"
    FOLDER = "a folder"
    LINK = "link that leads nowhere"
    LOOP = "link that leads back to itself"
    LINKED_FOLDER = "link to a folder"
    PIPE = "named pipe"
    SOCKET = "socket"
    DEVICE = "device"
    OTHER = "neither file nor folder"


KINDS = {
    stat.S_IFDIR: Kind.FOLDER,
    stat.S_IFLNK: Kind.LINK,
    stat.S_IFIFO: Kind.PIPE,
    stat.S_IFSOCK: Kind.SOCKET,
    stat.S_IFCHR: Kind.DEVICE,
    stat.S_IFBLK: Kind.DEVICE,
}


class RawEntry(NamedTuple):
    """An entry of one folder as a connection finds it."""

    name: str  # as the source has it: not checked
    kind: Kind  # LINK for every link; `Source` finds out where it leads
    state: FileState = NOT_COPIED  # of a regular file
    error: str = ""  # why it cannot be looked at


def raw_entry(name: str, mode: int, size: int, mtime_ns: int) -> RawEntry:
    """Return an entry of which there is what ``stat`` gives."""
    if stat.S_ISREG(mode):
        return RawEntry(name, Kind.FILE, file_state(size, mtime_ns))
    return RawEntry(name, KINDS.get(stat.S_IFMT(mode), Kind.OTHER))


def file_state(size: int, mtime_ns: int) -> FileState:
    """Return the state of a file, within what can be stored."""
    if 0 <= mtime_ns <= LARGEST and size <= LARGEST:
        return FileState(size, mtime_ns)
    return FileState(min(size, LARGEST), max(-LARGEST, min(mtime_ns, LARGEST)))


def entry_of(folder: str, raw: RawEntry) -> Entry:
    """Judge an entry of a folder below the night's folder by its name and kind."""
    wrong = defect(raw.name)
    path = below(folder, harmless(raw.name) if wrong else raw.name)
    fault: Fault | None = None
    if wrong:
        fault = Fault(Reason.UNSAFE_NAME, wrong)
    elif raw.error:
        fault = Fault(Reason.UNREADABLE_ENTRY, raw.error)
    elif raw.kind is not Kind.FILE:
        fault = Fault(Reason.NOT_A_FILE, raw.kind.value)
    elif path.startswith(".") or "/." in path:
        fault = Fault(Reason.NOT_A_FRAME, "hidden file")
    elif COMPRESSED_NAME.fullmatch(raw.name):
        fault = Fault(Reason.COMPRESSED)
    elif not FRAME_NAME.fullmatch(raw.name):
        fault = Fault(Reason.NOT_A_FRAME)
    return Entry(path, raw.state, fault)


def below(folder: str, name: str) -> str:
    """Return the path of an entry of a folder."""
    return f"{folder}/{name}" if folder else name


def defect(name: str) -> str:
    """Return what is wrong with the name of an entry; nothing if it is a plain name."""
    if not name:
        return "empty"
    if name in (".", ".."):
        return "leads to another folder"
    if unsafe := UNSAFE.search(name):
        if unsafe[0] in "/\\":
            return "path separator in it"
        surrogate = "\ud800" <= unsafe[0] <= "\udfff"
        return "bytes in it that are not text" if surrogate else "control character in it"
    if not name.isascii():
        return "not ASCII"
    size = len(name)
    return f"{size} bytes long, file systems take {LONGEST_NAME}" if size > LONGEST_NAME else ""


def harmless(name: str) -> str:
    r"""Return a name that cannot be used in a form that does no harm, and that no other name has.

    A long one ends with ``\~`` and a digest.
    """
    if name in ("", ".", ".."):
        return name.replace(".", r"\x2e") or r"\x"
    text = UNSAFE.sub(escaped, name)
    if len(text.encode(errors="surrogateescape")) <= LONGEST_NAME:
        return text
    return rf"{text[:50]}\~{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:32]}"


def escaped(match: re.Match[str]) -> str:
    r"""Return a character as ``\xNN``, or as ``\uNNNN``."""
    code = ord(match[0])
    return rf"\x{code:02x}" if code < 0x100 else rf"\u{code:04x}"


def words(error: OSError) -> str:
    """Return the system's words for an error."""
    return error.strerror or str(error)
