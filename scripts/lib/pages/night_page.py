"""Write what people look at of a night: ``night.json`` and the page ``night.html``.

The page is one file with all that it needs: it can be mailed, copied, and opened from a disk.
"""

import base64
import html
import json
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from scripts.lib.files.durable import write_text
from scripts.lib.files.lock import shared_lock
from scripts.lib.ledger.ledger import Ledger
from scripts.lib.ledger.snapshot import sequences, write_view
from scripts.lib.pages.history import read_history, usual_values
from scripts.lib.pages.night_data import night_data
from scripts.lib.pages.pictures import FOLDER, look_at_raw
from scripts.lib.pages.verdict import Data
from scripts.lib.settings.records import Configuration

WEB = Path(__file__).parents[3] / "web"
PAGE, DATA = "night.html", "night.json"
MOST_PICTURES = 60


def write_night_page(
    ledger: Ledger, night: str, settings: Configuration, failed: Sequence[Data] = ()
) -> Data:
    """Write data and page of a night, and note their digests; return the data.

    Parameters
    ----------
    failed : sequence of dict
        Jobs of the night that failed; see `night_data`.
    """
    folder = settings.workdir / night
    folder.mkdir(exist_ok=True)
    look_at_raw(ledger, folder, sequences(ledger.frames(night)))
    usual = usual_values(read_history(settings.workdir), night)
    data = night_data(ledger, night, settings, usual, failed)
    texts = {DATA: json.dumps(data, separators=(",", ":")) + "\n"}
    texts[PAGE] = night_page(data, pictures(folder / FOLDER))
    digests = {name: write_view(folder / name, text) for name, text in texts.items()}
    index = Path(settings.site, f"{settings.telescope}.html").as_uri() if settings.site else ""
    with shared_lock(settings.workdir):
        pages = sorted(path.parent.name for path in settings.workdir.glob(f"{'[0-9]' * 8}/{PAGE}"))
        write_nights(settings.workdir, pages, index)
    ledger.set_views(night, digests)
    return data


def read_headline(folder: Path) -> str:
    """Return the verdict on a night from its data; empty if they cannot be read."""
    try:
        return str(json.loads((folder / DATA).read_text())["headline"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def read_failures(folder: Path, since: datetime) -> list[Data]:
    """Return the failed jobs on a night's page; none if it was not written since then."""
    try:
        text, written = (folder / DATA).read_text(), (folder / DATA).stat().st_mtime
        failed: list[Data] = json.loads(text)["failed"] if written > since.timestamp() else []
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return failed


def write_nights(folder: Path, nights: Sequence[str], index: str) -> None:
    """Write which nights below a folder have a page, and where all are, for links between them."""
    text = f"nights({json.dumps(list(nights))},{json.dumps(index)});\n"
    write_changed(folder / "nights.js", text)


def write_changed(path: Path, text: str) -> None:
    """Write a file unless it holds this already."""
    if not path.exists() or path.read_text() != text:
        write_text(path, text)


def pictures(folder: Path) -> dict[str, str]:
    """Return the thumbnails of a night as texts that a page may hold, by file name."""
    return {
        path.name: f"data:image/jpeg;base64,{base64.b64encode(path.read_bytes()).decode()}"
        for path in sorted(folder.glob("*.jpg"))[:MOST_PICTURES]
    }


def night_page(data: Data, thumbnails: dict[str, str]) -> str:
    """Return the page of a night."""
    return filled(
        "night.html",
        title=html.escape(f"{data['telescope']} {data['night']}"),
        headline=html.escape(data["headline"]),
        style=asset("uplot/uPlot.min.css") + asset("style.css"),
        script="\n".join(map(asset, ("uplot/uPlot.iife.min.js", "common.js", "night.js"))),
        data=embedded(data),
        thumbnails=embedded(thumbnails),
    )


def asset(name: str) -> str:
    """Return the text of a file of the pages' folder."""
    return (WEB / name).read_text()


def embedded(value: Any) -> str:
    """Return a value as JSON that cannot end the script it stands in, whatever names it holds."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")


def filled(template: str, **parts: str) -> str:
    """Return a page with its parts in the places of their names, ``@@name@@``."""
    return re.sub(r"@@(\w+)@@", lambda match: parts[match[1]], asset(template))
