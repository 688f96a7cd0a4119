"""What a further run does: nothing twice, what came late, what a killed run left."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from astropy.io import fits

from tests.night import NIGHT, REPOSITORY, Night

NOTHING = "Nothing to be done"
STOPPING = Path(__file__).parent / "stopping"


def copy_of_repository(target: Path) -> Path:
    """Return a checkout of its own, whose files may be touched."""
    target.mkdir()
    for name in ("Snakefile", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, target)
    for name in ("config", "profiles", "rules", "scripts", "templates", "envs", "web"):
        shutil.copytree(REPOSITORY / name, target / name, ignore=shutil.ignore_patterns("site"))
    return target


def move_out(night: Night, names: list[str]) -> dict[str, bytes]:
    """Take frames away from the source, as if they had not arrived yet."""
    folder = night.source / NIGHT
    contents = {name: (folder / name).read_bytes() for name in names}
    for name in names:
        (folder / name).unlink()
    return contents


@pytest.mark.parametrize("telescope", ["Callisto", "Io"])
def test_second_run_does_nothing_even_from_a_fresh_checkout(tmp_path, telescope):
    repository = copy_of_repository(tmp_path / "checkout")
    night = Night(tmp_path / "night", telescope, repository)
    truth = night.simulate()
    night.run()
    before = night.inodes()
    assert NOTHING in night.run()
    for path in repository.rglob("*"):
        os.utime(path)
    assert NOTHING in night.run()
    assert night.inodes() == before
    night.assert_delivered_once(truth)


@pytest.mark.parametrize("telescope", ["Callisto", "Io"])
def test_late_frames_are_delivered_and_nothing_else_again(tmp_path, telescope):
    night = Night(tmp_path, telescope)
    truth = night.simulate()
    late = [row["file"] for row in truth if row["object"] == "Sp0805+0417"][2:4]
    contents = move_out(night, late)
    night.run()
    collected = night.empty_archive()
    for name, content in contents.items():
        (night.source / NIGHT / name).write_bytes(content)
    night.run()
    delivered = night.delivered()
    digests = {row["pixels_sha256"] for row in truth if row["file"] in late}
    assert delivered.keys() == digests
    assert {row["sequence"] for row in night.receipts() if row["file"] in late} == {
        f"S_Sp0805+0417_{'zYJ' if telescope == 'Callisto' else 'I+z'}_10s_part2"
    }
    for path in collected:
        shutil.move(path, night.archive)
    night.assert_delivered_once(truth)
    assert night.transfer_log() == f"{NIGHT} {len(night.products())}\n"
    assert NOTHING in night.run()


def test_late_frames_are_delivered_when_the_others_are_gone(callisto):
    truth = callisto.simulate()
    late = [truth[-1]["file"]]
    contents = move_out(callisto, late)
    callisto.run()
    shutil.rmtree(callisto.source / NIGHT)
    (callisto.source / NIGHT).mkdir()
    for name, content in contents.items():
        (callisto.source / NIGHT / name).write_bytes(content)
    callisto.run()
    callisto.assert_delivered_once(truth)
    assert callisto.transfer_log() == f"{NIGHT} {len(callisto.products())}\n"


def test_late_frames_are_delivered_after_their_inventory_failed(callisto):
    truth = callisto.simulate()
    contents = move_out(callisto, [truth[-1]["file"]])
    callisto.run()
    for name, content in contents.items():
        (callisto.source / NIGHT / name).write_bytes(content)
    (callisto.source / NIGHT / "empty.fits").touch()
    corrections = callisto.root / f"callisto_{NIGHT}.yaml"
    corrections.write_text("- files: '*'\n")
    assert "exactly the keys" in callisto.run(status=1, corrections=callisto.root)
    corrections.unlink()
    log = callisto.folder / "logs/inventory.log"
    killed_when(callisto, lambda: not (log.exists() and "exactly the keys" in log.read_text()))
    assert "more than max_held" in callisto.run(status=1, max_held=0)
    assert callisto.page().exists() and not (callisto.folder / "frames.csv").exists()
    callisto.run(max_held=1)
    callisto.assert_delivered_once(truth)
    assert NOTHING in callisto.run()


def test_a_damaged_receipt_is_written_again_and_nothing_twice(delivered):
    truth = delivered.truth
    collected = delivered.empty_archive()
    receipt = next(delivered.folder.glob("archived/*_C_bias.csv"))
    whole = receipt.read_bytes()
    os.truncate(receipt, receipt.stat().st_size - 60)
    delivered.run(nights=f"20260304 {NIGHT}")
    assert receipt.read_bytes() == whole
    assert (delivered.workdir / "20260304/night.html").exists()
    assert not delivered.products()
    assert sorted(row["file"] for row in delivered.receipts()) == sorted(r["file"] for r in truth)
    for path in collected:
        shutil.move(path, delivered.archive)
    delivered.assert_delivered_once(truth)


def test_frames_gone_from_the_source_change_nothing(delivered):
    shutil.rmtree(delivered.source / NIGHT)
    assert NOTHING in delivered.run()


def test_a_delivered_frame_that_changes_is_reported(delivered):
    row = next(row for row in delivered.truth if row["kind"] == "bias")
    path = delivered.source / NIGHT / row["file"]
    content = path.read_bytes().replace(b"M. Gillon", b"M. Gilloz")
    with fits.open(path) as hdus:
        hdus[0].data[3, 3] += 1
        hdus.writeto(delivered.root / "changed.fits", checksum=True)
    assert content != path.read_bytes()
    shutil.copy(delivered.root / "changed.fits", path)
    before = delivered.inodes()
    delivered.run()
    held = [r for r in delivered.frames() if r["status"] == "held"]
    assert [r["file"] for r in held] == [row["file"]]
    assert "other pixels than those delivered" in held[0]["reason"]
    assert delivered.inodes() == before


def killed_when(night: Night, condition, environ: dict | None = None) -> None:
    """Start a run and kill it with all its jobs as soon as a condition holds."""
    process = subprocess.Popen(
        night.command(),
        env=environ,
        cwd=night.repository,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def killed_at(night: Night, point: str) -> None:
    """Start a run and kill it with all its jobs while one of them stands still at a point.

    See `tests/stopping/sitecustomize.py` for what a point is.
    """
    folder = night.root / "stops"
    folder.mkdir()
    stops = {
        "PYTHONPATH": f"{STOPPING}:{REPOSITORY}",
        "STOP_FOLDER": str(folder),
        "STOP_POINTS": point,
    }
    environ = os.environ | stops
    killed_when(night, lambda: os.path.lexists(folder / "0"), environ)


STAGES = {
    "product": lambda night: (
        any(night.folder.glob("cubes/*SPECU*")) or any(night.folder.glob("frames/*/*"))
    ),
    "delivery": lambda night: any(night.archive.glob("SPECU*")),
}


@pytest.mark.usefixtures("jobs_of_their_own")
@pytest.mark.parametrize("telescope, stage", [("Callisto", "product"), ("Io", "delivery")])
def test_a_killed_run_is_completed_by_the_next(tmp_path, telescope, stage):
    night = Night(tmp_path, telescope)
    truth = night.simulate()
    killed_when(night, lambda: STAGES[stage](night))
    for path in night.products():
        assert not path.name.endswith(".fits") or fits.open(path, checksum=True)
    night.run()
    night.assert_delivered_once(truth)
    assert sorted(r["file"] for r in night.receipts()) == sorted(r["file"] for r in truth)
    assert not list(night.archive.glob(".*"))
    assert NOTHING in night.run()


@pytest.mark.usefixtures("jobs_of_their_own")
@pytest.mark.parametrize("which", [0, -1])
def test_a_frame_comes_after_a_kill_between_delivery_and_receipt(callisto, which):
    truth = callisto.simulate()
    biases = [row["file"] for row in truth if row["kind"] == "bias"]
    contents = move_out(callisto, [biases[which]])
    point = "archive after scripts.lib.delivery.publish.rename_without_replacing C_bias"
    killed_at(callisto, point)
    collected = callisto.empty_archive()
    assert any(path.name.endswith("_C_bias.fits") for path in collected)
    for name, content in contents.items():
        (callisto.source / NIGHT / name).write_bytes(content)
    callisto.run()
    for path in collected:
        shutil.move(path, callisto.archive)
    callisto.assert_delivered_once(truth)
    assert not list(callisto.archive.glob(".*"))


def test_ingest_copies_only_what_is_missing(callisto):
    truth = callisto.simulate()
    late = [truth[5]["file"]]
    contents = move_out(callisto, late)
    callisto.run("--until", "ingest")
    first = {p.name: p.stat().st_ino for p in (callisto.folder / "raw").glob("*.f*ts")}
    for name, content in contents.items():
        (callisto.source / NIGHT / name).write_bytes(content)
    callisto.run("--until", "ingest")
    second = {p.name: p.stat().st_ino for p in (callisto.folder / "raw").glob("*.f*ts")}
    assert second.keys() - first.keys() == set(late)
    assert {name: second[name] for name in first} == first
    callisto.run()
    callisto.assert_delivered_once(truth)


def test_a_growing_frame_is_held_back_until_it_is_stable(callisto):
    truth = callisto.simulate()
    path = callisto.source / NIGHT / truth[3]["file"]
    content = path.read_bytes()
    writer = subprocess.Popen(
        ["sh", "-c", f"while :; do printf x >> '{path}'; done"], start_new_session=True
    )
    try:
        callisto.run()
    finally:
        os.killpg(writer.pid, signal.SIGKILL)
        writer.wait()
    held = [row for row in callisto.frames() if row["status"] == "held"]
    assert [row["file"] for row in held] == [truth[3]["file"]]
    # On a busy machine the writer may pause for as long as ingest waits.
    assert re.search("still being written|bytes after the image", held[0]["reason"])
    path.write_bytes(content)
    callisto.run()
    callisto.assert_delivered_once(truth)


def test_the_workflow_reads_the_settings_of_the_site(tmp_path):
    checkout = copy_of_repository(tmp_path / "checkout")
    night = Night(tmp_path, "Callisto", checkout)
    night.simulate()
    night.config.unlink()
    night.config = checkout / "config/callisto.yaml"
    own = checkout / "config/site/callisto.yaml"
    own.parent.mkdir()
    settings = {key: str(getattr(night, key)) for key in ("source", "workdir", "archive")}
    own.write_text(yaml.safe_dump(settings | {"nights": "20200101"}))
    # What is typed wins over the site's settings, these over those of the checkout.
    planned = night.run("-n", nights=NIGHT)
    assert f"{NIGHT}/raw/complete" in planned and "20200101" not in planned
    own.write_text(yaml.safe_dump(settings | {"lookback": "ten"}))
    assert f"lookback: 'ten' is not of type 'integer' (in {own})" in night.run("-n", status=1)


def test_a_frame_that_no_cube_can_begin_with_is_held_back_alone(tmp_path):
    checkout = copy_of_repository(tmp_path / "checkout")
    night = Night(tmp_path, "Callisto", checkout)
    truth = night.simulate(frames=12)
    first = next(row for row in truth if row["object"] == "Sp0805+0417")
    start = first["date_obs"][:19]
    with open(checkout / "config/checks.csv", "a") as stream:
        stream.write(f"X1,error,cube,DATE-OBS,like,(?!{start}).*,ours,another start\n")
    night.run()
    [receipt] = [row for row in night.receipts() if row["status"] == "held"]
    assert receipt["file"] == first["file"]
    assert receipt["reason"].startswith("refused by check X1: DATE-OBS")
    night.assert_delivered_once([row for row in truth if row != first])
