"""Any kind of source, opened by its address. Another kind is one more connection here."""

import functools
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from scripts.lib.sources.local import HINT, LocalFolder
from scripts.lib.sources.server import Server
from scripts.lib.sources.source import PASSWORD, Source, Unreachable


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


def open_folder(root: str, mounted: bool = False) -> Source:
    """Return the source that is a local folder, or one that must be ``mounted``.

    The empty folder that an unmounted share leaves looks like a source without nights. From a
    mounted folder frames are read with a time limit too.
    """
    if not mounted:
        local = LocalFolder(Path(root), mounted)
        return Source(root, lambda: local, HINT, direct=local)
    # Here and not above: what it imports is not needed for a local disk.
    from scripts.lib.sources.mounted import MountedFolder

    return Source(root, lambda: MountedFolder(root), HINT)


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
