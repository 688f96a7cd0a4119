"""The page of a night and its data: what they say, and how a browser shows them."""

import json
import re
import subprocess
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image
from pypdf import PdfReader

from scripts.lib.ledger.ledger import Ledger, ledger_path
from scripts.lib.ledger.records import Frame, Status
from scripts.lib.pages.history import update_history
from scripts.lib.pages.night_page import night_page, write_night_page
from scripts.lib.pages.pictures import look_at_raw, read_noise_note
from scripts.lib.pages.sky import cloud_spans, transparency
from scripts.lib.pages.sun import sun_times
from scripts.lib.settings.telescopes import Site
from tests.browser import WIDTHS, needs_browser, opened, violations, width_of
from tests.night import NIGHT, REPOSITORY
from tests.pages import confirmed_table, made_night, settings_of

FAILED = {
    "rule": "solve",
    "what": f"{NIGHT} S_Sp0805_0417",
    "error": "catalogue: /data/gaia.sqlite cannot be read <b>",
    "log": "/data/logs/solve.log",
    "tail": ["line 1", "line 2"],
}
SCHEMA = json.loads((REPOSITORY / "web/night.schema.json").read_text())


def written(settings, night: str = NIGHT, failed=()) -> dict:
    """Write a night's page and return its data as they are in the file."""
    with Ledger(ledger_path(settings.workdir)) as ledger:
        write_night_page(ledger, night, settings, failed)
    data = json.loads((settings.workdir / night / "night.json").read_text())
    jsonschema.validate(data, SCHEMA)
    return data


def page_of(settings, night: str = NIGHT) -> Path:
    return settings.workdir / night / "night.html"


# Data


def test_a_good_night_is_well_whatever_engineering_it_had(tmp_path):
    settings = settings_of(tmp_path)
    made_night(settings, engineering=14)
    data = written(settings)
    assert data["state"] == "ok" and data["headline"].startswith("All delivered. 89 of 89 frames")
    assert (data["counts"]["engineering"], data["counts"]["faulty"]) == (14, 0)
    assert {one["severity"] for one in data["attention"]} <= {"note"}
    assert data["undelivered"]["engineering"][0]["count"] == 14


def test_faulty_frames_are_something_to_look_at(tmp_path):
    settings = settings_of(tmp_path)
    made_night(settings, faulty=3)
    data = written(settings)
    assert data["state"] == "attention"
    assert "89 of 92 frames for ESO are delivered" in data["headline"]
    assert "3 held back: truncated." in data["headline"]
    [item] = [one for one in data["attention"] if one["severity"] == "attention"]
    assert (item["code"], item["count"]) == ("faulty", 3)


def test_a_night_whose_job_failed_says_so_first(tmp_path):
    settings = settings_of(tmp_path)
    made_night(settings, status=Status.ASSIGNED, faulty=1)
    data = written(settings, failed=[FAILED])
    assert data["state"] == "failed" and data["headline"].startswith("1 job failed.")
    codes = [one["code"] for one in data["attention"]]
    assert codes[:3] == ["job", "waiting", "faulty"]
    assert data["failed"] == [FAILED] and data["counts"]["waiting"] == 89


def test_a_night_of_which_nothing_is_known_has_a_page_too(tmp_path):
    settings = settings_of(tmp_path)
    failed = written(settings, failed=[FAILED])
    assert failed["state"] == "failed" and failed["counts"]["raw"] == 0
    assert written(settings, "20260306")["state"] == "none"


def test_frames_that_wait_make_a_night_incomplete(tmp_path):
    settings = settings_of(tmp_path)
    made_night(settings, status=Status.ASSIGNED)
    assert written(settings)["state"] == "incomplete"


def test_what_eso_answers_reaches_the_page(tmp_path):
    settings = settings_of(tmp_path)
    made_night(settings)
    assert written(settings)["eso"] is None
    confirmed_table(settings)
    data = written(settings)
    assert (data["eso"]["confirmed"], data["state"]) == (6, "ok")
    assert "delivered and confirmed" in data["headline"]
    confirmed_table(settings, status="missing")
    data = written(settings)
    assert (data["state"], data["eso"]["missing"]) == ("attention", 6)
    (settings.workdir / NIGHT / "confirmed.csv").write_text("damaged")
    assert written(settings)["eso"] is None


