"""Units of scripts/lib, against astropy where it knows the answer."""

import errno
import os
import random
import re
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import astropy.units as u
import numpy as np
import pytest
from astropy.io import fits
from astropy.time import Time
from astropy.utils import iers
from astropy.wcs import WCS

from scripts.lib.delivery.publish import publish_all, stage
from scripts.lib.delivery.receipts import FOLDER, write_receipts
from scripts.lib.files.tables import DamagedTable, read_table
from scripts.lib.fits.cards import (
    CARD,
    Header,
    HeaderError,
    blocks,
    card,
    header_size,
    literal,
    parse_comment,
    parse_value,
    quoted,
    read_header,
)
from scripts.lib.fits.checksum import data_sum, encode
from scripts.lib.fits.hdu import image_structure, sealed
from scripts.lib.fits.sizes import data_size
from scripts.lib.fits.sums import add_at
from scripts.lib.frames import names
from scripts.lib.frames.corrections import corrected, read_corrections
from scripts.lib.frames.frame import Facts, Setting
from scripts.lib.frames.instruments import check_programme, read_kinds
from scripts.lib.frames.judgement import judgement
from scripts.lib.headers.keywords import function_for, read_keywords
from scripts.lib.headers.pixel_wcs import pixel_wcs
from scripts.lib.headers.sidereal import sidereal_seconds
from scripts.lib.headers.sky_wcs import WrongWCS, header_wcs
from scripts.lib.headers.values import degrees
from scripts.lib.ledger.faults import Fault, Reason
from scripts.lib.ledger.ledger import Ledger
from scripts.lib.ledger.records import FileState, Frame, Intent, Product, Status
from scripts.lib.ledger.snapshot import file_digest, write_snapshot
from scripts.lib.nights import times
from scripts.lib.nights.dates import (
    NightError,
    last_night,
    night_bounds,
    parse_nights,
    recent_nights,
)
from scripts.lib.reporting.failures import failures
from scripts.lib.running.planning import Planner, table_sequences
from scripts.lib.settings.records import Camera
from scripts.lib.solving.tangent import distance
from scripts.lib.sources.local import described
from scripts.lib.sources.opening import Folder, open_source
from scripts.lib.sources.source import SourceError
from tests.night import NIGHT
from tests.records import CONFIG, configuration, product_file, product_of

SPIRIT = Camera("SPIRIT", 1024, 1280, 0.309, rotation=0, parity=1, band="g", fixed_pattern=False)
TODAY = date(2026, 3, 6)


@pytest.mark.parametrize(
    "value",
    ["zYJ", "i'", "o''clock", "", "a / b", True, False, 0, -32768, 1.0, -1e-5, 2461105.500966906],
)
def test_cards_are_those_of_astropy(value):
    image = card("KEY", literal(value), "what it is / was")
    assert len(image) == CARD
    theirs = fits.Card.fromstring(image)
    assert theirs.value == value and theirs.comment == "what it is / was"
    mine = parse_value(fits.Card("KEY", value, "some comment").image.encode())
    assert mine == value and type(mine) in (type(value), str)


def test_hierarch_cards():
    image = card("HIERARCH ESO OBS PROG ID", quoted("60.A-9009(D)"), "programme")
    assert fits.Card.fromstring(image).keyword == "ESO OBS PROG ID"
    header = Header([image])
    assert header.value("HIERARCH ESO OBS PROG ID") == "60.A-9009(D)"
    assert parse_comment(image) == "programme"


def test_long_strings_are_cut_to_what_a_card_holds():
    for text in ("x" * 100, "'" * 60, "ab'" * 40):
        image = card("OBJECT", quoted(text), "comment")
        assert text.startswith(fits.Card.fromstring(image).value)
        assert len(image) == CARD


def test_continued_strings_are_read_whole():
    theirs = fits.Header()
    theirs["OBJECT"] = "star " * 30
    text = theirs.tostring(padding=False).encode()
    header = Header([text[i : i + CARD] for i in range(0, len(text), CARD)][:-1])
    assert header.value("OBJECT") == theirs["OBJECT"].rstrip()


def test_what_does_not_fit_is_refused():
    with pytest.raises(HeaderError, match="does not fit"):
        card("HIERARCH ESO A VERY LONG KEYWORD INDEED", quoted("x" * 60))


