"""The gate: every check catches its fault, good products pass, all tools agree."""

import gzip
import json
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from scripts.commands.validate import main, validate
from scripts.lib.files.errors import JobFailed
from scripts.lib.files.tables import read_table
from scripts.lib.fits.bintable import Column, table_columns, table_hdu
from scripts.lib.fits.cards import CARD, Header, card, keyword_of, quoted
from scripts.lib.fits.checksum import data_sum
from scripts.lib.fits.hdu import data_size, padded, read_header, with_checksums
from scripts.lib.frames.names import group_of, sequence_of
from scripts.lib.gate.checks import errors, judged, read_checks
from scripts.lib.gate.product_file import TABLES, read_product_file
from scripts.lib.gate.rules import FUNCTIONS
from scripts.lib.headers.finished import read_headers
from scripts.lib.nights.dates import night_bounds
from scripts.lib.nights.times import parse_date
from scripts.lib.settings.profile import read_file
from scripts.lib.settings.telescopes import telescopes
from tests.night import NIGHT, REPOSITORY, Night
from tests.records import expectations

CHECKS = read_checks(TABLES / "checks.csv")
IO = telescopes()["Io"]
# Large enough for stars by which frames are solved.
SIZES = {"Callisto": (512, 640), "Io": (700, 716)}


@pytest.fixture(scope="module")
def products(tmp_path_factory) -> dict:
    """Good products by kind, and the context of their checks."""
    found = {}
    for telescope, size in SIZES.items():
        night = Night(tmp_path_factory.mktemp(telescope), telescope, size=size)
        night.simulate(14, every_kind=True)
        night.run(catalogue=night.stars())
        settings = read_file(night.config)
        for path in night.products():
            expected = expectations(settings, NIGHT, headers_of(night, path))
            product = read_product_file(path, expected)
            assert product.is_cube == bool(expected.headers)
            words = [telescope, product.kind.name, *(product.traits & {"sky", "pixel", "cube"})]
            found.setdefault(" ".join(sorted(words)), (path, expected))
    return found


def headers_of(night: Night, product: Path) -> dict:
    sequence = sequence_of(product.name)
    return read_headers(night.folder / "headers" / group_of(sequence) / f"{sequence}.fits")


FRAME, BIAS, FLAT = "Io science sky", "Io bias pixel", "Io flat pixel"
CUBE, DARKS = "Callisto cube pixel science", "Callisto cube dark pixel"


def test_there_is_every_kind_of_product(products):
    assert {FRAME, BIAS, FLAT, CUBE, DARKS} <= products.keys()


def test_good_products_pass_without_a_warning(products):
    for path, expected in products.values():
        assert judged(read_product_file(path, expected), CHECKS) == []


# One fault each. A change gets the cards of the primary header and returns others; the file is
# then given new checksums, so that nothing but the fault is wrong.


def put(after: str = "", **values):
    """Write values as text of the card; None removes the card."""
    changes = {name.replace("__", " ").replace("_", "-"): text for name, text in values.items()}

    def change(images):
        result = [i for i in images if keyword_of(i) not in changes]
        place = {keyword_of(i): n for n, i in reversed(list(enumerate(images)))}
        for keyword, text in changes.items():
            if text is not None:
                image = card(keyword, text)
                at = min(place.get(after or keyword, len(result)), len(result))
                result.insert(at + bool(after), image)
        return result

    return change


def raw(image: bytes, instead_of: str = ""):
    """Add 80 bytes, or put them in the place of a card."""

    def change(images):
        kept = [i for i in images if keyword_of(i) != instead_of]
        return [*kept, image.ljust(CARD)]

    return change


def moved(keyword: str, before: str = ""):
    """Move a card before another, or to the end."""

    def change(images):
        found = [i for i in images if keyword_of(i) == keyword]
        rest = [i for i in images if keyword_of(i) != keyword]
        at = [keyword_of(i) for i in rest].index(before) if before else len(rest)
        return rest[:at] + found + rest[at:]

    return change


def value(keyword: str, function):
    """Write a function of the present value."""

    def change(images):
        found = Header(images).value(keyword)
        return put(**{keyword.replace(" ", "__").replace("-", "_"): function(found)})(images)

    return change


def both(*changes):
    """Make several changes."""

    def change(images):
        for one in changes:
            images = one(images)
        return images

    return change


def text(words: str) -> str:
    return quoted(words)


