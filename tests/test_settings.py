"""Configurations: the records agree with the schema; what can be read of a wrong one."""

import subprocess
import sys
from dataclasses import MISSING, Field, fields
from pathlib import Path

import pytest
import yaml

from scripts.lib.settings import records
from scripts.lib.settings.check import SCHEMA, ConfigurationError, Unchecked, checked, usable_mail
from scripts.lib.settings.passwords import password_file
from scripts.lib.settings.profile import read_file
from tests.night import REPOSITORY

PROPERTIES = yaml.safe_load(SCHEMA.read_text())["properties"]
# Attributes whose key is a word of Python.
KEYS = {"sender": "from"}
RECORDS = {
    records.Configuration: PROPERTIES,
    records.Camera: PROPERTIES["camera"]["properties"],
    records.ProgrammeEntry: PROPERTIES["programmes"]["items"]["properties"],
    records.FreeSpace: PROPERTIES["free_gb"]["properties"],
    records.Mail: PROPERTIES["mail"]["properties"],
}
MAIL = {"from": "a@obs.example", "to": ["b@obs.example"], "host": "mail.example"}


def written(**settings) -> dict:
    """Return a configuration as it is written."""
    return yaml.safe_load((REPOSITORY / "config/callisto.yaml").read_text()) | settings


def is_right(field: Field, rule: dict) -> bool:
    """Return whether an attribute is of the type that the schema asks for."""
    wanted = {
        "boolean": (bool,),
        "integer": (int, int | None),
        "number": (float,),
        "string": (str, Path),
        "array": (tuple[str, ...], tuple[records.ProgrammeEntry, ...]),
        "object": (records.Camera, records.FreeSpace, records.Mail),
    }
    # One of some words is text or a number; night names may be written as numbers.
    kind = rule.get("type", "string")
    kind = "string" if isinstance(kind, list) else kind
    return field.type in wanted[kind]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_records_have_the_keys_of_the_schema_and_no_defaults(record):
    rules = RECORDS[record]
    found = {KEYS.get(field.name, field.name): field for field in fields(record)}
    assert found.keys() == rules.keys()
    for key, field in found.items():
        assert is_right(field, rules[key]), key
        assert field.default is MISSING and field.default_factory is MISSING, key


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


def test_what_is_written_becomes_what_is_meant():
    programmes = [{"nights": 20260305, "programme": "60.A-9099(A)"}]
    settings = written(nights=20260305, programmes=programmes, mail=MAIL | {"port": 26})
    config = records.Configuration.of(checked(settings, "test"))
    assert config.nights == "20260305"
    assert config.programmes == (records.ProgrammeEntry("20260305", "60.A-9099(A)", ()),)
    assert config.mail.sender == "a@obs.example" and config.mail.to == ("b@obs.example",)
    assert config.mail.port == 26 and config.mail.cc == () and config.mail.timeout == 20
    assert config.corrections == str(REPOSITORY / "config/corrections")
    assert records.Configuration.of(checked(written(nights=None), "test")).nights == ""


def test_every_job_can_afford_the_records():
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
    assert usable_mail(within_braces).port == 26 and usable_mail(within_braces).timeout == 1.5


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
        usable_mail({"mail": mail})
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
