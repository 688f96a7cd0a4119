"""Names of sequences and products, programme ids."""

import re
from datetime import UTC, datetime

import pytest

from scripts.lib.frames import names
from scripts.lib.frames.frame import Facts, Setting
from scripts.lib.frames.instruments import read_kinds
from scripts.lib.frames.programmes import check_programme
from scripts.lib.settings.records import Camera
from scripts.lib.settings.telescopes import telescopes
from tests.records import CONFIG

SPIRIT = Camera("SPIRIT", 1024, 1280, 0.309, rotation=0, parity=1, band="g", fixed_pattern=False)

CALLISTO = telescopes()["Callisto"]


def facts(kind: str, **changes) -> Facts:
    setting = Setting("SPIRIT", 1, 1, 0, 0, 1024, 1280)
    values = {"object": "Sp0805+0417", "filter": "zYJ", "exptime": 10.0, "setting": setting}
    kinds = read_kinds(CONFIG / "kinds.csv")
    values |= changes
    return Facts(kinds[kind], date_obs=datetime(2026, 3, 6, tzinfo=UTC), **values)


@pytest.mark.parametrize(
    ("kind", "changes", "name"),
    [
        ("science", {}, "S_Sp0805+0417_zYJ_10s"),
        ("science", {"object": "TIC 46432937 b"}, "S_TIC_46432937_b_zYJ_10s"),
        ("science", {"object": "C/2025 N1 (ATLAS)"}, "S_C_2025_N1_ATLAS_zYJ_10s"),
        ("science", {"filter": "i'"}, "S_Sp0805+0417_ip_10s"),
        ("flat", {"exptime": 3.259}, "C_flat_zYJ_3.259s"),
        ("dark", {}, "C_dark_10s"),
        ("bias", {"exptime": 0.0}, "C_bias"),
        ("bias", {"setting": Setting("SPIRIT", 2, 2, 0, 0, 512, 640)}, "C_bias_bin2x2"),
        (
            "bias",
            {"setting": Setting("SPIRIT", 1, 1, 8, 4, 100, 90)},
            "C_bias_sub100x90+8+4",
        ),
        ("bias", {"setting": Setting("Andor x", 1, 1, 0, 0, 1024, 1280)}, "C_bias_Andor_x"),
    ],
)
def test_sequence_names(kind, changes, name):
    assert names.sequence_name(facts(kind, **changes), SPIRIT) == name


def test_long_names_are_cut_but_stay_apart():
    one, two = ("S_" + "x" * 90 + end + "_zYJ_10s" for end in "ab")
    short = [names.fitting(CALLISTO, name, "_part2") for name in (one, two)]
    assert short[0] != short[1]
    for name in short:
        product = names.cube_name(CALLISTO, datetime(2026, 3, 6), name)
        assert len(product) <= 68 and re.fullmatch(r"[A-Za-z0-9.+_-]+", product)
        assert name.startswith("S_x") and name.endswith("10s_part2")


@pytest.mark.parametrize("text", ["60.A-9009(D)", "110.23WX.001", "108.A-0001(AB)"])
def test_programme_ids(text):
    assert check_programme(text) == text


@pytest.mark.parametrize(
    "text", ["", "60.A-9009", "60.a-9009(D)", "x60.A-9009(D)", "60.A-9009(D) "]
)
def test_invalid_programme_ids_are_refused(text):
    with pytest.raises(ValueError, match="programme"):
        check_programme(text)
