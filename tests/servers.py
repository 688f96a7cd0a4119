"""Real SMB and SSH servers for tests: on 127.0.0.1, on free ports, all their files in one folder.

Nothing outside that folder changes (but sshd needs an empty /run/sshd): the user that they know
exists in copies of the system's tables only, which a mount namespace of their own shows to them.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

PROGRAMS = {"smbd": "samba", "smbpasswd": "samba", "sshd": "openssh-server", "sshfs": "sshfs"}
USER = "astra"
PASSWORD = "pass word:7/@"  # noqa: S105 - of a server that lives as long as its test
STARTUP = 60


def needs(*programs: str):
    """Return a mark that skips a test where programs, or the rights to start them, are missing."""
    path = os.environ["PATH"] + ":/usr/sbin:/sbin"
    missing = sorted({PROGRAMS.get(p, p) for p in programs if not shutil.which(p, path=path)})
    reason = f"not installed: {', '.join(missing)}" if missing else "not root"
    if not missing and os.geteuid() == 0:
        alone = subprocess.run(["unshare", "--mount", "true"], capture_output=True)  # noqa: S607
        reason = "no mount namespaces here" if alone.returncode else ""
    return pytest.mark.skipif(bool(reason), reason=reason or "all there")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A server process and all its children.

    Parameters
    ----------
    share : Path
        The folder that it serves.
    """

    scheme = ""

    def __init__(self, share: Path):
        # Not below pytest's folder, which only root may enter.
        self.home = Path(tempfile.mkdtemp(prefix=f"{self.scheme}-"))
        self.home.chmod(0o755)
        self.share = share
        self.port = free_port()
        self.process = None
        self.prepare()

    def prepare(self) -> None:
        """Write the server's configuration."""

    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""
        raise NotImplementedError

    def start(self) -> "Server":
        """Start, and wait until connections are taken."""
        tables = [
            f"mount --bind {self.home / name} /etc/{name} &&"
            for name in ("passwd", "shadow")
            if (self.home / name).exists()
        ]
        script = " ".join([*tables, 'exec "$@"'])
        with open(self.home / "output", "ab") as output:
            self.process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", script, "sh", *self.command()],  # noqa: S607
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        end = time.monotonic() + STARTUP
        while time.monotonic() < end and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except ConnectionRefusedError:
                time.sleep(0.05)
        raise AssertionError((self.home / "output").read_text())

    def signal(self, number: int) -> None:
        """Send a signal to the server and all its children, the parents first."""
        server = psutil.Process(self.process.pid)
        for process in (server, *server.children(recursive=True)):
            try:
                process.send_signal(number)
            except psutil.NoSuchProcess:
                pass

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.home, ignore_errors=True)

    def address(self, port: int | None = None) -> str:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        """Return what a client must know."""
        return {"SPECULOOS_SOURCE_PASSWORD": PASSWORD}

    def move(self, port: int) -> None:
        """Let clients know the server at another port, that of a line to it."""

    def add_user(self, uid: int) -> None:
        """Let the server know `USER`, with `PASSWORD`."""
        digest = subprocess.run(
            ["openssl", "passwd", "-6", "-stdin"],  # noqa: S607
            input=PASSWORD,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        lines = {
            "passwd": f"{USER}:x:{uid}:65534::{self.home}:/bin/sh",
            "shadow": f"{USER}:{digest}:19000:0:99999:7:::",
        }
        for name, line in lines.items():
            shutil.copy(f"/etc/{name}", self.home / name)
            with open(self.home / name, "a") as table:
                table.write(line + "\n")


class Smbd(Server):
    """Samba. The share `raw` is read as root, `own` and `closed` with the user's own rights."""

    scheme = "smb"

    def prepare(self) -> None:
        self.add_user(65533)
        for name in ("private", "locks", "state", "cache", "run", "rpc", "own"):
            (self.home / name).mkdir()
        (self.home / "smb.conf").write_text(f"""
[global]
    server role = standalone server
    smb ports = {self.port}
    interfaces = 127.0.0.1/8
    bind interfaces only = yes
    disable netbios = yes
    disable spoolss = yes
    load printers = no
    printcap name = /dev/null
    map to guest = never
    security = user
    passdb backend = tdbsam:{self.home}/private/passdb.tdb
    private dir = {self.home}/private
    lock directory = {self.home}/locks
    state directory = {self.home}/state
    cache directory = {self.home}/cache
    pid directory = {self.home}/run
    ncalrpc dir = {self.home}/rpc
    log file = {self.home}/log
[raw]
    path = {self.share}
    read only = no
    valid users = {USER}
    force user = root
[own]
    path = {self.home}/own
    valid users = {USER}
[closed]
    path = {self.home}/own
    valid users = daemon
""")
        subprocess.run(
            [
                "unshare",
                "--mount",
                "sh",
                "-c",  # noqa: S607
                f"mount --bind {self.home}/passwd /etc/passwd && "
                f"smbpasswd -c {self.home}/smb.conf -s -a {USER}",
            ],
            input=f"{PASSWORD}\n{PASSWORD}\n",
            capture_output=True,
            text=True,
            check=True,
        )

    def command(self) -> list[str]:
        return [
            "/usr/sbin/smbd",
            "--foreground",
            "--no-process-group",
            "-s",
            f"{self.home}/smb.conf",
        ]

    def address(self, port: int | None = None, share: str = "raw", user: str = USER) -> str:
        return f"smb://{user}@127.0.0.1:{port or self.port}/{share}"


class Sshd(Server):
    """OpenSSH with its own SFTP server. The user is root by another name, to read any folder."""

    scheme = "sftp"

    def prepare(self) -> None:
        self.add_user(0)
        self.make_host_key()
        self.make_key("id")
        shutil.copy(self.home / "id.pub", self.home / "authorized")
        Path("/run/sshd").mkdir(exist_ok=True)
        (self.home / "sshd_config").write_text(f"""
Port {self.port}
ListenAddress 127.0.0.1
HostKey {self.home}/hostkey
PidFile {self.home}/pid
AuthorizedKeysFile {self.home}/authorized
PasswordAuthentication yes
KbdInteractiveAuthentication no
PermitRootLogin yes
AllowUsers {USER}
UsePAM no
StrictModes no
Subsystem sftp internal-sftp
""")

    def make_key(self, name: str) -> Path:
        path = self.home / name
        path.unlink(missing_ok=True)
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path],  # noqa: S607
            check=True,
        )
        return path

    def make_host_key(self) -> None:
        """Give the server a new host key; its client goes on knowing the first one."""
        key = self.make_key("hostkey").with_suffix(".pub").read_text().split()
        if not (known := self.home / "known_hosts").exists():
            known.write_text(f"[127.0.0.1]:{self.port} {key[0]} {key[1]}\n")

    def command(self) -> list[str]:
        return ["/usr/sbin/sshd", "-D", "-e", "-f", f"{self.home}/sshd_config"]

    def address(self, port: int | None = None, path: Path | None = None, user: str = USER) -> str:
        return f"sftp://{user}@127.0.0.1:{port or self.port}{path or self.share}"

    def environment(self) -> dict[str, str]:
        return super().environment() | {"SPECULOOS_KNOWN_HOSTS": str(self.home / "known_hosts")}

    def move(self, port: int) -> None:
        known = self.home / "known_hosts"
        known.write_text(known.read_text().replace(f":{self.port} ", f":{port} "))


