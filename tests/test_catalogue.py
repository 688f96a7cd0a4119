"""Star catalogues: the same stars from every kind of file, little memory, clear messages."""

import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

import scripts.commands.catalogue
from scripts.commands.catalogue import foreign_stars, make_index, write_stars
from scripts.lib.files.errors import JobFailed
from scripts.lib.solving.index_files import distinct
from scripts.lib.solving.star_catalogue import open_catalogue
from scripts.lib.solving.stars import EVERYWHERE, CatalogueStars, Circle
from tests.night import site_database

needs_builder = pytest.mark.skipif(
    not shutil.which("build-astrometry-index"), reason="Debian's astrometry.net is not installed"
)
# Plain; both sides of 0 h and of the equator; across a border; on a border; both poles.
PLACES = [(120.0, 4.5), (0.0, -0.1), (359.8, 45.02), (33.0, -6.0), (200.0, -89.8), (77.0, 89.9)]
FOREIGN = (".fits", ".parquet")  # what is converted before stars are taken from it
# Index files keep unit vectors in steps of 2 ** -31: 0.1 mas.
STEP = 0.1


def random_stars(ra, dec, number=3000, spread=0.6, seed=1, epoch=2015.5):
    """Return stars on a square of the plane that touches the sky at a place."""
    rng = np.random.default_rng(seed)
    xi, eta = np.radians(rng.uniform(-spread, spread, (2, number)))
    a, d = np.radians([ra, dec])
    x, z = np.cos(d) - eta * np.sin(d), np.sin(d) + eta * np.cos(d)
    along = np.degrees(a + np.arctan2(xi, x)) % 360
    up = np.degrees(np.arctan2(z, np.hypot(x, xi)))
    pmra, pmdec = rng.normal(0, 500, (2, number))
    g = rng.uniform(8, 19, number)
    j = g - rng.uniform(0, 4, number)
    return CatalogueStars(along, up, g, pmra, pmdec, np.full(number, epoch), j)


def vectors(ra, dec):
    ra, dec = np.radians(ra), np.radians(dec)
    return np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])


def within(ra, dec, radius, stars) -> np.ndarray:
    """Return which stars a circle holds, by unit vectors, which know no poles and no 0 h."""
    chord = np.linalg.norm((vectors(stars.ra, stars.dec).T - vectors(ra, dec)).T, axis=0)
    return chord < 2 * np.sin(np.radians(radius) / 2)


def apart(a, b) -> float:
    """Return the largest distance (mas) between two lists of the same stars."""
    return 3.6e6 * np.degrees(
        np.linalg.norm(vectors(a.ra, a.dec) - vectors(b.ra, b.dec), axis=0).max()
    )


def write(stars, path):
    """Write stars in any kind of file that this machine can write; skip the test if not."""
    if path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.table(stars._asdict()), path)
    elif path.suffix == ".fits":
        Table(stars._asdict()).write(path)
    elif path.suffix:
        write_stars([stars], path)
    else:
        if not shutil.which("build-astrometry-index"):
            pytest.skip("Debian's astrometry.net is not installed")
        make_index(stars, path, [0, 1])
    return str(path)


def convert(path):
    """Convert a table of another kind, and return the catalogue that is made of it."""
    target = Path(f"{path}.sqlite")
    write_stars(list(foreign_stars(Path(path))), target)
    return open_catalogue(str(target))


def opened(path, band="g"):
    """Open a catalogue; convert it before if it is of another kind."""
    if Path(path).suffix in FOREIGN:
        path = convert(path).path
    return open_catalogue(str(path), band)


@pytest.mark.parametrize("name", ["s.fits", "s.csv", "s.sqlite", "s.db", "s.parquet", "index"])
def test_every_kind_of_file_gives_the_same_stars(tmp_path, name):
    for ra, dec in PLACES[1::2] if name == "index" else PLACES:
        rows = random_stars(ra, dec)
        path = tmp_path / str(ra) / name
        path.parent.mkdir()
        if path.suffix == ".db":
            shutil.move(write(rows, path.with_suffix(".sqlite")), path)
        else:
            write(rows, path)
        moved = rows.at(2026.2)
        moved = moved.taken(within(ra, dec, 0.3, moved))
        for band, mag in (("g", moved.mag), ("j", moved.j)):
            right = moved._replace(mag=mag).taken(np.argsort(mag))
            found = opened(path, band).cut(ra, dec, 0.3, 2026.2)
            assert len(found.ra) == len(right.ra) > 100, (ra, dec)
            assert found.mag == pytest.approx(right.mag, abs=1e-6)
            assert apart(found, right) < 2 * STEP, (ra, dec)


