"""Make configuration, passwords and transfer logs from installations of the legacy pipeline.

Reads `.credentials.csh`, `.env` and the transfer logs of each; changes nothing there. Writes
`<telescope>.yaml` and `<telescope>.env`, and says what it could not carry over, and why. Where they
exist, their other keys stay, and a copy of each is kept.
"""

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import yaml

from scripts.lib.delivery.transfer_log import log_transfers, transfer_log_name
from scripts.lib.files.durable import whole_file
from scripts.lib.nights.dates import last_night
from scripts.lib.settings.check import (
    CHECKOUT,
    SITE,
    ConfigurationError,
    Layer,
    Unchecked,
    checked,
    merged,
)
from scripts.lib.settings.passwords import password_file, read_env_file
from scripts.lib.settings.profile import read_mapping
from scripts.lib.settings.records import Configuration
from scripts.migration.conversion import VARIABLES, Conversion, convert, first_night
from scripts.migration.legacy import (
    Installation,
    TransferLogs,
    read_installation,
    read_transfer_logs,
)

PAGE = "docs/migration.md"


class Migration(NamedTuple):
    """What is to be written for a telescope."""

    installation: Installation
    made: Conversion
    settings: Configuration
    logs: TransferLogs
    files: dict[Path, bytes]


def parse(words: list[str] | None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="speculoos-archive migrate",
        description=__doc__,
        epilog=f"The whole way from one pipeline to the other: {PAGE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="the folder of .credentials.csh"
    )
    parser.add_argument(
        "--output", type=Path, default=SITE, help="folder to write to; default: config/site"
    )
    parser.add_argument(
        "--workdir", type=Path, help="the new working directory; default: a new folder in the old"
    )
    parser.add_argument(
        "--trial",
        type=Path,
        metavar="DIR",
        help="put products in DIR/<telescope>/ours, not where ESO is",
    )
    parser.add_argument(
        "--smb", action="store_true", help="read from the control PC, not from its mounted share"
    )
    options = parser.parse_args(words)
    if options.workdir and len(options.folders) > 1:
        parser.error("--workdir is for one FOLDER, because no two telescopes share it")
    for name in ("output", "workdir", "trial"):
        if path := getattr(options, name):
            setattr(options, name, path.absolute())
    return options


def prepare(folder: Path, options: argparse.Namespace) -> Migration:
    """Return what is to be written for an installation; raise `ConfigurationError` if it cannot."""
    installation = read_installation(folder)
    read = ", ".join(map(str, installation.files))
    try:
        made = convert(installation, options.workdir, options.trial, options.smb)
    except ConfigurationError as why:
        raise ConfigurationError("\n".join([f"{read}: {why}", *installation.notes])) from None
    telescope = made.settings["telescope"].lower()
    base, output = CHECKOUT / f"config/{telescope}.yaml", options.output / f"{telescope}.yaml"
    if not base.is_file():
        raise ConfigurationError(f"{folder}: TELESCOPE_NAME is {telescope}, but there is no {base}")
    defaults = Layer(str(base), read_mapping(base))
    own = read_mapping(output) if output.exists() else {}
    made.settings["telescope"] = defaults.settings["telescope"]
    programme = defaults.settings["programme"]
    passwords = before = Path(own.get("passwords") or output.with_suffix(".env"))
    logs = TransferLogs({}, [])
    if not options.trial:
        if "LOG_DIR" in made.carried:
            logs = read_transfer_logs(Path(made.given["LOG_DIR"]).expanduser(), programme)
        place = Configuration.of(defaults.settings).place
        last = last_night(datetime.now(UTC), place.longitude)
        made.settings["first_night"] = first_night(logs, last)
    if options.output == SITE:
        # What is in the place of earlier versions would not be read any longer.
        before = password_file(Unchecked(telescope, (Layer(str(output), own),)))
    else:
        made.settings["passwords"] = str(passwords)
    own = merged(own, made.settings)
    settings = Configuration.of(checked(defaults, Layer(str(output), own)))
    if not settings.workdir.parent.is_dir():
        raise ConfigurationError(f"{folder}: workdir: {settings.workdir.parent} does not exist")
    head = f"# Written by speculoos-archive migrate from {read}.\n"
    text = f"{head}# What each key means, and its default: config/telescope.yaml.example.\n"
    text += yaml.safe_dump(own, sort_keys=False, allow_unicode=True)
    variables = (read_env_file(before) if before.exists() else {}) | made.passwords
    # In quotes, of which the outer ones are removed, any value is as it was.
    lines = head + "".join(f"{name}='{value}'\n" for name, value in variables.items())
    texts = {output: text, passwords: lines}
    files = {path: text.encode(errors="surrogateescape") for path, text in texts.items()}
    return Migration(installation, made, settings, logs, files)


