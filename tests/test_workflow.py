"""Products of a night with every fault, against the truth that the simulator wrote.

What tools say of the same products: test_products.py, which shares the night.
"""

import csv
import re
import shutil
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from tests.night import NIGHT, plane_digests

CONFIG = Path(__file__).parent.parent / "config"

of_callisto = pytest.mark.parametrize("faulty_night", ["Callisto"], indirect=True)
of_io = pytest.mark.parametrize("faulty_night", ["Io"], indirect=True)


def good(night) -> dict[str, dict]:
    """Return the truth of good frames by file name."""
    return {row["file"]: row for row in night.truth if not row["fault"]}


def members(night, product: Path) -> list[dict]:
    """Return the rows of the receipt of a product, in time order."""
    rows = [row for row in night.receipts() if row["product"] == product.name]
    return sorted(rows, key=lambda row: row["date_obs"])


def raw_of(night, row: dict) -> fits.Header:
    return fits.getheader(night.source / NIGHT / row["file"])


def keyword_table() -> list[dict]:
    with open(CONFIG / "keywords.csv", newline="") as stream:
        return list(csv.DictReader(line for line in stream if not line.startswith("#")))


def test_planes_are_the_frames_of_the_receipt_in_time_order(faulty_night):
    truth = good(faulty_night)
    for product in faulty_night.products():
        rows = members(faulty_night, product)
        times = [truth[row["file"]]["date_obs"] for row in rows]
        assert times == sorted(times)
        digests = [truth[row["file"]]["pixels_sha256"] for row in rows]
        assert plane_digests(product) == digests


def test_no_product_mixes_what_may_not_be_stacked(faulty_night):
    truth = good(faulty_night)
    for product in faulty_night.products():
        rows = [truth[row["file"]] for row in members(faulty_night, product)]
        kinds = {(r["kind"], r["object"], r["exptime"]) for r in rows}
        assert len(kinds) == 1
        assert rows[0]["kind"] == "dark" or len({r["filter"] for r in rows}) == 1


@of_callisto
def test_each_sequence_is_one_cube(faulty_night):
    truth = good(faulty_night).values()
    wanted = {
        (r["kind"], r["object"], r["exptime"], r["filter"] if r["kind"] != "dark" else "")
        for r in truth
    }
    assert len(faulty_night.products()) == len(wanted)


def test_pixels_keep_both_ends_of_their_range(faulty_night):
    for product in faulty_night.products():
        data = fits.getdata(product)
        assert data.dtype == np.uint16
        planes = data if data.ndim == 3 else data[None]
        assert (planes.min(axis=(1, 2)) == 0).all()
        assert (planes.max(axis=(1, 2)) == 65535).all()


@of_callisto
def test_a_cubes_header_is_that_of_its_first_raw_frame(faulty_night):
    for product in faulty_night.products():
        header, raw = (
            fits.getheader(product),
            raw_of(faulty_night, members(faulty_night, product)[0]),
        )
        assert header["DATE-OBS"] == raw["DATE-OBS"][:23]
        for keyword in ("EXPTIME", "FILTER", "CAM-SNAM", "XBINNING", "FOCALLEN", "OBSERVER"):
            assert header[keyword] == raw[keyword]
        for keyword in ("FOCUSPOS", "HUMIDITY", "CCD-TEMP", "ALTITUDE"):
            assert abs(header[keyword] - raw[keyword]) < 0.0006


@of_callisto
def test_end_keywords_of_a_cube_are_those_of_its_last_frame(faulty_night):
    for product in faulty_night.products():
        header, raw = (
            fits.getheader(product),
            raw_of(faulty_night, members(faulty_night, product)[-1]),
        )
        start = datetime.fromisoformat(raw["DATE-OBS"][:23])
        end = start + timedelta(seconds=raw["EXPTIME"])
        assert header["DATE-END"] == end.isoformat(timespec="milliseconds")
        assert abs(header["JD-END"] - 2400000.5 - header["MJD-END"]) * 86400 < 0.001


@of_callisto
def test_keywords_that_vary_between_planes_are_columns(faulty_night):
    superseded = {r["keyword"] for r in keyword_table() if r["rule"] in ("drop", "wcs")}
    superseded |= {"DATE", "ORIGIN", "PI-COI", "TELESCOP", "INSTRUME", "OBJECT"}
    compared = 0
    for product in faulty_night.products():
        raws = [raw_of(faulty_night, row) for row in members(faulty_night, product)]
        table = fits.getdata(product, "METADATA")
        for keyword in raws[0]:
            values = [raw[keyword] for raw in raws]
            if len(set(values)) > 1 and keyword not in superseded | {"CHECKSUM", "DATASUM"}:
                if re.match(r"PC|CRVAL|CRPIX|CDELT|LATPOLE", keyword):
                    continue
                rounded = {f"{v:.3f}" if isinstance(v, float) else v for v in values}
                assert keyword in table.names or len(rounded) == 1, (product.name, keyword)
                compared += 1
    assert compared > 20


@of_callisto
def test_columns_of_lists_and_tables_have_one_form(faulty_night):
    for product in faulty_night.products():
        columns = fits.open(product)["METADATA"].columns
        assert columns["DATE-OBS"].format == "23A"
        assert {columns[k].format for k in ("EXPTIME", "AIRMASS", "JD-OBS", "MJD-OBS")} == {"D"}
        names = fits.getdata(product, "METADATA")["FILENAME"]
        assert len(set(names)) == len(names)
        for name in names:
            assert re.fullmatch(r"SPECULOOS4\.\d{4}-\d\d-\d\dT\d\d_\d\d_\d\d\.\d{3}\.fits", name)