def test_proper_motions_are_applied(tmp_path):
    one = np.array([1.0])
    rows = CatalogueStars(*(v * one for v in (120, 60, 10, 3600.0, -7200.0, 2016, np.nan)))
    stars = open_catalogue(write(rows, tmp_path / "s.csv")).cut(120, 60, 0.1, 2026.0)
    assert stars.ra[0] == pytest.approx(120 + 36 / 3600 / np.cos(np.radians(60)), abs=1e-6)
    assert stars.dec[0] == pytest.approx(60 - 72 / 3600, abs=1e-6)


def test_a_star_as_fast_as_barnards_moves_in_and_out_of_a_circle(tmp_path):
    values = (269.452, 4.6933, 8.2, -801.6, 10362.4, 2015.5, np.nan)
    rows = CatalogueStars(*(np.array([value]) for value in values))
    catalogue = open_catalogue(write(rows, tmp_path / "s.sqlite"))
    assert len(catalogue.cut(269.452, 4.735, 0.01, 2015.5).ra) == 0
    assert len(catalogue.cut(269.448, 4.735, 0.01, 2030.0).ra) == 1
    assert len(catalogue.cut(269.452, 4.6933, 0.01, 2030.0).ra) == 0


def test_csv_may_lack_motions_and_have_blanks_text_and_comments(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text(
        '\ufeff# a comment\nRA, Dec,mag,name,j\n10,20,12,"x, y",9\n\n10.01,20,11,#y,\n'
        "10.02,20,null,z,8\n10,,3,no place,3\n"
    )
    assert open_catalogue(str(path)).cut(10, 20, 1, 2026).mag.tolist() == [8, 11, 12]
    assert open_catalogue(str(path), "j").cut(10, 20, 1, 2026).mag.tolist() == [8, 9, 11]


@pytest.mark.parametrize("keyword", ["EPOCH", "REFEPOCH"])
def test_a_fits_table_has_its_epoch_and_may_be_scaled(tmp_path, keyword):
    columns = [
        fits.Column("NAME", "3A", array=["a", "b", "c"]),
        fits.Column("FLAGS", "11X", array=np.zeros((3, 11), bool)),
        fits.Column("RA", "D", array=[10.0, 10.0, np.nan]),
        fits.Column("DEC", "D", array=[20.0, 20.001, 20]),
        fits.Column("MAG", "I", array=np.array([-7500, -8500, -9000])),
        fits.Column("PMDEC", "J", null=-99, array=np.array([1000, -99, 0])),
    ]
    table = fits.BinTableHDU.from_columns(columns)
    table.header.update({keyword: "J2000.0", "TSCAL5": 0.001, "TZERO5": 20.0})
    fits.HDUList([fits.PrimaryHDU(np.zeros(9)), table]).writeto(tmp_path / "s.fits")
    stars = convert(tmp_path / "s.fits").cut(10, 20, 1, 2026)
    assert stars.mag == pytest.approx([11.5, 12.5])
    assert stars.dec == pytest.approx([20.001, 20 + 26 / 3600], abs=1e-9)


def test_each_star_may_have_its_own_epoch(tmp_path):
    table = {"ra": [1.0, 1.0], "dec": [2.0, 2.1], "mag": [8.0, 9.0], "pmdec": [3600.0, 3600.0]}
    Table(table | {"epoch": [2000.0, 2020.0]}).write(tmp_path / "s.fits")
    stars = convert(tmp_path / "s.fits").cut(1, 2, 1, 2030)
    assert stars.dec == pytest.approx([2.03, 2.11])


def test_sqlite_may_have_no_motions_and_no_j(tmp_path):
    with sqlite3.connect(tmp_path / "s.sqlite") as connection:
        connection.execute('CREATE TABLE "-6_-5" (ra, dec, pmra, pmdec, phot_g_mean_mag, j_m)')
        connection.execute('INSERT INTO "-6_-5" VALUES (10, -5.5, NULL, NULL, 12, NULL)')
        connection.execute('INSERT INTO "-6_-5" VALUES (10, -5.6, 1, 2, NULL, NULL)')
    connection.close()
    for band in ("g", "j"):
        stars = open_catalogue(str(tmp_path / "s.sqlite"), band).cut(10, -5.5, 1, 2026)
        assert [column.tolist() for column in stars[:3]] == [[10], [-5.5], [12]]


# As the observatory's databases have them: the file name, further columns, and the epoch.
DATABASES = [
    ("gaia_tmass_16_jm_cut.db", "", 2015.5),
    ("gaia_dr3_unified_16jcut.db", "", 2016.0),
    ("site.sqlite", ", source_id TEXT, dr2_source_id TEXT", 2016.0),
    ("dr3_of_ours.sqlite", ", ref_epoch REAL", 2015.5),
]


@pytest.mark.parametrize("kind", ["REAL", "TEXT", ""])
@pytest.mark.parametrize("name, further, epoch", DATABASES)
def test_the_sites_databases_have_their_epoch_and_empty_strings(
    tmp_path, name, further, epoch, kind
):
    """Proper motions of 1 arcsec a year are right to 1 mas, on both sides of a table's border."""
    whole = random_stars(346.6, -3.0, 600, epoch=epoch)
    whole = whole._replace(pmra=whole.pmra * 2, pmdec=whole.pmdec * 2)
    columns = [column.copy() for column in whole]
    lacking = np.array_split(np.arange(600), 12)
    for column, those in zip((0, 1, 2, 3, 4, 6), lacking, strict=False):
        columns[column][those] = np.nan
    for column in columns[2:5] + columns[6:]:
        column[lacking[6]] = np.nan
    path = site_database(tmp_path / name, CatalogueStars(*columns), further, kind)
    right = whole._replace(mag=np.where(np.isnan(columns[2]), columns[6], columns[2]))
    # Without one of its two components a star moves along the other.
    right = right._replace(pmra=np.nan_to_num(columns[3]), pmdec=np.nan_to_num(columns[4]))
    placed = np.isfinite(columns[0] + columns[1]) & np.isfinite(right.mag)
    right = right.taken(placed).at(2026.2)
    right = right.taken(within(346.6, -3.0, 0.4, right)).ranked("g")
    found = open_catalogue(str(path)).cut(346.6, -3.0, 0.4, 2026.2)
    assert len(found.ra) == len(right.ra) > 100
    assert found.mag == pytest.approx(right.mag, abs=1e-9)
    assert apart(found, right) < 1
    # The epoch that the configuration states is that of stars without one of their own.
    still = [
        open_catalogue(str(path), epoch=given).cut(346.6, -3.0, 2, given or epoch)
        for given in (None, 2000.0)
    ]
    assert (apart(*still) < 1) == ("ref_epoch" not in further)


def test_doubles_are_found_at_the_pole_and_at_0_h():
    ra = np.array([0.0, 180.0, 359.99999, 0.00001, 10.0, 10.0])
    dec = np.array([89.99999, 89.99999, 5.0, 5.0, 5.0, 5.001])
    rows = CatalogueStars(ra, dec, np.array([9.0, 8, 9, 8, 9, 8]), *np.zeros((4, 6)))
    assert distinct(rows).tolist() == [1, 3, 4, 5]


@needs_builder
def test_index_files_carry_their_stars_and_the_engine_opens_them(tmp_path):
    rows = random_stars(120.0, 4.0, number=20_000)
    made = make_index(rows, tmp_path / "index", [1, 2], epoch=2026.0)
    assert [path.name for path in made] == ["index-01.fits", "index-02.fits"]
    found = open_catalogue(str(tmp_path / "index")).stars(Circle(120.1, 4.1, 0.2))
    assert len(found.ra) > 100
    # Magnitudes are drawn from a continuum: they say which star is which.
    which = {mag: number for number, mag in enumerate(rows.mag)}
    right = rows.at(2026.0).taken(np.array([which[mag] for mag in found.mag]))
    assert apart(found, right) < 2 * STEP
    for name in ("pmra", "pmdec", "epoch", "j"):
        assert (getattr(found, name) == getattr(right, name)).all()
    astrometry = pytest.importorskip("astrometry")
    astrometry.Solver(made)


@needs_builder
@pytest.mark.parametrize("name", ["MAG_VT", "Mag_x"])
def test_any_column_of_magnitudes_ranks_the_stars_of_index_files(tmp_path, name):
    rows = random_stars(10, 20)
    path = tmp_path / "index"
    write(rows, path)
    for file in path.iterdir():
        content = file.read_bytes()
        assert b"'mag     '" in content
        file.write_bytes(content.replace(b"'mag     '", f"'{name:8}'".encode()))
    found = open_catalogue(str(path)).cut(10, 20, 0.3, 2015.5)
    right = rows.taken(within(10, 20, 0.3, rows)).ranked("g")
    assert found.mag == pytest.approx(right.mag, abs=1e-6)


@needs_builder
def test_without_magnitudes_the_order_of_index_stars_ranks_them(tmp_path):
    rows = random_stars(120.0, 4.0, number=20_000)
    for path in make_index(rows, tmp_path / "index", [1, 3]):
        with fits.open(path) as hdus:
            assert hdus[-1].header["AN_FILE"] == "TAGALONG"
            hdus[:-1].writeto(tmp_path / f"bare-{path.name}")
    shutil.rmtree(tmp_path / "index")
    found = open_catalogue(str(tmp_path)).stars(Circle(120.0, 4.0, 0.3))
    places = np.column_stack([rows.ra, rows.dec])
    near = [np.abs(places - place).max(axis=1).argmin() for place in zip(*found[:2], strict=True)]
    mags, tenth = rows.mag[near], len(near) // 10
    assert mags[:tenth].mean() < np.sort(mags)[:tenth].mean() + 0.1
    assert mags[-tenth:].mean() > mags.mean() + 1


def test_index_files_need_their_builder(tmp_path, monkeypatch):
    monkeypatch.setattr(scripts.commands.catalogue, "BUILDER", "no-such-builder")
    with pytest.raises(JobFailed, match="apt-get install astrometry.net"):
        make_index(random_stars(1, 1), tmp_path)


@needs_builder
def test_too_few_stars_for_index_files_are_named(tmp_path):
    with pytest.raises(JobFailed, match="too few stars"):
        make_index(random_stars(1, 1, number=3), tmp_path, [0])


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("s.csv", "ra,dec\n1,2\n", "no column mag; needed are ra, dec"),
        ("s.csv", "", "no column ra, dec, mag"),
        ("s.csv", "ra,dec,mag\n1,2,bright\n", "cannot be read.*bright"),
        ("s.csv", b"ra,dec,mag\n1,2,\xff\n", "cannot be read"),
        ("s.txt", "", "none of .sqlite, .db, .csv or a folder"),
        ("s.vot", "", "speculoos-archive catalogue convert --from .*s.vot --to site.sqlite"),
        ("s.sqlite", "not a database at all, but long enough", "cannot be read"),
        ("s.sqlite", "", "no tables such as '-6_-5'"),
        ("s.fits", "SIMPLE", "cannot be read"),
        ("s.fits", "", "cannot be read"),
        ("s.parquet", "PAR", "cannot be read"),
    ],
)
def test_other_files_than_catalogues_are_named(tmp_path, name, content, message):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(JobFailed, match=message) as error:
        opened(path).cut(1, 2, 1, 2026)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "columns, message",
    [
        ({"ra": [1.0], "dec": [2.0]}, "no column mag"),
        ({"ra": [1.0], "dec": [2.0], "mag": ["x"]}, "column mag is not one number a row"),
    ],
)
def test_fits_tables_without_what_is_needed_are_named(tmp_path, columns, message):
    Table(columns).write(tmp_path / "s.fits")
    with pytest.raises(JobFailed, match=message):
        convert(tmp_path / "s.fits")
    with pytest.raises(JobFailed, match="s.fits: not an index file"):
        open_catalogue(str(tmp_path)).cut(1, 2, 1, 2026)