HDU0 = [
    ("F2a", FRAME, raw(b"object  = 'x'")),
    ("F2a", FRAME, raw(b"TABBED  = 'a\tb'")),
    ("F2a", FRAME, raw(b"ACCENT  = 'S\xc3\xa9bastien'")),
    ("F2a", FRAME, raw(b"AIRMASS =                  nan", "AIRMASS")),
    ("F2a", FRAME, raw(b"FILTER  = 'zYJ", "FILTER")),
    ("F2a", FRAME, raw(b"HIERARCH ESO Obs Name = 'x'")),
    ("F2a", FRAME, raw(b"HIERARCH ESO OBS NAME = 60.A-9009(A)")),
    ("F2b", FRAME, moved("NAXIS1", "BZERO")),
    ("F2b", CUBE, put(EXTEND="F")),
    ("F2b", FRAME, put(SIMPLE="F")),
    ("F2b", CUBE, put(EXTEND="5")),
    ("F5a", FRAME, raw(b"OBJECT  = 'twice'")),
    ("F5b", FRAME, raw(b"CONTINUE  'more'")),
    ("F5c", FRAME, put(FILTER="''")),
    ("F5c", FRAME, raw(b"NOVALUE =                      / nothing")),
    ("F5c", FRAME, raw(b"HIERARCH ESO OBS NAME = ''")),
    ("F11", FRAME, raw(b"AUTHOR  =                   12")),
    ("F11", FRAME, raw(b"DATAMAX = '65535   '")),
    ("F11", FRAME, raw(b"OBSGEO-X= '1946404.3'")),
    ("F11", FRAME, raw(b"CNAME1  =                    1")),
    ("F11", CUBE, raw(b"TBCOL1  =                    1")),
    ("F11", FRAME, raw(b"PC01_01 =                  1.0")),
    ("F11", FLAT, raw(b"CTYPE1S = 'RA---TAN-SIP'")),
    ("F6a", FRAME, both(put(BITPIX="8"), value("NAXIS1", lambda n: str(2 * n)))),
    ("F6b", FRAME, put(BZERO="0")),
    ("F6c", FRAME, put(BSCALE="2")),
    ("F6d", FRAME, put(BLANK="-32768")),
    ("F7a", FRAME, both(put(NAXIS="3"), put("NAXIS2", NAXIS3="1"))),
    ("F7b", CUBE, both(put(NAXIS="2", NAXIS3=None), put(NAXIS2="PLANES"))),
    ("F7c", FRAME, put(NAXIS1=str(SIZES["Io"][1]), NAXIS2=str(SIZES["Io"][0]))),
    ("F8a", FRAME, put(BUNIT=text("ADU"))),
    ("F8b", FRAME, put(CUNIT1=text("frame"))),
    ("F8b", CUBE, put("CUNIT2", CUNIT3=text("frame"))),
    ("F9a", FRAME, moved("OBJECT")),
    ("F9a", FRAME, moved("CRVAL1")),
    ("F9b", FRAME, moved("HIERARCH ESO INS NAME", "HIERARCH ESO DPR CATG")),
    ("F10a", FRAME, put(HDRVER=text("8"))),
    ("F10b", FRAME, put(ARCFILE=text("SPECU1.2026-03-06T00:00:10.999.fits"))),
    ("F10c", FRAME, put(ORIGFILE=text("x.fits"))),
    ("F10d", FRAME, put(EPOCH="2000.0")),
    ("F10e", FRAME, put(RADECSYS=text("ICRS"))),
    ("F10f", FRAME, put(BLOCKED="T")),
    ("I11a", FRAME, put(TELESCOP=text("Io"))),
    ("I11b", FRAME, put(INSTRUME=text("SPECULOOS2"))),
    ("I11b", FRAME, put(TELESCOP=text("SPECULOOS-EUROPA"))),
    ("I11b", FRAME, put(HIERARCH__ESO__INS__NAME=text("Andor"))),
    ("I12a", FRAME, put(HIERARCH__ESO__OBS__PROG__ID=text("60.A-9009"))),
    ("I12a", FRAME, put(HIERARCH__ESO__OBS__PROG__ID=None)),
    ("I12b", FRAME, put(HIERARCH__ESO__OBS__PROG__ID=text("60.A-9099(A)"))),
    ("I13a", FRAME, put(HIERARCH__ESO__DPR__CATG=text("CALIB"))),
    ("I13a", FRAME, put(HIERARCH__ESO__DPR__TECH=None)),
    ("I13a", FRAME, put(IMAGETYP=text("Unknown Frame"))),
    ("I13a", FRAME, put(IMAGETYP=text("object"))),
    ("I13b", FRAME, put(ASTRATYP=text("autofocus"))),
    ("I14a", FRAME, put(OBJECT=None)),
    ("I14b", DARKS, put(OBJECT=text("Sp0805+0417"))),
    ("I14c", FRAME, put(OBJECT=text("x" * 31))),
    ("I15a", FRAME, put(OBSERVER=text("A. Nobody"))),
    ("I15b", FRAME, put(PI_COI=None)),
    ("I15c", FRAME, put(ORIGIN=text("x" * 31))),
    ("I16a", FRAME, put(EXPTIME="-1.000")),
    ("I16a", FRAME, put(EXPTIME=text("10"))),
    ("I16a", FRAME, put(EXPTIME=None)),
    ("I16b", BIAS, put(EXPTIME="1.000")),
    ("I16c", FRAME, put(EXPTIME="0.000")),
    ("I16d", FRAME, put(FILTER=None)),
    ("T17a", FRAME, put(DATE=text("05/03/26"))),
    ("T17b", FRAME, value("DATE-OBS", lambda found: text(found + "Z"))),
    ("T17b", FRAME, value("DATE-OBS", lambda found: text(found + "456"))),
    ("T17b", FRAME, value("DATE-OBS", lambda found: text(found.replace("T", " ")))),
    ("T17b", FRAME, put(DATE_OBS=text("2026-02-30T00:00:00.000"))),
    ("T17c", FRAME, put(DATE_END=None)),
    ("T17d", FRAME, put(TIMESYS=text("TAI"))),
    ("T17e", FRAME, put(DATE_AVG=text("05/03/26"))),
    ("T18a", FRAME, value("MJD-OBS", lambda found: f"{round(found, 6):.10f}")),
    ("T18b", FRAME, value("MJD-OBS", lambda found: f"{found:.7f}")),
    ("T18b", FRAME, value("MJD-OBS", lambda found: f"{found:.12E}")),
    ("T18c", FRAME, value("JD-OBS", lambda found: f"{found + 1:.10f}")),
    ("T18d", FRAME, value("HJD-OBS", lambda found: f"{found + 0.01:.10f}")),
    ("T18d", FRAME, put(HJD_OBS=None)),
    ("T19", FRAME, value("UTC", lambda found: f"{found + 1:.3f}")),
    ("T20a", FRAME, put(LST="86400.5")),
    ("T20b", FRAME, value("LST", lambda found: f"{found / 60:.3f}")),
    ("T21a", FRAME, put(DATE_END=text("2026-03-06T09:00:00.000"))),
    ("T21a", FRAME, value("EXPTIME", lambda found: f"{found + 0.01:.3f}")),
    ("T21b", CUBE, put(DATE_END=text("2026-03-06T09:00:00.000"))),
    ("T21c", FRAME, value("MJD-END", lambda found: f"{found + 1e-6:.10f}")),
    ("T22a", FRAME, put(DATE=text("2026-03-05T00:00:00.000"))),
    ("T22b", FRAME, put(DATE=text("2099-01-01T00:00:00.000"))),
    ("T22c", FRAME, lambda images: put(DATE=text(Header(images).value("DATE-END")))(images)),
    ("W26a", FRAME, put(WCSAXES="3")),
    ("W26a", FRAME, put(WCSAXES=None)),
    ("W26b", CUBE, put(WCSAXES="2")),
    ("W26c", FRAME, moved("WCSAXES", "RADESYS")),
    ("W26d", FRAME, moved("RADESYS", "WCSAXES")),
    ("W27a", FRAME, raw(b"PC1_1   =                  1.0")),
    ("W27d", FRAME, put(CROTA2="0.0")),
    ("W28a", FRAME, put(CTYPE1=text("RA---TANN"))),
    ("W28a", FRAME, put(CTYPE2=None)),
    ("W28a", CUBE, put(CTYPE3=text("FREQ"))),
    ("W28b", FLAT, put(CDELT1=None)),
    ("W28b", FLAT, put(CDELT1="2.0")),
    ("W28a", FRAME, put(CTYPE1=text("RA---TAN-SIP"), CTYPE2=text("DEC--TAN-SIP"))),
    ("W28b", FLAT, put(CRVAL2=None)),
    ("W28b", FLAT, put(CUNIT1=text("deg"))),
    ("W28c", CUBE, put(CRPIX3=None)),
    ("W30b", FRAME, put(RA="361.0")),
    ("W30b", FRAME, put(RA=text("08 05 12"))),
    ("W30c", FRAME, put(DEC=None)),
    ("W30d", FLAT, put(RA=text("08 05 12"))),
    ("W30e", FLAT, put(DEC="-91.0")),
    ("W30f", CUBE, put(RA=None)),
    ("W30g", DARKS, put(DEC=None)),
    ("W33a", FRAME, put(LAT_OBS=None)),
    ("W33b", FRAME, put(LONG_OBS=text("70 W"))),
    ("W33c", FRAME, put(ALT_OBS=None)),
    ("W33d", CUBE, put(XPIXSZ="0.0")),
    ("W33e", FRAME, put(FOCALLEN=None)),
    ("W31a", FRAME, put(CUNIT1=text("arcsec"))),
    ("W31b", FRAME, put(CUNIT2=None)),
    ("W31c", FRAME, put(RADESYS=None)),
    ("W31c", FRAME, put(RADESYS=text("GALACTIC"))),
    ("W31e", FLAT, put(RADESYS="T")),
    ("W31d", FRAME, put("RADESYS", EQUINOX="2000.0")),
]


