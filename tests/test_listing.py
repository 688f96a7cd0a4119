"""Listings of nights: each entry is a frame or has a reason, whatever a source sends."""

import errno
import os
import socket
import stat
import threading
from contextlib import closing, contextmanager
from pathlib import Path

import paramiko
import pytest

from scripts.lib.files.errors import TryLater
from scripts.lib.ledger.faults import Fault, Reason
from scripts.lib.ledger.ledger import Ledger
from scripts.lib.ledger.records import NOT_COPIED, Entry, FileState, Frame
from scripts.lib.sources import listing, local
from scripts.lib.sources import source as sources
from scripts.lib.sources.listing import Kind, RawEntry, defect, harmless
from scripts.lib.sources.opening import open_folder, open_source
from scripts.lib.sources.smb import ENTRY, parse_entries
from scripts.lib.sources.source import Source
from tests.servers import Smbd, Sshd, mounted_disk, mounted_share, needs

pytestmark = pytest.mark.usefixtures("short_pauses")
NIGHT = "20260305"
TIME = 1772755200  # 2026-03-06
LONG = "x" * 245 + ".fits"  # 250 bytes
NOT_UTF8 = os.fsdecode(b"Sp\xff.fits")
ESCAPED = r"Sp\udcff.fits"
# Unusual names and how they are escaped.
HOSTILE = {
    "/data/eso/SPECU4.EVIL.fits": r"\x2fdata\x2feso\x2fSPECU4.EVIL.fits",
    "../x.fits": r"..\x2fx.fits",
    "a/../b.fits": r"a\x2f..\x2fb.fits",
    "a//b.fits": r"a\x2f\x2fb.fits",
    r"..\x.fits": r"..\x5cx.fits",
    "nul\0.fits": r"nul\x00.fits",
    "new\nline.fits": r"new\x0aline.fits",
    "esc\x1b[2J.fits": r"esc\x1b[2J.fits",
    "delete\x7f.fits": r"delete\x7f.fits",
    "csi\x9b2J.fits": r"csi\x9b2J.fits",
    "line\u2028.fits": r"line\u2028.fits",
    "": r"\x",
    ".": r"\x2e",
    "..": r"\x2e\x2e",
}


def faults(entries: list[Entry]) -> dict[str, tuple[Reason, str] | None]:
    """Return reason and detail by name; names are sorted, and none appears twice."""
    names = [entry.name for entry in entries]
    assert names == sorted(set(names))
    return {e.name: e.fault and (e.fault.reason, e.fault.detail) for e in entries}


def reasons(entries: list[Entry]) -> dict[str, Reason | None]:
    """Return the reasons by name."""
    return {name: fault and fault[0] for name, fault in faults(entries).items()}


@pytest.fixture
def night(tmp_path):
    """An empty night, in a source of its own."""
    folder = tmp_path / "source" / NIGHT
    folder.mkdir(parents=True)
    return folder


def listed(night: Path) -> list[Entry]:
    """Return the entries of a night on the local disk."""
    return open_folder(str(night.parent)).entries(night.name)


# Names


@pytest.mark.parametrize("name", ["a.fits", "B.FTS", "c.Fit", LONG, "d .fits", "-e.fits"])
def test_names_of_frames_are_taken(night, name):
    (night / name).write_bytes(b"x")
    os.utime(night / name, ns=(TIME, TIME))
    assert listed(night) == [Entry(name, FileState(1, TIME))]


@pytest.mark.parametrize(
    ("name", "entry", "detail"),
    [
        ("-é.fits", "-é.fits", "not ASCII"),
        (NOT_UTF8, ESCAPED, "bytes in it that are not text"),
    ],
)
def test_frames_with_names_that_are_not_ascii_are_held(night, name, entry, detail):
    (night / name).write_bytes(b"x")
    os.utime(night / name, ns=(TIME, TIME))
    fault = Fault(Reason.UNSAFE_NAME, detail)
    assert listed(night) == [Entry(entry, FileState(1, TIME), fault)] and not fault.expected