def test_a_fits_file_without_table_or_truncated_is_named(tmp_path):
    path = tmp_path / "s.fits"
    fits.PrimaryHDU(np.zeros(9)).writeto(path)
    with pytest.raises(JobFailed, match="finds no whole table in it"):
        convert(path)
    path.unlink()
    write(random_stars(1, 2), path)
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(JobFailed, match="cannot be read"):
        convert(path)
    assert [other.name for other in tmp_path.iterdir()] == ["s.fits"]


@pytest.mark.parametrize("name", ["gaia.parquet", "gaia.fits"])
def test_tables_to_be_converted_are_answered_with_the_command(tmp_path, name):
    path = tmp_path / name
    path.touch()
    with pytest.raises(JobFailed, match=f"catalogue convert --from {path} --to site.sqlite"):
        open_catalogue(str(path))


def test_missing_files_empty_folders_and_unknown_bands_are_named(tmp_path):
    for path in (tmp_path / "nothing.csv", tmp_path):
        with pytest.raises(JobFailed, match=str(path)):
            open_catalogue(str(path))
    with pytest.raises(JobFailed, match="band k is none of g, j"):
        open_catalogue(str(tmp_path), "k")


BAND = (180.0, 1.0, 0.5)  # a circle in which the catalogues below have stars
TABLE = {"ra": [180.0, 180.1], "dec": [1.0, 1.1], "mag": [9.0, 8.0]}
STRIP = "ra, dec, phot_g_mean_mag, j_m, pmra, pmdec"


