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
UNITS = {
    "ra": "deg",
    "dec": "deg",
    "crpix1": "pixel",
    "crpix2": "pixel",
    "cd1_1": "deg/pixel",
    "cd1_2": "deg/pixel",
    "cd2_1": "deg/pixel",
    "cd2_2": "deg/pixel",
    "rms": "arcsec",
    "scale": "arcsec/pixel",
    "rotation": "deg",
    "offset": "arcsec",
    "background": "adu",
    "fwhm": "arcsec",
    "cpu": "s",
}


class Solved(NamedTuple):
    """What became of one frame; NaN and 0 where it has no solution.

    ``ra``, ``dec``, ``crpix…``, ``cd…`` are the WCS (TAN, ICRS, at the epoch of the frame);
    ``rotation`` is the position angle of +y, ``parity`` 1 as the sky is seen and -1 mirrored;
    ``offset`` is from the pointing to the middle of the frame; ``log_fap`` the log10 of the
    expected number of false matches.
    """

    file: str
    solved: bool
    method: str = ""
    catalogue: str = ""
    ra: float = NAN
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
    log_fap: float = NAN
    scale: float = NAN
    rotation: float = NAN
    parity: int = 0
    offset: float = NAN
    background: float = NAN
    fwhm: float = NAN
    cpu: float = NAN
    reason: str = ""

    @classmethod
    def of(cls, file: str, solution: "Solution", catalogue: str, cpu: float) -> "Solved":
        """Return the row of a solved frame.

        Parameters
        ----------
        catalogue : str
            Its file name.
        cpu : float
            Seconds.
        """
        wcs = solution.wcs
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
            fwhm=solution.fwhm * wcs.scale,
            cpu=cpu,
        )

    @classmethod
    def failed(cls, file: str, error: "Unsolved", cpu: float) -> "Solved":
        """Return the row of a frame without a solution."""
        reason = str(error).encode("ascii", "backslashreplace").decode()
        if error.found is None:
            return cls(file, False, cpu=cpu, reason=reason)
        return cls(
            file,
            False,
            detected=len(error.found.stars),
            log_fap=error.log_fap,
            background=error.found.background,
            cpu=cpu,
            reason=reason,
        )

    @property
    def provenance(self) -> str:
        """How the frame was solved or why not, in one line that fits on a card."""
        if not self.solved:
            return f"unsolved: {self.reason}"[:LONGEST_STRING]
        figures = f"{self.method}, {self.matched} stars, rms {self.rms:.3f} arcsec, "
        return figures + _shortened(self.catalogue, LONGEST_STRING - len(figures))

    @property
    def wcs(self) -> TangentWCS:
        """The WCS, where ``solved``."""
        cd = 3600 * np.array([[self.cd1_1, self.cd1_2], [self.cd2_1, self.cd2_2]])
        return TangentWCS(self.ra, self.dec, self.crpix1, self.crpix2, cd)


def _shortened(name: str, longest: int) -> str:
    """Return a name of at most so many characters; dots stand for the end that was cut."""
    return name if len(name) <= longest else f"{name[: longest - 3]}..."


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
