"""The fault matrix: what may happen to a run, and that no frame and no message is lost.

Each row tests the same five things:

1. nothing is lost: in the end every good frame's pixels are in the archive directory exactly once;
2. nothing partial is visible: each product was whole when it got its name, and stayed as it was;
3. the message names the cause;
4. somebody gets a report: by mail, or on standard error, which cron mails;
5. the next run completes the night, with exit status 0.

A row here says how the run is disturbed and what the message says; `assert_reported` tests 3 and 4,
`assert_next_run_completes` 1, 2 and 5. `ELSEWHERE` names further rows, in other modules.
"""

import os
import re
import signal
import subprocess
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from shutil import disk_usage, which

import pytest

from scripts.lib.running.processes import end_marked
from scripts.lib.sources.copying import STILL_WRITTEN
from tests import test_operations
from tests.night import NIGHT, REPOSITORY, SNAKEMAKE, read_csv
from tests.servers import Smbd, Sshd, mounted_disk, mounted_share, needs
from tests.smtp import Authority, MailServer, free_port
from tests.test_operations import fill, parent, wait_for
from tests.watcher import Watcher

STOPPING = Path(__file__).parent / "stopping"
# Gives a product its name.
RENAME = "scripts.lib.delivery.publish.rename_without_replacing"
CALLISTO = ("run", "callisto")

# Further rows: which of the five things other modules test, and where.
ELSEWHERE = {
    "kill -9 of all processes together": (
        "1 2 5",
        "test_next_runs.py::test_a_killed_run_is_completed_by_the_next",
    ),
    "kill between delivery and receipt, then a late frame": (
        "1 5",
        "test_next_runs.py::test_a_frame_comes_after_a_kill_between_delivery_and_receipt",
    ),
    "kill -9 of one process of several that solve": (
        "1 5",
        "test_solve.py::test_a_run_killed_while_it_solves_is_completed_by_the_next",
    ),
    "time limit": ("1 3 4 5", "test_operations.py::test_a_run_is_ended_by_its_time_limit"),
    "SIGTERM is ignored": (
        "3",
        "test_operations.py::test_processes_that_ignore_sigterm_are_killed",
    ),
    "server cut off between bytes of a frame": (
        "1 3 5",
        "test_sources.py::test_the_next_run_completes_what_a_server_cut_off",
    ),
    "server back before the run gives up": (
        "1 5",
        "test_sources.py::test_a_server_that_restarts_in_mid_file_costs_one_attempt",
    ),
    "mount gone": ("3", "test_sources.py::test_a_mount_that_is_gone_is_no_source_without_nights"),
    "program of a mount dead": (
        "3",
        "test_sources.py::test_a_mount_whose_program_died_is_out_of_reach",
    ),
    "working directory missing": ("3 4", "test_operations.py::test_workdir_missing"),
    "another file under a product's name": (
        "1 2 3 5",
        "test_runs.py::test_a_foreign_file_of_the_same_name_is_never_overwritten",
    ),
    "raw copy damaged on our own disk": (
        "2 3",
        "test_runs.py::test_damaged_raw_pixels_fail_their_own_cube_only",
    ),
    "mail server silent, dripping, without encryption": (
        "3 4",
        "test_mail.py::test_what_cannot_be_sent_waits_and_is_sent_next",
    ),
    "kill -9 while a mail is sent": ("4", "test_mail.py::test_a_killed_process_loses_no_mail"),
    "transfer log's server dead": (
        "3 5",
        "test_transfer_log.py::test_a_run_copies_its_logs_and_survives_a_dead_server",
    ),
}


pytestmark = pytest.mark.usefixtures("jobs_of_their_own")


