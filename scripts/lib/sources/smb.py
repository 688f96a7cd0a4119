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
from contextlib import closing
from datetime import UTC, datetime, timedelta

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

from scripts.lib.files.errors import TryLater
from scripts.lib.sources.listing import Kind, RawEntry, file_state
from scripts.lib.sources.server import Server
from scripts.lib.sources.source import PASSWORD, Lost, time_limit

# It logs every request, and every error that it raises too.
logging.getLogger("smbprotocol").setLevel(logging.CRITICAL)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The same in the server's unit: 100 ns since 1601.
EPOCH_IN_FILETIME = 116_444_736_000_000_000
# Offset of the next entry, time of last write, size, attributes, length of the name that follows.
ENTRY = struct.Struct("<I 4x 8x 8x Q 8x Q 8x I I")
# One request pays with a credit for each 64 KiB that it reads.
CREDIT, CREDITS_REQUESTED = 1 << 16, 32
LISTING_BYTES = 1 << 16
SHARED = ShareAccess.FILE_SHARE_READ | ShareAccess.FILE_SHARE_WRITE | ShareAccess.FILE_SHARE_DELETE
ATTRIBUTES = FilePipePrinterAccessMask.FILE_READ_ATTRIBUTES
READ = FilePipePrinterAccessMask.FILE_READ_DATA | ATTRIBUTES
FOLDER, FILE = CreateOptions.FILE_DIRECTORY_FILE, CreateOptions.FILE_NON_DIRECTORY_FILE

NOT_THERE = (smb.ObjectNameNotFound, smb.ObjectPathNotFound, smb.NoSuchFile)
# What a server says of a connection that it has given up.
GIVEN_UP = (
    NtStatus.STATUS_NETWORK_NAME_DELETED,
    NtStatus.STATUS_USER_SESSION_DELETED,
    NtStatus.STATUS_FILE_CLOSED,
)


class SmbFolder(Server):
    """A connection to a server and share; the path of the address begins with the share."""

    PORT = 445

    def log_in(self) -> None:
        share, _, path = self.path.strip("/").partition("/")
        self.root = path.replace("/", "\\")
        self.folder = f"{self.root} on the share {share}"
        self.connection = Connection(uuid.uuid4(), self.host, self.port)
        # The limit of `Source` ends first.
        self.connection.connect(timeout=2 * time_limit())
        password = os.environ.get(PASSWORD, "")
        session = Session(self.connection, self.user, password, require_encryption=False)
        try:
            session.connect()
        except smb.SMBException as error:
            look = f"is {PASSWORD} right?" if password else f"{PASSWORD} is not set"
            raise self.refusal(error, f"refuses the login ({reason(error)}): {look}") from error
        self.tree = TreeConnect(session, rf"\\{self.host}\{share}")
        try:
            self.tree.connect()
        except smb.BadNetworkName as error:
            message = f"has no share {share}: is its name right, and is it shared?"
            raise self.unreachable(message) from error
        except smb.SMBException as error:
            message = f"refuses the share ({reason(error)}): may {self.user} read it?"
            raise self.refusal(error, message) from error

    def refusal(self, error: smb.SMBException, message: str) -> OSError:
        """Return `Unreachable`, or `Lost` if it is the connection that has failed.

        The library refuses a login too: one as guest, or of a server that signs nothing.
        """
        lost = isinstance(error, smb.SMBConnectionClosed) or is_given_up(error)
        return Lost(reason(error)) if lost else self.unreachable(message)

    def find_folder(self) -> None:
        self.opened(self.root, READ, FOLDER).close()

    def scan(self, night: str, folder: str) -> list[RawEntry]:
        # Size and time come with the names: a request for each file would take minutes. A file
        # that is still open may be listed with an earlier size; `look_up` returns the true one.
        with closing(self.opened(self.path_of(night, folder), READ, FOLDER)) as opened:
            return opened.entries()

    def look_up(self, night: str, path: str) -> RawEntry:
        with closing(self.opened(self.path_of(night, path), ATTRIBUTES, FILE)) as file:
            # Both of a file's times end at the microsecond.
            written = (file.open.last_write_time - EPOCH) // timedelta(microseconds=1) * 1000
            return RawEntry(path, Kind.FILE, file_state(file.open.end_of_file, written))

    def open_frame(self, night: str, path: str) -> "SmbFile":
        return self.opened(self.path_of(night, path), READ, FILE)

    def path_of(self, *parts: str) -> str:
        """Return the path in the share of a night, or of a name below it."""
        return "\\".join(part.replace("/", "\\") for part in (self.root, *parts) if part)

    def opened(self, path: str, access: int, kind: int) -> "SmbFile":
        """Open a file or folder that is there, shared with everybody."""
        file = Open(self.tree, path)
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
        # The server closes what was open. A farewell would need its answer.
        if self.connection.transport:
            self.connection.disconnect(close=False)

    @staticmethod
    def translate(error: Exception) -> Exception:
        if isinstance(error, TryLater | Lost):
            return error
        if isinstance(error, NOT_THERE):
            return FileNotFoundError(errno.ENOENT, "not there")
        if isinstance(error, smb.SharingViolation):
            return OSError(errno.EBUSY, "held by another program that does not share it")
        if isinstance(error, smb.SMBResponseException) and not is_given_up(error):
            if error.status == NtStatus.STATUS_ACCESS_DENIED:
                return PermissionError(errno.EACCES, "permission denied")
            return OSError(errno.EIO, reason(error))
        if isinstance(error, struct.error | OverflowError):  # such as a date that no calendar has
            return OSError(errno.EIO, "the server's answer cannot be read")
        if isinstance(error, smb.SMBException | ValueError | OSError):
            return Lost(reason(error))
        return error


