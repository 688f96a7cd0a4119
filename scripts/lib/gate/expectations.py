"""What products are held against: the tables, and the configuration of their telescope."""

from collections.abc import Mapping
from pathlib import Path

from scripts.lib.fits.cards import Header
from scripts.lib.frames.frame import Camera
from scripts.lib.frames.identity import read_kinds, read_telescopes
from scripts.lib.gate.subject import Expected
from scripts.lib.nights.dates import night_bounds

TABLES = Path(__file__).parents[3] / "config"


def expected_of(
    config: dict | None = None, night: str = "", headers: Mapping[str, Header] | None = None
) -> Expected:
    """Return what products of a telescope, of a night, are held against.

    Parameters
    ----------
    config : dict, optional
        The telescope's configuration: telescope, camera, programme, programmes.
    headers : mapping of Header
        Of the frames that went into cubes, by ESO's name without its ending.
    """
    telescopes = read_telescopes(TABLES / "telescopes.csv")
    expected = Expected(telescopes, read_kinds(TABLES / "kinds.csv"))
    if config:
        assigned = (row["programme"] for row in config.get("programmes") or [])
        expected = expected._replace(
            telescope=telescopes[config["telescope"]],
            camera=Camera(**config["camera"]),
            programmes=(config["programme"], *assigned),
        )
    bounds = night_bounds(night) if night else None
    return expected._replace(bounds=bounds, headers=dict(headers or {}))
