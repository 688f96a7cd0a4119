"""Checks of who took a product, for whom, and what it is."""

import re

from scripts.lib.frames.frame import ENGINEERING
from scripts.lib.frames.names import LONGEST
from scripts.lib.gate.product_file import ProductFile

FRAME = re.compile(r"SPECULOOS([1-4])\.(\d{4}-\d\d-\d\dT\d\d_\d\d_\d\d\.\d{3})\.fits")
CUBE = re.compile(r"SPECU([1-4])\.(\d{8}T\d{6})_([SC]_[A-Za-z0-9.+_-]+)\.fits")
DPR = "HIERARCH ESO DPR {}"


def one_telescope(s: ProductFile) -> str:
    """TELESCOP, INSTRUME, INS NAME, the digit of the file name, the configuration."""
    telescope = s.telescope
    if telescope is None:
        return f"TELESCOP {s.value('TELESCOP')!r} is none of ours"
    if s.expected.telescope not in (None, telescope):
        return f"{telescope.telescop}, not {s.expected.telescope.telescop}"
    for keyword in ("INSTRUME", "HIERARCH ESO INS NAME"):
        if s.value(keyword) != telescope.instrume:
            return f"{keyword} {s.value(keyword)!r} on {telescope.telescop}"
    match = name_match(s)
    if match and int(match[1]) != telescope.number:
        return f"{s.name} on {telescope.telescop}"
    return ""


def name_match(s: ProductFile) -> re.Match[str] | None:
    """Return the parts of a product's name: number, start, of cubes the sequence."""
    return (CUBE if s.is_cube else FRAME).fullmatch(s.name)


def expected_programme(s: ProductFile) -> str:
    """Whether the configuration knows the programme."""
    found, known = s.value("HIERARCH ESO OBS PROG ID"), s.expected.programmes
    return f"{found}, not of {', '.join(known)}" if known and found not in known else ""


def kind(s: ProductFile) -> str:
    """IMAGETYP and the three DPR keywords."""
    if s.kind is None:
        return f"unknown IMAGETYP {s.value('IMAGETYP')!r}"
    if s.value("IMAGETYP") != s.kind.imagetyp:
        return f"IMAGETYP {s.value('IMAGETYP')!r} for {s.kind.imagetyp!r}"
    right = {"CATG": s.kind.catg, "TYPE": s.kind.type, "TECH": s.kind.tech}
    wrong = [f"{k} {s.value(DPR.format(k))!r}" for k in right if s.value(DPR.format(k)) != right[k]]
    return f"IMAGETYP {s.value('IMAGETYP')!r} with DPR {', '.join(wrong)}" if wrong else ""


def purpose(s: ProductFile) -> str:
    """Exposures that set up the telescope."""
    found = s.value("ASTRATYP")
    return f"ASTRATYP {found}" if str(found).lower() in ENGINEERING else ""


def object_is_type(s: ProductFile) -> str:
    """OBJECT of calibrations."""
    found = s.required("OBJECT")
    if s.kind is None:
        return f"OBJECT {found!r} with an unknown IMAGETYP"
    return "" if found == s.kind.type else f"OBJECT {found!r} on a {s.kind.name}"


def exposed(s: ProductFile) -> str:
    """EXPTIME of all but biases."""
    bias = s.kind is not None and s.kind.name == "bias"
    return "" if bias or s.value("EXPTIME") != 0 else "EXPTIME 0"


def short_name(s: ProductFile) -> str:
    """Length of the file name: ESO keeps it as a string."""
    return "" if len(s.name) <= LONGEST else f"{len(s.name)} characters"


def name_form(s: ProductFile) -> str:
    """Form of the file name."""
    return "" if name_match(s) else s.name
