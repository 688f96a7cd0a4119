"""What the legacy pipeline makes of a night's raw frames, faults included, for tests.

Written from what is known of its products; it shares no code with the workflow.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.time import Time

NUMBER = {"Io": 1, "Callisto": 4}
PROGRAMME = {"Io": "60.A-9009(A)", "Callisto": "60.A-9009(D)"}
KINDS = {
    "Light Frame": ("SCIENCE", "OBJECT"),
    "Bias Frame": ("CALIB", "BIAS"),
    "Dark Frame": ("CALIB", "DARK"),
    "Flat Frame": ("CALIB", "FLAT"),
}
COLUMNS = "DATE-OBS EXPTIME FILTER OBJECT AIRMASS JD-OBS MJD-OBS HJD-OBS".split()
THREE = """ALTITUDE AZIMUTH FW-POS WINDSPD CCD-TEMP CAM-STAT SKYTEMP FOCUSTEM DOMEAZ AIRMASS
FOCUSPOS AMBTEMP HUMIDITY DEWPOINT LAT-OBS LONG-OBS""".split()
SIX = "MJD-OBS MJD-END JD-OBS JD-END HJD-OBS BJD-OBS LST".split()
SKY = """WCSAXES CTYPE1 CTYPE2 CUNIT1 CUNIT2 CRPIX1 CRPIX2 CRVAL1 CRVAL2 PC1_1 PC1_2 PC2_1 PC2_2
LONPOLE LATPOLE RADESYS EQUINOX""".split()
OUT_OF_TABLE = {"SIMPLE", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "BZERO", "BSCALE", *SKY}


def legacy_products(telescope: str, night: Path, folder: Path) -> list[Path]:
    """Write what the legacy pipeline would deliver of a night's raw frames; return the paths."""
    folder.mkdir(parents=True)
    frames = [legacy_frame(telescope, path) for path in sorted(night.glob("*.fits"))]
    if telescope == "Callisto":
        groups = defaultdict(list)
        for name, header, data in frames:
            groups[group_key(header)].append((name, header, data))
        for key, members in groups.items():
            write_cube(folder, key, members)
    else:
        for name, header, data in frames:
            write_raw(folder / name, header, data)
    return sorted(folder.iterdir())


def legacy_frame(telescope: str, path: Path) -> tuple[str, fits.Header, np.ndarray]:
    """Return a frame's name, header and stored pixels."""
    with fits.open(path, do_not_scale_image_data=True) as hdus:
        header, data = hdus[0].header.copy(), np.array(hdus[0].data)
    catg, kind = KINDS[header["IMAGETYP"]]
    name = f"SPECULOOS{NUMBER[telescope]}"
    start = Time(header["DATE-OBS"], format="isot", scale="utc")
    start.delta_ut1_utc = 0
    if catg == "CALIB":
        header["WCSAXES"] = 2
        for axis in "12":
            header[f"CTYPE{axis}"] = "PIXEL"
            header[f"CRPIX{axis}"] = header[f"CRVAL{axis}"] = 1.0
        header["PC1_1"], header["PC1_2"], header["PC2_1"], header["PC2_2"] = 1.0, 0.0, 0.0, 1.0
    elif "PC1_1" in header:
        turned = -header["PC2_1"], header["PC2_2"]
        header["PA"] = 180 - float(np.degrees(np.arctan2(*turned)))
    if catg == "SCIENCE":
        header["RA"], header["DEC"] = round(header["RA"], 5), round(header["DEC"], 5)
    header["TELESCOP"], header["INSTRUME"] = f"SPECULOOS-{telescope.upper()}", name
    header["ORIGIN"], header["BUNIT"] = "SSO-PARANAL", "adu"
    header["HIERARCH ESO INS NAME"] = name
    header["HIERARCH ESO OBS PROG ID"] = PROGRAMME[telescope]
    header["HIERARCH ESO DPR CATG"] = (catg, " Observation category")
    header["HIERARCH ESO DPR TYPE"] = kind
    header["HIERARCH ESO DPR TECH"] = "IMAGE"
    sidereal = start.sidereal_time("apparent", -70.4028 * u.deg).hour
    header["LST"] = (round(sidereal * 60, 3), "LST at start [sec]")
    when = start.datetime
    if not when.microsecond:
        header["DATE-OBS"] = start.isot
    midnight = when.replace(hour=0, minute=0, second=0, microsecond=0)
    header["UTC"] = round((when - midnight).total_seconds(), 8)
    header["MJD-OBS"] = round(start.mjd, 8)
    end = start.mjd + header["EXPTIME"] / 86400
    header["MJD-END"] = round(end, 8)
    header["DATE-END"] = header["DATE"] = Time(end, format="mjd", scale="utc").isot
    for keyword in ("CDELT1", "CDELT2", "COMMENT", "HISTORY"):
        header.remove(keyword, ignore_missing=True, remove_all=True)
    ms = f"{when.microsecond // 1000:03d}"
    return f"{name}.{when:%Y-%m-%dT%H_%M_%S}.{ms}.fits", header, data


