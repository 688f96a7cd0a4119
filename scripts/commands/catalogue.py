"""Convert and cut star catalogues; make index files for the astrometry.net engine from them."""

import argparse
import math
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scripts.lib.files.durable import whole_file
from scripts.lib.files.errors import Damaged, JobFailed
from scripts.lib.solving import sqlite_catalogue
from scripts.lib.solving.star_catalogue import BANDS, open_catalogue
from scripts.lib.solving.stars import (
    COLUMNS,
    EVERYWHERE,
    GAIA_DR2,
    GAIA_DR3,
    NO_STARS,
    PIECE,
    CatalogueStars,
    Circle,
    joined,
    source_names,
    stars_of,
)
from scripts.lib.solving.unreadable import check_file, failing_job

if TYPE_CHECKING:
    from astropy.table import Table

BUILDER = "build-astrometry-index"
SCALES = [0, 1, 2, 3, 4]  # quads of 2 to 11 arcmin: what fits into the frames of both cameras
NO_QUADS = "Did not create any quads"
CSV_FORMATS = ("%.9f", "%.9f", "%.9f", "%.3f", "%.3f", "%.3f", "%.9f")
EXAMPLES = """
examples:
  speculoos-archive catalogue convert --from gaia.parquet --to site.sqlite
  speculoos-archive catalogue cut --from site.sqlite --to io.csv --ra 121.3 --dec 4.3 --radius 1
  speculoos-archive catalogue cut --from gaia.sqlite --to sparse.sqlite --density 5000 --band j
  speculoos-archive catalogue index --from site.sqlite --to /data/index --scales 2 3 4
"""


def write_stars(pieces: Iterable[CatalogueStars], path: Path) -> int:
    """Write stars as a table (.csv) or in the site's layout (.sqlite), and return their number."""
    check_name(path)
    return WRITERS[path.suffix](pieces, path)


def check_name(path: Path) -> None:
    """Raise `JobFailed` unless a file of that name can be written."""
    if path.suffix not in WRITERS:
        raise JobFailed(f"{path}: the name must end in {', '.join(WRITERS)}")


def _write_csv(pieces: Iterable[CatalogueStars], path: Path) -> int:
    count = 0
    with whole_file(path) as stream:
        stream.write(f"{','.join(CatalogueStars._fields)}\n".encode())
        for stars in pieces:
            np.savetxt(stream, np.array(stars).T, CSV_FORMATS, ",")
            count += len(stars.ra)
    return count


def _write_sqlite(pieces: Iterable[CatalogueStars], path: Path) -> int:
    """Write a table for each degree of declination, at the epoch of Gaia DR2."""
    count = 0
    names = sqlite_catalogue.COLUMNS | {"epoch": sqlite_catalogue.EPOCH}
    columns = ", ".join(f"{name} REAL" for name in names.values())
    insert = f"VALUES ({', '.join('?' * len(names))})"
    with whole_file(path) as stream, closing(sqlite3.connect(stream.name)) as connection:
        # Half a file is never kept, so it needs no journal.
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        for stars in (piece.at(GAIA_DR2) for piece in pieces):
            degrees = np.floor(np.minimum(stars.dec, 89.999)).astype(int)
            for degree in np.unique(degrees).tolist():
                name = f'"{degree}_{degree + 1}"'
                here = stars.taken(degrees == degree)
                # SQLite keeps NaN as NULL.
                rows = np.column_stack([getattr(here, key) for key in names])
                connection.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")
                connection.executemany(f"INSERT INTO {name} {insert}", rows.tolist())
            count += len(stars.ra)
        connection.commit()
    return count


WRITERS = {".csv": _write_csv, ".sqlite": _write_sqlite}


