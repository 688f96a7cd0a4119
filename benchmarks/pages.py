"""What pages cost: statistics of a frame, a night of 2,900 frames, 12,000 nights.

Times until a page is ready are those of a headless Chromium that runs already: from the start of
navigation until what was waited for is painted. They grow with the load of the machine; the CPU
seconds of the page's main thread do less.
"""

import resource
import statistics
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

FRAMES, ROUNDS, VIEWS = 2900, 300, 8
# Notes when an element is there and has been painted, which is after the next frame.
WATCH = """(mark => new MutationObserver((_, observer) => {
  if (!document.querySelector(mark)) return;
  observer.disconnect();
  requestAnimationFrame(() => setTimeout(() => { window.seen = performance.now(); }));
}).observe(document, {subtree: true, childList: true, attributes: true}))"""


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
        print(f"  ready after {ready(browser, page, 'canvas')}")
        built = cpu(lambda: publish(root / "all"))
        print(f"site of {4 * len(rows_of('Io'))} nights: {built:.2f} CPU s with making their rows")
        again = settings_of(root / "all", "Io", site=str(root / "all/site"))
        rows = dict(history.read_history(again.workdir))
        health = {"heartbeat": {"start": None, "success": None}, "problems": []}
        rows[max(rows)] = dict(rows[max(rows)]) | {"faulty": "7"}
        print(f"  one night's update {cpu(lambda: site.publish(again, rows, health)):.2f} CPU s")
        index = root / "all/site/index.html"
        print(f"  first view after {ready(browser, index, '[data-ready]')}")
        print(f"  all of it after {ready(browser, index, '[data-ready=all]')}")
        browser.close()
    print(f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:.0f} MB")


def ready(browser: Any, path: Path, mark: str) -> str:
    """Return after how many milliseconds a page shows an element, and the CPU time until idle.

    The first view is left out: the browser has not started all of its processes.
    """
    times, costs = [], []
    for _ in range(1 + VIEWS):
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.add_init_script(f"{WATCH}({mark!r})")
        session = page.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})
        page.goto(path.as_uri())
        times.append(page.wait_for_function("window.seen").json_value())
        page.wait_for_load_state("networkidle")
        metrics = session.send("Performance.getMetrics")["metrics"]
        costs += [1000 * one["value"] for one in metrics if one["name"] == "TaskDuration"]
        page.close()
    best, usual, cpu = min(times[1:]), statistics.median(times[1:]), statistics.median(costs[1:])
    return f"{best:.0f} ms at best, {usual:.0f} ms in the median; {cpu:.0f} CPU ms of the page"


if __name__ == "__main__":
    main()
