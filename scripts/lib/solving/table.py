"""The table ``solved/{sequence}.fits``: a row for each frame, its WCS or why it has none."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scripts.lib.fits.bintable import Column, read_table_hdu, table_hdu
from scripts.lib.fits.cards import LONGEST_STRING
from scripts.lib.fits.hdu import empty_structure, with_checksums
from scripts.lib.solving.tangent import TangentWCS

if TYPE_CHECKING:  # readers of the table need no solver
    from scripts.lib.solving.solver import Solution, Unsolved

EXTNAME = "SOLUTIONS"
NAN = math.nan
COLUMNS_IN = {
    "deg": ("ra", "dec", "rotation", "rotation_error"),
    "pixel": ("crpix1", "crpix2"),
    "deg/pixel": ("cd1_1", "cd1_2", "cd2_1", "cd2_2"),
    "arcsec": ("rms", "offset", "fwhm", "centre_error"),
    "arcsec/pixel": ("scale", "scale_error"),
    "adu": ("background",),
    "adu/s": ("sky",),
    "mag": ("zero_point", "limiting_magnitude"),
    "s": ("cpu",),
}
UNITS = {column: unit for unit, columns in COLUMNS_IN.items() for column in columns}


class Solved(NamedTuple):
    """What became of one frame: a row of the table; NaN and 0 where it has no solution."""

    file: str
    solved: bool
    method: str = ""
    catalogue: str = ""
    ra: float = NAN  # of the WCS, with crpix… and cd…: TAN, ICRS, at the epoch of the frame
    dec: float = NAN
    crpix1: float = NAN
    crpix2: float = NAN
    cd1_1: float = NAN
    cd1_2: float = NAN
    cd2_1: float = NAN
    cd2_2: float = NAN
    detected: int = 0
    matched: int = 0
    rms: float = NAN
    log_fap: float = NAN  # log10 of the expected number of false matches
    scale: float = NAN
    rotation: float = NAN  # position angle of +y
    parity: int = 0  # 1 as the sky is seen, -1 mirrored
    offset: float = NAN  # from the pointing to the middle of the frame
    background: float = NAN
    fwhm: float = NAN  # of the matched stars, as all that follows to `ellipticity`
    zero_point: float = NAN  # magnitude of a star of 1 ADU/s
    transparency: float = NAN  # of 1 where the sequence's zero point is highest
    limiting_magnitude: float = NAN  # of a star of signal to noise 5
    expected: int = 0  # catalogue stars of signal to noise 10 or more
    found: int = 0  # those of them that are there
    ellipticity: float = NAN  # 1 - short axis / long axis
    sky: float = NAN
    centre_error: float = NAN  # standard errors: of the middle along an axis …
    scale_error: float = NAN
    rotation_error: float = NAN
    cpu: float = NAN
    reason: str = ""

    @classmethod
    def of(cls, file: str, solution: "Solution", catalogue: str, cpu: float) -> "Solved":
        """Return the row of a solved frame; ``cpu`` in seconds."""
        wcs, stars, errors = solution.wcs, solution.photometry, solution.errors
        (cd1_1, cd1_2), (cd2_1, cd2_2) = (wcs.cd / 3600).tolist()
        return cls(
            file,
            True,
            solution.method,
            catalogue,
            ra=wcs.ra,
            dec=wcs.dec,
            crpix1=wcs.x,
            crpix2=wcs.y,
            cd1_1=cd1_1,
            cd1_2=cd1_2,
            cd2_1=cd2_1,
            cd2_2=cd2_2,
            detected=solution.detected,
            matched=solution.matched,
            rms=solution.rms,
            log_fap=solution.log_fap,
            scale=wcs.scale,
            rotation=wcs.rotation,
            parity=wcs.parity,
            offset=solution.offset,
            background=solution.background,
            fwhm=stars.fwhm * wcs.scale,
            zero_point=stars.zero_point,
            limiting_magnitude=stars.limiting_magnitude,
            expected=stars.expected,
            found=stars.found,
            ellipticity=stars.ellipticity,
            sky=solution.sky,
            centre_error=errors.centre,
            scale_error=errors.scale,
            rotation_error=errors.rotation,
            cpu=cpu,
        )

    @classmethod
    def failed(cls, file: str, error: "Unsolved", cpu: float) -> "Solved":
        """Return the row of a frame without a solution."""
        reason = str(error).encode("ascii", "backslashreplace").decode()
        row = cls(file, False, cpu=cpu, reason=reason)
        if error.found is None:
            return row
        return row._replace(
            detected=len(error.found.stars),
            log_fap=error.log_fap,
            background=error.found.background,
            sky=error.found.sky,
        )

    @property
    def provenance(self) -> str:
        """How the frame was solved or why not, in one line that fits on a card."""
        if not self.solved:
            return f"unsolved: {self.reason}"[:LONGEST_STRING]
        figures = f"{self.method}, {self.matched} stars, rms {self.rms:.3f} arcsec, "
        name, room = self.catalogue, LONGEST_STRING - len(figures)
        return figures + (name if len(name) <= room else f"{name[: room - 3]}...")

    @property
    def wcs(self) -> TangentWCS:
        """The WCS, where ``solved``."""
        cd = 3600 * np.array([[self.cd1_1, self.cd1_2], [self.cd2_1, self.cd2_2]])
        return TangentWCS(self.ra, self.dec, self.crpix1, self.crpix2, cd)


def with_transparency(rows: list[Solved]) -> list[Solved]:
    """Return the rows of a sequence with each frame's transparency: 1 at the best zero point.

    Clouds, the airmass and dew count alike: 10 ** -0.4 for a magnitude that the zero point is
    below the highest one.
    """
    best = max((row.zero_point for row in rows if row.zero_point == row.zero_point), default=NAN)
    return [row._replace(transparency=10 ** (0.4 * (row.zero_point - best))) for row in rows]


def solved_bytes(rows: list[Solved]) -> bytes:
    """Return the table as a FITS file."""
    columns = [
        Column(name, [getattr(row, name) for row in rows], UNITS.get(name, ""))
        for name in Solved._fields
    ]
    table = table_hdu(EXTNAME, "a row for each frame", columns)
    return with_checksums(empty_structure(), 0) + table


def read_solved(path: Path) -> dict[str, Solved]:
    """Return the rows of a table by file name."""
    return {row["file"]: Solved(**row) for row in read_table_hdu(path)[1]}