def foreign_stars(path: Path) -> Iterator[CatalogueStars]:
    """Yield the stars of a table of another kind; raise `JobFailed` if it has none."""
    with failing_job("catalogue", path):
        check_file(path)
        count = 0
        try:
            for table in _tables(path):
                names = source_names(table.colnames)
                columns = {ours: _floats(table, name) for ours, name in names.items()}
                count += len(table)
                yield stars_of(columns, _epoch(table.meta)).usable(EVERYWHERE)
        except (Damaged, MemoryError):
            raise
        except ImportError as error:
            raise Damaged("it needs pyarrow: pip install -r requirements-solving.txt") from error
        except Exception as error:
            raise Damaged(f"its reader finds no whole table in it; {COLUMNS}") from error
        if not count:
            raise Damaged(NO_STARS)


def _tables(path: Path) -> "Iterator[Table]":
    """Yield a Parquet file as tables of some rows each, what else astropy reads as one."""
    from astropy.table import Table

    if path.suffix.lower() != ".parquet":
        yield Table.read(path)
        return
    from pyarrow import parquet

    # Read ahead, or by several threads, a row group would be in memory many times.
    with parquet.ParquetFile(path, pre_buffer=False) as file:
        names = list(source_names(file.schema_arrow.names).values())
        for batch in file.iter_batches(PIECE, columns=names, use_threads=False):
            yield Table({name: batch[name].to_numpy(zero_copy_only=False) for name in names})


def _floats(table: "Table", name: str) -> np.ndarray:
    """Return a column as floats, NaN where there is no value."""
    column: Any = np.ma.asarray(table[name])
    if column.ndim != 1 or column.dtype.kind not in "biuf":
        raise Damaged(f"its column {name} is not one number a row")
    return np.ma.filled(column.astype(float), np.nan)


def _epoch(header: dict[str, Any]) -> float:
    """Return the epoch that a table's header states, such as 2016.0 or J2016.0."""
    keyword = "EPOCH" if "EPOCH" in header else "REFEPOCH"
    value = header.get(keyword, GAIA_DR3)
    try:
        return float(str(value).lstrip("J"))
    except ValueError:
        raise Damaged(f"{keyword} is {value!r}, not a year such as 2016.0") from None


def make_index(
    stars: CatalogueStars, folder: Path, scales: list[int] = SCALES, epoch: float = GAIA_DR2
) -> list[Path]:
    """Make an index file for each scale that has stars enough, and return their paths.

    Magnitudes, proper motions and epoch go along with each star, so that the folder is a catalogue
    too. Raises `JobFailed` if Debian's astrometry.net is missing, or fails.

    Parameters
    ----------
    scales : list of int
        As in the names of index files: 0 for quads of 2 to 2.8 arcmin, each further one by the
        root of 2 larger.
    epoch : float
        Julian year of the places that the engine matches: it knows no proper motions. The default
        is that of the 5200 series.
    """
    from astropy.table import Table

    if not shutil.which(BUILDER):
        raise JobFailed(f"{BUILDER} is missing: apt-get install astrometry.net")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        table = Path(temporary) / "stars.fits"
        # Stars without J have NaN there, which goes along unchanged.
        Table(stars.at(epoch)._asdict()).write(table)
        made = [path for scale in scales if (path := _index_file(table, folder, scale))]
    if not made:
        raise JobFailed(f"{folder}: too few stars for index files of scales {scales}")
    return made


def _index_file(table: Path, folder: Path, scale: int) -> Path | None:
    """Make the index file of a scale; none if the stars are too few for its quads."""
    target = folder / f"index-{scale:02d}.fits"
    part = table.with_name(target.name)
    # -E looks where stars are: without it a small piece of sky is taken for a whole one.
    options = f"-A ra -D dec -S mag -E -M -P {scale} -I {scale}".split()
    words = [BUILDER, "-i", str(table), "-o", str(part), "-t", str(table.parent), *options]
    done = subprocess.run(words, capture_output=True, text=True, errors="replace")
    printed = done.stdout + done.stderr
    if NO_QUADS in printed:
        return None
    if done.returncode or not part.exists():
        raise JobFailed(f"{BUILDER} failed for scale {scale}: {printed[-500:].strip()}")
    with whole_file(target) as stream, open(part, "rb") as content:
        shutil.copyfileobj(content, stream)
    part.unlink()
    return target