@pytest.mark.parametrize("name", ["log.txt", "Thumbs.db", "a.fits.tmp", "fits", "a.fitsx", ".fits"])
def test_other_names_are_not_frames(night, name):
    (night / name).write_bytes(b"x")
    os.utime(night / name, ns=(TIME, TIME))
    [entry] = listed(night)
    assert (entry.name, entry.state) == (name, FileState(1, TIME))
    assert entry.fault.reason is Reason.NOT_A_FRAME and entry.fault.expected


@pytest.mark.parametrize(
    "name", [".a.fits", ".a.fits.part", ".a.fits.gz", "B/.a.fits", ".B/a.fits"]
)
def test_hidden_files_are_not_frames(night, name):
    (night / name).parent.mkdir(exist_ok=True)
    (night / name).touch()
    assert faults(listed(night)) == {name: (Reason.NOT_A_FRAME, "hidden file")}


@pytest.mark.parametrize("name", ["a.fits.gz", "b.FITS.FZ", "c.fts.bz2", "d.fit.zip", "e.fits.xz"])
def test_compressed_frames_are_named(night, name):
    (night / name).touch()
    assert reasons(listed(night)) == {name: Reason.COMPRESSED}


def test_local_names_with_control_characters_are_not_used(night):
    names = [name for name in HOSTILE if name.strip(".") and not set("/\0") & set(name)]
    for name in names:
        (night / name).write_bytes(b"x")
    (night / "folder\n").mkdir()
    (night / "folder\n" / "a.fits").touch()
    (night / "link\n").symlink_to("/")
    found = listed(night)
    wanted = {HOSTILE[name] for name in names} | {r"folder\x0a", r"link\x0a"}
    assert reasons(found) == dict.fromkeys(sorted(wanted), Reason.UNSAFE_NAME)
    assert {entry.state.bytes for entry in found} == {1, NOT_COPIED.bytes}


def test_names_that_cannot_be_used_differ_once_escaped():
    names = [*HOSTILE, *HOSTILE.values(), "\ud800.fits", r"\ud800.fits", "\u0085", r"\x85", r"\x"]
    names += ["x" * 300, "x" * 301, "é" * 130, "\n" * 100, "\n" * 101, "." * 300]
    escaped = [harmless(name) for name in dict.fromkeys(names)]
    assert len(set(escaped)) == len(escaped)
    for name in escaped:
        assert name.isprintable() and "\\" in name and len(name.encode()) <= 255
    assert all(defect(name) for name in names)
    assert {name: harmless(name) for name in HOSTILE} == HOSTILE


# Kinds of entries


@pytest.fixture
def kinds(night):
    """A night with an entry of each kind."""
    for folder in ("x.fits/deeper", "empty", "TOI-540/B", "gone"):
        (night / folder).mkdir(parents=True)
    for name in ("a.fits", "TOI-540/B/b.fits", "x.fits/c.fits"):
        (night / name).write_bytes(b"four")
    os.mkfifo(night / "pipe.fits")
    with socket.socket(socket.AF_UNIX) as bound:
        # A path of its own would be too long.
        before = os.getcwd()
        os.chdir(night)
        bound.bind("socket.fits")
        os.chdir(before)
    links = {
        "dangling.fits": "nowhere",
        "folder.fits": "TOI-540",
        "folder": "TOI-540",
        "link.fits": "TOI-540/B/b.fits",
        "TOI-540/up": "..",
        "loop.fits": "loop.fits",
        "through.fits": "a.fits/b",
        "null.fits": "/dev/null",
        "text.fits": "log.txt",
    }
    for name, target in links.items():
        (night / name).symlink_to(target)
    (night / "log.txt").write_bytes(b"text!")
    return night