class SmbFile:
    """A file or folder that is open."""

    def __init__(self, file: Open):
        self.open, self.offset = file, 0
        self.connection, tree = file.connection, file.tree_connect
        self.ids = tree.session.session_id, tree.tree_connect_id

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        window = self.connection.sequence_window
        credits = max(window["high"] - window["low"], 1)
        size = min(len(buffer), credits * CREDIT, self.connection.max_read_size)
        message, receive = self.open.read(self.offset, size, send=False)
        request = self.connection.send(message, *self.ids, credit_request=CREDITS_REQUESTED)
        try:
            data = receive(request)
        except smb.EndOfFile:
            return 0
        buffer[: len(data)] = data
        self.offset += len(data)
        return len(data)

    def entries(self) -> list[RawEntry]:
        """Return the entries of a folder."""
        found: list[RawEntry] = []
        kind = FileInformationClass.FILE_DIRECTORY_INFORMATION
        while True:
            message, _ = self.open.query_directory("*", kind, max_output=LISTING_BYTES, send=False)
            request = self.connection.send(message, *self.ids)
            response = SMB2QueryDirectoryResponse()
            try:
                response.unpack(self.connection.receive(request)["data"].get_value())
            except (smb.NoMoreFiles, smb.NoSuchFile):
                return found
            found += parse_entries(response["buffer"].get_value())

    def close(self) -> None:
        self.open.close()


def parse_entries(entries: bytes) -> Iterator[RawEntry]:
    """Yield entries as MS-FSCC 2.4.10 lays them out, but for the folder itself and its parent.

    The library takes 0.4 s for the entries of a large night.
    """
    offset, further = 0, True
    while further:
        further, written, size, attributes, length = ENTRY.unpack_from(entries, offset)
        name = entries[offset + ENTRY.size : offset + ENTRY.size + length]
        # With a backslash for what is not text, so that the name cannot be used.
        text = name.decode("utf-16-le", errors="backslashreplace")
        if not attributes & FileAttributes.FILE_ATTRIBUTE_DIRECTORY:
            state = file_state(size, (written - EPOCH_IN_FILETIME) // 10 * 1000)
            yield RawEntry(text, Kind.FILE, state)
        elif attributes & FileAttributes.FILE_ATTRIBUTE_REPARSE_POINT:
            yield RawEntry(text, Kind.LINKED_FOLDER)
        elif text not in (".", ".."):
            yield RawEntry(text, Kind.FOLDER)
        offset += further


def is_given_up(error: Exception) -> bool:
    """Return whether a server says that it has given up the connection."""
    return isinstance(error, smb.SMBResponseException) and error.status in GIVEN_UP


def reason(error: Exception) -> str:
    """Return the cause of an error in a few words, without what the library quotes."""
    if isinstance(error, smb.SMBResponseException):
        names = {value: name for name, value in vars(NtStatus).items() if name[:7] == "STATUS_"}
        return names.get(error.status, f"NT status 0x{error.status:08x}")
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
