"""A folder on an SMB share, read without a mount.

Everything is opened for others to read, write, rename and delete: smbprotocol's own default locks
the camera software out of its file while we read it.
"""

import errno
import logging
import os
import struct
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from smbprotocol import exceptions as smb
from smbprotocol.connection import Connection
from smbprotocol.file_info import FileAttributes, FileInformationClass
from smbprotocol.header import NtStatus
from smbprotocol.open import (
    CreateDisposition,
    CreateOptions,
    FilePipePrinterAccessMask,
    ImpersonationLevel,
    Open,
    ShareAccess,
    SMB2QueryDirectoryResponse,
)
from smbprotocol.session import Session
from smbprotocol.tree import TreeConnect

from scripts.lib.sources.address import Address
from scripts.lib.sources.listing import Kind, RawEntry, file_state
from scripts.lib.sources.source import PASSWORD, Lost, time_limit

# It logs every request, and every error that it raises too.
logging.getLogger("smbprotocol").setLevel(logging.CRITICAL)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The same in the server's unit: 100 ns since 1601.
EPOCH_IN_FILETIME = 116_444_736_000_000_000
# Offset of the next entry, time of last write, size, attributes, length of the name that follows.
ENTRY = struct.Struct("<I 4x 8x 8x Q 8x Q 8x I I")
# One request pays with a credit for each 64 KiB that it reads. Larger requests are not faster.
PIECE = 1 << 20
CREDIT = 1 << 16
LISTING_BYTES = 1 << 16
SHARED = ShareAccess.FILE_SHARE_READ | ShareAccess.FILE_SHARE_WRITE | ShareAccess.FILE_SHARE_DELETE
LOOK = FilePipePrinterAccessMask.FILE_READ_ATTRIBUTES
READ = FilePipePrinterAccessMask.FILE_READ_DATA | LOOK

NOT_THERE = (smb.ObjectNameNotFound, smb.ObjectPathNotFound, smb.NoSuchFile)
# What a server says of a connection that it has given up.
GIVEN_UP = (
    NtStatus.STATUS_NETWORK_NAME_DELETED,
    NtStatus.STATUS_USER_SESSION_DELETED,
    NtStatus.STATUS_FILE_CLOSED,
)


class SmbFolder:
    """A connection to one server and share, logged in.

    Parameters
    ----------
    address : Address
        ``smb://user@host[:port]/share/path``; the password is in the environment.

    Raises
    ------
    Unreachable
        If login, share or folder are refused.
    Lost
        If the server cannot be reached.
    """

    PORT = 445

    def __init__(self, address: Address):
        self.address = address
        self.share, _, path = address.path.strip("/").partition("/")
        self.root = path.replace("/", "\\")
        self.connection = Connection(uuid.uuid4(), address.host, address.port or self.PORT)
        try:
            with losses("connection"):
                self.connection.connect(timeout=time_limit())
            self.tree = self.connect_tree(self.log_in())
            self.check()
        except Exception:
            self.close()
            raise

    def log_in(self) -> Session:
        """Log in with the password of the environment."""
        password = os.environ.get(PASSWORD, "")
        session = Session(self.connection, self.address.user, password, require_encryption=False)
        try:
            with losses("login"):
                session.connect()
        except (smb.SMBException, OSError) as error:
            if isinstance(error, Lost):
                raise
            look = f"is {PASSWORD} right?" if password else f"{PASSWORD} is not set"
            message = f"refuses the login ({reason(error)}): {look}"
            raise self.address.unreachable(message) from error
        return session

    def connect_tree(self, session: Session) -> TreeConnect:
        """Connect to the share."""
        tree = TreeConnect(session, rf"\\{self.address.host}\{self.share}")
        try:
            with losses("share"):
                tree.connect()
        except smb.BadNetworkName as error:
            message = f"has no share {self.share}: is its name right, and is it shared?"
            raise self.address.unreachable(message) from error
        except (smb.SMBException, OSError) as error:
            if isinstance(error, Lost):
                raise
            message = f"refuses the share ({reason(error)}): may {self.address.user} read it?"
            raise self.address.unreachable(message) from error
        return tree

    def check(self) -> None:
        """Raise `Unreachable` unless the folder of the nights is there and may be read."""
        try:
            self.opened(self.root, READ, CreateOptions.FILE_DIRECTORY_FILE).close()
        except FileNotFoundError as error:
            message = f"has no folder {self.root} on the share {self.share}: is its name right?"
            raise self.address.unreachable(message) from error
        except OSError as error:
            if isinstance(error, Lost):
                raise
            message = f"cannot be read ({error.strerror}): may {self.address.user} read the folder?"
            raise self.address.unreachable(message) from error

    def scan(self, night: str, folder: str) -> list[RawEntry]:
        """Return what lies in a folder of a night.

        Size and time come with the names: a question for each file would take minutes. A file
        that is still open may be listed with an earlier size; `look` returns the true one.
        """
        path = self.path(night, folder)
        with self.opened(path, READ, CreateOptions.FILE_DIRECTORY_FILE) as opened:
            return opened.entries()

    def look(self, night: str, path: str, follow: bool = True) -> RawEntry:
        """Return what a file is now; `scan` finds no links that would be followed."""
        place = self.path(night, path)
        with self.opened(place, LOOK, CreateOptions.FILE_NON_DIRECTORY_FILE) as file:
            written = nanoseconds(file.open.last_write_time)
            return RawEntry(path, Kind.FILE, file_state(file.open.end_of_file, written))

    def open(self, night: str, path: str) -> "SmbFile":
        """Return a frame opened for reading."""
        return self.opened(self.path(night, path), READ, CreateOptions.FILE_NON_DIRECTORY_FILE)

    def path(self, *parts: str) -> str:
        """Return the path in the share of a night, or of what lies below it."""
        return "\\".join(part.replace("/", "\\") for part in (self.root, *parts) if part)

    def opened(self, path: str, access: int, kind: int) -> "SmbFile":
        """Open a file or folder that is there, shared with everybody."""
        file = Open(self.tree, path)
        with losses(path):
            file.create(
                ImpersonationLevel.Impersonation,
                access,
                FileAttributes.FILE_ATTRIBUTE_NORMAL,
                SHARED,
                CreateDisposition.FILE_OPEN,
                kind,
            )
        return SmbFile(file)

    def close(self) -> None:
        """Hang up; the server closes what was open. A farewell would need its answer."""
        if self.connection.transport:
            self.connection.disconnect(close=False)


