"""World coordinates of raw frames and products, angles."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from scripts.lib.fits.cards import Header, HeaderError, card, literal
from scripts.lib.fits.hdu import header_bytes
from scripts.lib.headers.values import degrees
from scripts.lib.headers.wcs import header_wcs, pixel_wcs
from scripts.lib.solving.tangent import distance


def raw(**changes) -> Header:
    values = {
        "NAXIS1": 1024,
        "NAXIS2": 1280,
        "CTYPE1": "RA---TAN",
        "CTYPE2": "DEC--TAN",
        "CUNIT1": "deg",
        "CUNIT2": "deg",
        "CRPIX1": 512.5,
        "CRPIX2": 640.5,
        "CRVAL1": 121.3,
        "CRVAL2": 4.28,
        "PC1_1": -8.58e-5,
        "PC1_2": -1.05e-6,
        "PC2_1": -1.05e-6,
        "PC2_2": 8.58e-5,
        "CDELT1": 1.0,
        "CDELT2": 1.0,
    }
    return Header([card(k, literal(v)) for k, v in (values | changes).items() if v is not None])


def astropy_position(header: Header, x: float, y: float):
    text = header_bytes(header.images).decode()
    return WCS(fits.Header.fromstring(text)).all_pix2world([[x, y]], 1)[0]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"PC1_1": -1.0, "PC1_2": 0.0, "PC2_1": 0.0, "PC2_2": 1.0}
        | {"CDELT1": 8.58e-5, "CDELT2": 8.58e-5},
        {"PC1_1": None, "PC1_2": None, "PC2_1": None, "PC2_2": None}
        | {"CDELT1": None, "CDELT2": None}
        | {"CD1_1": 8.58e-5, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 8.58e-5},
    ],
)
def test_any_convention_becomes_the_same_sky_as_a_cd_matrix(changes):
    header = raw(**changes)
    wcs = header_wcs(header, 121.3, 4.28, 0.309)
    mine = Header([card(key, literal(value)) for key, value in wcs.items()])
    for x, y in ((1, 1), (1024, 1280), (700, 3)):
        assert np.allclose(astropy_position(mine, x, y), astropy_position(header, x, y), atol=1e-9)
    assert not any(key.startswith(("PC", "CDELT", "CROTA")) for key in wcs)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"CRVAL1": 122.0}, "0.70 degrees from RA, DEC"),
        ({"CDELT1": 1.1, "CDELT2": 1.1}, "scale"),
        ({"CTYPE1": None}, "no tangential projection"),
        ({"CTYPE1": "RA---ZPN"}, "no tangential projection"),
        ({"PC1_1": 0.0, "PC1_2": 0.0, "PC2_1": 0.0, "PC2_2": 0.0}, "scale"),
        ({"PC1_2": 8e-5, "PC1_1": 3e-5, "PC2_1": 8e-5, "PC2_2": 3e-5}, "right angles"),
        ({"CRVAL2": "north"}, "unreadable"),
    ],
)
def test_a_wcs_that_cannot_be_the_frames_is_not_taken(changes, why):
    with pytest.raises(HeaderError, match=why):
        header_wcs(raw(**changes), 121.3, 4.28, 0.309)


def test_distances_on_the_sky():
    assert distance(0, 0, 0, 90) == pytest.approx(90)
    assert distance(359.9, 0, 0.1, 0) == pytest.approx(0.2)


def test_pixel_coordinates_of_a_cube_count_frames_without_a_unit():
    wcs = pixel_wcs(3)
    assert wcs["WCSAXES"] == 3 and wcs["CTYPE3"] == "LINEAR" and "CUNIT3" not in wcs


@pytest.mark.parametrize(
    ("value", "keyword", "per_unit", "right"),
    [
        (121.3, "RA", 15, 121.3),
        ("08 05 12.0", "RA", 15, 121.3),
        ("-00:30:00", "DEC", 1, -0.5),
        ("+04 16 48", "DEC", 1, 4.28),
    ],
)
def test_angles_as_numbers_and_sexagesimal(value, keyword, per_unit, right):
    assert degrees(value, keyword, per_unit) == pytest.approx(right)
