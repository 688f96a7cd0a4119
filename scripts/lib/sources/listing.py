"""What lies in a night's folder: each entry is a frame to take, or has a fault.

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

Listing = list[Entry]

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
UNSAFE_SIGNS = dict.fromkeys("/\\", "path separator in it") | {
    chr(code): "control character in it"
    for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)
}
LONGEST_NAME = 255  # bytes, in all usual file systems
# A hostile or broken server may have folders without end.
DEEPEST = 8
MOST_FOLDERS = 1000
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
    """An entry of one folder as a connection finds it.

    Attributes
    ----------
    name : str
        As the source has it: not checked.
    kind : Kind
        LINK for every link; `Source` finds out where it leads.
    state : FileState
        Of a regular file.
    error : str
        Why the entry cannot be looked at.
    """

    name: str
    kind: Kind
    state: FileState = NOT_COPIED
    error: str = ""

    @property
    def is_link(self) -> bool:
        """Whether it is a link that can be followed."""
        return self.kind is Kind.LINK and not defect(self.name)

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder that can be walked.

        One that is named like a frame is not: what is in it could not be copied next to a frame
        of its name.
        """
        return (
            self.kind is Kind.FOLDER
            and not defect(self.name)
            and not FRAME_NAME.fullmatch(self.name)
        )


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
    """Judge an entry by its name and kind.

    Parameters
    ----------
    folder : str
        Path of its folder below the night's folder; empty for the night's folder itself.
    """
    if wrong := defect(raw.name):
        name = below(folder, harmless(raw.name))
        return Entry(name, raw.state, Fault(Reason.UNSAFE_NAME, wrong))
    name = below(folder, raw.name)
    return Entry(name, raw.state, fault_of(name, raw))


def fault_of(path: str, raw: RawEntry) -> Fault | None:
    """Return why an entry cannot be a frame; None if it can."""
    if raw.error:
        return Fault(Reason.UNREADABLE_ENTRY, raw.error)
    if raw.kind is not Kind.FILE:
        return Fault(Reason.NOT_A_FILE, raw.kind.value)
    if path.startswith(".") or "/." in path:
        return Fault(Reason.NOT_A_FRAME, "hidden file")
    if FRAME_NAME.fullmatch(raw.name):
        return None
    return Fault(Reason.COMPRESSED if COMPRESSED_NAME.fullmatch(raw.name) else Reason.NOT_A_FRAME)


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
        return UNSAFE_SIGNS.get(unsafe[0], "bytes in it that are not text")
    if not name.isascii():
        return "not ASCII"
    size = len(name.encode(errors="surrogateescape"))
    return f"{size} bytes long, file systems take {LONGEST_NAME}" if size > LONGEST_NAME else ""


def harmless(name: str) -> str:
    r"""Return a name that cannot be used in a form that does no harm, and that no other name has.

    There is a backslash in it, or a letter that is in no name that can be used. A long one ends
    with ``\~`` and a digest.
    """
    if name in ("", ".", ".."):
        return name.replace(".", r"\x2e") or r"\x"
    text = UNSAFE.sub(escape, name)
    if len(text.encode(errors="surrogateescape")) <= LONGEST_NAME:
        return text
    return rf"{text[:50]}\~{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:32]}"


def escape(match: re.Match[str]) -> str:
    r"""Return a character as ``\xNN``, or as ``\uNNNN``."""
    code = ord(match[0])
    return rf"\x{code:02x}" if code < 0x100 else rf"\u{code:04x}"


def words(error: OSError) -> str:
    """Return the system's words for an error."""
    return error.strerror or str(error)
