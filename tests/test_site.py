"""The pages of all nights: what telescopes write, and how a browser shows it."""

import json
import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pandas
import pytest
import yaml

from scripts.commands import history as scripts_history
from scripts.lib.ledger.ledger import Ledger, ledger_path
from scripts.lib.ledger.records import Status
from scripts.lib.pages import history, site
from scripts.lib.pages.night_page import write_night_page
from scripts.lib.pages.update import Failure, publish_pages, update_pages
from tests.browser import WIDTHS, needs_browser, opened, violations, width_of
from tests.night import NIGHT, REPOSITORY
from tests.pages import made_night, settings_of

NIGHTS = ("20260303", "20260304", NIGHT)
NASTY = "</script><b>x</b>"


def health_of(hours: float = 1.0, problems=()) -> dict:
    success = datetime.now(UTC) - timedelta(hours=hours)
    heartbeat = {"start": success.isoformat(), "success": success.isoformat()}
    return {"heartbeat": heartbeat, "problems": list(problems)}


def published(root: Path, telescope: str, nights=NIGHTS, health=None, **made):
    """Make nights of a telescope and its part of the site below ``root``."""
    settings = settings_of(root, telescope, site=str(root / "site"))
    with Ledger(ledger_path(settings.workdir)) as ledger:
        for night in nights:
            made_night(settings, night, **made)
            write_night_page(ledger, night, settings)
    rows = history.update_history(settings.workdir, [])
    site.publish(settings, rows, health or health_of())
    return settings


@pytest.fixture
def two(tmp_path):
    """The site of two telescopes, one of which has a target of a nasty name."""
    published(tmp_path, "Io", faulty=2)
    published(tmp_path, "Callisto", targets=((NASTY, 10, 10.0), ("TRAPPIST-1", 5, 30.0)))
    return tmp_path / "site"


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Return bytes and inode of each file."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(p.relative_to(folder)): (p.read_bytes(), p.stat().st_ino) for p in files}


def changed(before: dict, after: dict) -> set[str]:
    return {name for name in before | after if before.get(name) != after.get(name)}


# What is written


def test_each_telescope_writes_its_own_files_only(two):
    own = {name for name in contents(two) if "Io" in name}
    names = ("night.html", "night.json")
    wanted = {f"Io/{night}/{name}" for night in NIGHTS for name in names}
    assert own == wanted | {"Io/nights.js", "Io.html", "Io.csv", "data/Io.js", "data/Io-2026.js"}
    before = contents(two)
    published(two.parent, "Callisto", targets=(("Other", 5, 1.0),))
    assert not {name for name in changed(before, contents(two)) if "Callisto" not in name}


def test_one_night_changes_its_own_files_only(two):
    settings = settings_of(two.parent, "Io", site=str(two))
    before = contents(two)
    site.publish(settings, history.update_history(settings.workdir, []), health_of())
    # Only its standing says when it was written.
    assert changed(before, contents(two)) <= {"data/Io.js"}
    with Ledger(ledger_path(settings.workdir)) as ledger:
        made_night(settings, NIGHT, faulty=5, seed=2)
        write_night_page(ledger, NIGHT, settings)
    rows = history.update_history(settings.workdir, [NIGHT])
    site.publish(settings, rows, health_of())
    assert changed(before, contents(two)) == {
        *("data/Io.js", "data/Io-2026.js", "Io.csv"),
        *(f"Io/{NIGHT}/night.html", f"Io/{NIGHT}/night.json"),
    }


def test_a_folder_that_cannot_be_written_is_said_in_a_line(tmp_path):
    (tmp_path / "site").write_text("no folder")
    settings = settings_of(tmp_path, site=str(tmp_path / "site"))
    assert publish_pages(settings, health_of()).startswith("pages of all nights not written: ")
    missing = settings_of(tmp_path, site=str(tmp_path / "unmounted/site"))
    assert "unmounted does not exist; is its disk mounted?" in publish_pages(missing, health_of())


