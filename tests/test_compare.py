"""Comparison of our products with the legacy pipeline's."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta

import pytest
from astropy.io import fits

from scripts.commands.compare import TABLE, main
from scripts.lib.ledger.ledger import Ledger, ledger_path
from scripts.lib.nights.dates import last_night, parse_night
from scripts.lib.running.planning import Planner
from scripts.lib.settings.profile import read_file
from scripts.migration.comparison import Comparison, read_side
from scripts.migration.comparison_text import HEADINGS, as_dict
from scripts.migration.differences import Difference, Expectations
from tests.legacy import legacy_products
from tests.night import NIGHT, PARANAL, REPOSITORY, Night

FRAMES = 18
CUBE = "SPECU4.20260306T000010_S_Sp0805+0417_zYJ_10s.fits"
EXPECTED = {
    "Callisto": {
        "cube": """(name) LST DATE DATE-OBS DATE-END MJD-OBS MJD-END JD-OBS HJD-OBS UTC BLANK OBJECT
        RADESYS EQUINOX CTYPE3 CUNIT3 CHECKSUM CUBETYPE CUBEKEY LAT-OBS ALTITUDE HUMIDITY""",
        "plane": """DATE-OBS LST MJD-OBS UTC OBJECT CD1_1 CRVAL1 CTYPE1 CHECKSUM DATASUM DATE
        HUMIDITY""",
        "table": "CHECKSUM DATASUM",
    },
    "Io": {
        "frame": """LST DATE DATE-OBS DATE-END MJD-OBS UTC BLANK OBJECT CHECKSUM CTYPE1 CRPIX1
        CDELT1 CUNIT1 PC1_1 WCSAXES HUMIDITY"""
    },
}


of_both = pytest.mark.parametrize("both", ["Callisto", "Io"], indirect=True)
of_callisto = pytest.mark.parametrize("both", ["Callisto"], indirect=True)
of_io = pytest.mark.parametrize("both", ["Io"], indirect=True)


@pytest.fixture(scope="module")
def both(request, tmp_path_factory):
    """A night of a telescope, delivered by both pipelines."""
    return delivered_by_both(request.param, tmp_path_factory.mktemp(request.param))


def delivered_by_both(telescope, root):
    night = Night(root, telescope, size=(64, 80))
    night.simulate(FRAMES, every_kind=True)
    frames = night.source / NIGHT
    # The legacy pipeline accepts no other suffix.
    for path in frames.glob("*.fts"):
        path.rename(path.with_suffix(".fits"))
    # Each sequence takes two jobs more: four are enough.
    for pattern in ("*_dark_*_5.*", "*_dark_*_30.*", "*_flat_*", "*_TIC *"):
        for path in frames.glob(pattern):
            path.unlink()
    # It leaves PI-COI as the observatory software wrote it.
    night.run(pi_coi="M. Gillon")
    night.legacy = night.root / "legacy"
    legacy_products(night.telescope, night.source / NIGHT, night.legacy)
    return night


@pytest.fixture
def sides(both, tmp_path):
    """Copies of both directories, to be changed."""
    ours, legacy = tmp_path / "ours", tmp_path / "legacy"
    shutil.copytree(both.archive, ours)
    shutil.copytree(both.legacy, legacy)
    return ours, legacy


def compared(ours, legacy) -> dict:
    """Return all that is reported, the findings by kind."""
    report = as_dict(Comparison(read_side(ours), read_side(legacy), Expectations(TABLE)))
    report["kinds"] = {finding["kind"] for finding in report["findings"] if not finding["expected"]}
    report["unexplained"] = {k["keyword"] for k in report["keywords"] if k["reason"] is None}
    # As text it has the same outcome, and no kind is without a heading.
    assert main([str(ours), str(legacy)]) == (0 if report["as_expected"] else 1)
    assert {finding["kind"] for finding in report["findings"]} <= HEADINGS.keys()
    return report


def changed(path, planes=None, pixels=None, rows=None, **cards):
    """Write a product again, with other planes or keywords, and right sums.

    ``planes`` names the planes and rows that stay, in their order; ``pixels`` and ``rows`` change
    the pixels and the table in place.
    """
    with fits.open(path) as hdus:
        header, data = hdus[0].header.copy(), hdus[0].data.copy()
        tables = [hdu.copy() for hdu in hdus[1:]]
    if planes is not None:
        data = data[planes]
        tables[0] = fits.BinTableHDU(tables[0].data[planes], name="METADATA")
    if pixels:
        pixels(data)
    if rows:
        rows(tables[0].data)
    header.update({keyword.replace("_", "-"): value for keyword, value in cards.items()})
    fits.HDUList([fits.PrimaryHDU(data, header), *tables]).writeto(
        path, overwrite=True, checksum=True
    )


def one_pixel(data):
    data.flat[7] ^= 1


def a_frame(folder):
    """Return a science frame of Io, or the cube of the main target of Callisto."""
    path = folder / CUBE
    return path if path.exists() else sorted(folder.iterdir())[-1]


@of_both
def test_all_pairs_and_differs_only_as_expected(both, sides):
    report = compared(*sides)
    count = len(list((both.source / NIGHT).iterdir()))
    assert report["frames"] == {"ours": count, "legacy": count}
    assert report["products"]["legacy"] == report["pairs"] == report["expected"]
    assert (report["only_ours"], report["only_legacy"], report["unexpected"]) == (0, 0, 0)
    assert report["as_expected"]


@of_both
def test_each_difference_is_reported_with_its_reason(both, sides):
    report = compared(*sides)["keywords"]
    for place, keywords in EXPECTED[both.telescope].items():
        found = {
            group["keyword"] for group in report if group["place"] == place and group["reason"]
        }
        assert set(keywords.split()) <= found


@of_both
def test_the_same_directory_twice_has_no_difference(both, sides):
    report = compared(sides[0], sides[0])
    assert report["same"] == report["pairs"] == len(both.products())
    assert not report["keywords"] and not report["findings"]


@of_both
def test_the_command_prints_the_summary_and_the_reasons(both, sides):
    words = [sys.executable, "-m", "scripts.compare", *map(str, sides)]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr
    head, _, rest = done.stdout.partition("\nEXPECTED\n")
    assert re.search(r"differ unexpectedly +0$", head, re.M) and "\nAS EXPECTED" in head
    assert "seconds here, minutes there" in rest
    # One line for each keyword, place and reason, however many products there are.
    assert len(done.stdout.splitlines()) < 140


@of_both
def test_json_holds_the_same(both, sides, capsys):
    assert main([*map(str, sides), "--json", "--night", NIGHT]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == json.loads(json.dumps(as_dict(_comparison(*sides))))


def _comparison(ours, legacy):
    return Comparison(read_side(ours), read_side(legacy), Expectations(TABLE))


@of_both
@pytest.mark.parametrize("side", [0, 1], ids=["ours", "legacy"])
def test_a_changed_pixel_is_reported(both, sides, side):
    changed(a_frame(sides[side]), pixels=one_pixel)
    report = compared(*sides)
    assert "pixels" in report["kinds"] and report["unexpected"] == 1


@of_both
def test_a_flipped_bit_is_reported_with_the_wrong_sum(both, sides):
    path = a_frame(sides[0])
    content = bytearray(path.read_bytes())
    content[len(fits.getheader(path).tostring()) + 7] ^= 4
    path.write_bytes(content)
    assert {"pixels", "sum"} <= compared(*sides)["kinds"]


@of_callisto
def test_a_plane_lost_on_our_side_is_reported(both, sides):
    start = fits.getdata(sides[1] / CUBE, 1)["DATE-OBS"][2][:23]
    changed(sides[0] / CUBE, planes=[0, 1, 3, 4, 5])
    report = compared(*sides)
    assert report["kinds"] == {"lost on ours"}
    assert f"plane 3, {start}" in report["findings"][-1]["text"]


@of_callisto
def test_a_plane_on_our_side_only_is_expected(both, sides):
    # The name of a cube is that of its first frame.
    second = sides[1] / CUBE.replace("T000010", "T000021")
    (sides[1] / CUBE).rename(second)
    changed(second, planes=[1, 3, 4, 5])
    report = compared(*sides)
    assert "more on ours" in {finding["kind"] for finding in report["findings"]}
    assert report["as_expected"]


@of_callisto
def test_a_constant_plane_is_reported(both, sides):
    def spoil(data):
        data[2] = 32768

    changed(sides[1] / CUBE, pixels=spoil)
    report = compared(*sides)
    assert report["kinds"] == {"constant"} and not report["as_expected"]


@of_callisto
@pytest.mark.parametrize("side", [0, 1], ids=["ours", "legacy"])
def test_swapped_planes_are_reported(both, sides, side):
    def swap(data):
        data[[1, 2]] = data[[2, 1]]

    changed(sides[side] / CUBE, pixels=swap)
    report = compared(*sides)
    assert report["kinds"] == {"order"}
    # Their pixels are reported under another time.
    assert "DATE-OBS" in report["unexplained"]


@of_callisto
def test_a_cube_out_of_time_order_is_reported(both, sides):
    changed(sides[1] / CUBE, planes=[0, 2, 1, 3, 4, 5])
    report = compared(*sides)
    assert report["kinds"] == {"order"} and report["unexpected"] == 1


@of_callisto
def test_a_cube_stacked_twice_is_reported(both, sides):
    changed(sides[1] / CUBE, planes=[0, 1, 2, 3, 4, 5, 5])
    assert compared(*sides)["kinds"] == {"duplicate"}


@of_both
def test_a_product_under_two_names_is_reported(both, sides):
    path = a_frame(sides[1])
    shutil.copy(path, path.with_name(f"again_{path.name}"))
    assert compared(*sides)["kinds"] == {"duplicate"}


@of_callisto
def test_a_further_part_is_expected(both, sides):
    shutil.copy(sides[0] / CUBE, later := sides[0] / CUBE.replace("10s", "10s_part2"))
    changed(sides[0] / CUBE, planes=[0, 1, 2, 5])
    changed(later, planes=[3, 4])
    report = compared(*sides)
    assert not report["kinds"]
    assert [f["kind"] for f in report["findings"]].count("grouped otherwise") == 2


@of_callisto
def test_frames_in_another_cube_are_reported(both, sides):
    shutil.copy(sides[1] / CUBE, other := sides[1] / CUBE.replace("10s", "11s"))
    changed(sides[1] / CUBE, planes=[0, 1, 2, 5])
    changed(other, planes=[3, 4])
    assert "grouped otherwise" in compared(*sides)["kinds"]


@of_both
def test_a_keyword_that_nobody_expected_is_reported(both, sides, capsys):
    changed(a_frame(sides[1]), CAM_SNAM="another")
    report = compared(*sides)
    assert report["unexplained"] == {"CAM-SNAM"} and report["unexpected"] == 1
    text = capsys.readouterr().out
    assert "'another'" in text and text.index("UNEXPECTED") < text.index("CAM-SNAM")


@of_both
@pytest.mark.parametrize(
    "keyword, value",
    [
        ("LST", 1000.0),
        ("MJD_OBS", 61105.1),
        ("DATE_END", "2026-03-06T00:05:00.000"),
        ("HUMIDITY", 99.0),
        ("OBJECT", "another"),
        ("RA", 12.0),
        ("PI_COI", "N. N."),
    ],
)
def test_an_expected_keyword_must_differ_as_expected(both, sides, keyword, value):
    changed(a_frame(sides[1]), **{keyword: value})
    assert keyword.replace("_", "-") in compared(*sides)["unexplained"]


@of_callisto
def test_a_row_of_metadata_is_compared_too(both, sides):
    def wet(table):
        table["HUMIDITY"][1] = 99.0

    changed(sides[1] / CUBE, rows=wet)
    report = compared(*sides)
    assert report["unexplained"] == {"HUMIDITY"}
    assert [k["count"] for k in report["keywords"] if k["reason"] is None] == [1]


@of_both
def test_a_missing_product_is_reported(both, sides):
    missing = a_frame(sides[0])
    missing.unlink()
    report = compared(*sides)
    assert report["kinds"] == {"only legacy"} and report["only_legacy"] == 1
    assert missing.name in report["findings"][-1]["text"]


@of_both
def test_a_product_on_our_side_only_is_expected(both, sides):
    a_frame(sides[1]).unlink()
    report = compared(*sides)
    assert report["only_ours"] == 1 and report["as_expected"]


@of_both
@pytest.mark.parametrize("kept", [0, 4000, 11000, -1])
def test_a_truncated_product_is_reported(both, sides, kept):
    path = a_frame(sides[1])
    path.write_bytes(path.read_bytes()[:kept])
    report = compared(*sides)
    assert report["kinds"] == {"damaged"} and report["damaged"] == 1


@of_callisto
def test_a_cube_without_its_table_is_reported(both, sides):
    fits.PrimaryHDU(fits.getdata(sides[0] / CUBE)).writeto(sides[0] / CUBE, overwrite=True)
    assert {"damaged", "only legacy"} == compared(*sides)["kinds"]


@of_io
def test_products_of_other_nights_are_left_out(both, sides, capsys):
    words = list(map(str, sides))
    assert main([*words, "--night", "20260307"]) == 2
    assert "no products" in capsys.readouterr().err
    a_frame(sides[0]).unlink()
    assert main([*words, "--night", NIGHT]) == 1


@pytest.mark.parametrize(
    "words", [[], ["/tmp"], ["/tmp", "/no/such/folder"], ["/tmp", "/tmp", "--night", "20261301"]]
)
def test_wrong_usage_is_status_2(words):
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2


def test_the_first_row_that_holds_gives_the_reason():
    table = Expectations(TABLE)
    assert "minutes" in table.reason(Difference("frame", "LST", 60.0, 1.0))
    # Before and after midnight.
    assert table.reason(Difference("frame", "LST", 1.0, 1439.99))
    assert not table.reason(Difference("frame", "LST", 60.0, 60.0 / 3600))
    assert not table.reason(Difference("frame", "OBJECT", "DARK", "Sp0805+0417"))
    assert table.reason(Difference("cube", "HA", "1", "2", ("1", "2")))
    assert not table.reason(Difference("cube", "HA", "1", "3", ("1", "2")))


@pytest.mark.parametrize("row", ["LST,frame,hours,,x", "LST,sky,any,,x"])
def test_a_table_with_an_unknown_word_is_refused(tmp_path, row):
    path = tmp_path / "compare.csv"
    path.write_text(f"keyword,where,difference,within,reason\n{row}\n")
    with pytest.raises(ValueError, match="LST"):
        Expectations(path)


# What docs/migration.md says.


def test_the_page_quotes_what_is_really_said():
    page = (REPOSITORY / "docs/migration.md").read_text()
    begin = page.index("| it says |")
    rows = page[begin : page.index("\n\n", begin)].splitlines()[2:]
    quoted = [text for row in rows for text in re.findall("`([^`]*)`", row.split("|")[1])]
    source = (REPOSITORY / "scripts/migration/comparison_text.py").read_text()
    assert len(quoted) > 10
    assert not [text for text in quoted if text.rstrip("…").strip() not in source]


@of_callisto
def test_nights_of_the_trial_are_not_delivered_after_the_switch(both, tmp_path):
    eso = tmp_path / "eso"
    eso.mkdir()
    both.run(archive=str(eso), pi_coi="M. Gillon")
    assert not list(eso.iterdir())


@of_io
def test_which_nights_lookback_and_the_ledger_request(both):
    now = datetime.now(UTC)
    last = last_night(now, PARANAL)
    before = f"{parse_night(last) - timedelta(days=1):%Y%m%d}"
    settings = replace(read_file(both.config), nights="")
    for night in (before, last):
        shutil.copytree(both.source / NIGHT, both.source / night, dirs_exist_ok=True)
    with Ledger(ledger_path(both.workdir)) as ledger:

        def wanted(lookback: int) -> list[str]:
            planner = Planner(ledger, replace(settings, lookback=lookback), now.date())
            return planner.wanted_nights(now)

        # The working directory knows nothing of the night before: it would be delivered …
        assert wanted(14) == [before, last]
        # … but not with lookback 0 …
        assert wanted(0) == [last]
        # … nor if the trial has delivered it, wherever to.
        copy_night(ledger, before)
        shutil.copytree(both.folder, both.workdir / before)
        assert wanted(14) == [last]


def copy_night(ledger: Ledger, night: str) -> None:
    """Give a ledger another night, just like the one that it has."""
    frames = [replace(frame, night=night) for frame in ledger.frames(NIGHT)]
    products = [
        replace(product, night=night, name=f"{night}.{product.name}")
        for product in ledger.products(NIGHT)
    ]
    known = asdict(ledger.night(NIGHT))
    assert frames and products and known.pop("night") == NIGHT
    with ledger.transaction():
        ledger.record(frames)
        ledger.enter(products)
        ledger.set_night(night, **known)
    ledger.set_views(night, ledger.views(NIGHT))
