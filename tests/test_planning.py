"""What is still to be done for a night, and that planning never raises."""

import os
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from scripts.lib.delivery.receipts import FOLDER, write_receipts
from scripts.lib.frames.judgement import judgement
from scripts.lib.ledger.faults import Fault, Reason
from scripts.lib.ledger.ledger import Ledger
from scripts.lib.ledger.records import FileState, Frame, Product, Status
from scripts.lib.ledger.snapshot import file_digest, snapshot_text, write_view
from scripts.lib.running.planning import Planner, table_sequences
from tests.night import NIGHT
from tests.records import configuration

TODAY = date(2026, 3, 6)


def planner(
    ledger: Ledger, root: Path, source: str = "", day: date = TODAY, **others: str
) -> Planner:
    """Return what plans the nights of a Callisto below a folder."""
    source = source or str(root / "source")
    settings = configuration("Callisto", source=source, workdir=str(root / "work"), **others)
    return Planner(ledger, settings, day)


@pytest.fixture
def ledger():
    """An empty ledger in memory."""
    with Ledger(":memory:") as ledger:
        yield ledger


def test_planning_never_raises_for_a_source_out_of_reach(tmp_path, ledger):
    plans = planner(ledger, tmp_path, source=str(tmp_path / "nowhere"))
    assert plans.plan_wanted(NIGHT).ingest == "the source cannot be read"
    assert plans.is_complete(NIGHT)


def test_a_single_unreadable_night_is_not_complete(tmp_path, ledger):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / NIGHT).touch()
    plans = planner(ledger, tmp_path)
    assert not plans.is_complete(NIGHT)
    assert plans.is_complete("20260306")
    assert planner(ledger, tmp_path, source="ftp://host/share").is_complete(NIGHT)


@pytest.fixture
def complete_night(tmp_path, ledger):
    """What plans the nights of a telescope with a complete night, and the night's folder."""
    path, folder = tmp_path / "source" / NIGHT / "a.fits", tmp_path / "work" / NIGHT
    for parent in (path.parent, folder):
        parent.mkdir(parents=True)
    path.write_bytes(b"x")
    plans = planner(ledger, tmp_path)
    frame = Frame(
        NIGHT,
        "a.fits",
        source=FileState(1, path.stat().st_mtime_ns),
        datasum=1,
        pixel_sum=1,
        status=Status.DELIVERED,
        kind="bias",
        date_obs=datetime(2026, 3, 6, tzinfo=UTC),
        sequence="C_bias",
        product="p.fits",
        programme="60.A-9099(A)",
    )
    product = Product("p.fits", NIGHT, "p", frame.programme, "", 2880, 1, "", "passed")
    judged = judgement(NIGHT, plans.settings, frame.programme)
    with ledger.transaction():
        ledger.record([frame])
        ledger.enter([replace(product, delivered=frame.begin)])
        ledger.set_night(NIGHT, judged=judged, reported=1)
        digest = write_view(folder / "frames.csv", snapshot_text([frame]))
        ledger.set_night(NIGHT, snapshot=digest)
    write_receipts(ledger, NIGHT, folder / FOLDER, cubes=True)
    (folder / "night.html").touch()
    ledger.set_views(NIGHT, {"night.html": file_digest(folder / "night.html")})
    return plans, folder


def test_a_table_restored_as_it_was_leaves_its_night_complete(complete_night):
    plans, folder = complete_night
    table, page = folder / "frames.csv", folder / "night.html"
    os.utime(page, (1, 1))
    assert plans.is_complete(NIGHT)
    content = table.read_text()
    table.unlink()
    assert not plans.is_complete(NIGHT)
    table.write_text(content)
    assert plans.is_complete(NIGHT)
    table.write_text(content.replace("C_bias", "C_dark"))
    assert not plans.is_complete(NIGHT)


@pytest.mark.parametrize("name", ["frames.csv", "archived/p.csv"])
@pytest.mark.parametrize("left", [0, 20, -5])
def test_planning_never_raises_for_a_damaged_table(complete_night, name, left):
    plans, folder = complete_night
    assert plans.is_complete(NIGHT) and table_sequences(folder / "frames.csv") == ["C_bias"]
    path = folder / name
    path.write_bytes(path.read_bytes()[:left])
    plan = plans.plan_wanted(NIGHT)
    assert not plan.complete and not plan.ingest and not plan.targets
    assert bool(plan.inventory) == (name == "frames.csv") and not plan.judging
    assert plan.page == (name == "archived/p.csv")
    assert table_sequences(folder / "frames.csv") == ([] if plan.inventory else ["C_bias"])
    # Nothing that is delivered depends on a table.
    assert plans.programme(NIGHT) == ("60.A-9099(A)", False)
    plans.request(NIGHT)
    assert plans.deliveries(NIGHT).targets == {"p"}


def test_frames_that_were_not_copied_are_retried_once_a_day(tmp_path, ledger):
    path = tmp_path / "source" / NIGHT / "a.fits"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")

    def plan(day: int) -> str:
        return planner(ledger, tmp_path, day=date(2026, 3, day)).plan_wanted(NIGHT).ingest

    first = plan(6)
    state = FileState(1, path.stat().st_mtime_ns)
    fault = Fault(Reason.NOT_COPIED, "input/output error")
    with ledger.transaction():
        ledger.record([Frame(NIGHT, "a.fits", source=state, status=Status.HELD, fault=fault)])
        ledger.set_night(NIGHT, retried="2026-03-06")
    assert len({first, plan(6), plan(7)}) == 3
    assert first and plan(7) and not plan(6)
    assert plan(7) == plan(7)


@pytest.mark.parametrize(
    "first, wanted",
    [
        ("", ["20260303", "20260304", "20260305"]),
        ("20260304", ["20260304", "20260305"]),
        ("20260306", []),
    ],
)
def test_nights_before_the_first_are_left_alone(tmp_path, ledger, first, wanted):
    for night in ("20260303", "20260304"):
        (tmp_path / "source" / night).mkdir(parents=True)
        (tmp_path / "source" / night / "a.fits").write_bytes(b"x")
    plans = planner(ledger, tmp_path, first_night=first)
    assert plans.wanted_nights(datetime(2026, 3, 6, 13, tzinfo=UTC)) == wanted
    assert plans.incomplete(wanted) == [night for night in wanted if night != "20260305"]
