"""The night's charts: each good frame is drawn where and when it was."""

import re

import pytest

from scripts.lib.solving.table import Solved
from scripts.lib.telling.charts import draw, limits, value_ticks
from scripts.lib.telling.summary import summarise
from scripts.night import page
from tests.browser import needs_browser, shown
from tests.night import REPOSITORY


def row(target: str, moment: str, exptime: float = 10, status: str = "ok") -> dict:
    file = f"{target}_{moment}.fits"
    date_obs = f"2026-03-{moment}.000"
    return {
        "file": file,
        "object": target,
        "date_obs": date_obs,
        "exptime": str(exptime),
        "status": status,
    }


def solution(frame: dict, fwhm: float) -> Solved:
    return Solved(frame["file"], True, fwhm=fwhm, background=800.0, matched=40, offset=3.0)


def test_a_night_without_good_frames_has_no_charts():
    assert draw([row("BIAS", "05T21:30:00", 0, status="held")], []) is None


def test_exposures_are_one_bar_until_there_is_a_gap():
    frames = [row("A", f"06T01:{minute:02d}:00", 55) for minute in (0, 1, 2, 30)]
    charts = draw(frames, [])
    assert [tick.label for tick in charts.hours] == ["01", "02"]
    [line] = charts.exposures
    bars = re.findall(r"M([\d.]+) 50H([\d.]+)", line.path)
    seconds = [[round(float(x) * 36) for x in bar] for bar in bars]
    assert seconds == [[0, 175], [1800, 1855]]


def test_dots_lie_where_their_values_do_and_unsolved_frames_are_marked():
    frames = [row("A", f"06T00:{minute:02d}:00") for minute in (0, 15, 30, 45)]
    widths = (1.0, 2.0, 3.0)
    solved = [solution(frame, width) for frame, width in zip(frames[:3], widths, strict=True)]
    charts = draw(frames, [*solved, Solved(frames[3]["file"], False, reason="clouds")])
    width = charts.curves[0]
    dots = [tuple(map(float, xy)) for xy in re.findall(r"M(\S+) (\S+?)h0", width.lines[0].path)]
    assert [x for x, _ in dots] == [0, 25, 50]
    at = {float(tick.label): tick.at for tick in width.ticks}
    assert [y for _, y in dots] == pytest.approx([at[width] for width in widths], abs=0.06)
    assert charts.unsolved == "M75.00 100.0h0"


def test_a_target_keeps_its_colour_in_all_charts():
    frames = [row("BIAS", "05T21:30:00", 0), row("A", "06T00:00:00"), row("B", "06T05:00:00")]
    charts = draw(frames, [solution(frame, 1.5) for frame in frames[1:]])
    colours = {line.target: line.colour for line in charts.exposures}
    assert colours == {"BIAS": 0, "A": 1, "B": 2}
    assert len(charts.curves) == 4
    for curve in charts.curves:
        assert {line.target: line.colour for line in curve.lines} == {"A": 1, "B": 2}


@pytest.mark.parametrize(
    "values", [[5.0], [0.0], [-3.0, -3.0], [1e-6, 2e-6], [1.0, float("nan")], [], [7e4, 1.0]]
)
def test_every_axis_has_round_ticks_within_it(values):
    low, high = limits(values)
    assert low < high
    ticks = value_ticks(low, high)
    assert 2 <= len(ticks) <= 8 and all(0 <= tick.at <= 100 for tick in ticks)
    assert len({tick.label for tick in ticks}) == len(ticks)


def test_a_few_outliers_do_not_flatten_a_night():
    assert limits([1.0 + n / 1000 for n in range(1000)] + [60000.0, -5.0])[1] < 3


@needs_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_fits_its_window(tmp_path, width):
    frames = [
        row(f"target {n}", f"06T{n:02d}:{minute:02d}:00") for n in range(9) for minute in (0, 9)
    ]
    names = {"kind": "science", "sequence": "S_" + "x" * 50, "product": "SPECU4." + "x" * 60}
    rows = [frame | names | {"reason": ""} for frame in frames]
    rows += [row("y" * 80, "06T00:00:30", status="held") | names | {"reason": "truncated: " * 20}]
    solved = {names["sequence"]: [solution(frame, 1.5) for frame in frames]}
    receipts = [frame | {"verdict": "passed; " + "z" * 90} for frame in rows[:-1]]
    facts = summarise("Callisto", "20260305", rows, receipts, solved)
    html = page(
        facts, draw(rows, solved[names["sequence"]]), "x", REPOSITORY / "templates/night.html"
    )
    assert html.count("h0") == 4 * len(frames) and shown(html, width, tmp_path) == width