class Site(test_operations.Site):
    """A Callisto whose archive directory is watched and whose mails are received."""

    def __init__(self, root: Path, server: MailServer):
        super().__init__(root)
        self.server, self.mails_read = server, 0
        self.watcher = Watcher(self.night.archive)
        self.set(mail=mail_to(server.port))

    def mails(self) -> str:
        """Return the mails that have arrived since the last call."""
        new = self.server.received[self.mails_read :]
        self.mails_read += len(new)
        bodies = [message.get_body(("plain",)).get_content() for _, message in new]
        return "".join(
            f"\n{m['Subject']}\n{body}" for (_, m), body in zip(new, bodies, strict=True)
        )

    def simulate(self, science: bool = False, night: str = NIGHT, seed: int = 1) -> list[dict]:
        """Write the smallest night, one cube or with ``science`` two, and return its truth."""
        truth = self.night.simulate(frames=12, night=night, seed=seed)
        wanted = {""} | ({"Sp0805+0417"} if science else set())
        kept = [row for row in truth if row["kind"] in ("bias", "science")]
        kept = [row for row in kept if row["object"] in wanted]
        for row in truth:
            if row not in kept:
                (self.night.source / night / row["file"]).unlink()
        return kept


def mail_to(port: int) -> dict:
    return {
        "from": "archive@obs.example",
        "to": ["duty@obs.example"],
        "host": "localhost",
        "port": port,
        "security": "none",
        "timeout": 2,
    }


@pytest.fixture
def site(tmp_path):
    with MailServer(security="none") as server:
        site = Site(tmp_path, server)
        with site.watcher:
            yield site
        end_marked(str(site.night.workdir))


# How a run is disturbed


@contextmanager
def stopped(site: Site, *points: str):
    """Give a run whose jobs stop at points, and the stopped processes; then let them continue.

    See `tests/stopping/sitecustomize.py` for what a point is.
    """
    folder = site.night.root / f"stops{time.monotonic_ns()}"
    folder.mkdir()
    before = site.environ
    stops = {
        "PYTHONPATH": f"{STOPPING}:{REPOSITORY}",
        "STOP_FOLDER": folder,
        "STOP_POINTS": "\n".join(points),
    }
    site.environ = before | {key: str(value) for key, value in stops.items()}
    process = site.start(*CALLISTO)
    site.environ = before
    try:
        yield process, reached(site, process, folder, len(points))
    finally:
        for number in range(len(points)):
            (folder / f"{number}.go").touch()


def reached(site: Site, process: subprocess.Popen, folder: Path, points: int):
    """Yield each process as soon as it stops; there is one for each point."""
    known: set[Path] = set()

    def new() -> set[Path]:
        return {path for path in folder.glob("?") if path not in known}

    while len(known) < points:
        wait_for(lambda: process.poll() is not None or new())
        assert process.poll() is None, process.communicate()[1] + site.log()
        for place in new():
            known.add(place)
            yield int(os.readlink(place))
            place.with_name(f"{place.name}.go").touch()


@contextmanager
def served(site: Site, kind: type):
    """Let a site read its nights from a known server, with a short timeout."""
    with kind(site.night.source) as server:
        site.set(source=server.address())
        site.environ |= server.environment() | {"SPECULOOS_SOURCE_TIMEOUT": "10"}
        yield server


