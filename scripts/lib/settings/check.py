"""Configurations, checked against config/schema.yaml, which also holds all defaults."""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from scripts.lib.settings.records import Configuration, Mail

if TYPE_CHECKING:
    from jsonschema import ValidationError

CHECKOUT = Path(__file__).absolute().parents[3]
SCHEMA = CHECKOUT / "config/schema.yaml"
CORRECTIONS = CHECKOUT / "config/corrections"
# Of an address; a password may be in it, and hold anything.
USER_PART = re.compile("://.*@", re.DOTALL)
WORDS = {"true": True, "false": False}
# Does not exist: mails about a configuration without working directory are not kept.
NOWHERE = Path("/nowhere")


class ConfigurationError(Exception):
    """The telescope cannot be run as it is set up; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Unchecked:
    """A configuration as it is written: keys may be missing, unknown or wrong.

    Attributes
    ----------
    profile : str
        Name of the telescope's profile.
    settings : Mapping
        What the profile, its files and the command line say; nothing if they cannot be read.
    name : str
        What messages call it.
    """

    profile: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    name: str = "the configuration"

    @property
    def telescope(self) -> str:
        """The telescope's name, that of its profile if there is no other."""
        return str(self.settings.get("telescope") or self.profile.capitalize())

    @property
    def passwords(self) -> str:
        """The key ``passwords``."""
        return str(self.settings.get("passwords") or "")

    @property
    def workdir(self) -> Path:
        """The key ``workdir``; a folder that does not exist if it is not text."""
        workdir = self.settings.get("workdir")
        return Path(workdir) if isinstance(workdir, str) else NOWHERE

    @property
    def mail(self) -> Mail:
        """The key ``mail``, which may be right though other keys are wrong.

        Raises
        ------
        ConfigurationError
            If nothing could be sent with it.
        """
        return usable_mail(self.settings)

    def checked(self) -> Configuration:
        """Return the configuration that a run has.

        Raises
        ------
        ConfigurationError
            If the schema does not allow it.
        """
        return Configuration.of(checked(self.settings, self.name))


def checked(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return settings with all defaults; truth values and numbers as such.

    Parameters
    ----------
    settings : Mapping
        As YAML or Snakemake has them.
    name : str
        What the message calls them.

    Raises
    ------
    ConfigurationError
        If the schema does not allow them.
    """
    full = valid(settings, read_schema(), name)
    return full | {"corrections": full["corrections"] or str(CORRECTIONS)}


def usable_mail(settings: Mapping[str, Any]) -> Mail:
    """Return the settings for mail of a configuration that may be wrong otherwise.

    Unknown keys are left out: they do not prevent a mail, which must report them.

    Raises
    ------
    ConfigurationError
        If nothing could be sent with them.
    """
    schema = read_schema()["properties"]["mail"]
    given = settings.get("mail") or {}
    if isinstance(given, dict):
        given = {key: value for key, value in given.items() if key in schema["properties"]}
    return Mail.of(valid(given, schema, "mail"))


def read_schema() -> dict[str, Any]:
    """Return the schema."""
    schema: dict[str, Any] = yaml.safe_load(SCHEMA.read_text())
    return schema


def valid(settings: Any, schema: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return settings completed by a schema; raise `ConfigurationError` if it refuses them."""
    # The library comes with Snakemake; it takes long to import, and status may not need it.
    import jsonschema

    full: dict[str, Any] = with_defaults(spelt_out(settings, schema), schema)
    errors = sorted(jsonschema.Draft202012Validator(schema).iter_errors(full), key=str)
    if errors:
        raise ConfigurationError(f"{name} is not valid: {'; '.join(map(complaint, errors))}")
    return full


def complaint(error: "ValidationError") -> str:
    """Return what the schema says against a key, in words rather than as a pattern."""
    key = ".".join(map(str, error.absolute_path)) or "keys"
    if error.validator == "pattern" and "description" in error.schema:
        shown = without_user(repr(error.instance))
        return f"{key}: {shown} is not what it must be: {error.schema['description']}"
    return f"{key}: {without_user(error.message)}"


def without_user(text: str) -> str:
    """Return text without what stands before the host of an address."""
    return USER_PART.sub("://…@", text)


def with_defaults(settings: Any, schema: Mapping[str, Any]) -> Any:
    """Return settings with the schema's defaults for what they do not name."""
    if not isinstance(settings, dict):
        return settings
    full = dict(settings)
    for key, rule in schema.get("properties", {}).items():
        if "default" in rule:
            full.setdefault(key, rule["default"])
        if key in full:
            full[key] = with_defaults(full[key], rule)
    return full


def spelt_out(value: Any, schema: Mapping[str, Any]) -> Any:
    """Return settings with truth values and numbers where the schema has such.

    Snakemake itself knows only Python's ``True``, and no numbers within braces.
    """
    if isinstance(value, dict):
        rules = schema.get("properties", {})
        return {key: spelt_out(one, rules.get(key, {})) for key, one in value.items()}
    if isinstance(value, list):
        return [spelt_out(one, schema.get("items", {})) for one in value]
    return parse_word(value, schema.get("type")) if isinstance(value, str) else value


def parse_word(word: str, kind: object) -> object:
    """Return a word as the kind of value that it is to be; the word itself if it is none."""
    with suppress(KeyError, ValueError):
        if kind == "boolean":
            return WORDS[word.lower()]
        if kind in ("integer", "number"):
            return parse_number(word)
    return word


def parse_number(word: str) -> int | float:
    """Return the number that a word is."""
    with suppress(ValueError):
        return int(word)
    return float(word)
