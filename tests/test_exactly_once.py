"""Each frame is delivered once, whatever is removed, killed, late or damaged in between."""

import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from astropy.io import fits

from scripts.lib.ledger.ledger import Ledger, ledger_path
from scripts.lib.running.planning import Planner
from scripts.lib.settings.profile import read_file
from tests import night as night_module
from tests.night import NIGHT, Night
from tests.test_next_runs import NOTHING, killed_at, move_out

RENAME = "scripts.lib.delivery.publish.rename_without_replacing"
TELESCOPES = pytest.mark.parametrize("telescope", ["Callisto", "Io"])


def back(night: Night, contents: dict[str, bytes]) -> None:
    """Put frames back at the source, with an old time."""
    for name, content in contents.items():
        path = night.source / NIGHT / name
        path.write_bytes(content)
        os.utime(path, (1_772_755_200, 1_772_755_200))


def assert_all_once(night: Night, truth: list[dict]) -> None:
    """Fail unless every good frame is in exactly one product, collected or not."""
    for path in (night.root / "collected").glob("*"):
        assert not (night.archive / path.name).exists()
        shutil.copy(path, night.archive)
    night.assert_delivered_once(truth)


def first_and_last(truth: list[dict]) -> tuple[str, str]:
    """Return the first and the last frame of a sequence of several."""
    names = [row["file"] for row in truth if row["kind"] == "bias"]
    return names[0], names[-1]


@TELESCOPES
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_around_the_rename_then_collected(tmp_path, monkeypatch, telescope, when):
    """And the product's first frame is gone from the source; of Callisto one job delivers all."""
    job = "batch" if telescope == "Callisto" else "archive"
    monkeypatch.setattr(night_module, "BATCH", 150 if job == "batch" else 0)
    night = Night(tmp_path, telescope)
    truth = night.simulate()
    killed_at(night, f"{job} {when} {RENAME} .")
    night.empty_archive()
    gone = move_out(night, [first_and_last(truth)[0]])
    night.run()
    assert_all_once(night, truth)
    assert not list(night.archive.glob(".*"))
    before = night.inodes()
    back(night, gone)
    night.run()
    assert night.inodes() == before


@pytest.mark.parametrize("telescope, late", [("Callisto", 0), ("Io", 1)])
def test_a_removed_night_and_a_frame_that_is_late(tmp_path, telescope, late):
    night = Night(tmp_path, telescope)
    truth = night.simulate()
    contents = move_out(night, [first_and_last(truth)[late]])
    night.run()
    night.empty_archive()
    shutil.rmtree(night.folder)
    back(night, contents)
    night.run()
    assert len(night.delivered()) == 1
    assert_all_once(night, truth)
    assert night.transfer_log() == f"{NIGHT} {len(night.products())}\n"
    assert {row["status"] for row in night.frames()} == {"ok"}
    assert NOTHING in night.run()


def test_lost_snakemake_folder_future_tables_late_frames(callisto):
    truth = callisto.simulate()
    contents = move_out(callisto, [first_and_last(truth)[1], truth[-1]["file"]])
    callisto.run()
    shutil.rmtree(callisto.workdir / ".snakemake")
    for path in callisto.workdir.rglob("*"):
        os.utime(path, (4_070_908_800, 4_070_908_800))
    back(callisto, contents)
    callisto.run()
    callisto.assert_delivered_once(truth)


@pytest.mark.parametrize("name", ["raw/complete", "frames.csv"])
def test_files_dated_in_the_future_delay_nothing(io, name):
    truth = io.simulate()
    io.run(f"{NIGHT}/frames.csv")
    frame = next((io.folder / "raw").glob("*.f*ts"))
    before = frame.stat().st_mtime_ns
    tomorrow = time.time() + 86400
    os.utime(io.folder / name, (tomorrow, tomorrow))
    io.run(keep_raw="true")
    io.assert_delivered_once(truth)
    assert frame.stat().st_mtime_ns == before, "by its time a copy is known"


def test_a_frame_absent_between_two_jobs_comes_back(callisto):
    truth = callisto.simulate()
    victim = next(row for row in truth if row["kind"] == "science")["file"]
    callisto.run("--until", "ingest")
    (callisto.folder / "raw" / victim).unlink()
    contents = move_out(callisto, [victim])
    callisto.run()
    [held] = [row for row in callisto.frames() if row["status"] == "held"]
    assert held["file"] == victim and "no longer at the source" in held["reason"]
    back(callisto, contents)
    callisto.run()
    callisto.assert_delivered_once(truth)


