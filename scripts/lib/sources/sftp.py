"""A folder behind an SSH server, read with SFTP.

The host's key must be in the known_hosts file: nothing is sent to a host that is not known.
Times are whole seconds, as the protocol has them.
"""

import errno
import logging
import os
import stat
from pathlib import Path

import paramiko
from paramiko import sftp
from paramiko.sftp_attr import SFTPAttributes

from scripts.lib.files.errors import TryLater
from scripts.lib.sources.listing import Kind, RawEntry, raw_entry
from scripts.lib.sources.server import Server
from scripts.lib.sources.source import PASSWORD, Lost, time_limit

# It logs the errors that it raises, with their tracebacks.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

KEY = "SPECULOOS_SOURCE_KEY"
KNOWN_HOSTS = "SPECULOOS_KNOWN_HOSTS"
# Bytes that the server may send ahead; a frame of usual size.
WINDOW = 1 << 24


class SftpFolder(Server):
    """A connection to an SSH server, with password or key of the environment."""

    PORT = 22

    def log_in(self) -> None:
        self.folder = self.path
        self.client = paramiko.SSHClient()
        known_hosts = os.environ.get(KNOWN_HOSTS) or str(Path.home() / ".ssh" / "known_hosts")
        try:
            self.client.load_host_keys(known_hosts)
        except OSError as error:
            raise self.unreachable(
                f"has no list of known hosts: {known_hosts} ({error.strerror}); see {KNOWN_HOSTS}"
            ) from error
        self.client.set_missing_host_key_policy(self)
        self.known_hosts = known_hosts
        limit = 2 * time_limit()  # that of `Source` ends first
        key = os.environ.get(KEY) or None
        password = os.environ.get(PASSWORD) or None
        look = f"is {KEY} or {PASSWORD} right?" if key or password else f"set {PASSWORD} or {KEY}"
        try:
            self.client.connect(
                self.host,
                self.port,
                self.user,
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
            raise self.unreachable(
                f"has another host key than the known one (its key is {error.key.get_name()} "
                f"{error.key.fingerprint}): another host in its place, or a new installation? "
                f"Compare with the server's, then correct {known_hosts}"
            ) from error
        except paramiko.AuthenticationException as error:
            raise self.unreachable(f"refuses the login ({error}): {look}") from error
        except (FileNotFoundError, PermissionError) as error:
            message = f"cannot be logged in to: the key {key} cannot be read ({error.strerror})"
            raise self.unreachable(message) from error
        except (paramiko.SSHException, ValueError) as error:
            # Without anything to log in with the library does not even try.
            if not (key or password) or "key" in str(error):
                raise self.unreachable(f"cannot be logged in to ({error}): {look}") from error
            raise
        self.sftp = paramiko.SFTPClient.from_transport(
            self.client.get_transport(), window_size=WINDOW
        )

    def missing_host_key(
        self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey
    ) -> None:
        """Refuse a host that is not known; paramiko asks this of its policy."""
        raise self.unreachable(
            f"is a host that is not known (its key is {key.get_name()} {key.fingerprint}): "
            f"compare with the server's, then add it to {self.known_hosts}"
        )

    def find_folder(self) -> None:
        if not stat.S_ISDIR(self.sftp.stat(self.path_of()).st_mode or 0):
            raise FileNotFoundError(errno.ENOTDIR, "not a folder")

    def scan(self, night: str, folder: str) -> list[RawEntry]:
        # The library's own function lists no folder with a name that is not UTF-8.
        request, found = self.sftp._request, []
        kind, answer = request(sftp.CMD_OPENDIR, self.path_of(night, folder))
        if kind != sftp.CMD_HANDLE:
            raise paramiko.SFTPError("no handle for a folder")
        handle = answer.get_binary()
        try:
            while True:
                kind, answer = request(sftp.CMD_READDIR, handle)
                if kind != sftp.CMD_NAME:
                    raise paramiko.SFTPError("no names in a folder")
                for _ in range(answer.get_int()):
                    name, _ = answer.get_string(), answer.get_string()
                    text = name.decode(errors="surrogateescape")
                    raw = described(text, SFTPAttributes._from_msg(answer))
                    # The folder itself and the one that it is in are listed too.
                    if not (raw.kind is Kind.FOLDER and text in (".", "..")):
                        found.append(raw)
        except EOFError:  # the end of the folder
            return found
        finally:
            request(sftp.CMD_CLOSE, handle)

    def look_up(self, night: str, path: str) -> RawEntry:
        return described(path, self.sftp.stat(self.path_of(night, path)))

    def open_frame(self, night: str, path: str) -> paramiko.SFTPFile:
        file = self.sftp.open(self.path_of(night, path))
        # One request after the other would wait for the network 80 times in each frame.
        file.prefetch(file.stat().st_size)
        return file

    def path_of(self, *parts: str) -> bytes:
        """Return the server's path of a night, or of a name below it."""
        path = "/".join((self.path.rstrip("/"), *filter(None, parts)))
        return (path or "/").encode(errors="surrogateescape")

    def close(self) -> None:
        self.client.close()

    @staticmethod
    def translate(error: Exception) -> Exception:
        if isinstance(error, TryLater | Lost | FileNotFoundError | PermissionError):
            return error
        if isinstance(error, EOFError):
            return OSError(errno.EIO, "shorter than the server had said")
        if isinstance(error, UnicodeDecodeError):
            return OSError(errno.EILSEQ, "an answer that is not UTF-8")
        if isinstance(error, paramiko.SFTPError):
            return OSError(errno.EIO, str(error))
        # paramiko raises OSError for a server's plain "Failure", and for a closed socket.
        if type(error) is OSError and error.errno is None and "closed" not in str(error).lower():
            return OSError(errno.EIO, str(error))
        if isinstance(error, paramiko.SSHException | OSError):
            errors = getattr(error, "errors", None)  # one for each address of the host
            cause = next(iter(errors.values())) if errors else error
            text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
            return Lost(text)
        return error


def described(name: str, attributes: SFTPAttributes) -> RawEntry:
    """Return what SFTP's attributes say of an entry; a server may leave any of them out."""
    size, seconds = attributes.st_size or 0, attributes.st_mtime or 0
    return raw_entry(name, attributes.st_mode or 0, size, seconds * 1_000_000_000)