def test_the_end_of_a_run_writes_what_no_job_could(tmp_path, capsys):
    settings = settings_of(tmp_path)
    made_night(settings, NIGHT, status=Status.ASSIGNED)
    made_night(settings, "20260304")
    failure = Failure(NIGHT, "solve", "S_x", "no catalogue", "/logs/solve.log", ["last"])
    with Ledger(ledger_path(settings.workdir)) as ledger:
        write_night_page(ledger, "20260304", settings)
        before = os.stat(settings.workdir / "20260304/night.html").st_ino
        update_pages(ledger, settings, ["20260304", NIGHT], [failure], [])
        assert os.stat(settings.workdir / "20260304/night.html").st_ino == before
        rows = history.read_history(settings.workdir)
        assert {night: row["state"] for night, row in rows.items()} == {
            "20260304": "ok",
            NIGHT: "failed",
        }
        update_pages(ledger, settings, [], [], ["20260304"])
        assert os.stat(settings.workdir / "20260304/night.html").st_ino != before
        # A page that cannot be written costs no more than itself.
        (settings.workdir / "20260305/night.json").unlink()
        (settings.workdir / "20260305/night.json").mkdir()
        update_pages(ledger, settings, [NIGHT], [failure], [])
    assert f"{NIGHT}: no page: " in capsys.readouterr().err


# History


def test_the_history_is_a_row_a_night_that_pandas_reads(tmp_path):
    settings = published(tmp_path, "Callisto", targets=(("A", 30, 10.0), ("B", 10, 60.0)))
    table = history.load_history(settings.workdir / history.NAME)
    assert list(table["night"]) == list(NIGHTS) and set(table["state"]) == {"ok"}
    assert table["fwhm"].between(1.2, 2.0).all() and table["read_noise"].between(5, 7).all()
    assert str(table["date"].iloc[-1].date()) == "2026-03-05"
    hours = history.hours_of_targets(table)
    assert set(hours["target"]) == {"A", "B"} and len(hours) == 6
    assert hours["hours"].sum() == pytest.approx(table["science_h"].sum(), abs=0.05)


