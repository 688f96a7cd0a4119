"""Checks of world coordinates: one convention, the right scale, where the telescope pointed."""

import math
import re

import numpy as np

from scripts.lib.gate.fits import WCS
from scripts.lib.gate.product_file import ProductFile
from scripts.lib.headers.wcs import FARTHEST, SCALE_TOLERANCE, SKY_TYPES
from scripts.lib.solving.tangent import TangentWCS, distance, to_sky

ARCSEC = 206264.806  # in a radian
LEAST_SINE = 0.1  # of the angle between the axes of an image
PC, CD = re.compile(r"PC\d_\d"), re.compile(r"CD\d_\d")
CDELT, CROTA = re.compile(r"CDELT\d"), re.compile(r"CROTA\d")


def has(s: ProductFile, form: re.Pattern[str]) -> bool:
    """Tell whether there is a keyword of a form."""
    return any(map(form.fullmatch, s.header.keywords))


def wcsaxes_first(s: ProductFile) -> str:
    """WCSAXES and the keywords of world coordinates."""
    first = next(filter(WCS.fullmatch, s.header.keywords), "WCSAXES")
    return "" if first == "WCSAXES" else f"{first} before WCSAXES"


def wcsaxes_before_frame(s: ProductFile) -> str:
    """WCSAXES and the keywords of the reference frame."""
    wanted = ("WCSAXES", "RADESYS", "EQUINOX")
    found = [keyword for keyword in s.header.keywords if keyword in wanted]
    return f"{found[0]} before WCSAXES" if "WCSAXES" in found[1:] else ""


def pc_or_cd(s: ProductFile) -> str:
    """PC and CD."""
    return "PC and CD" if has(s, PC) and has(s, CD) else ""


def pc_with_cdelt(s: ProductFile) -> str:
    """PC without CDELT: its scale is lost."""
    return "PC without CDELT" if has(s, PC) and not has(s, CDELT) else ""


def cd_without_cdelt(s: ProductFile) -> str:
    """CD and CDELT."""
    return "CD and CDELT" if has(s, CD) and has(s, CDELT) else ""


def no_rotation(s: ProductFile) -> str:
    """CROTA, the convention of old."""
    return "CROTA" if has(s, CROTA) else ""


def axis_types(s: ProductFile) -> str:
    """CTYPE of all axes."""
    found = [s.value(f"CTYPE{i}") for i in (1, 2, 3) if f"CTYPE{i}" in s.header]
    plain = tuple(str(name).removesuffix("-SIP") for name in found[:2])
    third = found[2:] in ([], ["LINEAR"], ["PIXEL"])
    bent = any(str(name).endswith("-SIP") for name in found)
    if not third or plain not in (SKY_TYPES, ("PIXEL", "PIXEL")):
        return f"CTYPE {found}"
    return f"CTYPE {found} without A_ORDER" if bent and "A_ORDER" not in s.header else ""


def pixel_system(s: ProductFile) -> str:
    """Pixel coordinates of two axes."""
    return steps(s, 2)


def cube_system(s: ProductFile) -> str:
    """Pixel coordinates of three axes; those of the sky are in METADATA, a row per plane."""
    return steps(s, 3)


def steps(s: ProductFile, axes: int) -> str:
    """Return what is wrong with the linear coordinates of some axes."""
    for i in range(1, axes + 1):
        for keyword in (f"CRPIX{i}", f"CRVAL{i}", f"CDELT{i}"):
            found = s.value(keyword)
            if not isinstance(found, int | float) or not math.isfinite(found):
                return f"{keyword} {found!r}"
        if s.value(f"CDELT{i}") != 1:
            return f"CDELT{i} {s.value(f'CDELT{i}')}"
        if s.value(f"CUNIT{i}") not in (None, "pixel", "pix"):
            return f"CUNIT{i} {s.value(f'CUNIT{i}')!r}"
    return ""


def cd_matrix(s: ProductFile) -> np.ndarray:
    """Return the linear transformation in degrees a pixel, (2, 2), from CD, or PC and CDELT."""
    if has(s, CD):
        return np.array([[s.number(f"CD{i}_{j}") for j in (1, 2)] for i in (1, 2)], float)
    pc = [[number_or(s, f"PC{i}_{j}", float(i == j)) for j in (1, 2)] for i in (1, 2)]
    # 0 counts as no CDELT.
    cdelt = [[number_or(s, f"CDELT{i}", 1.0) or 1.0] for i in (1, 2)]
    cd: np.ndarray = np.array(pc, float) * np.array(cdelt, float)
    return cd


def number_or(s: ProductFile, keyword: str, default: float) -> float:
    """Return a number of the header; the default if it is not there."""
    return default if s.value(keyword) is None else s.number(keyword)


def scales(s: ProductFile) -> list[float]:
    """Return the scale along both axes, arcsec a pixel."""
    cd = cd_matrix(s)
    return [3600 * math.hypot(*column) for column in cd.T.tolist()]


def matrix(s: ProductFile) -> str:
    """Whether the transformation can be inverted, and the reference point is finite."""
    cd = cd_matrix(s)
    point = [s.number(key) for key in ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2")]
    if not (np.isfinite(cd).all() and all(map(math.isfinite, point))):
        return "not finite"
    return "" if bool(independent(cd)) else f"singular, {cd.tolist()}"


def independent(cd: np.ndarray) -> np.ndarray:
    """Tell of matrices (…, 2, 2) whether the two axes point in different directions."""
    lengths = np.prod(np.linalg.norm(cd, axis=-2), axis=-1)
    found: np.ndarray = np.abs(np.linalg.det(cd)) > LEAST_SINE * lengths
    return found


def scale(s: ProductFile) -> str:
    """The scale against pixel size and focal length: XPIXSZ (um, binned), FOCALLEN (m)."""
    right = ARCSEC * s.number("XPIXSZ") * 1e-6 / s.number("FOCALLEN")
    found = scales(s)
    wrong = any(abs(one / right - 1) > SCALE_TOLERANCE for one in found)
    return f"{found[0]:.4f}, {found[1]:.4f} arcsec/px, not {right:.4f}" if wrong else ""


def square_pixels(s: ProductFile) -> str:
    """Both axes of one scale."""
    found = scales(s)
    return "" if abs(found[0] / found[1] - 1) <= 0.01 else f"{found[0]:.4f}, {found[1]:.4f}"


def centre(s: ProductFile) -> str:
    """The middle of the image against RA and DEC."""
    ra, dec, x, y = (s.number(key) for key in ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"))
    wcs = TangentWCS(ra, dec, x, y, 3600 * cd_matrix(s))
    size = [number_or(s, f"NAXIS{i}", 0) for i in (1, 2)]
    # A header without its pixels: the reference pixel is in the middle, see `scripts.lib.solving`.
    pixel = [(n + 1) / 2 if n else s.number(f"CRPIX{i}") for i, n in enumerate(size, 1)]
    (ra0,), (dec0,) = to_sky(wcs, pixel)
    off = distance(ra0, dec0, s.number("RA"), s.number("DEC"))
    return "" if off <= FARTHEST else f"centre {off:.2f} degrees from RA, DEC"
