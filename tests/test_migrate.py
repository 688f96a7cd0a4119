"""Installations of the legacy pipeline, made as its templates are, and what they become."""

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scripts.commands.migrate import main
from scripts.lib.settings.passwords import read_env_file
from scripts.migration.conversion import VARIABLES
from scripts.migration.legacy import read_csh, read_dotenv, read_transfer_logs
from tests.night import NIGHT, REPOSITORY
from tests.servers import PASSWORD, USER, Smbd, needs

CHILE = "60.A-9099(A)"
BEFORE, TAKEN = ["20260303", "20260304"], ["20260303 18", "20260304 21"]
MAIL = """
SMTP_SERVER=smtp.obs.example:587
SMTP_LOGIN=astra_mail
SMTP_PASSWORD="pass\\"word # 2"   # of the mail server
EMAIL_FROM=archive@obs.example
EMAIL_TO=duty@obs.example
export EMAIL_CC=pi@obs.example, data@obs.example
CONTROL_PC_IP=10.0.0.9
"""


def legacy(folder: Path, **changes: str) -> Path:
    """Write an installation of Callisto to a folder, with other variables where they are given."""
    variables = {
        "TELESCOPE_NAME": '"Callisto"',
        "TELESCOPE_BASE_DIR": f'"~/{folder.name}"',
        "ACP_LOCAL_PATH": '"${TELESCOPE_BASE_DIR}/Astra_mount"',
        "DATA_DIR": '"${TELESCOPE_BASE_DIR}/workdir"',
        "LOG_DIR": '"${TELESCOPE_BASE_DIR}/Logs"',
        "ESO_DIR": '"/home/eso/incoming/callisto"',
        "PYTHON_SCRIPTS_PATH": "$TELESCOPE_BASE_DIR",
        "CAMBRIDGE_SERVER_USER": '"logs"',
        "CAMBRIDGE_SERVER_HOST": '"survey.obs.example"',
        "CAMBRIDGE_SERVER_PASSWORD": "'secret of the survey'",
        "CAMBRIDGE_SERVER_PATH": '"/data/observations/Callisto/."',
        "CONTROL_PC_USER": f'"{USER}"',
        "CONTROL_PC_PASSWORD": f'"{PASSWORD}"   # changed in May',
        "CONTROL_PC_IP": '"10.0.0.4"',
        "CONTROL_PC_PATH": '"/Documents/astra/images/"',
    } | changes
    logs = folder / "Logs"
    logs.mkdir(parents=True)
    lines = [f"setenv {name} {value}\n" for name, value in variables.items()]
    (folder / ".credentials.csh").write_text("#!/bin/csh\n# Callisto\n\n" + "".join(lines))
    (folder / ".env").write_text(f"# Mail\n{MAIL}")
    (folder / ".env").chmod(0o644)
    log = ["20260303 0", "20260303 18", "20260304 21", "20260304 0", "20260303 18", "disk full"]
    (logs / "transfer_log.txt").write_text("".join(f"{line}\n" for line in log))
    chilean = f"20260302 4 {CHILE}\n20260302 5 {CHILE}\n20260301 0\n"
    (logs / "transfer_log_chilean.txt").write_text(chilean)
    return folder


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A user without a .credentials.csh."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def written(output: Path) -> dict:
    return yaml.safe_load((output / "callisto.yaml").read_text())


