"""A folder behind an SSH server, read with SFTP.

The host's key must be in the known_hosts file: nothing is sent to a host that is not known.
Times are whole seconds, as the protocol has them.
"""

import errno
import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import paramiko
from paramiko import sftp
from paramiko.sftp_attr import SFTPAttributes

from scripts.lib.sources.address import Address
from scripts.lib.sources.listing import Kind, RawEntry, raw_entry
from scripts.lib.sources.source import PASSWORD, Lost, SourceError, time_limit

# It logs the errors that it raises, with their tracebacks.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

KEY = "SPECULOOS_SOURCE_KEY"
KNOWN_HOSTS = "SPECULOOS_KNOWN_HOSTS"
# Bytes that the server may send ahead; a frame of usual size.
WINDOW = 1 << 24
# What a server lists of the folder itself and of the one that it is in.
ITSELF = (".", "..")


class Client(paramiko.SFTPClient):
    """A client that takes names which are not UTF-8: the library lists no folder with one."""

    def entries(self, folder: bytes) -> Iterator[tuple[str, SFTPAttributes]]:
        """Yield the names in a folder, and the attributes that come with them."""
        kind, answer = self._request(sftp.CMD_OPENDIR, folder)
        if kind != sftp.CMD_HANDLE:
            raise paramiko.SFTPError("no handle for a folder")
        handle = answer.get_binary()
        try:
            while True:
                kind, answer = self._request(sftp.CMD_READDIR, handle)
                if kind != sftp.CMD_NAME:
                    raise paramiko.SFTPError("no names in a folder")
                for _ in range(answer.get_int()):
                    name, _ = answer.get_string(), answer.get_string()
                    yield name.decode(errors="surrogateescape"), SFTPAttributes._from_msg(answer)
        except EOFError:  # the end of the folder
            pass
        finally:
            self._request(sftp.CMD_CLOSE, handle)


class SftpFolder:
    """A connection to one server, logged in.

    Parameters
    ----------
    address : Address
        ``sftp://user@host[:port]/path``; password or key are in the environment.

    Raises
    ------
    Unreachable
        If the host is not the one that is known, or login or folder are refused.
    Lost
        If the server cannot be reached.
    """

    PORT = 22

    def __init__(self, address: Address):
        self.address = address
        self.client = paramiko.SSHClient()
        try:
            self.load_known_hosts()
            with losses(address.path):
                self.log_in()
                transport = self.client.get_transport()
                self.sftp = Client.from_transport(transport, window_size=WINDOW)
            self.check()
        except Exception:
            self.close()
            raise

    def load_known_hosts(self) -> None:
        """Read the keys of known hosts; refuse all others."""
        path = os.environ.get(KNOWN_HOSTS) or str(Path.home() / ".ssh" / "known_hosts")
        try:
            self.client.load_host_keys(path)
        except OSError as error:
            message = f"has no list of known hosts: {path} ({error.strerror}); see {KNOWN_HOSTS}"
            raise self.address.unreachable(message) from error
        self.client.set_missing_host_key_policy(self)
        self.known_hosts = path

    def missing_host_key(
        self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
    ) -> None:
        """Refuse a host that is not known; paramiko asks this of its policy."""
        raise self.address.unreachable(
            f"is a host that is not known (its key is {key.get_name()} {key.fingerprint}): "
            f"compare with the server's, then add it to {self.known_hosts}"
        )

    def log_in(self) -> None:
        """Connect, compare the host's key, log in with key or password."""
        limit = time_limit()
        key = os.environ.get(KEY) or None
        password = os.environ.get(PASSWORD) or None
        look = f"is {KEY} or {PASSWORD} right?" if key or password else f"set {PASSWORD} or {KEY}"
        try:
            self.client.connect(
                self.address.host,
                self.address.port or self.PORT,
                self.address.user,
                # With a key the password is the key's.
                password=None if key else password,
                passphrase=password if key else None,
                key_filename=key,
                allow_agent=False,
                look_for_keys=False,
                timeout=limit,
                banner_timeout=limit,
                auth_timeout=limit,
            )
        except paramiko.BadHostKeyException as error:
            raise self.address.unreachable(
                f"has another host key than the known one (its key is {error.key.get_name()} "
                f"{error.key.fingerprint}): another host in its place, or a new installation? "
                f"Compare with the server's, then correct {self.known_hosts}"
            ) from error
        except paramiko.AuthenticationException as error:
            raise self.address.unreachable(f"refuses the login ({error}): {look}") from error
        except (FileNotFoundError, PermissionError) as error:
            message = f"cannot be logged in to: the key {key} cannot be read ({error.strerror})"
            raise self.address.unreachable(message) from error
        except (paramiko.SSHException, ValueError) as error:
            # Without anything to log in with the library does not even try.
            if not (key or password) or "key" in str(error):
                message = f"cannot be logged in to ({error}): {look}"
                raise self.address.unreachable(message) from error
            raise

    def check(self) -> None:
        """Raise `Unreachable` unless the folder of the nights is there and may be read."""
        try:
            with losses(self.address.path):
                if not stat.S_ISDIR(self.sftp.stat(self.path()).st_mode or 0):
                    raise FileNotFoundError(errno.ENOTDIR, "no folder")
        except FileNotFoundError as error:
            message = f"has no folder {self.address.path}: is its name right, and its disk mounted?"
            raise self.address.unreachable(message) from error
        except OSError as error:
            if isinstance(error, Lost):
                raise
            message = f"cannot be read ({error.strerror}): may {self.address.user} read it?"
            raise self.address.unreachable(message) from error

    def scan(self, night: str, folder: str) -> list[RawEntry]:
        """Return what lies in a folder of a night; size and time come with the names."""
        path = self.path(night, folder)
        with losses(text(path)):
            return [
                raw
                for name, attributes in self.sftp.entries(path)
                if not ((raw := described(name, attributes)).kind is Kind.FOLDER and name in ITSELF)
            ]

    def look(self, night: str, path: str, follow: bool = True) -> RawEntry:
        """Return what an entry is now, or what a link leads to."""
        place = self.path(night, path)
        with losses(text(place)):
            return described(path, self.sftp.stat(place) if follow else self.sftp.lstat(place))

    def open(self, night: str, path: str) -> "SftpFile":
        """Return a frame opened for reading."""
        place = self.path(night, path)
        with losses(text(place)):
            file = self.sftp.open(place)
            # One request after the other would wait for the network 80 times in each frame.
            file.prefetch(file.stat().st_size)
        return SftpFile(file, text(place))

    def path(self, *parts: str) -> bytes:
        """Return the server's path of a night, or of what lies below it."""
        path = "/".join((self.address.path.rstrip("/"), *filter(None, parts)))
        return (path or "/").encode(errors="surrogateescape")

    def close(self) -> None:
        """Hang up."""
        self.client.close()


