"""Pages as a real browser shows them: Debian's Chromium, driven by Playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(not CHROMIUM, reason="not installed: chromium")
WIDTHS = (390, 1280)


@pytest.fixture(scope="session")
def browser():
    """A browser for all tests of a worker."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        options = ["--no-sandbox", "--disable-gpu", "--force-color-profile=srgb"]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


@contextmanager
def opened(
    browser, address: str | Path, width: int = 1280, quiet: bool = True, **options
) -> Iterator:
    """Open a page; fail if it asks another host for anything, or if the console has an error.

    Parameters
    ----------
    quiet : bool
        Whether there may be no error.
    """
    address = address.as_uri() if isinstance(address, Path) else address
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    page = context.new_page()
    errors, asked = [], []
    page.on(
        "console", lambda message: errors.append(message.text) if message.type == "error" else 0
    )
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    try:
        page.goto(address)
        page.wait_for_load_state("load")
        yield page
        foreign = [url for url in asked if not url.startswith(("file:", "data:", "about:"))]
        assert not foreign
        assert not (quiet and errors), errors
    finally:
        context.close()


def width_of(page) -> int:
    """Return how many pixels wide a page is."""
    return page.evaluate("document.documentElement.scrollWidth")


def shown(browser, html: str, width: int, folder: Path) -> int:
    """Return how many pixels wide a page is in a window; leave a picture of it in a folder."""
    path = folder / f"page{width}.html"
    path.write_text(html)
    with opened(browser, path, width) as page:
        page.screenshot(path=path.with_suffix(".png"), full_page=True)
        assert path.with_suffix(".png").stat().st_size > 10_000
        return width_of(page)


def violations(page) -> list[str]:
    """Return what axe-core finds wrong for people who use a page otherwise than by sight."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found]
