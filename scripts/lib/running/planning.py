"""What is to be done: nights to look at, changes at the source, products still to be delivered.

These functions are asked while the workflow is planned. They never raise for one night, whose
source cannot be read or whose tables are damaged: a job that fails says more, and costs the other
nights nothing.
"""

from datetime import date, datetime
from pathlib import Path

from scripts.lib.delivery.receipts import delivered_rows, read_receipts
from scripts.lib.files.tables import read_table, table_digest
from scripts.lib.frames.names import stem
from scripts.lib.frames.programmes import assignments, programme_delivered
from scripts.lib.nights import ingested
from scripts.lib.nights.dates import parse_nights, recent_nights
from scripts.lib.nights.night_frames import sequences
from scripts.lib.sources.opening import open_source
from scripts.lib.sources.source import SourceError, Unreachable, digest

# What a table raises that cannot be read, is cut off, or holds what it should not.
UNREADABLE = (OSError, ValueError, KeyError)


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
    delivered. A source that cannot be reached has nothing; the last night's ingest tells of it. Of
    a night whose folder alone cannot be read, its own ingest must tell.
    """
    try:
        listing = open_source(config["source"], config["source_mounted"]).list(night)
    except Unreachable:
        return True
    except SourceError:
        return False
    if not listing:
        return True
    folder = Path(config["workdir"]) / night
    page, frames = folder / "night.html", folder / "frames.csv"
    if not (page.exists() and frames.exists()):
        return False
    try:
        known = ingested.recorded(folder / "ingested.csv")
        wanted = receipts_of(frames, folder / "archived", config["products"] == "cubes")
        read_receipts(folder / "archived")
    except UNREADABLE:
        return False
    # A table that was made again as it was needs no other page, and gets none.
    late = page.stat().st_mtime_ns < frames.stat().st_mtime_ns
    reported = not late or table_digest(frames) in page.read_text(errors="replace")
    arrived = digest(known | listing) == digest(known)
    return reported and arrived and all(receipt.exists() for receipt in wanted)


def damage(folder: Path) -> str:
    """Return what is wrong with the tables of a night, the first of them; nothing if all is well.

    Parameters
    ----------
    folder : Path
        ``<workdir>/{night}``.
    """
    frames = folder / "frames.csv"
    try:
        ingested.recorded(folder / "ingested.csv")
        sequences(read_table(frames) if frames.exists() else [])
        read_receipts(folder / "archived")
    except UNREADABLE as error:
        return f"{type(error).__name__}: {error}"
    return ""


def programme_of_night(folder: Path, entries: list[dict], own: str) -> str:
    """Return the programme id of a night's frames that no entry of ``programmes`` assigns.

    Parameters
    ----------
    folder : Path
        ``<workdir>/{night}``. What was delivered keeps its id, and late frames get the same.
    entries : list of dict
        Those of ``programmes`` that concern the night.
    own : str
        The id if nothing was delivered.
    """
    try:
        receipts = delivered_rows(read_receipts(folder / "archived"))
        return programme_delivered(receipts, assignments(entries)) or own
    except UNREADABLE:
        return own


def listing_digest(
    source: str, folder: Path, night: str, today: date, mounted: bool = False
) -> str:
    """Return a text that changes when a night at the source has new or changed frames.

    Frames that were removed there after they were ingested change nothing. Frames that could not
    be copied are tried again once a day.
    """
    try:
        listing = open_source(source, mounted).list(night)
        known = ingested.recorded(folder / "ingested.csv")
    except UNREADABLE as error:
        return f"unreadable: {error}"
    failed = [name for name in listing if known.get(name) == ingested.NO_STATE]
    again = f", {len(failed)} to be tried again on {today}" if failed else ""
    return digest(known | listing) + again


def undelivered(frames: Path, archived: Path, cubes: bool, redeliver: bool) -> list[Path]:
    """Return the receipts that a night still lacks; all of them if it is to be delivered again.

    None if its table is damaged.

    Parameters
    ----------
    frames : Path
        The night's ``frames.csv``.
    archived : Path
        Folder of its receipts.
    cubes : bool
        Whether receipts are named for cubes, or for sequences.
    """
    try:
        receipts = receipts_of(frames, archived, cubes)
    except UNREADABLE:
        return []
    return [receipt for receipt in receipts if redeliver or not receipt.exists()]


def receipts_of(frames: Path, archived: Path, cubes: bool) -> list[Path]:
    """Return the receipts of all that is to be delivered of a night; see `undelivered`."""
    return [
        archived / f"{stem(members[0]['product']) if cubes else name}.csv"
        for name, members in sequences(read_table(frames)).items()
    ]


def science_sequences(frames: Path) -> list[str]:
    """Return the names of a night's science sequences; none if its table is damaged."""
    try:
        every = sequences(read_table(frames))
    except UNREADABLE:
        return []
    return [name for name, members in every.items() if members[0]["kind"] == "science"]
