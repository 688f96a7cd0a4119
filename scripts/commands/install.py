"""Profiles, crontab lines and systemd units for the telescopes of this checkout.

Only files that this checkout wrote are overwritten or removed: their first line says so.
"""

import argparse
import json
import os
import re
import shlex
import sys
from pathlib import Path
from string import Template

import yaml

from scripts.lib.files.durable import write_text
from scripts.lib.settings.check import CHECKOUT, ConfigurationError
from scripts.lib.settings.passwords import password_file
from scripts.lib.settings.profile import (
    PROFILE_NAMES,
    find_profile,
    profile_home,
    read_unchecked,
)

TELESCOPES = ("io", "europa", "ganymede", "callisto")
UNITS = {"service": ".service", "timer": ".timer", "alert": "-alert.service"}
SYSTEM = Path("/etc/systemd/system")
MARK = re.compile(
    r"# Written by (?:make install; edit (?P<profile>/.*)/profiles/[a-z]+/profile\.yaml and run"
    r"|(?:make|scripts\.)\s?install of (?P<checkout>/.*); edit )"
)


class Foreign(Exception):
    """A file that this checkout did not write is in the way."""


def writer(path: Path) -> Path | None:
    """Return the checkout that wrote a file, None if none did."""
    with open(path, errors="replace") as stream:
        match = MARK.match(stream.readline())
    return Path(match["profile"] or match["checkout"]) if match else None


def is_own(path: Path) -> bool:
    """Tell whether a file was written by this checkout."""
    return path.is_file() and writer(path) == CHECKOUT


def check_free(paths: list[Path]) -> None:
    """Raise `Foreign` if one of the files to be written, or a rival of it, is not our own.

    What a checkout wrote that is gone, because it was moved for example, may be overwritten.
    """
    for path in paths:
        if not (path.exists() or path.is_symlink()):
            continue
        wrote = writer(path) if path.is_file() else None
        if wrote is None:
            raise Foreign(f"{path} is not of make install: move it away first")
        if wrote != CHECKOUT and wrote.exists():
            raise Foreign(f"{path} is of {wrote}: run make uninstall there, or remove it")


# Profiles


def profile_text(telescope: str) -> str:
    """Return the profile of a telescope, with absolute paths."""
    source = CHECKOUT / "profiles" / telescope / "profile.yaml"
    text = re.sub(
        r"^configfile: (?!/)(.*)$",
        lambda match: f"configfile: {yaml_text(CHECKOUT / yaml.safe_load(match[1]))}",
        source.read_text(),
        flags=re.M,
    )
    mark = f"# Written by make install of {CHECKOUT}; edit {source} and run it again."
    return f"{mark}\nsnakefile: {yaml_text(CHECKOUT / 'Snakefile')}\n{text}"


def yaml_text(path: Path) -> str:
    """Return a path as YAML has it, whatever signs are in it."""
    return json.dumps(str(path), ensure_ascii=False)


def install() -> None:
    """Write the profiles and say what is left to do."""
    folders = {telescope: profile_home() / telescope for telescope in TELESCOPES}
    # Two profiles in one folder would be rivals.
    check_free([folder / name for folder in folders.values() for name in PROFILE_NAMES])
    for telescope, folder in folders.items():
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "profile.yaml", profile_text(telescope))
        print(f"profile      {folder}")
    for telescope in TELESCOPES:
        print(telescope_notes(telescope))
    print(site_notes())


def telescope_notes(telescope: str) -> str:
    """Return what an operator should know of a telescope: folders, passwords."""
    profile = find_profile(telescope)
    try:
        config = read_unchecked(profile).checked()
    except ConfigurationError as error:
        return f"\n{telescope}: {error}"
    lines = [f"\n{telescope}", f"  workdir    {made(config.workdir)}"]
    lines.append(f"  archive    {there(config.archive)}")
    passwords = password_file(config)
    if passwords.exists():
        lines.append(f"  passwords  {passwords}")
    else:
        example = CHECKOUT / "config" / f"{telescope}.env.example"
        words = shlex.join(["install", "-m", "600", str(example), str(passwords)])
        lines.append(f"  passwords  none yet; if some are needed: {words}")
    return "\n".join(lines)


def made(folder: Path) -> str:
    """Make a working directory if its parent is there, and return what became of it.

    The parent is not made: it may be a disk that is not mounted.
    """
    if not folder.exists() and folder.parent.is_dir():
        try:
            folder.mkdir()
        except OSError as error:
            return f"{folder} cannot be made ({error.strerror}): make it"
    return there(folder)


def there(folder: Path) -> str:
    """Return a folder with what is missing."""
    return str(folder) if folder.is_dir() else f"{folder} does not exist: make it"