def cd(function):
    """Change the CD matrix, a dict of its four elements."""

    def change(images):
        header = Header(images)
        names = [f"CD{i}_{j}" for i in (1, 2) for j in (1, 2)]
        found = function({name: header.value(name) for name in names})
        return [
            card(keyword_of(i), repr(float(found[keyword_of(i)])).upper())
            if keyword_of(i) in found
            else i
            for i in images
        ]

    return change


def pc(images):
    """Write the matrix as PC, without CDELT."""
    return [
        i.replace(b"CD", b"PC", 1) if i.startswith(b"CD") and b"_" in i[:8] else i for i in images
    ]


def with_cdelt(images):
    return put("CRVAL2", CDELT1="1.0")(images)


HDU0 += [
    ("W27b", FRAME, pc),
    ("W27c", FRAME, with_cdelt),
    ("W29a", FRAME, cd(lambda m: dict.fromkeys(m, 0.0))),
    ("W29a", FRAME, cd(lambda m: m | {"CD1_2": m["CD1_1"], "CD2_2": 1.05 * m["CD2_1"]})),
    ("W29a", FRAME, lambda images: [i for i in images if keyword_of(i) != "CD1_2"]),
    ("W29b", FRAME, cd(lambda m: {k: 1.1 * v for k, v in m.items()})),
    ("W29c", FRAME, cd(lambda m: m | {"CD1_1": 1.03 * m["CD1_1"], "CD2_1": 1.03 * m["CD2_1"]})),
    ("W30a", FRAME, value("CRVAL2", lambda found: repr(found + 0.6))),
]


