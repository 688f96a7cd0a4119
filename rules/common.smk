"""What rules ask at planning time: nights, listings, products that are still to be delivered.

A rule's params hold what its product is made of: a change makes it anew. How a job goes about it
(source, streams, archive …) its script takes from the configuration.

Planning never raises for one night: what is wrong with a night is its job's to say.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

from scripts.lib import planning
from scripts.lib.corrections import correction_file
from scripts.lib.failures import failures
from scripts.lib.lock import Lock

# Nothing here does linear algebra, and numpy's threads for it double the start-up of every job.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

RUN = Lock(Path("run.lock"))
NOW = datetime.now(UTC)
NIGHTS = planning.wanted_nights(config, NOW)
# The tables are compared by content, so a fresh checkout makes nothing anew.
TABLES = {
    name: f"{workflow.basedir}/config/{name}.csv" for name in ("telescopes", "kinds", "keywords")
}
TEMPLATE = f"{workflow.basedir}/templates/night.html"
CUBES = config["products"] == "cubes"
CORRECTIONS = config["corrections"] or f"{workflow.basedir}/config/corrections"

# What frames are judged by and written with: a change makes a night's headers anew.
OBSERVATORY = {
    key: config[key] for key in ("telescope", "camera", "programme", "origin", "pi_coi")
} | {"corrections": CORRECTIONS}

# What frames are solved with: a change solves them anew.
SOLVING = {key: config[key] for key in ("catalogue", "index", "solve", "dark")}
SOLVED = config["solve"] != "never" and bool(config["catalogue"] or config["index"])


def wanted_pages(wildcards):
    """Pages of the nights to bring up to date."""
    return [f"{night}/night.html" for night in NIGHTS]


def source_listing(wildcards):
    """A text that changes when frames arrive at the source."""
    night = wildcards.night
    return planning.listing_digest(config["source"], Path(night), night, NOW.date())


def night_corrections(wildcards):
    """The night's correction file, if it has one."""
    path = correction_file(Path(CORRECTIONS), config["telescope"], wildcards.night)
    return [str(path)] if path.exists() else []


def solved_tables(wildcards):
    """Solutions of the night's science sequences, if they are to be solved."""
    frames = Path(checkpoints.inventory.get(**wildcards).output.frames)
    science = planning.science_sequences(frames) if SOLVED else []
    return [f"{wildcards.night}/solved/{sequence}.fits" for sequence in science]


def undelivered(wildcards):
    """Receipts that the night still lacks."""
    frames = Path(checkpoints.inventory.get(**wildcards).output.frames)
    return planning.undelivered(frames, frames.parent / "archived", CUBES, config["redeliver"])


def product(wildcards):
    """The cube, or the folder of frames, that a receipt is for."""
    if CUBES:
        return f"{wildcards.night}/cubes/{wildcards.product}.fits"
    return f"{wildcards.night}/frames/{wildcards.product}"
