"""A real SLURM cluster for tests: munged, slurmctld and slurmd on loopback, in one folder.

Controller and submit host share a mount namespace in which /etc/slurm is that folder. The node has
another host name, its own numbers of processes, and does not see what only the submit host has.
"""

import getpass
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.servers import free_port

# Where `make test-slurm` installs the executor plugin: Snakemake imports all that it finds, and
# this one asks SLURM's controller, so the other tests do without.
PLUGIN = Path(sys.prefix) / "slurm"
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "unshare", "nsenter")
SEARCH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
NODE = "node1"
STARTUP = 60


def why_not() -> str:
    """Return why no cluster can be started here; empty if one can."""
    if missing := [name for name in PROGRAMS if not shutil.which(name, path=SEARCH)]:
        return f"not installed: {' '.join(missing)}"
    if os.geteuid() or not Path("/etc/slurm").is_dir():
        return "not root, or no folder /etc/slurm"
    alone = ["unshare", "--mount", "--uts", "--pid", "--fork", "--mount-proc", "true"]
    if subprocess.run(alone, capture_output=True).returncode:
        return "no namespaces here"
    return "" if os.environ.get("SLURM_TESTS") else "make test-slurm runs it"


needs_slurm = pytest.mark.skipif(bool(why_not()), reason=why_not() or "all there")

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={home}/munge/socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmctldPort={port}
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/node
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
SlurmctldLogFile={home}/slurmctld.log
SlurmdLogFile={home}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SlurmdParameters=config_overrides
SwitchType=switch/none
MpiDefault=none
SchedulerParameters=sched_min_interval=100000
ReturnToService=2
MailProg=/bin/true
KillWait=5
MinJobAge=300
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
NodeName={node} NodeHostname={node} NodeAddr=127.0.0.1 Port={node_port} CPUs=4 RealMemory=16000
PartitionName=main Nodes={node} Default=YES MaxTime=4:00:00 State=UP
"""


class Cluster:
    """A controller and a node that does not see ``hidden`` folders of the submit host."""

    def __init__(self, *hidden: Path):
        self.hidden = hidden
        self.home = Path(tempfile.mkdtemp(prefix="slurm-"))
        self.running: list[subprocess.Popen] = []
        for name in ("etc", "state", "node", "munge"):
            (self.home / name).mkdir(mode=0o700)
        key = self.home / "munge/key"
        key.write_bytes(os.urandom(64))
        key.chmod(0o400)
        host = os.uname().nodename.split(".")[0]
        (self.home / "hosts").write_text(f"127.0.0.1 localhost {host} {NODE}\n")
        text = CONFIGURATION.format(
            host=host,
            user=getpass.getuser(),
            home=self.home,
            node=NODE,
            port=free_port(),
            node_port=free_port(),
        )
        (self.home / "etc/slurm.conf").write_text(text)

    def start(self, *words: str) -> None:
        """Start a process that runs until the cluster is stopped."""
        with open(self.home / "output", "ab") as output:
            self.running.append(
                subprocess.Popen(
                    words,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env={"PATH": SEARCH, "LC_ALL": "C.UTF-8"},
                )
            )

    def __enter__(self) -> "Cluster":
        home = self.home
        mounts = f"mount --bind {home}/etc /etc/slurm && mount --bind {home}/hosts /etc/hosts"
        self.start("unshare", "--mount", "sh", "-c", f"{mounts} && exec sleep infinity")
        self.inside = ["nsenter", f"--target={self.running[0].pid}", "--mount"]
        munge = home / "munge"
        self.start(
            *(shutil.which("munged", path=SEARCH), "--foreground", "--force"),
            *(f"--key-file={munge}/key", f"--socket={munge}/socket", f"--pid-file={munge}/pid"),
            *(f"--log-file={munge}/log", f"--seed-file={munge}/seed"),
        )
        self.wait(lambda: (munge / "socket").exists())
        self.wait(lambda: not self.output("test", "-e", "/etc/slurm/slurm.conf", check=False)[0])
        self.start(*self.inside, "slurmctld", "-D")
        # The shell takes leave of jobs' processes; slurmd as the first process would not.
        node = f"{{ slurmd -D -N {NODE} & wait; }}"
        hide = "".join(f"mount -t tmpfs none {folder} && " for folder in self.hidden)
        self.start(
            *(*self.inside, "unshare", "--mount", "--uts", "--pid", "--fork", "--mount-proc"),
            *("--kill-child", "sh", "-c", f"hostname {NODE} && {hide}{node}"),
        )
        self.wait(lambda: self.output("sinfo", "-h", "-o", "%T", check=False)[1] == "idle")
        return self

    def __exit__(self, *_) -> None:
        self.output("scancel", f"--user={getpass.getuser()}", check=False)
        for process in reversed(self.running):
            process.kill()
            process.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def wait(self, condition, seconds: float = STARTUP) -> None:
        """Wait until a condition is met; fail with what the daemons said."""
        until = time.monotonic() + seconds
        while not condition():
            logs = [self.home / name for name in ("output", "slurmctld.log", "slurmd.log")]
            said = "".join(path.read_text()[-2000:] for path in logs if path.exists())
            assert time.monotonic() < until, said
            time.sleep(0.1)

    def output(self, *words: str, check: bool = True) -> tuple[int, str]:
        """Return exit status and output of a command on the submit host."""
        environ = {"PATH": SEARCH, "LC_ALL": "C.UTF-8"}
        done = subprocess.run([*self.inside, *words], capture_output=True, text=True, env=environ)
        assert not check or done.returncode == 0, done.stderr
        return done.returncode, done.stdout.strip()

    def jobs(self) -> dict[str, dict[str, str]]:
        """Return what the controller knows of all jobs, also of those that have ended."""
        text = self.output("scontrol", "--oneliner", "show", "job", check=False)[1]
        found = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in text.splitlines()]
        return {job["JobId"]: job for job in found if "JobId" in job}

    def running_job(self, run: subprocess.Popen, after: int = 0) -> str:
        """Return a job of a run that is at work, submitted ``after`` another, once there is one."""
        found: list[str] = []

        def is_there() -> bool:
            assert run.poll() is None, run.communicate()
            jobs = self.jobs()
            found[:] = [n for n in jobs if int(n) > after and jobs[n]["JobState"] == "RUNNING"]
            return bool(found)

        self.wait(is_there, 300)
        return found[0]
