"""Nights read from real SMB and SSH servers, and from mounted folders: whole, or with a reason."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import paramiko
import pytest
from smbprotocol.connection import Connection as SmbConnection

from scripts.lib.files.errors import TryLater
from scripts.lib.ledger.faults import BadFrame, Reason
from scripts.lib.ledger.records import Entry, FileState
from scripts.lib.sources import source as sources
from scripts.lib.sources.copying import STILL_WRITTEN, copy_frame
from scripts.lib.sources.local import is_share, kind_of_mount
from scripts.lib.sources.opening import Server, open_folder, open_source
from scripts.lib.sources.source import Source
from tests.night import NIGHT, Night
from tests.servers import (
    PASSWORD,
    USER,
    SlowLine,
    Smbd,
    Sshd,
    free_port,
    mounted_disk,
    mounted_share,
    needs,
)

pytestmark = pytest.mark.usefixtures("short_pauses")
SERVERS = [
    pytest.param(Smbd, marks=needs("smbd", "smbpasswd"), id="smb"),
    pytest.param(Sshd, marks=needs("sshd"), id="sftp"),
]
SMB, SFTP = SERVERS
# paramiko asks for a file's parts in a thread of its own, which dies with the connection.
loses_connection = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnhandledThreadExceptionWarning"
)
CONTENT = bytes(range(256)) * 45 * 250  # 2.9 MB, whole FITS blocks


@pytest.fixture
def share(tmp_path):
    """A folder with a night of four frames, and of other things."""
    night = tmp_path / "share" / NIGHT
    (night / "folder.fits").mkdir(parents=True)
    for name in ("a.fits", "b.fts", "log.txt", ".hidden.fits"):
        (night / name).write_bytes(CONTENT[: 2880 * (5 + ord(name[0]))])
    (night / "c d'e.fits").write_bytes(CONTENT)
    (night / "e/f").mkdir(parents=True)
    (night / "e/f/g.FIT").write_bytes(CONTENT[:2880])
    return night.parent


@pytest.fixture
def server(request, share, monkeypatch):
    """A running server of that folder; its client knows what it must."""
    with request.param(share) as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        yield running


def every(kinds=SERVERS):
    return pytest.mark.parametrize("server", kinds, indirect=True)


def read(stream) -> bytes:
    """Return all that a stream gives."""
    piece, found = bytearray(1_000_003), b""
    with closing(stream):
        while count := stream.readinto(memoryview(piece)):
            found += piece[:count]
    return found


def taken(entries: list[Entry]) -> dict[str, FileState]:
    """Return the states of the entries that are frames to take."""
    return {entry.name: entry.state for entry in entries if entry.fault is None}


def reasons(entries: list[Entry]) -> dict[str, Reason]:
    """Return the reasons of the entries that are not."""
    return {entry.name: entry.fault.reason for entry in entries if entry.fault}


def counted(function, calls: list):
    """Return a function that writes down each call of another one."""

    def call(*arguments, **named):
        calls.append(arguments)
        return function(*arguments, **named)

    return call


def copy_frames(source: Source, raw: Path, wait: float = 0.1) -> dict[str, str]:
    """Copy the night's frames, four at a time; return by name why one was not copied."""

    def copy(name: str) -> str:
        try:
            copy_frame(source, NIGHT, name, raw, wait)
        except BadFrame as error:
            return error.fault.detail
        return ""

    names = list(taken(source.entries(NIGHT)))
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(names, pool.map(copy, names), strict=True))


def failure(address: str) -> str:
    """Return why a source cannot be reached; no secret may be in it, nor in its causes."""
    with pytest.raises(TryLater) as raised:
        open_source(address).check()
    error = raised.value
    while error:
        assert PASSWORD not in f"{error} {error!r}"
        error = error.__cause__
    return str(raised.value)


