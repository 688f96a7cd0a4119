"""The workflow under a real SLURM; `make test-slurm` installs what it needs."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from scripts.lib.running.slurm import job_name
from tests.night import REPOSITORY, Night
from tests.slurm import NODE, PLUGIN, Cluster, needs_slurm
from tests.test_faults import Site as SmallNights
from tests.test_operations import Site

SECRET = "never-in-a-job"  # noqa: S105 - of nobody
PROFILE = REPOSITORY / "profiles/slurm"


def contents(night: Night) -> dict[str, bytes]:
    """Return the bytes of each product, but for its cards of when it was written."""
    of_the_writing = re.compile(rb"(?:DATE    |CHECKSUM)= .{70}")
    return {path.name: of_the_writing.sub(b"", path.read_bytes()) for path in night.products()}


class SlurmSite(Site):
    """A site whose runs submit to a cluster."""

    def __init__(self, root: Path, cluster: Cluster | None = None):
        super().__init__(root)
        self.cluster = cluster

    def start(self, module: str, *words: str) -> subprocess.Popen:
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        environ = {"HOME": str(self.home), "PATH": path, "LOGNAME": "cron"}
        return subprocess.Popen(
            [*self.cluster.inside, sys.executable, "-m", f"scripts.{module}", *words],
            cwd=REPOSITORY,
            env=environ | {"PYTHONPATH": f"{PLUGIN}:{REPOSITORY}"} | self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def begin(self) -> subprocess.Popen:
        return self.start("run", "callisto", "--profile", str(PROFILE))


def environments(number: str) -> list[bytes]:
    """Return the environments of the processes of a job in the queue."""
    found = []
    for process in psutil.process_iter():
        try:
            text = Path(f"/proc/{process.pid}/environ").read_bytes()
        except OSError:
            continue
        if f"SLURM_JOB_ID={number}".encode() in text.split(b"\0"):
            found.append(text)
    return found


@needs_slurm
@pytest.mark.usefixtures("jobs_of_their_own")  # what shares a job is not submitted
def test_killed_and_cancelled_jobs_cost_no_product(tmp_path):
    local, site = Night(tmp_path / "local", "Callisto"), SlurmSite(tmp_path / "slurm")
    local.simulate(frames=12)
    truth = site.night.simulate(frames=12)
    local.run()
    passwords = site.night.root / "secret/callisto.env"
    passwords.parent.mkdir()
    passwords.write_text(f"SPECULOOS_ESO_USER=astra\nSPECULOOS_ESO_PASSWORD={SECRET}\n")
    passwords.chmod(0o600)
    site.set(passwords=str(passwords))
    site.environ = {"SPECULOOS_SOURCE_PASSWORD": SECRET}
    hidden = site.night.source, site.night.archive, passwords.parent
    with Cluster(*hidden) as cluster:
        site.cluster = cluster
        run = site.begin()
        old = cluster.running_job(run)
        cluster.wait(lambda: environments(old))
        # Stopped, it is in the queue for as long as nobody cancels it.
        cluster.output("scontrol", "suspend", old)
        job, prefix = cluster.jobs()[old], job_name("Callisto", site.night.workdir)
        assert job["JobName"].startswith(f"{prefix}-") and "callisto" in prefix
        assert not [text for text in environments(old) if SECRET.encode() in text]
        (main,) = [n for n in site.processes() if is_main(n)]
        assert SECRET.encode() in Path(f"/proc/{main}/environ").read_bytes()
        run.kill()
        os.kill(main, signal.SIGKILL)
        run.communicate()
        assert cluster.jobs()[old]["JobState"] == "SUSPENDED"

        first = max(map(int, cluster.jobs()))
        run = site.begin()
        gone = cluster.running_job(run, first)
        cluster.output("scancel", gone)
        assert run.wait(300) == 1

        last = max(map(int, cluster.jobs()))
        run = site.begin()
        cluster.running_job(run, last)
        run.terminate()
        assert run.wait(300) and "ended by signal SIGTERM" in site.log()
        assert not cluster.output("squeue", "--noheader")[1]

        run = site.begin()
        said = run.communicate(timeout=300)
        assert run.returncode == 0, (said, site.log()[-4000:])
        jobs = cluster.jobs()
    assert jobs[old]["JobState"] == "CANCELLED" and jobs[gone]["JobState"] == "CANCELLED"
    log = site.log()
    ended = re.search(rf"jobs of an earlier run ended: .*\b{old}\b", log)
    assert ended and first < int(re.search(r"SLURM jobid (\d+)", log[ended.end() :])[1])
    later = min(jobs[n]["SubmitTime"] for n in jobs if jobs[n]["JobName"] != job["JobName"])
    assert jobs[old]["EndTime"] <= later
    # The node saw neither the source nor the archive directory.
    assert {one["NodeList"] for one in jobs.values()} == {NODE}
    assert contents(site.night) == contents(local)
    site.night.assert_delivered_once(truth)


def is_main(number: int) -> bool:
    """Return whether a process is the Snakemake that submits jobs."""
    words = Path(f"/proc/{number}/cmdline").read_bytes().split(b"\0")
    return b"--profile" in words and any(word.endswith(b"/snakemake") for word in words[:2])


@needs_slurm
def test_a_campaign_submits_a_job_for_each_night(tmp_path):
    """Killed, it leaves its job in the queue; the next campaign cancels that first."""
    site = SlurmSite(tmp_path)
    # The partition allows less than a run is allowed.
    site.set(nights="", time_limit=1)
    site.environ = {"SPECULOOS_SOURCE_PASSWORD": SECRET}
    truth = []
    for seed, night in enumerate(("20260305", "20260306")):
        truth += SmallNights.simulate(site, night=night, seed=seed)
    words = ("campaign", "callisto", "--jobs", "2", "--slurm")
    with Cluster() as cluster:
        site.cluster = cluster
        run = site.start(*words)
        old = cluster.running_job(run)
        cluster.wait(lambda: environments(old))
        assert not [text for text in environments(old) if SECRET.encode() in text]
        assert cluster.jobs()[old]["JobName"].startswith("campaign-callisto-2026030")
        # Else it could see for itself that there is no campaign.
        cluster.output("scontrol", "suspend", old)
        run.kill()
        run.communicate()
        output, errors = site.start(*words).communicate(timeout=300)
        jobs = cluster.jobs()
    assert "ended: 2 of 2 nights, 0 failed" in output, (output, errors)
    assert jobs[old]["JobState"] == "CANCELLED"
    assert {one["NodeList"] for one in jobs.values() if one["JobState"] == "COMPLETED"} == {NODE}
    site.night.assert_delivered_once(truth)
