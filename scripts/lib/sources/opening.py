"""Any kind of source, opened by its address. Another kind is one more connection here."""

import functools

from scripts.lib.sources.local import open_folder
from scripts.lib.sources.source import Source, Unreachable


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
    # Here and not above: their libraries take a tenth of a second to import.
    from scripts.lib.sources.server import Server, parse_address

    parts = parse_address(address)
    if scheme == "smb":
        from scripts.lib.sources.smb import SmbFolder

        kind: type[Server] = SmbFolder
    else:
        from scripts.lib.sources.sftp import SftpFolder

        kind = SftpFolder
    hint = f"is the control PC on, its name right, and its port {parts.port or kind.PORT} open?"
    return Source(address, lambda: kind(parts), hint, kind.translate)