class SlowLine:
    """A line to a server that passes a limited number of bytes a second to the client.

    Parameters
    ----------
    port : int
        Of the server.
    rate : float
        Bytes per second, of all connections together.
    """

    def __init__(self, port: int, rate: float):
        self.server, self.rate = port, rate
        self.turn = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()

    def accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.server))
            except OSError:
                client.close()
                continue
            for pair in ((client, server, False), (server, client, True)):
                threading.Thread(target=self.carry, args=pair, daemon=True).start()

    def carry(self, here: socket.socket, there: socket.socket, slowly: bool) -> None:
        try:
            while data := here.recv(1 << 14):
                if slowly:
                    with self.turn:
                        time.sleep(len(data) / self.rate)
                there.sendall(data)
        except OSError:
            pass
        for end in (here, there):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


@contextmanager
def mounted_disk(folder: Path, options: str):
    """Mount a small file system of its own."""
    folder.mkdir(exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.getuid() or subprocess.run(words, capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)  # noqa: S607


@contextmanager
def mounted_share(share: Path, point: Path):
    """Mount a folder through SSH; give the process that does it, the server and the mount."""
    point.mkdir()
    with Sshd(share) as server:
        options = {
            "IdentityFile": server.home / "id",
            "UserKnownHostsFile": server.home / "known_hosts",
            "StrictHostKeyChecking": "yes",
            "dir_cache": "no",
        }
        process = subprocess.Popen(
            ["sshfs", "-f", "-p", str(server.port), f"{USER}@127.0.0.1:{share}", point]  # noqa: S607
            + [f"-o{key}={value}" for key, value in options.items()],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + 120
        while not os.path.ismount(point):
            assert process.poll() is None and time.monotonic() < end, "sshfs does not mount here"
            time.sleep(0.05)
        try:
            yield process, server, point
        finally:
            server.thaw()
            process.send_signal(signal.SIGCONT)
            subprocess.run(["umount", "--lazy", point], stderr=subprocess.DEVNULL)  # noqa: S607
            process.kill()
            process.wait()
