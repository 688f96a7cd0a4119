"""Runs as cron starts them, on real processes: killed, hung, too long, refused; status; install."""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import disk_usage, which

import pytest
import snakemake.cli
import snakemake.utils
import yaml

from scripts import install, version
from scripts import status as status_command
from scripts.commands.run import runs_nothing
from scripts.lib.files.lock import FileLock, is_held, lock_of, taken
from scripts.lib.nights.dates import recent_nights
from scripts.lib.running import health, processes, run_log, slurm
from scripts.lib.running.processes import MarkedCommand, end_marked, marked, run_marked
from scripts.lib.running.run_log import Heartbeat, read_heartbeat, write_heartbeat
from scripts.lib.settings import profile
from scripts.lib.settings.check import CHECKOUT, ConfigurationError
from scripts.lib.settings.passwords import read_env_file
from scripts.lib.settings.profile import read_unchecked
from scripts.lib.settings.records import FreeSpace
from tests.night import NIGHT, PARANAL, REPOSITORY, Night
from tests.servers import mounted_disk
from tests.smtp import PASSWORD, USER, Authority, MailServer

SECRET = "correct-horse=battery"
NOW = datetime.now(UTC)
# Of the last nights only those that tests write are at the source.
*EARLIER, MISSED, _, LAST = recent_nights(NOW, PARANAL, 14)


class Site:
    """A simulated Callisto with an installed profile, and commands in cron's environment."""

    def __init__(self, root: Path):
        self.night = Night(root, "Callisto")
        self.home = root / "home"
        self.profile = self.home / ".config/snakemake/callisto/profile.yaml"
        self.profile.parent.mkdir(parents=True)
        profile = yaml.safe_load((REPOSITORY / "profiles/telescope/profile.yaml").read_text())
        profile |= {
            "snakefile": str(REPOSITORY / "Snakefile"),
            "configfile": str(self.night.config),
        }
        self.profile.write_text(yaml.safe_dump(profile))
        self.night.workdir.mkdir()
        self.environ: dict[str, str] = {}
        self.set(free_gb={"workdir": 0, "archive": 0})

    def set(self, **settings) -> None:
        """Change settings of the configuration."""
        config = yaml.safe_load(self.night.config.read_text()) | settings
        self.night.config.write_text(yaml.safe_dump(config))

    def start(self, module: str, *words: str) -> subprocess.Popen:
        environ = {"HOME": str(self.home), "PATH": "/usr/bin:/bin", "LOGNAME": "cron"}
        return subprocess.Popen(
            [sys.executable, "-m", f"scripts.{module}", *words],
            cwd=REPOSITORY,
            env=environ | self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *options: str, status: int = 0) -> str:
        """Run the workflow as cron does, and return what cron would mail."""
        return self.output_of(self.start("run", "callisto", *options), status)

    def output_of(self, process: subprocess.Popen, status: int) -> str:
        """Wait for a run, and return what cron would mail."""
        output, errors = process.communicate(timeout=300)
        assert process.returncode == status, errors + self.log()
        assert output == ""
        assert not self.processes()
        return errors

    def status(self, *words: str) -> tuple[int, str]:
        process = self.start("status", "callisto", *words)
        output, errors = process.communicate(timeout=300)
        assert errors == ""
        return process.returncode, output

    def log(self) -> str:
        path = self.night.workdir / "logs/run.log"
        return path.read_text() if path.exists() else ""

    def heartbeat(self) -> Heartbeat:
        return read_heartbeat(self.night.workdir)

    def processes(self) -> list[int]:
        return marked(str(self.night.workdir))

    def jobs(self) -> list[int]:
        """Return the processes of jobs at work: those that a process of the run started."""
        run = self.processes()
        return [number for number in run if parent(number) in run]


@pytest.fixture
def site(tmp_path):
    site = Site(tmp_path)
    yield site
    end_marked(str(site.night.workdir))


def command_line(number: int) -> bytes:
    try:
        return Path(f"/proc/{number}/cmdline").read_bytes()
    except OSError:
        return b""


