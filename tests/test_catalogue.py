"""Star catalogues: the same stars from every kind of file, little memory, clear messages."""

import shutil
import sqlite3
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

import scripts.catalogue
from scripts.catalogue import make_index, write_rows
from scripts.lib.solving.catalogue import CatalogueError, Rows, distinct, open_catalogue

needs_builder = pytest.mark.skipif(
    not shutil.which("build-astrometry-index"), reason="Debian's astrometry.net is not installed"
)
# Plain; both sides of 0 h and of the equator; across a border; on a border; both poles.
PLACES = [(120.0, 4.5), (0.0, -0.1), (359.8, 45.02), (33.0, -6.0), (200.0, -89.8), (77.0, 89.9)]
# Index files keep unit vectors in steps of 2 ** -31: 0.1 mas.
STEP = 0.1


def random_rows(ra, dec, number=3000, spread=0.6, seed=1, epoch=2015.5):
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
    return Rows(along, up, g, pmra, pmdec, np.full(number, epoch), j)


def vectors(ra, dec):
    ra, dec = np.radians(ra), np.radians(dec)
    return np.array([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])


def within(ra, dec, radius, stars) -> np.ndarray:
    """Tell which stars a circle holds by unit vectors, which know no poles and no 0 h."""
    chord = np.linalg.norm((vectors(stars.ra, stars.dec).T - vectors(ra, dec)).T, axis=0)
    return chord < 2 * np.sin(np.radians(radius) / 2)


def apart(a, b) -> float:
    """Return the largest distance (mas) between two lists of the same stars."""
    return 3.6e6 * np.degrees(
        np.linalg.norm(vectors(a.ra, a.dec) - vectors(b.ra, b.dec), axis=0).max()
    )


def write(rows, path):
    """Write stars in any kind of catalogue that this machine can write; skip the test if not."""
    if path.suffix == ".parquet":
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        parquet.write_table(pyarrow.table(rows._asdict()), path)
    elif path.suffix:
        write_rows(rows, path)
    else:
        if not shutil.which("build-astrometry-index"):
            pytest.skip("Debian's astrometry.net is not installed")
        make_index(rows, path, [0, 1])
    return str(path)


@pytest.mark.parametrize("name", ["s.fits", "s.csv", "s.sqlite", "s.db", "s.parquet", "index"])
def test_every_kind_of_file_gives_the_same_stars(tmp_path, name):
    for ra, dec in PLACES[1::2] if name == "index" else PLACES:
        rows = random_rows(ra, dec)
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
            found = open_catalogue(str(path), band).cut(ra, dec, 0.3, 2026.2)
            assert len(found.ra) == len(right.ra) > 100, (ra, dec)
            assert found.mag == pytest.approx(right.mag, abs=1e-6)
            assert apart(found, right) < 2 * STEP, (ra, dec)


def test_proper_motions_are_applied(tmp_path):
    one = np.array([1.0])
    rows = Rows(120 * one, 60 * one, 10 * one, 3600.0 * one, -7200.0 * one, 2016 * one)
    stars = open_catalogue(write(rows, tmp_path / "s.csv")).cut(120, 60, 0.1, 2026.0)
    assert stars.ra[0] == pytest.approx(120 + 36 / 3600 / np.cos(np.radians(60)), abs=1e-6)
    assert stars.dec[0] == pytest.approx(60 - 72 / 3600, abs=1e-6)


def test_a_star_as_fast_as_barnards_moves_into_the_circle_and_out_of_it(tmp_path):
    rows = Rows(*(np.array([value]) for value in (269.452, 4.6933, 8.2, -801.6, 10362.4, 2015.5)))
    catalogue = open_catalogue(write(rows, tmp_path / "s.sqlite"))
    assert len(catalogue.cut(269.452, 4.735, 0.01, 2015.5).ra) == 0
    assert len(catalogue.cut(269.448, 4.735, 0.01, 2030.0).ra) == 1
    assert len(catalogue.cut(269.452, 4.6933, 0.01, 2030.0).ra) == 0


