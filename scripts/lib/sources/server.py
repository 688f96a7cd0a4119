"""What sources behind a server share: address, login and the folder of the nights."""

from abc import ABC, abstractmethod
from urllib.parse import SplitResult, unquote

from scripts.lib.files.errors import TryLater
from scripts.lib.sources.source import Connection, Lost, Unreachable


class Server(Connection, ABC):
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
    @abstractmethod
    def translate(error: Exception) -> Exception:
        """Return what `Connection` states for an error of the library, any other as it is."""

    @abstractmethod
    def log_in(self) -> None:
        """Connect and log in."""

    @abstractmethod
    def find_folder(self) -> None:
        """Raise an error unless the folder of the nights is there and may be read."""

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