def site_notes() -> str:
    """Return the lines for the shell, cron and systemd."""
    binaries = Path(sys.executable).parent
    sudo = "" if is_root() else "sudo "
    return "\n".join(
        [
            f"\nFor your shell:  export PATH={shlex.quote(str(binaries))}:$PATH",
            "\nFor cron, on this machine's clock; from 12:00 UTC the last night is over.",
            "MAILTO gets what could not be mailed otherwise:",
            "  MAILTO=name@host",
            *(f"  {cron_line(telescope)}" for telescope in TELESCOPES),
            "\nOr for systemd, not both; without --into the units are printed:",
            f"  {units_line()} units --user {user()} --into {SYSTEM} callisto",
            f"  {sudo}systemctl daemon-reload",
            f"  {sudo}systemctl enable --now speculoos-callisto.timer",
        ]
    )


def units_line() -> str:
    """Return the command that may write units and finds the installing user's profiles."""
    words = [sys.executable, "-m", "scripts.install"]
    if not is_root():
        names = ("HOME", "XDG_CONFIG_HOME")
        kept = [f"{name}={os.environ[name]}" for name in names if os.environ.get(name)]
        words = ["sudo", "env", *kept, *words]
    return f"{shlex.join(['cd', str(CHECKOUT)])} && {shlex.join(words)}"


def is_root() -> bool:
    """Tell whether the user who installs may write to the system's folders."""
    return os.geteuid() == 0


def cron_line(telescope: str) -> str:
    """Return the crontab line of a telescope, for cron's bare environment."""
    command = f"cd {shlex.quote(str(CHECKOUT))} && {cron_environment()}"
    command += shlex.join([sys.executable, "-m", "scripts.run", telescope])
    # To cron a % is the end of the line.
    return "30 12 * * *  " + command.replace("%", r"\%")


def cron_environment() -> str:
    """Return what of the environment the profile is found by, if it is not the usual."""
    home = os.environ.get("XDG_CONFIG_HOME")
    return f"XDG_CONFIG_HOME={shlex.quote(home)} " if home else ""


def uninstall() -> None:
    """Remove the profiles that this checkout wrote."""
    for telescope in TELESCOPES:
        path = profile_home() / telescope / "profile.yaml"
        if is_own(path):
            path.unlink()
            print(f"removed      {path}")
            # Passwords, or whatever else is there, stay.
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
    for path in sorted(SYSTEM.glob("speculoos-*")):
        if is_own(path):
            print(f"still there  {path}: systemctl disable --now {path.name}; rm {path}")


# systemd


def units(telescope: str, user_name: str) -> dict[str, str]:
    """Return the units of a telescope: text by file name."""
    config = read_unchecked(find_profile(telescope)).checked()
    home = os.environ.get("XDG_CONFIG_HOME")
    values = {
        "telescope": telescope,
        "user": user_name,
        "checkout": escaped(str(CHECKOUT)),
        "python": quoted(sys.executable),
        "mounts": " ".join(quoted(str(folder)) for folder in (config.workdir, config.archive)),
        "environment": f"Environment={quoted(f'XDG_CONFIG_HOME={home}')}" if home else "",
        # Checks, mails and a look at all nights come on top of the run.
        "start_limit": f"{int(3600 * config.time_limit) + 3600}s",
    }
    return {
        f"speculoos-{telescope}{ending}": rendered(CHECKOUT / "units" / f"{name}.in", values)
        for name, ending in UNITS.items()
    }


def rendered(template: Path, values: dict[str, str]) -> str:
    """Return a unit; lines that are empty for this site are left out."""
    lines = template.read_text().splitlines()
    filled = [(line, Template(line).substitute(values)) for line in lines]
    return "".join(f"{text}\n" for line, text in filled if text or not line)


def escaped(text: str) -> str:
    """Return text in which systemd sees no specifiers."""
    return text.replace("%", "%%")


def quoted(text: str) -> str:
    """Return a word of a unit file."""
    text = escaped(text)
    if not re.search(r"[\s\"'\\]", text):
        return text
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def print_units(telescopes: list[str], user_name: str, into: Path | None) -> None:
    """Print the units of telescopes, or write them to a folder."""
    texts: dict[str, str] = {}
    for telescope in telescopes:
        texts |= units(telescope, user_name)
    if into is None:
        print("\n".join(f"# {name}\n{text}" for name, text in texts.items()), end="")
        return
    check_free([into / name for name in texts])
    for name, text in texts.items():
        write_text(into / name, text)
        print(f"unit         {into / name}")


def user() -> str:
    """Return the name of the user who installs."""
    import getpass

    return getpass.getuser()


def main(words: list[str] | None = None) -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m scripts.install", description=__doc__)
    tasks = parser.add_subparsers(dest="task", required=True)
    tasks.add_parser("install", help="write the profiles, print what is left to do")
    tasks.add_parser("uninstall", help="remove the profiles that this checkout wrote")
    task = tasks.add_parser("units", help="print systemd units, or write them")
    task.add_argument("telescopes", nargs="+", choices=TELESCOPES)
    task.add_argument("--user", default=user(), help="who runs the workflow; default: you")
    task.add_argument("--into", type=Path, help=f"folder to write them to, {SYSTEM} say")
    given = parser.parse_args(words)
    try:
        if given.task == "install":
            install()
        elif given.task == "uninstall":
            uninstall()
        else:
            print_units(given.telescopes, given.user, given.into)
    except (Foreign, ConfigurationError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
