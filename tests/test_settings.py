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

from scripts.lib.settings import passwords, profile, records
from scripts.lib.settings.check import ConfigurationError, Layer, Unchecked, checked, schema_of
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
    full = records.Configuration.of(checked(Layer("test", written())))
    assert replace(config, corrections=str(REPOSITORY / "config/corrections")) == full


def test_example_is_a_right_configuration_in_both_forms():
    text = (REPOSITORY / "config/telescope.yaml.example").read_text()
    required = checked(Layer("test", yaml.safe_load(text)))
    assert required["telescope"] == "Callisto" and required["mail"]["to"] == []
    lines = [re.sub(r"^( *)# (\w+:( |$))", r"\1\2", line) for line in text.splitlines()]
    keys = re.compile(r"^ *(" + "|".join(dict(described(PROPERTIES))) + r"):( |$)")
    config = checked(Layer("test", yaml.safe_load("\n".join(filter(keys.match, lines)))))
    assert config.keys() == PROPERTIES.keys() and config["mail"]["port"] == 587
    assert config["programmes"] and config["free_gb"] == {"workdir": 20, "archive": 5}


@pytest.mark.parametrize("telescope", ["callisto", "europa", "ganymede", "io"])
def test_configurations_of_the_telescopes_become_records(telescope, monkeypatch):
    monkeypatch.setattr(profile, "SITE", REPOSITORY / "config/no-site")
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
    config = records.Configuration.of(checked(Layer("test", settings)))
    assert config.nights == "20260305"
    assert config.programmes == (records.ProgrammeEntry("20260305", "60.A-9099(A)", ()),)
    assert config.mail.sender == "a@obs.example" and config.mail.to == ("b@obs.example",)
    assert config.mail.port == 26 and config.mail.cc == () and config.mail.timeout == 20
    assert config.corrections == str(REPOSITORY / "config/corrections")
    empty = dict.fromkeys(("nights", "catalogue", "index", "dark", "corrections"))
    config = records.Configuration.of(checked(Layer("test", written(**empty))))
    assert config.nights == config.catalogue == config.index == config.dark == ""
    with pytest.raises(ConfigurationError, match="workdir: '' is not what it must be"):
        checked(Layer("test", written(workdir=None)))


# Settings of the site


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout's configuration of Callisto, and its folder for the site's own."""
    (tmp_path / "config/site").mkdir(parents=True)
    (tmp_path / "config/callisto.yaml").write_text(yaml.safe_dump(written(mail=MAIL)))
    for module in (profile, passwords):
        monkeypatch.setattr(module, "SITE", tmp_path / "config/site")
    return tmp_path


def test_settings_of_the_site_are_merged_and_named(checkout):
    base, own = checkout / "config/callisto.yaml", checkout / "config/site/callisto.yaml"
    assert read_file(base).lookback == 14
    own.write_text("# all is commented out\n")
    assert read_file(base).lookback == 14
    own.write_text("lookback: 3\ncamera: {rotation: 1}\nmail: {to: [c@obs.example]}\n")
    config = read_file(base)
    assert config.lookback == 3 and config.camera.rotation == 1 and config.camera.name == "SPIRIT"
    assert config.mail.to == ("c@obs.example",) and config.mail.host == "mail.example"
    copy = checkout / "callisto.yaml"
    copy.write_text(base.read_text())
    assert read_file(copy).lookback == 14
    own.write_text("lookbakc: 3\nlookback: x\nmail: {to: [3]}\n")
    base.write_text(yaml.safe_dump(written(mail=MAIL, origin=5)))
    with pytest.raises(ConfigurationError) as raised:
        read_file(base)
    for wrong, path in {
        "('lookbakc' was unexpected)": own,
        "lookback: 'x' is not of type 'integer'": own,
        "mail.to.0: 3 is not of type 'string'": own,
        "origin: 5 is not of type 'string'": base,
    }.items():
        assert f"{wrong} (in {path})" in str(raised.value)
    base.write_text("telescope: Callisto\n")
    with pytest.raises(ConfigurationError, match=f"'archive' is a .* .in {base}, {own}."):
        read_file(base)


def test_unreadable_settings_of_the_site_are_an_error(checkout):
    own = checkout / "config/site/callisto.yaml"
    own.symlink_to("/nowhere/callisto.yaml")
    with pytest.raises(ConfigurationError, match=f"{own} cannot be read"):
        read_file(checkout / "config/callisto.yaml")


def test_passwords_of_the_site_win_over_the_earlier_place(checkout):
    unchecked = Unchecked("callisto", (Layer("test", written()),))
    earlier, own = checkout / "config/callisto.env", checkout / "config/site/callisto.env"
    assert password_file(unchecked) == own
    earlier.touch()
    assert password_file(unchecked) == earlier
    own.touch()
    assert password_file(unchecked) == own


def test_records_are_imported_quickly_by_every_job():
    program = "import scripts.lib.settings.records, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert not {"yaml", "jsonschema", "numpy", "argparse"} & set(done.stdout.split())


# Configurations that are wrong


def test_mail_works_whatever_else_is_wrong(tmp_path):
    settings = {"workdir": str(tmp_path), "lookbakc": 3, "mail": MAIL | {"colour": "red"}}
    unchecked = Unchecked("callisto", (Layer("test", settings),))
    right = records.Configuration.of(checked(Layer("test", written(mail=MAIL)))).mail
    assert unchecked.mail == right
    assert unchecked.telescope == "Callisto" and unchecked.workdir == tmp_path
    within_braces = {"mail": MAIL | {"port": "26", "timeout": "1.5"}}
    found = Unchecked("callisto", (Layer("test", within_braces),)).mail
    assert found.port == 26 and found.timeout == 1.5


@pytest.mark.parametrize(
    ("mail", "problem"),
    [
        ("smtp://obs:secret@pc", "mail: 'smtp://…@pc' is not of type 'object'"),
        ({"to": ["a@b.example"]}, "'from' is a required property"),
        (MAIL | {"security": "ssl"}, "security: 'ssl' is not one of"),
    ],
)
def test_why_mail_does_not_work_is_said(mail, problem):
    with pytest.raises(ConfigurationError) as raised:
        Unchecked("callisto", (Layer("test", {"mail": mail}),)).mail  # noqa: B018
    assert problem in str(raised.value)


@pytest.mark.parametrize("settings", [{}, {"workdir": None}, {"workdir": 3, "telescope": None}])
def test_an_empty_configuration_still_names_its_telescope(settings):
    unchecked = Unchecked("callisto", (Layer("test", settings),))
    assert unchecked.telescope == "Callisto" and unchecked.mail.to == ()
    assert not unchecked.workdir.exists()
    own = REPOSITORY / "config/site/callisto.env"
    assert password_file(unchecked) == own
    with pytest.raises(ConfigurationError, match="the configuration is not valid: "):
        unchecked.checked()
