"""Checks of the file and its cards: rules of FITS, and the order of ESO."""

import re
from collections import Counter

from scripts.lib.fits.cards import CARD_FORM, COMMENTARY, END, VALUE_FORM, readable
from scripts.lib.fits.checksum import ALL_ONES, data_sum, fold
from scripts.lib.fits.hdu import BLOCK
from scripts.lib.gate.product_file import ProductFile
from scripts.lib.gate.rules import check

HIERARCH = re.compile(rb"HIERARCH ESO(?: [A-Z0-9_-]+)+ *= *" + VALUE_FORM)
EMPTY = re.compile(rb"= *(?:' *'(?!')|/|\Z)")
PRINTABLE = re.compile(rb"[ -~]*")

# Units of all that we write (config/keywords.csv), and pixel.
UNITS = {"adu", "pixel", "pix", "deg", "s", "d", "yr", "m", "um", "m/s", "m**2", "arcsec", "mas"}
ESO_ORDER = ("DPR", "OBS", "TPL", "GEN", "TEL", "ADA", "INS", "DET")
PRIMARY = ("ORIGIN", "TELESCOP", "INSTRUME", "OBJECT", "EXPTIME", "DATE-OBS", "MJD-OBS")


@check("F1")
def layout(p: ProductFile) -> str:
    if p.size % BLOCK:
        return f"{p.size} bytes"
    if p.hdus[-1].end != p.size:
        return f"{p.size - p.hdus[-1].end} bytes more than the HDUs"
    for number, hdu in enumerate(p.hdus):
        if hdu.head[len(hdu.header.images) * 80 + len(END) :].strip(b" "):
            return f"text after END of HDU {number}"
    return ""


@check("F2a")
def cards(p: ProductFile) -> str:
    for header in p.headers:
        for keyword, image in header:
            form = HIERARCH if keyword.startswith("HIERARCH") else CARD_FORM
            is_card = keyword in COMMENTARY or form.fullmatch(image)
            if not (is_card and PRINTABLE.fullmatch(image)):
                return repr(readable(image))
    return ""


@check("F2b")
def structure(p: ProductFile) -> str:
    for number, hdu in enumerate(p.hdus):
        axes = [f"NAXIS{i}" for i in range(1, hdu.header.whole("NAXIS") + 1)]
        wanted = ["XTENSION" if number else "SIMPLE", "BITPIX", "NAXIS", *axes]
        wanted += ["PCOUNT", "GCOUNT"] if number else []
        wanted += ["TFIELDS"] if hdu.header.value("XTENSION") == "BINTABLE" else []
        found = hdu.header.keywords[: len(wanted)]
        if found != wanted:
            return f"HDU {number} begins with {', '.join(found)}"
    extend = p.value("EXTEND")
    if p.value("SIMPLE") is not True:
        return f"SIMPLE {p.value('SIMPLE')!r}"
    if "EXTEND" in p.header and not isinstance(extend, bool):
        return f"EXTEND {extend!r}"
    return f"EXTEND {extend!r} before extensions" if len(p.hdus) > 1 and not extend else ""


@check("F3a")
def datasums(p: ProductFile) -> str:
    for number, hdu in enumerate(p.hdus):
        stated = hdu.header.value("DATASUM")
        if str(stated) != str(hdu.sum):
            return f"{stated} in HDU {number}, its data have {hdu.sum}"
    return ""


@check("F3b")
def checksums(p: ProductFile) -> str:
    for number, hdu in enumerate(p.hdus):
        if hdu.header.value("CHECKSUM") is None:
            return f"none in HDU {number}"
        if fold(data_sum(hdu.head) + hdu.sum) != ALL_ONES:
            return f"HDU {number} does not add up: changed after it was summed"
    return ""


@check("F5a")
def duplicates(p: ProductFile) -> str:
    for header in p.headers:
        counts = Counter(keyword for keyword in header.keywords if keyword not in COMMENTARY)
        if twice := [keyword for keyword, count in counts.items() if count > 1]:
            return f"{', '.join(twice)} twice"
    return ""


@check("F11")
def reserved(p: ProductFile) -> str:
    rows = p.context.reserved
    for header in p.headers[1:]:
        for keyword in header.keywords:
            if fault := rows.fault(keyword, header.value(keyword), "table"):
                return f"METADATA: {fault}"
    for keyword in p.header.keywords:
        if row := rows.row(keyword):
            if fault := rows.fault(keyword, p.value(keyword)):
                return fault
            axis = max(map(int, re.findall(r"\d+", keyword)), default=0)
            axes = "NAXIS" if keyword.startswith("NAXIS") else "WCSAXES"
            if row.source.startswith(("FITS 4.4.1.1", "FITS 8")) and axis > p.number(axes, axis):
                return f"{keyword} with {axes} {p.value(axes)} ({row.source})"
    return ""


@check("F5c")
def empty_values(p: ProductFile) -> str:
    for keyword, image in p.header:
        if EMPTY.match(image, image.find(b"=")) and keyword not in COMMENTARY:
            return f"none for {keyword}"
    return ""


@check("F7c")
def camera_size(p: ProductFile) -> str:
    camera = p.context.camera
    if camera is None or p.value("XORGSUBF") or p.value("YORGSUBF"):
        return ""
    x, y = (p.number(key) if p.value(key) else 1 for key in ("XBINNING", "YBINNING"))
    right = int(camera.naxis1 // x), int(camera.naxis2 // y)
    found = p.value("NAXIS1"), p.value("NAXIS2")
    return "" if found == right else f"{found[0]} x {found[1]}, not {right[0]} x {right[1]}"


@check("F8b")
def units(p: ProductFile) -> str:
    for header in p.headers:
        for keyword in header.keywords:
            if keyword.startswith(("CUNIT", "TUNIT")) and header.value(keyword) not in UNITS:
                return f"{keyword} {header.value(keyword)!r}"
    return ""


@check("F9a")
def section_order(p: ProductFile) -> str:
    found = p.header.keywords
    wcs = [place for place, keyword in enumerate(found) if keyword in p.wcs_keywords]
    eso = [place for place, keyword in enumerate(found) if keyword.startswith("HIERARCH")]
    late = [k for k in PRIMARY if k in found and found.index(k) > min(wcs + eso, default=1 << 30)]
    if late:
        return f"{late[0]} after world coordinates or HIERARCH"
    return f"{found[wcs[-1]]} after HIERARCH" if wcs and eso and wcs[-1] > eso[0] else ""


@check("F9b")
def hierarch_order(p: ProductFile) -> str:
    hierarch = [k for k in p.header.keywords if k.startswith("HIERARCH ESO ")]
    words = [keyword.split()[2] for keyword in hierarch]
    known = [ESO_ORDER.index(word) if word in ESO_ORDER else len(ESO_ORDER) for word in words]
    return "" if known == sorted(known) else ", ".join(dict.fromkeys(words))