def parent(number: int) -> int:
    try:
        stat = Path(f"/proc/{number}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[1])


def wait_for(condition, seconds: float = 300):
    """Wait until a condition holds, and return its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value


@contextmanager
def hanging(site: Site, reached: bool = True):
    """Give a started run, one job of which hangs: a frame is not what its DATASUM says.

    Parameters
    ----------
    reached : bool
        Whether that job is to be at work before the test goes on.
    """
    truth = site.night.simulate()
    # The last one: others that a thread copies behind it would wait with it.
    frame = max((site.night.source / NIGHT).iterdir())
    content = frame.read_bytes()
    # Ingest then waits to read it again.
    frame.write_bytes(content[:-6000] + bytes([content[-6000] ^ 1]) + content[-5999:])
    site.set(settle=300)
    process = site.start("run", "callisto")
    try:
        copied = site.night.folder / "raw"
        if reached:
            wait_for(
                lambda: process.poll() is not None or len(list(copied.glob("*.f*ts"))) == len(truth)
            )
            assert process.poll() is None and any(b"ingest" in command_line(n) for n in site.jobs())
        yield process, truth
    finally:
        process.kill()
        process.wait()
    frame.write_bytes(content)
    site.set(settle=0.2)


def assert_next_run_completes(site: Site, truth: list[dict], message: str = "") -> None:
    assert message in (said := site.run()) and bool(said) == bool(message)
    site.night.assert_delivered_once(truth)
    assert not list(site.night.archive.glob(".*"))


# Runs


def test_a_good_run_is_silent_and_leaves_a_heartbeat(site):
    truth = site.night.simulate()
    begin = datetime.now(UTC).replace(microsecond=0)
    assert site.run("--config", f"nights={NIGHT}") == ""
    site.night.assert_delivered_once(truth)
    beat = site.heartbeat()
    assert begin <= beat.start <= beat.end == beat.success and beat.status == 0
    assert " start: " in site.log() and f"--config nights={NIGHT}" in site.log()
    assert "end: exit status 0, 0 min" in site.log() and "Callisto: all is well" in site.log()
    code, text = site.status()
    assert code == 0, text
    code, text = site.status("--json")
    (found,) = json.loads(text)
    assert code == 0 and found["ok"] and found["heartbeat"]["status"] == 0
    assert not found["at_work"] and found["free"].keys() == {"workdir", "archive"}
    assert site.run() == ""
    assert site.log().count(" end: exit status 0") == 2


def test_a_failed_run_is_reported_with_its_last_lines(site):
    site.night.simulate()
    site.set(corrections=str(site.night.root))
    (site.night.root / f"callisto_{NIGHT}.yaml").write_text("- files: '*'\n")
    said = site.run(status=1)
    assert said.startswith("Callisto: run ended with exit status 1")
    assert "Error in rule" in said and len(said.splitlines()) < 40
    assert site.heartbeat().status == 1 and site.heartbeat().success is None
    code, text = site.status()
    assert code == 1 and "the last run ended with exit status 1" in text


def test_pages_of_all_nights_show_failed_and_good_runs(site):
    def shown() -> tuple[str, dict, list]:
        data = json.loads((pages / f"Callisto/{NIGHT}/night.json").read_text())
        script = (pages / "data/Callisto.js").read_text()
        standing = json.loads(script.removeprefix('site("Callisto",').removesuffix(");\n"))
        return data["state"], standing, [job["rule"] for job in data["failed"]]

    site.night.simulate()
    pages, correction = site.night.root / "pages", site.night.root / f"callisto_{NIGHT}.yaml"
    site.set(site=str(pages), corrections=str(site.night.root))
    correction.write_text("- files: '*'\n")
    site.run(status=1)
    state, standing, failed = shown()
    assert (state, failed, standing["success"]) == ("failed", ["inventory"], None)
    assert "the last run ended with exit status 1" in standing["problems"]
    correction.unlink()
    assert site.run() == "" and f"pages of all nights: {pages}/index.html" in site.log()
    state, standing, failed = shown()
    assert (state, failed, standing["problems"]) == ("ok", [], [])
    assert standing["success"] and standing["years"] == [NIGHT[:4]]


def test_a_run_is_ended_by_its_time_limit(site):
    # At any stage: on a busy machine while Snakemake still starts.
    site.set(time_limit=1 / 3600)
    with hanging(site, reached=False) as (process, truth):
        output, errors = process.communicate(timeout=300)
        assert process.returncode and not output and "its time limit" in errors
        assert not site.processes()
    site.set(time_limit=20)
    assert_next_run_completes(site, truth)


def test_the_night_of_a_run_by_hand_is_left_to_it(site):
    site.set(nights="", lookback=0)
    lock = lock_of(site.night.workdir, LAST)
    assert lock.take()
    assert site.run() == ""
    assert f"another run is at work on {LAST}" in site.log()
    assert f"left to the run that is at work on it: {LAST}" in site.log()
    # A run that does not get the lock does not change its time either.
    os.utime(lock.path, 2 * ((NOW - timedelta(hours=25)).timestamp(),))
    said = site.run(status=1)
    assert said.startswith("Callisto: run does not end")
    assert f"25 h: look at it. It holds {lock.path}" in said
    assert site.heartbeat().status == 1
    assert NOW - taken(lock.path) > timedelta(hours=24)
    lock.release()
    assert lock.take() and taken(lock.path) > NOW


def test_a_run_by_hand_counts_unless_it_only_shows(site):
    for option in ("-n", "--summary", "--dag"):
        site.night.run(option)
    assert site.heartbeat() == Heartbeat()
    site.night.run()
    beat = site.heartbeat()
    assert beat.status == 0 and beat.start <= beat.end == beat.success
    assert site.status()[0] == 0
    # A run of the wrapper that was killed is still to be reported.
    write_heartbeat(site.night.workdir, Heartbeat().began(NOW))
    run_log.record_by_hand(site.night.workdir, NOW, NOW, 0)
    beat = site.heartbeat()
    assert beat.start and beat.success and not beat.end and beat.status is None


def test_only_telescopes_that_are_set_up_are_listed(site, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(site.home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    # As if this checkout had no settings of a site, and no telescope had run.
    monkeypatch.setattr(profile, "SITE", CHECKOUT / "config/none")
    monkeypatch.setattr(os.path, "isdir", lambda path: False)
    own = yaml.safe_load(site.profile.read_text())
    assert profile.is_set_up("callisto")
    checkouts = own | {"configfile": str(CHECKOUT / "config/callisto.yaml")}
    site.profile.write_text(yaml.safe_dump(checkouts))
    assert not profile.is_set_up("callisto")
    assert status_command.main([]) == 1 and "no telescope is set up" in capsys.readouterr().err
    assert "No telescope is set up yet" in install.site_notes([])
    site.profile.write_text("cores: 2\n")
    assert profile.is_set_up("callisto")


def test_lock_is_held_until_it_is_given_back(tmp_path):
    first, second = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert not is_held(first.path)
    assert first.take() and first.held and is_held(first.path)
    os.utime(first.path, (0, 0))
    assert not second.take(seconds=0.2) and not second.held
    assert taken(first.path).year == 1970
    first.release()
    assert not is_held(first.path) and second.take() and taken(first.path) > NOW


def test_a_job_that_lost_the_first_signal_gets_another(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "REPEAT", 0.2)
    # The parent waits for a job that takes no notice the first time, as one that just starts.
    program = "import signal, time\n"
    program += "signal.signal(15, lambda *a: signal.signal(15, signal.SIG_DFL))\n"
    program += "while True: time.sleep(300)"
    script = f"trap 'trap \"\" TERM' TERM; {sys.executable} -c '{program}' & wait; wait; exit 7"
    with open(tmp_path / "log", "w") as log:
        command, environ = ["bash", "-c", script], dict(os.environ)
        ended = run_marked(
            lambda: MarkedCommand(command, str(tmp_path), environ, tmp_path, log, 5, grace=300)
        )
    assert ended.status == 7 and "time limit" in ended.cause


def test_processes_that_ignore_sigterm_are_killed(tmp_path):
    script = "trap '' TERM; setsid sleep 300 & sleep 300 & while :; do sleep 1; done"
    with open(tmp_path / "log", "w") as log:
        begin = time.monotonic()
        command, environ = ["sh", "-c", script], dict(os.environ)
        ended = run_marked(
            lambda: MarkedCommand(command, str(tmp_path), environ, tmp_path, log, 0.5, grace=0.5)
        )
    assert ended.status == 137 and "time limit" in ended.cause
    assert time.monotonic() - begin < 100 and not marked(str(tmp_path))


# Checks before the start


def assert_not_run(site: Site, message: str) -> None:
    said = site.run(status=1)
    assert said.startswith("Callisto: not run") and message in said and "Traceback" not in said
    assert not site.night.folder.exists()


def test_archive_missing(site):
    site.night.archive.rmdir()
    assert_not_run(site, f"archive: the directory {site.night.archive} does not exist")
    assert "not run: archive" in site.log() and site.heartbeat().status == 1


def test_archive_read_only(site):
    with mounted_disk(site.night.archive, "size=1m,ro"):
        assert_not_run(site, f"{site.night.archive} cannot be written to (Read-only file system)")


def test_archive_full(site):
    with mounted_disk(site.night.archive, "size=1m") as folder:
        site.set(free_gb={"workdir": 0, "archive": 0.01})
        assert_not_run(site, "free_gb.archive requires 0.01 GB")
        site.set(free_gb={"workdir": 0, "archive": 0})
        fill(folder)
        assert_not_run(site, f"archive: {folder} cannot be written to (No space left on device)")
        assert [path.name for path in folder.iterdir()] == ["filling"]


def test_workdir_full(site):
    with mounted_disk(site.night.workdir, "size=1m") as folder:
        run_log.open_log(run_log.run_log_path(folder), NOW).close()
        fill(folder)
        assert_not_run(site, f"workdir: {folder} cannot be written to (No space left on device)")
        code, text = site.status()
        assert code == 1 and "no run has succeeded yet" in text


def test_a_night_that_does_not_fit_fills_no_disk(site):
    truth = site.night.simulate(frames=90)
    size = sum(path.stat().st_size for path in (site.night.source / NIGHT).iterdir())
    with mounted_disk(site.night.workdir, f"size={size + 2**20}") as folder:
        said = site.run(status=1)
        needed = f"{len(truth)} frames to copy and their products need {2 * size / 1e9:.3g} GB"
        assert "JobFailed" in said and needed in said, said
        assert not list(site.night.folder.glob("raw/*.f*ts"))
        subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
        assert site.run() == ""
        site.night.assert_delivered_once(truth)


def test_workdir_missing(site):
    site.night.workdir.rmdir()
    assert_not_run(site, f"workdir: the directory {site.night.workdir} does not exist")
    assert not site.night.workdir.exists()


def fill(folder: Path) -> None:
    """Fill a disk."""
    with open(folder / "filling", "wb", buffering=0) as stream:
        while left := disk_usage(folder).free:
            stream.write(bytes(left))


def test_source_gone(site):
    site.night.source.rmdir()
    assert_not_run(site, f"source {site.night.source} cannot be reached")
    code, text = site.status()
    assert code == 1 and "cannot be reached" in text and "not complete   unknown" in text


def test_bad_configuration(site):
    site.set(lookbakc=3, telescope="Pluto")
    said = site.run(status=1)
    assert (
        "not run" in said and "'lookbakc' was unexpected" in said and "telescope: 'Pluto'" in said
    )
    assert site.status()[0] == 1
    site.night.config.write_text("{")
    assert "is not YAML" in site.run(status=1)
    said = site.run("--configfile", "x.yaml", status=1)
    assert "with its whole path" in said
    site.profile.write_text("cores: 2\n")
    assert "is not of this checkout" in site.run(status=1)
    site.profile.unlink()
    assert "no profile callisto" in site.run(status=1)


SETTINGS = [
    "mail={to: [c@obs.example], port: 26}",
    "mail={when: never}",
    "free_gb={archive: 3}",
    "redeliver=true",
    "keep_raw=False",
    "camera={parity: -1, pixel_scale: 0.3}",
    "programmes=[{nights: 20260317, programme: 60.A-9099(A), targets: [1]}]",
    "nights=20260317-20260319",
    "time_limit=1e1",
    "settle='3'",
    "index=",
    "solve={never: [",
    "programme=60.A-9099(A): x: y",
]


def test_settings_of_the_command_line_are_those_of_the_workflow(site):
    site.set(mail={"from": "a@obs.example", "to": ["b@obs.example"], "host": "mail.example"})
    ours = read_unchecked(site.profile, ["--config", *SETTINGS, "--cores", "2"])
    # Snakemake changes mappings in place, also those that an alias of YAML names a second time.
    theirs = json.loads(json.dumps(yaml.safe_load(site.night.config.read_text())))
    snakemake.utils.update_config(theirs, snakemake.cli.parse_config(SETTINGS))
    assert ours.settings == theirs


def test_settings_within_braces_are_understood(site):
    site.set(mail={"from": "a@obs.example", "to": ["b@obs.example"], "host": "mail.example"})
    config = read_unchecked(site.profile, ["--config", *SETTINGS[:-3]]).checked()
    assert config.mail.to == ("c@obs.example",) and config.mail.host == "mail.example"
    assert config.mail.port == 26 and config.free_gb == FreeSpace(archive=3, workdir=0)
    assert config.redeliver is True and config.keep_raw is False
    assert config.programmes[0].targets == ("1",) and config.camera.parity == -1
    with pytest.raises(ConfigurationError, match="solve: '{never: \\[' is not one of"):
        read_unchecked(site.profile, ["--config", "solve={never: ["]).checked()


@pytest.mark.parametrize(
    ("key", "address", "message"),
    [
        ("transfer_log_remote", f"ssh://obs:{SECRET}@h/logs", "ssh://user@host"),
        ("source", f"smb://obs:{SECRET}@pc/raw", "never with a password"),
        ("source", f"SMB://obs:{SECRET}@pc/raw", "smb://user@host"),
        ("mail", f"smtp://obs:{SECRET}@pc", "is not of type 'object'"),
    ],
)
def test_a_password_in_an_address_is_not_shown(site, key, address, message):
    site.set(**{key: address})
    with pytest.raises(ConfigurationError) as raised:
        read_unchecked(site.profile).checked()
    assert f"{key}: '{address[:4]}" in str(raised.value) and message in str(raised.value)
    assert SECRET not in str(raised.value)
    site.night.config.write_text(f"{key}: '{address}\n")
    with pytest.raises(ConfigurationError, match="is not YAML") as raised:
        read_unchecked(site.profile).checked()
    assert SECRET not in str(raised.value)


def test_the_workflow_itself_shows_no_password_in_an_address(site):
    output = site.night.run("-n", status=1, transfer_log_remote=f"ssh://obs:{SECRET}@h/logs")
    assert "transfer_log_remote: 'ssh://…@h/logs' is not what" in output and SECRET not in output


@pytest.mark.parametrize(
    "address", ["smb://u@pc:445/a@b", "sftp://u@[2001:db8::1]/a", "/data/a:b@c"]
)
def test_addresses_without_a_password_are_right(site, address):
    site.set(source=address, transfer_log_remote="ssh://u@[2001:db8::1]:22/a")
    assert read_unchecked(site.profile).checked().source == address


def test_options_that_run_nothing_are_refused(site):
    assert "use snakemake itself" in site.run("-kn", "--quiet", status=2)
    for option in "-n -np -S -l --dryrun --dry-r --dag --rulegraph=dot --summary --list".split():
        assert runs_nothing(option)
    for option in "--notemp -Rcube -j2 --config=nights= -qn --report-after-run --until".split():
        assert not runs_nothing(option)
    assert "usage" in site.output_of(site.start("run"), 2)


def test_a_mail_that_cannot_be_sent_waits_and_cron_reports_it(site):
    closed = {"host": "127.0.0.1", "port": 9, "security": "none", "timeout": 2}
    site.set(mail={"from": "a@obs.example", "to": ["b@obs.example"]} | closed)
    site.night.archive.rmdir()
    assert_not_run(site, "archive: the directory")
    assert "waits in" in site.log()
    code, text = site.status()
    assert code == 1 and "1 mail(s) wait in" in text


def test_the_operator_gets_one_mail_and_cron_none(site):
    site.night.simulate()
    with MailServer(security="none") as server:
        site.set(
            mail={
                "from": "a@obs.example",
                "to": ["b@obs.example"],
                "host": "127.0.0.1",
                "port": server.port,
                "security": "none",
            }
        )
        away = site.night.archive.rename(site.night.root / "away")
        assert site.run(status=1) == ""
        assert server.subjects() == ["Callisto: not run"]
        away.rename(site.night.archive)
        # This time the run itself reports it.
        site.set(corrections=str(site.night.root))
        (site.night.root / f"callisto_{NIGHT}.yaml").write_text("- files: '*'\n")
        assert site.run(status=1) == ""
        assert len(server.subjects()) == 2 and server.subjects()[1] != "Callisto: not run"
        site.set(lookbakc=3)
        assert site.run(status=1) == ""
        assert len(server.subjects()) == 3


def test_a_missing_login_in_a_wrong_configuration_is_mailed_once(site):
    env = site.night.root / "callisto.env"
    env.touch(0o600)
    authority = Authority(site.night.root)
    with MailServer(authority.context("localhost")) as server:
        env.write_text(
            # As some editors begin a file.
            f"\ufeffSPECULOOS_SMTP_USER={USER}\nSPECULOOS_SMTP_PASSWORD={PASSWORD}\n"
            f"SPECULOOS_SMTP_CA={authority.path}\n"
        )
        mail = {"from": "a@obs.example", "to": ["b@obs.example"], "host": "localhost"}
        site.set(passwords=str(env), mail=mail | {"port": server.port}, lookbakc=3)
        assert site.output_of(site.start("run", "Callisto"), 1) == ""
        assert server.subjects() == ["Callisto: not run"] and server.logins == [USER]
        code, text = site.status("--mail")
        assert code == 1 and "'lookbakc' was unexpected" in text and len(server.received) == 1
        # As after a crash; and no configuration names the queue of mails.
        (site.night.workdir / "mail/last").unlink()
        site.set(workdir=None)
        process = site.start("status", "Callisto", "--mail")
        assert "workdir: '' is not" in process.communicate()[0] and process.returncode == 1
        assert server.subjects()[1:] == ["Callisto: trouble"]


def test_nothing_runs_while_jobs_may_be_in_a_silent_queue(site):
    # As after a run that submitted jobs.
    (site.night.workdir / slurm.LOGS).mkdir(parents=True)
    site.environ["SLURM_CONF"] = "/dev/null"  # refused immediately
    assert "not run\nsqueue: " in site.run(status=1)
    assert "start:" not in site.log()


# Passwords


def test_passwords_are_in_the_environment_of_the_run_only(site):
    env = site.night.root / "callisto.env"
    site.set(passwords=str(env))
    assert f"there is no file {env}" in site.run(status=1)
    env.write_text(f"# ours\n\nSPECULOOS_SOURCE_PASSWORD='{SECRET}'\nexport OTHER={SECRET}\n")
    env.chmod(0o644)
    said = site.run(status=1)
    assert f"{env} holds passwords and others can read it" in said and SECRET not in said
    env.chmod(0o600)
    with hanging(site) as (process, truth):
        for number in site.processes():
            environ = Path(f"/proc/{number}/environ").read_bytes().split(b"\0")
            assert f"SPECULOOS_SOURCE_PASSWORD={SECRET}".encode() in environ
            assert SECRET.encode() not in command_line(number)
        process.terminate()
        said = site.output_of(process, 1)
    said += site.status("--json")[1]
    env.write_text(f"{SECRET}\n")
    said += site.run(status=1)
    assert f"{env}, line 1 is not KEY=value" in said
    env.unlink()
    files = [path for path in site.night.root.rglob("*") if path.is_file()]
    assert SECRET not in said
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_env_file_of_another_kind(tmp_path):
    path = tmp_path / "x.env"
    path.touch(0o600)
    path.write_bytes(b'A=b=c \nB="x y"\nC=\'\nD=\n')
    assert read_env_file(path) == {"A": "b=c", "B": "x y", "C": "'", "D": ""}
    path.write_bytes(b"A=\xff\n")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        read_env_file(path)


def test_the_example_of_passwords_can_be_read(tmp_path):
    path = tmp_path / "x.env"
    path.touch(0o600)
    path.write_text((REPOSITORY / "config/telescope.env.example").read_text())
    assert "SPECULOOS_SOURCE_PASSWORD" in read_env_file(path)


# Status


def test_nights_that_stay_incomplete_are_reported_once_a_day(site):
    (site.night.source / MISSED).mkdir()
    (site.night.source / MISSED / "frame.fits").touch()
    site.set(nights="20260301")
    # A failure is reported once.
    away = site.night.archive.rename(site.night.root / "away")
    assert "stay incomplete" not in site.run(status=1)
    away.rename(site.night.archive)
    assert "Callisto: nights that stay incomplete\nCallisto: trouble" in site.run()
    assert site.run() == ""
    code, text = site.status()
    assert code == 1 and f"are not complete: {MISSED}" in text
    (site.night.source / MISSED).rename(site.night.source / LAST)
    code, text = site.status()
    assert code == 0 and LAST in text


def test_damaged_tables_are_named(site):
    (site.night.source / MISSED).mkdir()
    (site.night.source / MISSED / "frame.fits").touch()
    code, text = site.status()
    assert code == 1 and f"not complete   {MISSED}" in text
    site.set(confirm=True)
    table = site.night.workdir / MISSED / "confirmed.csv"
    table.parent.mkdir()
    table.write_text("file,bytes\nframe.fits")
    code, text = site.status()
    assert code == 1 and f"TROUBLE        {table}, line 2: too few or too many columns" in text
    # A receipt of an earlier version, of which the ledger is made.
    receipt = table.with_name("archived") / "product.csv"
    receipt.parent.mkdir()
    table.rename(receipt)
    code, text = site.status()
    assert code == 1 and f"{receipt}, line 2: too few or too many columns" in text
    receipt.unlink()
    ledger = site.night.workdir / "ledger.sqlite"
    ledger.write_bytes(b"no database at all" * 100)
    code, text = site.status()
    assert code == 1 and f"{ledger}: file is not a database" in text


def test_a_missing_run_is_trouble():
    (problem,) = health.heartbeat_problems(Heartbeat(success=NOW).began(NOW), False, NOW)
    assert "did not end by itself: killed?" in problem
    beat = Heartbeat().began(NOW).ended(NOW, 0).began(NOW).ended(NOW, 3)
    assert health.heartbeat_problems(beat, False, NOW) == ["the last run ended with exit status 3"]
    beat = Heartbeat().began(NOW).ended(NOW, 0)
    assert not health.heartbeat_problems(beat, False, NOW + timedelta(hours=35))
    (problem,) = health.heartbeat_problems(beat, False, NOW + timedelta(hours=37))
    assert problem == "no run has succeeded for 37 h"


def test_a_damaged_heartbeat_is_ignored(tmp_path):
    beat = Heartbeat().began(NOW.replace(microsecond=0))
    write_heartbeat(tmp_path, beat)
    assert read_heartbeat(tmp_path) == beat
    for text in ("", "[]", "{}", "3"):
        (tmp_path / "heartbeat").write_text(text)
        assert read_heartbeat(tmp_path) == Heartbeat()


def test_run_log_is_rotated_by_age_and_size(tmp_path):
    path = run_log.run_log_path(tmp_path)
    for days, size in ((0, 0), (20, 0), (31, 0), (32, run_log.LARGEST), (33, 0)):
        with run_log.open_log(path, NOW + timedelta(days=days)) as log:
            log.write(f"{(NOW + timedelta(days=days)).isoformat()} start\n".encode() + b"x" * size)
    assert len(list(path.parent.iterdir())) == 3
    run_log.open_log(path, NOW + timedelta(days=122.5)).close()
    assert len(list(path.parent.iterdir())) == 3  # one removed, one put aside


def test_a_full_disk_does_not_end_the_run_log(tmp_path):
    with mounted_disk(tmp_path / "work", "size=1m") as folder:
        with run_log.open_log(run_log.run_log_path(folder), NOW) as log:
            fill(folder)
            run_log.note(log, "x")
            assert log.tell() == 0


def test_logs_of_snakemake_are_removed_by_age(tmp_path):
    folder = tmp_path / ".snakemake/log"
    folder.mkdir(parents=True)
    for days in (89, 91):
        (path := folder / f"{days}.snakemake.log").touch()
        os.utime(path, 2 * ((NOW - timedelta(days=days)).timestamp(),))
    run_log.remove_snakemake_logs(tmp_path, NOW)
    assert [path.name for path in folder.iterdir()] == ["89.snakemake.log"]


# Installation


def make(root: Path, target: str) -> subprocess.CompletedProcess:
    environ = os.environ | {"HOME": str(root), "XDG_CONFIG_HOME": str(root / "a b")}
    words = ["make", "-s", target, f"VENV={Path(sys.executable).parent.parent}"]
    return subprocess.run(words, cwd=REPOSITORY, env=environ, capture_output=True, text=True)


def installed_files(root: Path) -> dict[Path, str]:
    profiles = (root / "a b").rglob("*")
    return {path: path.read_text() for path in profiles if path.is_file()}


def test_install_twice_and_uninstall(tmp_path):
    first = make(tmp_path, "install")
    installed = installed_files(tmp_path)
    assert first.returncode == 0 and len(installed) == 4
    for path, text in installed.items():
        assert path.parts[-4:-2] == ("a b", "snakemake")
        profile = yaml.safe_load(text)
        assert profile["snakefile"] == f"{CHECKOUT}/Snakefile"
        assert profile["configfile"] == f"{CHECKOUT}/config/{path.parent.name}.yaml"
    second = make(tmp_path, "install")
    assert second.stdout == first.stdout and installed_files(tmp_path) == installed
    launcher = tmp_path / ".local/bin/speculoos-archive"
    shown = subprocess.run([launcher, "--version"], cwd="/", capture_output=True, text=True)
    assert shown.stdout == f"speculoos-archive {version()}\n", shown.stderr
    (tmp_path / "a b/snakemake/io/.env").touch(0o600)
    assert make(tmp_path, "uninstall").returncode == 0
    assert list(installed_files(tmp_path)) == [tmp_path / "a b/snakemake/io/.env"]
    assert not launcher.exists()


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("profile.yaml", "cores: 7\n", "is not of make install"),
        ("config.yaml", "cores: 7\n", "is not of make install"),
        (
            "profile.yaml",
            "# Written by make install of /usr; edit /usr/profiles/io/profile.yaml and run\n",
            "is of /usr: run make uninstall there",
        ),
    ],
)
def test_install_changes_nothing_if_one_file_is_not_its_own(tmp_path, name, text, message):
    path = tmp_path / "a b/snakemake/callisto" / name
    path.parent.mkdir(parents=True)
    path.write_text(text)
    for target, status in (("install", 2), ("uninstall", 0)):
        done = make(tmp_path, target)
        assert done.returncode == status and (target == "uninstall" or message in done.stderr)
        assert installed_files(tmp_path) == {path: text}


@pytest.mark.parametrize("gone", [" of /gone; edit /gone", "; edit /gone"])
def test_a_profile_of_a_checkout_that_was_moved_is_rewritten(tmp_path, gone):
    path = tmp_path / "a b/snakemake/io/profile.yaml"
    path.parent.mkdir(parents=True)
    middle = f" {gone}" if gone.startswith("of") else gone
    path.write_text(
        f"# Written by make install{middle}/profiles/io/profile.yaml and run it again.\n"
    )
    assert make(tmp_path, "install").returncode == 0
    assert str(CHECKOUT) in path.read_text()


def test_the_crontab_line_works_as_cron_runs_it(site, monkeypatch):
    make(site.night.root, "install")
    monkeypatch.setenv("HOME", str(site.night.root))
    printed = install.site_notes(["callisto"])
    # Never this machine's own Callisto.
    profile = site.night.root / "a b/snakemake/callisto/profile.yaml"
    own = f"{CHECKOUT}/config/callisto.yaml"
    profile.write_text(profile.read_text().replace(own, str(site.night.config)))
    site.night.archive.rmdir()
    (line,) = [
        line for line in printed.splitlines() if line.endswith("speculoos-archive run callisto")
    ]
    *times, command = line.split(None, 5)
    assert times == ["30", "12", "*", "*", "*"]
    # Cron turns \% into %, and gives next to no environment.
    done = subprocess.run(
        ["/bin/sh", "-c", command.replace(r"\%", "%")],
        cwd=site.home,
        env={"HOME": str(site.home), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stdout == ""
    assert f"Callisto: not run\narchive: the directory {site.night.archive}" in done.stderr


def test_a_profile_names_any_checkout(monkeypatch):
    checkout = Path('/opt/a #b: "c"')
    text = install.profile_text("callisto")
    monkeypatch.setattr(install, "CHECKOUT", checkout)
    monkeypatch.setattr(Path, "read_text", lambda path: "configfile: config/callisto.yaml # ours\n")
    assert yaml.safe_load(install.profile_text("callisto")) == {
        "snakefile": str(checkout / "Snakefile"),
        "configfile": str(checkout / "config/callisto.yaml"),
    }
    assert install.MARK.match(text)["checkout"] == str(CHECKOUT)


@pytest.mark.parametrize("number", [0, 1000])
def test_the_printed_command_writes_units_and_finds_the_profile(monkeypatch, number):
    monkeypatch.setattr(os, "geteuid", lambda: number)
    monkeypatch.setenv("HOME", "/home/o b")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/home/x")
    notes = install.site_notes(["callisto"])
    assert "XDG_CONFIG_HOME=/home/x\n" in install.launcher_text()
    sudo = "sudo env 'HOME=/home/o b' " if number else ""
    command = "'/home/o b/.local/bin/speculoos-archive'"
    assert f"  {sudo}{command} install units --user" in notes
    assert ("  sudo systemctl enable" in notes) == bool(number)


@pytest.mark.skipif(not which("systemd-analyze"), reason="needs Debian's package systemd")
def test_systemd_units_are_right(tmp_path):
    words = [sys.executable, "-m", "scripts.install"]
    environ = os.environ | {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "a b%")}
    subprocess.run([*words, "install"], cwd=REPOSITORY, env=environ, check=True, text=True)
    units = tmp_path / "units"
    units.mkdir()
    words += ["units", "callisto", "--user", "root"]

    def write():
        return subprocess.run([*words, "--into", units], cwd=REPOSITORY, env=environ).returncode

    assert write() == write() == 0
    paths = sorted(units.iterdir())
    assert [path.name for path in paths] == [
        f"speculoos-callisto{ending}" for ending in ("-alert.service", ".service", ".timer")
    ]
    done = subprocess.run(
        ["systemd-analyze", "verify", *paths], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and "speculoos" not in done.stderr, done.stderr
    service = (units / "speculoos-callisto.service").read_text()
    assert "RequiresMountsFor=/data/archive-work/Callisto /data/eso" in service
    assert "KillMode=control-group" in service and 'a b%%"' in service
    paths[0].write_text("[Unit]\n")
    assert write() == 1 and paths[0].read_text() == "[Unit]\n"