def test_solutions_that_are_damaged_cost_their_curves_only(tmp_path):
    settings = settings_of(tmp_path)
    made_night(settings)
    for path in (settings.workdir / NIGHT / "solved").iterdir():
        path.write_bytes(path.read_bytes()[:4000])
    data = written(settings)
    assert data["state"] == "ok" and set(data["frames"]["fwhm"]) == {None}


def test_cloud_is_what_all_stars_lose(tmp_path):
    times = list(range(0, 30000, 30))
    clear = [21.9] * len(times)
    table = {"t": times, "sequence": [0] * len(times), "zero_point": clear}
    assert cloud_spans(table) == [] and transparency(table) == {"median": 0, "worst": 0}
    cloudy = [zero - 1.0 * (9000 <= t < 12000) for t, zero in zip(times, clear, strict=True)]
    [(begin, end)] = cloud_spans(table | {"zero_point": cloudy})
    assert (begin, end) == (pytest.approx(9000, abs=90), pytest.approx(12000, abs=90))
    assert transparency(table | {"zero_point": cloudy})["worst"] == -1
    assert transparency(table | {"zero_point": [None] * len(times)}) is None


def test_pointing_is_shown_in_both_directions(tmp_path):
    settings = settings_of(tmp_path)
    made_night(settings, frames=290)
    frames = written(settings)["frames"]
    east = [value for value in frames["ra_offset"] if value is not None]
    # The fixture drifts by 3 pixels a sequence, hardly in declination.
    assert max(east) - min(east) == pytest.approx(3 * 0.309, abs=0.1)
    assert max(abs(value) for value in frames["dec_offset"] if value is not None) < 0.4


def test_times_of_the_sun_are_those_of_astropy():
    from astropy.coordinates import AltAz, EarthLocation, get_sun
    from astropy.time import Time
    from astropy.utils import iers

    place = EarthLocation(lon=-70.390278, lat=-24.615667, height=2500)
    times = sun_times(NIGHT, Site("Paranal", -70.390278, -24.615667, 2500, "ESO-PARANAL"))
    with iers.conf.set_temp("auto_download", False):
        frame = AltAz(obstime=Time(list(times.values())), location=place)
        found = get_sun(frame.obstime).transform_to(frame).alt.deg
    right = {"sunset": -0.833, "sunrise": -0.833, "dusk18": -18, "dawn18": -18}
    assert dict(zip(times, found, strict=True)) == pytest.approx(right, abs=0.25)


def test_calibrations_are_measured_and_matched_to_the_science(tmp_path):
    settings = settings_of(tmp_path)
    made_night(settings, targets=(("A", 10, 10.0), ("B", 10, 25.0)))
    calibration = written(settings)["calibration"]
    assert calibration["bias"]["level"] == pytest.approx(301, abs=1)
    assert calibration["dark"][0]["rate"] == pytest.approx(38, abs=0.3)
    assert {one["exptime"]: one["dark"] for one in calibration["serves"]} == {10: True, 25: False}
    assert all(one["bias"] and one["flat"] for one in calibration["serves"])


def test_usual_is_what_the_last_ninety_nights_had(tmp_path):
    settings = settings_of(tmp_path)
    made_night(settings)
    assert written(settings)["usual"]["fwhm"] is None
    for day in range(1, 7):
        made_night(settings, f"2026020{day}")
        written(settings, f"2026020{day}")
        update_history(settings.workdir, [])
    low, high = written(settings)["usual"]["fwhm"]
    assert 1.3 < low <= high < 1.9


