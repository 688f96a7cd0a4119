"""A legacy installation: what its .credentials.csh and .env set, and its transfer logs.

The legacy scripts source ``~/.credentials.csh``, or the one beside them if there is none. What it
does not set, mail_alert.py takes from the ``.env`` beside it, as python-dotenv reads it.
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from scripts.lib.nights.dates import parse_night
from scripts.lib.settings.check import ConfigurationError

CREDENTIALS, ENVIRONMENT = ".credentials.csh", ".env"
OWN_LOG, CHILEAN_LOG = "transfer_log.txt", "transfer_log_chilean.txt"
# What a shell sets itself.
OF_THE_SHELL = ("HOME", "USER", "LOGNAME")

SETENV = re.compile(r"setenv\s+([A-Za-z_]\w*)(?:\s+(.*))?")
# The parts of a word of csh: quoted, after a backslash, bare.
PART = re.compile(
    r"'(?P<plain>[^']*)'|\"(?P<text>[^\"]*)\"|\\(?P<sign>.)|(?P<bare>[^\s'\"\\#;&|<>()]+)"
)
# A colon behind a bare name begins a modifier of csh.
CSH_VARIABLE = re.compile(r"\$(?:(\w++)(?!:)|\{(\w+)\})")

DOTENV = re.compile(
    r"(?:export\s+)?(?P<name>[A-Za-z_]\w*)\s*="
    r"(?:\s*'(?P<plain>(?:\\.|[^'\\])*)'|\s*\"(?P<text>(?:\\.|[^\"\\])*)\"|(?P<bare>(?!\s*['\"]).*?))"
    r"(?:\s+#.*)?"
)
DOTENV_VARIABLE = re.compile(r"\$\{([^}:]*)(?::-([^}]*))?\}")

FORMS = {OWN_LOG: "`YYYYMMDD COUNT`", CHILEAN_LOG: "`YYYYMMDD COUNT PROGRAMME`"}
LOG_LINE = re.compile(r"(\d{8})\s+(\d+)(?:\s+(\S+))?", re.ASCII)


class NotUnderstoodError(ValueError):
    """A line that needs a shell to be read; the message shows nothing of it."""


class Installation(NamedTuple):
    """The variables of an installation, the files that they are from, and what to say of these."""

    folder: Path
    values: dict[str, str]
    files: list[Path]
    notes: list[str]


class TransferLogs(NamedTuple):
    """Products of each night, by programme; the telescope's own programme is the empty one."""

    counts: dict[str, dict[str, int]]
    notes: list[str]


def read_installation(folder: Path) -> Installation:
    """Return the variables that the legacy scripts in a folder have.

    Raises
    ------
    ConfigurationError
        If there is no file of credentials.
    """
    home, own = Path.home() / CREDENTIALS, folder / CREDENTIALS
    credentials = home if home.is_file() else own
    if not credentials.is_file():
        raise ConfigurationError(f"{folder}: neither {own} nor {home} exists")
    files = [path for path in (credentials, folder / ENVIRONMENT) if path.is_file()]
    notes = []
    if credentials != own and own.is_file():
        notes.append(f"{home} was read, as by the legacy scripts, not {own}")
    values: dict[str, str] = {}
    for path in files:
        read = read_csh(path, notes) if path == credentials else read_dotenv(path, values, notes)
        for name in sorted(read.keys() & values.keys()):
            if read[name] != values[name]:
                notes.append(f"{name} is another one in {path}: that of {credentials} counts")
        values = read | values
        if path.stat().st_mode & 0o077:
            notes.append(f"others can read {path}: change the passwords in it")
    return Installation(folder, values, files, notes)


