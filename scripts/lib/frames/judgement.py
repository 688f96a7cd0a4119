"""What the frames of a night are judged by, as a digest: when it changes they are judged again."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from scripts.lib.frames.corrections import correction_file
from scripts.lib.frames.programmes import programmes_of
from scripts.lib.nights.cameras import of_night
from scripts.lib.settings.records import Configuration

LENGTH = 16
# Keys of the camera that change no judgement: how frames are solved.
SOLVING = "saturation match_radius largest_residual search_radius engine_radius".split()


def judgement(night: str, settings: Configuration, programme: str, named: bool = False) -> str:
    """Return the digest: first of what is of this night alone, then of all that counts.

    ``programme`` is the id of the frames that no entry of ``programmes`` assigns; of all frames if
    it was ``named`` by hand.
    """
    own, settings = own_judgement(night, settings), of_night(settings, night)
    camera = {key: v for key, v in asdict(settings.camera).items() if key not in SOLVING}
    general = [settings.telescope, camera, settings.products, settings.unsolved]
    return f"{own}.{_digest([own, *general, programme, named])}"


def own_judgement(night: str, settings: Configuration) -> str:
    """Return the digest of a night's corrections and programmes; nothing if it has none."""
    path = correction_file(Path(settings.corrections), settings.telescope, night)
    try:
        corrections = path.read_bytes().hex()
    except OSError:
        corrections = ""
    entries = [asdict(entry) for entry in programmes_of(night, settings.programmes)]
    return _digest([corrections, entries]) if corrections or entries else ""


def own_part(judged: str) -> str:
    """Return the part of a digest that is of its night alone."""
    return judged.partition(".")[0]


def _digest(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:LENGTH]
