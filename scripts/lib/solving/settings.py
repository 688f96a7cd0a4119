"""What frames are solved with, as the configuration has it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True, slots=True)
class Solving:
    """Settings of the same names; a path that is empty means none.

    Attributes
    ----------
    catalogue : str
        Star catalogue; empty for the stars of ``index``.
    index : str
        Folder of astrometry.net index files.
    solve : str
        ``verify`` to begin with the WCS in a raw header, ``always`` to ignore it.
    dark : str
        Raw dark frame for nights without.
    """

    catalogue: str
    index: str
    solve: str
    dark: str

    @classmethod
    def from_mapping(cls, settings: Mapping[str, Any]) -> "Solving":
        """Return the settings among those of a configuration."""
        return cls(**{field.name: settings[field.name] for field in fields(cls)})

    @property
    def stars(self) -> str:
        """Path of the catalogue that stars are taken from."""
        return self.catalogue or self.index

    @property
    def verify(self) -> bool:
        """Whether the WCS in a raw header is a hint."""
        return self.solve == "verify"
