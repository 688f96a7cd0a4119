"""World coordinates of a frame on the sky, as a CD matrix in degrees a pixel.

One convention in every product: never CD together with PC, CDELT or CROTA (FITS Standard 4.0,
section 8.2). Frames without a sky: `scripts.lib.headers.pixel_wcs`.
"""

import math

import numpy as np

from scripts.lib.fits.cards import Header, HeaderError
from scripts.lib.solving.tangent import TangentWCS, distance, to_sky

# A header's own WCS counts as the frame's if it lies where the telescope pointed, at its scale.
FARTHEST = 0.5  # degrees from RA, DEC to the centre of the frame
SCALE_TOLERANCE = 0.05

SKY_TYPES = ("RA---TAN", "DEC--TAN")
_SIP = ("A_", "B_", "AP_", "BP_")


class WrongWCS(ValueError):
    """The header's WCS is not that of the frame; the message says why."""


def header_wcs(raw: Header, ra: float, dec: float, pixel_scale: float) -> dict:
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
    except (HeaderError, TypeError, ValueError) as error:
        raise WrongWCS(f"unreadable WCS: {error}") from error
    scales = [3600 * math.hypot(wcs[f"CD1_{i}"], wcs[f"CD2_{i}"]) for i in (1, 2)]
    if any(abs(scale / pixel_scale - 1) > SCALE_TOLERANCE for scale in scales):
        raise WrongWCS(f"scale {scales[0]:.3f}, {scales[1]:.3f} is not {pixel_scale:.3f} arcsec/px")
    cosine = (wcs["CD1_1"] * wcs["CD1_2"] + wcs["CD2_1"] * wcs["CD2_2"]) / (
        scales[0] * scales[1] / 3600**2
    )
    if abs(cosine) > SCALE_TOLERANCE:
        raise WrongWCS("its axes are not at right angles")
    middle = ((raw.value("NAXIS1") + 1) / 2, (raw.value("NAXIS2") + 1) / 2)
    (ra0,), (dec0,) = to_sky(tangent_wcs(wcs), middle)
    off = distance(ra0, dec0, ra, dec)
    if not off <= FARTHEST:
        raise WrongWCS(f"its centre is {off:.2f} degrees from RA, DEC")
    return wcs


def _celestial(raw: Header) -> dict:
    """Return CTYPE, CRPIX, CRVAL, CD … of a raw header; the matrix from CD, or PC and CDELT."""
    types = tuple(raw.value(f"CTYPE{i}") for i in (1, 2))
    plain = tuple(str(name).removesuffix("-SIP") for name in types)
    if plain != SKY_TYPES or any(unit not in (None, "deg") for unit in _units(raw)):
        raise WrongWCS(f"CTYPE {types[0]}, {types[1]}: no tangential projection in degrees")
    wcs = {"WCSAXES": 2, "CTYPE1": types[0], "CTYPE2": types[1], "CUNIT1": "deg", "CUNIT2": "deg"}
    wcs |= {key: float(raw.value(key)) for key in ("CRPIX1", "CRPIX2", "CRVAL1", "CRVAL2")}
    for i in (1, 2):
        for j in (1, 2):
            wcs[f"CD{i}_{j}"] = _matrix_element(raw, i, j)
    wcs["LONPOLE"] = float(_or(raw.value("LONPOLE"), 180.0))
    wcs["LATPOLE"] = float(_or(raw.value("LATPOLE"), wcs["CRVAL2"]))
    if types[0].endswith("-SIP"):
        wcs |= {key: raw.value(key) for key, _ in raw if key.startswith(_SIP)}
    wcs["PA"] = math.degrees(math.atan2(wcs["CD1_2"], wcs["CD2_2"])) % 360
    return wcs


def _units(raw: Header) -> tuple:
    return raw.value("CUNIT1"), raw.value("CUNIT2")


def _matrix_element(raw: Header, i: int, j: int) -> float:
    """Return CDi_j in degrees a pixel, whichever convention the header has."""
    if "CD1_1" in raw:
        return float(_or(raw.value(f"CD{i}_{j}"), 0.0))
    return float(_or(raw.value(f"PC{i}_{j}"), float(i == j))) * float(raw.value(f"CDELT{i}"))


def _or(value, default):
    return default if value is None else value


def tangent_wcs(wcs: dict) -> TangentWCS:
    """Return the linear part of a WCS as keywords."""
    cd = 3600 * np.array([[wcs[f"CD{i}_{j}"] for j in (1, 2)] for i in (1, 2)])
    return TangentWCS(wcs["CRVAL1"], wcs["CRVAL2"], wcs["CRPIX1"], wcs["CRPIX2"], cd)


def sky_wcs(wcs: TangentWCS) -> dict:
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
