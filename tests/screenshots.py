"""The pictures of the pages that the documents show: ``make screenshots``.

The nights are invented: what the ledger would know of them, and thumbnails of simulated frames.
"""

import io
import json
import math
import random
import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from PIL import Image

from scripts.lib.files.tables import table_text
from scripts.lib.ledger.ledger import Ledger, ledger_path
from scripts.lib.ledger.snapshot import sequences
from scripts.lib.pages import history, pictures, site
from scripts.lib.pages.night_page import write_night_page
from scripts.simulator.night import Sky, plan_night, read_camera
from tests.browser import CHROMIUM, opened
from tests.night import NIGHT, REPOSITORY
from tests.pages import TARGETS, confirmed_table, made_night, settings_of

TARGET = REPOSITORY / "docs/pages"
LAST = date.today() - timedelta(days=1)
COLOURS = 96
# As many hours in fewer frames.
LONGER = tuple((target, count, 90.0) for target, count, _ in TARGETS)
STATES = {"attention": 0.03, "failed": 0.005, "incomplete": 0.005, "none": 0.02}


def rows_of(telescope: str, years: int = 8) -> dict[str, dict[str, str]]:
    """Return the history of a telescope: seasons, dust on the mirror, a change of the camera."""
    rng, rows = random.Random(telescope), {}
    for number in range(365 * years):
        day = LAST - timedelta(days=number)
        season = 2 * math.pi * day.timetuple().tm_yday / 365
        [state] = rng.choices([*STATES, "ok"], [*STATES.values(), 1 - sum(STATES.values())])
        if not number:
            state = "ok"
        spirit = telescope == "Callisto" and day.year >= 2022
        due = rng.randint(1800, 3000) if spirit else rng.randint(400, 700)
        target = rng.choice(["Sp0805+0417", "TIC 46432937 b", "TRAPPIST-1", "LP 890-9"])
        hours = max(0.5, 6.3 + 1.4 * math.cos(season) - abs(rng.gauss(0, 0.8)))
        known = {
            "camera": "SPIRIT" if spirit else "Andor iKon-L",
            "state": state,
            "due": due,
            "delivered": due - 3 * (state == "attention") - due * (state == "failed") // 2,
            "faulty": 3 * (state == "attention"),
            "bytes": due * 2_600_000,
            "science_h": round(hours, 2),
            "dark_h": round(8.9 + 1.6 * math.cos(season), 1),
            "fwhm": round(1.35 + 0.15 * math.sin(season) + abs(rng.gauss(0, 0.25)), 2),
            "zero_point": round(22.4 - 0.12 * (number % 300) / 300 + rng.gauss(0, 0.03), 2),
            "sky": round(abs(rng.gauss(130, 30)), 1),
            "bias": round(300 + 4 * math.sin(season) + 12 * spirit + rng.gauss(0, 0.4), 1),
            "read_noise": round(6.3 + 0.1 * math.sin(season) + rng.gauss(0, 0.05), 2),
            "headline": "Delivered, look at one thing. 3 held back: truncated.",
            "targets": json.dumps({target: round(hours, 2)}),
        }
        if state == "none":
            known = {"camera": known["camera"], "state": state, "headline": "No frames this night."}
        night = f"{day:%Y%m%d}"
        blank = dict.fromkeys(history.COLUMNS, "") | {"night": night, "telescope": telescope}
        rows[night] = blank | {name: str(value) for name, value in known.items()}
    return rows


def publish(root: Path) -> Path:
    """Write the site of four telescopes and return its first page."""
    now = datetime.now(UTC)
    site.publish_night = lambda *_: True  # their pages are not opened
    for telescope in ("Io", "Europa", "Ganymede", "Callisto"):
        settings, rows = settings_of(root, telescope, site=str(root / "site")), rows_of(telescope)
        table = table_text(history.COLUMNS, (rows[night] for night in sorted(rows)))
        (settings.workdir / history.NAME).write_text(table)
        silent = telescope == "Ganymede"
        success = (now - timedelta(hours=49 if silent else 1.3)).isoformat()
        problems = ["no run has succeeded for 49 h"] if silent else []
        heartbeat = {"start": success, "success": success}
        site.publish(settings, rows, {"heartbeat": heartbeat, "problems": problems})
    return root / "site/index.html"


def night(root: Path) -> Path:
    """Write a whole night with the nights that tell what is usual, and return its page."""
    settings = settings_of(root)
    with Ledger(ledger_path(settings.workdir)) as ledger:
        for day in range(20, 27):
            made_night(settings, f"202602{day}", frames=290, targets=LONGER, seed=day)
            write_night_page(ledger, f"202602{day}", settings)
            history.update_history(settings.workdir, [])
        made_night(settings, NIGHT, frames=2900, faulty=3, cloudy=True)
        confirmed_table(settings)
        draw_thumbnails(settings.workdir / NIGHT, sequences(ledger.frames(NIGHT)))
        write_night_page(ledger, NIGHT, settings)
    return settings.workdir / NIGHT / "night.html"


def draw_thumbnails(folder: Path, grouped: dict) -> None:
    """Draw the thumbnails of a night from simulated frames of the same kinds."""
    camera = read_camera("Callisto", None)
    shots, sky = plan_night(camera, NIGHT, 24, "none", 1), Sky(camera, 1, NIGHT)
    drawn = {}
    for shot in shots:
        if shot.kind not in drawn:
            drawn[shot.kind] = pictures.binned(sky.pixels(shot).astype(float))
    drawn["science"] = drawn["science"] - drawn["dark"]
    (folder / pictures.FOLDER).mkdir()
    for name, frame, _ in pictures.wanted(grouped):
        (folder / pictures.FOLDER / name).write_bytes(pictures.jpeg(drawn[frame.kind]))


def main() -> None:
    """Write the pictures, at both widths."""
    from playwright.sync_api import sync_playwright

    TARGET.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        options = ["--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        root = Path(folder)
        pages = {"night": night(root / "night"), "all-nights": publish(root / "all")}
        for name, path in pages.items():
            for kind, width in (("desk", 1280), ("phone", 390)):
                with opened(browser, path, width, color_scheme="light") as page:
                    page.wait_for_timeout(1500)
                    picture = Image.open(io.BytesIO(page.screenshot(full_page=True)))
                    # A palette makes them a quarter as large.
                    smaller = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
                    smaller.save(TARGET / f"{name}-{kind}.png", optimize=True)
        browser.close()


if __name__ == "__main__":
    main()
