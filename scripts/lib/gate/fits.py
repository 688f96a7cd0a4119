"""Checks of the file and its cards: what FITS asks, and the order that ESO asks."""

import re
from collections import Counter

from scripts.lib.fits.cards import COMMENTARY, END, readable
from scripts.lib.fits.checksum import ALL_ONES, data_sum, fold
from scripts.lib.fits.hdu import BLOCK
from scripts.lib.gate.product_file import ProductFile, SummedHdu

# FITS 4.2: a string, a logical, a number, a pair of numbers, or nothing; then a comment.
_NUMBER = rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[ED][+-]?\d+)?"
_VALUE = rb" *(?:'(?:[^']|'')*'|[TF]|%s|\( *%s *, *%s *\))? *(?:/.*)?" % ((_NUMBER,) * 3)
CARD = re.compile(rb"(?=[A-Z0-9_-]+ *= )[A-Z0-9_ -]{8}= " + _VALUE)
HIERARCH = re.compile(rb"HIERARCH ESO(?: [A-Z0-9_-]+)+ *= *" + _VALUE)
EMPTY = re.compile(rb"= *(?:' *'(?!')|/|\Z)")
PRINTABLE = re.compile(rb"[ -~]*")

# Units of all that we write (config/keywords.csv), and pixel.
UNITS = {"adu", "pixel", "pix", "deg", "s", "d", "yr", "m", "um", "m/s", "m**2", "arcsec", "mas"}
ESO_ORDER = ("DPR", "OBS", "TPL", "GEN", "TEL", "ADA", "INS", "DET")
WCS = re.compile(
    r"WCSAXES|C(TYPE|UNIT|RPIX|RVAL|DELT|ROTA)\d|(CD|PC)\d_\d|LONPOLE|LATPOLE|[AB]P?_.*"
)
ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(\.\d+)?)?")
PRIMARY = ("ORIGIN", "TELESCOP", "INSTRUME", "OBJECT", "EXPTIME", "DATE-OBS", "MJD-OBS")


def layout(s: ProductFile) -> str:
    """Blocks, padding of headers with blanks, of data with zeros, nothing behind."""
    if s.size % BLOCK:
        return f"{s.size} bytes"
    if s.hdus[-1].end != s.size:
        return f"{s.size - s.hdus[-1].end} bytes more than the HDUs"
    for number, hdu in enumerate(s.hdus):
        if hdu.head[len(hdu.header.images) * 80 + len(END) :].strip(b" "):
            return f"text after END of HDU {number}"
    return ""


def cards(s: ProductFile) -> str:
    """Every card of every header."""
    headers = [hdu.header for hdu in s.hdus] or [s.header]
    for header in headers:
        for keyword, image in header:
            if not is_card(keyword, image):
                return repr(readable(image))
    return ""


def is_card(keyword: str, image: bytes) -> bool:
    """Tell whether 80 bytes are a card of FITS; of ESO's, if it is HIERARCH."""
    if not PRINTABLE.fullmatch(image):
        return False
    form = HIERARCH if keyword.startswith("HIERARCH") else CARD
    return keyword in COMMENTARY or bool(form.fullmatch(image))


def structure(s: ProductFile) -> str:
    """The cards that say how an HDU is stored, in their order."""
    for number, hdu in enumerate(s.hdus):
        found = hdu.header.keywords
        wanted = wanted_structure(hdu, number)
        if found[: len(wanted)] != wanted:
            return f"HDU {number} begins with {', '.join(found[: len(wanted)])}"
    if s.value("SIMPLE") is not True:
        return f"SIMPLE {s.value('SIMPLE')!r}"
    if "EXTEND" in s.header and not isinstance(s.value("EXTEND"), bool):
        return f"EXTEND {s.value('EXTEND')!r}"
    if len(s.hdus) > 1 and s.value("EXTEND") is not True:
        return f"EXTEND {s.value('EXTEND')!r} before extensions"
    return ""


