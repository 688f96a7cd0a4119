"""World coordinates as keywords: a CD matrix on the sky, or pixels as on calibrations.

One convention in every product: never CD together with PC, CDELT or CROTA (FITS Standard 4.0,
section 8.2).
"""

import math
from collections.abc import Mapping

import numpy as np

from scripts.lib.fits.cards import Header, HeaderError, Value, as_number
from scripts.lib.solving.tangent import TangentWCS, distance, to_sky

# A header's own WCS counts as the frame's if it lies where the telescope pointed, at its scale.
FARTHEST = 0.5  # degrees from RA, DEC to the centre of the frame
SCALE_TOLERANCE = 0.05

SKY_TYPES = ("RA---TAN", "DEC--TAN")
_SIP = ("A_", "B_", "AP_", "BP_")
_SKY: dict[str, Value] = {"WCSAXES": 2, "CUNIT1": "deg", "CUNIT2": "deg"}
_MATRIX = [(i, j) for i in (1, 2) for j in (1, 2)]


def header_wcs(raw: Header, ra: float, dec: float, pixel_scale: float) -> dict[str, Value]:
    """Return the sky WCS of a raw header as a CD matrix, with PA.

    Raises `HeaderError` if there is none, or it cannot be this frame's.

    Parameters
    ----------
    ra, dec : float
        Where the telescope pointed, in degrees.
    pixel_scale : float
        Of the camera as binned, in arcsec a pixel.
    """
    try:
        wcs = _celestial(raw)
        middle = ((_number(raw, "NAXIS1") + 1) / 2, (_number(raw, "NAXIS2") + 1) / 2)
    except ValueError as error:
        raise HeaderError(f"unreadable WCS: {error}") from error
    tangent = tangent_wcs(wcs)
    scales = [math.hypot(*column) for column in tangent.cd.T.tolist()]
    if any(abs(scale / pixel_scale - 1) > SCALE_TOLERANCE for scale in scales):
        raise HeaderError(
            f"scale {scales[0]:.3f}, {scales[1]:.3f} is not {pixel_scale:.3f} arcsec/px"
        )
    if abs(np.prod(tangent.cd, axis=1).sum()) > SCALE_TOLERANCE * scales[0] * scales[1]:
        raise HeaderError("its axes are not at right angles")
    (ra0,), (dec0,) = to_sky(tangent, middle)
    off = distance(ra0, dec0, ra, dec)
    if not off <= FARTHEST:
        raise HeaderError(f"its centre is {off:.2f} degrees from RA, DEC")
    return wcs


def _celestial(raw: Header) -> dict[str, Value]:
    """Return CTYPE, CRPIX, CRVAL, CD … of a raw header; the matrix from CD, or PC and CDELT."""
    types = raw.value("CTYPE1"), raw.value("CTYPE2")
    plain = tuple(str(name).removesuffix("-SIP") for name in types)
    units = {raw.value("CUNIT1"), raw.value("CUNIT2")}
    if plain != SKY_TYPES or not units <= {None, "deg"}:
        raise HeaderError(f"CTYPE {types[0]}, {types[1]}: no tangential projection in degrees")
    linear = {key: _number(raw, key) for key in ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2")}
    for i, j in _MATRIX:
        if "CD1_1" in raw:
            linear[f"CD{i}_{j}"] = _number(raw, f"CD{i}_{j}", 0.0)
        else:
            element = _number(raw, f"PC{i}_{j}", float(i == j)) * _number(raw, f"CDELT{i}")
            linear[f"CD{i}_{j}"] = element
    linear["LONPOLE"] = _number(raw, "LONPOLE", 180.0)
    linear["LATPOLE"] = _number(raw, "LATPOLE", linear["CRVAL2"])
    wcs = _SKY | {"CTYPE1": types[0], "CTYPE2": types[1]} | linear
    if str(types[0]).endswith("-SIP"):
        wcs |= {key: raw.value(key) for key, _ in raw if key.startswith(_SIP)}
    wcs["PA"] = math.degrees(math.atan2(linear["CD1_2"], linear["CD2_2"])) % 360
    return wcs


def _number(raw: Header, keyword: str, default: float | None = None) -> float:
    value = default if (found := raw.value(keyword)) is None else found
    if value is None:
        raise HeaderError(f"no {keyword}")
    return float(value)


def tangent_wcs(wcs: Mapping[str, Value]) -> TangentWCS:
    """Return the linear part of a WCS as keywords; raise `HeaderError` if it is not of numbers."""
    ra, dec, x, y = (as_number(wcs[key], key) for key in ("CRVAL1", "CRVAL2", "CRPIX1", "CRPIX2"))
    cd = [[as_number(wcs[key], key) for key in (f"CD{i}_1", f"CD{i}_2")] for i in (1, 2)]
    return TangentWCS(ra, dec, x, y, 3600 * np.array(cd))


def sky_wcs(wcs: TangentWCS, error: float) -> dict[str, Value]:
    """Return a WCS as keywords, with PA; ``error`` is that of its reference point, arcsec."""
    cd = wcs.cd / 3600
    return (
        _SKY
        | {"CTYPE1": SKY_TYPES[0], "CTYPE2": SKY_TYPES[1]}
        | {"CRPIX1": wcs.x, "CRPIX2": wcs.y, "CRVAL1": wcs.ra, "CRVAL2": wcs.dec}
        | {f"CD{i}_{j}": float(cd[i - 1, j - 1]) for i, j in _MATRIX}
        | {"CRDER1": error / 3600, "CRDER2": error / 3600}
        | {"LONPOLE": 180.0, "LATPOLE": wcs.dec, "PA": wcs.rotation}
    )


def pixel_wcs(axes: int = 2) -> dict[str, Value]:
    """Return the keywords of a frame, or a cube, without sky coordinates.

    A third axis counts frames; it is linear and has no unit.
    """
    wcs: dict[str, Value] = {"WCSAXES": axes}
    for i in range(1, axes + 1):
        wcs |= {f"CTYPE{i}": "PIXEL" if i < 3 else "LINEAR"}
        wcs |= {f"CRPIX{i}": 1.0, f"CRVAL{i}": 1.0, f"CDELT{i}": 1.0}
        if i < 3:
            wcs[f"CUNIT{i}"] = "pixel"
    return wcs


def pixels_beside_sky() -> dict[str, Value]:
    """Return `pixel_wcs` of a frame with all keywords that a sky frame beside it has.

    In one table of both every value must be a number: a reader that makes keywords of the columns
    cannot write NaN.
    """
    wcs = {key: value for key, value in pixel_wcs().items() if not key.startswith("CDELT")}
    wcs |= {f"CD{i}_{j}": float(i == j) for i, j in _MATRIX}
    return wcs | {"CRDER1": 0.0, "CRDER2": 0.0, "LONPOLE": 180.0, "LATPOLE": 0.0, "PA": 0.0}
