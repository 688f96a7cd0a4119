"""Raw copies that are copied again from the source when they are found damaged."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.lib.fits.pixels import Raw


def raw_of(folder: Path, config: Mapping[str, Any]) -> Raw:
    """Return the raw copies of a night, in ``<workdir>/{night}/raw``; ``config`` is a job's."""

    def copy_again(name: str) -> None:
        # Here and not above: hardly any job needs it.
        from scripts.lib.settings.records import Configuration
        from scripts.lib.sources.copying import copy_frame
        from scripts.lib.sources.opening import open_source

        settings = Configuration.of(config)
        source = open_source(settings.source, settings.source_mounted)
        copy_frame(source, folder.absolute().parent.name, name, folder, settings.settle)

    return Raw(folder, copy_again)
