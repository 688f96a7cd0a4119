"""Configurations as they are written, checked against the JSON schema of their records."""

import ast
import functools
import inspect
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args, get_origin

from scripts.lib.files.errors import Damaged
from scripts.lib.settings import records
from scripts.lib.settings.records import Configuration, Mail, record_of
from scripts.lib.settings.telescopes import TABLE, UNKNOWN, telescope_of, telescopes

if TYPE_CHECKING:
    from jsonschema import ValidationError

CHECKOUT = Path(__file__).absolute().parents[3]
CORRECTIONS = CHECKOUT / "config/corrections"
# What a site sets, beside the files that come with the checkout; git ignores it.
SITE = CHECKOUT / "config/site"
# Of an address; a password may be in it, and hold anything.
USER_PART = re.compile("://.*@", re.DOTALL)
TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
# Does not exist: mails about a configuration without working directory are not kept.
NOWHERE = Path("/nowhere")


class ConfigurationError(Exception):
    """The telescope cannot be run as it is set up; the message says what to change."""


def read_text(path: Path) -> str:
    """Return a text file, or raise `ConfigurationError` without anything of its content."""
    try:
        # Editors of other systems begin a file with a mark that is not part of its text.
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path} cannot be read: it is not UTF-8") from None


class Layer(NamedTuple):
    """Settings of one origin: the path of a file, or the options of a command line."""

    origin: str
    settings: Mapping[str, Any]


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of which later ones win; mappings within them are merged key by key."""
    result: dict[str, Any] = {}
    for name, value in (item for layer in layers for item in layer.items()):
        if isinstance(value, dict):
            before = result.get(name)
            value = merged(before if isinstance(before, dict) else {}, value)
        result[name] = value
    return result


@dataclass(frozen=True, slots=True)
class Unchecked:
    """A configuration as it is written: keys may be missing, unknown or wrong.

    ``profile`` is the name of the telescope's profile. Of ``layers`` later ones win; there are
    none if a file cannot be read.
    """

    profile: str
    layers: tuple[Layer, ...] = ()

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of all layers together."""
        return merged(*(layer.settings for layer in self.layers))

    @property
    def telescope(self) -> str:
        """The telescope's name, that of its profile if there is no other."""
        if named := self.settings.get("telescope"):
            return str(named)
        try:
            known = telescope_of(self.profile)
        except Damaged:
            known = None  # reported where the configuration is checked
        return known.name if known else self.profile.capitalize()

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

        It raises `ConfigurationError` if nothing could be sent with it. Its unknown keys do not
        prevent a mail, which must report them.
        """
        schema = schema_of(Configuration)["properties"]["mail"] | {"additionalProperties": True}
        return record_of(Mail, valid(self.settings.get("mail") or {}, schema, self.layers, "mail"))

    def checked(self) -> Configuration:
        """Return the configuration that a run has; see `checked` below."""
        return Configuration.of(checked(*self.layers))


def checked(*layers: Layer) -> dict[str, Any]:
    """Return merged settings with their defaults; truth values and numbers as such.

    Raises
    ------
    ConfigurationError
        If the schema does not allow them; the message names the file of each wrong value. Or if the
        telescope has no names that ESO knows.
    """
    settings = merged(*(layer.settings for layer in layers))
    try:
        full = valid(settings, schema_of(Configuration), layers)
    except Damaged as error:
        raise ConfigurationError(str(error)) from None
    check_names(Configuration.of(full))
    return full | {"corrections": full.get("corrections") or str(CORRECTIONS)}


def check_names(config: Configuration) -> None:
    """Raise `ConfigurationError` if ESO's names for a telescope's products are not known."""
    telescope = telescopes()[config.telescope]
    unknown = [f"{column} in {TABLE}" for column in telescope.unknown]
    if config.place.origin == UNKNOWN:
        unknown.append(f"origin of {config.place.name} in {TABLE.with_name('sites.csv')}")
    if unknown:
        raise ConfigurationError(
            f"{telescope.name} cannot be archived yet: to be agreed with ESO, and {UNKNOWN} until "
            f"then, are {', '.join(unknown)}; see docs/add-a-telescope.md"
        )


def schema_of(record: Any) -> dict[str, Any]:
    """Return the JSON schema of a record's keys.

    Empty defaults (no port, no sender) are not in it: they are those of the record alone.
    """
    rules, required = {}, []
    for one in fields(record):
        rule: dict[str, Any] = {"description": descriptions()[record.__name__, one.name]}
        rule |= one.metadata
        if callable(names := rule.get("enum")):
            rule["enum"] = names()
        name = rule.pop("name", one.name)
        if one.default is MISSING:
            required.append(name)
        elif is_dataclass(one.default):
            rule["default"] = {}
        elif one.default not in ("", None):
            rule["default"] = [] if one.default == () else one.default
        # A wrong word is not to be called a wrong type as well.
        rules[name] = rule if one.type is str and "enum" in rule else type_rules(one.type) | rule
    shape = {"type": "object", "additionalProperties": False, "properties": rules}
    return shape | ({"required": required} if required else {})


@functools.cache
def descriptions() -> dict[tuple[str, str], str]:
    """Return the texts below the keys of records.py, by record and attribute."""
    found = {}
    parts = ast.parse(inspect.getsource(records)).body
    for record in (part for part in parts if isinstance(part, ast.ClassDef)):
        for one, text in pairwise(record.body):
            if isinstance(one, ast.AnnAssign) and isinstance(text, ast.Expr):
                words = ast.literal_eval(text.value).split()
                found[record.name, ast.unparse(one.target)] = " ".join(words)
    return found


def type_rules(kind: Any) -> dict[str, Any]:
    """Return what the schema says of a type."""
    if is_dataclass(kind):
        return schema_of(kind)
    if get_origin(kind) is tuple:
        return {"type": "array", "items": type_rules(get_args(kind)[0])}
    if kind is Path:
        return {"type": "string", "pattern": "^/"}
    return {"type": TYPES[(get_args(kind) or (kind,))[0]]}


def valid(
    settings: Any, schema: Mapping[str, Any], layers: Sequence[Layer], *key: str
) -> dict[str, Any]:
    """Return settings completed by a schema; raise `ConfigurationError` if it refuses them.

    ``key`` is where they stand in the layers, by whose origins the message names wrong values.
    """
    # The library comes with Snakemake; it takes long to import, and status may not need it.
    import jsonschema

    full: dict[str, Any] = completed(settings, schema)
    errors = sorted(jsonschema.Draft202012Validator(schema).iter_errors(full), key=str)
    if errors:
        said = "; ".join(complaint(error, layers, key) for error in errors)
        raise ConfigurationError(f"the configuration is not valid: {said}")
    return full


def complaint(error: "ValidationError", layers: Sequence[Layer], key: tuple[str, ...]) -> str:
    """Return what the schema says against a key, in words rather than as a pattern, and where."""
    path = (*key, *error.absolute_path)
    name, what = ".".join(map(str, path)) or "keys", without_user(error.message)
    if error.validator == "pattern" and "description" in error.schema:
        shown = without_user(repr(error.instance))
        what = f"{shown} is not what it must be: {error.schema['description']}"
    wrong = [path]
    if error.validator == "additionalProperties":
        wrong = [(*path, name) for name in error.instance if name not in error.schema["properties"]]
    places = dict.fromkeys(origin for path in wrong for origin in origins(layers, path))
    return f"{name}: {what}" + (f" (in {', '.join(places)})" if places else "")


def origins(layers: Sequence[Layer], path: Sequence[str | int]) -> list[str]:
    """Return from where a setting is: the last layer that has it, all layers of a mapping."""
    found: list[str] = []
    for layer in reversed(layers):
        value: Any = layer.settings
        for part in path:
            # A list is one setting, as is what stands in place of a mapping.
            if not isinstance(value, Mapping):
                break
            value = value.get(part, MISSING)
        if value is MISSING:
            continue
        found.insert(0, layer.origin)
        if not isinstance(value, Mapping):
            break
    return found


def without_user(text: str) -> str:
    """Return text without user and password of an address."""
    return USER_PART.sub("://…@", text)


def completed(value: Any, schema: Mapping[str, Any]) -> Any:
    """Return settings with the schema's defaults, and truth values and numbers as such.

    Snakemake itself knows only Python's ``True``, and no numbers within braces.
    """
    if isinstance(value, dict):
        rules = schema.get("properties", {})
        full = dict(value)
        for name, rule in rules.items():
            if "default" in rule:
                full.setdefault(name, rule["default"])
        return {name: completed(one, rules.get(name, {})) for name, one in full.items()}
    if isinstance(value, list):
        return [completed(one, schema.get("items", {})) for one in value]
    if isinstance(value, str) and schema.get("type") in ("boolean", "integer", "number"):
        with suppress(ValueError):
            return json.loads(value.lower())
    if value is None and schema.get("type") == "string":
        return ""  # `key=` and `key:`; whether that is right, the key's pattern says
    return value