@pytest.mark.parametrize("text", ["1,5", "nan nan", "1 2", "--"])
def test_unreadable_values_name_their_keyword(text):
    with pytest.raises(HeaderError, match="EXPTIME"):
        parse_value(f"EXPTIME = {text}".ljust(CARD).encode())


def test_headers_are_read_to_their_end(tmp_path):
    fits.PrimaryHDU(np.zeros((3, 5), np.int16)).writeto(tmp_path / "a.fits")
    content = (tmp_path / "a.fits").read_bytes()
    with open(tmp_path / "a.fits", "rb") as stream:
        header = read_header(stream)
        assert stream.tell() == 2880 == header_size(content)
    assert header.value("NAXIS1") == 5 and data_size(header) == 30
    assert header_size(content[:2000]) is None and header_size(b"<html>" * 1000) is None


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 2880, 7919])
def test_sums_are_those_of_astropy(size):
    data = random.Random(size).randbytes(size)
    padded = np.frombuffer(data + bytes(-len(data) % 4), np.uint8)
    assert data_sum(data) == fits.PrimaryHDU()._compute_checksum(padded)


@pytest.mark.parametrize("plane", [2, 6, 10, 64, 1026])
def test_sum_of_a_cube_is_that_of_its_planes_whatever_their_size(plane):
    planes = [random.Random(i).randbytes(plane) for i in range(7)]
    total = 0
    for i, data in enumerate(planes):
        total = add_at(total, data_sum(data), i * plane)
    assert total == data_sum(b"".join(planes))


def test_seals_are_accepted_by_astropy(tmp_path):
    for seed in range(40):
        pixels = random.Random(seed).randbytes(2 * 30)
        data = pixels + bytes(2880 - 60)
        path = tmp_path / f"{seed}.fits"
        cards = [*image_structure((5, 6), extended=False), card("SEED", str(seed))]
        path.write_bytes(sealed(cards, data_sum(pixels)) + data)
        with fits.open(path, checksum=True) as hdus:
            assert hdus[0].verify_checksum() == 1 and hdus[0].verify_datasum() == 1
            stored = np.frombuffer(pixels, ">i2").reshape(6, 5).astype(int) + 32768
            assert np.array_equal(hdus[0].data, stored)


def test_encoded_sums_hold_letters_and_digits_only():
    generator = random.Random(1)
    for _ in range(2000):
        assert encode(generator.getrandbits(32)).isalnum()


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("2026-03-06T00:00:23.123987", "2026-03-06T00:00:23.123"),
        ("2026-03-06T23:59:59.999999", "2026-03-06T23:59:59.999"),
        ("2026-03-06T00:00:40", "2026-03-06T00:00:40.000"),
        ("2026-03-06T00:00:40.5Z", "2026-03-06T00:00:40.500"),
    ],
)
def test_dates_are_cut_to_the_millisecond(text, cut):
    assert times.iso(times.parse_date(text)) == cut


@pytest.mark.parametrize("text", ["2026-02-30T00:00:00", "2026-03-06 00:00:00", "05/03/26", ""])
def test_what_is_no_date_is_refused(text):
    with pytest.raises(ValueError):
        times.parse_date(text)


def test_mjd_as_written_gives_the_millisecond_back():
    generator = random.Random(2)
    for _ in range(500):
        ms = generator.randrange(times.DAY_MS)
        moment = times.after(datetime(2026, 3, 6, tzinfo=UTC), ms / 1000)
        written = f"{times.mjd(moment):.10f}"
        assert round(float(written) % 1 * times.DAY_MS) == ms
        assert abs(times.mjd(moment) - Time(times.iso(moment), scale="utc").mjd) < 1e-10


@pytest.mark.filterwarnings("ignore:ERFA", "ignore:Tried to get polar motions")
def test_sidereal_time_is_that_of_astropy_and_known_for_ever():
    moments = [datetime(year, 3, 6, 1, 2, 3, tzinfo=UTC) for year in (2018, 2026, 2045)]
    for moment, found in zip(moments, sidereal_seconds(moments, -70.390278), strict=True):
        time = Time(moment, scale="utc")
        time.delta_ut1_utc = 0.0
        with iers.conf.set_temp("auto_download", False):
            right = time.sidereal_time("apparent", longitude=-70.390278 * u.deg).hour * 3600
        assert abs(found - right) < 1.0