def few_stars():
    return random_stars(180.0, 1.0, number=2000)


def fits_table(path, columns=TABLE, **keywords):
    Table(columns, meta=keywords).write(path)


def parquet_table(path, columns=TABLE):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path)


def database(path, *statements):
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def whole(path):
    write(few_stars(), path)


def truncated(path, share=0.5):
    whole(path)
    os.truncate(path, int(path.stat().st_size * share))


def other_content(path):
    """Write a catalogue of another kind under the name."""
    other = path.with_name("other.csv" if path.suffix == ".sqlite" else "other.sqlite")
    whole(other)
    other.rename(path)


def damaged_page(path):
    """Write an SQLite file whose first page is not a tree of tables."""
    whole(path)
    with open(path, "r+b") as stream:
        stream.seek(100)
        stream.write(b"\xff" * 3000)


def image(path):
    fits.PrimaryHDU(np.zeros((10, 10))).writeto(path)


def wrong_form(path):
    fits_table(path)
    path.write_bytes(path.read_bytes().replace(b"TFORM2  = 'D ", b"TFORM2  = '?D"))


def missing_form(path):
    fits_table(path)
    path.write_bytes(path.read_bytes().replace(b"TFORM3  =", b"XFORM3  ="))


def index_of(path):
    """Make a folder with a real index file and return the file."""
    if not shutil.which("build-astrometry-index"):
        pytest.skip("Debian's astrometry.net is not installed")
    return make_index(random_stars(180.0, 1.0, number=20_000), path, [2])[0]


