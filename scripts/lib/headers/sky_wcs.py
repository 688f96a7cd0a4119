"""World coordinates of a frame on the sky, as a CD matrix in degrees a pixel.

One convention in every product: never CD together with PC, CDELT or CROTA (FITS Standard 4.0,
section 8.2). Frames without a sky: `scripts.lib.headers.pixel_wcs`.
"""

import math
from collections.abc import Mapping

import numpy as np

from scripts.lib.fits.cards import Header, HeaderError, Value, number
from scripts.lib.solving.tangent import TangentWCS, distance, to_sky

# A header's own WCS counts as the frame's if it lies where the telescope pointed, at its scale.
FARTHEST = 0.5  # degrees from RA, DEC to the centre of the frame
SCALE_TOLERANCE = 0.05

SKY_TYPES = ("RA---TAN", "DEC--TAN")
_SIP = ("A_", "B_", "AP_", "BP_")


class WrongWCS(ValueError):
    """The header's WCS is not that of the frame; the message says why."""


def header_wcs(raw: Header, ra: float, dec: float, pixel_scale: float) -> dict[str, Value]:
    """Return the sky WCS of a raw header as a CD matrix, with PA.

    Parameters
    ----------
    ra, dec : float
        Where the telescope pointed, in degrees.
    pixel_scale : float
        Of the camera as binned, in arcsec a pixel.

    Raises
    ------
    WrongWCS
        If there is none, or it cannot be this frame's.
    """
    try:
        wcs = _celestial(raw)
        middle = ((_number(raw, "NAXIS1") + 1) / 2, (_number(raw, "NAXIS2") + 1) / 2)
    except ValueError as error:
        raise WrongWCS(f"unreadable WCS: {error}") from error
    tangent = tangent_wcs(wcs)
    scales = [math.hypot(*column) for column in tangent.cd.T.tolist()]
    if any(abs(scale / pixel_scale - 1) > SCALE_TOLERANCE for scale in scales):
        raise WrongWCS(f"scale {scales[0]:.3f}, {scales[1]:.3f} is not {pixel_scale:.3f} arcsec/px")
    if abs(np.prod(tangent.cd, axis=1).sum()) > SCALE_TOLERANCE * scales[0] * scales[1]:
        raise WrongWCS("its axes are not at right angles")
    (ra0,), (dec0,) = to_sky(tangent, middle)
    off = distance(ra0, dec0, ra, dec)
    if not off <= FARTHEST:
        raise WrongWCS(f"its centre is {off:.2f} degrees from RA, DEC")
    return wcs


def _celestial(raw: Header) -> dict[str, Value]:
    """Return CTYPE, CRPIX, CRVAL, CD … of a raw header; the matrix from CD, or PC and CDELT."""
    types = tuple(raw.value(f"CTYPE{i}") for i in (1, 2))
    plain = tuple(str(name).removesuffix("-SIP") for name in types)
    if plain != SKY_TYPES or any(unit not in (None, "deg") for unit in _units(raw)):
        raise WrongWCS(f"CTYPE {types[0]}, {types[1]}: no tangential projection in degrees")
    linear = {key: _number(raw, key) for key in ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2")}
    linear |= {f"CD{i}_{j}": _matrix_element(raw, i, j) for i in (1, 2) for j in (1, 2)}
    linear["LONPOLE"] = _number(raw, "LONPOLE", 180.0)
    linear["LATPOLE"] = _number(raw, "LATPOLE", linear["CRVAL2"])
    wcs: dict[str, Value] = {"WCSAXES": 2, "CTYPE1": types[0], "CTYPE2": types[1]}
    wcs |= {"CUNIT1": "deg", "CUNIT2": "deg"}
    wcs |= linear
    if str(types[0]).endswith("-SIP"):
        wcs |= {key: raw.value(key) for key, _ in raw if key.startswith(_SIP)}
    wcs["PA"] = math.degrees(math.atan2(linear["CD1_2"], linear["CD2_2"])) % 360
    return wcs


def _units(raw: Header) -> tuple[Value, Value]:
    return raw.value("CUNIT1"), raw.value("CUNIT2")


def _matrix_element(raw: Header, i: int, j: int) -> float:
    """Return CDi_j in degrees a pixel, whichever convention the header has."""
    if "CD1_1" in raw:
        return _number(raw, f"CD{i}_{j}", 0.0)
    return _number(raw, f"PC{i}_{j}", float(i == j)) * _number(raw, f"CDELT{i}")


def _number(raw: Header, keyword: str, default: float | None = None) -> float:
    value = raw.value(keyword)
    if value is None:
        value = default
    if value is None:
        raise HeaderError(f"no {keyword}")
    return float(value)


def tangent_wcs(wcs: Mapping[str, Value]) -> TangentWCS:
    """Return the linear part of a WCS as keywords; raise `HeaderError` if it is not of numbers."""
    ra, dec, x, y = (number(wcs[key], key) for key in ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"))
    cd = [[number(wcs[key], key) for key in (f"CD{i}_1", f"CD{i}_2")] for i in (1, 2)]
    return TangentWCS(ra, dec, x, y, 3600 * np.array(cd))


def sky_wcs(wcs: TangentWCS) -> dict[str, Value]:
    """Return a WCS as keywords, with PA."""
    cd = wcs.cd / 3600
    return {
        "WCSAXES": 2,
        "CTYPE1": SKY_TYPES[0],
        "CTYPE2": SKY_TYPES[1],
        "CUNIT1": "deg",
        "CUNIT2": "deg",
        "CRPIX1": wcs.x,
        "CRPIX2": wcs.y,
        "CRVAL1": wcs.ra,
        "CRVAL2": wcs.dec,
        **{f"CD{i}_{j}": float(cd[i - 1, j - 1]) for i in (1, 2) for j in (1, 2)},
        "LONPOLE": 180.0,
        "LATPOLE": wcs.dec,
        "PA": wcs.rotation,
    }
