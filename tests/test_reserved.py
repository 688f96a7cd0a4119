"""Keywords that FITS reserves: what of them passes into a product, judged by fitsverify."""

import os
import re
import shutil
import subprocess
from collections import Counter
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from scripts.lib.files.errors import JobFailed
from scripts.lib.fits.cards import Header, card, keyword_of
from scripts.lib.fits.checksum import data_sum
from scripts.lib.fits.hdu import (
    STRUCTURE,
    image_structure,
    padding,
    read_primary_header,
    with_checksums,
)
from scripts.lib.fits.reserved import Reserved, ReservedKeyword, read_reserved
from scripts.lib.frames.names import frame_name
from scripts.lib.gate.checks import Finding, errors, judged, read_checks
from scripts.lib.gate.product_file import read_product_file
from scripts.lib.headers.keywords import compose
from scripts.lib.headers.observatory import load_exposure
from scripts.lib.ledger.faults import BadFrame
from scripts.lib.nights.times import mean_sidereal, parse_date
from scripts.lib.settings.telescopes import telescopes
from scripts.simulator.night import simulate
from tests.night import NIGHT
from tests.records import CONFIG, configuration, expectations, observatory_of

SIZE = (8, 10)
RESERVED = read_reserved(CONFIG / "reserved.csv")
CHECKS = read_checks(CONFIG / "checks.csv")
CARDS = int(os.environ.get("FUZZ_CARDS", 1000))
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


class Composer:
    """A raw science frame, and products of it with other cards."""

    def __init__(self, raw: Header):
        camera = {"naxis1": SIZE[0], "naxis2": SIZE[1]}
        self.settings = configuration("Io", camera=camera)
        self.raw, self.observatory = raw, observatory_of(self.settings, NIGHT)
        self.context = expectations(self.settings, NIGHT)

    def composed(self, cards: list[bytes]) -> list:
        """Return the finished header of the frame with further cards; those replace its own."""
        new = set(map(keyword_of, cards))
        images = [image for keyword, image in self.raw if keyword not in new] + cards
        exposure = load_exposure(Path(), "x.fits", self.observatory, Header(images))
        lst = mean_sidereal(exposure.facts.date_obs, self.settings.place.longitude)
        return compose(exposure._replace(lst=lst), self.observatory.keywords)

    def write(self, folder: Path, number: int, images: list[bytes]) -> Path:
        """Write a product with these cards."""
        pixels = bytes(range(2 * SIZE[0] * SIZE[1]))
        header = with_checksums(image_structure(SIZE, extended=False) + images, data_sum(pixels))
        path = folder / str(number) / frame_name(telescopes()["Io"], self.start(images))
        path.parent.mkdir()
        path.write_bytes(header + pixels + padding(len(pixels)))
        return path

    def start(self, images: list[bytes]) -> datetime:
        """Return DATE-OBS of a product, that of the raw frame if it cannot be read."""
        for header in (Header(images), self.raw):
            with suppress(ValueError):
                return parse_date(str(header.value("DATE-OBS")))
        raise ValueError("no DATE-OBS")

    def findings(self, path: Path) -> list[Finding]:
        """Return the errors that the gate finds in a product."""
        return errors(judged(read_product_file(path, self.context), CHECKS))


def composed(raw: Header, text: str) -> list:
    """Return the product's header of a raw frame that has every reserved keyword with a value."""
    return Composer(raw).composed([card(name, text) for name in examples() if name not in raw])


def verified(paths: list[Path]) -> list[str]:
    """Return what fitsverify says of each product that it finds an error in."""
    done = subprocess.run(
        ["fitsverify", "-H", "-l", *map(str, paths)], capture_output=True, text=True
    )
    said = re.split(r"(?m)^File: ", done.stdout)[1:]
    assert len(said) == len(paths), done.stdout[-2000:]
    return [text for text in said if "and 0 error(s)" not in text]


def keywords_of(row) -> st.SearchStrategy[str]:
    """Return keywords that a row of the table stands for."""
    numbers = st.integers(1, 99).map(str)
    letters = st.sampled_from(["", "A", "S", "Z"])
    signs = dict.fromkeys("nijkm", numbers) | {"a": letters, "*": letters}
    parts = [signs.get(sign, st.just(sign)) for sign in row.keyword]
    return st.tuples(*parts).map("".join).map(lambda name: name[:8].rstrip("_"))


