"""What the rule `header` leaves of a group of sequences, in a folder.

``{sequence}.fits`` holds the finished headers of a sequence: a FITS file without data, an HDU for
each frame. ``held_back.csv`` says which frames are held back only now, unsolved or refused by the
gate: the job may run on another machine, where the ledger is not written, so the job that delivers
writes them into the ledger. ``left_out.csv`` says what of the raw frames' headers is in no product.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from scripts.lib.files.errors import JobFailed
from scripts.lib.files.tables import read_table, write_table
from scripts.lib.fits.cards import Header, card, parse_comment, quoted
from scripts.lib.fits.hdu import STRUCTURE, iter_hdus
from scripts.lib.frames.names import stem
from scripts.lib.ledger.faults import Fault, Reason
from scripts.lib.ledger.records import Frame
from scripts.lib.ledger.snapshot import sequences
from scripts.lib.nights.times import iso

HELD_BACK, LEFT_OUT = "held_back.csv", "left_out.csv"


def read_headers(path: Path) -> dict[str, Header]:
    """Return the headers of frames by ESO's name without its ending, in time order.

    None if all frames of the sequence were held back: then there is no file.
    """
    if not path.exists():
        return {}
    with open(path, "rb") as stream:
        return {
            str(hdu.header.value("EXTNAME")): hdu.header
            for hdu in iter_hdus(stream)
            if hdu.header.value("XTENSION") == "IMAGE"  # neither the primary one nor METADATA
        }


def product_cards(header: Header) -> list[bytes]:
    """Return a finished header's cards without structure, DATE (FITS 4.4.2.1) set to now (UTC)."""
    now = quoted(iso(datetime.now(UTC)))
    return [
        card("DATE", now, parse_comment(image)) if keyword == "DATE" else image
        for keyword, image in header
        if keyword not in STRUCTURE
    ]


def with_headers(frames: Iterable[Frame], sequence: str, headers: dict[str, Header]) -> list[Frame]:
    """Return the frames of a sequence that have a finished header, in time order."""
    members = sequences(frames).get(sequence)
    if not members:
        raise JobFailed(f"no frame of sequence {sequence}; see the column sequence of frames.csv")
    return [frame for frame in members if stem(frame.eso_name) in headers]


def write_held(folder: Path, faults: Mapping[str, Fault]) -> None:
    """Write why frames are held back, by file name."""
    rows = [
        {"file": file, "reason": f.reason.name, "subject": f.subject, "detail": f.detail}
        for file, f in faults.items()
    ]
    write_table(folder / HELD_BACK, ["file", "reason", "subject", "detail"], rows)


def read_held(folder: Path) -> dict[str, Fault]:
    """Return why frames are held back, by file name."""
    return {
        row["file"]: Fault(Reason[row["reason"]], row["detail"], row["subject"])
        for row in read_table(folder / HELD_BACK)
    }


def write_left_out(folder: Path, left_out: Mapping[str, list[str]]) -> None:
    """Write what of raw headers is left out, by file name: texts ``KEYWORD: why``."""
    rows = [{"file": file, "what": what} for file, texts in left_out.items() for what in texts]
    write_table(folder / LEFT_OUT, ["file", "what"], rows)


def read_left_out(folder: Path) -> dict[str, list[str]]:
    """Return what of raw headers is left out, by file name."""
    found: dict[str, list[str]] = {}
    for row in read_table(folder / LEFT_OUT):
        found.setdefault(row["file"], []).append(row["what"])
    return found