NOWHERE = (Reason.NOT_A_FILE, "link that leads nowhere")
LOOP = (Reason.NOT_A_FILE, "link that leads back to itself")
LINKED_FOLDER = (Reason.NOT_A_FILE, "link to a folder")
KINDS = {
    "TOI-540/B/b.fits": None,
    "TOI-540/up": LINKED_FOLDER,
    "a.fits": None,
    "dangling.fits": NOWHERE,
    "folder": LINKED_FOLDER,
    "folder.fits": LINKED_FOLDER,
    "link.fits": None,
    "log.txt": (Reason.NOT_A_FRAME, ""),
    "loop.fits": LOOP,
    "null.fits": (Reason.NOT_A_FILE, "device"),
    "pipe.fits": (Reason.NOT_A_FILE, "named pipe"),
    "socket.fits": (Reason.NOT_A_FILE, "socket"),
    "text.fits": None,
    "through.fits": NOWHERE,
    "x.fits": (Reason.NOT_A_FILE, "a folder"),
}


def test_local_entries_of_each_kind(kinds):
    entries = listed(kinds)
    assert faults(entries) == KINDS
    states = {entry.name: entry.state for entry in entries}
    for name, fault in KINDS.items():
        assert (states[name] == NOT_COPIED) == bool(fault and fault[0] is Reason.NOT_A_FILE), name
    assert [states[n].bytes for n in ("a.fits", "link.fits", "text.fits")] == [4, 4, 5]
    source = open_folder(str(kinds.parent))
    assert all(source.state(NIGHT, e.name) == e.state for e in entries if e.fault is None)
    with closing(source.open_frame(NIGHT, "TOI-540/B/b.fits")) as stream:
        assert stream.readinto(bytearray(9)) == 4


@needs("sshd", "sshfs")
def test_mounted_entries_of_each_kind(kinds, tmp_path):
    # Which links sshfs follows out of their folder depends on its version.
    refused = ("TOI-540/up", "null.fits")
    for name in refused:
        (kinds / name).unlink()
    with mounted_share(kinds.parent, tmp_path / "mount") as (_, _, point):
        entries = open_folder(str(point), mounted=True).entries(NIGHT)
    assert faults(entries) == {name: KINDS[name] for name in KINDS if name not in refused}
    assert {e.state.bytes for e in entries if e.fault is None} == {4, 5}


@needs("sshd")
def test_sftp_entries_of_each_kind(kinds, monkeypatch):
    (kinds / NOT_UTF8).write_bytes(b"four")
    with Sshd(kinds.parent) as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        source = open_source(server.address())
        entries = source.entries(NIGHT)
        found = faults(entries)
        assert found.pop(ESCAPED) == (Reason.UNSAFE_NAME, "bytes in it that are not text")
        # For the server a loop does not exist.
        assert found == KINDS | {"loop.fits": NOWHERE}
        for name in ("TOI-540/B/b.fits", "link.fits"):
            assert source.state(NIGHT, name).bytes == 4
            with closing(source.open_frame(NIGHT, name)) as stream:
                assert stream.readinto(bytearray(9)) == 4


@needs("smbd", "smbpasswd")
def test_smb_entries_of_each_kind(kinds, monkeypatch):
    (kinds / "TOI-540" / "up").unlink()  # to Samba a link is what it leads to
    with Smbd(kinds.parent) as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        source = open_source(server.address())
        entries = source.entries(NIGHT)
        found = reasons(entries)
        assert found["x.fits"] is found["folder.fits"] is Reason.NOT_A_FILE
        assert found["log.txt"] is Reason.NOT_A_FRAME
        for name in ("a.fits", "TOI-540/B/b.fits", "folder/B/b.fits", "link.fits"):
            assert found[name] is None and source.state(NIGHT, name).bytes == 4
            with closing(source.open_frame(NIGHT, name)) as stream:
                assert stream.readinto(bytearray(9)) == 4
        assert "empty" not in found and "." not in found and not any("\\" in n for n in found)
        with pytest.raises(OSError, match="DIRECTORY"):
            source.state(NIGHT, "TOI-540")