def wanted_structure(hdu: SummedHdu, number: int) -> list[str]:
    """Return the keywords that an HDU must begin with."""
    axes = [f"NAXIS{i}" for i in range(1, hdu.header.whole("NAXIS") + 1)]
    first = ["SIMPLE" if number == 0 else "XTENSION", "BITPIX", "NAXIS", *axes]
    if number == 0:
        return first
    is_table = hdu.header.value("XTENSION") == "BINTABLE"
    return [*first, "PCOUNT", "GCOUNT", *(["TFIELDS"] if is_table else [])]


def datasums(s: ProductFile) -> str:
    """DATASUM of every HDU."""
    for number, hdu in enumerate(s.hdus):
        stated = hdu.header.value("DATASUM")
        if str(stated) != str(hdu.sum):
            return f"{stated} in HDU {number}, its data have {hdu.sum}"
    return ""


def checksums(s: ProductFile) -> str:
    """CHECKSUM of every HDU."""
    for number, hdu in enumerate(s.hdus):
        if hdu.header.value("CHECKSUM") is None:
            return f"none in HDU {number}"
        if fold(data_sum(hdu.head) + hdu.sum) != ALL_ONES:
            return f"HDU {number} does not add up: changed after it was summed"
    return ""


def duplicates(s: ProductFile) -> str:
    """Keywords that stand twice."""
    for header in [hdu.header for hdu in s.hdus] or [s.header]:
        counts = Counter(header.keywords)
        twice = [k for k, count in counts.items() if count > 1 and k not in COMMENTARY]
        if twice:
            return f"{', '.join(twice)} twice"
    return ""


def empty_values(s: ProductFile) -> str:
    """Keywords without a value."""
    for keyword, image in s.header:
        if EMPTY.match(image, image.find(b"=")) and keyword not in COMMENTARY:
            return f"none for {keyword}"
    return ""


def other_dates(s: ProductFile) -> str:
    """Dates beside those that have a check of their own."""
    for keyword in s.header.keywords:
        if keyword.startswith("DATE") and not ISO_DATE.fullmatch(str(s.value(keyword))):
            return f"{keyword} {s.value(keyword)!r}"
    return ""


def camera_size(s: ProductFile) -> str:
    """Size of the image; subframes may have any."""
    camera = s.expected.camera
    if camera is None or s.value("XORGSUBF") or s.value("YORGSUBF"):
        return ""
    x, y = (s.number(key) if s.value(key) else 1 for key in ("XBINNING", "YBINNING"))
    right = int(camera.naxis1 // x), int(camera.naxis2 // y)
    found = s.value("NAXIS1"), s.value("NAXIS2")
    return "" if found == right else f"{found[0]} x {found[1]}, not {right[0]} x {right[1]}"


def units(s: ProductFile) -> str:
    """CUNIT and TUNIT."""
    for header in [hdu.header for hdu in s.hdus] or [s.header]:
        for keyword in header.keywords:
            if keyword.startswith(("CUNIT", "TUNIT")) and header.value(keyword) not in UNITS:
                return f"{keyword} {header.value(keyword)!r}"
    return ""


def section_order(s: ProductFile) -> str:
    """Primary keywords, world coordinates, HIERARCH ESO."""
    found = s.header.keywords
    wcs = [place for place, keyword in enumerate(found) if WCS.fullmatch(keyword)]
    eso = [place for place, keyword in enumerate(found) if keyword.startswith("HIERARCH")]
    late = [k for k in PRIMARY if k in found and found.index(k) > min(wcs + eso, default=1 << 30)]
    if late:
        return f"{late[0]} after world coordinates or HIERARCH"
    return f"{found[wcs[-1]]} after HIERARCH" if wcs and eso and wcs[-1] > eso[0] else ""


def hierarch_order(s: ProductFile) -> str:
    """Categories of HIERARCH ESO."""
    words = [
        keyword.split()[2] for keyword in s.header.keywords if keyword.startswith("HIERARCH ESO ")
    ]
    known = [ESO_ORDER.index(word) if word in ESO_ORDER else len(ESO_ORDER) for word in words]
    return "" if known == sorted(known) else ", ".join(dict.fromkeys(words))