def test_nights_are_named_singly_in_lists_and_ranges():
    assert parse_nights("") == []
    for written, nights in (("", []), (None, []), (20240215, ["20240215"])):
        assert parse_nights(configuration("Io", nights=written).nights) == nights
    assert parse_nights("20240215 20240217") == ["20240215", "20240217"]
    assert parse_nights("20240228-20240301") == ["20240228", "20240229", "20240301"]


@pytest.mark.parametrize("text", ["2024", "20240230", "20240215-2024", "last", "20240302-20240301"])
def test_what_is_no_night_is_refused_by_name(text):
    with pytest.raises(NightError, match=re.escape(text.split("-")[-1])):
        parse_nights(text)


@pytest.mark.parametrize(
    ("now", "night"),
    [
        ((2026, 3, 6, 3), "20260304"),
        ((2026, 3, 6, 11, 59), "20260304"),
        ((2026, 3, 6, 12), "20260305"),
        ((2026, 3, 6, 23), "20260305"),
        ((2026, 3, 7, 11), "20260305"),
    ],
)
def test_last_night_is_the_one_whose_observing_is_over(now, night):
    assert last_night(datetime(*now, tzinfo=UTC)) == night


def test_recent_nights_end_with_the_last():
    now = datetime(2026, 3, 2, 13, tzinfo=UTC)
    assert recent_nights(now, 2) == ["20260227", "20260228", "20260301"]
    begin, end = night_bounds("20260301")
    assert (begin.isoformat(), end.isoformat()[:13]) == (
        "2026-03-01T15:00:00+00:00",
        "2026-03-02T15",
    )


def facts(kind: str, **changes) -> Facts:
    setting = Setting("SPIRIT", 1, 1, 0, 0, 1024, 1280)
    values = {"object": "Sp0805+0417", "filter": "zYJ", "exptime": 10.0, "setting": setting}
    kinds = read_kinds(CONFIG / "kinds.csv")
    values |= changes
    return Facts(kinds[kind], date_obs=datetime(2026, 3, 6, tzinfo=UTC), data_start=8640, **values)


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
    short = [names.fitting(name, "_part2") for name in (one, two)]
    assert short[0] != short[1]
    for name in short:
        product = names.cube_name(4, datetime(2026, 3, 6), name)
        assert len(product) <= 68 and re.fullmatch(r"[A-Za-z0-9.+_-]+", product)
        assert name.startswith("S_x") and name.endswith("10s_part2")


@pytest.mark.parametrize("text", ["60.A-9009(D)", "110.23WX.001", "108.A-0001(AB)"])
def test_programme_ids(text):
    assert check_programme(text) == text


@pytest.mark.parametrize(
    "text", ["", "60.A-9009", "60.a-9009(D)", "x60.A-9009(D)", "60.A-9009(D) "]
)
def test_what_is_no_programme_id_is_refused(text):
    with pytest.raises(ValueError, match="programme"):
        check_programme(text)


def raw(**changes) -> Header:
    values = {
        "NAXIS1": 1024,
        "NAXIS2": 1280,
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CUNIT1": "deg",
        "CUNIT2": "deg",
        "CRPIX1": 512.5,
        "CRPIX2": 640.5,
        "CRVAL1": 121.3,
        "CRVAL2": 4.28,
        "PC1_1": -8.58e-5,
        "PC1_2": -1.05e-6,
        "PC2_1": -1.05e-6,
        "PC2_2": 8.58e-5,
        "CDELT1": 1.0,
        "CDELT2": 1.0,
    }
    return Header([card(k, literal(v)) for k, v in (values | changes).items() if v is not None])