@contextmanager
def kept_full(folder: Path):
    """Fill what a run frees on a full disk."""
    done = threading.Event()

    def refill() -> None:
        with open(folder / "filling", "ab", buffering=0) as stream:
            while not done.wait(0.002):
                with suppress(OSError):
                    if left := disk_usage(folder).free:
                        stream.write(bytes(left))

    thread = threading.Thread(target=refill)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def remount(folder: Path, option: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{option}", folder], check=True)


def make_disk(image: Path) -> None:
    if os.getuid() or not which("mkfs.ext4"):
        pytest.skip("images of disks cannot be made here")
    with open(image, "wb") as stream:
        stream.truncate(32 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)


@contextmanager
def disk(image: Path, folder: Path):
    """Mount an image of a disk that writes only what a program syncs."""
    words = ["mount", "-o", "loop,commit=300", image, folder]
    if subprocess.run(words, capture_output=True).returncode:
        pytest.skip("images of disks cannot be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


# What each row shows


def assert_reported(site: Site, process: subprocess.Popen, *messages: str, status: int = 1) -> str:
    """Fail unless a run ends with a status, and whoever is on duty learns why."""
    text = " ".join((site.output_of(process, status) + site.mails()).split())
    for message in messages:
        assert re.search(message, text), text + site.log()
    return text


def assert_next_run_completes(site: Site, truth: list[dict], *messages: str) -> None:
    """Fail unless the next run delivers all that is still to be delivered, whole and once."""
    said = assert_reported(site, site.start(*CALLISTO), *messages, status=0)
    assert bool(said) == bool(messages), said
    assert_completed(site, truth)


def assert_completed(site: Site, truth: list[dict]) -> None:
    """Fail unless the night is delivered, whole and once, with a receipt for each frame."""
    site.night.assert_delivered_once(truth)
    assert not list(site.night.archive.glob(".*"))
    site.watcher.assert_only_whole(site.night.products())
    receipts = [row for path in nights(site, "archived/*.csv") for row in read_csv(path)]
    assert sorted(row["file"] for row in receipts) == sorted(row["file"] for row in truth)
    assert len(nights(site, "night.html")) == len(list(site.night.source.glob("2*[0-9]")))
    assert site.heartbeat().status == 0


def nights(site: Site, pattern: str) -> list[Path]:
    """Return files of all nights."""
    return list(site.night.workdir.glob(f"2*/{pattern}"))


# Jobs and runs killed


# In one run, each in its own night: this also tests that nights fail alone.
KILLED = {
    "20260301": ["ingest after os.replace raw/"],
    "20260302": ["inventory before os.replace frames.csv"],
    "20260303": ["solve before os.replace Sp0805"],
    "20260304": ["header before os.rename headers"],
    "20260305": ["cube before os.replace C_bias", "archive after os.link S_Sp0805"],
    "20260306": ["cube after os.replace C_bias", "archive before os.link S_Sp0805"],
    "20260307": ["night before os.replace night.html"],
}


def test_kill_of_a_job_at_every_stage(site):
    points = [f"{point}&{night}/" for night, points in KILLED.items() for point in points]
    truth = []
    for seed, night in enumerate(KILLED):
        science = any("Sp0805" in point for point in KILLED[night])
        truth += site.simulate(science, night, seed)
    site.set(nights=" ".join(KILLED), catalogue=str(site.night.source / "20260303.stars.csv"))
    failed = [f"{point.split()[0]} {point[-9:-1]}.* killed, or failed before" for point in points]
    with stopped(site, *points) as (process, jobs):
        for job in jobs:
            os.kill(job, signal.SIGKILL)
        assert_reported(site, process, f"{len(points)} jobs FAILED", *failed)
    seen = [path for path in site.night.products() if not path.name.startswith(".")]
    # Calibrations of two nights; what was staged when its job was killed has no name yet.
    assert len(seen) == 2 and all("C_bias" in path.name for path in seen)
    assert_next_run_completes(site, truth)


def test_kill_of_a_job_that_writes_frames(site):
    truth = site.simulate(science=True)
    site.set(products="frames")
    points = ["frames before os.rename bias", "frames after os.rename Sp0805"]
    with stopped(site, *points) as (process, jobs):
        for job in jobs:
            os.kill(job, signal.SIGKILL)
        assert_reported(
            site, process, "2 jobs FAILED", f"frames {NIGHT}.* killed, or failed before"
        )
    assert_next_run_completes(site, truth)


def test_kill_of_a_job_that_copies_to_another_disk(site):
    truth = site.simulate(science=True)
    with mounted_disk(site.night.archive, "size=8m") as archive:
        site.watcher.add(archive)
        points = ["archive before os.chmod .part", "archive after os.chmod .part"]
        with stopped(site, *points) as (process, jobs):
            for job in jobs:
                assert list(archive.glob(".*.part"))
                os.kill(job, signal.SIGKILL)
            assert_reported(site, process, "2 jobs FAILED", f"archive {NIGHT}.* killed")
        assert_next_run_completes(site, truth)


DELIVERED = f"archive after {RENAME} bias"


def test_kill_of_snakemake(site):
    truth = site.simulate()
    with stopped(site, DELIVERED) as (process, jobs):
        assert next(jobs)
        (main,) = [number for number in site.processes() if parent(number) == process.pid]
        os.kill(main, signal.SIGKILL)
        assert_reported(site, process, "exit status 137 killed by signal SIGKILL", status=137)
    assert_next_run_completes(site, truth)


def test_kill_of_the_wrapper_and_stale_locks(site):
    truth = site.simulate()
    with stopped(site, DELIVERED) as (process, jobs):
        orphan = next(jobs)
        process.kill()
        process.wait()
        assert orphan in site.processes()
        # A person's profile may let Snakemake lock.
        locks = site.night.workdir / ".snakemake/locks"
        locks.mkdir(exist_ok=True)
        (locks / "0.output.lock").write_text(f"{NIGHT}/night.html\n")
        assert (site.night.workdir / "wrapper.lock").exists()
        assert (site.night.workdir / f"locks/{NIGHT}.lock").exists()
        # Only the next run can report it.
        assert_next_run_completes(site, truth, "the run of .* did not end by itself: killed")
        assert orphan not in site.processes()


def test_sigterm_then_sighup(site):
    truth = site.simulate()
    for name, point in (("SIGTERM", "cube after os.replace bias"), ("SIGHUP", DELIVERED)):
        with stopped(site, point) as (process, jobs):
            assert next(jobs)
            process.send_signal(getattr(signal, name))
            assert_reported(site, process, f"run ended with exit status 1 ended by signal {name}")
    assert site.server.subjects() == 2 * ["Callisto: run ended with exit status 1"]
    assert_next_run_completes(site, truth)


def test_two_runs_of_the_wrapper(site):
    truth = site.simulate()
    with stopped(site, DELIVERED) as (process, jobs):
        assert next(jobs)
        assert site.start(*CALLISTO).communicate() == ("", "")
        site.set(max_age=0.0001)
        late = site.start(*CALLISTO)
        assert late.communicate() == ("", "") and late.returncode == 1
        assert "A run has been at work for" in site.mails()
        by_hand = [SNAKEMAKE, "--profile", site.profile.parent]
        done = subprocess.run(by_hand, cwd=REPOSITORY, capture_output=True, text=True)
        assert done.returncode == 1 and "another run is at work" in done.stderr
    assert assert_reported(site, process, status=0) == ""
    assert_completed(site, truth)


# Disks


@pytest.mark.parametrize(
    ("where", "point", "stays_full"),
    [
        ("work", "ingest after os.replace bias", False),
        # Snakemake itself removes files there, which frees enough space for those that it writes.
        ("work/.snakemake", "header after os.rename headers", True),
    ],
)
def test_no_space_before_a_run_and_in_it(site, where, point, stays_full):
    truth = site.simulate()
    no_space = "No space left on device"
    with mounted_disk(site.night.root / where, "size=8m") as folder:
        site.watcher.add(site.night.archive)
        fill(folder)
        assert_reported(site, site.start(*CALLISTO), f"not run .* cannot be written to .{no_space}")
        (folder / "filling").unlink()
        with ExitStack() as stack:
            with stopped(site, point) as (process, jobs):
                assert next(jobs)
                fill(folder)
                if stays_full:
                    stack.enter_context(kept_full(folder))
            # A job that could not write to its log has no message.
            assert_reported(site, process, rf"{no_space}|could say why .0\.0 GB of free space")
        (folder / "filling").unlink()
        assert_next_run_completes(site, truth)


def test_archive_full_then_read_only_before_a_run_and_in_it(site):
    truth = site.simulate()
    causes = {"full": "No space left on device", "read-only": "Read-only file system"}
    with mounted_disk(site.night.archive, "size=8m") as archive:
        site.watcher.add(archive)

        def injure(state: str) -> None:
            fill(archive) if state == "full" else remount(archive, "ro")

        def mend(state: str) -> None:
            (archive / "filling").unlink() if state == "full" else remount(archive, "rw")

        for state, cause in causes.items():
            injure(state)
            assert_reported(
                site, site.start(*CALLISTO), f"not run .* cannot be written to .{cause}"
            )
            mend(state)
            with stopped(site, "archive before os.link bias") as (process, jobs):
                assert next(jobs)
                injure(state)
            assert_reported(site, process, f"archive {NIGHT}.*{cause}")
            mend(state)
        assert_next_run_completes(site, truth)


def test_power_cut(site):
    truth = site.simulate()
    images = [site.night.root / f"image{number}" for number in range(4)]
    make_disk(images[0])
    folder = site.night.root / "disk"
    folder.mkdir()
    night = site.night
    night.workdir, night.archive = folder / "work", folder / "archive"
    night.folder = night.workdir / NIGHT
    site.set(workdir=str(night.workdir), archive=str(night.archive))
    cuts = iter(images[1:])

    def cut() -> None:
        subprocess.run(["cp", "--sparse=always", images[0], next(cuts)], check=True)

    with disk(images[0], folder):
        night.workdir.mkdir()
        night.archive.mkdir()
        os.sync()
        points = (DELIVERED, "night before os.replace night.html")
        with stopped(site, *points) as (process, jobs):
            for _ in jobs:
                cut()
        assert assert_reported(site, process, status=0) == ""
        cut()
    for image in images[1:]:
        with disk(image, folder), Watcher(night.archive) as site.watcher:
            ended = image == images[-1]
            assert_next_run_completes(site, truth, *([] if ended else ["did not end by itself"]))


# Sources

HALF_COPIED = "ingest after builtins.open .part"


def test_source_removed_while_it_is_copied(site):
    truth = site.simulate()
    with stopped(site, HALF_COPIED) as (process, jobs):
        assert next(jobs)
        away = site.night.source.rename(site.night.root / "away")
    assert_reported(site, process, f"ingest {NIGHT}.* source {site.night.source} cannot be reached")
    away.rename(site.night.source)
    assert_next_run_completes(site, truth)


def test_frames_truncated_and_growing_while_they_are_copied(site):
    truth = site.simulate()
    cut, growing = (site.night.source / NIGHT / row["file"] for row in truth[:2])
    whole = {path: path.read_bytes() for path in (cut, growing)}
    points = (
        f"ingest after builtins.open .{cut.name}.",
        f"ingest grows builtins.open {growing}&'rb'",
    )
    with stopped(site, *points) as (process, jobs):
        assert next(jobs)
        os.truncate(cut, len(whole[cut]) - 2880)
    said = assert_reported(site, process, "2 held back", status=0)
    assert f"1 x truncated {cut.name}" in said and STILL_WRITTEN in said and growing.name in said
    for path, content in whole.items():
        path.write_bytes(content)
    assert_next_run_completes(site, truth)


@needs("sshd", "sshfs")
def test_mount_frozen_while_it_is_copied(site):
    truth = site.simulate()
    point = site.night.root / "mount"
    site.environ |= {"SPECULOOS_SOURCE_TIMEOUT": "10"}
    site.set(source=str(point), source_mounted=True)
    with mounted_share(site.night.source, point) as (sshfs, _, _):
        with stopped(site, HALF_COPIED) as (process, jobs):
            assert next(jobs)
            sshfs.send_signal(signal.SIGSTOP)
        process.wait()
        # A process that waits for an answer of the mount cannot end before it.
        sshfs.send_signal(signal.SIGCONT)
        wait_for(lambda: not site.processes())
        assert_reported(site, process, f"source {point} cannot be reached .no answer within 10 s")
        assert_next_run_completes(site, truth)


@needs("smbd", "smbpasswd")
def test_smb_server_frozen_then_killed_then_password_wrong(site):
    truth = site.simulate()
    with served(site, Smbd) as server:
        with stopped(site, f"ingest after builtins.open .{truth[0]['file']}.") as (process, jobs):
            assert next(jobs)
            server.freeze()
        silent = f"source {server.address()} cannot be reached .no answer within 10 s"
        assert_reported(site, process, f"ingest {NIGHT}.* {silent}")
        server.thaw()
        with stopped(site, HALF_COPIED) as (process, jobs):
            assert next(jobs)
            server.kill()
        assert_reported(
            site, process, f"ingest {NIGHT}.* source {server.address()} cannot be reached"
        )
        server.start()
        right, site.environ = site.environ, site.environ | {"SPECULOOS_SOURCE_PASSWORD": "wrong"}
        refused = f"not run source {server.address()} refuses the login"
        assert_reported(site, site.start(*CALLISTO), refused, "SPECULOOS_SOURCE_PASSWORD right")
        site.environ = right
        assert_next_run_completes(site, truth)


@needs("sshd")
def test_sftp_password_key_and_host_key_wrong(site):
    truth = site.simulate()
    with served(site, Sshd) as server:
        right = site.environ
        refused = f"not run source {server.address()} refuses the login"
        site.environ = right | {"SPECULOOS_SOURCE_PASSWORD": "wrong"}
        assert_reported(site, site.start(*CALLISTO), refused)
        key = {"SPECULOOS_SOURCE_KEY": str(server.make_key("other"))}
        site.environ = right | key | {"SPECULOOS_SOURCE_PASSWORD": ""}
        assert_reported(site, site.start(*CALLISTO), refused)
        site.environ = right
        server.kill()
        server.make_host_key()
        server.start()
        assert_reported(
            site, site.start(*CALLISTO), "not run .* another host key than the known one"
        )
        (server.home / "known_hosts").unlink()
        server.kill()
        server.make_host_key()
        server.start()
        assert_next_run_completes(site, truth)


# Before the start, and mail that fails


@contextmanager
def without(folder: Path):
    """Take a folder away, as if its disk were not there."""
    away = folder.rename(folder.with_name("away"))
    yield f"{folder} (does not exist|cannot be reached)"
    away.rename(folder)


@contextmanager
def mistyped(site: Site):
    """Leave a mistake in the configuration."""
    right = site.night.config.read_text()
    site.set(lookbakc=3)
    yield "'lookbakc' was unexpected"
    site.night.config.write_text(right)


def test_mail_server_fails_when_a_run_cannot_start(site, tmp_path):
    """Cron mails what nobody received, the mails wait; the last one arrives."""
    truth = site.simulate()
    authority = Authority(tmp_path)
    site.environ |= {"SPECULOOS_SMTP_CA": str(authority.path)}
    refused = {"duty@obs.example": "550 no such user"}
    lying = MailServer(authority.context("elsewhere.example"))
    with MailServer(security="none", refused=refused) as refusing, lying:
        for injury, mail in (
            (without(site.night.archive), {"port": free_port()}),
            (without(site.night.source), {"port": refusing.port}),
            (without(site.night.archive), {"port": lying.port, "security": "starttls"}),
        ):
            site.set(mail=mail_to(site.server.port) | mail)
            with injury as message:
                said = site.output_of(site.start(*CALLISTO), 1)
            assert re.match(f"Callisto: not run\n.*{message}", said)
        assert not site.server.received and not refusing.received and not lying.received
    trouble = ("Connection refused", "duty@obs.example did not get", "certificate is not valid for")
    assert all(words in site.log() for words in trouble)
    assert "3 mail(s) wait" in site.status()[1]
    site.set(mail=mail_to(site.server.port))
    with mistyped(site) as message:
        said = site.output_of(site.start(*CALLISTO), 1)
        assert said == "" and message in site.mails()
    assert site.server.subjects() == 4 * ["Callisto: not run"]
    assert_next_run_completes(site, truth)


# The archive directory, watched


def test_products_are_whole_whenever_they_are_seen(site):
    """First on the file system of the working directory, by hard links; then copied to another."""
    truth = site.simulate(science=True)
    site.set(products="frames")
    assert site.run() == ""
    assert_completed(site, truth)
    assert len(site.watcher.arrivals) == len(truth)
    site.night.empty_archive()
    site.watcher.arrivals.clear()
    with mounted_disk(site.night.archive, "size=8m") as archive:
        site.watcher.add(archive)
        assert site.run("--config", "redeliver=true") == ""
        assert_completed(site, truth)
        assert len(site.watcher.arrivals) == len(truth)


# The matrix


def test_rows_that_other_modules_show_are_there():
    for shown, test in ELSEWHERE.values():
        module, name = test.split("::")
        assert set(shown.split()) <= set("12345")
        assert re.search(rf"^def {name}\(", (Path(__file__).parent / module).read_text(), re.M)
