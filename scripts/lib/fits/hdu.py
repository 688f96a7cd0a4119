"""Header-data units as bytes: structure, header, sums."""

from scripts.lib.fits.cards import blocks, card, keyword_of, quoted
from scripts.lib.fits.checksum import data_sum, encode
from scripts.lib.fits.sums import fold

# Cards that say how an HDU is stored. Whoever writes the HDU writes them; nobody else's are kept.
STRUCTURE = frozenset(
    "SIMPLE XTENSION BITPIX NAXIS NAXIS1 NAXIS2 NAXIS3 PCOUNT GCOUNT EXTEND BZERO BSCALE EXTNAME "
    "CHECKSUM DATASUM END".split()
)

AXES = {1: "columns", 2: "rows", 3: "frames, in time order"}


def image_structure(shape: tuple[int, ...], extended: bool) -> list[bytes]:
    """Return the structural cards of a primary image of unsigned 16-bit pixels.

    Parameters
    ----------
    shape : tuple of int
        NAXIS1, NAXIS2, … (fastest first).
    extended : bool
        Whether extensions may follow.
    """
    cards = [
        card("SIMPLE", "T", "conforms to FITS standard"),
        card("BITPIX", "16", "stored as signed, see BZERO"),
        card("NAXIS", str(len(shape)), "number of axes"),
        *(card(f"NAXIS{i}", str(n), AXES[i]) for i, n in enumerate(shape, 1)),
    ]
    if extended:
        cards.append(card("EXTEND", "T", "extensions follow"))
    return cards + [
        card("BZERO", "32768", "pixels are unsigned"),
        card("BSCALE", "1", "pixels are not scaled"),
    ]


def empty_structure(extname: str = "") -> list[bytes]:
    """Return the structural cards of an HDU without data: primary, or a named extension."""
    if not extname:
        return [
            card("SIMPLE", "T", "conforms to FITS standard"),
            card("BITPIX", "16", "no data"),
            card("NAXIS", "0", "no data"),
            card("EXTEND", "T", "extensions follow"),
        ]
    return [
        card("XTENSION", quoted("IMAGE"), "header of a frame"),
        card("BITPIX", "16", "no data"),
        card("NAXIS", "0", "no data"),
        card("PCOUNT", "0", ""),
        card("GCOUNT", "1", ""),
        card("EXTNAME", quoted(extname), "name of the frame"),
    ]


def without_structure(images: list[bytes]) -> list[bytes]:
    """Return the cards that say what an HDU means, without those that say how it is stored."""
    return [image for image in images if keyword_of(image) not in STRUCTURE]


def sealed(images: list[bytes], data: int) -> bytes:
    """Return a whole header with DATASUM and CHECKSUM.

    Parameters
    ----------
    images : list of bytes
        All other cards.
    data : int
        Sum of the data, see `scripts.lib.fits.checksum.data_sum`.
    """
    seal = [
        card("DATASUM", quoted(str(data)), "ones-complement sum of the data"),
        card("CHECKSUM", quoted("0" * 16), "ones-complement sum of this HDU"),
    ]
    header = blocks(images + seal)
    total = fold(data_sum(header) + data)
    unsealed = seal[1]
    return header.replace(unsealed, unsealed.replace(b"0" * 16, encode(total).encode()))
