"""The finished headers of a sequence: a FITS file without data, an HDU for each frame."""

from collections.abc import Iterable
from pathlib import Path

from scripts.lib.fits.cards import Header, padded, read_header
from scripts.lib.fits.sizes import data_size
from scripts.lib.frames.names import stem
from scripts.lib.ledger.records import Frame
from scripts.lib.ledger.snapshot import sequences


def read_headers(path: Path) -> dict[str, Header]:
    """Return the headers of frames by ESO's name without its ending, in time order.

    None if all frames of the sequence were held back: then there is no file.
    """
    if not path.exists():
        return {}
    size = path.stat().st_size
    headers = {}
    with open(path, "rb") as stream:
        read_header(stream)
        while stream.tell() < size:
            header = read_header(stream)
            stream.seek(padded(data_size(header)), 1)
            if header.value("XTENSION") == "IMAGE":  # not METADATA
                headers[str(header.value("EXTNAME"))] = header
    return headers


def with_headers(frames: Iterable[Frame], sequence: str, headers: dict[str, Header]) -> list[Frame]:
    """Return the frames of a sequence that have a finished header, in time order.

    Raises
    ------
    LookupError
        If the night has no such sequence.
    """
    members = sequences(frames).get(sequence)
    if not members:
        raise LookupError(f"no frame of sequence {sequence}; see the column sequence of frames.csv")
    return [frame for frame in members if stem(frame.eso_name) in headers]
