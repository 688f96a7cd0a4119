"""Write profiles, `speculoos-archive` and systemd units of this checkout; print crontab lines.

Only files that this checkout wrote are overwritten or removed: their first lines say so.
"""

import argparse
import getpass
import json
import os
import re
import shlex
import sys
from pathlib import Path

import yaml

from scripts.lib.files.durable import write_text
from scripts.lib.nights.dates import observing_ends
from scripts.lib.reporting.templates import render
from scripts.lib.settings.check import CHECKOUT, SITE, ConfigurationError
from scripts.lib.settings.passwords import password_file
from scripts.lib.settings.profile import (
    PROFILE_NAMES,
    find_profile,
    is_set_up,
    profile_home,
    read_unchecked,
)
from scripts.lib.settings.telescopes import telescope_of, telescopes

# Those of the table that have a configuration here.
PROFILES = [
    name for name in map(str.lower, telescopes()) if (CHECKOUT / f"config/{name}.yaml").exists()
]
UNITS, PROGRAM = CHECKOUT / "units", CHECKOUT / "speculoos-archive"
SYSTEM = Path("/etc/systemd/system")
MARK = re.compile(
    r"# Written by (?:make install; edit (?P<profile>/.*)/profiles/[a-z]+/profile\.yaml and run"
    r"|(?:make|scripts\.)\s?install of (?P<checkout>/.*); edit )"
)


def writer(path: Path) -> Path | None:
    """Return the checkout that wrote a file; None if none did."""
    if not path.is_file():
        return None
    with open(path, errors="replace") as stream:
        match = next(filter(None, (MARK.match(stream.readline()) for _ in range(2))), None)
    return Path(match["profile"] or match["checkout"]) if match else None


def check_free(paths: list[Path]) -> None:
    """Raise `ConfigurationError` if another one's file is in the way of those to be written.

    What a checkout wrote that is gone, because it was moved for example, may be overwritten.
    """
    for path in paths:
        if not (path.exists() or path.is_symlink()):
            continue
        wrote = writer(path)
        if wrote is None:
            raise ConfigurationError(f"{path} is not of make install: move it away first")
        if wrote != CHECKOUT and wrote.exists():
            raise ConfigurationError(
                f"{path} is of {wrote}: run make uninstall there, or remove it"
            )


# Profiles and the command


def launcher() -> Path:
    """Return the path of the command that works from anywhere."""
    return Path.home() / ".local/bin/speculoos-archive"


def launcher_text() -> str:
    """Return the command: it starts that of this checkout, with the Python that installed it."""
    home = os.environ.get("XDG_CONFIG_HOME")
    return render(
        UNITS / "speculoos-archive.in",
        checkout=CHECKOUT,
        config_home=shlex.quote(home) if home else "",
        python=shlex.quote(sys.executable),
        program=shlex.quote(str(PROGRAM)),
    )


def profile_text(telescope: str) -> str:
    """Return the profile of a telescope, with absolute paths."""
    source = CHECKOUT / "profiles/telescope/profile.yaml"

    def absolute(name: str) -> str:
        # JSON's quotes are right in YAML too, whatever signs are in the path.
        return json.dumps(str(CHECKOUT / name), ensure_ascii=False)

    text = re.sub(
        r"^configfile: (?!/)(.*)$",
        lambda match: f"configfile: {absolute(yaml.safe_load(match[1]))}",
        source.read_text().replace("{telescope}", telescope),
        flags=re.M,
    )
    mark = f"# Written by make install of {CHECKOUT}; edit {source} and run it again."
    return f"{mark}\nsnakefile: {absolute('Snakefile')}\n{text}"


def install() -> None:
    """Write the profiles and the command, and say what is left to do."""
    folders = {telescope: profile_home() / telescope for telescope in PROFILES}
    # Two profiles in one folder would be rivals.
    paths = [folder / name for folder in folders.values() for name in PROFILE_NAMES]
    check_free([*paths, launcher()])
    for telescope, folder in folders.items():
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "profile.yaml", profile_text(telescope))
        print(f"profile      {folder}")
    launcher().parent.mkdir(parents=True, exist_ok=True)
    write_text(launcher(), launcher_text())
    launcher().chmod(0o755)
    print(f"command      {launcher()}")
    set_up = [name for name in PROFILES if is_set_up(name)]
    if idle := [name for name in PROFILES if name not in set_up]:
        print(f"not set up   {' '.join(idle)}")
    for path in sorted(SITE.glob("*.yaml")):
        if path.stem not in PROFILES:
            print(f"not used     {path}: there is no telescope {path.stem}")
    print(*map(telescope_notes, set_up), site_notes(set_up), sep="\n", end="")


