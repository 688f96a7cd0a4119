"""What is to be done: nights to look at, changes at the source, products still to be delivered.

These functions are asked while the workflow is planned. They never raise for one night: a job
that fails says more, and costs the other nights nothing.
"""

from datetime import date, datetime
from pathlib import Path

from scripts.lib import ingested
from scripts.lib.names import stem
from scripts.lib.night_frames import sequences
from scripts.lib.nights import parse_nights, recent_nights
from scripts.lib.sources.opening import open_source
from scripts.lib.sources.source import SourceError, digest
from scripts.lib.tables import read_table


def wanted_nights(config: dict, now: datetime) -> list[str]:
    """Return the nights to bring up to date.

    Those that the configuration names; otherwise the last night, and those of the nights before
    it, as far as ``lookback`` goes, that the source holds and that are not complete.

    Raises
    ------
    NightError
        If the configuration names something that is no night.
    """
    if named := parse_nights(config["nights"]):
        return named
    *before, last = recent_nights(now, config["lookback"])
    return [*(night for night in before if not is_complete(config, night)), last]


def is_complete(config: dict, night: str) -> bool:
    """Tell whether nothing is to be done for a night: all reported, or the source has none of it.

    A page alone proves nothing: it may be from before frames came late that could not be
    delivered. A source that cannot be reached has nothing; the last night's ingest tells of it.
    """
    try:
        listing = open_source(config["source"], config["source_mounted"]).list(night)
    except SourceError:
        return True
    folder = Path(config["workdir"]) / night
    page, frames = folder / "night.html", folder / "frames.csv"
    known = ingested.recorded(folder / "ingested.csv")
    if not listing:
        return True
    if digest(known | listing) != digest(known) or not (page.exists() and frames.exists()):
        return False
    cubes = config["products"] == "cubes"
    reported = page.stat().st_mtime_ns >= frames.stat().st_mtime_ns
    return reported and not undelivered(frames, folder / "archived", cubes, redeliver=False)


def listing_digest(
    source: str, folder: Path, night: str, today: date, mounted: bool = False
) -> str:
    """Return a text that changes when a night at the source has new or changed frames.

    Frames that were removed there after they were ingested change nothing. Frames that could not
    be copied are tried again once a day.
    """
    try:
        listing = open_source(source, mounted).list(night)
    except SourceError as error:
        return f"unreadable: {error}"
    known = ingested.recorded(folder / "ingested.csv")
    failed = [name for name in listing if known.get(name) == ingested.NO_STATE]
    again = f", {len(failed)} to be tried again on {today}" if failed else ""
    return digest(known | listing) + again


def undelivered(frames: Path, archived: Path, cubes: bool, redeliver: bool) -> list[Path]:
    """Return the receipts that a night still lacks; all of them if it is to be delivered again.

    Parameters
    ----------
    frames : Path
        The night's ``frames.csv``.
    archived : Path
        Folder of its receipts.
    cubes : bool
        Whether receipts are named for cubes, or for sequences.
    """
    receipts = [
        archived / f"{stem(members[0]['product']) if cubes else name}.csv"
        for name, members in sequences(read_table(frames)).items()
    ]
    return [receipt for receipt in receipts if redeliver or not receipt.exists()]


def science_sequences(frames: Path) -> list[str]:
    """Return the names of a night's science sequences."""
    every = sequences(read_table(frames))
    return [name for name, members in every.items() if members[0]["kind"] == "science"]
