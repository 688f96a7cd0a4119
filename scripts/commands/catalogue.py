"""Cut star catalogues, and make index files for the astrometry.net engine from them."""

import argparse
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import numpy as np

from scripts.lib.files.durable import whole_file
from scripts.lib.solving.catalogue import BANDS, open_catalogue
from scripts.lib.solving.errors import CatalogueError
from scripts.lib.solving.rows import GAIA_DR2, Rows

BUILDER = "build-astrometry-index"
SCALES = [0, 1, 2, 3, 4]  # quads of 2 to 11 arcmin: what fits into the frames of both cameras
NO_QUADS = "Did not create any quads"
SKY = (0.0, 90.0, 180.0)  # a circle around everything
UNITS = ("deg", "deg", "mag", "mas/yr", "mas/yr", "yr", "mag")
CSV_FORMATS = ("%.9f", "%.9f", "%.9f", "%.3f", "%.3f", "%.3f", "%.9f")
SITE = {  # columns of the site's catalogue
    "ra": "ra",
    "dec": "dec",
    "pmra": "pmra",
    "pmdec": "pmdec",
    "phot_g_mean_mag": "mag",
    "j_m": "j",
}
EXAMPLES = """
examples:
  python -m scripts.catalogue cut --from gaia.parquet --to io.sqlite --ra 121.3 --dec 4.3 --radius 1
  python -m scripts.catalogue cut --from gaia.csv --to site.sqlite
  python -m scripts.catalogue index --from site.sqlite --to /data/index --scales 2 3 4
"""


def write_rows(rows: Rows, path: Path) -> None:
    """Write stars to a file of any kind that `write_pieces` knows."""
    write_pieces([rows], path)


def write_pieces(pieces: Iterable[Rows], path: Path) -> int:
    """Write stars as a table (.fits, .csv) or in the site's layout (.sqlite).

    Only FITS needs all stars in memory: its header tells their number.

    Returns
    -------
    int
        Number of stars.

    Raises
    ------
    CatalogueError
        If the name ends in none of these.
    """
    check_name(path)
    return WRITERS[path.suffix]((_complete(piece) for piece in pieces), path)


def check_name(path: Path) -> None:
    """Raise `CatalogueError` unless a file of that name can be written."""
    if path.suffix not in WRITERS:
        raise CatalogueError(f"{path}: the name must end in {', '.join(WRITERS)}")


def _complete(rows: Rows) -> Rows:
    return rows if rows.j is not None else rows._replace(j=np.full(len(rows.ra), np.nan))


def _write_fits(pieces: Iterable[Rows], path: Path) -> int:
    from astropy.table import Table

    columns = [np.concatenate(column) for column in zip(*pieces, strict=True)]
    columns = columns or [np.empty(0)] * len(UNITS)
    table = Table(dict(zip(Rows._fields, columns, strict=True)), units=UNITS)
    with whole_file(path) as stream:
        table.write(stream, format="fits")
    return len(table)


def _write_csv(pieces: Iterable[Rows], path: Path) -> int:
    count = 0
    with whole_file(path) as stream:
        stream.write(f"{','.join(Rows._fields)}\n".encode())
        for rows in pieces:
            np.savetxt(stream, np.array(rows).T, CSV_FORMATS, ",")
            count += len(rows.ra)
    return count


def _write_sqlite(pieces: Iterable[Rows], path: Path) -> int:
    """Write a table for each degree of declination, at the epoch of Gaia DR2."""
    import sqlite3

    count = 0
    columns = ", ".join(f"{name} REAL" for name in SITE)
    with whole_file(path) as stream, closing(sqlite3.connect(stream.name)) as connection:
        # Half a file is never kept, so it needs no journal.
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        for rows in (piece.at(GAIA_DR2) for piece in pieces):
            strips = np.floor(np.minimum(rows.dec, 89.999)).astype(int)
            for degree in np.unique(strips).tolist():
                name = f'"{degree}_{degree + 1}"'
                here = rows.taken(strips == degree)
                # SQLite keeps NaN as NULL.
                stars = zip(*(getattr(here, key).tolist() for key in SITE.values()), strict=True)
                connection.execute(f"CREATE TABLE IF NOT EXISTS {name} ({columns})")
                connection.executemany(f"INSERT INTO {name} VALUES (?, ?, ?, ?, ?, ?)", stars)
            count += len(rows.ra)
        connection.commit()
    return count


WRITERS = {".fits": _write_fits, ".csv": _write_csv, ".sqlite": _write_sqlite}


