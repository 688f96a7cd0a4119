"""Bring pages up to date at the end of a run: of nights that failed or were confirmed, and all.

Nothing here changes how a run ended: what goes wrong is a line on standard error.
"""

import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scripts.lib.files.lock import shared_lock
from scripts.lib.ledger.ledger import Ledger
from scripts.lib.pages.history import read_history, update_history
from scripts.lib.pages.night_page import DATA, write_night_page
from scripts.lib.pages.site import publish
from scripts.lib.settings.records import Configuration

# Bytes: with less the pages would take what the end of the run needs to record itself.
LEAST_FREE = 4_000_000


class Failure(NamedTuple):
    """A job that failed, and the last lines of its log."""

    night: str
    rule: str
    what: str
    error: str
    log: str
    tail: list[str]


def update_pages(
    ledger: Ledger,
    settings: Configuration,
    nights: Iterable[str],
    failed: Sequence[Failure],
    asked: Iterable[str],
) -> None:
    """Write the pages that no job of the run could write, and the history.

    Parameters
    ----------
    nights, asked : iterable of str
        That the run was to bring up to date, and for which it asked ESO's archive.
    """
    if shutil.disk_usage(settings.workdir).free < LEAST_FREE:
        print("pages not written: the disk of the working directory is full", file=sys.stderr)
        return
    failures: dict[str, list[dict[str, Any]]] = {}
    for one in failed:
        content = one._asdict()
        failures.setdefault(content.pop("night"), []).append(content)
    failures.pop("", None)
    asked, touched = set(asked), {*nights, *asked, *failures}
    for night in sorted(touched):
        made = (settings.workdir / night / DATA).exists()
        if made and night not in asked and night not in failures and ledger.night(night).reported:
            continue
        try:
            write_night_page(ledger, night, settings, failures.get(night, ()))
        except Exception as error:  # The run is over, and its mail must be sent.
            print(f"{night}: no page: {type(error).__name__}: {error}", file=sys.stderr)
    try:
        with shared_lock(settings.workdir):
            update_history(settings.workdir, touched)
    except OSError as error:
        print(f"history not written: {error}", file=sys.stderr)


def publish_pages(settings: Configuration, health: Mapping[str, Any]) -> str:
    """Bring a telescope's part of the site up to date; return a line of what became of it."""
    try:
        with shared_lock(settings.workdir):
            publish(settings, read_history(settings.workdir), health)
    except OSError as error:
        return f"pages of all nights not written: {error}"
    return f"pages of all nights: {Path(settings.site, 'index.html')}"