def index_replaced(path, old, new):
    file = index_of(path)
    content = file.read_bytes()
    assert old in content and len(old) == len(new)
    file.write_bytes(content.replace(old, new))


def index_truncated(path, share):
    file = index_of(path)
    os.truncate(file, int(file.stat().st_size * share))


def index_and_text(path):
    index_of(path)
    (path / "index-07.fits").write_text("a page that asks for a password " * 500)


UNREADABLE: dict[str, dict[str, tuple]] = {
    "s.sqlite": {
        "is a text": (lambda path: path.write_text("ra,dec,mag\n" * 500), "not an SQLite database"),
        "is empty": (lambda path: path.touch(), "it is empty: no tables such as"),
        "is a CSV table": (other_content, "not an SQLite database"),
        "has half": (truncated, r"truncated: \d+ bytes of \d+"),
        "has a header only": (partial(truncated, share=0.001), "truncated"),
        "has a damaged page": (damaged_page, "SQLite finds it damaged"),
        "has no tables": (partial(database), "it is empty: no tables|no tables such as"),
        "has other tables": (
            lambda path: database(path, "CREATE TABLE stars (ra, dec, mag)"),
            "has no tables such as '-6_-5'",
        ),
        "has a table of other columns": (
            lambda path: database(
                path,
                f'CREATE TABLE "0_1" ({STRIP})',
                f'CREATE TABLE "1_2" ({STRIP.replace("pmra", "mura")})',
            ),
            "table '1_2' has no column pmra; needed are ra, dec",
        ),
        "has no rows": (
            lambda path: database(path, f'CREATE TABLE "1_2" ({STRIP})'),
            "holds no stars",
        ),
    },
    "s.csv": {
        "is empty": (lambda path: path.touch(), "it is empty: no column ra, dec, mag"),
        "is a database": (other_content, "not a table of text"),
        "has half a line": (
            lambda path: path.write_text("ra,dec,mag\n180,1,9\n180.1,1"),
            "'180.1,1' ends before column mag",
        ),
        "has no rows": (lambda path: path.write_text("ra,dec,mag\n# none\n"), "holds no stars"),
        "has no column": (lambda path: path.write_text("ra,dec\n180,1\n"), "no column mag"),
        "has words": (
            lambda path: path.write_text("ra,dec,mag\n180,1,bright\n"),
            "column mag has 'bright', which is not a number",
        ),
        "has hours": (
            lambda path: path.write_text("ra,dec,mag\n12:00:00,1,9\n"),
            "column ra has '12:00:00', which is not a number",
        ),
        "has semicolons": (lambda path: path.write_text("ra;dec;mag\n180;1;9\n"), "no column ra"),
        "is Latin-1": (
            lambda path: path.write_bytes(b"ra,dec,mag,name\n180,1,9,\xe9toile\n"),
            "not UTF-8 text: byte 0xe9",
        ),
        "is UTF-16": (
            lambda path: path.write_text("ra,dec,mag\n180,1,9\n", encoding="utf-16"),
            "not a table of text",
        ),
        "is a web page": (
            lambda path: path.write_text("<html><body>Please log in</body></html>\n"),
            "no column ra, dec, mag; needed are",
        ),
    },
    "s.fits": {
        "is a text": (lambda path: path.write_text("ra,dec,mag\n" * 500), "finds no whole table"),
        "is empty": (lambda path: path.touch(), "it is empty"),
        "is a database": (other_content, "finds no whole table"),
        "has half": (truncated, "finds no whole table in it; needed are ra, dec"),
        "has part of its header": (partial(truncated, share=0.03), "finds no whole table in it"),
        "has no table": (image, "finds no whole table in it"),
        "has no column": (
            lambda path: fits_table(path, {"ra": [1.0], "dec": [1.0]}),
            "no column mag",
        ),
        "has words": (
            lambda path: fits_table(path, TABLE | {"mag": ["a", "b"]}),
            "column mag is not one number a row",
        ),
        "has two numbers a row": (
            lambda path: fits_table(path, TABLE | {"pmra": [[1.0, 2.0], [3.0, 4.0]]}),
            "column pmra is not one number a row",
        ),
        "has no rows": (
            lambda path: fits_table(path, {key: [] for key in TABLE}),
            "holds no stars",
        ),
        "has an epoch in words": (
            lambda path: fits_table(path, EPOCH="now"),
            "EPOCH is 'now', not a year",
        ),
        "has an unknown form": (wrong_form, "finds no whole table in it"),
        "lacks a form": (missing_form, "finds no whole table in it"),
    },
    "s.parquet": {
        "is a text": (lambda path: path.write_text("ra,dec,mag\n" * 500), "finds no whole table"),
        "is empty": (lambda path: path.touch(), "it is empty"),
        "has half": (truncated, "finds no whole table in it; needed are ra, dec"),
        "has a damaged end": (
            lambda path: path.write_bytes(b"PAR1" + b"\xff" * 3000 + b"PAR1"),
            "finds no whole table in it",
        ),
        "has no column": (lambda path: parquet_table(path, {"ra": [1.0]}), "no column dec, mag"),
        "has dates": (
            lambda path: parquet_table(path, TABLE | {"mag": [datetime(2026, 1, 1)] * 2}),
            "column mag is not one number a row",
        ),
        "has no rows": (
            lambda path: parquet_table(path, {key: np.empty(0) for key in TABLE}),
            "holds no stars",
        ),
    },
    "index": {
        "is empty": (lambda path: path.mkdir(), r"no index files \(\*.fits\)"),
        "has a table": (
            lambda path: (path.mkdir(), fits_table(path / "t.fits")),
            "t.fits: not an index file: it has no table kdtree_data_stars",
        ),
        "has a folder": (
            lambda path: (path / "t.fits").mkdir(parents=True),
            "t.fits: it is a folder",
        ),
        "has a text beside": (index_and_text, "index-07.fits: not a FITS file"),
        "has a tenth": (partial(index_truncated, share=0.1), "index-02.fits: it is truncated"),
        "has half": (partial(index_truncated, share=0.5), "index-02.fits"),
        "has all but the end": (partial(index_truncated, share=0.98), "index-02.fits: it is trunc"),
        "has another tree": (
            partial(index_replaced, old=b"'u32     '", new=b"'u16     '"),
            "index-02.fits: its kd-tree is of u16, not of u32",
        ),
        "has no splits": (
            partial(index_replaced, old=b"'kdtree_split_stars'", new=b"'kdtree_other_stars'"),
            "index-02.fits: its kd-tree has no table kdtree_split_stars",
        ),
    },
}


