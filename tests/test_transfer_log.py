"""The transfer logs' copy on the survey's server: a real sshd on loopback."""

import os
import subprocess

import pytest

from scripts.lib.delivery.transfer_log import (
    FAILED,
    copy_logs,
    copy_or_count,
    rsync_target,
)
from scripts.lib.files.errors import TryLater
from tests.night import NIGHT
from tests.servers import Sshd, needs

pytestmark = needs("/usr/sbin/sshd", "ssh", "rsync", "unshare")


@pytest.fixture
def server(tmp_path):
    folder = tmp_path / "survey"
    folder.mkdir()
    with Sshd(folder) as sshd:
        yield sshd


def remote(server) -> str:
    return server.address().replace("sftp://", "ssh://")


def environment(server, **changes) -> dict[str, str]:
    key = {"SPECULOOS_SSH_KEY": str(server.home / "id")}
    return dict(os.environ) | server.environment() | key | changes


@pytest.fixture
def workdir(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "transfer_log.txt").write_text(f"{NIGHT} 17\n")
    (folder / "transfer_log_60.A-9099_A.txt").write_text(f"{NIGHT} 2\n")
    return folder


def test_addresses_as_rsync_needs_them():
    assert rsync_target("ssh://u@host:2222/a%20b/") == ("u@host:/a b/", 2222)
    assert rsync_target("ssh://u@[2001:db8::1]/logs") == ("u@[2001:db8::1]:/logs/", None)
    for address in ("ssh://u@[2001:db8::1/logs", "ssh://u@host:port/logs"):
        with pytest.raises(TryLater, match="must have the form"):
            rsync_target(address)


def test_all_logs_arrive(server, workdir):
    copy_logs(workdir, remote(server), environment(server))
    assert {path.name for path in server.share.iterdir()} == {
        path.name for path in workdir.iterdir()
    }
    assert (server.share / "transfer_log.txt").read_text() == f"{NIGHT} 17\n"


def test_a_server_with_another_host_key_gets_nothing(server, workdir):
    known = server.home / "known_hosts"
    server.make_key("other")
    kind, key, *_ = (server.home / "other.pub").read_text().split()
    known.write_text(f"[127.0.0.1]:{server.port} {kind} {key}\n")
    with pytest.raises(TryLater, match="127.0.0.1"):
        copy_logs(workdir, remote(server), environment(server))
    known.write_text("")
    with pytest.raises(TryLater, match="127.0.0.1"):
        copy_logs(workdir, remote(server), environment(server))
    assert not list(server.share.iterdir())


def test_failures_are_counted_until_a_copy_succeeds(server, workdir):
    server.kill()
    for count in (1, 2, 3):
        assert copy_or_count(workdir, remote(server), environment(server))[0] == count
    assert (workdir / FAILED).read_text().startswith("3 transfer log not copied")
    server.start()
    assert copy_or_count(workdir, remote(server), environment(server)) == (0, "")
    assert not (workdir / FAILED).exists()


def test_a_run_copies_its_logs_and_survives_a_dead_server(server, callisto):
    callisto.simulate()
    command = callisto.command(transfer_log_remote=remote(server))

    def run() -> str:
        done = subprocess.run(
            command,
            cwd=callisto.repository,
            env=environment(server),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stderr

    run()
    assert (server.share / "transfer_log.txt").read_text() == callisto.transfer_log()
    server.kill()
    callisto.page().unlink()
    assert "transfer log not copied to ssh://" in run()