def test_pixels_are_looked_at_while_they_are_here(tmp_path):
    rng, raw = np.random.default_rng(1), tmp_path / NIGHT / "raw"
    raw.mkdir(parents=True)
    pattern = rng.normal(300, 50, (80, 64))

    def frame(name: str, kind: str, level: float) -> Frame:
        pixels = (pattern + level + rng.normal(0, 6, (80, 64))).astype(int) - 32768
        (raw / name).write_bytes(bytes(2880) + pixels.astype(">i2").tobytes())
        return Frame(NIGHT, name, kind=kind, data_start=2880, naxis1=64, naxis2=80, exptime=9.0)

    science = [frame(f"s{number}", "science", 500) for number in range(9)]
    biases = [frame(f"b{number}", "bias", 0) for number in range(3)]
    grouped = {"S_a": science, "C_bias": biases, "C_dark": [frame("d", "dark", 200)]}
    (raw / "s8").write_bytes(b"cut off")
    with Ledger(":memory:") as ledger:
        look_at_raw(ledger, raw.parent, grouped)
        # The fixed pattern of the camera is in both biases.
        assert float(ledger.text(read_noise_note(NIGHT))) == pytest.approx(6, abs=0.5)
        made = sorted(path.name for path in (raw.parent / "thumbnails").iterdir())
        assert made == ["C_bias_00001.jpg", "C_dark_00000.jpg", "S_a_00000.jpg", "S_a_00004.jpg"]
        # A sequence that has got fewer frames has another middle.
        look_at_raw(ledger, raw.parent, grouped | {"S_a": science[:3]})
        names = {path.name for path in (raw.parent / "thumbnails").glob("S_*")}
        assert names == {"S_a_00000.jpg", "S_a_00001.jpg", "S_a_00002.jpg"}
    assert Image.open(raw.parent / "thumbnails/S_a_00000.jpg").size == (64, 80)


def test_a_delivered_nights_data_agree_with_its_tables(faulty_night):
    data = json.loads((faulty_night.folder / "night.json").read_text())
    jsonschema.validate(data, SCHEMA)
    rows, counts = faulty_night.frames(), data["counts"]
    held = [row["code"] for row in rows if row["status"] == "held"]
    assert counts["raw"] == len(faulty_night.truth) and counts["products"]
    assert counts["engineering"] == held.count("ENGINEERING") > 0
    assert counts["faulty"] == len(held) - held.count("ENGINEERING")
    assert counts["delivered"] == counts["good"] == sum(row["status"] == "ok" for row in rows)
    names = {name for one in data["sequences"] for name in one["products"]}
    assert names == {path.name for path in faulty_night.products()}
    assert data["state"] == "attention" and data["calibration"]["bias"]["noise"] > 0
    assert data["calibration"]["bias"]["level"] > 100
    thumbnails = list((faulty_night.folder / "thumbnails").iterdir())
    assert len(thumbnails) >= len({row["kind"] for row in rows if row["kind"]})


# The page


@pytest.fixture
def whole(tmp_path):
    """A night with everything on its page, and the nights before and after it."""
    settings = settings_of(tmp_path)
    for night in ("20260304", "20260306"):
        made_night(settings, night)
        written(settings, night)
    targets = (("</script><b>x</b>", 40, 10.0), ("TIC 46432937 b", 40, 30.0), ("x" * 60, 20, 5.0))
    made_night(settings, frames=200, targets=targets, faulty=3, engineering=14, cloudy=True)
    confirmed_table(settings)
    written(settings)
    return settings


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits_and_can_be_used_by_all(browser, whole, width, scheme):
    with opened(browser, page_of(whole), width, color_scheme=scheme) as page:
        assert width_of(page) == width
        assert page.locator("canvas").count() >= 5
        assert "drift 0." in page.locator(".tiles").inner_text()
        page.evaluate(
            "document.querySelectorAll('details').forEach((node) => { node.open = true; })"
        )
        assert violations(page) == []
        assert width_of(page) == width


@needs_browser
def test_names_of_targets_are_text_and_nothing_else(browser, whole):
    with opened(browser, page_of(whole)) as page:
        assert "</script><b>x</b>" in page.locator(".lanes").inner_text()
        assert page.locator("main b", has_text=re.compile("^x$")).count() == 0
        assert page.locator("[role=alert]").count() == 0


@needs_browser
def test_links_lead_to_the_nights_before_and_after(browser, whole):
    with opened(browser, page_of(whole)) as page:
        page.get_by_text("20260306 →").click()
        page.wait_for_url("**/20260306/night.html")
        page.get_by_text("← 20260305").click()
        page.wait_for_url(f"**/{NIGHT}/night.html")
        page.get_by_text("frames.csv").first.wait_for()