def test_a_csv_table_may_lack_motions_and_have_blanks_text_and_comments(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text(
        '\ufeff# a comment\nRA, Dec,mag,name,j\n10,20,12,"x, y",9\n\n10.01,20,11,#y,\n'
        "10.02,20,null,z,8\n10,,3,no place,3\n"
    )
    assert open_catalogue(str(path)).cut(10, 20, 1, 2026).mag.tolist() == [11, 12]
    assert open_catalogue(str(path), "j").cut(10, 20, 1, 2026).mag.tolist() == [8, 9, 11]


@pytest.mark.parametrize("keyword", ["EPOCH", "REFEPOCH"])
def test_a_fits_table_tells_its_epoch_and_may_be_scaled(tmp_path, keyword):
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
    stars = open_catalogue(str(tmp_path / "s.fits")).cut(10, 20, 1, 2026)
    assert stars.mag == pytest.approx([11.5, 12.5])
    assert stars.dec == pytest.approx([20.001, 20 + 26 / 3600], abs=1e-9)


def test_each_star_may_have_its_own_epoch(tmp_path):
    table = {"ra": [1.0, 1.0], "dec": [2.0, 2.1], "mag": [8.0, 9.0], "pmdec": [3600.0, 3600.0]}
    Table(table | {"epoch": [2000.0, 2020.0]}).write(tmp_path / "s.fits")
    stars = open_catalogue(str(tmp_path / "s.fits")).cut(1, 2, 1, 2030)
    assert stars.dec == pytest.approx([2.03, 2.11])


def test_sqlite_may_have_no_motions_and_no_j(tmp_path):
    with sqlite3.connect(tmp_path / "s.sqlite") as connection:
        connection.execute('CREATE TABLE "-6_-5" (ra, dec, pmra, pmdec, phot_g_mean_mag, j_m)')
        connection.execute('INSERT INTO "-6_-5" VALUES (10, -5.5, NULL, NULL, 12, NULL)')
        connection.execute('INSERT INTO "-6_-5" VALUES (10, -5.6, 1, 2, NULL, NULL)')
    connection.close()
    for band in ("g", "j"):
        stars = open_catalogue(str(tmp_path / "s.sqlite"), band).cut(10, -5.5, 1, 2026)
        assert [column.tolist() for column in stars] == [[10], [-5.5], [12]]


def test_doubles_are_found_at_the_pole_and_at_0_h():
    ra = np.array([0.0, 180.0, 359.99999, 0.00001, 10.0, 10.0])
    dec = np.array([89.99999, 89.99999, 5.0, 5.0, 5.0, 5.001])
    rows = Rows(ra, dec, np.array([9.0, 8, 9, 8, 9, 8]), *np.zeros((3, 6)))
    assert distinct(rows).tolist() == [1, 3, 4, 5]


@needs_builder
def test_index_files_carry_their_stars_and_the_engine_opens_them(tmp_path):
    rows = random_rows(120.0, 4.0, number=20_000)
    made = make_index(rows, tmp_path / "index", [1, 2], epoch=2026.0)
    assert [path.name for path in made] == ["index-01.fits", "index-02.fits"]
    found = open_catalogue(str(tmp_path / "index")).rows(120.1, 4.1, 0.2)
    assert len(found.ra) > 100
    # Magnitudes are drawn from a continuum: they tell which star is which.
    which = {mag: number for number, mag in enumerate(rows.mag)}
    right = rows.at(2026.0).taken(np.array([which[mag] for mag in found.mag]))
    assert apart(found, right) < 2 * STEP
    for name in ("pmra", "pmdec", "epoch", "j"):
        assert (getattr(found, name) == getattr(right, name)).all()
    astrometry = pytest.importorskip("astrometry")
    astrometry.Solver(made)


@needs_builder
def test_without_magnitudes_the_order_of_index_files_ranks_their_stars(tmp_path):
    rows = random_rows(120.0, 4.0, number=20_000)
    for path in make_index(rows, tmp_path / "index", [1, 3]):
        with fits.open(path) as hdus:
            assert hdus[-1].header["AN_FILE"] == "TAGALONG"
            hdus[:-1].writeto(tmp_path / f"bare-{path.name}")
    shutil.rmtree(tmp_path / "index")
    found = open_catalogue(str(tmp_path)).rows(120.0, 4.0, 0.3)
    places = np.column_stack([rows.ra, rows.dec])
    near = [np.abs(places - place).max(axis=1).argmin() for place in zip(*found[:2], strict=True)]
    mags, tenth = rows.mag[near], len(near) // 10
    assert mags[:tenth].mean() < np.sort(mags)[:tenth].mean() + 0.1
    assert mags[-tenth:].mean() > mags.mean() + 1


def test_index_files_need_their_builder(tmp_path, monkeypatch):
    monkeypatch.setattr(scripts.catalogue, "BUILDER", "no-such-builder")
    with pytest.raises(CatalogueError, match="apt-get install astrometry.net"):
        make_index(random_rows(1, 1), tmp_path)


@needs_builder
def test_too_few_stars_for_index_files_are_named(tmp_path):
    with pytest.raises(CatalogueError, match="too few stars"):
        make_index(random_rows(1, 1, number=3), tmp_path, [0])


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("s.csv", "ra,dec\n1,2\n", "no column mag; needed are ra, dec"),
        ("s.csv", "", "no column ra, dec, mag"),
        ("s.csv", "ra,dec,mag\n1,2,bright\n", "cannot be read.*bright"),
        ("s.csv", b"ra,dec,mag\n1,2,\xff\n", "cannot be read"),
        ("s.txt", "", "none of .sqlite, .db, .fits, .csv, .parquet or a folder"),
        ("s.sqlite", "not a database at all, but long enough", "cannot be read"),
        ("s.sqlite", "", "no tables such as '-6_-5'"),
        ("s.fits", "SIMPLE", "cannot be read"),
        ("s.fits", "", "cannot be read"),
        ("s.parquet", "PAR", "cannot be read"),
    ],
)
def test_what_is_no_catalogue_is_named(tmp_path, name, content, message):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(CatalogueError, match=message) as error:
        open_catalogue(str(path)).cut(1, 2, 1, 2026)
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
    with pytest.raises(CatalogueError, match=message):
        open_catalogue(str(tmp_path / "s.fits")).cut(1, 2, 1, 2026)
    with pytest.raises(CatalogueError, match="s.fits: no index file"):
        open_catalogue(str(tmp_path)).cut(1, 2, 1, 2026)


