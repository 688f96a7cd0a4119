"""Cards, headers and checksums, against astropy."""

import io
import math
import random

import numpy as np
import pytest
from astropy.io import fits

from scripts.lib.fits.cards import (
    CARD,
    Header,
    HeaderError,
    card,
    literal,
    parse_comment,
    parse_value,
    quoted,
)
from scripts.lib.fits.checksum import add_at, data_sum, encode_checksum
from scripts.lib.fits.hdu import (
    data_size,
    header_size,
    image_structure,
    iter_hdus,
    read_header,
    with_checksums,
)
from scripts.simulator.night import simulate
from tests.night import NIGHT
from tests.raw import with_cards


@pytest.mark.parametrize(
    "value",
    ["zYJ", "i'", "o''clock", "", "a / b", True, False, 0, -32768, 1.0, -1e-5, 2461105.500966906],
)
def test_cards_are_those_of_astropy(value):
    image = card("KEY", literal(value), "what it is / was")
    assert len(image) == CARD
    theirs = fits.Card.fromstring(image)
    assert theirs.value == value and theirs.comment == "what it is / was"
    mine = parse_value(fits.Card("KEY", value, "some comment").image.encode())
    assert mine == value and type(mine) in (type(value), str)


def test_hierarch_cards():
    image = card("HIERARCH ESO OBS PROG ID", quoted("60.A-9009(D)"), "programme")
    assert fits.Card.fromstring(image).keyword == "ESO OBS PROG ID"
    header = Header([image])
    assert header.value("HIERARCH ESO OBS PROG ID") == "60.A-9009(D)"
    assert parse_comment(image) == "programme"


def test_long_strings_are_cut_to_what_a_card_holds():
    for text in ("x" * 100, "'" * 60, "ab'" * 40):
        image = card("OBJECT", quoted(text), "comment")
        assert text.startswith(fits.Card.fromstring(image).value)
        assert len(image) == CARD


def test_continued_strings_are_read_whole():
    theirs = fits.Header()
    theirs["OBJECT"] = "star " * 30
    text = theirs.tostring(padding=False).encode()
    header = Header([text[i : i + CARD] for i in range(0, len(text), CARD)][:-1])
    assert header.value("OBJECT") == theirs["OBJECT"].rstrip()


def test_what_does_not_fit_is_refused():
    with pytest.raises(HeaderError, match="does not fit"):
        card("HIERARCH ESO A VERY LONG KEYWORD INDEED", quoted("x" * 60))


@pytest.mark.parametrize("text", ["1,5", "nan nan", "1 2", "--"])
def test_unreadable_values_name_their_keyword(text):
    with pytest.raises(HeaderError, match="EXPTIME"):
        parse_value(f"EXPTIME = {text}".ljust(CARD).encode())


def test_headers_are_read_to_their_end(tmp_path):
    fits.PrimaryHDU(np.zeros((3, 5), np.int16)).writeto(tmp_path / "a.fits")
    content = (tmp_path / "a.fits").read_bytes()
    with open(tmp_path / "a.fits", "rb") as stream:
        header = read_header(stream)
        assert stream.tell() == 2880 == header_size(content)
    assert header.value("NAXIS1") == 5 and data_size(header) == 30
    assert header_size(content[:2000]) is None and header_size(b"<html>" * 1000) is None


def test_hdus_are_walked_with_and_without_data():
    images = [fits.ImageHDU(np.ones(shape, np.int16)) for shape in ((3, 5), (40, 50))]
    stream = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *images]).writeto(stream)
    found = list(iter_hdus(stream))
    assert [hdu.data_size for hdu in found] == [0, 30, 4000]
    assert [hdu.begin for hdu in found[1:]] == [hdu.end for hdu in found[:-1]]
    assert found[-1].end == len(stream.getvalue())
    stream.truncate(found[-1].data_begin + 7)
    assert list(iter_hdus(stream))[-1].data_size == 4000, "the data are the caller's affair"
    assert list(iter_hdus(io.BytesIO())) == []
    with pytest.raises(HeaderError, match="within its header"):
        list(iter_hdus(io.BytesIO(stream.getvalue()[:2000])))


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 2880, 7919])
def test_sums_are_those_of_astropy(size):
    data = random.Random(size).randbytes(size)
    padded = np.frombuffer(data + bytes(-len(data) % 4), np.uint8)
    assert data_sum(data) == fits.PrimaryHDU()._compute_checksum(padded)


@pytest.mark.parametrize("plane", [2, 6, 10, 64, 1026])
def test_sum_of_a_cube_is_that_of_its_planes_of_any_size(plane):
    planes = [random.Random(i).randbytes(plane) for i in range(7)]
    total = 0
    for i, data in enumerate(planes):
        total = add_at(total, data_sum(data), i * plane)
    assert total == data_sum(b"".join(planes))