class SmbFile:
    """A file or folder that is open."""

    def __init__(self, file: Open):
        self.open = file
        self.offset = 0

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Read into a buffer; return the bytes read, 0 at the end."""
        connection, tree = self.open.connection, self.open.tree_connect
        window = connection.sequence_window
        credits = max(window["high"] - window["low"], 1)
        size = min(len(buffer), PIECE, credits * CREDIT, connection.max_read_size)
        with losses(self.open.file_name):
            message, receive = self.open.read(self.offset, size, send=False)
            request = connection.send(
                message,
                tree.session.session_id,
                tree.tree_connect_id,
                credit_request=2 * PIECE // CREDIT,
            )
            try:
                data = receive(request)
            except smb.EndOfFile:
                return 0
        buffer[: len(data)] = data
        self.offset += len(data)
        return len(data)

    def entries(self) -> list[RawEntry]:
        """Return what lies in a folder."""
        connection, tree = self.open.connection, self.open.tree_connect
        found: list[RawEntry] = []
        with losses(self.open.file_name):
            while True:
                message, _ = self.open.query_directory(
                    "*",
                    FileInformationClass.FILE_DIRECTORY_INFORMATION,
                    max_output=LISTING_BYTES,
                    send=False,
                )
                request = connection.send(message, tree.session.session_id, tree.tree_connect_id)
                response = SMB2QueryDirectoryResponse()
                try:
                    response.unpack(connection.receive(request)["data"].get_value())
                except (smb.NoMoreFiles, smb.NoSuchFile):
                    return found
                found += described(response["buffer"].get_value())

    def close(self) -> None:
        """Close the file."""
        with losses(self.open.file_name):
            self.open.close()

    def __enter__(self) -> "SmbFile":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def described(entries: bytes) -> Iterator[RawEntry]:
    """Yield entries as MS-FSCC 2.4.10 lays them out, but for the folder itself and its parent.

    The library takes 0.4 s for the entries of a large night.
    """
    offset, further = 0, True
    while further:
        further, written, size, attributes, length = ENTRY.unpack_from(entries, offset)
        name = entries[offset + ENTRY.size : offset + ENTRY.size + length]
        # With a backslash for what is no text, so that the name cannot be used.
        text = name.decode("utf-16-le", errors="backslashreplace")
        if not attributes & FileAttributes.FILE_ATTRIBUTE_DIRECTORY:
            state = file_state(size, (written - EPOCH_IN_FILETIME) // 10 * 1000)
            yield RawEntry(text, Kind.FILE, state)
        elif attributes & FileAttributes.FILE_ATTRIBUTE_REPARSE_POINT:
            yield RawEntry(text, Kind.LINKED_FOLDER)
        elif text not in (".", ".."):
            yield RawEntry(text, Kind.FOLDER)
        offset += further


def nanoseconds(time: datetime) -> int:
    """Return a time in nanoseconds since 1970; both of a file's times end at the microsecond."""
    return (time - EPOCH) // timedelta(microseconds=1) * 1000


@contextmanager
def losses(what: str) -> Iterator[None]:
    """Turn the library's errors about a file into ours, and those of a dead connection too.

    Raises
    ------
    Lost
        If the connection is gone.
    OSError
        If the server refuses something about one file. Refusals of login and share pass through.
    """
    try:
        yield
    except NOT_THERE as error:
        raise FileNotFoundError(errno.ENOENT, "not there", what) from error
    except smb.SharingViolation as error:
        raise OSError(
            errno.EBUSY, "held by another program that does not share it", what
        ) from error
    except smb.SMBResponseException as error:
        if error.status in GIVEN_UP:
            raise Lost(reason(error)) from error
        if what in ("login", "share"):
            raise
        if error.status == NtStatus.STATUS_ACCESS_DENIED:
            raise PermissionError(errno.EACCES, "permission denied", what) from error
        raise OSError(errno.EIO, reason(error), what) from error
    except (struct.error, OverflowError) as error:  # such as a date that no calendar has
        raise OSError(errno.EIO, "the server's answer cannot be read", what) from error
    except smb.SMBException as error:
        # The library refuses a login too: one as guest, or of a server that signs nothing.
        if what in ("login", "share") and not isinstance(error, smb.SMBConnectionClosed):
            raise
        raise Lost(reason(error)) from error
    except (ValueError, OSError) as error:
        raise Lost(reason(error)) from error


def reason(error: Exception) -> str:
    """Return the cause of an error in a few words, without what the library quotes."""
    if isinstance(error, smb.SMBResponseException):
        names = {value: name for name, value in vars(NtStatus).items() if name[:7] == "STATUS_"}
        return names.get(error.status, f"NT status 0x{error.status:08x}")
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
