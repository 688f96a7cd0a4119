"""Settings from the command line, read and merged as Snakemake does it, then as files have them."""

from collections.abc import Iterable
from contextlib import suppress

import yaml

WORDS = {"true": True, "false": False}


def assigned(words: Iterable[str]) -> dict:
    """Return the settings of words ``key=value``, as Snakemake reads them."""
    settings: dict = {}
    for word in words:
        key, _, text = word.partition("=")
        settings = merged(settings, {key: value_of(text.strip("'\""))})
    return settings


def value_of(text: str):
    """Return what Snakemake makes of a setting's text: within braces all words stay text."""
    if not text:
        return None
    truth = {"True": True, "False": False}.__getitem__
    for read in (int, float, truth, lambda text: yaml.load(text, yaml.BaseLoader)):
        with suppress(ValueError, KeyError, yaml.YAMLError):
            return read(text)
    return text


def merged(settings: dict, changes: dict) -> dict:
    """Return settings with changes; of a setting that holds others only these are changed."""
    result = dict(settings)
    for key, value in changes.items():
        if isinstance(value, dict):
            before = result.get(key)
            value = merged(before if isinstance(before, dict) else {}, value)
        result[key] = value
    return result


def spelt_out(value, schema: dict):
    """Return settings with truth values and numbers where the schema wants such.

    Snakemake itself knows only Python's ``True``, and no numbers within braces.
    """
    if isinstance(value, dict):
        rules = schema.get("properties", {})
        return {key: spelt_out(one, rules.get(key, {})) for key, one in value.items()}
    if isinstance(value, list):
        return [spelt_out(one, schema.get("items", {})) for one in value]
    return meaning(value, schema.get("type")) if isinstance(value, str) else value


def meaning(word: str, kind) -> object:
    """Return a word as the kind of value that it is to be; the word itself if it is none."""
    with suppress(KeyError, ValueError):
        if kind == "boolean":
            return WORDS[word.lower()]
        if kind in ("integer", "number"):
            return number(word)
    return word


def number(word: str) -> int | float:
    """Return the number that a word is."""
    with suppress(ValueError):
        return int(word)
    return float(word)