def smb_entries(*entries: tuple[bytes, int]) -> bytes:
    """Return names and attributes as an SMB server lists them."""
    found = b""
    for number, (name, attributes) in enumerate(entries):
        length = ENTRY.size + len(name)
        step = 0 if number == len(entries) - 1 else length
        found += ENTRY.pack(step, 0, 2**64 - 1, attributes, len(name)) + name
    return found


def test_smb_names_are_checked_and_junctions_not_followed():
    names = {
        "junction": 0x410,
        "folder": 0x10,
        ".": 0x10,
        "..": 0x10,
        "../x.fits": 0x80,
        r"a\b.fits": 0x80,
        "": 0x80,
    }
    listed = [(name.encode("utf-16-le"), kind) for name, kind in names.items()]
    listed += [(b"\x00\xd8.\x00f\x00i\x00t\x00", 0x80), (b"\x80\xdc.\x00f\x00i\x00t\x00", 0x80)]
    connection = Fake({"": list(parse_entries(smb_entries(*listed))), "folder": []})
    assert faults(connection.source().entries(NIGHT)) == {
        r"..\x2fx.fits": (Reason.UNSAFE_NAME, "path separator in it"),
        r"\x": (Reason.UNSAFE_NAME, "empty"),
        r"\x5cx00\x5cxd8.fit": (Reason.UNSAFE_NAME, "path separator in it"),
        r"\x5cx80\x5cxdc.fit": (Reason.UNSAFE_NAME, "path separator in it"),
        r"a\x5cb.fits": (Reason.UNSAFE_NAME, "path separator in it"),
        "junction": LINKED_FOLDER,
    }


# Large nights and files


def test_a_sparse_file_of_15_tb_has_its_size(tmp_path):
    with mounted_disk(tmp_path / "disk", "size=1m") as disk:
        (disk / NIGHT).mkdir()
        with open(disk / NIGHT / "large.fits", "wb") as file:
            file.truncate(15 * 10**12)
        [entry] = listed(disk / NIGHT)
    assert entry.state.bytes == 15 * 10**12 and entry.fault is None


def test_times_beyond_the_range_of_the_ledger_are_clipped(tmp_path):
    with mounted_disk(tmp_path / "disk", "size=1m") as disk:
        (disk / NIGHT).mkdir()
        for name, seconds in (("early.fits", -(10**11)), ("late.fits", 10**11)):
            (disk / NIGHT / name).touch()
            os.utime(disk / NIGHT / name, (seconds, seconds))
        source = open_folder(str(disk))
        early, late = source.entries(NIGHT)
        assert late.state == FileState(0, 2**63 - 1) and early.state == FileState(0, 1 - 2**63)
        assert source.state(NIGHT, "late.fits") == late.state


def test_a_large_night_takes_one_request_a_file(night, monkeypatch):
    for number in range(3000):
        (night / f"frame_{number:04}.fits").touch()
    asked = []
    raw_entry = local.raw_entry
    monkeypatch.setattr(local, "raw_entry", lambda *a: asked.append(a) or raw_entry(*a))
    monkeypatch.setattr(os, "stat", None)
    assert len(listed(night)) == len(asked) == 3000


# Errors


class Fake:
    """A connection to folders that exist nowhere; an exception in a place is raised there.

    Parameters
    ----------
    folders : dict
        What lies in a folder by its path.
    targets : dict
        What links lead to, by their path.
    """

    def __init__(self, folders, targets=None):
        self.folders, self.targets = folders, targets or {}
        self.asked = []

    def source(self) -> Source:
        return Source("fake", lambda: self, "hint")

    def scan(self, night, folder):
        self.asked.append(folder)
        found = self.folders[folder]
        if isinstance(found, Exception):
            raise found
        return found

    def look_up(self, night, path, follow=True):
        self.asked.append(path)
        found = self.targets[path] if follow else RawEntry(path, Kind.LINK)
        if isinstance(found, Exception):
            raise found
        return found

    def check(self):
        pass

    def open_frame(self, night, path):
        raise AssertionError

    def close(self):
        pass


