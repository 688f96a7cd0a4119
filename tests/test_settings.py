"""Configurations: their records, schema and example; what can be read of a wrong one."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
import yaml

from scripts.lib.settings import records
from scripts.lib.settings.check import ConfigurationError, Unchecked, checked, schema_of
from scripts.lib.settings.passwords import password_file
from scripts.lib.settings.profile import read_file
from tests.night import REPOSITORY

PROPERTIES = schema_of(records.Configuration)["properties"]
RULES = {
    *("type", "properties", "required", "additionalProperties", "items", "if", "then"),
    *("description", "default", "examples", "enum", "pattern", "minLength", "maxLength"),
    *("minimum", "exclusiveMinimum", "maximum"),
}
MAIL = {"from": "a@obs.example", "to": ["b@obs.example"], "host": "mail.example"}


def written(**settings) -> dict:
    """Return a configuration as it is written."""
    return yaml.safe_load((REPOSITORY / "config/callisto.yaml").read_text()) | settings


def described(rules: dict) -> Iterator[tuple[str, dict]]:
    """Return the keys of a schema, also those within keys."""
    for key, rule in rules.items():
        yield key, rule
        # What an entry of a list holds is seen in the list's example.
        yield from described(rule.get("properties", {}))


def test_every_key_is_described_and_has_an_example():
    jsonschema.Draft202012Validator.check_schema(schema_of(records.Configuration))
    for key, rule in described(PROPERTIES):
        # The library would not notice a rule whose name is wrong.
        assert rule.keys() <= RULES, key
        assert rule["description"], key
        assert "properties" in rule or {"default", "examples", "enum"} & rule.keys(), key


def test_records_have_the_defaults_of_the_schema():
    config = records.Configuration.of(written())
    full = records.Configuration.of(checked(written(), "test"))
    assert replace(config, corrections=str(REPOSITORY / "config/corrections")) == full


def test_example_is_a_right_configuration_in_both_forms():
    text = (REPOSITORY / "config/telescope.yaml.example").read_text()
    required = checked(yaml.safe_load(text), "test")
    assert required["telescope"] == "Callisto" and required["mail"]["to"] == []
    lines = [re.sub(r"^( *)# (\w+:( |$))", r"\1\2", line) for line in text.splitlines()]
    keys = re.compile(r"^ *(" + "|".join(dict(described(PROPERTIES))) + r"):( |$)")
    config = checked(yaml.safe_load("\n".join(filter(keys.match, lines))), "test")
    assert config.keys() == PROPERTIES.keys() and config["mail"]["port"] == 587
    assert config["programmes"] and config["free_gb"] == {"workdir": 20, "archive": 5}


@pytest.mark.parametrize("telescope", ["callisto", "europa", "ganymede", "io"])
def test_configurations_of_the_telescopes_become_records(telescope):
    config = read_file(REPOSITORY / f"config/{telescope}.yaml")
    assert config.telescope == telescope.capitalize()
    assert config.nights == "" and config.programmes == () and not config.mail.to
    for key, rule in PROPERTIES.items():
        if (
            "default" in rule
            and rule.get("type") not in ("array", "object")
            and key != "corrections"
        ):
            assert getattr(config, key) == rule["default"], key
    assert config.free_gb == records.FreeSpace(20, 5) and config.mail.security == "starttls"
    assert config.workdir == Path(written()["workdir"]).with_name(config.telescope)


def test_written_settings_become_typed_values():
    programmes = [{"nights": 20260305, "programme": "60.A-9099(A)"}]
    settings = written(nights=20260305, programmes=programmes, mail=MAIL | {"port": 26})
    config = records.Configuration.of(checked(settings, "test"))
    assert config.nights == "20260305"
    assert config.programmes == (records.ProgrammeEntry("20260305", "60.A-9099(A)", ()),)
    assert config.mail.sender == "a@obs.example" and config.mail.to == ("b@obs.example",)
    assert config.mail.port == 26 and config.mail.cc == () and config.mail.timeout == 20
    assert config.corrections == str(REPOSITORY / "config/corrections")
    assert records.Configuration.of(checked(written(nights=None), "test")).nights == ""


def test_records_are_imported_quickly_by_every_job():
    program = "import scripts.lib.settings.records, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert not {"yaml", "jsonschema", "numpy", "argparse"} & set(done.stdout.split())


# Configurations that are wrong


def test_mail_works_whatever_else_is_wrong(tmp_path):
    settings = {"workdir": str(tmp_path), "lookbakc": 3, "mail": MAIL | {"colour": "red"}}
    unchecked = Unchecked("callisto", settings)
    right = records.Configuration.of(checked(written(mail=MAIL), "test")).mail
    assert unchecked.mail == right
    assert unchecked.telescope == "Callisto" and unchecked.workdir == tmp_path
    within_braces = {"mail": MAIL | {"port": "26", "timeout": "1.5"}}
    found = Unchecked("callisto", within_braces).mail
    assert found.port == 26 and found.timeout == 1.5


@pytest.mark.parametrize(
    ("mail", "problem"),
    [
        ("smtp://obs:secret@pc", "mail is not valid: keys: 'smtp://…@pc' is not of type 'object'"),
        ({"to": ["a@b.example"]}, "'from' is a required property"),
        (MAIL | {"security": "ssl"}, "security: 'ssl' is not one of"),
    ],
)
def test_why_mail_does_not_work_is_said(mail, problem):
    with pytest.raises(ConfigurationError) as raised:
        Unchecked("callisto", {"mail": mail}).mail  # noqa: B018
    assert problem in str(raised.value)


@pytest.mark.parametrize("settings", [{}, {"workdir": None}, {"workdir": 3, "telescope": None}])
def test_an_empty_configuration_still_names_its_telescope(settings):
    unchecked = Unchecked("callisto", settings)
    assert unchecked.telescope == "Callisto" and unchecked.mail.to == ()
    assert not unchecked.workdir.exists()
    own = REPOSITORY / "config/callisto.env"
    assert password_file(unchecked) == own
    with pytest.raises(ConfigurationError, match="the configuration is not valid: "):
        unchecked.checked()
