"""What products are held against: the tables, and the configuration of their telescope."""

from collections.abc import Mapping
from pathlib import Path

from scripts.lib.fits.cards import Header
from scripts.lib.frames.instruments import read_kinds, read_telescopes
from scripts.lib.gate.product_file import Expected
from scripts.lib.nights.dates import night_bounds
from scripts.lib.settings.records import Camera

TABLES = Path(__file__).parents[3] / "config"


def expected_of(
    telescope: str = "",
    camera: Camera | None = None,
    night: str = "",
    headers: Mapping[str, Header] | None = None,
    programmes: tuple[str, ...] = (),
) -> Expected:
    """Return what products of a telescope, of a night, are held against.

    Parameters
    ----------
    telescope : str
        Its name; empty if it is not known.
    headers : mapping of Header
        Of the frames that went into cubes, by ESO's name without its ending.
    programmes : tuple of str
        Programme ids that they may have; any if there are none.
    """
    telescopes = read_telescopes(TABLES / "telescopes.csv")
    return Expected(
        telescopes,
        read_kinds(TABLES / "kinds.csv"),
        telescope=telescopes[telescope] if telescope else None,
        camera=camera,
        programmes=programmes,
        bounds=night_bounds(night) if night else None,
        headers=dict(headers or {}),
    )
