"""What the frames of one telescope's night are judged by and written with."""

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from scripts.lib.fits.cards import Header, HeaderError
from scripts.lib.frames.corrections import corrected, correction_file, read_corrections
from scripts.lib.frames.frame import BadFrame, Camera, describe
from scripts.lib.frames.identity import (
    Kind,
    Telescope,
    check_programme,
    read_kinds,
    read_telescopes,
)
from scripts.lib.frames.programmes import Assignment, assignments, programme_of
from scripts.lib.headers.keywords import Keywords, read_keywords
from scripts.lib.headers.pixel_wcs import pixel_wcs
from scripts.lib.headers.values import Exposure, Programme
from scripts.lib.nights.dates import night_bounds


class Observatory(NamedTuple):
    """A telescope with its camera, tables, programme and the night's corrections."""

    telescope: Telescope
    camera: Camera
    kinds: dict[str, Kind]
    keywords: Keywords
    programme: Programme
    assigned: list[Assignment]
    corrections: list[dict]
    bounds: tuple[datetime, datetime]
    now: datetime


def open_observatory(night: str, settings: dict, tables: dict[str, str]) -> Observatory:
    """Return what a night of a telescope is judged by.

    Parameters
    ----------
    settings : dict
        telescope, camera, programme, programmes, origin, pi_coi, corrections: as in the
        configuration.
    tables : dict of str
        Paths of the tables, by the names telescopes, kinds and keywords.

    Raises
    ------
    ValueError
        If a setting or a correction is not right; the message says which.
    """
    name = settings["telescope"]
    return Observatory(
        telescope=read_telescopes(Path(tables["telescopes"]))[name],
        camera=Camera(**settings["camera"]),
        kinds=read_kinds(Path(tables["kinds"])),
        keywords=read_keywords(Path(tables["keywords"])),
        programme=Programme(
            settings["origin"], settings["pi_coi"], check_programme(settings["programme"])
        ),
        assigned=assignments(settings["programmes"]),
        corrections=read_corrections(correction_file(Path(settings["corrections"]), name, night)),
        bounds=night_bounds(night),
        now=datetime.now(UTC),
    )


def expose(name: str, header: Header, data_start: int, observatory: Observatory) -> Exposure:
    """Return the exposure in the raw file ``name``, not yet with sidereal time and sky.

    Raises
    ------
    BadFrame
        If it may not be delivered.
    """
    raw = corrected(header, name, observatory.corrections)
    try:
        frame = describe(
            raw,
            data_start,
            observatory.telescope,
            observatory.camera,
            observatory.kinds,
            observatory.bounds,
        )
    except HeaderError as error:
        raise BadFrame(f"unreadable {error}") from error
    default = observatory.programme.id
    programme = programme_of(frame.kind.name, frame.object, observatory.assigned, default)
    return Exposure(
        raw,
        frame,
        observatory.telescope,
        observatory.programme._replace(id=programme),
        lst=0.0,
        now=observatory.now,
        wcs=pixel_wcs(),
    )