def lines_of(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the lines of a file that say something, each with its place."""
    text = path.read_text("utf-8-sig", "surrogateescape")
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        if line and not line.startswith("#"):
            yield f"{path}, line {number}", line


def read_csh(path: Path, notes: list[str]) -> dict[str, str]:
    """Return what a script of csh sets with setenv, and note the other lines."""
    values: dict[str, str] = {}
    for place, line in lines_of(path):
        try:
            if not (match := SETENV.fullmatch(line)):
                raise NotUnderstoodError("is not `setenv NAME value`")
            values[match[1]] = csh_word(match[2] or "", values)
        except NotUnderstoodError as why:
            notes.append(f"{place} {why}: left out")
    return values


def csh_word(text: str, values: Mapping[str, str]) -> str:
    """Return what csh makes of one word, behind which only a comment may follow."""
    word, rest = "", text
    while rest and not rest[0].isspace() and rest[0] != "#":
        if not (part := PART.match(rest)):
            raise NotUnderstoodError("has an open quote or a sign of the shell")
        if part["plain"] is not None:
            word += part["plain"].replace(r"\!", "!")
        elif part["text"] is not None:
            word += csh_expanded(part["text"], values).replace(r"\!", "!")
        elif part["sign"]:
            word += part["sign"]
        else:
            if re.search(r"[*?\[{]", CSH_VARIABLE.sub("", part["bare"])):
                raise NotUnderstoodError("has a pattern of the shell")
            bare = csh_expanded(part["bare"], values)
            word += bare if word else os.path.expanduser(bare)
        rest = rest[part.end() :]
    if rest.strip() and not rest.strip().startswith("#"):
        raise NotUnderstoodError("has more than one value")
    return word


def csh_expanded(text: str, values: Mapping[str, str]) -> str:
    """Return text with its variables replaced by what was set above."""

    def value(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        if name not in known:
            raise NotUnderstoodError(f"needs {name}, which is not set above it")
        return known[name]

    known = of_the_shell() | dict(values)
    if re.search(r"[$`]", CSH_VARIABLE.sub("", text)):
        raise NotUnderstoodError("runs a command, or has a $ that is not that of $NAME")
    return CSH_VARIABLE.sub(value, text)


def of_the_shell() -> dict[str, str]:
    """Return the variables that a shell sets itself, as this one has them."""
    return {name: os.environ[name] for name in OF_THE_SHELL if name in os.environ}


def read_dotenv(path: Path, known: Mapping[str, str], notes: list[str]) -> dict[str, str]:
    """Return what a file of lines NAME=value sets, and note the other lines."""
    values: dict[str, str] = {}
    for place, line in lines_of(path):
        match = DOTENV.fullmatch(line)
        if not match or re.search(r"\\[^\\'\"]", match["text"] or ""):
            notes.append(f"{place} is not `NAME=value`: left out")
            continue
        quoted = match["plain"] if match["text"] is None else match["text"]
        text = match["bare"].strip() if quoted is None else re.sub(r"\\([\\'\"])", r"\1", quoted)
        usable = values | of_the_shell() | dict(known)
        values[match["name"]] = DOTENV_VARIABLE.sub(
            lambda at, usable=usable: usable.get(at[1]) or at[2] or "", text
        )
    return values


def read_transfer_logs(folder: Path, own: str) -> TransferLogs:
    """Return the counts of both logs, each night once; ``own`` is the telescope's programme.

    A night was logged each time that the pipeline ran: the last line counts, but a 0 behind a
    count does not, because what was delivered before the folder was gone is at ESO.
    """
    found: dict[tuple[str, str], list[int]] = {}
    notes = []
    for path in (folder / OWN_LOG, folder / CHILEAN_LOG):
        if not path.is_file():
            continue
        count, repeated = 0, len(found)
        for place, line in lines_of(path):
            match = LOG_LINE.fullmatch(line)
            programme = match[3] or "" if match else ""
            lacking = path.name == CHILEAN_LOG and not programme
            if not match or lacking or not _is_night(match[1]):
                notes.append(f"{place} is not {FORMS[path.name]}: left out")
                continue
            key = match[1], "" if programme == own else programme
            found.setdefault(key, []).append(int(match[2]))
            count += 1
        nights = len(found) - repeated
        notes.append(f"{path}: lines taken over {count}, nights {nights}")
    counts: dict[str, dict[str, int]] = {}
    for key, logged in sorted(found.items()):
        night, programme = key
        taken = [number for number in logged if number][-1:] or [0]
        counts.setdefault(programme, {})[night] = taken[0]
        if len(set(logged)) > 1:
            said = ", ".join(map(str, logged))
            notes.append(f"{' of '.join(filter(None, key))}: {said}: {taken[0]} counts")
    return TransferLogs(counts, notes)


def _is_night(text: str) -> bool:
    try:
        parse_night(text)
    except ConfigurationError:
        return False
    return True
