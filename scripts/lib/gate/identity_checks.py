"""Checks of who took a product, for whom, what it is and what it is called."""

from scripts.lib.frames.frame import ENGINEERING
from scripts.lib.frames.names import LONGEST
from scripts.lib.gate.product_file import ProductFile
from scripts.lib.gate.rules import check

DPR = "HIERARCH ESO DPR {}"


@check("I11a")
def known_telescope(p: ProductFile) -> str:
    return "" if p.telescope else f"{p.value('TELESCOP')!r}"


@check("I11b")
def one_telescope(p: ProductFile) -> str:
    telescope, configured = p.telescope, p.context.telescope
    if telescope is None:
        return f"TELESCOP {p.value('TELESCOP')!r} is none of ours"
    if configured not in (None, telescope):
        return f"{telescope.telescop}, not {configured.telescop}"
    for keyword in ("INSTRUME", "HIERARCH ESO INS NAME"):
        if p.value(keyword) != telescope.instrume:
            return f"{keyword} {p.value(keyword)!r} on {telescope.telescop}"
    if p.name_parts and p.name_parts[1] != (telescope.cubes if p.is_cube else telescope.frames):
        return f"{p.name} on {telescope.telescop}"
    return ""


@check("I12b")
def expected_programme(p: ProductFile) -> str:
    found, known = p.value("HIERARCH ESO OBS PROG ID"), p.context.programmes
    return f"{found}, not of {', '.join(known)}" if known and found not in known else ""


@check("I13a")
def kind(p: ProductFile) -> str:
    found = p.value("IMAGETYP")
    if p.kind is None:
        return f"unknown IMAGETYP {found!r}"
    if found != p.kind.imagetyp:
        return f"IMAGETYP {found!r} for {p.kind.imagetyp!r}"
    right = {"CATG": p.kind.catg, "TYPE": p.kind.type, "TECH": p.kind.tech}
    wrong = [f"{k} {p.value(DPR.format(k))!r}" for k in right if p.value(DPR.format(k)) != right[k]]
    return f"IMAGETYP {found!r} with DPR {', '.join(wrong)}" if wrong else ""


@check("I13b")
def purpose(p: ProductFile) -> str:
    found = p.value("ASTRATYP")
    return f"ASTRATYP {found}" if str(found).lower() in ENGINEERING else ""


@check("I14b")
def object_is_type(p: ProductFile) -> str:
    found = p.required("OBJECT")
    if p.kind is None:
        return f"OBJECT {found!r} with an unknown IMAGETYP"
    return "" if found == p.kind.type else f"OBJECT {found!r} on a {p.kind.name}"


@check("I16c")
def exposure_time(p: ProductFile) -> str:
    bias = p.kind is not None and p.kind.name == "bias"
    return "" if bias or p.value("EXPTIME") != 0 else "EXPTIME 0"


@check("D43a")
def short_name(p: ProductFile) -> str:
    return "" if len(p.name) <= LONGEST else f"{len(p.name)} characters"


@check("D43b")
def name_form(p: ProductFile) -> str:
    return "" if p.name_parts else p.name
