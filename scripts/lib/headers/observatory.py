"""What the frames of one telescope's night are judged by and written with."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from scripts.lib.fits.cards import Header
from scripts.lib.frames import corrections, instruments, programmes
from scripts.lib.frames.frame import describe, open_header
from scripts.lib.headers.keywords import Keywords, read_keywords
from scripts.lib.headers.values import Exposure, Programme
from scripts.lib.headers.wcs import pixel_wcs
from scripts.lib.nights.cameras import of_night
from scripts.lib.nights.dates import night_bounds
from scripts.lib.settings.records import Camera, Configuration, ProgrammeEntry
from scripts.lib.settings.telescopes import Telescope, read_telescopes


class Observatory(NamedTuple):
    """A telescope with its camera, tables, programme and the night's corrections."""

    telescope: Telescope
    camera: Camera
    kinds: dict[str, instruments.Kind]
    keywords: Keywords
    programme: Programme
    assigned: list[ProgrammeEntry]
    corrections: list[corrections.Correction]
    bounds: tuple[datetime, datetime]
    now: datetime


def open_observatory(
    night: str,
    settings: Configuration,
    tables: Mapping[str, str],
    programme: str,
    named: bool = False,
) -> Observatory:
    """Return what a night of a telescope is judged by.

    ``tables`` are paths by name: telescopes, kinds, keywords, reserved. ``programme`` is the id of
    the frames that no entry of ``programmes`` assigns; if it was ``named`` by hand, of all frames.
    Raises `JobFailed` if an entry lists the night without a programme.
    """
    name, settings = settings.telescope, of_night(settings, night)
    assigned = [] if named else programmes.assignments(night, settings.programmes)
    programmes.check_assigned(night, assigned)
    corrected = corrections.correction_file(Path(settings.corrections), name, night)
    return Observatory(
        telescope=read_telescopes(Path(tables["telescopes"]))[name],
        camera=settings.camera,
        kinds=instruments.read_kinds(Path(tables["kinds"])),
        keywords=read_keywords(Path(tables["keywords"]), Path(tables["reserved"])),
        programme=Programme(
            settings.place.origin, settings.pi_coi, programmes.check_programme(programme)
        ),
        assigned=assigned,
        corrections=corrections.read_corrections(corrected),
        bounds=night_bounds(night, settings.place.longitude),
        now=datetime.now(UTC),
    )


def load_exposure(
    raw: Path, name: str, observatory: Observatory, header: Header | None = None
) -> Exposure:
    """Return the exposure in the raw file ``name``, not yet with sidereal time and sky.

    Its ``header``, with corrections, is read unless it was before. Raises `BadFrame` if it may not
    be delivered.
    """
    telescope, kinds = observatory.telescope, observatory.kinds
    if header is None:
        header = corrections.corrected(open_header(raw / name)[0], name, observatory.corrections)
    facts = describe(header, telescope, observatory.camera, kinds, observatory.bounds)
    id_ = programmes.programme_of(
        facts.kind.name, facts.object, observatory.assigned, observatory.programme.id
    )
    programme = observatory.programme._replace(id=id_)
    return Exposure(header, facts, telescope, programme, 0.0, observatory.now, pixel_wcs())
