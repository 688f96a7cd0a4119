"""The finished headers of a sequence: a FITS file without data, an HDU for each frame."""

from pathlib import Path

from scripts.lib.fits.cards import Header, padded, read_header
from scripts.lib.fits.sizes import data_size


def read_headers(headered: Path) -> dict[str, Header]:
    """Return the headers of frames by ESO's name without its ending, in time order."""
    size = headered.stat().st_size
    headers = {}
    with open(headered, "rb") as stream:
        read_header(stream)
        while stream.tell() < size:
            header = read_header(stream)
            stream.seek(padded(data_size(header)), 1)
            if header.value("XTENSION") == "IMAGE":  # not METADATA
                headers[header.value("EXTNAME")] = header
    return headers
