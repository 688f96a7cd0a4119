"""Names of sequences and products, of characters that every archive and file system takes."""

import re
import zlib
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.lib.frames.frame import Facts
from scripts.lib.nights.times import iso

if TYPE_CHECKING:  # jobs per sequence read no configuration
    from scripts.lib.settings.records import Camera
    from scripts.lib.settings.telescopes import Telescope

# ESO keeps the file name as ORIGFILE: one FITS string.
LONGEST = 68
# Forms of the names of products: what the telescope's begin with (config/telescopes.csv), start, of
# cubes the sequence.
FRAME = re.compile(r"([A-Z0-9-]+)\.(\d{4}-\d\d-\d\dT\d\d_\d\d_\d\d\.\d{3})\.fits")
CUBE = re.compile(r"([A-Z0-9-]+)\.(\d{8}T\d{6})_([SC]_[A-Za-z0-9.+_-]+)\.fits")
# A cube's extension with a row for each plane.
METADATA = "METADATA"
# A prime means a Sloan filter: i' and i are two filters, and so are their names.
SPELT_OUT = str.maketrans({"'": "p"})
_UNSAFE = re.compile(r"[^A-Za-z0-9.+-]+")


def safe(text: str) -> str:
    """Return ``text`` with nothing but letters, digits and ``. + - _``."""
    return _UNSAFE.sub("_", text.translate(SPELT_OUT)).strip("_") or "unnamed"


def sequence_name(facts: Facts, camera: "Camera") -> str:
    """Return the name of a frame's sequence, ``S_Sp0805+0417_zYJ_10s`` or ``C_flat_zYJ_3.259s``.

    An unusual read-out is part of the name, so that frames that cannot be stacked never meet.
    """
    exposure = f"{facts.exptime:.3f}".rstrip("0").rstrip(".") + "s"
    parts = [facts.kind.group] + {
        "science": [safe(facts.object), safe(facts.filter), exposure],
        "flat": ["flat", safe(facts.filter), exposure],
        "dark": ["dark", exposure],
        "bias": ["bias"],
    }[facts.kind.name]
    setting = facts.setting
    if (setting.xbinning, setting.ybinning) != (1, 1):
        parts.append(f"bin{setting.xbinning}x{setting.ybinning}")
    full = (camera.naxis1 // setting.xbinning, camera.naxis2 // setting.ybinning)
    if (setting.x0, setting.y0, setting.naxis1, setting.naxis2) != (0, 0, *full):
        parts.append(f"sub{setting.naxis1}x{setting.naxis2}+{setting.x0}+{setting.y0}")
    if setting.camera != camera.name:
        parts.append(safe(setting.camera))
    return "_".join(parts)


def fitting(telescope: "Telescope", plain: str, marks: str) -> str:
    """Return a sequence's name that leaves its cube's name short enough; marks are never cut."""
    room = LONGEST - len(cube_name(telescope, datetime(2000, 1, 1), ""))
    if len(plain) + len(marks) <= room:
        return plain + marks
    mark = f"-{zlib.crc32(plain.encode()):08x}"
    group, _, rest = plain.partition("_")
    kept = room - len(LONGEST_MARKS) - len(f"{group}_{mark}")
    return f"{group}_{rest[: kept // 2]}{mark}{rest[-(kept - kept // 2) :]}{marks}"


def frame_name(telescope: "Telescope", start: datetime) -> str:
    """Return ESO's name of a frame: ``SPECULOOS4.2026-03-06T00_01_23.540.fits``."""
    return f"{telescope.frames}.{iso(start).replace(':', '_')}.fits"


def cube_name(telescope: "Telescope", start: datetime, sequence: str) -> str:
    """Return the name of a cube: ``SPECU4.20260306T000123_S_Sp0805+0417_zYJ_10s.fits``."""
    return f"{telescope.cubes}.{start:%Y%m%dT%H%M%S}_{sequence}.fits"


def dp_id(telescope: "Telescope", start: datetime) -> str:
    """Return the name that ESO's archive gives a product: ``SPECU4.2026-03-06T00:01:23.540``."""
    return f"{telescope.cubes}.{iso(start)}"


def group_of(sequence: str) -> str:
    """Return the group in the name of a sequence: S for science, C for calibrations."""
    return sequence.partition("_")[0]


def sequence_of(cube: str) -> str:
    """Return the sequence in the name of a cube."""
    return stem(cube).partition("_")[2]


def stem(product: str) -> str:
    """Return a product's file name without ``.fits``."""
    return Path(product).name.removesuffix(".fits")


# Of frames that only a safe name makes alike, and of a further part of a sequence.
LONGEST_MARKS = "_01234567_part99"