def astropy_position(header: Header, x: float, y: float):
    text = blocks(header.images).decode()
    return WCS(fits.Header.fromstring(text)).all_pix2world([[x, y]], 1)[0]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"PC1_1": -1.0, "PC1_2": 0.0, "PC2_1": 0.0, "PC2_2": 1.0}
        | {"CDELT1": 8.58e-5, "CDELT2": 8.58e-5},
        {"PC1_1": None, "PC1_2": None, "PC2_1": None, "PC2_2": None}
        | {"CDELT1": None, "CDELT2": None}
        | {"CD1_1": 8.58e-5, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 8.58e-5},
    ],
)
def test_any_convention_becomes_the_same_sky_as_a_cd_matrix(changes):
    header = raw(**changes)
    wcs = header_wcs(header, 121.3, 4.28, 0.309)
    mine = Header([card(key, literal(value)) for key, value in wcs.items()])
    for x, y in ((1, 1), (1024, 1280), (700, 3)):
        assert np.allclose(astropy_position(mine, x, y), astropy_position(header, x, y), atol=1e-9)
    assert not any(key.startswith(("PC", "CDELT", "CROTA")) for key in wcs)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"CRVAL1": 122.0}, "0.70 degrees from RA, DEC"),
        ({"CDELT1": 1.1, "CDELT2": 1.1}, "scale"),
        ({"CTYPE1": None}, "no tangential projection"),
        ({"CTYPE1": "RA---ZPN"}, "no tangential projection"),
        ({"PC1_1": 0.0, "PC1_2": 0.0, "PC2_1": 0.0, "PC2_2": 0.0}, "scale"),
        ({"PC1_2": 8e-5, "PC1_1": 3e-5, "PC2_1": 8e-5, "PC2_2": 3e-5}, "right angles"),
        ({"CRVAL2": "north"}, "unreadable"),
    ],
)
def test_a_wcs_that_cannot_be_the_frames_is_not_taken(changes, why):
    with pytest.raises(WrongWCS, match=why):
        header_wcs(raw(**changes), 121.3, 4.28, 0.309)


def test_distances_on_the_sky():
    assert distance(0, 0, 0, 90) == pytest.approx(90)
    assert distance(359.9, 0, 0.1, 0) == pytest.approx(0.2)


def test_pixel_coordinates_of_a_cube_count_frames_without_a_unit():
    wcs = pixel_wcs(3)
    assert wcs["WCSAXES"] == 3 and wcs["CTYPE3"] == "LINEAR" and "CUNIT3" not in wcs


@pytest.mark.parametrize(
    ("value", "keyword", "per_unit", "right"),
    [
        (121.3, "RA", 15, 121.3),
        ("08 05 12.0", "RA", 15, 121.3),
        ("-00:30:00", "DEC", 1, -0.5),
        ("+04 16 48", "DEC", 1, 4.28),
    ],
)
def test_angles_as_numbers_and_sexagesimal(value, keyword, per_unit, right):
    assert degrees(value, keyword, per_unit) == pytest.approx(right)


def test_corrections(tmp_path):
    path = tmp_path / "io_20260305.yaml"
    assert read_corrections(path) == []
    path.write_text("- {files: 'a*', reason: wrong, set: {FILTER: J, OLD: null, NEW: 2}}\n")
    header = Header([card("FILTER", quoted("z"), "filter"), card("OLD", "1")])
    new = corrected(header, "a.fits", read_corrections(path))
    assert [new.value(k) for k in ("FILTER", "OLD", "NEW")] == ["J", None, 2]
    assert parse_comment(new.images[0]) == "filter"
    assert corrected(header, "b.fits", read_corrections(path)).images == header.images


def test_source_lists_frames_of_all_levels(tmp_path):
    night = tmp_path / NIGHT
    (night / "deeper").mkdir(parents=True)
    for name in ("b.fits", "a.FTS", "log.txt", ".hidden.fits", "deeper/c.fits"):
        (night / name).write_bytes(b"x")
    entries = Folder(str(tmp_path)).list(NIGHT)
    frames = [entry.name for entry in entries if not entry.fault]
    assert frames == ["a.FTS", "b.fits", "deeper/c.fits"]
    assert {e.fault.reason for e in entries if e.fault} == {Reason.NOT_A_FRAME}
    assert Folder(str(tmp_path)).list("20260306") == []
    with os.scandir(night) as found:
        found = list(found)
    (night / "b.fits").unlink()
    left = [raw.name for raw in map(described, found) if raw and raw.name.endswith(("FTS", "fits"))]
    assert sorted(left) == [".hidden.fits", "a.FTS"], "the night does not count as empty"


def test_sources_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(SourceError, match="nowhere cannot be reached"):
        Folder(str(tmp_path / "nowhere")).list("20260305")
    with pytest.raises(SourceError, match="ftp:// is not known"):
        open_source("ftp://host/share")