def test_products_have_pixel_systems_unless_they_are_of_the_sky(faulty_night):
    for product in faulty_night.products():
        header = fits.getheader(product)
        axes = header["NAXIS"]
        assert header["WCSAXES"] == axes
        assert [header[f"CTYPE{i}"] for i in (1, 2)] == ["PIXEL", "PIXEL"]
        assert [header[f"CUNIT{i}"] for i in (1, 2)] == ["pixel", "pixel"]
        assert axes == 2 or (header["CTYPE3"] == "LINEAR" and "CUNIT3" not in header)
        assert not [key for key in header if re.match(r"(CD|PC)\d", key)]


def test_products_without_a_sky_have_no_sky_keywords(faulty_night):
    for product in faulty_night.products():
        header = fits.getheader(product)
        assert not {"PA", "LONPOLE", "LATPOLE"} & set(header)


def test_all_values_are_ascii_and_single_cards(faulty_night):
    for product in faulty_night.products():
        with fits.open(product) as hdus:
            for hdu in hdus:
                for card in hdu.header.cards:
                    assert len(card.image) == 80 and card.image.isascii(), card.image
                    assert card.value != "" or card.keyword in ("COMMENT", "HISTORY")


def test_mjd_obs_is_unique_to_the_millisecond(faulty_night):
    seen = []
    for product in faulty_night.products():
        seen.append(round(fits.getheader(product)["MJD-OBS"] * 86400_000))
    assert len(set(seen)) == len(seen)


def test_listed_keywords_stand_in_the_order_of_the_table(faulty_night):
    order = {r["keyword"].removeprefix("HIERARCH "): i for i, r in enumerate(keyword_table())}
    for product in faulty_night.products():
        places = [order[k] for k in fits.getheader(product) if k in order and k != "BUNIT"]
        data = [p for p in places if p > order["BUNIT"]]
        assert data == sorted(data)


def test_unlisted_comments_and_units_of_raw_frames_are_kept(faulty_night):
    for product in faulty_night.products():
        raw = raw_of(faulty_night, members(faulty_night, product)[0])
        header = fits.getheader(product)
        for keyword in ("CAM-SNAM", "TEL-DNAM", "ASTRA", "HA"):
            assert header.cards[keyword].image == raw.cards[keyword].image


def test_date_is_between_the_end_of_the_run_and_its_beginning(faulty_night):
    stamp = (faulty_night.root / "config.yaml").stat().st_mtime
    begin = datetime.fromtimestamp(stamp, tz=datetime.now().astimezone().tzinfo)
    for row in faulty_night.receipts():
        header = fits.getheader(faulty_night.archive / row["product"])
        written = datetime.fromisoformat(header["DATE"] + "+00:00")
        delivered = datetime.fromisoformat(row["delivered"] + "+00:00")
        assert begin <= written <= delivered + timedelta(milliseconds=1)


def test_held_frames_leave_no_trace_in_products_and_receipts(faulty_night):
    faulty = {row["file"] for row in faulty_night.truth if row["fault"]}
    assert not faulty & {row["file"] for row in faulty_night.receipts()}
    for row in faulty_night.frames():
        if row["file"] in faulty:
            assert not (row["sequence"] or row["product"])


def test_raw_frames_at_the_source_are_untouched(faulty_night):
    for row in good(faulty_night).values():
        with fits.open(faulty_night.source / NIGHT / row["file"], checksum=True) as hdus:
            assert hdus[0].verify_checksum() == 1


def test_nothing_temporary_is_left(faulty_night):
    for folder in (faulty_night.archive, faulty_night.workdir / NIGHT):
        assert not [path for path in folder.rglob(".*") if path.name != ".snakemake_timestamp"]
    for name in ("cubes", "frames"):
        assert not list((faulty_night.folder / name).glob("*"))


def test_all_jobs_left_a_log(faulty_night):
    logs = faulty_night.folder / "logs"
    done = {path.name.removesuffix(".log") for path in logs.glob("*")}
    made = {"batch"} if faulty_night.telescope == "Callisto" else {"frames", "archive"}
    assert {"ingest", "inventory", "header", "night", *made} <= done
    assert "held back" in (logs / "inventory.log").read_text()


@of_io
def test_each_frame_of_an_unsolved_camera_has_its_own_header(faulty_night):
    for product in faulty_night.products():
        (row,) = members(faulty_night, product)
        header, raw = fits.getheader(product), raw_of(faulty_night, row)
        assert header["DATASUM"] == raw["DATASUM"]
        assert abs(header["FOCUSPOS"] - raw["FOCUSPOS"]) < 0.0006
        assert abs(header["HJD-OBS"] - raw["HJD-OBS"]) * 86400 < 0.0015


@pytest.mark.skipif(not shutil.which("fitsverify"), reason="Debian package fitsverify is missing")
def test_fitsverify_finds_no_error_and_only_hyphen_warnings(faulty_night):
    for product in faulty_night.products():
        done = subprocess.run(["fitsverify", "-H", product], capture_output=True, text=True)
        found = re.search(r"found (\d+) warning\(s\) and (\d+) error\(s\)", done.stdout)
        hyphens = len(re.findall(r'Column #\d+: Name "[A-Z-]+" contains', done.stdout))
        assert (int(found[1]), int(found[2])) == (hyphens, 0), done.stdout + done.stderr
