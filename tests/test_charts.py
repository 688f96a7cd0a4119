"""The night's charts: each good frame is drawn where and when it was."""

import re
from dataclasses import replace
from datetime import datetime

import pytest

from scripts.lib.ledger.faults import Fault, Reason
from scripts.lib.ledger.ledger import Ledger
from scripts.lib.ledger.records import Frame, Product, Status
from scripts.lib.reporting.charts import draw, limits, value_ticks
from scripts.lib.reporting.summary import summarise
from scripts.lib.reporting.templates import render
from scripts.lib.solving.table import Solved, solved_bytes
from tests.browser import needs_browser, shown
from tests.night import NIGHT, REPOSITORY


def frame_of(
    target: str, when: str, exptime: float = 10, status: Status = Status.ASSIGNED
) -> Frame:
    """Return a frame of March 2026, ``DDThh:mm:ss``."""
    date_obs = datetime.fromisoformat(f"2026-03-{when}.000+00:00")
    file = f"{target}_{when}.fits"
    return Frame(NIGHT, file, status=status, object=target, exptime=exptime, date_obs=date_obs)


def solution(frame: Frame, fwhm: float) -> Solved:
    return Solved(frame.file, True, fwhm=fwhm, background=800.0, matched=40, offset=3.0)


def test_a_night_without_good_frames_has_no_charts():
    assert draw([frame_of("BIAS", "05T21:30:00", 0, Status.HELD)], []) is None


def test_exposures_are_one_bar_until_there_is_a_gap():
    frames = [frame_of("A", f"06T01:{minute:02d}:00", 55) for minute in (0, 1, 2, 30)]
    charts = draw(frames, [])
    assert [tick.label for tick in charts.hours] == ["01", "02"]
    [line] = charts.exposures
    bars = re.findall(r"M([\d.]+) 50H([\d.]+)", line.path)
    seconds = [[round(float(x) * 36) for x in bar] for bar in bars]
    assert seconds == [[0, 175], [1800, 1855]]


def test_dots_lie_at_their_values_and_unsolved_frames_are_marked():
    frames = [frame_of("A", f"06T00:{minute:02d}:00") for minute in (0, 15, 30, 45)]
    widths = (1.0, 2.0, 3.0)
    solved = [solution(frame, width) for frame, width in zip(frames[:3], widths, strict=True)]
    charts = draw(frames, [*solved, Solved(frames[3].file, False, reason="clouds")])
    width = charts.curves[0]
    dots = [tuple(map(float, xy)) for xy in re.findall(r"M(\S+) (\S+?)h0", width.lines[0].path)]
    assert [x for x, _ in dots] == [0, 25, 50]
    at = {float(tick.label): tick.at for tick in width.ticks}
    assert [y for _, y in dots] == pytest.approx([at[width] for width in widths], abs=0.06)
    assert charts.unsolved == "M75.00 100.0h0"


def test_a_target_keeps_its_colour_in_all_charts():
    frames = [
        frame_of(target, when, exptime)
        for target, when, exptime in (
            ("BIAS", "05T21:30:00", 0),
            ("A", "06T00:00:00", 10),
            ("B", "06T05:00:00", 10),
        )
    ]
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
        frame_of(f"target {n}", f"06T{n:02d}:{minute:02d}:00", status=Status.DELIVERED)
        for n in range(9)
        for minute in (0, 9)
    ]
    sequence, name = "S_" + "x" * 50, "SPECU4." + "x" * 60
    frames = [replace(f, kind="science", sequence=sequence, product=name) for f in frames]
    fault = Fault(Reason.TRUNCATED, "truncated: " * 20)
    held = Frame(NIGHT, f"{'y' * 80}.fits", status=Status.HELD, fault=fault)
    product = Product(name, NIGHT, name, "", "", 0, 0, "", "passed; " + "z" * 90)
    solved = [solution(frame, 1.5) for frame in frames]
    (tmp_path / f"{sequence}.fits").write_bytes(solved_bytes(solved))
    with Ledger(":memory:") as ledger:
        with ledger.transaction():
            ledger.record([*frames, held])
            ledger.enter([product])
        facts = summarise("Callisto", NIGHT, ledger, tmp_path)
        charts = draw(ledger.frames(NIGHT), solved)
    html = render(REPOSITORY / "templates/night.html", charts=charts, **vars(facts))
    assert html.count("h0") == 4 * len(frames) and shown(html, width, tmp_path) == width
