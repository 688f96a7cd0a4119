"""The workflow through its command line: what it is asked for, and faults around it."""

import os
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from astropy.io import fits

from scripts.lib.files.lock import lock_of
from scripts.lib.nights.dates import recent_nights
from tests.night import NIGHT, PARANAL, REPOSITORY, SNAKEMAKE

NOTHING = "Nothing to be done"


def test_names_that_are_not_text_hold_back_their_frame_only(callisto):
    truth = callisto.simulate()
    folder = os.fsencode(callisto.source / NIGHT)
    content = (callisto.source / NIGHT / truth[0]["file"]).read_bytes()
    for name in (b"\xff.fits", "ñ.fits".encode(), b'two\nlines, "quoted".fits'):
        with open(os.path.join(folder, name), "wb") as stream:
            stream.write(content)
    callisto.run()
    callisto.assert_delivered_once(truth)
    held = [row["reason"] for row in callisto.frames() if row["status"] == "held"]
    assert sorted(reason.split(": ")[1] for reason in held) == [
        "bytes in it that are not text",
        "control character in it",
        "not ASCII",
    ]


def test_an_unreachable_source_is_an_error_of_its_own(callisto):
    shutil.rmtree(callisto.source)
    output = callisto.run(status=1)
    assert f"source {callisto.source} cannot be reached" in output
    assert not (callisto.workdir / "transfer_log.txt").exists()


def test_a_night_without_a_folder_is_a_night_without_frames(callisto):
    callisto.run()
    assert callisto.transfer_log() == f"{NIGHT} 0\n"
    assert callisto.frames() == []
    assert "No frames this night" in callisto.page().read_text()
    assert NOTHING in callisto.run()
    truth = callisto.simulate()
    callisto.run()
    callisto.assert_delivered_once(truth)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("telescop", "Io", "telescop"),
        ("workdir", "here", "workdir"),
        ("products", "cube", "products"),
        ("programme", "60.A-9009", "programme"),
        ("nights", "20260230", "20260230"),
        ("nights", "20260305-20260301", "ends before it begins"),
        ("source", "ftp://nowhere", "ftp:// is not known"),
        ("corrections", "config/no-such-folder", "no-such-folder"),
    ],
)
def test_bad_settings_are_named(callisto, setting, value, message):
    callisto.simulate()
    output = callisto.run(status=1, **{setting: value})
    assert message in output
    assert not callisto.products()


def test_a_foreign_file_of_the_same_name_is_never_overwritten(callisto):
    callisto.simulate()
    callisto.run(keep_raw="true")
    name = callisto.products()[0].name
    callisto.empty_archive()
    shutil.rmtree(callisto.workdir)
    foreign = callisto.archive / name
    foreign.write_bytes(b"SIMPLE  =                    F".ljust(80) + b"END".ljust(2800))
    content = foreign.read_bytes()
    output = callisto.run(status=1)
    assert str(foreign) in output and name in output and "another file" in output
    assert foreign.read_bytes() == content
    assert len(callisto.products()) == len(list((callisto.root / "collected").iterdir()))
    foreign.unlink()
    callisto.run()
    assert NOTHING in callisto.run()


def test_too_many_held_back_frames_make_a_bad_night(callisto):
    callisto.simulate(faults=True)
    output = callisto.run(status=1, max_held=0.3)
    assert "more than max_held 0.3 allows" in output
    assert not callisto.products()
    callisto.run()
    assert callisto.products()


def damaged_copy(night, row: dict) -> Path:
    """Flip a bit in the raw copy of a frame, as a bad disk does, and return its path."""
    path = night.folder / "raw" / row["file"]
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[-3000] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    return path


def test_a_damaged_raw_copy_is_copied_again(callisto):
    truth = callisto.simulate()
    callisto.run(f"{NIGHT}/headers/C")
    path = damaged_copy(callisto, next(row for row in truth if row["kind"] == "bias"))
    callisto.run()
    callisto.assert_delivered_once(truth)
    logs = "".join(log.read_text() for log in callisto.folder.glob("logs/batch/*_C_*"))
    assert f"{path.name} has the sum" in logs and "copied again" in logs