def error(number: int, kind: type[OSError] = OSError) -> OSError:
    return kind(number, os.strerror(number))


FRAME = RawEntry("a.fits", Kind.FILE, FileState(1, 2))


def test_a_folder_that_cannot_be_read_is_one_entry():
    connection = Fake(
        {
            "": [RawEntry("closed", Kind.FOLDER), RawEntry("gone", Kind.FOLDER), FRAME],
            "closed": error(errno.EACCES),
            "gone": error(errno.ENOENT),
        }
    )
    entries = connection.source().entries(NIGHT)
    assert faults(entries) == {
        "a.fits": None,
        "closed": (Reason.UNREADABLE_ENTRY, "Permission denied"),
    }
    assert entries[1].state == NOT_COPIED


def test_a_night_that_cannot_be_read_is_an_error():
    for found, wanted in ((errno.EACCES, "Permission denied"), (errno.ENOTDIR, "Not a directory")):
        with pytest.raises(TryLater, match=f"night {NIGHT} of fake cannot be read: {wanted}"):
            Fake({"": error(found)}).source().entries(NIGHT)
    assert Fake({"": error(errno.ENOENT)}).source().entries(NIGHT) == []


def test_a_source_lost_within_a_night_is_an_error():
    for lost in (sources.Lost("cut"), sources.Unreachable("source fake: no share")):
        folders = {"": [FRAME, RawEntry("sub", Kind.FOLDER), RawEntry("link", Kind.LINK)]}
        connection = Fake(folders | {"sub": lost}, {"link": lost})
        with pytest.raises(TryLater, match="source fake"):
            connection.source().entries(NIGHT)


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ENAMETOOLONG, errno.EPERM])
def test_an_entry_that_cannot_be_looked_at_is_an_entry(number):
    folders = {"": [FRAME, RawEntry("link.fits", Kind.LINK)]}
    connection = Fake(folders, {"link.fits": error(number)})
    assert faults(connection.source().entries(NIGHT)) == {
        "a.fits": None,
        "link.fits": (Reason.UNREADABLE_ENTRY, os.strerror(number)),
    }