@every()
def test_a_source_returns_names_states_and_bytes(server, share):
    source = open_source(server.address())
    source.check()
    entries = source.entries(NIGHT)
    assert reasons(entries) == {
        ".hidden.fits": Reason.NOT_A_FRAME,
        "folder.fits": Reason.NOT_A_FILE,
        "log.txt": Reason.NOT_A_FRAME,
    }
    frames = taken(entries)
    assert list(frames) == ["a.fits", "b.fts", "c d'e.fits", "e/f/g.FIT"]
    for name, state in frames.items():
        assert source.state(NIGHT, name) == state
        assert state.bytes == (share / NIGHT / name).stat().st_size
        assert abs(state.mtime_ns - (share / NIGHT / name).stat().st_mtime_ns) < 1e9
        assert read(source.open_frame(NIGHT, name)) == (share / NIGHT / name).read_bytes()
    assert source.entries("20260306") == [] and source.nights() == [NIGHT]
    with pytest.raises(FileNotFoundError):
        source.open_frame(NIGHT, "gone.fits")


def test_a_frame_is_linked_hard_or_else_symbolically(share, tmp_path):
    source, raw = open_folder(str(share)), tmp_path / "raw"
    copy_frame(source, NIGHT, "e/f/g.FIT", raw, 0, link=True)
    state, sums = copy_frame(source, NIGHT, "e/f/g.FIT", raw, 0, link=True)
    frame, link = share / NIGHT / "e/f/g.FIT", raw / "e/f/g.FIT"
    assert link.stat().st_ino == frame.stat().st_ino and frame.stat().st_nlink == 2
    assert (sums.bytes, state) == (2880, source.state(NIGHT, "e/f/g.FIT"))
    with pytest.raises(BadFrame, match="No such file"):
        copy_frame(source, NIGHT, "gone.fits", raw, 0, link=True)
    assert [path.name for path in raw.rglob("*.*")] == ["g.FIT"]
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == share.stat().st_dev:
        pytest.skip("there is no other file system")
    with TemporaryDirectory(dir=other) as folder:
        copy_frame(source, NIGHT, "a.fits", Path(folder), 0, link=True)
        assert Path(folder, "a.fits").readlink() == share / NIGHT / "a.fits"


@every()
def test_a_large_night_takes_few_requests(server, share, monkeypatch):
    requests = []
    for kind, name in ((paramiko.SFTPClient, "_async_request"), (SmbConnection, "_send")):
        monkeypatch.setattr(kind, name, counted(getattr(kind, name), requests))
    night = share / "20260307"
    night.mkdir()
    names = [f"frame_{number:04}.fits" for number in range(3000)]
    for name in names:
        (night / name).touch()
    source = open_source(server.address())
    source.check()
    requests.clear()
    assert list(taken(source.entries("20260307"))) == names
    assert 0 < len(requests) < 100


@every()
def test_messages_say_what_to_look_at(server, share, monkeypatch):
    port = free_port()
    assert f"127.0.0.1:{port}" in (closed := failure(server.address(port=port)))
    assert f"refused): is the control PC on, its name right, and its port {port} open?" in closed
    unknown = failure(server.address().replace("127.0.0.1", "nowhere.invalid"))
    assert "nowhere.invalid" in unknown and "cannot be reached" in unknown
    wrong_user = server.address(user="nobody-here")
    assert f"source {wrong_user} refuses the login" in failure(wrong_user)
    monkeypatch.setenv("SPECULOOS_SOURCE_PASSWORD", "wrong")
    message = failure(server.address())
    assert f"source {server.address()} refuses the login" in message
    assert "SPECULOOS_SOURCE_PASSWORD right?" in message
    monkeypatch.delenv("SPECULOOS_SOURCE_PASSWORD")
    open_source.cache_clear()
    assert "SPECULOOS_SOURCE_PASSWORD" in failure(server.address())


@every([SMB])
def test_smb_share_folder_and_permission_are_distinguished(server):
    assert "has no share nowhere" in failure(server.address(share="nowhere"))
    assert "has no folder not\\there on the share raw" in failure(server.address() + "/not/there")
    message = failure(server.address(share="closed"))
    assert "refuses the share (STATUS_ACCESS_DENIED)" in message and USER in message
    night = server.home / "own" / NIGHT
    night.mkdir()
    (night / "a.fits").write_bytes(CONTENT)
    source = open_source(server.address(share="own"))
    (night / "a.fits").chmod(0o600)
    with pytest.raises(PermissionError, match="a.fits"):
        source.open_frame(NIGHT, "a.fits")
    night.chmod(0o700)
    with pytest.raises(TryLater, match=f"night {NIGHT} of .* cannot be read: permission"):
        source.entries(NIGHT)
    source.check()