@needs_browser
def test_a_failed_nights_page_names_the_job(browser, tmp_path):
    settings = settings_of(tmp_path)
    made_night(settings, status=Status.ASSIGNED)
    written(settings, failed=[FAILED])
    with opened(browser, page_of(settings)) as page:
        page.get_by_text("last lines of its log").click()
        text = page.locator("main").inner_text()
    assert "1 job failed." in text and FAILED["error"] in text and "line 2" in text
    assert text.index("solve 20260305 S_Sp0805_0417") < text.index("Through the night")


@needs_browser
def test_damaged_data_are_never_taken_for_a_good_night(browser, whole):
    page_file = page_of(whole)
    html = page_file.read_text()
    at = html.index('"counts":')
    page_file.write_text(html[:at] + html[at + 30 :])
    with opened(browser, page_file, quiet=False) as page:
        assert "data are damaged" in page.locator("[role=alert]").inner_text()
        assert "To do" not in page.locator("main").inner_text()


@needs_browser
def test_a_change_of_scheme_redraws_the_charts(browser, whole):
    with opened(browser, page_of(whole), color_scheme="light") as page:
        picture = "document.querySelector('canvas').toDataURL()"
        before = page.evaluate(picture)
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(f"{picture} !== {json.dumps(before)}")


@needs_browser
def test_in_print_every_product_can_be_read(browser, whole, tmp_path):
    with opened(browser, page_of(whole), color_scheme="dark") as page:
        drawn = "+document.querySelector('[data-drawn]').dataset.drawn"
        before = page.evaluate(drawn)
        page.pdf(path=tmp_path / "page.pdf", format="A4")
        assert page.evaluate(drawn) > before
        assert page.evaluate("document.documentElement.classList.contains('print')") is False
    text = "".join(page.extract_text() for page in PdfReader(tmp_path / "page.pdf").pages)
    text = re.sub(r"\s", "", text)
    data = json.loads((page_of(whole).parent / "night.json").read_text())
    names = [name for one in data["sequences"] for name in one["products"]]
    assert len(names) == 6 and not [name for name in names if name not in text]


@needs_browser
def test_the_pointer_reads_values_and_a_drag_zooms_all(browser, whole):
    with opened(browser, page_of(whole)) as page:
        chart = page.locator(".u-over").first
        chart.scroll_into_view_if_needed()
        box = chart.bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
        page.wait_for_function(
            "document.querySelector('figcaption output').textContent.includes('UTC')"
        )
        scales = "plots.map(({plot}) => plot.scales.x.max - plot.scales.x.min)"
        before = page.evaluate(scales)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 50, steps=5)
        page.mouse.up()
        after = page.evaluate(scales)
        assert all(new < old for new, old in zip(after, before, strict=True))


def test_the_chart_library_is_the_published_one(tmp_path):
    folder = REPOSITORY / "web/uplot"
    version = re.search(r"uplot (\S+),", (folder / "VERSION").read_text())[1]
    command = ["npm", "pack", "--silent", f"uplot@{version}"]
    try:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=300)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        done = None
    if done is None or done.returncode:
        pytest.skip("no npm, or its registry cannot be reached")
    subprocess.run(["tar", "xzf", *tmp_path.glob("*.tgz")], cwd=tmp_path, check=True)
    for name, published in (
        ("uPlot.iife.min.js", "dist/uPlot.iife.min.js"),
        ("uPlot.min.css", "dist/uPlot.min.css"),
        ("LICENSE", "LICENSE"),
    ):
        assert (folder / name).read_bytes() == (tmp_path / "package" / published).read_bytes()


def test_a_page_is_one_small_file(tmp_path):
    settings = settings_of(tmp_path)
    made_night(settings, frames=2900)
    data = written(settings)
    assert len(page_of(settings).read_bytes()) < 220_000
    html = night_page(data, {})
    assert "http://" not in re.sub(r"https?://www\.w3\.org/\S+", "", html)