class Entries(list):
    """Entries of a folder that `os.scandir` returns."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class Failing:
    """An entry whose kind is not known."""

    def __init__(self, name: str, number: int):
        self.name, self.number = name, number

    def is_dir(self, follow_symlinks):
        return False

    def is_symlink(self):
        return False

    def stat(self, follow_symlinks):
        raise OSError(self.number, os.strerror(self.number), self.name)


def test_an_error_of_one_entry_does_not_stop_the_listing(night, monkeypatch):
    (night / "good.fits").touch()
    numbers = [errno.EIO, errno.EACCES, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT]
    scandir = os.scandir

    def scan(path):
        with scandir(path) as entries:
            failing = [Failing(f"{n}.fits", n) for n in numbers]
            return Entries([*failing, *entries] if path == night else entries)

    monkeypatch.setattr(os, "scandir", scan)
    wanted = {f"{n}.fits": (Reason.UNREADABLE_ENTRY, os.strerror(n)) for n in numbers[:-1]}
    assert faults(listed(night)) == wanted | {"good.fits": None}


def test_a_frame_that_has_become_a_pipe_is_not_waited_for(night):
    os.mkfifo(night / "a.fits")
    source = open_folder(str(night.parent))
    with pytest.raises(OSError, match="not a regular file now: named pipe"):
        source.state(NIGHT, "a.fits")


# Folders without end


def test_folders_are_walked_to_a_depth(night):
    deep = night
    for name in "123456789":
        deep /= name
    deep.mkdir(parents=True)
    (deep / "a.fits").touch()
    (deep.parent / "b.fits").touch()
    assert faults(listed(night)) == {
        "1/2/3/4/5/6/7/8/9": (Reason.UNREADABLE_ENTRY, "more than 8 folders deep"),
        "1/2/3/4/5/6/7/8/b.fits": None,
    }


def test_a_server_with_folders_everywhere_ends(monkeypatch):
    monkeypatch.setattr(sources, "MOST_FOLDERS", 100)

    class Endless(Fake):
        def scan(self, night, folder):
            self.asked.append(folder)
            return [FRAME, *(RawEntry(f"d{n}", Kind.FOLDER) for n in range(20))]

    connection = Endless({})
    entries = connection.source().entries(NIGHT)
    assert len(connection.asked) == 101
    found = {entry.fault for entry in entries if entry.fault}
    assert {fault.detail for fault in found} == {
        "more than 8 folders deep",
        "the night has more than 100 folders",
    }


def test_a_link_to_a_folder_is_read_once_and_not_followed():
    connection = Fake({"": [RawEntry("up", Kind.LINK)]}, {"up": RawEntry("up", Kind.FOLDER)})
    assert faults(connection.source().entries(NIGHT)) == {"up": LINKED_FOLDER}
    assert connection.asked == ["", "up"]


# Hostile servers


@pytest.mark.parametrize("kind", [Kind.FILE, Kind.FOLDER, Kind.LINK, Kind.PIPE])
def test_hostile_names_are_never_requested(kind):
    raws = [RawEntry(name, kind) for name in HOSTILE]
    connection = Fake({"": [RawEntry("sub", Kind.FOLDER), *raws], "sub": raws})
    entries = connection.source().entries(NIGHT)
    assert connection.asked == ["", "sub"]
    wanted = [*HOSTILE.values(), *(f"sub/{name}" for name in HOSTILE.values())]
    assert reasons(entries) == dict.fromkeys(sorted(wanted), Reason.UNSAFE_NAME)


def test_names_too_long_are_shortened():
    names = ["x" * 251 + ".fits", "y" * 9999 + ".fits", "é" * 126 + ".fits", LONG]
    connection = Fake({"": [RawEntry(name, Kind.FILE) for name in names]})
    entries = connection.source().entries(NIGHT)
    found = faults(entries)
    assert found.pop(LONG) is None and len(found) == 3
    details = sorted(detail for _, detail in found.values())
    assert details[0] == "10004 bytes long, file systems take 255"
    assert {reason for reason, _ in found.values()} == {Reason.UNSAFE_NAME}
    assert max(map(len, found)) < 100


def test_a_name_listed_twice_is_one_entry():
    assert len(Fake({"": [FRAME, FRAME]}).source().entries(NIGHT)) == 1


class Login(paramiko.ServerInterface):
    """A server that accepts any login."""

    def check_auth_password(self, username, password):
        return paramiko.AUTH_SUCCESSFUL

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED

    def get_allowed_auths(self, username):
        return "password"


class Files(paramiko.SFTPServerInterface):
    """A server's files: the same names in every folder."""

    def __init__(self, server, entries, asked):
        super().__init__(server)
        self.entries, self.asked = entries, asked

    def list_folder(self, path):
        self.asked.append(path)
        return [attributes(name, mode) for name, mode in self.entries.items()]

    def stat(self, path):
        self.asked.append(path)
        return attributes(path, stat.S_IFDIR)

    lstat = stat


def attributes(name: str | bytes, mode: int | None) -> paramiko.SFTPAttributes:
    """Return the attributes of a name; without a mode there are none."""
    found = paramiko.SFTPAttributes()
    found.filename = name
    if mode is not None:
        found.st_mode, found.st_size, found.st_atime = mode | 0o644, 5, TIME
        found.st_uid, found.st_gid, found.st_mtime = 0, 0, TIME
    return found


