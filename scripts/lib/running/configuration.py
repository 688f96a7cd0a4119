"""A telescope's profile and configuration, found and checked as Snakemake does it, without it.

What runs the workflow must know its folders before it starts, and say what is wrong with them.
"""

import argparse
import os
import re
from pathlib import Path

import yaml

from scripts.lib.running.settings import assigned, merged, spelt_out

CHECKOUT = Path(__file__).absolute().parents[3]
SCHEMA = CHECKOUT / "config/schema.yaml"
PROFILE_NAMES = ("profile.yaml", "config.yaml")
# Of an address; a password may be in it, and hold anything.
USER_PART = re.compile("://.*@", re.DOTALL)


class ConfigurationError(Exception):
    """The telescope cannot be run as it is set up; the message says what to change."""


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


def read_mapping(path: Path) -> dict:
    """Return what a YAML file of keys and values holds.

    Raises
    ------
    ConfigurationError
        If it cannot be read, or is none.
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


def read_configuration(profile: Path, options: list[str] = ()) -> dict:
    """Return the configuration that a run with a profile has: checked, with all defaults.

    Parameters
    ----------
    profile : Path
        The profile's file.
    options : list of str
        Further words of the command line; ``--configfile`` and ``--config`` count.

    Raises
    ------
    ConfigurationError
        If the workflow would refuse it, or the profile belongs to another checkout.
    """
    return checked(read_unchecked(profile, options), f"the configuration of {profile}")


def bare_configuration(telescope: str) -> dict:
    """Return what a mail about a configuration needs, to be completed by what can be read of it."""
    return {"telescope": telescope.capitalize(), "workdir": "/nowhere"}


def read_unchecked(profile: Path, options: list[str] = ()) -> dict:
    """Return the configuration that a run with a profile has, as it is written.

    Raises
    ------
    ConfigurationError
        If a file cannot be read, or the profile belongs to another checkout.
    """
    settings = read_mapping(profile)
    checkout = Path(settings.get("snakefile", "/nowhere/Snakefile")).parent
    if checkout.resolve() != CHECKOUT.resolve():
        raise ConfigurationError(
            f"{profile} is not of this checkout, {CHECKOUT}, but of {checkout}: "
            "run make install here, or this command there"
        )
    files, overrides = overrides_of(options)
    files = files or settings.get("configfile") or []
    files = [files] if isinstance(files, str) else files
    if relative := [file for file in files if not Path(file).is_absolute()]:
        raise ConfigurationError(
            f"{relative[0]}: a configuration file is named with its whole path"
        )
    config = {}
    for file in files:
        config = merged(config, read_mapping(Path(file)))
    if overrides is None:
        given = settings.get("config") or {}
        overrides = assigned(given) if isinstance(given, list) else given
    return merged(config, overrides)


def overrides_of(options: list[str]) -> tuple[list[str], dict | None]:
    """Return the configuration files and settings that a command line names."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+", default=[])
    parser.add_argument("--config", "-C", nargs="*")
    try:
        known, _ = parser.parse_known_args(options)
    except argparse.ArgumentError as error:
        raise ConfigurationError(str(error)) from None
    return known.configfile, None if known.config is None else assigned(known.config)


def checked(config: dict, name: str) -> dict:
    """Return a configuration with its defaults, and all settings as what they mean.

    Raises
    ------
    ConfigurationError
        If the schema does not allow it.
    """
    # The library comes with Snakemake; it takes long to import, and status may not need it.
    import jsonschema

    schema = yaml.safe_load(SCHEMA.read_text())
    config = with_defaults(spelt_out(config, schema), schema)
    errors = sorted(jsonschema.Draft202012Validator(schema).iter_errors(config), key=str)
    if errors:
        raise ConfigurationError(f"{name} is not valid: {'; '.join(map(complaint, errors))}")
    return config


def complaint(error) -> str:
    """Return what the schema says against a key, in words rather than as a pattern."""
    key = ".".join(map(str, error.absolute_path)) or "keys"
    if error.validator == "pattern" and "description" in error.schema:
        shown = without_user(repr(error.instance))
        return f"{key}: {shown} is not what it must be: {error.schema['description']}"
    return f"{key}: {without_user(error.message)}"


def without_user(text: str) -> str:
    """Return text without what stands before the host of an address."""
    return USER_PART.sub("://…@", text)


def with_defaults(config: dict, schema: dict) -> dict:
    """Return a configuration with the schema's defaults for what it does not set."""
    full = dict(config)
    for key, rule in schema.get("properties", {}).items():
        if "default" in rule:
            full.setdefault(key, rule["default"])
        if isinstance(full.get(key), dict):
            full[key] = with_defaults(full[key], rule)
    return full