def named(rows) -> list:
    return [pytest.param(*row, id=f"{row[0]}-{number}") for number, row in enumerate(rows)]


def found_by(path: Path, expected) -> set[str]:
    """Return the checks that a file fails; also if it cannot be read at all."""
    return {finding.id for finding in validate(path, CHECKS, lambda name: expected)[0]}


@pytest.mark.parametrize("check, product, change", named(HDU0))
def test_a_fault_in_the_header_is_caught(products, tmp_path, check, product, change):
    path, expected = products[product]
    content = path.read_bytes()
    header, begin = split(content)
    images = change([i for i in header.images if keyword_of(i) not in ("DATASUM", "CHECKSUM")])
    planes = header.value("NAXIS2") * (header.value("NAXIS3") or 1)
    images = [i.replace(b"PLANES", str(planes).encode().rjust(6)) for i in images]
    broken = tmp_path / path.name
    size = padded(data_size(header))
    total = data_sum(content[begin : begin + size])
    broken.write_bytes(with_checksums(images, total) + content[begin:])
    assert check in found_by(broken, expected)


def split(content: bytes) -> tuple[Header, int]:
    import io

    stream = io.BytesIO(content)
    return read_header(stream), stream.tell()


# Faults of files


def flipped(content: bytes) -> bytes:
    header, begin = split(content)
    return content[: begin + 100] + bytes([content[begin + 100] ^ 1]) + content[begin + 101 :]


