"""Check products against all that ESO and the survey's reader require, see config/checks.csv.

Exit status: 0 if all would be delivered, 1 if one would be refused.
"""

import argparse
import json
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from scripts.lib.fits.cards import HeaderError
from scripts.lib.gate import product_file
from scripts.lib.gate.checks import ERROR, WARNING, Check, Finding, errors, judged, read_checks
from scripts.lib.gate.product_file import TABLES, Context, ProductFile, dp_id, read_product_file
from scripts.lib.nights.cameras import of_night
from scripts.lib.nights.dates import night_bounds, night_of, parse_night
from scripts.lib.settings.check import ConfigurationError
from scripts.lib.settings.profile import read_file

# Columns are named as keywords, hyphens included: the reader wants it so.
HYPHEN = "contains character '-'"
CLASH = "one product for one millisecond of an instrument"

# Gives what a product is judged against.
ContextOf = Callable[[ProductFile], Context]


def validate(path: Path, checks: list[Check], context_of: ContextOf) -> tuple[list[Finding], str]:
    """Return what is wrong with a file, and the name that ESO would give it."""
    try:
        product = read_product_file(path, product_file.context_of())
    except (ArithmeticError, HeaderError, OSError, TypeError, ValueError) as error:
        return [Finding("F1", ERROR, "", str(error), "a FITS file", "FITS")], ""
    product.context = context_of(product)
    try:
        name = dp_id(product)
    except (ArithmeticError, HeaderError, TypeError, ValueError):
        name = ""  # a check of its own says why
    return judged(product, checks), name


def ask_other_tools(path: Path) -> Iterator[Finding]:
    """Yield what fitsverify and astropy say of a file and its world coordinates."""
    done = subprocess.run(
        ["fitsverify", "-H", "-l", str(path)], capture_output=True, text=True, errors="replace"
    )
    for line in done.stdout.splitlines():
        text = line.strip().strip("* ")
        if line.startswith("*** Warning") and HYPHEN not in line:
            yield Finding("F2d", ERROR, "", text, "no warning of fitsverify", "FITS")
        elif line.startswith(("*** Error", "**** Abort")):
            yield Finding("F2c", ERROR, "", text, "no error of fitsverify", "FITS")
    from astropy.io import fits
    from astropy.wcs import WCS

    right = "nothing that astropy reports"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            with fits.open(path, checksum=True) as hdus:
                hdus.verify("exception")
                WCS(hdus[0].header)
        except Exception as error:
            yield Finding("F4", ERROR, "", f"{type(error).__name__}: {error}", right, "FITS")
    for warning in said:
        text = " ".join(str(warning.message).split())
        yield Finding("W32", WARNING, "", text, right, "FITS")


def contexts(configs: list[Path], night: str) -> ContextOf:
    """Return what gives the context of products: by their telescope and its camera of the night."""
    paths = configs or [path for path in TABLES.glob("*.yaml") if path.name != "schema.yaml"]
    known = {settings.telescope: settings for settings in map(read_file, paths)}
    if night:
        parse_night(night)

    def context(product: ProductFile) -> Context:
        settings = known.get(product.telescope.name) if product.telescope else None
        if settings is None:
            return product.context
        longitude = settings.place.longitude
        try:
            of = night or night_of(product.start, longitude)
        except ValueError:
            of = ""  # a check of its own says why
        others = [entry.programme for entry in settings.programmes if entry.programme]
        bounds = night_bounds(night, longitude) if night else None
        camera = of_night(settings, of).camera
        programmes = (settings.programme, *others)
        return product_file.context_of(settings.telescope, camera, bounds, programmes=programmes)

    return context


def listing(found: dict[Path, list[Finding]]) -> str:
    """Return what is wrong with each file, as text; the last line counts."""
    lines = []
    for path, findings in found.items():
        lines += [f"{path}: {verdict(findings)}"] if findings else []
        lines += [f"  {finding.level:8}{finding}" for finding in findings]
    refused = sum(bool(errors(findings)) for findings in found.values())
    noted = sum(bool(findings) for findings in found.values()) - refused
    count = len(found) - refused
    lines.append(f"{count} passed, {noted} of them with warnings; {refused} refused")
    return "\n".join(lines)


def survey(found: dict[Path, list[Finding]]) -> str:
    """Return what is wrong with many files: how many have it, and an example."""
    counts = Counter(finding.id for findings in found.values() for finding in findings)
    first = {f.id: (path, f) for path, fs in reversed(found.items()) for f in fs}
    clean = sum(not findings for findings in found.values())
    lines = [f"{len(found)} files, {clean} of them without any finding"]
    for check, count in counts.most_common():
        path, finding = first[check]
        lines += [f"{count:6d} x {finding.level:8}{finding}", f"         first {path}"]
    return "\n".join(lines)


def verdict(findings: list[Finding]) -> str:
    """Return a file's verdict in a word."""
    return "refused" if errors(findings) else "passed"


def main(words: list[str] | None = None) -> int:
    """Validate the files that the command line names."""
    parser = argparse.ArgumentParser(prog="speculoos-archive validate", description=__doc__)
    add = parser.add_argument
    add("files", nargs="+", type=Path, metavar="FILE")
    add("--json", action="store_true", help="print a list, for programs")
    add("--night", default="", help="YYYYMMDD that they must belong to")
    add("--config", action="append", default=[], type=Path, help="default: config/*.yaml")
    legacy = "of files of the legacy pipeline: count what is wrong, exit status 0"
    add("--legacy", action="store_true", help=legacy)
    add("--tools", action="store_true", help="ask fitsverify and astropy as well (slower)")
    given = parser.parse_args(words)
    if given.tools and not shutil.which("fitsverify"):
        parser.error("--tools needs Debian's package fitsverify")
    try:
        context = contexts(given.config, given.night)
    except ConfigurationError as error:
        parser.error(str(error))
    checks = read_checks(TABLES / "checks.csv")
    found: dict[Path, list[Finding]] = {}
    first: dict[str, Path] = {}  # by dp_id
    for path in given.files:
        found[path], name = validate(path, checks, context)
        if given.tools:
            found[path] += ask_other_tools(path)
        if name and first.setdefault(name, path) != path:
            text = f"{name}, as {first[name].name}"
            found[path].append(Finding("T24", ERROR, "MJD-OBS", text, CLASH, "ESO"))
    if given.json:
        content = [
            {"file": str(path), "verdict": verdict(fs), "findings": [f._asdict() for f in fs]}
            for path, fs in found.items()
        ]
        print(json.dumps(content, indent=1))
    else:
        print(survey(found) if given.legacy else listing(found))
    return 0 if given.legacy or not any(map(errors, found.values())) else 1


if __name__ == "__main__":
    sys.exit(main())
