"""A telescope's installed profile and the configuration that a run with it has.

What runs the workflow must know its folders before it starts, and say what is wrong with them. So
profile, files and command line are read as Snakemake does it, without it.
"""

import os
from argparse import ArgumentError
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from scripts.lib.settings.check import CHECKOUT, ConfigurationError, Unchecked
from scripts.lib.settings.command_line import merged, parse_options, parse_settings
from scripts.lib.settings.records import Configuration

PROFILE_NAMES = ("profile.yaml", "config.yaml")


def profile_home() -> Path:
    """Return the user's folder of profiles."""
    base = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "snakemake"


def find_profile(telescope: str) -> Path:
    """Return the file of a telescope's installed profile.

    Raises
    ------
    ConfigurationError
        If there is none.
    """
    homes = (profile_home(), Path("/etc/xdg/snakemake"))
    for home in homes:
        for name in PROFILE_NAMES:
            if (path := home / telescope / name).is_file():
                return path
    looked = " or ".join(str(home) for home in homes)
    raise ConfigurationError(f"no profile {telescope} in {looked}: run make install")


def installed_telescopes() -> list[str]:
    """Return the telescopes of this checkout that have a profile."""
    names = sorted(path.name for path in (CHECKOUT / "profiles").iterdir() if path.name != "demo")
    return [name for name in names if is_installed(name)]


def is_installed(telescope: str) -> bool:
    """Tell whether a telescope has a profile."""
    try:
        return bool(find_profile(telescope))
    except ConfigurationError:
        return False


def read_mapping(path: Path) -> dict[str, Any]:
    """Return what a YAML file of keys and values holds.

    Raises
    ------
    ConfigurationError
        If it cannot be read, or is not such a file.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is no YAML: {yaml_problem(error)}") from None
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path} does not hold lines key: value")
    return content


def yaml_problem(error: yaml.YAMLError) -> str:
    """Return what is wrong and where, without the line itself: a password may be in it."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return str(error)
    parts = [(error.context, error.context_mark), (error.problem, error.problem_mark)]
    return ", ".join(f"{words} (line {mark.line + 1})" for words, mark in parts if words and mark)


def read_file(path: Path) -> Configuration:
    """Return the configuration that one file holds.

    Raises
    ------
    ConfigurationError
        If it cannot be read, or the schema does not allow it.
    """
    return Unchecked(path.stem, read_mapping(path), str(path)).checked()


def read_configuration(profile: Path, options: Sequence[str] = ()) -> Configuration:
    """Return the configuration that a run with a profile has.

    Parameters
    ----------
    profile : Path
        The profile's file.
    options : sequence of str
        Further words of the command line; ``--configfile`` and ``--config`` count.

    Raises
    ------
    ConfigurationError
        If the workflow would refuse it, or the profile belongs to another checkout.
    """
    return read_unchecked(profile, options).checked()


def read_unchecked(profile: Path, options: Sequence[str] = ()) -> Unchecked:
    """Return the configuration that a run with a profile has, as it is written.

    Raises
    ------
    ConfigurationError
        If a file cannot be read, or the profile belongs to another checkout.
    """
    content = read_mapping(profile)
    checkout = Path(content.get("snakefile", "/nowhere/Snakefile")).parent
    if checkout.resolve() != CHECKOUT.resolve():
        raise ConfigurationError(
            f"{profile} is not of this checkout, {CHECKOUT}, but of {checkout}: "
            "run make install here, or this command there"
        )
    try:
        named = parse_options(options)
    except ArgumentError as error:
        raise ConfigurationError(str(error)) from None
    files = named.files or content.get("configfile") or []
    files = [files] if isinstance(files, str) else files
    if relative := [file for file in files if not Path(file).is_absolute()]:
        raise ConfigurationError(
            f"{relative[0]}: a configuration file is named with its whole path"
        )
    settings: dict[str, Any] = {}
    for file in files:
        settings = merged(settings, read_mapping(Path(file)))
    changes = named.settings
    if changes is None:
        given = content.get("config") or {}
        changes = parse_settings(given) if isinstance(given, list) else given
    name = f"the configuration of {profile}"
    return Unchecked(profile.parent.name, merged(settings, changes), name)
