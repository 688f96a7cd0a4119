"""What sources behind a server share: their address, and how they are checked and refused."""

from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from scripts.lib.files.errors import TryLater
from scripts.lib.sources.source import PASSWORD, Connection, Lost, Unreachable


class Address(NamedTuple):
    """The parts of ``scheme://user@host[:port]/path``."""

    text: str
    user: str
    host: str
    port: int | None
    path: str


def parse_address(text: str) -> Address:
    """Return the parts of an address.

    Raises `Unreachable` if one is wrong, or if there is a password among them: that is not shown.
    """
    scheme = text.partition("://")[0]
    try:
        parts = urlsplit(text)
        user, host, port = parts.username, parts.hostname, parts.port
    except ValueError:
        parts = urlsplit("")
        user = host = port = None
    if parts.password is not None:
        raise Unreachable(f"a {scheme}:// source has a password in its address: use {PASSWORD}")
    if not (user and host and parts.path.strip("/")) or parts.query or parts.fragment:
        # What it is instead is not shown: a password may be in it.
        form = f"{scheme}://user@host[:port]/{'share/' if scheme == 'smb' else ''}path"
        raise Unreachable(f"the address of a {scheme}:// source must have the form {form}")
    return Address(text, unquote(user), host, port, unquote(parts.path))


class Server(Connection):
    """A connection to one server, logged in; a kind of server adds what its library does.

    The password is in the environment. Raises `Unreachable` if login or folder are refused, `Lost`
    if the server cannot be reached.
    """

    PORT: int
    # What the messages call the folder of the nights.
    folder: str

    def __init__(self, address: Address):
        self.address, self.port = address, address.port or self.PORT
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
                user = self.address.user
                message = f"cannot be read ({ours.strerror}): may {user} read the folder?"
            else:
                raise
            raise self.unreachable(message) from error

    def unreachable(self, message: str) -> Unreachable:
        """Return an error that names the source."""
        return Unreachable(f"source {self.address.text} {message}")