@contextmanager
def hostile_server(home: Path, entries: dict[str | bytes, int | None], monkeypatch):
    """Run an SFTP server that lists the entries in each folder; give address and requests."""
    asked = []
    key = paramiko.ECDSAKey.generate()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    (home / "known").write_text(f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n")
    monkeypatch.setenv("SPECULOOS_KNOWN_HOSTS", str(home / "known"))
    monkeypatch.setenv("SPECULOOS_SOURCE_PASSWORD", "any")
    transports = []

    def accept():
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(client)
            transports.append(transport)
            transport.add_server_key(key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, Files, entries, asked)
            transport.start_server(server=Login())

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"sftp://astra@127.0.0.1:{port}/data", asked
    finally:
        listener.close()
        for transport in transports:
            transport.close()


def test_sftp_server_with_hostile_names(tmp_path, monkeypatch):
    entries = dict.fromkeys([*HOSTILE, "good.fits", b"Sp\xff.fits"], stat.S_IFREG)
    entries |= {"../../etc": stat.S_IFDIR, "/link": stat.S_IFLNK, "a\n/": stat.S_IFDIR}
    entries |= {"silent.fits": None}
    with hostile_server(tmp_path, entries, monkeypatch) as (address, asked):
        entries = open_source(address).entries(NIGHT)
    unsafe = [*HOSTILE.values(), ESCAPED, r"..\x2f..\x2fetc", r"\x2flink", r"a\x0a\x2f"]
    wanted = dict.fromkeys(unsafe, Reason.UNSAFE_NAME)
    wanted |= {"good.fits": None, "silent.fits": Reason.NOT_A_FILE}
    assert reasons(entries) == wanted
    assert {entry.state for entry in entries if not entry.fault} == {FileState(5, TIME * 10**9)}
    assert set(asked) == {"/data", f"/data/{NIGHT}"}


def test_sftp_server_with_folders_everywhere(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MOST_FOLDERS", 20)
    entries = {"one": stat.S_IFDIR, "two": stat.S_IFDIR, ".": stat.S_IFDIR, "..": stat.S_IFDIR}
    with hostile_server(tmp_path, entries, monkeypatch) as (address, asked):
        found = open_source(address).entries(NIGHT)
    assert 20 <= len(asked) <= 22
    assert {entry.fault.reason for entry in found} == {Reason.UNREADABLE_ENTRY}


def test_every_kind_of_entry_has_a_description():
    for kind in Kind:
        entry = listing.entry_of("", RawEntry("a.fits", kind))
        assert (entry.fault is None) == (kind is Kind.FILE)
        assert entry.fault is None or entry.fault.detail == kind.value


def test_source_lists_frames_of_all_levels(tmp_path):
    night = tmp_path / NIGHT
    (night / "deeper").mkdir(parents=True)
    for name in ("b.fits", "a.FTS", "log.txt", ".hidden.fits", "deeper/c.fits"):
        (night / name).write_bytes(b"x")
    entries = open_folder(str(tmp_path)).entries(NIGHT)
    frames = [entry.name for entry in entries if not entry.fault]
    assert frames == ["a.FTS", "b.fits", "deeper/c.fits"]
    assert {e.fault.reason for e in entries if e.fault} == {Reason.NOT_A_FRAME}
    assert open_folder(str(tmp_path)).entries("20260306") == []
    with os.scandir(night) as found:
        found = list(found)
    (night / "b.fits").unlink()
    left = [
        raw.name
        for raw in map(local.described, found)
        if raw and raw.name.endswith(("FTS", "fits"))
    ]
    assert sorted(left) == [".hidden.fits", "a.FTS"], "the night does not count as empty"


def test_sources_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(TryLater, match="nowhere cannot be reached"):
        open_folder(str(tmp_path / "nowhere")).entries("20260305")
    with pytest.raises(TryLater, match="ftp:// is not known"):
        open_source("ftp://host/share")


def test_file_names_that_are_no_utf8_do_not_stop_planning(tmp_path):
    night = tmp_path / "20260305"
    night.mkdir()
    (night / b"M\xfcller.fits".decode("utf-8", "surrogateescape")).write_bytes(b"x")
    [entry] = open_folder(str(tmp_path)).entries("20260305")
    with Ledger(":memory:") as ledger:
        with ledger.transaction():
            ledger.record([Frame("20260305", entry.name, source=entry.state)])
        assert [(f.file, f.source) for f in ledger.frames("20260305")] == [
            (entry.name, entry.state)
        ]