@pytest.mark.parametrize(
    "name, case", [(name, case) for name, cases in UNREADABLE.items() for case in cases]
)
def test_an_unreadable_catalogue_is_found_when_opened(tmp_path, name, case):
    damage, message = UNREADABLE[name][case]
    path = tmp_path / name
    damage(path)
    assert_named(path, message)


def assert_named(path, message, read=opened):
    """Fail unless an error names a file and what was found, without words of Python."""
    with pytest.raises(JobFailed, match=message) as error:
        read(str(path))
    text = str(error.value)
    assert text.startswith(f"catalogue: {path}") and "\n" not in text
    assert not re.search(r"Errno|Traceback|Error|Exception|could not convert|object", text)


@pytest.mark.parametrize("name", ["s.sqlite", "s.csv", "s.fits", "s.parquet"])
def test_only_regular_files_are_opened(tmp_path, name):
    (tmp_path / name).mkdir()
    foreign = Path(name).suffix in FOREIGN
    assert_named(tmp_path / name, "it is a folder" if foreign else "no index files")
    (tmp_path / name).rmdir()
    os.mkfifo(tmp_path / name)
    assert_named(tmp_path / name, "not a regular file")
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to(tmp_path / "nowhere")
    assert_named(tmp_path / name, "does not exist; is its disk mounted")
    assert_named(tmp_path / name / "below", "does not exist; is its disk mounted")
    (tmp_path / "file").touch()
    assert_named(tmp_path / "file" / name, "does not exist; is its disk mounted")
    assert_named(tmp_path / (300 * "long" + name), "File name too long")