def test_tables_cut_behind_a_line_end_are_written_again(callisto):
    truth = callisto.simulate()
    callisto.run(f"{NIGHT}/headers/C")
    table = callisto.folder / "frames.csv"
    table.write_bytes(b"".join(table.read_bytes().splitlines(keepends=True)[:4]))
    callisto.run()
    callisto.assert_delivered_once(truth)
    views = [table, *callisto.folder.glob("archived/*.csv"), callisto.folder / "summary.txt"]
    whole = {path: path.read_bytes() for path in views}
    before = callisto.inodes()
    for path in views:
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    callisto.run()
    assert {path: path.read_bytes() for path in views} == whole
    assert callisto.inodes() == before and not (callisto.folder / "raw").exists()
    assert NOTHING in callisto.run()


def test_a_source_that_was_emptied_after_a_failed_delivery(callisto):
    truth = callisto.simulate()
    callisto.run(f"{NIGHT}/frames.csv")
    name = next(row["product"] for row in callisto.frames() if row["kind"] == "bias")
    foreign = callisto.archive / name
    foreign.write_bytes(b"not ours")
    assert "is another file than" in callisto.run(status=1)
    shutil.rmtree(callisto.source / NIGHT)
    foreign.unlink()
    # Without naming the night, which is far behind `lookback`.
    callisto.run(nights="", lookback=0)
    callisto.assert_delivered_once(truth)


@pytest.mark.usefixtures("jobs_of_their_own")
def test_a_programme_by_hand_outlives_a_killed_run(callisto):
    callisto.simulate()
    command = callisto.command
    callisto.command = lambda *options, **config: command(*options, programme="60.A-9099(A)")
    killed_at(callisto, "archive before os.link .")
    callisto.command = command
    callisto.run()
    found = {fits.getval(path, "HIERARCH ESO OBS PROG ID") for path in callisto.products()}
    assert found == {"60.A-9099(A)"}


def wrong_filter(night: Night, reason: str = "wheel") -> list[str]:
    """Write a correction that changes the filter of a target, and return the setting for it."""
    folder = night.root / "corrections"
    folder.mkdir()
    text = f"- {{files: '*Sp0805*', reason: {reason}, set: {{FILTER: J}}}}\n"
    (folder / f"{night.telescope.lower()}_{NIGHT}.yaml").write_text(text)
    return str(folder)


@pytest.mark.parametrize("delivered", ["Callisto", "Io"], indirect=True)
def test_corrections_of_a_delivered_night(delivered):
    before = delivered.inodes()
    folder = wrong_filter(delivered)
    output = delivered.run(corrections=folder)
    concerned = [name for name in before if "Sp0805" in name] or [
        row["product"] for row in delivered.frames() if row["object"] == "Sp0805+0417"
    ]
    assert f"nights={NIGHT} redeliver=true" in output
    assert all(name in output for name in concerned)
    assert delivered.inodes() == before
    delivered.run(corrections=folder, redeliver="true")
    delivered.assert_delivered_once(delivered.truth)
    for row in delivered.frames():
        header = fits.getheader(delivered.archive / row["product"])
        if row["object"] == "Sp0805+0417":
            assert row["filter"] == header["FILTER"] == "J" and "_J_" in row["sequence"]
            assert delivered.telescope == "Io" or "_J_" in row["product"]
    output = delivered.run(corrections=folder)
    assert "redeliver=true" not in output and NOTHING in output


def test_corrections_of_what_eso_has_collected(delivered):
    first = {path.name for path in delivered.empty_archive()}
    folder = wrong_filter(delivered)
    delivered.run(corrections=folder, redeliver="true")
    delivered.assert_delivered_once(delivered.truth)
    second = {path.name for path in delivered.empty_archive()}
    assert len(second - first) == 1, "a cube of another name, which ESO has besides the old one"
    assert NOTHING in delivered.run(corrections=folder)
    with Ledger(ledger_path(delivered.workdir)) as ledger:
        assert ledger.open_nights() == []
    delivered.run(corrections=folder, redeliver="true")
    assert {path.name for path in delivered.products()} == second


def test_corrections_of_an_earlier_night_are_noticed(callisto):
    truth = callisto.simulate()
    victim = next(row for row in truth if row["object"] == "Sp0805+0417")
    path = callisto.source / NIGHT / victim["file"]
    with fits.open(path, "update", checksum=True) as hdus:
        hdus[0].header["IMAGETYP"] = "Lixht Frame"
    callisto.run()
    assert len([row for row in callisto.frames() if row["status"] == "held"]) == 1
    folder = callisto.root / "corrections"
    folder.mkdir()
    text = f"- {{files: '{victim['file']}', reason: typo, set: {{IMAGETYP: Light Frame}}}}\n"
    (folder / f"callisto_{NIGHT}.yaml").write_text(text)
    callisto.run(nights="", lookback=0, corrections=str(folder))
    assert len(callisto.products()) > 4
    callisto.assert_delivered_once(truth)


