"""The camera that a telescope had in a night, where it was replaced since."""

from dataclasses import replace
from functools import cache

from scripts.lib.nights.dates import parse_nights
from scripts.lib.settings.records import Configuration

_nights = cache(lambda text: frozenset(parse_nights(text)))


def of_night(settings: Configuration, night: str) -> Configuration:
    """Return a configuration with the camera and products of a night.

    They are those of the first entry of `earlier_cameras` that names the night, else the present
    ones. Raises `ConfigurationError` if an entry names something that is not a night.
    """
    for entry in settings.earlier_cameras:
        if night in _nights(entry.nights):
            return replace(settings, camera=entry.camera, products=entry.products)
    return settings