def test_a_fits_file_without_table_or_cut_short_is_named(tmp_path):
    path = tmp_path / "s.fits"
    fits.PrimaryHDU(np.zeros(9)).writeto(path)
    with pytest.raises(CatalogueError, match="holds no table"):
        open_catalogue(str(path)).cut(1, 2, 1, 2026)
    write_rows(random_rows(1, 2), path)
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(CatalogueError, match="cannot be read"):
        open_catalogue(str(path)).cut(1, 2, 1, 2026)


def test_missing_files_empty_folders_and_unknown_bands_are_named(tmp_path):
    for path in (tmp_path / "nothing.fits", tmp_path):
        with pytest.raises(CatalogueError, match=str(path)):
            open_catalogue(str(path))
    with pytest.raises(CatalogueError, match="band k is none of g, j"):
        open_catalogue(str(tmp_path), "k")


@pytest.mark.parametrize("name, most", [("s.fits", 150), ("s.sqlite", 150), ("s.parquet", 300)])
def test_a_large_catalogue_needs_little_memory(tmp_path, name, most):
    rng = np.random.default_rng(2)
    number = 3_000_000
    ra, dec = rng.uniform(0, 360, number), rng.uniform(-6, -3, number)
    zero = np.zeros(number)
    path = tmp_path / name
    write(Rows(ra, dec, rng.uniform(8, 19, number), zero, zero, zero + 2015.5, zero + 9), path)
    # Peak of the program itself: what getrusage says is at least that of the process it began as.
    program = (
        "from scripts.lib.solving.catalogue import open_catalogue\n"
        f"stars = open_catalogue({str(path)!r}).cut(120, -4.5, 0.6, 2026)\n"
        "peak = next(w for w in open('/proc/self/status') if w.startswith('VmHWM')).split()[1]\n"
        "print(len(stars.ra), int(peak) // 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    count, memory = map(int, done.stdout.split())
    assert 2500 < count < 4000
    assert memory < most  # MB


def run(*words):
    words = [sys.executable, "-m", "scripts.catalogue", *map(str, words)]
    return subprocess.run(words, capture_output=True, text=True)


def test_the_command_cuts(tmp_path):
    rows = random_rows(120.0, 4.0, epoch=2000.0)
    write_rows(rows, tmp_path / "s.fits")
    circle = ("--ra", 120, "--dec", 4, "--radius", 0.2)
    for name, epoch in [("cut.sqlite", 2015.5), ("cut.csv", 2000.0), ("cut.fits", 2000.0)]:
        target = tmp_path / name
        done = run("cut", "--from", tmp_path / "s.fits", "--to", target, *circle)
        assert done.returncode == 0, done.stderr
        found = open_catalogue(str(target)).rows(120, 4, 1)
        assert done.stdout == f"{target}: {len(found.ra)} stars\n"
        assert len(found.ra) == within(120, 4, 0.2, rows).sum() > 100
        assert (found.epoch == epoch).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cut.csv",
        "cut.fits",
        "cut.sqlite",
        "s.fits",
    ]


def test_the_command_converts_a_whole_table(tmp_path):
    write_rows(random_rows(0.1, 0.0), tmp_path / "s.csv")
    done = run("cut", "--from", tmp_path / "s.csv", "--to", tmp_path / "s.sqlite")
    assert done.stdout == f"{tmp_path / 's.sqlite'}: 3000 stars\n"
    assert len(open_catalogue(str(tmp_path / "s.sqlite")).rows(0, 90, 180).ra) == 3000


@needs_builder
def test_the_command_makes_index_files(tmp_path):
    write_rows(random_rows(120.0, 4.0), tmp_path / "s.fits")
    done = run("index", "--from", tmp_path / "s.fits", "--to", tmp_path / "i", "--scales", 1, 2)
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [
        str(tmp_path / "i" / f"index-0{scale}.fits") for scale in (1, 2)
    ]


@pytest.mark.parametrize(
    "words, message",
    [
        (("--from", "/no.fits", "--to", "x.fits"), "catalogue: /no.fits does not exist; is its"),
        (("--from", "/", "--to", "x.txt"), "x.txt: the name must end in .fits, .csv, .sqlite"),
        (("--from", "S", "--to", "x.fits", "--ra", "1"), "--ra, --dec and --radius go together"),
        (("--from", "S", "--to", "/nowhere/x.fits"), "No such file or directory"),
    ],
)
def test_the_command_says_what_is_wrong(tmp_path, words, message):
    source = tmp_path / "s.fits"
    write_rows(random_rows(1, 1), source)
    done = run("cut", *(source if word == "S" else word for word in words))
    assert done.returncode == 1
    assert message in done.stderr and "Traceback" not in done.stderr
