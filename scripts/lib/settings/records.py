"""The configuration of one telescope as records, whose attributes are the keys.

What each key means, and its default, stands in config/schema.yaml. `check.checked` fills the
defaults in, so a record has none of its own. Every job imports this module: it needs the standard
library only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Camera:
    """The key ``camera``."""

    name: str
    naxis1: int
    naxis2: int
    pixel_scale: float
    rotation: float
    parity: int
    band: str
    fixed_pattern: bool


@dataclass(frozen=True, slots=True)
class ProgrammeEntry:
    """An entry of the key ``programmes``; without targets it has the whole night."""

    nights: str
    programme: str
    targets: tuple[str, ...]

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "ProgrammeEntry":
        """Return the record of an entry."""
        return cls(str(entry["nights"]), entry["programme"], tuple(entry.get("targets", ())))


@dataclass(frozen=True, slots=True)
class FreeSpace:
    """The key ``free_gb``."""

    workdir: float
    archive: float


@dataclass(frozen=True, slots=True)
class Mail:
    """The key ``mail``; ``sender`` is its key ``from``.

    Without recipients nothing is mailed, and sender and host may be empty. The port is None if
    it is the usual one.
    """

    when: str
    sender: str
    to: tuple[str, ...]
    cc: tuple[str, ...]
    host: str
    port: int | None
    security: str
    timeout: float

    @classmethod
    def of(cls, checked: Mapping[str, Any]) -> "Mail":
        """Return the record of a checked key ``mail``."""
        return cls(
            when=checked["when"],
            sender=checked.get("from", ""),
            to=tuple(checked.get("to", ())),
            cc=tuple(checked.get("cc", ())),
            host=checked.get("host", ""),
            port=checked.get("port"),
            security=checked["security"],
            timeout=checked["timeout"],
        )


@dataclass(frozen=True, slots=True)
class Configuration:
    """A checked configuration with all defaults."""

    telescope: str
    source: str
    source_mounted: bool
    workdir: Path
    archive: Path
    nights: str
    programme: str
    products: str
    catalogue: str
    index: str
    solve: str
    unsolved: str
    dark: str
    camera: Camera
    programmes: tuple[ProgrammeEntry, ...]
    transfer_log_remote: str
    confirm: bool
    confirm_after: float
    confirm_until: float
    confirm_service: str
    confirm_token_service: str
    confirm_timeout: float
    origin: str
    pi_coi: str
    longitude: float
    lookback: int
    max_held: float
    streams: int
    settle: float
    keep_raw: bool
    mode: str
    redeliver: bool
    corrections: str
    passwords: str
    free_gb: FreeSpace
    time_limit: float
    max_age: float
    mail: Mail

    @classmethod
    def of(cls, checked: Mapping[str, Any]) -> "Configuration":
        """Return the record of a configuration that `check.checked` has completed.

        Also of the one that a job has: the workflow has checked it.
        """
        records = {
            "workdir": Path(checked["workdir"]),
            "archive": Path(checked["archive"]),
            "nights": str(checked["nights"] or ""),
            "mode": str(checked["mode"]),
            "camera": Camera(**checked["camera"]),
            "programmes": tuple(map(ProgrammeEntry.of, checked["programmes"])),
            "free_gb": FreeSpace(**checked["free_gb"]),
            "mail": Mail.of(checked["mail"]),
        }
        return cls(**{**checked, **records})
