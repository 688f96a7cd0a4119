"""What pages cost: statistics of a frame, a night of 2,900 frames, 12,000 nights.

Times until a page is ready are those of a headless Chromium.
"""

import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from scripts.lib.ledger.ledger import Ledger, ledger_path
from scripts.lib.pages import history, site
from scripts.lib.pages.night_page import write_night_page
from scripts.lib.sources.copying import Sample
from tests.browser import CHROMIUM
from tests.night import NIGHT
from tests.pages import made_night, settings_of
from tests.screenshots import publish, rows_of

FRAMES, ROUNDS = 2900, 300


def cpu(work: Callable[[], object]) -> float:
    """Return the CPU seconds of some work."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def measure(header: bytes, pixels: memoryview, times: int) -> None:
    """Take the statistics of a frame so many times."""
    for _ in range(times):
        sample = Sample(header)
        sample.add(pixels)
        sample.measures()


def main() -> None:
    """Print all figures."""
    from playwright.sync_api import sync_playwright

    header = b"NAXIS1  = %20d /".ljust(80) % 1024 + b"NAXIS2  = %20d /".ljust(80) % 1280
    pixels = memoryview(np.random.default_rng(1).bytes(2 * 1280 * 1024))
    each = cpu(lambda: measure(header, pixels, ROUNDS)) / ROUNDS
    print(f"statistics of a frame: {1000 * each:.3f} CPU ms")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        root = Path(folder)
        settings = settings_of(root)
        made_night(settings, NIGHT, frames=FRAMES, faulty=3, cloudy=True)
        with Ledger(ledger_path(settings.workdir)) as ledger:
            made = cpu(lambda: write_night_page(ledger, NIGHT, settings))
        page = settings.workdir / NIGHT / "night.html"
        print(f"night of {FRAMES} frames: {made:.2f} CPU s, {page.stat().st_size / 1000:.0f} kB")
        print(f"  ready after {ready(browser, page, 'canvas'):.0f} ms")
        built = cpu(lambda: publish(root / "all"))
        print(f"site of {4 * len(rows_of('Io'))} nights: {built:.2f} CPU s with making their rows")
        again = settings_of(root / "all", "Io", site=str(root / "all/site"))
        rows = dict(history.read_history(again.workdir))
        health = {"heartbeat": {"start": None, "success": None}, "problems": []}
        rows[max(rows)] = dict(rows[max(rows)]) | {"faulty": "7"}
        print(f"  one night's update {cpu(lambda: site.publish(again, rows, health)):.2f} CPU s")
        index = root / "all/site/index.html"
        print(f"  first view after {ready(browser, index, '[data-ready]'):.0f} ms")
        print(f"  all of it after {ready(browser, index, '[data-ready=all]'):.0f} ms")
        browser.close()
    print(f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:.0f} MB")


def ready(browser: Any, path: Path, mark: str) -> float:
    """Return after how many milliseconds a page has a mark, the best of three times."""
    times = []
    for _ in range(3):
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto(path.as_uri(), wait_until="commit")
        page.wait_for_selector(mark, state="attached")
        times.append(page.evaluate("performance.now()"))
        page.close()
    return min(times)


if __name__ == "__main__":
    main()
