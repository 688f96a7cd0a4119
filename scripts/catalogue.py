"""Cut star catalogues, and make index files for the astrometry.net engine from them."""

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from scripts.lib.catalogue import GAIA_DR2, MAS, CatalogueError, Rows, open_catalogue
from scripts.lib.durable import part_name, sync_folder, whole_file

BUILDER = "build-astrometry-index"
SCALES = [0, 1, 2, 3, 4]  # quads of 2 to 11 arcmin: what fits into the frames of both cameras
NO_QUADS = "Did not create any quads"
COLUMNS = ("ra", "dec", "mag", "pmra", "pmdec")
UNITS = ("deg", "deg", "mag", "mas/yr", "mas/yr")


def write_rows(rows: Rows, path: Path) -> None:
    """Write stars as a table (.fits, .csv) or in the site's layout (.sqlite).

    Raises
    ------
    CatalogueError
        If the name ends in none of these.
    """
    writers = {".fits": _write_fits, ".csv": _write_csv, ".sqlite": _write_sqlite}
    if path.suffix not in writers:
        raise CatalogueError(f"{path}: the name must end in {', '.join(writers)}")
    writers[path.suffix](rows, path)


def _write_fits(rows: Rows, path: Path) -> None:
    from astropy.table import Table

    table = Table(dict(zip((*COLUMNS, "epoch"), rows, strict=True)), units=(*UNITS, "yr"))
    with whole_file(path) as stream:
        table.write(stream, format="fits")


def _write_csv(rows: Rows, path: Path) -> None:
    header = ",".join((*COLUMNS, "epoch"))
    formats = ("%.9f", "%.9f", "%.9f", "%.3f", "%.3f", "%.3f")
    with whole_file(path) as stream:
        np.savetxt(stream, np.array(rows).T, formats, ",", header=header, comments="")


def _write_sqlite(rows: Rows, path: Path) -> None:
    """Write a table for each degree of declination, at the epoch of Gaia DR2."""
    import sqlite3

    rows = at_epoch(rows, GAIA_DR2)
    strips = np.floor(np.minimum(rows.dec, 89.999)).astype(int)
    part = part_name(path)
    part.unlink(missing_ok=True)
    connection = sqlite3.connect(part)
    for degree in np.unique(strips):
        name = f'"{degree}_{degree + 1}"'
        columns = "ra REAL, dec REAL, pmra REAL, pmdec REAL, phot_g_mean_mag REAL, j_m REAL"
        connection.execute(f"CREATE TABLE {name} ({columns})")
        here = strips == degree
        values = (rows.ra, rows.dec, rows.pmra, rows.pmdec, rows.mag, rows.mag)
        stars = zip(*(column[here].tolist() for column in values), strict=True)
        connection.executemany(f"INSERT INTO {name} VALUES (?, ?, ?, ?, ?, ?)", stars)
    connection.commit()
    connection.close()
    part.replace(path)
    sync_folder(path.parent)


def at_epoch(rows: Rows, epoch: float) -> Rows:
    """Return stars moved to an epoch (Julian year) by their proper motions."""
    years = (epoch - rows.epoch) / MAS
    return rows._replace(
        ra=(rows.ra + rows.pmra * years / np.cos(np.radians(rows.dec))) % 360,
        dec=rows.dec + rows.pmdec * years,
        epoch=np.full(len(rows.ra), epoch),
    )


def make_index(rows: Rows, folder: Path, scales: list[int] = SCALES) -> list[Path]:
    """Make an index file for each scale that has stars enough, and return their paths.

    Parameters
    ----------
    rows : Rows
        Stars. Index files know no proper motions when they match, so they hold the places of
        2015.5, the epoch of the 5200 series.
    scales : list of int
        As in the names of index files: 0 for quads of 2 to 2.8 arcmin, each further one by the
        root of 2 larger.

    Raises
    ------
    CatalogueError
        If Debian's astrometry.net is missing, or fails.
    """
    if not shutil.which(BUILDER):
        raise CatalogueError(f"{BUILDER} is missing: apt-get install astrometry.net")
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    with tempfile.TemporaryDirectory() as temporary:
        table = Path(temporary) / "stars.fits"
        _write_fits(at_epoch(rows, GAIA_DR2), table)
        for scale in scales:
            target = folder / f"index-{scale:02d}.fits"
            part = Path(temporary) / target.name
            # -E looks where stars are: without it a small piece of sky is taken for a whole one.
            words = [BUILDER, "-i", table, "-o", part, "-A", "ra", "-D", "dec", "-S", "mag", "-E"]
            words += ["-M", "-P", str(scale), "-t", temporary]
            done = subprocess.run(words, capture_output=True, text=True)
            if NO_QUADS in done.stdout + done.stderr:
                continue
            if done.returncode or not part.exists():
                raise CatalogueError(f"{BUILDER} failed: {(done.stdout + done.stderr)[-500:]}")
            with whole_file(target) as stream, open(part, "rb") as content:
                shutil.copyfileobj(content, stream)
            made.append(target)
    if not made:
        raise CatalogueError(f"{folder}: too few stars for index files of scales {scales}")
    return made


def read_stars(options: argparse.Namespace) -> Rows:
    """Return the stars that the command line asks for: of a circle, or all."""
    catalogue = open_catalogue(options.source, options.band)
    circle = (options.ra, options.dec, options.radius)
    if all(value is None for value in circle):
        return catalogue.rows(0.0, 90.0, 180.0)
    if any(value is None for value in circle):
        raise CatalogueError("--ra, --dec and --radius go together")
    return catalogue.rows(*circle)


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m scripts.catalogue", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    helps = {
        "cut": "write the stars of a circle, or all, as .fits, .csv or .sqlite",
        "index": "make index files in a folder (needs Debian's astrometry.net)",
    }
    for name, text in helps.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("--from", dest="source", required=True, help="any catalogue")
        command.add_argument("--to", required=True, type=Path)
        command.add_argument("--ra", type=float, help="degrees; with --dec and --radius")
        command.add_argument("--dec", type=float)
        command.add_argument("--radius", type=float)
        command.add_argument("--band", choices=["g", "j"], default="g", help="magnitude kept")
        if name == "index":
            command.add_argument("--scales", type=int, nargs="+", default=SCALES)
    return parser.parse_args(words)


def main() -> None:
    """Run from the command line."""
    options = parse()
    try:
        rows = read_stars(options)
        if options.command == "cut":
            write_rows(rows, options.to)
            print(f"{options.to}: {len(rows.ra)} stars")
        else:
            for path in make_index(rows, options.to, options.scales):
                print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    except CatalogueError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
