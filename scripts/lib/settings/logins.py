"""Logins from the environment, and text in which they must not stand."""

import base64
import html
from collections.abc import Iterable, Mapping
from urllib.parse import quote, quote_plus

from scripts.lib.settings.check import ConfigurationError


def credentials(
    environ: Mapping[str, str], user_name: str, password_name: str
) -> tuple[str, str] | None:
    """Return user and password of these variables; None if neither is set.

    Raises
    ------
    ConfigurationError
        If there is one without the other.
    """
    user, password = environ.get(user_name, ""), environ.get(password_name, "")
    if bool(user) != bool(password):
        raise ConfigurationError(f"{user_name} and {password_name}: only one of the two is set")
    return (user, password) if user else None


def redacted(text: str, secrets: Iterable[str]) -> str:
    """Return text without secrets, also as they look in addresses, XML, Python and base64.

    Servers repeat what they were sent, and errors of libraries quote it.
    """
    forms = {
        form
        for secret in secrets
        for form in (
            *(secret, quote(secret, safe=""), quote(secret), quote_plus(secret)),
            *(html.escape(secret), repr(secret)[1:-1]),
            base64.b64encode(secret.encode(errors="surrogateescape")).decode().rstrip("="),
        )
    }
    for form in sorted(filter(None, forms), key=len, reverse=True):
        text = text.replace(form, "***")
    return text
