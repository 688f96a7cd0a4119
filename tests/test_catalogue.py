"""Star catalogues: the same stars from every kind of file, little memory, clear messages."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from scripts.catalogue import make_index, write_rows
from scripts.lib.catalogue import CatalogueError, Rows, open_catalogue

BUILDER = shutil.which("build-astrometry-index")
PLACES = [(120.0, 4.0), (0.0, -0.3), (359.8, 45.02), (200.0, -89.8), (77.0, 89.9)]


def random_rows(ra, dec, number=4000, spread=0.6, seed=1, epoch=2015.5):
    """Return stars around a place, also across the pole and 0 h."""
    rng = np.random.default_rng(seed)
    up = np.clip(dec + rng.uniform(-spread, spread, number), -89.95, 89.95)
    wide = min(180.0, spread / max(np.cos(np.radians(dec)), 1e-3))
    along = (ra + rng.uniform(-wide, wide, number)) % 360
    pmra, pmdec = rng.normal(0, 500, (2, number))
    return Rows(along, up, rng.uniform(8, 19, number), pmra, pmdec, np.full(number, epoch))


def parquet(rows, path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(dict(zip(Rows._fields, rows, strict=True))), path)


def apart(a, b) -> float:
    """Return the largest distance (mas) between two lists of the same stars."""
    along = (a.ra - b.ra + 180) % 360 - 180
    return 3.6e6 * np.hypot(along * np.cos(np.radians(a.dec)), a.dec - b.dec).max()


@pytest.mark.parametrize("ra, dec", PLACES)
def test_every_kind_of_file_gives_the_same_stars(tmp_path, ra, dec):
    rows = random_rows(ra, dec)
    for suffix in ("fits", "csv", "sqlite"):
        write_rows(rows, tmp_path / f"stars.{suffix}")
    parquet(rows, tmp_path / "stars.parquet")
    right = open_catalogue(str(tmp_path / "stars.fits")).cut(ra, dec, 0.3, 2026.2)
    assert len(right.ra) > 100
    assert (np.diff(right.mag) >= 0).all()
    for suffix in ("csv", "sqlite", "parquet"):
        found = open_catalogue(str(tmp_path / f"stars.{suffix}")).cut(ra, dec, 0.3, 2026.2)
        assert apart(found, right) < 1, suffix


@pytest.mark.parametrize("ra, dec", PLACES)
def test_a_circle_is_a_circle(tmp_path, ra, dec):
    """Against the angle between unit vectors, which knows no poles and no 0 h."""
    rows = random_rows(ra, dec)._replace(pmra=np.zeros(4000), pmdec=np.zeros(4000))
    write_rows(rows, tmp_path / "stars.sqlite")
    found = open_catalogue(str(tmp_path / "stars.sqlite")).cut(ra, dec, 0.25, 2026.2)
    angle = np.radians([rows.ra, rows.dec])
    vectors = np.array(
        [np.cos(angle[1]) * np.cos(angle[0]), np.cos(angle[1]) * np.sin(angle[0]), np.sin(angle[1])]
    )
    a, d = np.radians([ra, dec])
    middle = np.array([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])
    chord = np.linalg.norm(vectors - middle[:, None], axis=0)
    assert len(found.ra) == (chord < 2 * np.sin(np.radians(0.25) / 2)).sum()


def test_proper_motions_are_applied(tmp_path):
    one = np.array([1.0])
    rows = Rows(120 * one, 60 * one, 10 * one, 3600.0 * one, -7200.0 * one, 2016 * one)
    write_rows(rows, tmp_path / "stars.csv")
    stars = open_catalogue(str(tmp_path / "stars.csv")).cut(120, 60, 0.1, 2026.0)
    assert stars.ra[0] == pytest.approx(120 + 36 / 3600 / np.cos(np.radians(60)), abs=1e-6)
    assert stars.dec[0] == pytest.approx(60 - 72 / 3600, abs=1e-6)


def test_a_table_may_lack_motions_and_have_blanks_and_another_band(tmp_path):
    path = tmp_path / "stars.csv"
    path.write_text("RA,Dec,mag,name,j\n10,20,12,x,9\n10.01,20,11,y,10\n10.02,20,,z,8\n")
    assert open_catalogue(str(path)).cut(10, 20, 1, 2026).mag.tolist() == [11, 12]
    assert open_catalogue(str(path), "j").cut(10, 20, 1, 2026).mag.tolist() == [8, 9, 10]


@pytest.mark.skipif(not BUILDER, reason="Debian's astrometry.net is not installed")
def test_stars_are_read_out_of_index_files(tmp_path):
    rows = random_rows(120.0, 4.0, number=20_000)
    made = make_index(rows, tmp_path / "index", [1, 2])
    assert [path.name for path in made] == ["index-01.fits", "index-02.fits"]
    found = open_catalogue(str(tmp_path / "index")).rows(120.1, 4.1, 0.2)
    assert len(found.ra) > 100
    places = {(round(r, 6), round(d, 6)): i for i, (r, d) in enumerate(zip(*rows[:2], strict=True))}
    for ra, dec, mag, pmra in zip(*found[:4], strict=True):
        near = [places.get((round(ra + i, 6), round(dec + j, 6))) for i, j in SHAKEN]
        index = next(i for i in near if i is not None)
        assert mag == rows.mag[index] and pmra == rows.pmra[index]
    astrometry = pytest.importorskip("astrometry")
    astrometry.Solver(made)


# Places in an index file are rounded to 0.1 mas, which is a tenth of the sixth decimal.
SHAKEN = [(i, j) for i in (0, 5e-7, -5e-7) for j in (0, 5e-7, -5e-7)]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("stars.csv", "ra,dec\n1,2\n", "no column mag"),
        ("stars.csv", "ra,dec,mag\n1,2,bright\n", "no table of numbers"),
        ("stars.txt", "", "none of"),
        ("stars.sqlite", "not a database at all, but long enough", "cannot be read"),
        ("stars.fits", "SIMPLE", "cannot be read"),
    ],
)
def test_what_is_no_catalogue_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(CatalogueError, match=message) as error:
        open_catalogue(str(path)).cut(1, 2, 1, 2026)
    assert str(path) in str(error.value)


def test_missing_files_and_empty_folders_are_named(tmp_path):
    for path in (tmp_path / "nothing.fits", tmp_path):
        with pytest.raises(CatalogueError, match=str(path)):
            open_catalogue(str(path))


@pytest.mark.parametrize("suffix", ["fits", "sqlite"])
def test_a_large_catalogue_needs_little_memory(tmp_path, suffix):
    rng = np.random.default_rng(2)
    number = 3_000_000
    ra, dec = rng.uniform(0, 360, number), rng.uniform(-6, -3, number)
    zero = np.zeros(number)
    path = tmp_path / f"stars.{suffix}"
    write_rows(Rows(ra, dec, rng.uniform(8, 19, number), zero, zero, zero + 2015.5), path)
    program = (
        "from scripts.lib.catalogue import open_catalogue\n"
        f"stars = open_catalogue({str(path)!r}).cut(120, -4.5, 0.6, 2026)\n"
        "peak = next(w for w in open('/proc/self/status') if w.startswith('VmHWM')).split()[1]\n"
        "print(len(stars.ra), int(peak) // 1024)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    count, memory = map(int, done.stdout.split())
    assert 2500 < count < 4000
    assert memory < 300


def test_the_command_cuts(tmp_path):
    write_rows(random_rows(120.0, 4.0), tmp_path / "stars.fits")
    target = tmp_path / "cut.sqlite"
    words = ["cut", "--from", tmp_path / "stars.fits", "--to", target]
    words += ["--ra", "120", "--dec", "4", "--radius", "0.2"]
    done = subprocess.run(
        [sys.executable, "-m", "scripts.catalogue", *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    count = int(done.stdout.split()[1])
    assert count == len(open_catalogue(str(target)).rows(120, 4, 1).ra) > 100
    wrong = subprocess.run(
        [sys.executable, "-m", "scripts.catalogue", "cut", "--from", "/nowhere.fits", "--to", "x"],
        capture_output=True,
        text=True,
    )
    assert wrong.returncode == 1
    assert wrong.stderr.strip() == "catalogue: /nowhere.fits does not exist; is its disk mounted?"
