"""A small simulated night and the workflow's command line, for tests."""

import csv
import math
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from astropy.io import fits

from scripts.lib.settings.telescopes import telescopes
from scripts.lib.solving.star_catalogue import open_catalogue
from scripts.lib.solving.stars import EVERYWHERE, CatalogueStars
from scripts.simulator.night import simulate

REPOSITORY = Path(__file__).parent.parent
PARANAL = telescopes()["Io"].site.longitude
SNAKEMAKE = Path(sys.executable).with_name("snakemake")
NIGHT = "20260305"
# Megabytes of pixels that share a job; 0 in tests that strike the jobs of single products.
BATCH = 150
# `make test-full` judges nights of real size with the same tests.
FULL = os.environ.get("FULL_SIZE") == "1"
SIZE = None if FULL else (64, 80)
# Columns of the observatory's star database, and our names for them.
SITE_COLUMNS = {"ra": "ra", "dec": "dec", "pmra": "pmra", "pmdec": "pmdec"}
SITE_COLUMNS |= {"phot_g_mean_mag": "mag", "j_m": "j"}


class Night:
    """A telescope with a source, a working directory and an archive directory below ``root``."""

    def __init__(
        self, root: Path, telescope: str, repository: Path = REPOSITORY, size: tuple | None = SIZE
    ):
        self.root, self.telescope, self.repository = root, telescope, repository
        self.size = size
        self.source, self.archive = root / "source", root / "archive"
        self.workdir = root / "work"
        self.folder = self.workdir / NIGHT
        self.archive.mkdir(parents=True)
        self.source.mkdir()
        config = yaml.safe_load((REPOSITORY / f"config/{telescope.lower()}.yaml").read_text())
        if size:
            config["camera"] |= {"naxis1": size[0], "naxis2": size[1]}
        config |= {"source": str(self.source), "workdir": str(self.workdir)}
        config |= {"archive": str(self.archive), "nights": NIGHT, "settle": 0.2, "max_held": 1}
        config["batch"] = BATCH
        self.config = root / "config.yaml"
        self.config.write_text(yaml.safe_dump(config))

    def simulate(
        self, frames: int = 14, night: str = NIGHT, every_kind: bool = False, **options
    ) -> list[dict]:
        """Write raw frames to the source and return their truth.

        Every sequence costs jobs: unless ``every_kind`` is asked for, there are biases, darks and
        two targets.
        """
        every_kind |= "flats" in options or options.get("faults", False)
        truth = simulate(self.telescope, night, self.source, frames, self.size, **options)
        spare = [row for row in truth if not every_kind and is_spare(row)]
        for row in spare:
            (self.source / night / str(row["file"])).unlink()
        return [row for row in truth if row not in spare]

    def settings(self) -> dict:
        """Return the telescope's configuration."""
        return yaml.safe_load(self.config.read_text())

    def command(self, *options: str, **config) -> list[str]:
        settings = [f"{key}={value}" for key, value in config.items()]
        return [
            str(SNAKEMAKE),
            *options,
            *("--profile", "profiles/demo", "--configfile", str(self.config)),
            *(["--config", *settings] if settings else []),
        ]

    def run(self, *options: str, status: int = 0, **config) -> str:
        """Run the workflow and return what it printed; fail unless it ends with ``status``."""
        done = subprocess.run(
            self.command(*options, **config),
            cwd=self.repository,
            capture_output=True,
            text=True,
        )
        output = done.stdout + done.stderr
        assert done.returncode == status, output[-6000:]
        return output

    def stars(self) -> str:
        """Return the catalogue of the simulated night's stars."""
        return str(self.source / f"{NIGHT}.stars.csv")

    def site_stars(self, name: str, epoch: float, missing: float = 0.04) -> str:
        """Write the same stars as a database of the site, and return its path.

        In each column a share of the values is ``missing``.
        """
        stars = open_catalogue(self.stars()).stars(EVERYWHERE).at(epoch)
        rng = np.random.default_rng(3)
        holes = [np.where(rng.random(len(column)) < missing, np.nan, column) for column in stars]
        return str(site_database(self.root / name, CatalogueStars(*holes)))

    def frames(self) -> list[dict]:
        return read_csv(self.folder / "frames.csv")

    def receipts(self) -> list[dict]:
        return [row for path in self.folder.glob("archived/*.csv") for row in read_csv(path)]

    def products(self) -> list[Path]:
        return sorted(self.archive.iterdir())

    def inodes(self) -> dict[str, tuple[int, int]]:
        """Return what changes if a product is written again: inode and time."""
        return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in self.products()}

    def delivered(self) -> dict[str, list[str]]:
        """Return, for each digest of pixels in the archive directory, the products that hold it."""
        found: dict[str, list[str]] = {}
        for path in self.products():
            for digest in plane_digests(path):
                found.setdefault(digest, []).append(path.name)
        return found

    def assert_delivered_once(self, truth: list[dict]) -> None:
        """Fail unless every good frame's pixels are in the archive directory exactly once."""
        good = [row for row in truth if not row["fault"]]
        found = self.delivered()
        assert sorted(found) == sorted(row["pixels_sha256"] for row in good)
        assert {len(products) for products in found.values()} == {1}

    def page(self) -> Path:
        return self.folder / "night.html"

    def transfer_log(self) -> str:
        return (self.workdir / "transfer_log.txt").read_text()

    def empty_archive(self) -> list[Path]:
        """Collect all products, as ESO does, and return where they are now."""
        collected = self.root / "collected"
        collected.mkdir(exist_ok=True)
        seen = [path for path in self.products() if not path.name.startswith(".")]
        return [Path(shutil.move(path, collected / path.name)) for path in seen]


def site_database(path: Path, stars: CatalogueStars, further: str = "", kind: str = "REAL") -> Path:
    """Write stars as the observatory's database has them: values that are missing are ''.

    ``further`` are columns beside its six, which are of a ``kind``.
    """
    columns = SITE_COLUMNS | ({"ref_epoch": "epoch"} if "ref_epoch" in further else {})
    values = np.transpose([getattr(stars, ours) for ours in columns.values()])
    rows: list[list[Any]] = [["" if v != v else v for v in row] for row in values.tolist()]
    with closing(sqlite3.connect(path)) as connection:
        for degree in range(-90, 90):
            table = f"{degree}_{degree + 1}"
            declared = ", ".join(f"{name} {kind}" for name in SITE_COLUMNS)
            connection.execute(f'CREATE TABLE "{table}" ({declared}{further})')
            # A star without a declination may stand in any table.
            own = [row for row in rows if row[1] == "" or math.floor(row[1]) == degree]
            marks = ", ".join("?" * len(columns))
            connection.executemany(
                f'INSERT INTO "{table}" ({", ".join(columns)}) VALUES ({marks})', own
            )
        connection.commit()
    return path


def is_spare(row: dict) -> bool:
    """Return whether a frame's sequence shows nothing that another one does not."""
    if row["kind"] in ("dark", "flat"):
        return (row["kind"], row["exptime"]) != ("dark", 10)
    return row["object"].startswith("C/")


def read_csv(path: Path) -> list[dict]:
    with open(path, newline="", errors="surrogateescape") as stream:
        return list(csv.DictReader(stream))


def plane_digests(path: Path) -> list[str]:
    """Return the SHA-256 of each plane's bytes as stored, read with astropy."""
    import hashlib

    with fits.open(path, do_not_scale_image_data=True) as hdus:
        data = hdus[0].data
        planes = data if data.ndim == 3 else [data]
        return [hashlib.sha256(plane.astype(">i2").tobytes()).hexdigest() for plane in planes]