@every([SFTP])
def test_sftp_key_folder_and_permission_are_distinguished(server, monkeypatch):
    nowhere = server.address(path=server.home / "nowhere")
    assert f"has no folder {server.home}/nowhere" in failure(nowhere)
    monkeypatch.delenv("SPECULOOS_SOURCE_PASSWORD")
    monkeypatch.setenv("SPECULOOS_SOURCE_KEY", str(server.home / "id"))
    open_source(server.address()).check()
    monkeypatch.setenv("SPECULOOS_SOURCE_KEY", str(server.make_key("other")))
    open_source.cache_clear()
    assert "refuses the login" in failure(server.address())
    monkeypatch.setenv("SPECULOOS_SOURCE_KEY", str(server.home / "missing"))
    open_source.cache_clear()
    assert f"key {server.home}/missing cannot be read" in failure(server.address())


@every([SFTP])
def test_sftp_hosts_that_are_not_known_get_no_password(server, monkeypatch):
    known = server.home / "known_hosts"
    server.kill()
    server.make_host_key()
    server.start()
    message = failure(server.address())
    assert "has another host key than the known one" in message and str(known) in message
    known.write_text("")
    open_source.cache_clear()
    assert "is a host that is not known" in failure(server.address())
    monkeypatch.setenv("SPECULOOS_KNOWN_HOSTS", str(server.home / "nowhere"))
    open_source.cache_clear()
    assert f"has no list of known hosts: {server.home}/nowhere" in failure(server.address())
    assert "password" not in (server.home / "output").read_text().lower()


def test_addresses_are_checked_and_their_passwords_not_shown():
    for address in ("smb://user:s3cret@pc/raw", "sftp://user:s3cret@pc/data"):
        with pytest.raises(TryLater, match="has a password in its address") as raised:
            open_source(address)
        assert "s3cret" not in str(raised.value)
    for address in ("smb://pc/raw", "sftp://user@pc", "smb://user@pc:port/raw", "smb://"):
        with pytest.raises(TryLater, match="must have the form (smb|sftp)://user@host"):
            open_source(address)


def test_an_unreadable_answer_to_a_login_names_the_server():
    class Strange(Server):
        PORT = 1

        def log_in(self):
            raise OverflowError("no such date")

        def close(self):
            pass

        def find_folder(self):
            raise AssertionError("not reached")

        @staticmethod
        def translate(error):
            return OSError(errno.EIO, "the server's answer cannot be read")

    with pytest.raises(TryLater, match="//a@pc/x cannot be logged in to .the server's answer"):
        Strange(urlsplit("smb://a@pc/x"))


