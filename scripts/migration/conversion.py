"""The settings of a legacy installation as this workflow has them, and what has no counterpart."""

import re
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from scripts.lib.nights.dates import parse_night
from scripts.lib.settings.check import ConfigurationError
from scripts.migration.legacy import Installation, TransferLogs

# All that the templates of the legacy scripts set.
VARIABLES = """
TELESCOPE_NAME TELESCOPE_BASE_DIR ACP_LOCAL_PATH DATA_DIR LOG_DIR ESO_DIR PYTHON_SCRIPTS_PATH
CAMBRIDGE_SERVER_USER CAMBRIDGE_SERVER_HOST CAMBRIDGE_SERVER_PASSWORD CAMBRIDGE_SERVER_PATH
CONTROL_PC_USER CONTROL_PC_PASSWORD CONTROL_PC_IP CONTROL_PC_PATH
SMTP_SERVER SMTP_LOGIN SMTP_PASSWORD EMAIL_FROM EMAIL_TO EMAIL_CC
""".split()
PC_PASSWORD, PASSWORD = "CONTROL_PC_PASSWORD", "SPECULOOS_SOURCE_PASSWORD"
OPTIONAL = {"EMAIL_CC"}
PLACEHOLDER = re.compile(r"your_|recipient\d?@|cc_recipient")
# Of smtplib, where the legacy scripts named no port.
SMTP_PORT = 25
WORKDIR = "archive-work"


@dataclass
class Conversion:
    """Configuration and passwords made from an installation.

    ``carried`` says for each variable which key or password it became, ``left`` why it became none.
    """

    given: dict[str, str]
    settings: dict[str, Any] = field(default_factory=dict)
    passwords: dict[str, str] = field(default_factory=dict)
    carried: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)

    def take(self, where: str, *names: str) -> list[str]:
        """Return the values of variables that only together become ``where``; none if one lacks."""
        if missing := [name for name in names if name not in self.given]:
            self.leave(f"{where} also needs {', '.join(missing)}", *names)
            return []
        self.carried |= dict.fromkeys(names, where)
        return [self.given[name] for name in names]

    def leave(self, why: str, *names: str) -> None:
        """Note why variables that are set become nothing."""
        self.left |= {name: why for name in names if name in self.given}

    def require(self, where: str, name: str) -> str:
        """Return the value of a variable without which there is no configuration."""
        if not (found := self.take(where, name)):
            raise ConfigurationError(f"{name} is not set, which {where} is made from")
        return found[0]


def convert(
    installation: Installation,
    workdir: Path | None = None,
    trial: Path | None = None,
    smb: bool = False,
) -> Conversion:
    """Return the settings that an installation has.

    Parameters
    ----------
    workdir : Path
        The new working directory; without it one in TELESCOPE_BASE_DIR.
    trial : Path
        In its folder of the telescope are products while the legacy pipeline still delivers to ESO.
    smb : bool
        Whether to read from the control PC itself, not from where its share is mounted.

    Raises
    ------
    ConfigurationError
        If a variable is missing without which nothing can be configured.
    """
    known = {name: value for name, value in installation.values.items() if name in VARIABLES}
    unfilled = {name for name, value in known.items() if PLACEHOLDER.match(value)}
    made = Conversion({name: v for name, v in known.items() if v and name not in unfilled})
    unset = {name for name in VARIABLES if not known.get(name)} - OPTIONAL
    made.left |= dict.fromkeys(unset, "is not set")
    made.left |= dict.fromkeys(unfilled, "has the placeholder of the template")
    others = installation.values.keys() - set(VARIABLES)
    made.left |= dict.fromkeys(others, "is none of the legacy scripts' variables")
    made.settings["telescope"] = made.require("telescope", "TELESCOPE_NAME")
    _convert_source(made, smb)
    _convert_folders(made, workdir, trial)
    _convert_transfer_log(made, trial is not None)
    _convert_mail(made)
    return made


