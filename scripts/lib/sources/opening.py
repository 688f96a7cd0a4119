"""Any kind of source, opened by its address. Another kind is one more connection here."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.lib.ledger.records import FileState
from scripts.lib.sources.address import parse_address
from scripts.lib.sources.local import LocalFolder
from scripts.lib.sources.source import Connection, Readable, Source, Unreachable, state_now

if TYPE_CHECKING:
    from scripts.lib.sources.sftp import SftpFolder
    from scripts.lib.sources.smb import SmbFolder


class Folder(Source):
    """A source that is a local or mounted folder.

    Parameters
    ----------
    root : str
        The folder that holds one folder per night.
    mounted : bool
        Whether the folder must be on a file system that was mounted: the empty folder that an
        unmounted share leaves looks like a source without nights. Frames are then read with a
        time limit too.
    """

    def __init__(self, root: str, mounted: bool = False):
        hint = "is the telescope's control PC on, and its share mounted?"
        self.mounted, self.local = mounted, LocalFolder(Path(root), mounted, hint)
        super().__init__(root, self.mount if mounted else lambda: self.local, hint)

    def mount(self) -> Connection:
        """Return a connection whose system calls may freeze."""
        # Here and not above: what it imports is not needed for a local disk.
        from scripts.lib.sources.mounted import MountedFolder

        return MountedFolder(self.name, self.hint)

    def open(self, night: str, name: str) -> Readable:
        """Return a frame opened for reading, unbuffered.

        A local disk does not freeze: time limits would only make small frames slower by a third.
        """
        return super().open(night, name) if self.mounted else self.local.open(night, name)

    def state(self, night: str, name: str) -> FileState:
        """Return a frame's state now."""
        if self.mounted:
            return super().state(night, name)
        return state_now(self.local, night, name)


@functools.cache
def open_source(address: str, mounted: bool = False) -> Source:
    """Return the source behind an address; the same one each time, with its connections.

    Parameters
    ----------
    address : str
        A folder, ``smb://user@host[:port]/share/path`` or ``sftp://user@host[:port]/path``.
    mounted : bool
        See `Folder`.

    Raises
    ------
    Unreachable
        If no source knows the scheme, or the address is wrong.
    """
    if "://" not in address:
        return Folder(address, mounted)
    scheme = address.partition("://")[0]
    if scheme not in ("smb", "sftp"):
        # Its address is not shown: it may hold a password.
        raise Unreachable(
            f"source {scheme}://…: {scheme}:// is not known; mount it, name the folder"
        )
    parts = parse_address(address)
    kind = connection_kind(scheme)
    port = parts.port or kind.PORT
    hint = f"is the control PC on, its name right, and its port {port} open?"
    return Source(address, lambda: kind(parts), hint)


def connection_kind(scheme: str) -> "type[SmbFolder] | type[SftpFolder]":
    """Return the class of the connections to a kind of server."""
    # Here and not above: their libraries take a tenth of a second to import.
    if scheme == "smb":
        from scripts.lib.sources.smb import SmbFolder

        return SmbFolder
    from scripts.lib.sources.sftp import SftpFolder

    return SftpFolder