def make_index(
    rows: Rows, folder: Path, scales: list[int] = SCALES, epoch: float = GAIA_DR2
) -> list[Path]:
    """Make an index file for each scale that has stars enough, and return their paths.

    Magnitudes, proper motions and epoch go along with each star, so that the folder is a catalogue
    too.

    Parameters
    ----------
    rows : Rows
        Stars.
    scales : list of int
        As in the names of index files: 0 for quads of 2 to 2.8 arcmin, each further one by the
        root of 2 larger.
    epoch : float
        Julian year of the places that the engine matches: it knows no proper motions. That of the
        5200 series unless told otherwise.

    Raises
    ------
    CatalogueError
        If Debian's astrometry.net is missing, or fails.
    """
    if not shutil.which(BUILDER):
        raise CatalogueError(f"{BUILDER} is missing: apt-get install astrometry.net")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        table = Path(temporary) / "stars.fits"
        # Stars without J have NaN there, which goes along unchanged.
        write_rows(rows.at(epoch), table)
        made = [path for scale in scales if (path := _index_file(table, folder, scale))]
    if not made:
        raise CatalogueError(f"{folder}: too few stars for index files of scales {scales}")
    return made


def _index_file(table: Path, folder: Path, scale: int) -> Path | None:
    """Make the index file of a scale; none if the stars are too few for its quads."""
    target = folder / f"index-{scale:02d}.fits"
    part = table.with_name(target.name)
    # -E looks where stars are: without it a small piece of sky is taken for a whole one.
    words: list[str | Path] = [
        BUILDER,
        "-i",
        table,
        "-o",
        part,
        "-A",
        "ra",
        "-D",
        "dec",
        "-S",
        "mag",
        "-E",
    ]
    words += ["-M", "-P", str(scale), "-I", str(scale), "-t", table.parent]
    done = subprocess.run(words, capture_output=True, text=True, errors="replace")
    printed = done.stdout + done.stderr
    if NO_QUADS in printed:
        return None
    if done.returncode or not part.exists():
        raise CatalogueError(f"{BUILDER} failed for scale {scale}: {printed[-500:].strip()}")
    with whole_file(target) as stream, open(part, "rb") as content:
        shutil.copyfileobj(content, stream)
    part.unlink()
    return target


def circle_of(options: argparse.Namespace) -> tuple[float, float, float]:
    """Return the circle that the command line asks for: ra, dec, radius; or the whole sky."""
    circle = (options.ra, options.dec, options.radius)
    if all(value is None for value in circle):
        return SKY
    if any(value is None for value in circle):
        raise CatalogueError("--ra, --dec and --radius go together")
    if not (-90 <= options.dec <= 90 and 0 < options.radius <= 180):
        raise CatalogueError("--dec must lie within -90 and 90, --radius within 0 and 180")
    return circle


def cut(options: argparse.Namespace) -> None:
    """Write the stars of a circle, or all."""
    check_name(options.to)
    pieces = open_catalogue(options.source).pieces(*circle_of(options))
    print(f"{options.to}: {write_pieces(pieces, options.to)} stars")


def index(options: argparse.Namespace) -> None:
    """Make index files of the stars of a circle, or of all."""
    rows = open_catalogue(options.source, options.band).rows(*circle_of(options))
    for path in make_index(rows, options.to, options.scales, options.epoch):
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.catalogue",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(metavar="cut | index", required=True)
    texts = {
        cut: "write the stars of a circle, or all, at their own epoch, as .fits or .csv, or as "
        ".sqlite in the site's layout, at epoch 2015.5",
        index: "make index files of the stars of a circle, or of all (needs Debian's "
        "astrometry.net, and all these stars in memory)",
    }
    for run, text in texts.items():
        command = commands.add_parser(run.__name__, help=text, description=text)
        command.set_defaults(run=run)
        command.add_argument(
            "--from",
            dest="source",
            required=True,
            metavar="CATALOGUE",
            help=".sqlite, .fits, .csv or .parquet, or a folder of index files",
        )
        command.add_argument("--to", required=True, type=Path, help="file, or folder of the index")
        command.add_argument("--ra", type=float, metavar="DEG", help="of the circle's centre")
        command.add_argument("--dec", type=float, metavar="DEG", help="of the circle's centre")
        command.add_argument("--radius", type=float, metavar="DEG")
    _add_index_options(command)
    return parser.parse_args(words)


def _add_index_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--scales",
        type=int,
        nargs="+",
        default=SCALES,
        choices=range(20),
        metavar="N",
        help="0: quads of 2 to 2.8 arcmin, each next one 1.4 times larger; default: 0 1 2 3 4",
    )
    command.add_argument(
        "--band", choices=BANDS, default="g", help="whose brightest stars come first; default: g"
    )
    command.add_argument(
        "--epoch",
        type=float,
        default=GAIA_DR2,
        metavar="YEAR",
        help="of the places that the engine matches; default: %(default)s",
    )


def main() -> None:
    """Run from the command line."""
    options = parse()
    try:
        options.run(options)
    except CatalogueError as error:
        raise SystemExit(str(error)) from error
    except OSError as error:
        raise SystemExit(f"{options.to}: {error.strerror or 'cannot be written'}") from error


if __name__ == "__main__":
    main()