def test_libraries_are_imported_only_when_they_are_needed():
    code = (
        "import sys; from scripts.lib.sources.opening import open_source; open_source('/')\n"
        "import scripts.ingest\n"
        "print({'paramiko', 'smbprotocol', 'cryptography'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@every()
def test_a_source_out_of_reach_is_tried_once_not_for_each_night(server, monkeypatch):
    monkeypatch.setenv("SPECULOOS_SOURCE_TIMEOUT", "0.5")
    requests = []
    monkeypatch.setattr(sources.Worker, "call", counted(sources.Worker.call, requests))
    server.freeze()
    source = open_source(server.address())
    for night in range(20260301, 20260316):
        with pytest.raises(TryLater, match="no answer within 0.5 s"):
            source.entries(str(night))
    assert len(requests) == 1
    server.thaw()


@every()
def test_a_connection_that_was_cut_is_made_again(server):
    source = open_source(server.address())
    before = source.entries(NIGHT)
    server.kill()
    server.start()
    assert source.entries(NIGHT) == before


@every([SMB])
def test_a_frame_that_is_read_can_be_opened_written_and_renamed(server, share):
    import smbclient

    source = open_source(server.address())
    unc = rf"\\127.0.0.1\raw\{NIGHT}"
    camera = {
        "username": USER,
        "password": PASSWORD,
        "port": server.port,
        "connection_cache": {},
    }
    with closing(source.open_frame(NIGHT, "a.fits")) as stream:
        assert stream.readinto(bytearray(2880)) == 2880
        for mode, shared in (("rb", "rwd"), ("ab", "rwd"), ("r+b", "r")):
            with smbclient.open_file(rf"{unc}\a.fits", mode, share_access=shared, **camera) as file:
                assert file.write(b"x") if mode != "rb" else file.read(1)
        smbclient.rename(rf"{unc}\a.fits", rf"{unc}\renamed.fits", **camera)
        smbclient.remove(rf"{unc}\renamed.fits", **camera)
    smbclient.reset_connection_cache(connection_cache=camera["connection_cache"])
    # Conversely, a file that the camera software has open for writing can be read.
    with smbclient.open_file(rf"{unc}\b.fts", "ab", share_access="rwd", **camera) as file:
        file.write(b"x")
        assert source.open_frame(NIGHT, "b.fts").readinto(bytearray(2880)) == 2880
    smbclient.reset_connection_cache(connection_cache=camera["connection_cache"])
    assert sorted(path.name for path in (share / NIGHT).iterdir()) == [
        ".hidden.fits",
        "b.fts",
        "c d'e.fits",
        "e",
        "folder.fits",
        "log.txt",
    ]


@every()
def test_a_growing_frame_is_not_copied_in_part(server, share, tmp_path):
    source = open_source(server.address())
    growing, done = share / NIGHT / "c d'e.fits", threading.Event()

    def grow():
        with open(growing, "ab", buffering=0) as file:
            while not done.wait(0.001):
                file.write(bytes(2880))

    writer = threading.Thread(target=grow)
    writer.start()
    try:
        failed = copy_frames(source, tmp_path / "raw")
    finally:
        done.set()
        writer.join()
    assert failed.pop(growing.name) == STILL_WRITTEN
    assert set(failed.values()) == {""}
    assert not (tmp_path / "raw" / growing.name).exists()
    assert set(copy_frames(source, tmp_path / "raw").values()) == {""}
    assert (tmp_path / "raw" / growing.name).read_bytes() == growing.read_bytes()


@pytest.fixture
def slowly(server):
    """A slow line to the server, which its client knows as the same host."""
    with SlowLine(server.port, 2e6) as line:
        server.move(line.port)
        yield line


def in_mid_file(raw, injure) -> None:
    """Disturb a server on a slow line, once only its largest file is being copied."""

    def wait():
        while len(list(raw.glob("[ab].f*ts"))) < 2 or not list(raw.glob(".c d*")):
            time.sleep(0.01)
        time.sleep(0.2)
        injure()

    threading.Thread(target=wait, daemon=True).start()


@loses_connection
@every()
def test_a_server_that_restarts_in_mid_file_costs_one_attempt(server, slowly, tmp_path):
    source = open_source(server.address(port=slowly.port))
    source.check()

    def restart():
        server.kill()
        slowly.rate = 1e9
        server.start()

    in_mid_file(tmp_path / "raw", restart)
    assert set(copy_frames(source, tmp_path / "raw", wait=0.5).values()) == {""}
    assert (tmp_path / "raw" / "c d'e.fits").read_bytes() == CONTENT


@loses_connection
@every()
def test_a_server_that_freezes_in_mid_file_ends_the_copy(server, slowly, tmp_path, monkeypatch):
    monkeypatch.setenv("SPECULOOS_SOURCE_TIMEOUT", "3")
    address = server.address(port=slowly.port)
    source = open_source(address)
    source.check()
    in_mid_file(tmp_path / "raw", server.freeze)
    start = time.monotonic()
    with pytest.raises(TryLater, match="no answer within 3 s.*is the control PC on"):
        copy_frames(source, tmp_path / "raw")
    assert 3 < time.monotonic() - start < 60
    server.thaw()
    slowly.rate = 1e9
    monkeypatch.setenv("SPECULOOS_SOURCE_TIMEOUT", "30")
    open_source.cache_clear()
    assert set(copy_frames(open_source(address), tmp_path / "raw").values()) == {""}


def run(night: Night, server, address: str, status: int = 0, **environment) -> str:
    """Run the workflow on a source and return what it printed; no secret may be in any record."""
    done = subprocess.run(
        night.command(source=address, keep_raw="true"),
        cwd=night.repository,
        env=os.environ | server.environment() | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    output = done.stdout + done.stderr
    assert done.returncode == status, output[-6000:]
    for path in (path for path in night.workdir.rglob("*") if path.is_file()):
        assert PASSWORD.encode() not in path.read_bytes(), path
    assert PASSWORD not in output
    return output


@pytest.mark.parametrize(
    ("kind", "telescope"),
    [
        pytest.param(kind.values[0], name, marks=kind.marks, id=kind.id)
        for kind, name in ((SMB, "Callisto"), (SFTP, "Io"))
    ],
)
def test_a_night_is_delivered_from_a_server(kind, telescope, tmp_path):
    night = Night(tmp_path, telescope)
    truth = night.simulate(faults=True)
    with kind(night.source) as server:
        run(night, server, server.address())
        night.assert_delivered_once(truth)
        assert "Nothing to be done" in run(night, server, server.address())
        late = night.source / NIGHT / truth[-1]["file"]
        late.touch()
        message = run(night, server, server.address(), 1, SPECULOOS_SOURCE_PASSWORD="wrong")
        assert f"source {server.address()} refuses the login" in message


@pytest.mark.parametrize(
    ("kind", "trouble", "message"),
    [
        pytest.param(Smbd, "freeze", "no answer within 2 s", marks=SMB.marks, id="smb frozen"),
        pytest.param(Sshd, "kill", "cannot be reached", marks=SFTP.marks, id="sftp killed"),
    ],
)
def test_the_next_run_completes_what_a_server_cut_off(kind, trouble, message, tmp_path):
    night = Night(tmp_path, "Callisto", size=(512, 640))
    truth = night.simulate()
    raw = night.folder / "raw"
    with kind(night.source) as server, SlowLine(server.port, 2.5e6) as line:
        server.move(line.port)

        def strike():
            """Wait until frames have been copied and others are being copied."""
            while not (len(list(raw.glob("*.fits"))) > 2 and list(raw.glob(".*.part"))):
                time.sleep(0.02)
            getattr(server, trouble)()

        striking = threading.Thread(target=strike, daemon=True)
        striking.start()
        address = server.address(port=line.port)
        output = run(night, server, address, 1, SPECULOOS_SOURCE_TIMEOUT="2")
        striking.join(1)
        assert f"source {address} cannot be reached" in output and message in output
        copied = {path: path.stat().st_ino for path in raw.glob("*.fits")}
        assert 2 < len(copied) < len(truth) and not night.products()
        line.rate = 1e9
        server.thaw() if trouble == "freeze" else server.start()
        run(night, server, address)
    night.assert_delivered_once(truth)
    assert {path: path.stat().st_ino for path in copied} == copied


@pytest.fixture
def mount(share, tmp_path):
    """A mount of a folder through SSH, as a process and its mount point."""
    with mounted_share(share, tmp_path / "mount") as (process, server, point):
        process.server = server
        yield process, point


@needs("sshd", "sshfs")
def test_a_mount_that_is_gone_is_no_source_without_nights(mount, share):
    process, point = mount
    (share / NIGHT / "deeper").mkdir()
    for root in (point, point / NIGHT):
        open_folder(str(root), mounted=True).check()
    source = open_folder(str(point), mounted=True)
    entries = source.entries(NIGHT)
    frames = taken(entries)
    assert list(frames) == ["a.fits", "b.fts", "c d'e.fits", "e/f/g.FIT"]
    assert reasons(entries) == {
        ".hidden.fits": Reason.NOT_A_FRAME,
        "folder.fits": Reason.NOT_A_FILE,
        "log.txt": Reason.NOT_A_FRAME,
    }
    assert all(source.state(NIGHT, name) == state for name, state in frames.items())
    assert read(source.open_frame(NIGHT, "c d'e.fits")) == CONTENT
    with pytest.raises(FileNotFoundError):
        source.open_frame(NIGHT, "gone.fits")
    subprocess.run(["umount", point], check=True)  # noqa: S607
    with pytest.raises(TryLater, match="mount is not a mount point: is the share mounted?"):
        source.entries(NIGHT)
    assert open_folder(str(point)).entries(NIGHT) == []


@needs("sshd", "sshfs")
def test_a_lost_mount_is_missed_on_a_mounted_disk(share, tmp_path):
    disk = tmp_path / "data disk"
    with mounted_disk(disk, "size=1m"):
        with mounted_share(share, disk / "mount") as (_, _, point):
            for root in (point, point / NIGHT):
                open_folder(str(root), mounted=True).check()
        with pytest.raises(TryLater, match="data disk/mount is not a mount point"):
            open_folder(str(disk / "mount"), mounted=True).check()
        open_folder(str(disk), mounted=True).check()


def test_kinds_of_mounts_are_distinguished():
    mounts = r"""25 1 8:1 / / rw - ext4 /dev/sda1 rw
26 25 8:2 / /data rw,relatime shared:1 - ext4 /dev/sdb1 rw
27 26 0:40 / /data/source/Io rw shared:2 master:1 - autofs systemd-1 rw
28 27 0:41 / /data/source/Io rw shared:3 - cifs //pc/raw rw
29 26 0:42 / /data/the\040pc rw - fuse.sshfs obs@pc:/raw rw
"""
    kinds = {
        "/home/obs": "",
        "/data/source/Europa": "ext4",
        "/data/source/Io/raw": "cifs",
        "/data/the pc": "fuse.sshfs",
    }
    assert {path: kind_of_mount(Path(path), mounts) for path in kinds} == kinds
    assert all(map(is_share, ("cifs", "smb3", "nfs", "nfs4", "fuse.sshfs", "fuse", "9p", "ceph")))
    assert not any(map(is_share, ("", "ext4", "fuseblk", "tmpfs", "overlay", "zfs", "autofs")))


@needs("sshd", "sshfs")
@pytest.mark.parametrize("frozen", ["server", "mount"])
def test_a_mount_that_freezes_ends_the_run(mount, frozen, monkeypatch, tmp_path):
    process, point = mount
    source = open_folder(str(point), mounted=True)
    with closing(source.open_frame(NIGHT, "c d'e.fits")) as stream:
        stream.readinto(bytearray(2880))
        # Not before: the process that reads the mount may take longer to start.
        source.limit = source.worker().limit = 1
        process.server.freeze() if frozen == "server" else process.send_signal(signal.SIGSTOP)
        with pytest.raises(OSError, match="no answer within 1 s"):
            read(stream)
    with pytest.raises(TryLater, match="no answer within 1 s.*is the telescope's control PC on"):
        source.entries(NIGHT)
    # A process that waits for an answer must be able to end, too.
    monkeypatch.setenv("SPECULOOS_SOURCE_TIMEOUT", "1")
    code = (
        "from scripts.lib.sources.opening import open_folder\n"
        f"try: open_folder({str(point)!r}, mounted=True).entries('{NIGHT}')\n"
        "except OSError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert "no answer within 1 s" in done.stdout, done.stderr
    monkeypatch.delenv("SPECULOOS_SOURCE_TIMEOUT")
    process.server.thaw()
    process.send_signal(signal.SIGCONT)
    frames = open_folder(str(point), mounted=True)
    assert set(copy_frames(frames, tmp_path / "raw").values()) == {""}


@needs("sshd", "sshfs")
def test_a_mount_whose_program_died_is_out_of_reach(mount):
    process, point = mount
    process.kill()
    process.wait()
    for mounted in (True, False):
        with pytest.raises(TryLater, match="mount cannot be reached .Transport endpoint"):
            open_folder(str(point), mounted=mounted).entries(NIGHT)
