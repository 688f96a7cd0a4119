"""The ledger of a night: ESO's name of every product that was delivered, for ever.

ESO names a product after INSTRUME and MJD-OBS, to the millisecond: no two may share it.
The ledger lies outside the night's folder, so that a night that was removed to be made again is not
delivered twice by accident.
"""

import fcntl
import os
from pathlib import Path
from typing import NamedTuple

from scripts.lib.files.durable import sync_folder
from scripts.lib.fits.cards import HeaderError
from scripts.lib.gate.subject import Subject
from scripts.lib.nights.times import iso, moment_of_mjd


class Clash(RuntimeError):
    """A product that ESO has, or another of its name; the message says which and what to do."""


class Line(NamedTuple):
    """One delivery."""

    dp_id: str
    product: str
    bytes: str
    datasum: str
    checksum: str
    delivered: str


def ledger_path(workdir: Path, night: str) -> Path:
    """Return where a night's ledger lies."""
    return workdir / "ledger" / f"{night}.csv"


def dp_id(subject: Subject) -> str:
    """Return the name that ESO's archive gives a product.

    Raises
    ------
    HeaderError
        If it is of none of our telescopes.
    """
    if subject.telescope is None:
        raise HeaderError(f"TELESCOP {subject.value('TELESCOP')!r} is none of ours")
    return f"SPECU{subject.telescope.number}.{iso(moment_of_mjd(subject.value('MJD-OBS')))}"


def read_ledger(path: Path) -> dict[str, Line]:
    """Return the last delivery under each name; a line that a power cut tore does not count."""
    if not path.exists():
        return {}
    # No field holds a comma, and a stray quote must not swallow the lines behind it.
    text = path.read_text(encoding="ascii", errors="replace")
    rows = [line.split(",") for line in text.splitlines()]
    return {row[0]: Line(*row) for row in rows if len(row) == len(Line._fields)}


def check_free(ledger: dict[str, Line], line: Line) -> Line | None:
    """Return the earlier delivery of the same product; None if there was none.

    Raises
    ------
    Clash
        If another product was delivered under its name.
    """
    earlier = ledger.get(line.dp_id)
    if earlier and (earlier.product, earlier.datasum) != (line.product, line.datasum):
        raise Clash(
            f"refused by check T24: ESO would name {line.product} {line.dp_id}, as "
            f"{earlier.product}, which was delivered on {earlier.delivered}. Find out which is "
            "right; redeliver=true delivers it"
        )
    return earlier


def enter(path: Path, line: Line) -> None:
    """Append a delivery; it is on disk when this returns."""
    new = not path.exists()
    path.parent.mkdir(exist_ok=True)
    with open(path, "ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        # What a power cut left of the line before must not spoil this one.
        torn = stream.tell() and not _ends_line(path)
        stream.write((b"\n" if torn else b"") + ",".join(line).encode() + b"\n")
        stream.flush()
        os.fsync(stream.fileno())
    if new:
        sync_folder(path.parent)
        sync_folder(path.parent.parent)


def _ends_line(path: Path) -> bool:
    with open(path, "rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"