def test_damaged_raw_pixels_fail_their_own_cube_only(callisto):
    truth = callisto.simulate()
    callisto.run(f"{NIGHT}/headers/C")
    victim = next(row for row in truth if row["kind"] == "bias")
    path = damaged_copy(callisto, victim)
    away = (callisto.source / NIGHT / victim["file"]).rename(callisto.root / victim["file"])
    output = callisto.run(status=1, batch=0)
    assert f"{path.name} has the sum" in output
    others = [row for row in truth if row["kind"] != "bias"]
    assert sorted(callisto.delivered()) == sorted(row["pixels_sha256"] for row in others)
    assert not list(callisto.folder.glob("cubes/*"))
    away.rename(callisto.source / NIGHT / victim["file"])
    callisto.run()
    callisto.assert_delivered_once(truth)


@pytest.mark.parametrize("delivered", ["Callisto", "Io"], indirect=True)
def test_reprocessing_changes_date_and_checksum_only(delivered):
    collected = delivered.empty_archive()
    delivered.run(redeliver="true")
    assert [p.name for p in delivered.products()] == [p.name for p in sorted(collected)]
    for old, new in zip(sorted(collected), delivered.products(), strict=True):
        blanked = [
            re.sub(rb"(DATE    = |CHECKSUM= )'[^']*'", rb"\1", path.read_bytes())
            for path in (old, new)
        ]
        assert blanked[0] == blanked[1]


def test_delivering_twice_is_harmless(delivered):
    before = delivered.inodes()
    delivered.run(redeliver="true")
    assert delivered.inodes() == before


def test_one_cube_can_be_made_after_everything_was_removed(delivered):
    assert not (delivered.folder / "raw").exists()
    product = delivered.products()[-1]
    target = f"{NIGHT}/cubes/{product.name}"
    delivered.run(target)
    made = delivered.workdir / target
    assert fits.getheader(made)["DATASUM"] == fits.getheader(product)["DATASUM"]


def test_corrections_are_applied(callisto):
    truth = callisto.simulate(flats=2)
    folder = callisto.root / "corrections"
    folder.mkdir()
    flats = [row["file"] for row in truth if row["kind"] == "flat"]
    (folder / f"callisto_{NIGHT}.yaml").write_text(
        f"- files: '{flats[0]}'\n  reason: wheel stuck\n  set: {{FILTER: \"J'\", SWCREATE: null}}\n"
    )
    callisto.run(corrections=folder)
    rows = {row["file"]: row for row in callisto.frames()}
    assert rows[flats[0]]["sequence"].startswith("C_flat_Jp_")
    assert rows[flats[1]]["sequence"].startswith("C_flat_zYJ_")
    assert fits.getheader(callisto.archive / rows[flats[0]]["product"])["FILTER"] == "J'"


def test_a_correction_that_was_removed_no_longer_counts(callisto):
    truth = callisto.simulate()
    folder = callisto.root / "corrections"
    folder.mkdir()
    correction = folder / f"callisto_{NIGHT}.yaml"
    correction.write_text(
        f"- files: '{truth[0]['file']}'\n  reason: a mistake\n  set: {{TELESCOP: Io}}\n"
    )
    callisto.run(corrections=folder)
    assert [row["file"] for row in callisto.frames() if row["status"] == "held"] == [
        truth[0]["file"]
    ]
    correction.unlink()
    callisto.run(corrections=folder)
    callisto.assert_delivered_once(truth)
    assert "Nothing to be done" in callisto.run(corrections=folder)
    assert not (callisto.folder / "cubes").exists() and not (callisto.folder / "raw").exists()


def test_an_invalid_correction_is_refused(callisto):
    callisto.simulate()
    folder = callisto.root / "corrections"
    folder.mkdir()
    (folder / f"callisto_{NIGHT}.yaml").write_text("- files: '*'\n  sett: {FILTER: J}\n")
    output = callisto.run(status=1, corrections=folder)
    assert f"callisto_{NIGHT}.yaml" in output and "files, reason, set" in output


