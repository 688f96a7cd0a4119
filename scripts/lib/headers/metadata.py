"""A cube's own headers: the finished primary one, and the table METADATA with a row per plane.

The survey's reader makes each plane a frame again. It takes every column of METADATA as a keyword
of the frame's header, so columns are named exactly as keywords, hyphens included. It cannot write
NaN into a header and then leaves what the cube's own header says; a logical it makes a text. So
logicals are numbers here, and what a plane lacks is not in the cube's header either.
"""

from collections.abc import Mapping, Sequence

from scripts.lib.fits.bintable import Column, table_hdu
from scripts.lib.fits.cards import Value
from scripts.lib.headers.keywords import Keywords
from scripts.lib.headers.pixel_wcs import linear_pixel_wcs
from scripts.lib.headers.values import Exposure, date_end, jd_end, mjd_end

EXTNAME = "METADATA"
# The reader asks for FILENAME and these; other keywords have a column if they vary.
DEMANDED = "DATE-OBS EXPTIME FILTER OBJECT AIRMASS JD-OBS MJD-OBS HJD-OBS".split()
# DATE is of the file, not of a plane.
NOT_TABULATED = ("DATE", "COMMENT", "HISTORY")


def cube_values(first: Mapping[str, Value], last: Exposure, sequence: str) -> dict[str, Value]:
    """Return what a cube's header says that does not follow from its first exposure in pixels.

    Parameters
    ----------
    first : mapping
        Keyword and value of the first plane's finished header: RA and DEC are in its frame,
        whatever the coordinates of the pixels.
    last : Exposure
        That ends the cube.
    """
    return {keyword: first.get(keyword) for keyword in ("RADESYS", "EQUINOX")} | {
        "CUBETYPE": last.facts.kind.name,
        "CUBEKEY": sequence,
        "DATE-END": date_end(last),
        "MJD-END": mjd_end(last),
        "JD-END": jd_end(last),
    }


def partial_keywords(frames: Sequence[Mapping[str, Value]], table: Keywords) -> set[str]:
    """Return the keywords, but for those of world coordinates, that some planes have and some lack.

    Parameters
    ----------
    frames : sequence of mapping
        Keyword and value of each plane's finished header.
    """
    everywhere = set.intersection(*map(set, frames))
    return {k for k in _keywords(frames) if k not in everywhere and not _is_wcs(k, table)}


def metadata_hdu(names: list[str], frames: Sequence[Mapping[str, Value]], table: Keywords) -> bytes:
    """Return the HDU METADATA, whole, with its checksums.

    Parameters
    ----------
    names : list of str
        ESO's name of each plane as a frame.
    frames : sequence of mapping
        Keyword and value of each plane's finished header, in the order of the planes.
    """
    columns: dict[str, Sequence[Value]] = {"FILENAME": names}
    columns |= _columns(frames, table)
    return table_hdu(
        EXTNAME,
        "keywords of each plane, in their order",
        [
            Column(keyword, list(map(_plain, values)), table.unit(keyword))
            for keyword, values in columns.items()
        ],
    )


def _columns(frames: Sequence[Mapping[str, Value]], table: Keywords) -> dict[str, Sequence[Value]]:
    """Return the columns: those demanded, the sky WCS if a plane has one, and what varies."""
    if any("CD1_1" in frame for frame in frames):
        frames = [
            frame if "CD1_1" in frame else _without_wcs(frame, table) | linear_pixel_wcs()
            for frame in frames
        ]
        always = [keyword for keyword in _keywords(frames) if _is_wcs(keyword, table)]
    else:
        frames = [_without_wcs(frame, table) for frame in frames]
        always = []
    wanted = [*DEMANDED, *(keyword for keyword in always if keyword != "WCSAXES")]
    columns: dict[str, Sequence[Value]] = {
        keyword: [frame.get(keyword) for frame in frames] for keyword in wanted
    }
    for keyword in _keywords(frames):
        values = [frame.get(keyword) for frame in frames]
        fixed = keyword.startswith("HIERARCH") or keyword in NOT_TABULATED or keyword == "WCSAXES"
        if keyword not in columns and not fixed and len({*map(_identity, values)}) > 1:
            columns[keyword] = values
    return columns


def _plain(value: Value) -> Value:
    """Return a value as the table has it: 1 and 0 for a logical."""
    return int(value) if isinstance(value, bool) else value


def _identity(value: Value) -> tuple[bool, Value]:
    """Return what tells values apart; Python takes True for 1."""
    return isinstance(value, bool), value


def _keywords(frames: Sequence[Mapping[str, Value]]) -> list[str]:
    """Return the keywords of all frames, in the order of their headers."""
    return list(dict.fromkeys(keyword for frame in frames for keyword in frame))


def _is_wcs(keyword: str, table: Keywords) -> bool:
    rule = table.rule(keyword)
    return rule is not None and rule.rule == "wcs"


def _without_wcs(frame: Mapping[str, Value], table: Keywords) -> dict[str, Value]:
    return {keyword: value for keyword, value in frame.items() if not _is_wcs(keyword, table)}
