"""A telescope's installed profile and the configuration that a run with it has.

What runs the workflow must know its folders before it starts, and say what is wrong with them. So
profile, files and command line are read and merged as Snakemake does it, without it.
"""

import argparse
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from scripts.lib.settings.check import (
    CHECKOUT,
    SITE,
    ConfigurationError,
    Layer,
    Unchecked,
    merged,
    read_text,
)
from scripts.lib.settings.records import Configuration
from scripts.lib.settings.telescopes import telescopes

PROFILE_NAMES = ("profile.yaml", "config.yaml")


def profile_home() -> Path:
    """Return the user's folder of profiles."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "snakemake"


def find_profile(telescope: str) -> Path:
    """Return the file of a telescope's installed profile, or raise `ConfigurationError`."""
    homes = (profile_home(), Path("/etc/xdg/snakemake"))
    for home in homes:
        for name in PROFILE_NAMES:
            if (path := home / telescope / name).is_file():
                return path
    looked = " or ".join(map(str, homes))
    raise ConfigurationError(f"no profile {telescope} in {looked}: run make install")


def installed_telescopes() -> list[str]:
    """Return the telescopes that have a profile."""
    found = []
    for name in sorted(map(str.lower, telescopes())):
        with suppress(ConfigurationError):
            find_profile(name)
            found.append(name)
    return found


def is_set_up(telescope: str) -> bool:
    """Return whether a site runs a telescope: it has settings of its own, or a working directory.

    So has one whose configuration cannot be read: its trouble must be seen.
    """
    try:
        unchecked = read_unchecked(find_profile(telescope))
    except ConfigurationError:
        return True
    own = [one for one in unchecked.layers if Path(one.origin).parent != SITE.parent]
    return any(layer.settings for layer in own) or os.path.isdir(unchecked.workdir)


def read_mapping(path: Path) -> dict[str, Any]:
    """Return what a YAML file of keys and values holds, or raise `ConfigurationError`.

    All of it may be commented out. The message does not show the line that is wrong: a password may
    be in it.
    """
    try:
        content = yaml.safe_load(read_text(path))
    except yaml.MarkedYAMLError as error:
        parts = [(error.context, error.context_mark), (error.problem, error.problem_mark)]
        what = ", ".join(f"{text} (line {at.line + 1})" for text, at in parts if text and at)
        raise ConfigurationError(f"{path} is not YAML: {what}") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"{path} is not YAML: {error}") from None
    if not isinstance(content, dict | None):
        raise ConfigurationError(f"{path} does not hold lines key: value")
    return content or {}


def read_layers(files: Iterable[Path]) -> list[Layer]:
    """Return the settings of configuration files, of which later ones win.

    A file of the checkout's ``config/`` is followed by that of the same name in ``config/site/``.
    """
    layers = []
    for path in files:
        layers.append(Layer(str(path), read_mapping(path)))
        own = SITE / path.name
        if path.parent.resolve() == SITE.parent.resolve() and is_there(own):
            layers.append(Layer(str(own), read_mapping(own)))
    return layers


def is_there(path: Path) -> bool:
    """Return whether there is a file, also if it cannot be looked at: then reading it fails."""
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError:
        pass
    return True


def read_file(path: Path) -> Configuration:
    """Return the configuration that one file holds, or raise `ConfigurationError`."""
    return Unchecked(path.stem, tuple(read_layers([path.absolute()]))).checked()


def read_unchecked(profile: Path, options: Sequence[str] = ()) -> Unchecked:
    """Return the configuration that a run with a profile has, as it is written.

    Of ``options``, further words of the command line, ``--configfile`` and ``--config`` count.

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
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+")
    parser.add_argument("--config", "-C", nargs="*")
    try:
        named, _ = parser.parse_known_args(options)
    except argparse.ArgumentError as error:
        raise ConfigurationError(str(error)) from None
    files = named.configfile or content.get("configfile") or []
    paths = [Path(file) for file in ([files] if isinstance(files, str) else files)]
    for path in paths:
        if not path.is_absolute():
            raise ConfigurationError(f"{path}: a configuration file is named with its whole path")
    origin = str(profile) if named.config is None else "--config"
    changes = content.get("config") or {} if named.config is None else named.config
    if isinstance(changes, list):
        words, changes = changes, {}
        for key, _, text in (word.partition("=") for word in words):
            changes = merged(changes, {key: parse_value(text.strip("'\""))})
    return Unchecked(profile.parent.name, (*read_layers(paths), Layer(origin, changes)))


def parse_value(text: str) -> object:
    """Return what Snakemake makes of a setting's text: within braces all words stay text."""
    if not text:
        return None
    truth = {"True": True, "False": False}
    for read in (int, float, truth.__getitem__, lambda text: yaml.load(text, yaml.BaseLoader)):
        with suppress(ValueError, KeyError, yaml.YAMLError):
            return read(text)
    return text