FILES = [
    ("F1", FRAME, lambda c: c + bytes(2880)),
    ("F1", FRAME, lambda c: c[:-2880]),
    ("F1", FRAME, lambda c: c[:-1]),
    ("F1", FRAME, lambda c: b""),
    ("F1", FRAME, lambda c: b"not FITS".ljust(2880)),
    (
        "F1",
        FRAME,
        lambda c: re.sub(rb"END {77}(.*?) {9}", rb"END" + b" " * 77 + rb"\1 leftover", c, count=1),
    ),
    ("F3a", FRAME, flipped),
    ("F3a", CUBE, lambda c: re.sub(rb"(DATASUM = ')\d", rb"\1x", c, count=1)),
    ("F3a", FRAME, lambda c: c.replace(b"DATASUM ", b"DATASUX ", 1)),
    ("F3b", FRAME, lambda c: c.replace(b"CHECKSUM", b"CHECKSUX", 1)),
    ("F3b", FRAME, lambda c: c.replace(b"conforms", b"CONFORMS", 1)),
    ("F3b", CUBE, lambda c: c.replace(b"keywords of each", b"KEYWORDS of each", 1)),
]


@pytest.mark.parametrize("check, product, change", named(FILES))
def test_a_fault_in_the_file_is_caught(products, tmp_path, check, product, change):
    path, expected = products[product]
    broken = tmp_path / path.name
    broken.write_bytes(change(path.read_bytes()))
    assert check in found_by(broken, expected)


NAMES = [
    ("T25a", FRAME, "SPECULOOS1.2026-03-06T00_00_00.001.fits"),
    ("T25b", CUBE, "SPECU4.20260306T120000_S_x.fits"),
    ("T25c", CUBE, "SPECU4.20260306T000000_S_x.fits"),
    ("I11b", FRAME, "SPECULOOS2.2026-03-06T00_00_00.001.fits"),
    ("D43a", CUBE, f"SPECU4.20260306T000000_S_{'x' * 60}.fits"),
    ("D43b", FRAME, "SPECULOOS1.fits"),
    ("D43b", CUBE, "SPECU4.20260306T000000_S_i'.fits"),
]


@pytest.mark.parametrize("check, product, name", named(NAMES))
def test_a_wrong_name_is_caught(products, tmp_path, check, product, name):
    path, expected = products[product]
    (tmp_path / name).write_bytes(path.read_bytes())
    assert check in found_by(tmp_path / name, expected)


def test_another_night_and_the_edge_of_a_night_are_caught(products):
    path, expected = products[FRAME]
    later = night_bounds("20260307", IO.site.longitude)
    assert "T23" in found_by(path, expected._replace(bounds=later))
    start = parse_date(read_product_file(path, expected).value("DATE-OBS"))
    edge = (start - timedelta(minutes=10), start + timedelta(days=1))
    assert found_by(path, expected._replace(bounds=edge)) == {"T23b"}


# Faults of cubes


def column(name: str, function):
    """Change the values of a column; those of another type make it another column."""

    def change(columns):
        return columns | {name: function(list(columns[name]))}

    return change


def renamed(name: str, new: str):
    return lambda columns: {new if key == name else key: v for key, v in columns.items()}


TABLES_OF_CUBES = [
    ("C33a", lambda columns: {k: v[:-1] for k, v in columns.items()}),
    ("C33b", renamed("JD-OBS", "JD")),
    ("C34a", lambda columns: {k: v[::-1] for k, v in columns.items()}),
    ("C34a", column("DATE-OBS", lambda v: [d + "456" for d in v])),
    ("C34b", column("DATE-OBS", lambda v: [v[0][:-3] + "000", *v[1:]])),
    ("C34b", column("MJD-OBS", lambda v: [v[0] + 1e-6, *v[1:]])),
    ("C34c", column("MJD-OBS", lambda v: [*v[:-1], v[-1] + 1])),
    ("C34c", column("JD-OBS", lambda v: [*v[:-1], v[-1] + 1e-6])),
    ("C35", column("FILTER", lambda v: ["I+z", *v[1:]])),
    ("C35", column("EXPTIME", lambda v: [v[0], v[1] + 1, *v[2:]])),
    ("C35", lambda columns: columns | {"XBINNING": [1, 2, *[1] * (len(columns["EXPTIME"]) - 2)]}),
    ("C37", lambda columns: columns | {"DATASUM": list(range(len(columns["EXPTIME"])))}),
    ("C37", lambda columns: columns | {"WCSAXES": [2 + i for i in range(len(columns["EXPTIME"]))]}),
    ("C38", column("FILENAME", lambda v: [v[0], v[0], *v[2:]])),
    ("C38", column("FILENAME", lambda v: v[::-1])),
    ("C38", column("FILENAME", lambda v: [n.replace("SPECULOOS4", "SPECULOOS1") for n in v])),
    ("C39b", column("CRVAL1", lambda v: [*v[:-1], v[-1] + 10])),
    ("C39b", column("CD1_1", lambda v: [*v[:-1], 0.0])),
    ("C38", column("FILENAME", lambda v: ["x.fits", *v[1:]])),
    ("C40", column("AIRMASS", lambda v: [v[0] + 0.1, *v[1:]])),
    ("C40", renamed("HJD-OBS", "HJD")),
    ("F8b", lambda columns: columns),
]