def planner(ledger: Ledger, root: Path, source: str = "", day: date = TODAY) -> Planner:
    """Return what plans the nights of a Callisto below a folder."""
    source = source or str(root / "source")
    settings = configuration("Callisto", source=source, workdir=str(root / "work"))
    return Planner(ledger, settings, day)


@pytest.fixture
def ledger():
    """An empty ledger in memory."""
    with Ledger(":memory:") as ledger:
        yield ledger


def test_planning_never_raises_for_a_source_out_of_reach(tmp_path, ledger):
    plans = planner(ledger, tmp_path, source=str(tmp_path / "nowhere"))
    assert plans.plan_wanted(NIGHT).ingest == "the source cannot be read"
    assert plans.is_complete(NIGHT)


def test_a_night_that_alone_cannot_be_read_is_not_complete(tmp_path, ledger):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / NIGHT).touch()
    plans = planner(ledger, tmp_path)
    assert not plans.is_complete(NIGHT)
    assert plans.is_complete("20260306")
    assert planner(ledger, tmp_path, source="ftp://host/share").is_complete(NIGHT)


@pytest.fixture
def complete_night(tmp_path, ledger):
    """What plans the nights of a telescope with a complete night, and the night's folder."""
    path, folder = tmp_path / "source" / NIGHT / "a.fits", tmp_path / "work" / NIGHT
    for parent in (path.parent, folder):
        parent.mkdir(parents=True)
    path.write_bytes(b"x")
    plans = planner(ledger, tmp_path)
    frame = Frame(
        NIGHT,
        "a.fits",
        source=FileState(1, path.stat().st_mtime_ns),
        datasum=1,
        pixel_sum=1,
        status=Status.DELIVERED,
        kind="bias",
        date_obs=datetime(2026, 3, 6, tzinfo=UTC),
        sequence="C_bias",
        product="p.fits",
        programme="60.A-9099(A)",
    )
    product = Product("p.fits", NIGHT, "p", frame.programme, "", 2880, 1, "", "passed")
    judged = judgement(NIGHT, plans.settings, frame.programme)
    with ledger.transaction():
        ledger.record([frame])
        ledger.enter([replace(product, delivered=frame.begin)])
        ledger.set_night(NIGHT, judged=judged, reported=1)
        ledger.set_night(NIGHT, snapshot=write_snapshot(folder / "frames.csv", [frame]))
    write_receipts(ledger, NIGHT, folder / FOLDER, cubes=True)
    (folder / "night.html").touch()
    ledger.set_views(NIGHT, {"night.html": file_digest(folder / "night.html")})
    return plans, folder


def test_a_table_that_was_made_again_as_it_was_leaves_its_night_complete(complete_night):
    plans, folder = complete_night
    table, page = folder / "frames.csv", folder / "night.html"
    os.utime(page, (1, 1))
    assert plans.is_complete(NIGHT)
    content = table.read_text()
    table.unlink()
    assert not plans.is_complete(NIGHT)
    table.write_text(content)
    assert plans.is_complete(NIGHT)
    table.write_text(content.replace("C_bias", "C_dark"))
    assert not plans.is_complete(NIGHT)


@pytest.mark.parametrize("name", ["frames.csv", "archived/p.csv"])
@pytest.mark.parametrize("left", [0, 20, -5])
def test_planning_never_raises_for_a_damaged_table(complete_night, name, left):
    plans, folder = complete_night
    assert plans.is_complete(NIGHT) and table_sequences(folder / "frames.csv") == ["C_bias"]
    path = folder / name
    path.write_bytes(path.read_bytes()[:left])
    plan = plans.plan_wanted(NIGHT)
    assert not plan.complete and not plan.ingest and not plan.targets
    assert bool(plan.inventory) == (name == "frames.csv") and not plan.judging
    assert plan.page == (name == "archived/p.csv")
    assert table_sequences(folder / "frames.csv") == ([] if plan.inventory else ["C_bias"])
    # Nothing that is delivered depends on a table.
    assert plans.programme(NIGHT) == ("60.A-9099(A)", False)
    plans.request(NIGHT)
    assert plans.deliveries(NIGHT).targets == {"p"}


