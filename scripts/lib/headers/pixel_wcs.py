"""World coordinates of frames and cubes without a sky: pixels, as ESO asks for calibrations."""

from scripts.lib.fits.cards import Value


def pixel_wcs(axes: int = 2) -> dict[str, Value]:
    """Return the keywords of a frame, or a cube, without sky coordinates.

    A third axis counts frames; it is linear and has no unit.
    """
    numbers = range(1, axes + 1)
    first: dict[str, Value] = {"WCSAXES": axes}
    return (
        first
        | {f"CTYPE{i}": "PIXEL" if i < 3 else "LINEAR" for i in numbers}
        | {f"CUNIT{i}": "pixel" for i in numbers if i < 3}
        | {f"CRPIX{i}": 1.0 for i in numbers}
        | {f"CRVAL{i}": 1.0 for i in numbers}
        | {f"CDELT{i}": 1.0 for i in numbers}
    )


def linear_pixel_wcs() -> dict[str, Value]:
    """Return `pixel_wcs` of a frame with all keywords that a sky frame beside it has.

    In one table of both every value must be a number: a reader that makes keywords of the columns
    cannot write NaN.
    """
    wcs = {key: value for key, value in pixel_wcs().items() if not key.startswith("CDELT")}
    wcs |= {"CD1_1": 1.0, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1.0}
    return wcs | {"LONPOLE": 180.0, "LATPOLE": 0.0, "PA": 0.0}
