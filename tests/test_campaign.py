"""Campaigns: many nights in runs of their own, side by side, killed and begun again."""

import csv
import os
import random
import signal
import sqlite3
import subprocess
from collections import deque
from contextlib import closing
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from scripts.lib.files.lock import lock_of
from scripts.lib.ledger.ledger import Ledger, ledger_path
from scripts.lib.nights.dates import last_night
from scripts.lib.running.campaign import (
    NIGHT,
    Campaign,
    Queue,
    Work,
    mark_of,
    nights_of_source,
)
from scripts.lib.running.one_night import LOCK, own_settings, why_not
from scripts.lib.running.processes import MARKER, end_marked
from scripts.lib.settings.profile import read_file
from scripts.lib.sources.opening import open_folder
from tests.night import REPOSITORY
from tests.test_faults import Site as SmallNights
from tests.test_operations import Site, wait_for

NIGHTS = ["20260305", "20260306", "20260307"]


@pytest.fixture
def site(tmp_path):
    """A Callisto for which no night is named."""
    site = Site(tmp_path)
    site.set(nights="")
    yield site
    end_marked(mark_of(site.night.workdir))


def kill_campaign(site: Site, words: tuple, reached, everything: bool) -> None:
    """Kill a campaign; with ``everything`` all its runs too, and the run of a night beside it."""
    beside = subprocess.Popen(
        site.night.command(nights=NIGHTS[2]),
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    process = site.start(*words)
    wait_for(lambda: reached() or process.poll() is not None)
    process.kill()
    process.communicate()
    if everything:
        os.killpg(beside.pid, signal.SIGKILL)
        end_marked(mark_of(site.night.workdir))
    beside.wait()


def test_nights_side_by_side_killed_at_random_are_delivered_once(site):
    """Two at a time in a campaign and a third in a run beside it; the seed says when to kill."""
    truth = []
    for seed, night in enumerate(NIGHTS):
        truth += SmallNights.simulate(site, night=night, seed=seed)
    chance = random.Random(int(os.environ["FUZZ_SEED"]))
    campaign = ("campaign", "callisto", "--nights", "20260305-20260307", "--jobs", "2")
    workdir, job = site.night.workdir, chance.choice(("ingest", "inventory", "header/C"))
    kill_campaign(
        site, campaign, lambda: list(workdir.glob(f"*/logs/{job}.log")), chance.random() < 0.5
    )
    kill_campaign(site, campaign, site.night.products, True)
    process = site.start(*campaign)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, output + errors
    site.night.assert_delivered_once(truth)
    with closing(sqlite3.connect(ledger_path(workdir))) as database:
        products = "SELECT count(*), count(DISTINCT dp_id) FROM products"
        assert database.execute(products).fetchall() == [(3, 3)]
        assert database.execute("SELECT * FROM intents").fetchall() == []
        statuses = "SELECT status, count(*) FROM frames GROUP BY 1"
        assert database.execute(statuses).fetchall() == [("delivered", len(truth))]
    assert site.night.transfer_log() == "".join(f"{night} 1\n" for night in NIGHTS)
    assert not list(site.night.archive.glob(".*"))
    # Nothing is left to do: no run is begun.
    output, _ = site.start(*campaign).communicate(timeout=300)
    assert "0 nights to do, 3 with nothing to do" in output


def test_a_night_that_fails_is_in_table_page_and_exit_status(site):
    truth = SmallNights.simulate(site)
    (site.night.source / NIGHTS[1]).write_text("not a folder")
    words = ("campaign", "callisto", "--nights", *NIGHTS[:2], "--config", "keep_raw=true")
    process = site.start(*words)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1
    assert f"{NIGHTS[1]} failed: ingest {NIGHTS[1]}: night {NIGHTS[1]} of " in output
    with open(site.night.workdir / "campaign.csv", newline="") as stream:
        rows = {row["night"]: row for row in csv.DictReader(stream)}
    good, bad = (rows[night] for night in NIGHTS[:2])
    assert (good["status"], good["frames"], good["products"]) == ("done", str(len(truth)), "1")
    assert (bad["status"], bad["exit_status"]) == ("failed", "1") and "cannot be read" in bad[
        "cause"
    ]
    page = (site.night.workdir / "campaign.html").read_text()
    assert "ended: 2 of 2 nights" in page and bad["cause"].split(" of ")[0] in page
    assert not {"src=", "http:", "https:", "@import"} & set(page.split()), "self-contained"
    assert (site.night.folder / "raw").exists()
    lock = lock_of(site.night.workdir, LOCK)
    assert lock.take()
    process = site.start(*words)
    assert f"another campaign is at work: it holds {lock.path}" in process.communicate()[1]
    assert process.returncode == 1


def test_many_nights_of_one_call_run_apart(site):
    truth, night = SmallNights.simulate(site), site.night
    night.source.joinpath("20260304").write_text("not a folder")
    output = night.run(nights="20260304-20260305", nights_together=1, status=1)
    assert "1 of 2 nights: 20260304 failed, ingest 20260304: night 20260304 of " in output
    assert "20260305 done; 2 of 2 nights, 1 failed" in output
    night.assert_delivered_once(truth)
    assert not (night.workdir / "campaign.csv").exists()


@pytest.fixture
def walked(callisto):
    """A function that walks nights with a shell's commands, and the order in which they ended."""
    callisto.workdir.mkdir()
    settings, ended = read_file(callisto.config), []

    def walk(script: str, jobs: int = 1, meanwhile=lambda: None) -> Campaign:
        command = ["sh", "-c", script]
        with Ledger(ledger_path(callisto.workdir)) as ledger:
            campaign = Campaign(
                settings,
                ledger,
                command,
                callisto.root,
                jobs,
                None,
                ended.append,
                lambda _: meanwhile(),
            )
            campaign.walk([Work(night) for night in NIGHTS])
        return campaign

    return SimpleNamespace(walk=walk, ended=ended, workdir=callisto.workdir)


def test_a_night_of_another_run_waits_until_that_has_ended(walked):
    lock = lock_of(walked.workdir, NIGHTS[0])
    assert lock.take()
    walked.walk("true", meanwhile=lambda: len(walked.ended) == 2 and lock.release())
    assert [result.night for result in walked.ended] == [*NIGHTS[1:], NIGHTS[0]]


def test_as_many_nights_at_a_time_as_were_asked_for(walked):
    most = []
    campaign = walked.walk(
        f"echo ${NIGHT} ${MARKER}; kill -9 $$",
        jobs=2,
        meanwhile=lambda: most.append(len(list(walked.workdir.glob("logs/*/campaign.log")))),
    )
    assert most[0] == 2 and not campaign.running
    first = walked.ended[0]
    assert (first.status, first.exit_status) == ("failed", 137)
    assert first.cause == "killed by signal SIGKILL"
    log = (walked.workdir / "logs" / NIGHTS[0] / "campaign.log").read_text()
    assert log == f"{walked.workdir / NIGHTS[0]} {mark_of(walked.workdir)}\n"


def test_a_signal_ends_the_nights_at_work_and_begins_no_other(walked):
    sent = deque([signal.SIGTERM])
    campaign = walked.walk(
        "exec sleep 600", jobs=2, meanwhile=lambda: sent and os.kill(os.getpid(), sent.pop())
    )
    assert campaign.stopped == "ended by signal SIGTERM" and not campaign.pending
    assert {(result.status, result.cause) for result in walked.ended} == {
        ("stopped", "ended by signal SIGTERM")
    }
    assert len(walked.ended) == 2


def test_the_source_says_which_nights_there_are(callisto):
    now, settings = datetime.now(UTC), read_file(callisto.config)
    last = last_night(now, settings.place.longitude)
    for name in ("20250101", last, f"{now:%Y%m%d}", "2025010", "20250102.old"):
        (callisto.source / name).mkdir()
    (callisto.source / "20250103").touch()
    (callisto.source / "20250104").symlink_to("20250101")
    assert nights_of_source(settings, now) == ["20250101", "20250104", last]
    assert f"{now:%Y%m%d}" in open_folder(str(callisto.source)).nights()


def test_the_run_of_a_night_has_its_own_settings(tmp_path):
    assert own_settings({}) == {}
    assert own_settings({NIGHT: "/w/20260305"}) == {"nights": "20260305", "redeliver": False}
    job = {NIGHT: "/w/20260305", "SLURM_JOB_ID": "1"}
    assert "the campaign has ended" in why_not(tmp_path, job) and not why_not(tmp_path, {})
    lock = lock_of(tmp_path, LOCK)
    assert lock.take() and not why_not(tmp_path, job)


def test_a_job_of_the_queue_gets_no_password(tmp_path):
    queue = Queue("callisto", tmp_path, 1.5, ["--partition=long"])
    words = queue.command("20260305", ["snakemake", "--config", "a=b c"], tmp_path / "log")
    assert words[0] == "sbatch" and words[-1] == "--wrap=exec snakemake --config 'a=b c'"
    assert {"--wait", "--time=90", "--partition=long"} < set(words)
    assert f"--export=HOME,LANG,PATH,USER,{NIGHT},{MARKER}" in words