@needs("smbd", "smbpasswd")
def test_a_night_is_run_with_a_converted_installation(callisto, home):
    truth = callisto.simulate()
    with Smbd(callisto.source) as server:
        folder = legacy(
            home / "Callisto_Astra",
            ESO_DIR=f'"{callisto.archive}"',
            CONTROL_PC_IP=f'"127.0.0.1:{server.port}"',
            CONTROL_PC_PATH='"/raw/"',
            CAMBRIDGE_SERVER_PATH='"logs"',
        )
        output = home / "site"
        environ = {name: v for name, v in os.environ.items() if not name.startswith("SPECULOOS")}
        words = [sys.executable, "-m", "scripts.migrate", folder, "--smb", "--output", output]
        subprocess.run(words, cwd=REPOSITORY, env=environ, check=True, capture_output=True)
        command = callisto.command()
        command.insert(command.index(str(callisto.config)) + 1, str(output / "callisto.yaml"))
        done = subprocess.run(command, cwd=REPOSITORY, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    callisto.assert_delivered_once(truth)
    log = (folder / "archive-work/transfer_log.txt").read_text().splitlines()
    assert log == [*TAKEN, f"{NIGHT} {len(callisto.products())}"]


def test_every_variable_is_carried_over_or_has_a_reason(home, capsys):
    folder = legacy(home / "Callisto_Astra")
    output = home / "site"
    assert main([str(folder), "--output", str(output)]) == 0
    said = capsys.readouterr().out
    assert written(output) == {
        "telescope": "Callisto",
        "source": str(folder / "Astra_mount"),
        "source_mounted": True,
        "workdir": str(folder / "archive-work"),
        "archive": "/home/eso/incoming/callisto",
        "transfer_log_remote": "ssh://logs@survey.obs.example/data/observations/Callisto",
        "mail": {
            "from": "archive@obs.example",
            "to": ["duty@obs.example"],
            "cc": ["pi@obs.example", "data@obs.example"],
            "host": "smtp.obs.example:587",
        },
        "first_night": NIGHT,
        "passwords": str(output / "callisto.env"),
    }
    passwords = output / "callisto.env"
    assert stat.S_IMODE(passwords.stat().st_mode) == 0o600
    assert read_env_file(passwords) == {
        "SPECULOOS_SMTP_USER": "astra_mail",
        "SPECULOOS_SMTP_PASSWORD": 'pass"word # 2',
    }
    carried, left = re.split("  NOT CARRIED OVER\n", said.partition("  noted\n")[0])
    variables = re.findall(r"^    ([A-Z_]+) +\S", carried + left, re.M)
    assert sorted(variables) == sorted(VARIABLES) and len(VARIABLES) == 21
    assert "CAMBRIDGE_SERVER_PASSWORD" in left and "PYTHON_SCRIPTS_PATH" in left
    assert "CONTROL_PC_IP is another one" in said and "others can read" in said
    assert not re.search(f"{PASSWORD}|secret of the survey|word # 2", said)
    page = (REPOSITORY / "docs/migration.md").read_text()
    assert not [name for name in VARIABLES if f"`{name}`" not in page]


def test_a_trial_and_the_switch_keep_what_was_added(home, capsys):
    folder, output = legacy(home / "Callisto_Astra"), home / "site"
    words = [str(folder), "--output", str(output)]
    assert main([*words, "--trial", str(home / "trial")]) == 0
    settings, path = written(output), output / "callisto.yaml"
    assert settings["archive"] == str(home / "trial/callisto/ours")
    assert not settings.keys() & {"transfer_log_remote", "first_night"}
    assert not list((folder / "archive-work").glob("transfer_log*"))
    path.write_text(f"{path.read_text()}catalogue: /data/gaia.sqlite\n")
    with (output / "callisto.env").open("a") as passwords:
        passwords.write("SPECULOOS_SSH_KEY=/home/astra/.ssh/logs\n")
    before = path.read_text()
    assert main(words) == 0
    assert written(output)["archive"] == "/home/eso/incoming/callisto"
    assert written(output)["catalogue"] == "/data/gaia.sqlite"
    assert "SPECULOOS_SSH_KEY" in read_env_file(output / "callisto.env")
    assert [kept.read_text() for kept in output.glob("callisto.yaml.*")] == [before]
    assert (folder / "archive-work/transfer_log.txt").read_text().splitlines() == TAKEN
    files = sorted(output.iterdir())
    assert main(words) == 0 and sorted(output.iterdir()) == files


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"TELESCOPE_NAME": '"Ceres"'}, "TELESCOPE_NAME is ceres"),
        ({"ESO_DIR": '"your_directory"'}, "ESO_DIR is not set, which archive is made from"),
        ({"ESO_DIR": "`cat eso`"}, "ESO_DIR is not set"),
        ({"TELESCOPE_BASE_DIR": "relative"}, "workdir: 'relative/archive-work' is not what it"),
        ({"TELESCOPE_BASE_DIR": "/nowhere/Callisto"}, "workdir: /nowhere/Callisto does not exist"),
        ({"LOG_DIR": "$LOGS"}, ""),
    ],
)
def test_what_cannot_be_converted_is_refused_or_noted(home, capsys, changes, message):
    folder = legacy(home / "Callisto_Astra", **changes)
    output = home / "site"
    assert main([str(folder), "--output", str(output)]) == int(bool(message))
    said = capsys.readouterr()
    assert message in said.err and output.exists() != bool(message)
    if not message:
        assert "needs LOGS, which is not set above it: left out" in said.out
        assert re.search(r"LOG_DIR +is not set", said.out)


def test_credentials_of_the_home_are_read_first(home, capsys):
    folder = legacy(home / "Callisto_Astra")
    content = (folder / ".credentials.csh").read_text().replace("Callisto", "Io")
    (home / ".credentials.csh").write_text(content)
    words = [str(folder), "--output", str(home / "site"), "--workdir", str(home / "work")]
    assert main(words) == 0
    assert f"{home}/.credentials.csh was read" in capsys.readouterr().out
    assert (home / "site/io.yaml").exists()


def test_lines_are_read_as_csh_and_dotenv_read_them(tmp_path):
    credentials, environment, notes = tmp_path / "csh", tmp_path / "env", []
    credentials.write_text(
        "setenv A 'x $y'\nsetenv B \"p\\!w\"'\"'z\nsetenv C ${A}/c#d\nsetenv D\n"
        'setenv E "open\nsetenv F a b\nsetenv G $A:h\nset H = 1\n'
    )
    assert read_csh(credentials, notes) == {"A": "x $y", "B": 'p!w"z', "C": "x $y/c", "D": ""}
    assert len(notes) == 4 and all(re.search(r"line [5-8] .*: left out", one) for one in notes)
    environment.write_text(
        "A='it\\'s'  # a\nexport B = b c # d\nC=${B}/${X:-x}\nD= # f\nE\nF='open\n"
    )
    read = read_dotenv(environment, {"B": "first"}, notes)
    assert read == {"A": "it's", "B": "b c", "C": "first/x", "D": ""}
    assert len(notes) == 6


def test_repeated_lines_of_both_logs_become_one_a_night(tmp_path):
    logs = legacy(tmp_path / "legacy") / "Logs"
    found = read_transfer_logs(logs, "60.A-9009(D)")
    assert found.counts == {"": {"20260303": 18, "20260304": 21}, CHILE: {"20260302": 5}}
    assert "20260304: 21, 0: 21 counts" in found.notes
    assert any("line 6 is not `YYYYMMDD COUNT`" in note for note in found.notes)
    assert any("line 3 is not `YYYYMMDD COUNT PROGRAMME`" in note for note in found.notes)
    assert read_transfer_logs(logs, CHILE).counts[""]["20260302"] == 5