def _convert_source(made: Conversion, smb: bool) -> None:
    """Read the mounted share, as the legacy scripts do, or the control PC itself."""
    mount, pc = "ACP_LOCAL_PATH", ("CONTROL_PC_USER", "CONTROL_PC_IP", "CONTROL_PC_PATH")
    if mount in made.given and not smb:
        path = _folder(made.require("source, source_mounted", mount))
        made.settings |= {"source": path, "source_mounted": True}
        made.leave("source is the mounted share; --smb reads the control PC", *pc, PC_PASSWORD)
        return
    made.leave("source is the control PC, of which nothing need be mounted", mount)
    user, host, path = (made.require("source", name) for name in pc)
    folder = quote(str(PurePosixPath("/", path.replace("\\", "/").lstrip("/"))))
    made.settings["source"] = f"smb://{quote(user, safe='')}@{host}{folder}"
    made.passwords[PASSWORD] = made.require(PASSWORD, PC_PASSWORD)


def _convert_folders(made: Conversion, workdir: Path | None, trial: Path | None) -> None:
    made.leave("what is made lies in workdir, which is never the legacy folder", "DATA_DIR")
    made.leave("the workflow runs its own scripts", "PYTHON_SCRIPTS_PATH")
    if workdir is None:
        base = made.require("workdir, a new folder in it", "TELESCOPE_BASE_DIR")
        workdir = Path(_folder(base)) / WORKDIR
    else:
        made.leave("workdir was named on the command line", "TELESCOPE_BASE_DIR")
    made.settings["workdir"] = str(workdir)
    if trial:
        made.settings["archive"] = str(trial / made.settings["telescope"].lower() / "ours")
        made.leave("products of the trial are not for ESO", "ESO_DIR")
        made.leave("transfer logs are taken over after the trial", "LOG_DIR")
        return
    made.settings["archive"] = _folder(made.require("archive", "ESO_DIR"))
    made.take("the transfer logs in workdir, first_night", "LOG_DIR")


def _convert_transfer_log(made: Conversion, trial: bool) -> None:
    names = [f"CAMBRIDGE_SERVER_{part}" for part in ("USER", "HOST", "PATH")]
    password = "CAMBRIDGE_SERVER_PASSWORD"  # noqa: S105 - a name
    if trial:
        made.leave("the survey's server must not count products of the trial", *names, password)
        return
    made.leave("logs are copied with an SSH key, see docs/migration.md", password)
    folder = PurePosixPath(made.given.get(names[-1], "/"))
    if not folder.is_absolute():
        made.leave(f"{names[-1]} is not a whole path, which begins with /", *names)
    elif found := made.take("transfer_log_remote", *names):
        user, host, _ = found
        address = f"ssh://{quote(user, safe='')}@{host}{quote(str(folder))}"
        made.settings["transfer_log_remote"] = address


def _convert_mail(made: Conversion) -> None:
    login = ("SPECULOOS_SMTP_USER", "SPECULOOS_SMTP_PASSWORD")
    if found := made.take(" and ".join(login), "SMTP_LOGIN", "SMTP_PASSWORD"):
        made.passwords |= dict(zip(login, found, strict=True))
    if found := made.take("mail", "SMTP_SERVER", "EMAIL_FROM", "EMAIL_TO"):
        server, sender, to = found
        mail = {"from": sender, "to": _addresses(to), "host": server}
        # A host without a port: the library behind the legacy scripts had another default.
        made.settings["mail"] = mail | ({} if ":" in server else {"port": SMTP_PORT})
        if cc := made.take("mail.cc", "EMAIL_CC"):
            made.settings["mail"]["cc"] = _addresses(cc[0])
    else:
        made.leave("there is no mail that it belongs to", "EMAIL_CC")


def _folder(text: str) -> str:
    """Return the path of a folder, whose ~ the shell replaced where it was used."""
    return str(Path(text).expanduser())


def _addresses(text: str) -> list[str]:
    return [part for part in map(str.strip, text.split(",")) if part]


def first_night(logs: TransferLogs, last: str) -> str:
    """Return the night after the last one with products in the logs.

    Without any it is that after ``last``, the last night that is over: what was delivered before is
    not known.
    """
    nights = [n for counts in logs.counts.values() for n, count in counts.items() if count]
    return f"{parse_night(max(nights, default=last)) + timedelta(days=1):%Y%m%d}"
