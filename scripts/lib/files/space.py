"""The space that is left on disks."""

import shutil
from pathlib import Path

GIGABYTE = 1e9


def free_gb(folder: Path) -> float:
    """Return the space that is left on a folder's disk, in GB."""
    return shutil.disk_usage(folder).free / GIGABYTE