def telescope_notes(telescope: str) -> str:
    """Make a telescope's working directory; return what is there of folders and passwords."""
    try:
        config = read_unchecked(find_profile(telescope)).checked()
    except ConfigurationError as error:
        return f"\n{telescope}: {error}"
    workdir, archive, passwords = config.workdir, config.archive, password_file(config)
    workdir_note, archive_note = "", "" if archive.is_dir() else " does not exist: make it"
    try:
        # Its parent is not made: it may be a disk that is not mounted.
        workdir.mkdir(exist_ok=True)
    except OSError as error:
        workdir_note = f" cannot be made ({error.strerror}): make it"
    found = str(passwords)
    if not passwords.exists():
        example = CHECKOUT / "config/telescope.env.example"
        words = shlex.join(["install", "-m", "600", str(example), str(passwords)])
        found = f"none yet; if some are needed: {words}"
    return (
        f"\n{telescope}\n"
        f"  workdir    {workdir}{workdir_note}\n"
        f"  archive    {archive}{archive_note}\n"
        f"  passwords  {found}"
    )


def hour_of(telescope: str) -> int:
    """Return the hour of UTC from which on the last night of a telescope is over."""
    found = telescope_of(telescope)
    assert found is not None  # its profile is one of the table
    return observing_ends(found.site.longitude) % 24


def site_notes(telescopes: list[str]) -> str:
    """Return the lines for the shell, cron and systemd for telescopes that are set up."""
    command, sudo = [str(launcher())], "" if os.geteuid() == 0 else "sudo "
    folders = [str(launcher().parent), str(Path(sys.executable).parent)]
    known = os.environ.get("PATH", "").split(os.pathsep)
    return render(
        UNITS / "notes.in",
        checkout=CHECKOUT,
        path=":".join(shlex.quote(folder) for folder in folders if folder not in known),
        telescopes={name: hour_of(name) for name in telescopes},
        # To cron a % is the end of the line.
        run=shlex.join([*command, "run"]).replace("%", r"\%"),
        # Root must find the installing user's profiles.
        install=shlex.join((["sudo", "env", f"HOME={Path.home()}"] if sudo else []) + command),
        user=getpass.getuser(),
        system=SYSTEM,
        sudo=sudo,
    )


def uninstall() -> None:
    """Remove the profiles and the command that this checkout wrote."""
    if writer(launcher()) == CHECKOUT:
        launcher().unlink()
        print(f"removed      {launcher()}")
    for telescope in PROFILES:
        path = profile_home() / telescope / "profile.yaml"
        if writer(path) == CHECKOUT:
            path.unlink()
            print(f"removed      {path}")
            # Passwords, or whatever else is there, stay.
            if not any(path.parent.iterdir()):
                path.parent.rmdir()
    for path in sorted(SYSTEM.glob("speculoos-*")):
        if writer(path) == CHECKOUT:
            print(f"still there  {path}: systemctl disable --now {path.name}; rm {path}")


# systemd


def quoted(text: str) -> str:
    """Return a word of a unit file, in which systemd sees no specifiers."""
    text = text.replace("%", "%%")
    # JSON's quotes are right for systemd too.
    return json.dumps(text, ensure_ascii=False) if re.search(r"[\s\"'\\]", text) else text


def print_units(telescopes: list[str], user: str, into: Path | None) -> None:
    """Print the units of telescopes, or write them to a folder."""
    home, texts = os.environ.get("XDG_CONFIG_HOME"), {}
    for telescope in telescopes:
        config = read_unchecked(find_profile(telescope)).checked()
        for name in (".service", ".timer", "-alert.service"):
            texts[f"speculoos-{telescope}{name}"] = render(
                UNITS / f"speculoos{name}.in",
                telescope=telescope,
                hour=f"{hour_of(telescope):02}",
                user=user,
                checkout=str(CHECKOUT).replace("%", "%%"),
                program=f"{quoted(sys.executable)} {quoted(str(PROGRAM))}",
                mounts=f"{quoted(str(config.workdir))} {quoted(str(config.archive))}",
                environment=quoted(f"XDG_CONFIG_HOME={home}") if home else "",
                # Checks, mails and a look at all nights come on top of the run.
                start_limit=f"{int(3600 * config.time_limit) + 3600}s",
            )
    if into is None:
        print("\n".join(f"# {name}\n{text}" for name, text in texts.items()), end="")
        return
    check_free([into / name for name in texts])
    for name, text in texts.items():
        write_text(into / name, text)
        print(f"unit         {into / name}")


def main(words: list[str] | None = None) -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="speculoos-archive install", description=__doc__)
    tasks = parser.add_subparsers(dest="task", required=True)
    tasks.add_parser("install", help="write profiles and command, print what is left to do")
    tasks.add_parser("uninstall", help="remove what this checkout wrote")
    task = tasks.add_parser("units", help="print systemd units, or write them")
    task.add_argument("telescopes", nargs="+", choices=PROFILES)
    task.add_argument(
        "--user", default=getpass.getuser(), help="who runs the workflow; default: you"
    )
    task.add_argument("--into", type=Path, help=f"folder to write them to, {SYSTEM} say")
    given = parser.parse_args(words)
    try:
        if given.task == "install":
            install()
        elif given.task == "uninstall":
            uninstall()
        else:
            print_units(given.telescopes, given.user, given.into)
    except (ConfigurationError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