def test_damaged_tables_are_named_with_their_line(tmp_path):
    path = tmp_path / "t.csv"
    for text, line in (
        ("", 1),
        ("a,b", 1),
        ("# x\n", 2),
        ("a,b\n1,2\n3", 3),
        ('# x\na,b\n1,"2\n3"\n4,5,6\n', 5),
        ("a,b\n\0\0", 2),
    ):
        path.write_text(text)
        with pytest.raises(DamagedTable, match=f"{path}, line {line}: "):
            read_table(path)


def test_frames_that_could_not_be_copied_are_tried_again_once_a_day(tmp_path, ledger):
    path = tmp_path / "source" / NIGHT / "a.fits"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x")

    def plan(day: int) -> str:
        return planner(ledger, tmp_path, day=date(2026, 3, day)).plan_wanted(NIGHT).ingest

    first = plan(6)
    state = FileState(1, path.stat().st_mtime_ns)
    fault = Fault(Reason.NOT_COPIED, "input/output error")
    with ledger.transaction():
        ledger.record([Frame(NIGHT, "a.fits", source=state, status=Status.HELD, fault=fault)])
        ledger.set_night(NIGHT, retried="2026-03-06")
    assert len({first, plan(6), plan(7)}) == 3
    assert first and plan(7) and not plan(6)
    assert plan(7) == plan(7)


@pytest.fixture
def other_file_system(monkeypatch):
    """Hard links from one folder to another fail, as between file systems."""
    link = os.link

    def linked(source, target):
        if Path(source).parent != Path(target).parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        link(source, target)

    monkeypatch.setattr(os, "link", linked)


@pytest.fixture(params=["same file system", "another"])
def any_file_system(request):
    if request.param == "another":
        request.getfixturevalue("other_file_system")


def deliver(made: Path, archive: Path) -> dict[str, str]:
    """Publish a product as if none of its name had ever been; return why it could not be."""
    with Ledger(":memory:") as ledger:
        intent = Intent(product_of(made, NIGHT), stage(made, archive, 0o644))
        ledger.stage([intent], [])
        return publish_all(ledger, archive, [intent])


def test_delivery_is_whole_and_harmless_to_repeat(tmp_path, any_file_system):
    archive = tmp_path / "archive"
    archive.mkdir()
    made = product_file(tmp_path / "p.fits")
    assert deliver(made, archive) == {}
    assert deliver(made, archive) == {}
    again = product_file(tmp_path / "p.fits", date="2026-01-02T00:00:00.000")
    assert deliver(again, archive) == {}
    assert [path.name for path in archive.iterdir()] == ["p.fits"]


def test_delivery_never_overwrites(tmp_path, any_file_system):
    archive = tmp_path / "archive"
    archive.mkdir()
    product_file(archive / "p.fits", b"\3\4")
    content = (archive / "p.fits").read_bytes()
    failed = deliver(product_file(tmp_path / "p.fits"), archive)
    assert failed["p.fits"].startswith(f"{archive}/p.fits is another file")
    assert (archive / "p.fits").read_bytes() == content
    assert len(list(archive.iterdir())) == 1


def test_failures_name_rule_wildcards_and_log(tmp_path):
    class Job:
        class rule:
            name = "cube"

        wildcards = ["20260305", "C_bias"]
        log = [tmp_path / "cube.log"]

    Job.log[0].write_text("first\nLostPixels: a.fits ends early\n")
    text = failures([Job])
    assert "1 job(s) failed" in text and "cube 20260305 C_bias" in text
    assert "LostPixels: a.fits ends early" in text and str(Job.log[0]) in text


def test_every_computed_keyword_has_its_function_and_every_unit_is_one_of_fits():
    for row in read_table(CONFIG / "keywords.csv"):
        assert row["rule"] in {"copy", "set", "constant", "wcs", "drop"}
        if row["rule"] == "set":
            assert callable(function_for(row["keyword"]))
        if row["unit"]:
            u.Unit(row["unit"], format="fits")


def test_keyword_patterns():
    table = read_keywords(CONFIG / "keywords.csv")
    assert table.rule("PC1_2").rule == "drop" and table.rule("CD1_2").rule == "wcs"
    assert table.rule("CRVAL2").rule == "wcs" and table.rule("CAM-SNAM") is None
    assert table.rule("HIERARCH ESO TEL ALT").rule == "drop"