texts = st.one_of(
    st.sampled_from(
        "T F 1 -1 0 12 99999 -1.5 1.5E-03 1.5e-03 1.5d+10 1E400 NAN INF N/A 1,5 '' 'odd' 'UTC' "
        "'deg' '2026-03-06T00:00:00' '2026-03-06' '06/03/26' '1' 'RA---TAN-SIP' 'IMAGE' 'x "
        "(1.0,2.0)".split()
    ),
    st.integers(-(10**20), 10**20).map(str),
    st.floats().map(repr),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20).map(
        lambda text: "'" + text.replace("'", "''") + "'"
    ),
)
rows = st.sampled_from([row for _, row in RESERVED._forms if row.keyword != "END"])
odd_cards = rows.flatmap(keywords_of).flatmap(
    lambda name: texts.map(lambda text: f"{name:<8}= {text:>20} / odd"[:80].ljust(80).encode())
)


@pytest.mark.skipif(not shutil.which("fitsverify"), reason="Debian package fitsverify is missing")
def test_fitsverify_finds_no_error_that_the_gate_does_not(raw, tmp_path):
    """Every reserved card is kept out of products; forced into one, the gate finds it."""
    composer = Composer(raw)
    plain = [one.image for one in composer.composed([])]
    assert composer.findings(composer.write(tmp_path, 0, plain)) == []
    seen = Counter()

    @seed(int(os.environ["FUZZ_SEED"]))
    @settings(
        max_examples=CARDS // 100,
        deadline=None,
        database=None,
        print_blob=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(odd_cards, min_size=100, max_size=100))
    def batch(cards):
        seen.update(cards=len(cards))
        folder = tmp_path / f"{seen['cards']}"
        folder.mkdir()
        paths = []
        for at in range(0, 100, 10):
            try:
                images = [one.image for one in composer.composed(cards[at : at + 10])]
            except BadFrame:
                seen.update(held=1)
                continue
            path = composer.write(folder, at, images)
            if composer.findings(path):
                seen.update(held=1)
            else:
                paths.append(path)
        assert verified(paths) == []
        forced = [
            composer.write(
                folder,
                1000 + number,
                [image for image in plain if keyword_of(image) != keyword_of(odd)] + [odd],
            )
            for number, odd in enumerate(cards[::10])
            if keyword_of(odd) not in STRUCTURE
        ]
        for path in forced:
            if verified([path]):
                seen.update(refused=1)
                assert composer.findings(path), path.read_bytes()[: 2880 * 4]
        shutil.rmtree(folder)

    batch()
    assert seen["cards"] >= CARDS and seen["refused"] > CARDS / 1000, seen
    assert seen["held"] < CARDS / 20, seen  # most frames can be delivered
    print(f"{seen['cards']} cards, {seen['held']} of {CARDS // 10} frames held back")


@pytest.mark.skipif(not shutil.which("fitsverify"), reason="Debian package fitsverify is missing")
@pytest.mark.parametrize("kind", VALUES)
def test_no_odd_reserved_card_makes_an_error_of_fitsverify(raw, tmp_path, kind):
    images = [one.image for one in composed(raw, VALUES[kind])]
    assert verified([Composer(raw).write(tmp_path, 0, images)]) == []


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


@pytest.mark.parametrize(
    ("keyword", "value", "hdu", "fault"),
    [
        ("TIMEUNIT", "d", "primary", ""),
        ("TIMEUNIT", "days", "primary", "TIMEUNIT: 'days' is not s, d, a, cy, min, h, yr, ta, Ba"),
        ("TIMEPIXR", 1.5, "primary", "TIMEPIXR: 1.5 is not 0..1 "),
        ("TELAPSE", -0.1, "primary", "TELAPSE: -0.1 is not 0.. "),
        ("TELAPSE", 0, "primary", ""),
        ("XPOSURE", True, "primary", "XPOSURE: T is not "),
        ("BITPIX", 12, "primary", "BITPIX: 12 is not 8, 16"),
        ("DATE-OBS", "2026-03-05T01:02:03.5", "primary", ""),
        ("DATE-OBS", "05/03/26", "primary", "DATE-OBS: '05/03/26' is not a date"),
        ("TTYPE1", "MJD-OBS", "table", ""),
        ("TTYPE1", "MJD-OBS", "primary", "TTYPE1: reserved for other headers (table, FITS 7.3)"),
        ("CRPIX1", 1.0, "table", "CRPIX1: reserved for other headers (image, FITS 8.2)"),
        ("SIMPLE", True, "table", "SIMPLE: reserved for other headers (primary, "),
    ],
)
def test_reserved_keywords_have_allowed_values_and_hdus(keyword, value, hdu, fault):
    found = RESERVED.fault(keyword, value, hdu)
    assert found.startswith(fault) if fault else not found


@pytest.mark.parametrize("word", ["type", "hdu", "use"])
def test_a_table_with_an_unknown_word_is_refused(word):
    row = ReservedKeyword("X", "text", "", "any", "pass", "x")
    with pytest.raises(JobFailed, match="reserved keyword X: .* known are text, date"):
        Reserved([row._replace(**{word: "drop"})])
