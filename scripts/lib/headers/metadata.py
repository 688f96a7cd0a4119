"""A cube's own headers: the finished primary one, and the table METADATA with a row per plane.

The survey's reader makes each plane a frame again. It takes every column of METADATA as a keyword
of the frame's header, so columns are named exactly as keywords, hyphens included; what does not
vary is in the primary header. It cannot write NaN into a header and then leaves what the cube's own
header says; a logical it makes a text. So logicals are numbers here, and what a plane lacks is not
in the cube's header either.
"""

import math
from collections.abc import Mapping, Sequence

from scripts.lib.fits.bintable import Column, table_hdu
from scripts.lib.fits.cards import COMMENTARY, Header, Value
from scripts.lib.fits.hdu import STRUCTURE
from scripts.lib.frames.names import METADATA
from scripts.lib.headers.keywords import Keywords
from scripts.lib.headers.values import VALUES, Exposure
from scripts.lib.headers.wcs import pixels_beside_sky

# The reader asks for FILENAME and these; other keywords have a column if they vary.
DEMANDED = "DATE-OBS EXPTIME FILTER OBJECT AIRMASS JD-OBS MJD-OBS HJD-OBS".split()
# DATE is of the file, not of a plane; WCSAXES is the cube's.
NOT_TABULATED = ("DATE", "COMMENT", "HISTORY", "WCSAXES")
# Of the file, not of a frame in it: the reader does not give them back.
OF_THE_CUBE = frozenset(("CUBETYPE", "CUBEKEY", "DATE", "FILENAME"))
WCS_KEYS = tuple("WCSAXES CTYPE CUNIT CRPIX CRVAL CDELT CD CRDER LONPOLE LATPOLE".split())

Values = Mapping[str, Value]


def cube_values(first: Values, last: Exposure, sequence: str) -> dict[str, Value]:
    """Return what a cube's header says that does not follow from its first exposure in pixels.

    ``first`` is the first plane's finished header: RA and DEC are in its frame, whatever the
    coordinates of the pixels.
    """
    return (
        {keyword: first.get(keyword) for keyword in ("RADESYS", "EQUINOX")}
        | {keyword: VALUES[keyword](last) for keyword in ("DATE-END", "MJD-END", "JD-END")}
        | {"CUBETYPE": last.facts.kind.name, "CUBEKEY": sequence}
    )


def partial_keywords(frames: Sequence[Values], table: Keywords) -> set[str]:
    """Return the keywords that some planes have and some lack, but for world coordinates."""
    everywhere = set.intersection(*map(set, frames))
    return {k for k in _keywords(frames) if k not in everywhere and not table.is_wcs(k)}


def metadata_hdu(names: list[str], frames: Sequence[Values], table: Keywords) -> bytes:
    """Return the HDU METADATA, whole, with its checksums.

    Columns are those demanded, the sky WCS if a plane has one, and what varies. ``names`` are
    ESO's names of the planes as frames, ``frames`` their finished headers.
    """
    sky = ["CD1_1" in frame for frame in frames]
    if not all(sky):
        beside = pixels_beside_sky() if any(sky) else {}
        frames = [
            frame if has_sky else {k: v for k, v in frame.items() if not table.is_wcs(k)} | beside
            for frame, has_sky in zip(frames, sky, strict=True)
        ]
    keywords = _keywords(frames)
    always = [*DEMANDED, *filter(table.is_wcs, keywords)] if any(sky) else DEMANDED
    columns = [Column("FILENAME", names)]
    for keyword in dict.fromkeys([*always, *keywords]):
        if keyword in NOT_TABULATED or keyword.startswith("HIERARCH"):
            continue
        values = [frame.get(keyword) for frame in frames]
        # Python takes True for 1.
        varies = len({(isinstance(value, bool), value) for value in values}) > 1
        if varies or keyword in always:
            plain = [int(value) if isinstance(value, bool) else value for value in values]
            if keyword == "AIRMASS" and not any(plain):
                plain = [math.nan] * len(plain)  # a column of numbers also without one
            columns.append(Column(keyword, plain, table.unit(keyword)))
    return table_hdu(METADATA, "keywords of each plane, in their order", columns)


def _keywords(frames: Sequence[Values]) -> list[str]:
    """Return the keywords of all frames, in the order of their headers."""
    return list(dict.fromkeys(keyword for frame in frames for keyword in frame))


def plane_values(
    header: Header, columns: Mapping[str, Sequence[Value]], row: int
) -> dict[str, Value]:
    """Return the keywords of a plane as the reader has them: those of its row before the cube's."""
    values = {
        keyword: header.value(keyword)
        for keyword in header.keywords
        if keyword not in STRUCTURE and keyword not in COMMENTARY
    }
    values |= {
        keyword: str(column[row]) if isinstance(column[row], bool) else column[row]
        for keyword, column in columns.items()
        # No header holds NaN: the reader goes on without it.
        if column[row] == column[row]
    }
    return {keyword: value for keyword, value in values.items() if keyword not in OF_THE_CUBE}


def lost_in_cube(values: Values, original: Header) -> str:
    """Return the first keyword of a frame that did not come back as it was; nothing if all did.

    World coordinates count if the frame has a sky: the others have pixels, in two axes or three.
    An empty text is as good as none.
    """
    sky = str(original.value("CTYPE1")).startswith("RA--")
    for keyword in original.keywords:
        skipped = keyword in STRUCTURE or keyword in COMMENTARY or keyword in OF_THE_CUBE
        if skipped or (keyword.startswith(WCS_KEYS) and (not sky or keyword == "WCSAXES")):
            continue
        before, after = original.value(keyword), values.get(keyword)
        # A column has one type: a logical may come back as 1 or 0, a whole number as a decimal one,
        # and what is a number in one frame and a text in another as the text.
        became_logical = isinstance(after, bool) and not isinstance(before, bool)
        is_same = before == after and not became_logical
        if not (is_same or (isinstance(after, str) and str(before) == after)):
            return f"{keyword} {before!r} came back as {after!r}"
    for keyword, value in values.items():
        is_wcs = keyword.startswith(WCS_KEYS) or keyword == "PA"
        if keyword not in original and value not in ("", None) and not is_wcs:
            return f"{keyword} came back, which did not go in"
    return ""
