"""The transfer log: how many products each night gave, one line a night, a file a programme.

The survey's server gets a copy with rsync over SSH. A copy that fails changes nothing of a run; the
next run tries again, and some failures in a row are reported.
"""

import os
import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from scripts.lib.delivery.retries import count_failure
from scripts.lib.files.durable import write_text
from scripts.lib.files.errors import TryLater
from scripts.lib.ledger.records import Transfer

FAILED = "transfer_log_remote.failed"  # in the working directory: failures in a row, and the last
LINE = re.compile(r"(\d{8})\s+\d+\s*", re.ASCII)
CONNECT, SILENCE, WHOLE = 20, 60, 180  # s: to connect, without a byte, for the whole copy


def transfer_log_name(programme: str, own: str) -> str:
    """Return the name of a programme's transfer log; the telescope's own has none in its name."""
    if programme == own:
        return "transfer_log.txt"
    return f"transfer_log_{re.sub(r'[^A-Za-z0-9.-]+', '_', programme).strip('_')}.txt"


def write_transfer_logs(workdir: Path, transfers: Iterable[Transfer]) -> None:
    """Write the lines of all nights that were reported, each in the place of an earlier one.

    The telescope's own log has a line of every night, whatever programmes had it.
    """
    own_log = transfer_log_name("", "")
    counts: dict[str, dict[str, int]] = {own_log: {}}
    for transfer in transfers:
        counts[own_log].setdefault(transfer.night, 0)
        if transfer.products:
            name = transfer_log_name(transfer.programme, transfer.own)
            counts.setdefault(name, {})[transfer.night] = transfer.products
    for name, lines in counts.items():
        if lines:
            log_transfers(workdir / name, lines)


def log_transfers(path: Path, counts: Mapping[str, int]) -> None:
    """Write the lines of nights; lines of another form, or of other nights, stay as they are."""
    text = path.read_text("utf-8", "surrogateescape") if path.exists() else ""
    before = text.splitlines()
    lines = [line for line in before if night_of(line) not in counts]
    for night, count in sorted(counts.items()):
        later = (number for number, line in enumerate(lines) if night_of(line) > night)
        lines.insert(next(later, len(lines)), f"{night} {count}")
    if lines != before or not text.endswith("\n"):
        write_text(path, "".join(f"{line}\n" for line in lines))


def night_of(line: str) -> str:
    """Return the night of a line of the transfer log; nothing for a line of another form."""
    match = LINE.fullmatch(line)
    return match[1] if match else ""


def copy_logs(workdir: Path, remote: str, environ: Mapping[str, str] = os.environ) -> None:
    """Copy all transfer logs to ``remote``, ``ssh://user@host[:port]/folder``.

    The key is that of SPECULOOS_SSH_KEY, or the user's; the server's host key must be in
    SPECULOOS_KNOWN_HOSTS, or in ``~/.ssh/known_hosts``. Raises `TryLater` if a log did not arrive.
    """
    logs = sorted(str(path) for path in workdir.glob("transfer_log*.txt"))
    if not logs:
        return
    target, port = rsync_target(remote)
    # It never asks, and never trusts an unknown server.
    ssh = ["ssh", "-oBatchMode=yes", "-oStrictHostKeyChecking=yes", f"-oConnectTimeout={CONNECT}"]
    ssh += ["-oServerAliveInterval=15", "-oServerAliveCountMax=3"]
    if known := environ.get("SPECULOOS_KNOWN_HOSTS"):
        ssh += [f"-oUserKnownHostsFile={known}"]
    if key := environ.get("SPECULOOS_SSH_KEY"):
        ssh += ["-i", key, "-oIdentitiesOnly=yes"]
    if port:
        ssh += ["-p", str(port)]
    words = ["rsync", "-t", f"--timeout={SILENCE}", "-e", shlex.join(ssh), *logs, target]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=WHOLE)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TryLater(f"transfer log not copied to {remote}: {error}") from error
    if done.returncode:
        cause, *_ = *done.stderr.strip().splitlines(), f"rsync ended with {done.returncode}"
        raise TryLater(f"transfer log not copied to {remote}: {cause}")


def rsync_target(remote: str) -> tuple[str, int | None]:
    """Return a folder of a server as rsync expects it, and the port if it is not the usual."""
    try:
        place = urlsplit(remote)
        host, port = place.hostname or "", place.port
    except ValueError:
        raise TryLater(
            f"transfer_log_remote: {remote} must have the form ssh://user@host[:port]/folder"
        ) from None
    host = f"[{host}]" if ":" in host else host
    return f"{place.username}@{host}:{unquote(place.path).rstrip('/')}/", port


def copy_or_count(
    workdir: Path, remote: str, environ: Mapping[str, str] = os.environ
) -> tuple[int, str]:
    """Copy the logs if there is a server for them; return failures in a row and the last cause."""
    if not remote:
        return 0, ""
    cause = ""
    try:
        copy_logs(workdir, remote, environ)
    except TryLater as error:
        cause = str(error)
    return count_failure(workdir / FAILED, cause), cause