@pytest.mark.parametrize("check, change", named(TABLES_OF_CUBES))
def test_a_fault_in_metadata_is_caught(products, tmp_path, check, change):
    path, expected = products[CUBE]
    content = path.read_bytes()
    header, begin = split(content)
    at = begin + padded(data_size(header))
    table, length = split(content[at:])
    columns = change(table_columns(table, content[at + length :]))
    unit = "frame" if check == "F8b" else ""
    hdu = table_hdu("METADATA", "", [Column(k, v, unit) for k, v in columns.items()])
    broken = tmp_path / path.name
    broken.write_bytes(content[:at] + hdu)
    assert check in found_by(broken, expected)


def test_a_cube_without_metadata_and_one_without_sky_are_caught(products, tmp_path):
    path, expected = products[CUBE]
    content = path.read_bytes()
    header, begin = split(content)
    (tmp_path / path.name).write_bytes(content[: begin + padded(data_size(header))])
    assert "C33a" in found_by(tmp_path / path.name, expected)
    at = begin + padded(data_size(header))
    table, length = split(content[at:])
    columns = table_columns(table, content[at + length :])
    bare = {k: v for k, v in columns.items() if not k.startswith(("CRVAL", "CD"))}
    hdu = table_hdu("METADATA", "", [Column(k, v) for k, v in bare.items()])
    (tmp_path / path.name).write_bytes(content[:at] + hdu)
    assert "C39" in found_by(tmp_path / path.name, expected)