class SftpFile:
    """A file that is open."""

    def __init__(self, file: paramiko.SFTPFile, path: str):
        self.file, self.path = file, path

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Read into a buffer; return the bytes read, 0 at the end."""
        with losses(self.path):
            return self.file.readinto(buffer)

    def close(self) -> None:
        """Close the file."""
        self.file.close()


def described(name: str, attributes: SFTPAttributes) -> RawEntry:
    """Return what SFTP's attributes say of an entry; a server may leave any of them out."""
    size, seconds = attributes.st_size or 0, attributes.st_mtime or 0
    return raw_entry(name, attributes.st_mode or 0, size, seconds * 1_000_000_000)


def text(path: bytes) -> str:
    """Return a path for messages."""
    return path.decode(errors="surrogateescape")


@contextmanager
def losses(what: str) -> Iterator[None]:
    """Turn the library's errors into ours.

    Raises
    ------
    Lost
        If the connection is gone.
    OSError
        If the server refuses something about one file.
    """
    try:
        yield
    except SourceError:
        raise
    except (FileNotFoundError, PermissionError) as error:
        raise type(error)(error.errno, error.strerror or str(error), what) from error
    except EOFError as error:
        raise OSError(errno.EIO, "shorter than the server had said", what) from error
    except UnicodeDecodeError as error:
        raise OSError(errno.EILSEQ, "an answer that is not UTF-8", what) from error
    except paramiko.SFTPError as error:
        raise OSError(errno.EIO, str(error), what) from error
    except (paramiko.SSHException, OSError) as error:
        if type(error) is OSError and error.errno is None and not connection_lost(error):
            raise OSError(errno.EIO, str(error), what) from error
        raise Lost(reason(error)) from error


def connection_lost(error: OSError) -> bool:
    """Tell a closed socket from a server's plain "Failure": paramiko has OSError for both."""
    return "closed" in str(error).lower()


def reason(error: Exception) -> str:
    """Return the cause of an error in a few words."""
    errors = getattr(error, "errors", None)
    if errors:  # one for each address of the host
        error = next(iter(errors.values()))
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