def group_key(header: fits.Header) -> str:
    """Return what the frames of a cube have in common."""
    seconds = f"{header['EXPTIME']:.3f}".rstrip("0").rstrip(".") + "s"
    kind = KINDS[header["IMAGETYP"]][1]
    if kind == "OBJECT":
        # A slash would lose this cube and all that follow: the fault is not simulated.
        target = header["OBJECT"].replace(" ", "_").replace("/", "_")
        return f"{target}__{header['FILTER']}__{seconds}"
    middle = {"FLAT": f"flat__{header['FILTER']}__{seconds}", "DARK": f"dark__{seconds}"}
    return middle.get(kind, "bias")


def write_cube(folder: Path, key: str, members: list[tuple]) -> None:
    """Write a cube; its header is that of the second frame, which stands for any."""
    members.sort(key=lambda member: member[1]["DATE-OBS"])
    names, headers, planes = zip(*members, strict=True)
    header = headers[min(1, len(headers) - 1)].copy()
    catg, kind = (header[f"HIERARCH ESO DPR {word}"] for word in ("CATG", "TYPE"))
    for keyword in SKY:
        header.remove(keyword, ignore_missing=True)
    header["WCSAXES"] = 3
    for axis in "123":
        header[f"CTYPE{axis}"] = "PIXEL"
        header[f"CUNIT{axis}"] = "frame" if axis == "3" else "pixel"
        header[f"CRPIX{axis}"] = header[f"CRVAL{axis}"] = header[f"CDELT{axis}"] = 1.0
    header["DATE-OBS"] = header["DATE-OBS"][:23]
    last = headers[-1]
    header["DATE-END"] = (Time(last["DATE-OBS"]) + last["EXPTIME"] * u.s).isot[:23]
    for keyword in THREE + SIX:
        if keyword in header:
            header[keyword] = round(float(header[keyword]), 3 if keyword in THREE else 6)
    for keyword in ("PIERSIDE", "TELPARK"):
        header[keyword] = int(header[keyword])
    header["CUBETYPE"] = {"OBJECT": "SCIENCE"}.get(kind, kind)
    header["CUBEKEY"] = key
    header["COMMENT"] = "a cube"
    header["DATE"] = "2026-03-06T15:00:00.000"
    hdus = fits.HDUList([image(header, np.array(planes)), table_of(names, headers)])
    hdus[0].add_checksum()
    start = headers[0]["DATE-OBS"].split(".")[0].replace("-", "").replace(":", "")
    group = "S" if catg == "SCIENCE" else "C"
    number = header["INSTRUME"][-1]
    hdus.writeto(folder / f"SPECU{number}.{start}_{group}_{key.replace('__', '_')}.fits")


def table_of(names: tuple, headers: tuple) -> fits.BinTableHDU:
    """Return METADATA: the columns that are always there, and what varies."""
    every = dict.fromkeys(keyword for header in headers for keyword in header)
    varying = [
        keyword
        for keyword in every
        if not keyword.startswith("ESO ")
        and len({str(header.get(keyword)) for header in headers}) > 1
    ]
    columns = [fits.Column("FILENAME", f"{max(map(len, names))}A", array=names)]
    for keyword in dict.fromkeys(COLUMNS + varying):
        if keyword in OUT_OF_TABLE:
            continue
        values = [header.get(keyword) for header in headers]
        if all(value is None or isinstance(value, str) for value in values):
            text = [str("" if value is None else value) for value in values]
            columns.append(fits.Column(keyword, f"{max(1, *map(len, text))}A", array=text))
        else:
            # What is missing becomes 0.
            numbers = [float(value or 0) for value in values]
            columns.append(fits.Column(keyword, "D", array=numbers))
    return fits.BinTableHDU.from_columns(columns, name="METADATA")


def image(header: fits.Header, stored: np.ndarray) -> fits.PrimaryHDU:
    """Return a primary HDU of pixels that are stored as they are."""
    hdu = fits.PrimaryHDU((stored.astype(np.int32) + 32768).astype(np.uint16), header)
    hdu.header["BLANK"] = -32768
    return hdu


def write_raw(path: Path, header: fits.Header, stored: np.ndarray) -> None:
    """Write a frame; CHECKSUM and DATASUM are those of the raw one."""
    image(header, stored).writeto(path, overwrite=True)
