"""Any kind of source, opened by its address; what those behind a server share.

Another kind is one more connection here.
"""

import functools
from urllib.parse import SplitResult, unquote, urlsplit

from scripts.lib.files.errors import TryLater
from scripts.lib.sources.local import open_folder
from scripts.lib.sources.source import PASSWORD, Connection, Lost, Source, Unreachable


@functools.cache
def open_source(address: str, mounted: bool = False) -> Source:
    """Return the source behind an address; the same one each time, with its connections.

    An address is a folder (see `open_folder`), ``smb://user@host[:port]/share/path`` or
    ``sftp://user@host[:port]/path``. Raises `Unreachable` if it is wrong.
    """
    if "://" not in address:
        return open_folder(address, mounted)
    scheme = address.partition("://")[0]
    if scheme not in ("smb", "sftp"):
        # Its address is not shown: it may hold a password.
        raise Unreachable(
            f"source {scheme}://…: {scheme}:// is not known; mount it, name the folder"
        )
    parts = parse_address(address)
    # Here and not above: their libraries take a tenth of a second to import.
    if scheme == "smb":
        from scripts.lib.sources.smb import SmbFolder

        kind: type[Server] = SmbFolder
    else:
        from scripts.lib.sources.sftp import SftpFolder

        kind = SftpFolder
    hint = f"is the control PC on, its name right, and its port {parts.port or kind.PORT} open?"
    return Source(address, lambda: kind(parts), hint, kind.translate)


def parse_address(text: str) -> SplitResult:
    """Return the parts of ``scheme://user@host[:port]/path``.

    Raises `Unreachable` if one is wrong, or if there is a password among them: that is not shown.
    """
    scheme = text.partition("://")[0]
    try:
        parts = urlsplit(text)
        whole = parts.username and parts.hostname and parts.path.strip("/") and parts.port != 0
    except ValueError:
        parts, whole = urlsplit(""), False
    if parts.password is not None:
        raise Unreachable(f"a {scheme}:// source has a password in its address: use {PASSWORD}")
    if not whole or parts.query or parts.fragment:
        # What it is instead is not shown: a password may be in it.
        form = f"{scheme}://user@host[:port]/{'share/' if scheme == 'smb' else ''}path"
        raise Unreachable(f"the address of a {scheme}:// source must have the form {form}")
    return parts


class Server(Connection):
    """A connection to one server, logged in; a kind of server adds what its library does.

    The password is in the environment. Raises `Unreachable` if login or folder are refused, `Lost`
    if the server cannot be reached.
    """

    PORT: int
    # What the messages call the folder of the nights.
    folder: str

    def __init__(self, address: SplitResult):
        self.name, self.path = address.geturl(), unquote(address.path)
        self.user, self.host = unquote(address.username or ""), address.hostname
        self.port = address.port or self.PORT
        try:
            self.log_in()
            self.check()
        except Exception as error:
            self.close()
            ours = self.translate(error)
            if isinstance(ours, OSError) and not isinstance(ours, Lost | TryLater):
                message = f"cannot be logged in to ({ours.strerror or ours})"
                raise self.unreachable(message) from error
            raise

    @staticmethod
    def translate(error: Exception) -> Exception:
        """Return what `Connection` states for an error of the library, any other as it is."""
        raise NotImplementedError

    def log_in(self) -> None:
        """Connect and log in."""
        raise NotImplementedError

    def find_folder(self) -> None:
        """Raise an error unless the folder of the nights is there and may be read."""
        raise NotImplementedError

    def check(self) -> None:
        """Raise `Unreachable` unless the folder of the nights is there and may be read."""
        try:
            self.find_folder()
        except Exception as error:
            ours = self.translate(error)
            if isinstance(ours, FileNotFoundError):
                message = f"has no folder {self.folder}: is its name right, and its disk mounted?"
            elif isinstance(ours, OSError) and not isinstance(ours, Lost):
                message = f"cannot be read ({ours.strerror}): may {self.user} read the folder?"
            else:
                raise
            raise self.unreachable(message) from error

    def unreachable(self, message: str) -> Unreachable:
        """Return an error that names the source."""
        return Unreachable(f"source {self.name} {message}")
