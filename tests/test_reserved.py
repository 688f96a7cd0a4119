"""Keywords that FITS reserves: what of them passes into a product, judged by fitsverify."""

import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.lib.files.errors import JobFailed
from scripts.lib.fits.cards import Header, card
from scripts.lib.fits.checksum import data_sum
from scripts.lib.fits.hdu import image_structure, padding, read_primary_header, with_checksums
from scripts.lib.fits.reserved import Reserved, ReservedKeyword, read_reserved
from scripts.lib.headers.keywords import compose
from scripts.lib.headers.observatory import load_exposure
from scripts.simulator.night import simulate
from tests.night import NIGHT
from tests.records import CONFIG, configuration, observatory_of

SIZE = (8, 10)
RESERVED = read_reserved(CONFIG / "reserved.csv")
VALUES = {"text": "'odd     '", "number": "-1.5", "whole": "12", "logical": "T"}


def examples() -> list[str]:
    """Return keywords of each row: with the number 1, of the usual and of an alternate WCS."""
    found = []
    for _, row in RESERVED._forms:
        name = row.keyword.translate(dict.fromkeys(map(ord, "nijkm"), "1"))
        found += [name.replace("a", end).replace("*", end) for end in ("", "S")]
    return [name for name in dict.fromkeys(found) if len(name) <= 8 and name != "END"]


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    root = tmp_path_factory.mktemp("raw")
    truth = simulate("Io", NIGHT, root, frames=14, size=SIZE)
    row = next(row for row in truth if row["kind"] == "science")
    return read_primary_header(root / NIGHT / row["file"])


def composed(raw: Header, text: str) -> list:
    """Return the product's header of a raw frame that has every reserved keyword with a value."""
    camera = {"naxis1": SIZE[0], "naxis2": SIZE[1]}
    observatory = observatory_of(configuration("Io", camera=camera), NIGHT)
    odd = [card(name, text) for name in examples() if name not in raw]
    exposure = load_exposure(Path(), "x.fits", observatory, Header(raw.images + odd))
    return compose(exposure, observatory.keywords)


@pytest.mark.skipif(not shutil.which("fitsverify"), reason="Debian package fitsverify is missing")
@pytest.mark.parametrize("kind", VALUES)
def test_no_odd_reserved_card_makes_an_error_of_fitsverify(raw, tmp_path, kind):
    images = [one.image for one in composed(raw, VALUES[kind])]
    pixels = bytes(range(2 * SIZE[0] * SIZE[1]))
    header = with_checksums(image_structure(SIZE, extended=False) + images, data_sum(pixels))
    path = tmp_path / "product.fits"
    path.write_bytes(header + pixels + padding(len(pixels)))
    done = subprocess.run(["fitsverify", "-H", "-l", path], capture_output=True, text=True)
    assert "0 error(s)" in done.stdout, done.stdout


@pytest.mark.parametrize(
    ("kind", "keyword", "passes"),
    [
        ("text", "AUTHOR", True),
        ("whole", "AUTHOR", False),
        ("number", "DATAMAX", True),
        ("whole", "DATAMAX", True),
        ("text", "DATAMAX", False),
        ("logical", "DATAMAX", False),
        ("number", "OBSGEO-X", True),
        ("text", "OBSGEO-X", False),
        ("text", "CNAME1", False),
        ("whole", "TBCOL1", False),
        ("number", "PSCAL1", False),
        ("text", "CTYPE1S", False),
        ("number", "PC001001", False),
    ],
)
def test_reserved_keywords_pass_with_their_type_only(raw, kind, keyword, passes):
    assert (keyword in {one.keyword for one in composed(raw, VALUES[kind])}) is passes


@pytest.mark.parametrize("row", [("X", "date", "pass", "x"), ("X", "text", "drop", "x")])
def test_a_table_with_an_unknown_word_is_refused(row):
    with pytest.raises(JobFailed, match="reserved keyword X: .* known are text, number"):
        Reserved([ReservedKeyword(*row)])