def test_checksums_are_accepted_by_astropy(tmp_path):
    for seed in range(40):
        pixels = random.Random(seed).randbytes(2 * 30)
        data = pixels + bytes(2880 - 60)
        path = tmp_path / f"{seed}.fits"
        cards = [*image_structure((5, 6), extended=False), card("SEED", str(seed))]
        path.write_bytes(with_checksums(cards, data_sum(pixels)) + data)
        with fits.open(path, checksum=True) as hdus:
            assert hdus[0].verify_checksum() == 1 and hdus[0].verify_datasum() == 1
            stored = np.frombuffer(pixels, ">i2").reshape(6, 5).astype(int) + 32768
            assert np.array_equal(hdus[0].data, stored)


def test_encoded_sums_are_alphanumeric():
    generator = random.Random(1)
    for _ in range(2000):
        assert encode_checksum(generator.getrandbits(32)).isalnum()


@pytest.fixture(scope="module", params=["Callisto", "Io"])
def raw_files(request, tmp_path_factory):
    """Good raw files of a night."""
    root = tmp_path_factory.mktemp(request.param)
    truth = simulate(request.param, NIGHT, root, frames=14, size=(8, 10))
    return [root / NIGHT / row["file"] for row in truth]


def test_raw_headers_are_read_as_astropy_reads_them(raw_files):
    for path in raw_files:
        with open(path, "rb") as stream:
            mine = read_header(stream)
        theirs = fits.getheader(path)
        assert len(mine.images) == len(theirs)
        for (keyword, image), card_of_theirs in zip(mine, theirs.cards, strict=True):
            assert keyword == card_of_theirs.keyword
            value = mine.value(keyword)
            assert value == card_of_theirs.value and type(value) is type(card_of_theirs.value)
            assert parse_comment(image) == card_of_theirs.comment


def test_every_value_of_a_raw_header_survives_writing(raw_files):
    for path in raw_files:
        for theirs in fits.getheader(path).cards:
            again = fits.Card.fromstring(card(theirs.keyword, literal(theirs.value)))
            assert again.value == theirs.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.5D-3", 1.5e-3),
        ("-.5", -0.5),
        ("+7", 7),
        ("1E+05", 1e5),
        ("T / yes", True),
        ("F", False),
        ("'' / nothing", ""),
        ("'it''s / a string' / comment", "it's / a string"),
        ("'  leading blanks count'", "  leading blanks count"),
        ("/ no value", None),
        ("", None),
    ],
)
def test_values_of_the_standard(text, value):
    image = f"KEY     = {text}".ljust(CARD).encode()
    found = Header([image]).value("KEY")
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize("text", ["1_000", "1_0.5", "0x10", "infinity", "1E400", "NaN", "INF"])
def test_numbers_that_the_standard_does_not_know_are_refused(text):
    image = f"KEY     = {text}".ljust(CARD).encode()
    with pytest.raises(ValueError, match="KEY"):
        Header([image]).value("KEY")


@pytest.mark.parametrize("value", [2**63 - 1, -(2**63)])
def test_integers_of_64_bits_are_read_and_longer_ones_refused(value):
    longer = value + (1 if value > 0 else -1)
    cards = [f"KEY     = {number}".ljust(CARD).encode() for number in (value, longer)]
    assert Header(cards[:1]).value("KEY") == value
    with pytest.raises(ValueError, match=f"KEY: {longer} is more than an integer of 64 bits"):
        Header(cards[1:]).value("KEY")


@pytest.mark.parametrize("value", [1e-300, 1.7976931348623157e308, 5e-324, 0.1 + 0.2, math.pi])
def test_floats_are_written_in_full_precision(value):
    assert fits.Card.fromstring(card("KEY", literal(value))).value == value


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 67, 68, 69, 200])
def test_strings_of_every_length_are_cards(length):
    text = "x" * length
    theirs = fits.Card.fromstring(card("OBJECT", quoted(text), "comment"))
    assert theirs.value == text[:68]


def test_changing_a_card_leaves_all_others_byte_for_byte(raw_files):
    content = raw_files[0].read_bytes()
    with open(raw_files[0], "rb") as stream:
        header = read_header(stream)
    changed = header.replaced({"FILTER": "i'"})
    different = [a for a, b in zip(header.images, changed.images, strict=True) if a != b]
    assert [image[:8].rstrip() for image in different] == [b"FILTER"]
    assert fits.Header.fromstring(b"".join(changed.images).decode())["FILTER"] == "i'"
    assert with_cards(content, {}) == content