def test_several_nights(callisto):
    for seed, night in enumerate(("20260304", "20260305")):
        callisto.simulate(night=night, seed=seed)
    callisto.run(nights="20260304-20260305")
    lines = callisto.transfer_log().splitlines()
    assert [line.split()[0] for line in lines] == ["20260304", "20260305"]
    assert sum(int(line.split()[1]) for line in lines) == len(callisto.products())


def test_missed_nights_are_caught_up(callisto):
    *_, missed, last = recent_nights(datetime.now(UTC), PARANAL, 3)
    callisto.simulate(night=missed)
    callisto.run(nights="")
    assert {line.split()[0] for line in callisto.transfer_log().splitlines()} == {missed, last}
    assert callisto.products()
    assert NOTHING in callisto.run(nights="")


def test_a_missed_night_with_an_undelivered_frame_is_caught_up(callisto):
    *_, missed, _ = recent_nights(datetime.now(UTC), PARANAL, 3)
    truth = callisto.simulate(night=missed)
    late = callisto.source / missed / truth[-1]["file"]
    content = late.read_bytes()
    late.unlink()
    callisto.run(nights="")
    late.write_bytes(content)
    away = callisto.archive.rename(callisto.root / "away")
    callisto.run(nights="", status=1)
    away.rename(callisto.archive)
    callisto.run(nights="")
    callisto.assert_delivered_once(truth)


def test_planning_and_pictures_change_nothing(callisto):
    callisto.simulate()
    assert "rule ingest" in callisto.run("-n").replace("checkpoint", "rule")
    assert "digraph" in callisto.run("--dag")
    assert not callisto.folder.exists() and not callisto.products()
    disk = callisto.root / "disk"
    output = callisto.run("-n", status=1, workdir=disk / "work")
    assert f"workdir: the directory {disk} does not exist; is its disk mounted?" in output
    assert not disk.exists()


def test_a_night_of_another_run_is_left_to_it(callisto):
    truth, other = callisto.simulate(), "20260306"
    callisto.workdir.mkdir()
    lock = lock_of(callisto.workdir, NIGHT)
    assert lock.take()
    said = "another run is at work on 20260305: wait until it has ended"
    assert said in callisto.run(status=1) and said in callisto.run(f"{NIGHT}/frames.csv", status=1)
    said = f"left to the run that is at work on it: {NIGHT}"
    assert said in callisto.run(nights=f"{NIGHT}-{other}")
    assert not callisto.folder.exists() and (callisto.workdir / other / "night.html").exists()
    lock.release()
    callisto.run()
    callisto.assert_delivered_once(truth)


def test_linked_frames_are_read_in_place_and_stay_as_they_are(callisto):
    truth, folder = callisto.simulate(), callisto.source / NIGHT
    names = sorted(row["file"] for row in truth)
    elsewhere = callisto.root / names[0]
    (folder / names[0]).rename(elsewhere)
    (folder / names[0]).symlink_to(elsewhere)
    before = {name: ((folder / name).stat(), (folder / name).read_bytes()) for name in names}
    callisto.run(f"{NIGHT}/frames.csv", ingest="link")
    assert all((callisto.folder / "raw" / name).samefile(folder / name) for name in names)
    callisto.run(ingest="link")
    callisto.assert_delivered_once(truth)
    assert not (callisto.folder / "raw").exists()
    for name, (state, content) in before.items():
        after = (folder / name).stat()
        assert (after.st_ino, after.st_mtime_ns) == (state.st_ino, state.st_mtime_ns)
        assert (folder / name).read_bytes() == content


def test_missing_archive_directory_is_named(callisto):
    callisto.simulate()
    callisto.archive.rmdir()
    assert f"archive: the directory {callisto.archive} does not exist" in callisto.run(status=1)


def test_a_failed_run_says_which_job_and_why(callisto):
    callisto.simulate()
    callisto.archive.rmdir()
    output = callisto.run(status=1)
    assert re.search(r"\d+ job\(s\) failed", output)
    assert re.search(r"batch 20260305 SPECU4\.\S+_C_", output)


