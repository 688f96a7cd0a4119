"""Records as the workflow makes them: configurations, observatories, frames, for tests."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from scripts.lib.fits.cards import Header, card, quoted
from scripts.lib.fits.checksum import data_sum
from scripts.lib.fits.hdu import image_structure, read_header, with_checksums
from scripts.lib.gate.product_file import Context, context_of
from scripts.lib.headers.observatory import Observatory, open_observatory
from scripts.lib.ledger.records import Entry, Frame, Product, Status
from scripts.lib.nights.dates import night_bounds
from scripts.lib.settings.check import Layer, Unchecked
from scripts.lib.settings.records import Configuration
from scripts.lib.sources.copying import sums_of
from scripts.lib.sources.source import Source
from tests.night import REPOSITORY

CONFIG = REPOSITORY / "config"


def configuration(telescope: str, **changes) -> Configuration:
    """Return a telescope's configuration with other settings; those of ``camera`` are added."""
    settings = yaml.safe_load((CONFIG / f"{telescope.lower()}.yaml").read_text())
    settings["camera"] |= changes.pop("camera", {})
    return Unchecked(telescope, (Layer("test", settings | changes),)).checked()


def observatory_of(settings: Configuration, night: str) -> Observatory:
    """Return what the frames of a night are judged by."""
    tables = {path.stem: str(path) for path in CONFIG.glob("*.csv")}
    return open_observatory(night, settings, tables, settings.programme)


def ingested(source: Source, night: str, raw: Path) -> list[Frame]:
    """Return the frames of a night as they are known once they are in ``raw``."""
    return [ingested_as(entry, night, raw) for entry in source.entries(night)]


def ingested_as(entry: Entry, night: str, raw: Path) -> Frame:
    """Return what is known of an entry of the source once it was ingested."""
    frame = Frame(night, entry.name, source=entry.state)
    if entry.fault:
        return replace(frame, status=Status.HELD, fault=entry.fault)
    sums = sums_of(raw / entry.name)
    return replace(frame, datasum=sums.data, header_sum=sums.header, status=Status.COPIED)


def product_file(
    path: Path, pixels: bytes = b"\1\2", date: str = "2026-01-01T00:00:00.000"
) -> Path:
    """Write a product of one pixel."""
    cards = [*image_structure((1, 1), extended=False), card("DATE", quoted(date))]
    path.write_bytes(with_checksums(cards, data_sum(pixels)) + pixels.ljust(2880, b"\0"))
    return path


def product_of(path: Path, night: str, **values) -> Product:
    """Return the record of a product's file that was not delivered yet."""
    with open(path, "rb") as stream:
        header = read_header(stream)
    known: dict[str, Any] = {
        "target": path.stem,
        "programme": "60.A-9009(D)",
        "dp_id": f"SPECU4.{path.stem}",
        "bytes": path.stat().st_size,
        "datasum": int(str(header.value("DATASUM"))),
        "checksum": str(header.value("CHECKSUM")),
        "verdict": "passed",
    }
    return Product(path.name, night, **known | values)


def expectations(
    settings: Configuration, night: str, headers: Mapping[str, Header] | None = None
) -> Context:
    """Return what products of a telescope are held against; see `context_of`."""
    programmes = (settings.programme, *(entry.programme for entry in settings.programmes))
    bounds = night_bounds(night, settings.place.longitude)
    return context_of(settings.telescope, settings.camera, bounds, headers, programmes)
