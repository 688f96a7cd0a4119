"""Telescopes by table and configuration alone; cameras that were replaced."""

import os
import re
import shutil
import subprocess
from types import SimpleNamespace

import pytest
import yaml
from astropy.io import fits

from scripts.lib.files.errors import Damaged
from scripts.lib.files.tables import read_table
from scripts.lib.nights.cameras import of_night
from scripts.lib.nights.dates import night_bounds, night_of
from scripts.lib.settings.check import ConfigurationError, Layer, checked
from scripts.lib.settings.telescopes import TABLE, read_telescopes, telescopes
from tests.night import NIGHT, REPOSITORY, Night, read_csv
from tests.records import CONFIG, configuration

PARTS = """Snakefile config docs envs profiles pyproject.toml rules scripts speculoos-archive
templates units web""".split()
PAGE = (REPOSITORY / "docs/add-a-telescope.md").read_text()
# What the page says, and what it would say for another telescope.
ARTEMIS = SimpleNamespace(name="Artemis", words={}, frames="SPECULOOS5")
SAINT_EX = SimpleNamespace(
    name="SAINT-EX",
    words={
        "Artemis": "SAINT-EX",
        "artemis": "saint-ex",
        "Teide": "San Pedro Martir",
        "SNO-TEIDE": "OAN-SPM",
        "SPECULOOS-ARTEMIS,SPECULOOS5,SPECULOOS5,SPECU5": "SAINT-EX,SAINTEX,SAINTEX,SAINT1",
    },
    frames="SAINTEX",
)


@pytest.mark.parametrize("telescope", [ARTEMIS, SAINT_EX], ids=lambda one: one.name)
def test_the_page_adds_a_telescope(tmp_path, telescope):
    """Each command of the page, with small frames, other folders and another name."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for part in PARTS:
        copy = shutil.copytree if (REPOSITORY / part).is_dir() else shutil.copy
        copy(REPOSITORY / part, checkout / part)
    (checkout / ".venv").symlink_to(REPOSITORY / ".venv")
    subprocess.run(["git", "init", "-q"], cwd=checkout, check=True)
    changes = telescope.words | {"/data/": f"{tmp_path}/", "2048": "64", "2088": "80"}
    changes |= {"--frames 14": "--frames 14 --size 64x80"}
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.S)
    assert len(blocks) == len(re.findall(r"^\*\*\d+\. ", PAGE, re.M)) == 10
    environ = os.environ | {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "home")}
    environ |= {
        f"GIT_{who}_{what}": "a@obs.example"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    said = []
    for block in blocks:
        # The longest first: one word is a part of another.
        for before in sorted(changes, key=len, reverse=True):
            block = block.replace(before, changes[before])
        done = subprocess.run(
            ["bash", "-e", "-c", block], cwd=checkout, env=environ, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        said.append(done.stdout)
    assert f"{telescope.name}," in said[0]
    assert "14 passed, 0 of them with warnings; 0 refused" in said[7]
    assert (tmp_path / "home/snakemake" / telescope.name.lower() / "profile.yaml").exists()
    products = sorted((tmp_path / "trial/eso").iterdir())
    truth = read_csv(tmp_path / f"trial/source/{NIGHT}.truth.csv")
    assert len(products) == len(truth) == 14
    site = telescopes()[telescope.name].site
    pointed = set()
    for path in products:
        assert path.name.startswith(f"{telescope.frames}.2026-03-0")
        header = fits.getheader(path)
        assert abs(header["LONG-OBS"] - site.longitude) < 1e-3
        if header["HIERARCH ESO DPR CATG"] == "SCIENCE":
            pointed.add((header["OBJECT"], header["RA"], header["DEC"]))
    assert pointed == {
        (row["object"], float(row["ra"]), -float(row["dec"]))
        for row in read_table(CONFIG / "simulate/targets.csv")
    }


def test_a_night_of_an_earlier_camera_is_delivered_as_frames(tmp_path):
    night = Night(tmp_path, "Callisto")
    settings = night.settings()
    for entry in settings["earlier_cameras"]:
        entry["camera"] |= {"naxis1": 64, "naxis2": 80}
    night.config.write_text(yaml.safe_dump(settings | {"nights": "20250305"}))
    truth = night.simulate(night="20250305")
    night.run()
    assert {re.sub(r"\.2025-03-0.*", "", path.name) for path in night.products()} == {"SPECULOOS4"}
    night.assert_delivered_once(truth)
    assert fits.getheader(night.products()[0])["CAM-DNAM"] == "Andor iKon-L"


def test_the_camera_is_that_of_the_night():
    settings = configuration("Callisto")
    found = {n: of_night(settings, n) for n in ("20220601", "20230401", "20250310", "20250311")}
    names = [one.camera.name for one in found.values()]
    assert names == ["SPIRIT", "Andor iKon-L", "Andor iKon-L", "SPIRIT"]
    assert [one.products for one in found.values()] == ["cubes", "frames", "frames", "cubes"]


def test_a_telescope_without_names_of_its_own_does_not_run():
    settings = yaml.safe_load((CONFIG / "io.yaml").read_text()) | {"telescope": "Artemis"}
    with pytest.raises(ConfigurationError) as raised:
        checked(Layer("test", settings))
    assert re.search(r"Artemis cannot be .*telescop in .*csv.*origin of Teide", str(raised.value))


@pytest.mark.parametrize(
    "row, problem",
    [
        ("X,Mars,X,X,X,X,hours", "X: site is 'Mars'; known are Paranal, Teide"),
        ("X,Teide,X,X,X,X,radians", "X: ra is 'radians'; known are degrees, hours"),
        ("X,Teide,X,SPECULOOS1,X,X,hours", "X has a name of Io"),
    ],
)
def test_wrong_rows_are_refused(tmp_path, row, problem):
    shutil.copy(TABLE.with_name("sites.csv"), tmp_path)
    path = tmp_path / "telescopes.csv"
    path.write_text(f"{TABLE.read_text()}{row}\n")
    with pytest.raises(Damaged, match=problem):
        read_telescopes(path)


@pytest.mark.parametrize("name", telescopes())
def test_a_time_within_the_bounds_belongs_to_the_night(name):
    longitude = telescopes()[name].site.longitude
    begin, _ = night_bounds(NIGHT, longitude)
    assert night_of(begin.replace(day=6, hour=(begin.hour + 12) % 24), longitude) == NIGHT