def test_a_damaged_history_is_made_again_from_the_nights(tmp_path):
    settings = published(tmp_path, "Callisto")
    path = settings.workdir / history.NAME
    whole = path.read_text()
    for damaged in (whole[: len(whole) // 2], "", "night\n20260101\n"):
        path.write_text(damaged)
        history.update_history(settings.workdir, [])
        assert path.read_text() == whole


def test_a_night_whose_data_are_damaged_keeps_its_row(tmp_path):
    settings = published(tmp_path, "Callisto")
    (settings.workdir / NIGHT / "night.json").write_text('{"night": "20260305"')
    rows = history.update_history(settings.workdir, [NIGHT])
    assert rows[NIGHT]["state"] == "ok"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A Callisto with a profile and three nights."""
    settings = published(tmp_path, "Callisto", targets=(("TRAPPIST-1", 30, 10.0), ("B", 10, 60.0)))
    config = yaml.safe_load((REPOSITORY / "config/callisto.yaml").read_text())
    changes = {"workdir": str(settings.workdir), "archive": str(settings.archive)}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config | changes))
    folder = tmp_path / "snakemake/callisto"
    folder.mkdir(parents=True)
    profile = {"snakefile": f"{REPOSITORY}/Snakefile", "configfile": f"{tmp_path}/config.yaml"}
    (folder / "profile.yaml").write_text(yaml.safe_dump(profile))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return settings


def test_hours_of_a_target_are_printed_and_exported(installed, tmp_path, capsys):
    command = ["--telescope", "Callisto", "--target", "trappist", "--since", "20260304"]
    for name in ("hours.csv", "hours.parquet"):
        assert scripts_history.main([*command, "--export", str(tmp_path / name)]) == 0
        assert "0.2 h in    2 nights  TRAPPIST-1" in capsys.readouterr().out
    table = pandas.read_csv(tmp_path / "hours.csv")
    assert list(table["night"]) == [20260304, 20260305] and table["hours"].sum() > 0.1
    assert pandas.read_parquet(tmp_path / "hours.parquet")["fwhm"].equals(table["fwhm"])
    assert scripts_history.main(["--telescope", "callisto", "--target", "nothing"]) == 1
    assert scripts_history.main(["--telescope", "io"]) == 2
    assert "no profile io" in capsys.readouterr().err


def test_pages_of_earlier_versions_can_be_made_again(installed, capsys):
    for night in NIGHTS:
        (installed.workdir / night / "night.json").unlink()
    (installed.workdir / history.NAME).unlink()
    assert scripts_history.main(["--telescope", "callisto"]) == 2
    assert scripts_history.main(["--telescope", "callisto", "--rebuild"]) == 0
    assert len(history.load_history(installed.workdir / history.NAME)) == 3


# In the browser


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["index.html", "Callisto.html"])
def test_pages_fit_and_can_be_used_by_all(browser, two, name, width, scheme):
    with opened(browser, two / name, width, color_scheme=scheme) as page:
        page.wait_for_selector("[data-ready=all]")
        assert page.locator("canvas").count() >= 4
        page.locator("#find").fill("2026-03")
        assert page.locator("tbody tr").count() == (6 if name == "index.html" else 3)
        assert width_of(page) == width
        assert violations(page) == []
        page.locator("#metric").select_option("fwhm")
        assert page.locator(".legend span").count() == 7


@needs_browser
def test_targets_are_text_also_in_the_data(browser, two):
    with opened(browser, two / "index.html") as page:
        page.wait_for_selector("[data-ready=all]")
        page.locator("#find").fill("</script>")
        assert f"{NASTY}: " in page.locator("ul").inner_text()
        assert page.locator("[role=alert]").count() == 0


@needs_browser
@pytest.mark.parametrize("name", ["Io.js", "Io-2026.js"])
@pytest.mark.parametrize("content", ["", "site(", None])
def test_damaged_data_are_never_taken_for_peace(browser, two, name, content):
    path = two / "data" / name
    if content is None:
        path.unlink()
    else:
        path.write_text(path.read_text()[:40] if content else "")
    with opened(browser, two / "index.html", quiet=False) as page:
        page.wait_for_selector("[data-ready=all]")
        alerts = " ".join(page.locator("[role=alert]").all_inner_texts())
        assert f"data/{name}" in alerts
        assert "every telescope is well" not in page.locator("main").inner_text()


@needs_browser
def test_a_site_that_grew_old_is_red_by_the_browsers_clock(browser, tmp_path):
    published(tmp_path, "Io", health=health_of(hours=37))
    path = tmp_path / "site/data/Io.js"
    with opened(browser, tmp_path / "site/index.html") as page:
        assert page.locator(".box.failed .red").inner_text() == "last good run 37 h ago"
        assert page.locator("p.red").count() == 0
    text = path.read_text()
    old = f"{datetime.now(UTC) - timedelta(hours=37):%Y-%m-%dT%H:%M:%SZ}"
    at = text.index('"written":"') + len('"written":"')
    path.write_text(text[:at] + old + text[at + len(old) :])
    with opened(browser, tmp_path / "site/index.html") as page:
        assert page.locator("p.red").inner_text() == "Data written 37 h ago."


@needs_browser
def test_what_is_wrong_comes_first(browser, tmp_path):
    published(tmp_path, "Io", faulty=2)
    published(tmp_path, "Europa", health=health_of(problems=["mails wait in /x"]))
    with opened(browser, tmp_path / "site/index.html") as page:
        boxes = page.locator("h2:has-text('Needs attention') + div .box").all_inner_texts()
    assert "Europa" in boxes[0] and "mails wait in /x" in boxes[0]
    assert any("2 held back: truncated" in text for text in boxes[1:])
    assert any("no frames for" in text for text in boxes[1:])


@needs_browser
def test_arrows_and_enter_open_the_right_night(browser, two):
    with opened(browser, two / "index.html") as page:
        page.locator("[aria-label^='Nights of Callisto']").focus()
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowDown")
        assert "Callisto 2026-03-04: delivered" in page.locator("main").inner_text()
        page.keyboard.press("Enter")
        page.wait_for_url("**/Callisto/20260304/night.html")
        page.get_by_text("All nights").click()
        page.wait_for_url("**/Callisto.html")


@needs_browser
def test_a_click_opens_the_night_under_the_pointer(browser, two):
    with opened(browser, two / "Io.html") as page:
        picture = page.locator("svg.calendar")
        box = picture.bounding_box()
        x, y = page.evaluate(f"placeOf('{NIGHT}', spanOf(LATEST, '{NIGHT}'))")
        scale = box["width"] / page.evaluate("LEFT + 54 * CELL")
        picture.click(position={"x": (x + 5) * scale, "y": (y + 5) * scale})
        page.wait_for_url(f"**/Io/{NIGHT}/night.html")


@needs_browser
def test_a_change_of_scheme_redraws_trends(browser, two):
    with opened(browser, two / "index.html", color_scheme="light") as page:
        page.wait_for_selector("[data-ready=all]")
        picture = "document.querySelector('canvas').toDataURL()"
        before = page.evaluate(picture)
        page.emulate_media(color_scheme="dark")
        page.wait_for_function(f"{picture} !== {json.dumps(before)}")


def long_history(telescope: str, nights: int) -> dict[str, dict[str, str]]:
    """Return the history of many good nights, all of one target but one."""
    rows, first = {}, date(2018, 1, 1)
    for number in range(nights):
        night = f"{first + timedelta(days=number):%Y%m%d}"
        targets = {"LP 890-9" if number == 1234 and telescope == "Io" else "Sp0805+0417": 6.5}
        rows[night] = dict.fromkeys(history.COLUMNS, "") | {
            **{"night": night, "telescope": telescope, "camera": "Andor", "state": "ok"},
            **{"due": "500", "delivered": "500", "science_h": "6.5", "dark_h": "8.9"},
            **{"fwhm": f"{1.4 + number % 7 / 10:.2f}", "zero_point": "22.1", "bias": "301.5"},
            "targets": json.dumps(targets),
        }
    return rows


@needs_browser
def test_damaged_data_of_an_old_year_are_reported(browser, tmp_path, monkeypatch):
    monkeypatch.setattr(site, "publish_night", lambda *_: True)
    settings = settings_of(tmp_path, "Io", site=str(tmp_path / "site"))
    (settings.workdir / history.NAME).write_text("as a table\n")
    rows = long_history("Io", (date.today() - date(2018, 1, 1)).days)
    site.publish(settings, rows, health_of())
    well = "every telescope is well"
    with opened(browser, tmp_path / "site/index.html") as page:
        page.wait_for_selector("[data-ready=all]")
        assert well in page.locator("main").inner_text()
    (tmp_path / "site/data/Io-2018.js").write_text("")
    with opened(browser, tmp_path / "site/index.html") as page:
        page.wait_for_selector("[data-ready=all]")
        assert "data/Io-2018.js" in page.locator("[role=alert]").inner_text()
        assert well not in page.locator("main").inner_text()


@needs_browser
def test_search_finds_one_of_twelve_thousand_nights(browser, tmp_path, monkeypatch):
    monkeypatch.setattr(site, "publish_night", lambda *_: True)
    for telescope in ("Io", "Europa", "Ganymede", "Callisto"):
        settings = settings_of(tmp_path, telescope, site=str(tmp_path / "site"))
        (settings.workdir / history.NAME).write_text("as a table\n")
        site.publish(settings, long_history(telescope, 3000), health_of())
    assert len(list((tmp_path / "site/data").iterdir())) == 4 * (1 + 9)
    with opened(browser, tmp_path / "site/index.html") as page:
        page.wait_for_selector("[data-ready=all]")
        page.locator("#find").fill("lp 890")
        assert page.locator("tbody tr").count() == 1
        assert "LP 890-9: 6.5 h in 1 night" in page.locator("ul").inner_text()
        assert page.locator("tbody a").inner_text() == "2021-05-19"
        assert page.locator("*").count() < 600
