"""Checks of world coordinates: one convention, the right scale, where the telescope pointed."""

import math
import re

import numpy as np

from scripts.lib.gate.product_file import ProductFile
from scripts.lib.gate.rules import check
from scripts.lib.headers.wcs import FARTHEST, SCALE_TOLERANCE, SKY_TYPES
from scripts.lib.solving.tangent import TangentWCS, distance, to_sky

ARCSEC = 206264.806  # in a radian
LEAST_SINE = 0.1  # of the angle between the axes of an image
PC, CD = re.compile(r"PC\d_\d"), re.compile(r"CD\d_\d")
CDELT, CROTA = re.compile(r"CDELT\d"), re.compile(r"CROTA\d")


def has(p: ProductFile, form: re.Pattern[str]) -> bool:
    """Return whether there is a keyword of a form."""
    return any(map(form.fullmatch, p.wcs_keywords))


@check("W26c")
def wcsaxes_first(p: ProductFile) -> str:
    first = next(iter(p.wcs_keywords), "WCSAXES")
    return "" if first == "WCSAXES" else f"{first} before WCSAXES"


@check("W26d")
def wcsaxes_before_frame(p: ProductFile) -> str:
    wanted = ("WCSAXES", "RADESYS", "EQUINOX")
    found = [keyword for keyword in p.header.keywords if keyword in wanted]
    return f"{found[0]} before WCSAXES" if "WCSAXES" in found[1:] else ""


@check("W27a")
def pc_or_cd(p: ProductFile) -> str:
    return "PC and CD" if has(p, PC) and has(p, CD) else ""


@check("W27b")
def pc_with_cdelt(p: ProductFile) -> str:
    # The scale is lost.
    return "PC without CDELT" if has(p, PC) and not has(p, CDELT) else ""


@check("W27c")
def cd_without_cdelt(p: ProductFile) -> str:
    return "CD and CDELT" if has(p, CD) and has(p, CDELT) else ""


@check("W27d")
def no_rotation(p: ProductFile) -> str:
    return "CROTA" if has(p, CROTA) else ""


@check("W28a")
def axis_types(p: ProductFile) -> str:
    found = [p.value(f"CTYPE{i}") for i in (1, 2, 3) if f"CTYPE{i}" in p.header]
    plain = tuple(str(name).removesuffix("-SIP") for name in found[:2])
    third = found[2:] in ([], ["LINEAR"], ["PIXEL"])
    bent = any(str(name).endswith("-SIP") for name in found)
    if not third or plain not in (SKY_TYPES, ("PIXEL", "PIXEL")):
        return f"CTYPE {found}"
    return f"CTYPE {found} without A_ORDER" if bent and "A_ORDER" not in p.header else ""


@check("W28b", "W28c")
def pixel_system(p: ProductFile) -> str:
    """Check the linear coordinates of two axes, or three of a cube, whose sky is in METADATA."""
    for i in range(1, 4 if p.is_cube else 3):
        for keyword in (f"CRPIX{i}", f"CRVAL{i}", f"CDELT{i}"):
            found = p.value(keyword)
            if not isinstance(found, int | float) or not math.isfinite(found):
                return f"{keyword} {found!r}"
        if p.value(f"CDELT{i}") != 1:
            return f"CDELT{i} {p.value(f'CDELT{i}')}"
        if p.value(f"CUNIT{i}") not in (None, "pixel", "pix"):
            return f"CUNIT{i} {p.value(f'CUNIT{i}')!r}"
    return ""


def cd_matrix(p: ProductFile) -> np.ndarray:
    """Return the linear transformation in degrees a pixel, (2, 2), from CD, or PC and CDELT."""
    if has(p, CD):
        return np.array([[p.number(f"CD{i}_{j}") for j in (1, 2)] for i in (1, 2)], float)
    pc = [[p.number(f"PC{i}_{j}", float(i == j)) for j in (1, 2)] for i in (1, 2)]
    # 0 counts as no CDELT.
    cdelt = [[p.number(f"CDELT{i}", 1.0) or 1.0] for i in (1, 2)]
    cd: np.ndarray = np.array(pc, float) * np.array(cdelt, float)
    return cd


def scales(p: ProductFile) -> list[float]:
    """Return the scale along both axes, arcsec a pixel."""
    return [3600 * math.hypot(*column) for column in cd_matrix(p).T.tolist()]


@check("W29a")
def matrix(p: ProductFile) -> str:
    cd = cd_matrix(p)
    point = [p.number(key) for key in ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2")]
    if not (np.isfinite(cd).all() and all(map(math.isfinite, point))):
        return "not finite"
    return "" if bool(independent(cd)) else f"singular, {cd.tolist()}"


def independent(cd: np.ndarray) -> np.ndarray:
    """Return, for matrices (…, 2, 2), whether the two axes point in different directions."""
    lengths = np.prod(np.linalg.norm(cd, axis=-2), axis=-1)
    found: np.ndarray = np.abs(np.linalg.det(cd)) > LEAST_SINE * lengths
    return found


@check("W29b")
def scale(p: ProductFile) -> str:
    # XPIXSZ is in um, as binned, FOCALLEN in m.
    right = ARCSEC * p.number("XPIXSZ") * 1e-6 / p.number("FOCALLEN")
    found = scales(p)
    wrong = any(abs(one / right - 1) > SCALE_TOLERANCE for one in found)
    return f"{found[0]:.4f}, {found[1]:.4f} arcsec/px, not {right:.4f}" if wrong else ""


@check("W29c")
def square_pixels(p: ProductFile) -> str:
    found = scales(p)
    return "" if abs(found[0] / found[1] - 1) <= 0.01 else f"{found[0]:.4f}, {found[1]:.4f}"


@check("W30a")
def centre(p: ProductFile) -> str:
    ra, dec, x, y = (p.number(key) for key in ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"))
    # A header without its pixels: the reference pixel is in the middle, see `scripts.lib.solving`.
    size = [p.number(f"NAXIS{i}", 0) for i in (1, 2)]
    pixel = [(n + 1) / 2 if n else p.number(f"CRPIX{i}") for i, n in enumerate(size, 1)]
    (ra0,), (dec0,) = to_sky(TangentWCS(ra, dec, x, y, 3600 * cd_matrix(p)), pixel)
    off = distance(ra0, dec0, p.number("RA"), p.number("DEC"))
    return "" if off <= FARTHEST else f"centre {off:.2f} degrees from RA, DEC"
