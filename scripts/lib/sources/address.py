"""Addresses of sources that are reached without a mount."""

from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from scripts.lib.sources.source import PASSWORD, Unreachable


class Address(NamedTuple):
    """The parts of ``scheme://user@host[:port]/path``."""

    text: str
    user: str
    host: str
    port: int | None
    path: str

    def unreachable(self, message: str) -> Unreachable:
        """Return an error that names the source."""
        return Unreachable(f"source {self.text} {message}")


def parse_address(text: str) -> Address:
    """Return the parts of an address.

    Raises
    ------
    Unreachable
        If one is missing or wrong, or if there is a password among them: that is not shown.
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
