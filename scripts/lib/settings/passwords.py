"""Passwords: a telescope's file of lines KEY=value that only its owner can read, and logins.

Cron and systemd start a run with next to no environment, and no password belongs in a crontab, a
unit or the configuration. Values are handed on in the environment and shown nowhere.
"""

import base64
import html
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, quote_plus

from scripts.lib.settings.check import SITE, ConfigurationError, Unchecked, read_text
from scripts.lib.settings.records import Configuration

LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")


def password_file(config: Configuration | Unchecked) -> Path:
    """Return the path of a telescope's file of passwords, which need not exist."""
    own = SITE / f"{config.telescope}.env".lower()
    # Where it was until 0.2.
    earlier = SITE.parent / own.name
    default = earlier if earlier.exists() and not own.exists() else own
    return Path(config.passwords or default)


def read_environment(config: Configuration | Unchecked) -> dict[str, str]:
    """Return the variables of a telescope's file of passwords; none if it has no file.

    What is in the environment already wins, and what is left empty counts as absent. The
    configuration need not be valid: the mail that says so may need a login.

    Raises
    ------
    ConfigurationError
        If others can read the file, or it cannot be understood.
    """
    path = password_file(config)
    if not path.exists():
        if config.passwords:
            raise ConfigurationError(f"passwords: there is no file {path}")
        return {}
    variables = read_env_file(path)
    return {key: value for key, value in variables.items() if value and key not in os.environ}


def read_env_file(path: Path) -> dict[str, str]:
    """Return the variables of a file, or raise an error that does not show its lines."""
    lines = read_text(path).splitlines()
    if path.stat().st_mode & 0o077:
        raise ConfigurationError(
            f"{path} holds passwords and others can read it: chmod 600 {path}, "
            "and change the passwords if strangers could have read them"
        )
    variables = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        if not (match := LINE.fullmatch(line)):
            raise ConfigurationError(f"{path}, line {number} is not KEY=value")
        key, value = match.groups()
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
        variables[key] = value[1:-1] if quoted else value
    return variables


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Add variables to this process's environment for a while."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def credentials(
    environ: Mapping[str, str], user_name: str, password_name: str
) -> tuple[str, str] | None:
    """Return user and password of these variables; None if neither is set.

    One without the other is a `ConfigurationError`.
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
