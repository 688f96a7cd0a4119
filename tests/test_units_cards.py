"""Cards of whole simulated headers, read as astropy reads them."""

import math

import pytest
from astropy.io import fits

from scripts.lib.fits.cards import CARD, Header, card, literal, parse_comment, quoted, read_header
from scripts.simulator.night import simulate
from tests.night import NIGHT
from tests.raw import with_cards


@pytest.fixture(scope="module", params=["Callisto", "Io"])
def raw_files(request, tmp_path_factory):
    """Good raw files of a night."""
    root = tmp_path_factory.mktemp(request.param)
    truth = simulate(request.param, NIGHT, root, frames=14, size=(8, 10))
    return [root / NIGHT / row["file"] for row in truth]


def test_every_value_and_comment_of_a_raw_header_is_that_of_astropy(raw_files):
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


def test_every_value_of_a_raw_header_survives_being_written_again(raw_files):
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
