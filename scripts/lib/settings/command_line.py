"""Settings that the command line names, read and merged as Snakemake does it."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import yaml

TRUTH = {"True": True, "False": False}


class Named(NamedTuple):
    """What a command line says of the configuration.

    Attributes
    ----------
    files : list of str
        Of ``--configfile``.
    settings : dict or None
        Of ``--config``; None if there is no such option.
    """

    files: list[str]
    settings: dict[str, Any] | None


def parse_options(options: Sequence[str]) -> Named:
    """Return what options of snakemake say of the configuration.

    Raises
    ------
    argparse.ArgumentError
        If one of them cannot be understood.
    """
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    parser.add_argument("--configfile", "--configfiles", nargs="+", default=[])
    parser.add_argument("--config", "-C", nargs="*")
    known, _ = parser.parse_known_args(options)
    return Named(known.configfile, None if known.config is None else parse_settings(known.config))


def parse_settings(words: Iterable[str]) -> dict[str, Any]:
    """Return the settings of words ``key=value``."""
    settings: dict[str, Any] = {}
    for word in words:
        key, _, text = word.partition("=")
        settings = merged(settings, {key: parse_value(text.strip("'\""))})
    return settings


def parse_value(text: str) -> object:
    """Return what Snakemake makes of a setting's text: within braces all words stay text."""
    if not text:
        return None
    for read in (int, float, TRUTH.__getitem__, parse_yaml):
        with suppress(ValueError, KeyError, yaml.YAMLError):
            return read(text)
    return text


def parse_yaml(text: str) -> object:
    """Return what a text holds as YAML, its values as text."""
    return yaml.load(text, yaml.BaseLoader)


def merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with changes; of a setting that holds others only these are changed."""
    result = dict(settings)
    for key, value in changes.items():
        if isinstance(value, dict):
            before = result.get(key)
            value = merged(before if isinstance(before, dict) else {}, value)
        result[key] = value
    return result