def write(migration: Migration, trial: bool) -> list[Path]:
    """Write configuration, passwords and transfer logs, and return their paths."""
    settings, written = migration.settings, list(migration.files)
    settings.workdir.mkdir(exist_ok=True)
    if trial:
        settings.archive.mkdir(parents=True, exist_ok=True)
    for path, content in migration.files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.read_bytes() != content:
            kept = path.with_name(f"{path.name}.{datetime.now(UTC):%Y%m%dT%H%M%S}")
            os.link(path, kept)
            written.append(kept)
        with whole_file(path) as stream:
            if path.suffix == ".env":
                os.fchmod(stream.fileno(), 0o600)
            stream.write(content)
    for programme, counts in migration.logs.counts.items():
        name = transfer_log_name(programme or settings.programme, settings.programme)
        written.append(settings.workdir / name)
        log_transfers(settings.workdir / name, counts)
    return written


def report(migration: Migration, written: list[Path], trial: bool) -> str:
    """Return what became of each variable, what was noted, and what is to be done next."""
    installation, made, settings = migration.installation, migration.made, migration.settings
    lines = [f"{settings.telescope}, from {installation.folder}"]
    for title, facts in (("carried over", made.carried), ("NOT CARRIED OVER", made.left)):
        names = sorted(facts, key=[*VARIABLES, *sorted(facts)].index)
        lines += ["", f"  {title}", *(f"    {name:26} {facts[name]}" for name in names)]
    if notes := [*installation.notes, *migration.logs.notes]:
        lines += ["", "  noted", *(f"    {note}" for note in notes)]
    lines += ["", "  written", *(f"    {path}" for path in written), "", "  to do"]
    if not settings.archive.is_dir():
        lines.append(f"    make the directory {settings.archive}, from which ESO collects")
    if trial:
        lines.append("    make install, cron; then compare the products of both each morning")
    else:
        lines.append("    remove the legacy lines from crontab -e: only one may deliver to ESO")
        lines.append(
            f"    earlier nights than {settings.first_night} are left to the legacy pipeline"
        )
        lines.append("    make install; then the lines for cron that it prints")
    telescope = settings.telescope.lower()
    lines.append(f"    snakemake --profile {telescope} -n   # what the first run would do")
    return "\n".join(lines)


def main(words: list[str] | None = None) -> int:
    """Run from the command line and return the exit status: 1 if it could not."""
    options = parse(words)
    try:
        migrations = [prepare(folder.absolute(), options) for folder in options.folders]
        telescopes = [one.settings.telescope for one in migrations]
        if len(set(telescopes)) < len(telescopes):
            raise ConfigurationError(f"two folders of one telescope: {', '.join(telescopes)}")
        trial = options.trial is not None
        texts = [report(one, write(one, trial), trial) for one in migrations]
    except (ConfigurationError, OSError) as error:
        why = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else error
        print(why, file=sys.stderr)
        return 1
    print("\n\n".join([*texts, f"Step by step: {PAGE}"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
