"""Pages as a real browser shows them."""

import re
import shutil
import subprocess
from html import escape
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(not CHROMIUM, reason="not installed: chromium")
# A frame, because a window of the browser cannot be as narrow as a telephone.
FRAME = """<!doctype html><body style="margin:0">
<iframe style="border:0;width:{width}px;height:{height}px"
 srcdoc="{page}" onload="const r=this.contentDocument.documentElement;
 document.title='width '+r.scrollWidth+' height '+r.scrollHeight"></iframe>"""


def shown(html: str, width: int, folder: Path) -> int:
    """Return how many pixels wide a page is in a window; leave a picture of it in a folder."""
    dom = browse(folder, html, width, "--dump-dom", "--virtual-time-budget=2000")
    found, height = map(int, re.search(r"<title>width (\d+) height (\d+)", dom).groups())
    picture = folder / f"page{width}.png"
    size = f"--window-size={max(width, 500)},{height}"
    browse(folder, html, width, f"--screenshot={picture}", size, height=height)
    assert picture.stat().st_size > 10_000
    return found


def browse(folder: Path, html: str, width: int, *options: str, height: int = 800) -> str:
    """Show a page in a frame of the given width and return what Chromium prints."""
    page = folder / f"frame{width}.html"
    page.write_text(FRAME.format(width=width, height=height, page=escape(html)))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--user-data-dir={folder}/chromium", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=40).stdout