@contextmanager
def unprivileged():
    """Be a user who is not root, to whom permissions apply."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("name", ["s.sqlite", "s.csv", "s.fits", "s.parquet", "index"])
def test_a_catalogue_without_permission_is_named(name):
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        path = Path(folder) / name
        if name == "index":
            path.mkdir()
            fits_table(path / "t.fits")
        else:
            whole(path)
        path.chmod(0o000)
        with unprivileged():
            assert_named(path, "no permission: the user who runs the workflow must be able to read")
        path.chmod(0o755)


def removed(path):
    path.unlink()


def replaced(path):
    path.unlink()
    path.write_text("a page that asks for a password " * 500)


def shortened(path):
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [removed, replaced, shortened])
@pytest.mark.parametrize("name", ["s.sqlite", "s.csv", "index"])
def test_a_catalogue_that_becomes_unreadable_is_named(tmp_path, name, damage):
    path = tmp_path / name
    file = path
    if name == "index":
        file = index_of(path)
    else:
        whole(path)
    catalogue = open_catalogue(str(path))
    assert len(catalogue.cut(*BAND, 2026).ra) > 100
    damage(file)
    assert_named(path, file.name, lambda _: catalogue.cut(*BAND, 2026))


def test_a_damaged_piece_is_named_once_it_is_read(tmp_path):
    path = tmp_path / "s.sqlite"
    whole(path)
    with open(path, "r+b") as stream:
        stream.seek(path.stat().st_size * 3 // 4)
        stream.write(bytes(4096))
    catalogue = open_catalogue(str(path))
    assert_named(path, "SQLite finds it damaged", lambda _: catalogue.cut(*BAND, 2026))
    path = tmp_path / "s.csv"
    path.write_text("ra,dec,mag\n180,1,9\n180,1,x9\n180,1,9\n")
    catalogue = open_catalogue(str(path))
    assert_named(path, "column mag has 'x9'", lambda _: catalogue.cut(*BAND, 2026))
    path = tmp_path / "t.sqlite"
    database(
        path,
        f'CREATE TABLE "1_2" ({STRIP})',
        """INSERT INTO "1_2" VALUES (180, 1, 9, NULL, 'fast', NULL)""",
    )
    catalogue = open_catalogue(str(path))
    assert_named(path, "'1_2' has 'fast', which is not", lambda _: catalogue.cut(*BAND, 2026))


@pytest.mark.parametrize("name", ["s.sqlite", "s.csv", "s.fits", "s.parquet", "index"])
def test_damaged_catalogues_are_read_or_named(tmp_path, name):
    """Bytes are changed, lost or put in anywhere: stars are read, or the file is named."""
    path = tmp_path / name
    file = path
    if name == "index":
        file = index_of(path)
    else:
        write(random_stars(180.0, 1.0, number=300), path)
    whole = file.read_bytes()
    rng = random.Random(f"{os.environ['FUZZ_SEED']} {name}")
    for _ in range(150):
        # Most faults that matter are in headers.
        begin = rng.randrange(rng.choice([9000, len(whole)]) - 1) % len(whole)
        other = rng.choice([b"", b"\0" * 90, b" " * 40, b"9" * 30, rng.randbytes(60)])
        end = begin + rng.choice([0, 1, len(other), len(whole)])
        file.write_bytes(whole[:begin] + other + whole[end:])
        try:
            opened(path).cut(*BAND, 2026)
        except JobFailed as error:
            assert str(error).startswith(f"catalogue: {path}")


def test_words_in_a_parquet_table_are_named(tmp_path):
    path = tmp_path / "s.parquet"
    parquet_table(path, TABLE | {"mag": ["9.5", "bright"]})
    assert_named(path, "column mag is not one number a row")


def bytes_read() -> int:
    """Return how many bytes this process has read until now."""
    return int(re.search(r"rchar: (\d+)", Path("/proc/self/io").read_text())[1])


def test_opening_reads_little(tmp_path):
    """A table of 40 MB, whose rows are not looked at but for the last."""
    path = tmp_path / "s.csv"
    with open(path, "w") as stream:
        stream.write("ra,dec,mag\n180,1,9\n")
        for _ in range(40):
            stream.write("not,a,star\n" * 90_000)
        stream.write("180,1,9\n")
    before = bytes_read()
    catalogue = open_catalogue(str(path))
    assert bytes_read() - before < 4_000_000
    assert_named(path, "column ra has 'not'", lambda _: catalogue.cut(*BAND, 2026))


def test_catalogues_are_called_by_their_file_name(tmp_path, monkeypatch):
    for name, right in [("s.csv", "s.csv"), ("gaïa\n.csv", "ga?a?.csv")]:
        (tmp_path / name).write_text("ra,dec,mag\n180,1,9\n")
        assert open_catalogue(str(tmp_path / name)).name == right
    monkeypatch.chdir(tmp_path)
    assert open_catalogue("s.csv").name == "s.csv"
    with pytest.raises(JobFailed, match="no index files"):
        open_catalogue(f"{tmp_path}/")


def test_a_large_catalogue_needs_little_memory(tmp_path):
    rng = np.random.default_rng(2)
    number = 3_000_000
    ra, dec = rng.uniform(0, 360, number), rng.uniform(-6, -3, number)
    zero = np.zeros(number)
    path = tmp_path / "s.sqlite"
    mag = rng.uniform(8, 19, number)
    write(CatalogueStars(ra, dec, mag, zero, zero, zero + 2015.5, zero + 9), path)
    # Peak of the program itself: what getrusage says is at least that of the process it began as.
    program = (
        "from scripts.lib.solving.star_catalogue import open_catalogue\n"
        f"stars = open_catalogue({str(path)!r}).cut(120, -4.5, 0.6, 2026)\n"
        "peak = next(w for w in open('/proc/self/status') if w.startswith('VmHWM')).split()[1]\n"
        "print(len(stars.ra), int(peak) // 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    count, memory = map(int, done.stdout.split())
    assert 2500 < count < 4000
    assert memory < 150  # MB


def run(*words):
    command = [sys.executable, "-m", "scripts.catalogue", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_command_cuts(tmp_path):
    rows = random_stars(120.0, 4.0, epoch=2000.0)
    write(rows, tmp_path / "s.csv")
    circle = ("--ra", 120, "--dec", 4, "--radius", 0.2)
    for name, epoch in [("cut.sqlite", 2015.5), ("cut.csv", 2000.0)]:
        target = tmp_path / name
        done = run("cut", "--from", tmp_path / "s.csv", "--to", target, *circle)
        assert done.returncode == 0, done.stderr
        found = open_catalogue(str(target)).stars(Circle(120, 4, 1))
        assert done.stdout == f"{target}: {len(found.ra)} stars\n"
        assert len(found.ra) == within(120, 4, 0.2, rows).sum() > 100
        assert (found.epoch == epoch).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.csv", "cut.sqlite", "s.csv"]


@pytest.mark.parametrize("dec", [0.0, -75.0, 89.5])
def test_the_command_cuts_to_a_density(tmp_path, dec):
    """A crowded half of the field and a sparse one: the brightest of each are left."""
    crowded, sparse = random_stars(0.0, dec, 20_000, 1.5), random_stars(0.0, dec, 900, 1.5, seed=2)
    eastern = crowded.ra < 180
    stars = CatalogueStars(*np.concatenate([crowded.taken(eastern), sparse], axis=1))
    write(stars, tmp_path / "whole.csv")
    words = f"--from {tmp_path}/whole.csv --to {tmp_path}/s.csv --density 200 --band j".split()
    assert run("cut", *words).returncode == 0
    left = open_catalogue(str(tmp_path / "s.csv"), "j").cut(0.0, dec, 1.2, 2015.5)
    whole = open_catalogue(str(tmp_path / "whole.csv"), "j").cut(0.0, dec, 1.2, 2015.5)
    area = np.pi * 1.2**2
    assert len(left.ra) == pytest.approx(area * (200 + 100) / 2, rel=0.25)
    # Where the sky is sparse all stars stay, where it is crowded the bright ones.
    west = whole.ra > 180
    assert (left.ra > 180).sum() > 0.85 * west.sum()
    assert np.median(left.mag[left.ra < 180]) < np.median(whole.mag[whole.ra < 180]) - 2
    again = tmp_path / "again.csv"
    run("cut", "--from", f"{tmp_path}/s.csv", "--to", str(again), "--density", "200", "--band", "j")
    assert again.read_text() == (tmp_path / "s.csv").read_text()


@pytest.mark.parametrize("words", ["0", "-3", "nan", "inf", "many"])
def test_a_density_is_a_positive_number(tmp_path, words):
    done = run("cut", "--from", "a.csv", "--to", "b.csv", "--density", words)
    assert done.returncode == 2 and "argument --density" in done.stderr


@pytest.mark.parametrize("name", ["s.fits", "s.parquet"])
def test_the_command_converts_a_whole_table(tmp_path, name):
    write(random_stars(0.1, 0.0), tmp_path / name)
    done = run("convert", "--from", tmp_path / name, "--to", tmp_path / "s.sqlite")
    assert done.stdout == f"{tmp_path / 's.sqlite'}: 3000 stars\n"
    assert len(open_catalogue(str(tmp_path / "s.sqlite")).stars(EVERYWHERE).ra) == 3000


@needs_builder
def test_the_command_makes_index_files(tmp_path):
    write(random_stars(120.0, 4.0), tmp_path / "s.csv")
    done = run("index", "--from", tmp_path / "s.csv", "--to", tmp_path / "i", "--scales", 1, 2)
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [
        str(tmp_path / "i" / f"index-0{scale}.fits") for scale in (1, 2)
    ]


@pytest.mark.parametrize(
    "words, message",
    [
        ("cut --from /no.csv --to x.csv", "catalogue: /no.csv does not exist; is its"),
        ("cut --from / --to x.fits", "x.fits: the name must end in .csv, .sqlite"),
        ("cut --from S --to x.csv --ra 1", "--ra, --dec and --radius go together"),
        ("cut --from S --to /nowhere/x.csv", "No such file or directory"),
        ("convert --from /no.fits --to x.csv", "catalogue: /no.fits does not exist; is its"),
        ("convert --from S --to x.fits", "x.fits: the name must end in .csv, .sqlite"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path, words, message):
    source = tmp_path / "s.csv"
    write(random_stars(1, 1), source)
    done = run(*(source if word == "S" else word for word in words.split()))
    assert done.returncode == 1
    assert message in done.stderr and "Traceback" not in done.stderr