def test_lists_of_what_was_transferred_and_what_was_not(callisto):
    callisto.simulate(faults=True)
    lists = callisto.workdir / "logs" / NIGHT
    away = callisto.archive.rename(callisto.root / "away")
    callisto.run(status=1)
    assert (lists / "transferred").read_text() == ""
    waiting = (lists / "non_transferred").read_text().splitlines()
    frames = sorted({row["file"] for row in callisto.frames()})
    assert sorted(line.split(": ")[0] for line in waiting) == frames
    away.rename(callisto.archive)
    callisto.run()
    products = [path.name for path in callisto.products()]
    assert (lists / "transferred").read_text().split() == products
    held = [row for row in callisto.frames() if row["status"] == "held"]
    waiting = (lists / "non_transferred").read_text().splitlines()
    assert waiting == [f"{row['file']}: {row['reason']}" for row in held]


def test_the_installed_profile_works_from_anywhere_as_from_cron(callisto):
    truth = callisto.simulate()
    home = callisto.root / "home"
    home.mkdir()
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
    make = ["make", "-s", "install", f"VENV={SNAKEMAKE.parent.parent}"]
    subprocess.run(
        make, cwd=REPOSITORY, env=os.environ | environment, check=True, capture_output=True
    )
    settings = ["source", "workdir", "archive"]
    done = subprocess.run(
        [
            str(SNAKEMAKE),
            *("--profile", "callisto", "--configfile", str(callisto.config)),
            *("--config", f"nights={NIGHT}"),
            *(f"{key}={getattr(callisto, key)}" for key in settings),
        ],
        cwd=home,
        env=environment | {"PATH": f"{SNAKEMAKE.parent}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    callisto.assert_delivered_once(truth)
    plan = subprocess.run(
        [
            str(SNAKEMAKE),
            "--profile",
            "callisto",
            "-n",
            "--config",
            f"workdir={callisto.root / 'w'}",
        ],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert plan.returncode == 0, plan.stderr


def test_install_never_overwrites_what_is_not_its_own(tmp_path):
    environment = os.environ | {"XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}

    def make(target: str) -> int:
        words = ["make", "-s", target, f"VENV={SNAKEMAKE.parent.parent}"]
        done = subprocess.run(words, cwd=REPOSITORY, env=environment, capture_output=True)
        return done.returncode

    mine = tmp_path / "snakemake/ganymede/profile.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text("cores: 7\n")
    assert make("install") != 0
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]
    mine.unlink()
    assert make("install") == make("install") == 0
    assert len(list(tmp_path.rglob("profile.yaml"))) == 4
    mine.write_text("cores: 7\n")
    assert make("uninstall") == 0
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [mine]


def test_summary_counts_agree_with_the_tables(faulty_night):
    codes = [row["code"] for row in faulty_night.frames() if row["status"] == "held"]
    summary = (faulty_night.folder / "summary.txt").read_text()
    engineering = codes.count("ENGINEERING")
    assert f"held back    {len(codes) - engineering}\n" in summary
    assert engineering and f"not for ESO  {engineering}\n" in summary
    assert f"raw frames   {len(faulty_night.truth)}" in summary


def test_until_a_rule_behind_the_table_is_refused(callisto):
    callisto.simulate()
    output = callisto.run("--until", "header", status=1)
    assert "--until header: ask for what this rule makes instead, {night}/headers/{group}" in output
    assert not callisto.folder.exists()


def test_snakemakes_own_summary_and_report(delivered, tmp_path):
    summary = [line.split("\t") for line in delivered.run("--summary").splitlines()]
    rows = {row[0]: row[-2:] for row in summary if row[0].startswith(NIGHT)}
    assert {f"{NIGHT}/frames.csv", f"{NIGHT}/night.html"} <= rows.keys()
    assert f"{NIGHT}/raw/complete" not in rows  # removed with the raw copies
    assert {plan for _, plan in rows.values()} == {"no update"}
    path = tmp_path / "report.html"
    delivered.run("--report", str(path))
    text = path.read_text()
    assert "night.html" in text and "frames.csv" in text and "as its page shows it" in text