@pytest.mark.parametrize("product", [FRAME, CUBE])
def test_a_constant_plane_is_caught(products, tmp_path, product):
    path, expected = products[product]
    content = path.read_bytes()
    header, begin = split(content)
    plane = 2 * header.value("NAXIS1") * header.value("NAXIS2")
    size = padded(data_size(header))
    data = content[begin : begin + size]
    data = bytes([1, 2]) * (plane // 2) + data[plane:]
    images = [i for i in header.images if keyword_of(i) not in ("DATASUM", "CHECKSUM")]
    broken = tmp_path / path.name
    broken.write_bytes(with_checksums(images, data_sum(data)) + data + content[begin + size :])
    assert found_by(broken, expected) == {"C36a"}


def test_two_products_of_one_millisecond_clash(products, tmp_path, capsys):
    path, _ = products[FRAME]
    duplicate = tmp_path / path.name
    duplicate.write_bytes(path.read_bytes())
    assert main([str(path), str(duplicate)]) == 1
    assert "T24" in capsys.readouterr().out


def test_every_check_has_a_fault_that_it_catches():
    tried = {row[0] for row in [*HDU0, *FILES, *NAMES, *TABLES_OF_CUBES]}
    tried |= {"T23", "T23b", "C36a", "C39"}
    assert {check.id for check in CHECKS} == tried


def test_every_check_is_a_rule_or_a_registered_function():
    rows = read_table(TABLES / "checks.csv")
    assert {row["id"] for row in rows if not row["rule"]} == FUNCTIONS.keys()


@pytest.mark.parametrize("rule", ["", "matches"])
def test_a_check_without_rule_and_function_is_refused(tmp_path, rule):
    table = tmp_path / "checks.csv"
    table.write_text(f"id,level,on,keyword,rule,value,source,right\nX1,error,,RA,{rule},,x,y\n")
    with pytest.raises(JobFailed, match=f"check X1: rule is '{rule}'; known are absent, is"):
        read_checks(table)


# The command


def test_the_command_reports_to_people_and_programs(products, tmp_path, capsys):
    path, _ = products[FRAME]
    broken = tmp_path / path.name
    broken.write_bytes(path.read_bytes().replace(b"'UTC     '", b"'TAI     '", 1))
    done = subprocess.run(
        [sys.executable, "-m", "scripts.validate", "--json", str(broken)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    (found,) = json.loads(done.stdout)
    assert done.returncode == 1 and found["verdict"] == "refused"
    by_id = {finding["id"]: finding for finding in found["findings"]}
    assert by_id["T17d"]["found"] == "'TAI'" and by_id["T17d"]["right"] == "UTC"
    assert {"T17d", "F3b"} <= by_id.keys()
    assert main(["--legacy", str(broken), str(tmp_path / "none.fits")]) == 0
    out = capsys.readouterr().out
    assert "2 files, 0 of them without any finding" in out and "1 x error   T17d" in out
    assert main([str(broken)]) == 1
    assert "T17d TIMESYS 'TAI'; right is UTC (FITS 9.2.1)" in capsys.readouterr().out


def test_errors_are_distinguished_from_warnings(products, tmp_path):
    path, expected = products[FRAME]
    content = path.read_bytes()
    header, begin = split(content)
    images = [i for i in header.images if keyword_of(i) not in ("DATASUM", "CHECKSUM")]
    data = content[begin:]
    broken = tmp_path / path.name
    broken.write_bytes(with_checksums([*images, card("ARCFILE", text("x"))], data_sum(data)) + data)
    findings = judged(read_product_file(broken, expected), CHECKS)
    assert [finding.id for finding in findings] == ["F10b"] and not errors(findings)


ODD = {
    "empty": lambda c: b"",
    "text": lambda c: b"a night report",
    "compressed": lambda c: gzip.compress(c),
    "a header cut off": lambda c: c[:2000],
    "many axes": lambda c: c.replace(
        b"NAXIS   =                    2", b"NAXIS   =           9999999999"
    ),
    "an axis of negative length": lambda c: c.replace(b"NAXIS1  =      ", b"NAXIS1  =     -", 1),
    "bits of no kind": lambda c: c.replace(
        b"BITPIX  =                   16", b"BITPIX  =                    7"
    ),
    "a date beyond all calendars": lambda c: re.sub(
        rb"(MJD-OBS = ).{20}", rb"\1            1.0E+300", c
    ),
    "a date before them": lambda c: re.sub(rb"(MJD-OBS = ).{20}", rb"\1 -99999999.123456789", c),
}


@pytest.mark.parametrize("kind", ODD)
def test_odd_files_are_refused_and_the_others_judged(products, tmp_path, capsys, kind):
    path, _ = products[FRAME]
    odd = tmp_path / path.name
    odd.write_bytes(ODD[kind](path.read_bytes()))
    assert odd.read_bytes() != path.read_bytes()
    assert main([str(odd), str(tmp_path), str(tmp_path / "gone.fits"), str(path)]) == 1
    said = capsys.readouterr().out
    assert f"{odd}: refused" in said and f"{tmp_path / 'gone.fits'}: refused" in said
    assert f"{path}: refused" not in said and said.endswith("; 3 refused\n")


@pytest.mark.parametrize("words", [["--night", "2026"], ["--config", "Makefile"]])
def test_wrong_words_are_refused(words, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([*words, "x.fits"])
    assert words[1] in capsys.readouterr().err


@pytest.mark.parametrize("row", ["X1,fatal,frame,", "X1,error,frames,", "X1,error,science Frame,"])
def test_a_table_with_an_unknown_word_is_refused(tmp_path, row):
    table = tmp_path / "checks.csv"
    table.write_text(f"id,level,on,keyword,rule,value,source,right\n{row}RA,absent,,x,y\n")
    with pytest.raises(JobFailed, match="check X1: .* known are error, warning; bias, "):
        read_checks(table)


def test_what_fitsverify_says_is_an_error(products, tmp_path, capsys):
    path, _ = products[FRAME]
    broken = tmp_path / path.name
    broken.write_bytes(path.read_bytes().replace(b"conforms", b"CONFORMS", 1))
    assert main(["--tools", str(path)]) == 0
    assert main(["--tools", str(broken)]) == 1
    assert "F2d Warning: Invalid CHECKSUM" in capsys.readouterr().out