def density(text: str) -> float:
    """Return a number of stars a square degree, as it is written on the command line."""
    value = float(text)
    if not 0 < value < math.inf:
        raise ValueError
    return value


def circle_of(options: argparse.Namespace) -> Circle:
    """Return the circle of the command line, or one around the whole sky."""
    circle = (options.ra, options.dec, options.radius)
    if all(value is None for value in circle):
        return EVERYWHERE
    if any(value is None for value in circle):
        raise JobFailed("--ra, --dec and --radius go together")
    if not (-90 <= options.dec <= 90 and 0 < options.radius <= 180):
        raise JobFailed("--dec must lie within -90 and 90, --radius within 0 and 180")
    return Circle(options.ra % 360, options.dec, options.radius)


def convert(options: argparse.Namespace) -> None:
    """Write the stars of a table of another kind."""
    check_name(options.to)
    print(f"{options.to}: {write_stars(foreign_stars(Path(options.source)), options.to)} stars")


def cut(options: argparse.Namespace) -> None:
    """Write the stars of a circle, or all."""
    check_name(options.to)
    catalogue = open_catalogue(options.source, options.band)
    pieces = catalogue.pieces(circle_of(options))
    if options.density is not None:
        pieces = iter([brightest(pieces, options.density, options.band)])
    print(f"{options.to}: {write_stars(pieces, options.to)} stars")


def brightest(pieces: Iterable[CatalogueStars], density: float, band: str) -> CatalogueStars:
    """Return the brightest stars of each part of the sky: see `CatalogueStars.brightest`.

    Little more than these are in memory.
    """
    chosen = joined([])
    more: list[CatalogueStars] = []
    for piece in pieces:
        more.append(piece)
        if sum(len(one.ra) for one in more) > 5 * PIECE:
            chosen, more = joined([chosen, *more]).brightest(density, band), []
    return joined([chosen, *more]).brightest(density, band)


def index(options: argparse.Namespace) -> None:
    """Make index files of the stars of a circle, or of all."""
    stars = open_catalogue(options.source, options.band).stars(circle_of(options))
    for path in make_index(stars, options.to, options.scales, options.epoch):
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="speculoos-archive catalogue",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="convert | cut | index", required=True)
    written = "as .csv, or as .sqlite in the site's layout, at epoch 2015.5"
    texts = {
        convert: f"write a table of another kind (.parquet, .fits, what astropy reads) {written}",
        cut: f"write the stars of a circle, or all, {written}",
        index: "make index files of the stars of a circle, or of all (needs Debian's "
        "astrometry.net, and all these stars in memory)",
    }
    for run, text in texts.items():
        command = commands.add_parser(run.__name__, help=text, description=text)
        command.set_defaults(run=run)
        add = command.add_argument
        kinds = "the table" if run is convert else ".sqlite, .csv or a folder of index files"
        add("--from", dest="source", required=True, metavar="CATALOGUE", help=kinds)
        add("--to", required=True, type=Path, help="file, or folder of the index")
        if run is convert:
            continue
        add("--ra", type=float, metavar="DEG", help="of the circle's centre")
        add("--dec", type=float, metavar="DEG", help="of the circle's centre")
        add("--radius", type=float, metavar="DEG")
        add("--band", choices=BANDS, default="g", help="ranks the stars; default: g")
        if run is cut:
            limit = "only the brightest stars of each part of the sky: so many a square degree"
            add("--density", type=density, metavar="N", help=limit)
            continue
        scales = "0: quads of 2 to 2.8 arcmin, each next one 1.4 times larger; default: 0 1 2 3 4"
        add("--scales", type=int, nargs="+", default=SCALES, choices=range(20), help=scales)
        epoch = "of the places that the engine matches, Julian year; default: %(default)s"
        add("--epoch", type=float, default=GAIA_DR2, help=epoch)
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> None:
    """Do what the command line says."""
    options = parse(words)
    try:
        options.run(options)
    except JobFailed as error:
        raise SystemExit(str(error)) from error
    except OSError as error:
        raise SystemExit(f"{options.to}: {error.strerror or 'cannot be written'}") from error


if __name__ == "__main__":
    main()