@pytest.mark.usefixtures("jobs_of_their_own")
def test_a_killed_request_to_deliver_again_is_resumed(delivered):
    first = delivered.empty_archive()
    command = delivered.command
    delivered.command = lambda *options, **config: command(*options, redeliver="true")
    killed_at(delivered, f"archive before {RENAME} bias")
    delivered.command = command
    delivered.run()
    delivered.assert_delivered_once(delivered.truth)
    assert NOTHING in delivered.run()
    for path in delivered.products():
        path.unlink()
    delivered.run(redeliver="true")
    assert [path.name for path in delivered.products()] == sorted(path.name for path in first)


def test_an_installation_of_an_earlier_version_is_converted(delivered):
    """Tables as version 0.2 left them: one product delivered, one about to be, one not yet."""
    night = delivered
    rows = {Path(p).stem: p.read_text() for p in night.folder.glob("archived/*.csv")}
    bias = next(name for name in rows if name.endswith("_C_bias"))
    dark = next(name for name in rows if "_C_dark" in name)
    table = "file,bytes,mtime_ns,datasum,status,reason\n" + "".join(
        f"{row['file']},{row['bytes']},{path.stat().st_mtime_ns},{row['datasum']},copied,\n"
        for row in night.frames()
        if (path := night.source / NIGHT / row["file"]).exists()
    )
    kept = {path.name: path.read_bytes() for path in night.products()}
    shutil.rmtree(night.workdir)
    archived = night.folder / "archived"
    (archived / "promised").mkdir(parents=True)
    (archived / f"{bias}.csv").write_text(rows[bias])
    (archived / "promised" / f"{dark}.csv").write_text(rows[dark])
    (night.folder / "ingested.csv").write_text(table)
    for path in night.products():
        if path.stem != dark:
            path.unlink()
    night.run()
    names = {path.name for path in night.products()}
    assert f"{bias}.fits" not in names and len(names) == len(kept) - 1
    (night.archive / f"{bias}.fits").write_bytes(kept[f"{bias}.fits"])
    night.assert_delivered_once(night.truth)


def test_every_table_is_plain_csv_and_the_ledger_plain_sqlite(faulty_night):
    import sqlite3

    with sqlite3.connect(faulty_night.workdir / "ledger.sqlite") as ledger:
        count, delivered = ledger.execute(
            "SELECT count(*), sum(status = 'delivered') FROM frames WHERE night = ?", [NIGHT]
        ).fetchone()
    good = [row for row in faulty_night.truth if not row["fault"]]
    assert (count, delivered) == (len(faulty_night.frames()), len(good))


def test_a_command_that_only_shows_changes_nothing(callisto):
    callisto.simulate()
    for options in (["-n"], ["--summary"], ["--rulegraph"]):
        callisto.run(*options)
    assert not list(callisto.workdir.glob("ledger*")) and not callisto.folder.exists()
    callisto.run()
    late = callisto.source / NIGHT / "late.fits"
    late.write_bytes(b"not FITS")
    state = {p: p.stat().st_mtime_ns for p in callisto.workdir.rglob("*") if p.is_file()}
    output = callisto.run("-n")
    assert "ingest" in output and "1 new or changed at the source" in output
    state = {path: time for path, time in state.items() if ".snakemake" not in path.parts}
    assert {path: path.stat().st_mtime_ns for path in state} == state


def test_planning_knows_nights_without_an_outcome(callisto):
    """What `make status` says of nights that neither a folder nor a listing has."""
    callisto.simulate()
    callisto.run(f"{NIGHT}/frames.csv")
    shutil.rmtree(callisto.source / NIGHT)
    shutil.rmtree(callisto.folder)
    settings = read_file(callisto.config)
    now = datetime(2026, 3, 20, tzinfo=UTC)
    with Ledger(ledger_path(callisto.workdir)) as ledger:
        planner = Planner(ledger, settings, now.date())
        assert planner.incomplete(["20260319"]) == [NIGHT]
    # The frames are lost and reported: then the night has an outcome.
    callisto.run(nights="", lookback=0)
    assert {row["reason"] for row in callisto.frames()} == {"no longer at the source, and not here"}
    with Ledger(ledger_path(callisto.workdir)) as ledger:
        assert Planner(ledger, settings, now.date()).incomplete(["20260319"]) == []
