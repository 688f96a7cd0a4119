"""FITS header cards, read and written as the 80 bytes they are.

A night holds 300,000 cards. Those that need no change are passed on byte for byte, and a value
is parsed only when it is asked for: 20 times cheaper than general header objects, and exact.
FITS Standard 4.0, sections 4.1 and 4.2.
"""

import math
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache

CARD = 80
END = b"END".ljust(CARD)
LONGEST_STRING = 68
COMMENTARY = ("COMMENT", "HISTORY", "")
# Most cards of a night's headers are the same in all: each is parsed, or made, once.
CACHED = 1024
# FITS sets integers no limit; no table, and hardly a reader, holds more than 64 bits.
INTEGERS = range(-(2**63), 2**63)

# What a card says; None where it says nothing.
Value = bool | int | float | str | None

# FITS 4.2: a string, a logical, a number, a pair of numbers, or nothing; then a comment.
_NUMBER_FORM = rb"[+-]?(?:\d+\.?\d*|\.\d+)(?:[ED][+-]?\d+)?"
VALUE_FORM = rb" *(?:'(?:[^']|'')*'|[TF]|%s|\( *%s *, *%s *\))? *(?:/.*)?" % ((_NUMBER_FORM,) * 3)
CARD_FORM = re.compile(rb"(?=[A-Z0-9_-]+ *= )[A-Z0-9_ -]{8}= " + VALUE_FORM)
_STRING = re.compile(rb"'((?:[^']|'')*)'")
# Behind the digits of a whole number: a fraction, an exponent, or both.
_NUMBER = re.compile(rb"[+-]?(?=\.?\d)\d*(\.\d*(?:[EeDd][+-]?\d+)?|[EeDd][+-]?\d+)?")
_WORDS: dict[bytes, bool | None] = {b"T": True, b"F": False, b"": None}


class HeaderError(ValueError):
    """The bytes are not a FITS header; the message says why."""


class Header:
    """One FITS header: its cards as 80 bytes each (``images``), without END, and their keywords."""

    def __init__(self, images: list[bytes]):
        self.images = images
        self.keywords = [keyword_of(image) for image in images]
        # The first card of a keyword counts.
        places = range(len(images) - 1, -1, -1)
        self._places = dict(zip(reversed(self.keywords), places, strict=True))

    def __contains__(self, keyword: str) -> bool:
        return keyword in self._places

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        return zip(self.keywords, self.images, strict=True)

    def value(self, keyword: str) -> Value:
        """Return a value, None where there is none; raise `HeaderError` for a malformed one."""
        place = self._places.get(keyword)
        return None if place is None else self.value_at(place)

    def whole(self, keyword: str) -> int:
        """Return the value of ``keyword``; raise `HeaderError` unless it is a whole number."""
        value = self.value(keyword)
        if not isinstance(value, int) or isinstance(value, bool):
            raise HeaderError(f"{keyword} is {shown(value)}, not a whole number")
        return value

    def number(self, keyword: str) -> float:
        """Return the value of ``keyword``; raise `HeaderError` unless it is a number."""
        return as_number(self.value(keyword), keyword)

    def value_at(self, place: int) -> Value:
        """Return the value of the card at ``place``, with the CONTINUE cards that follow it."""
        value = parse_value(self.images[place])
        while isinstance(value, str) and value.endswith("&"):
            place += 1
            if place == len(self.images) or keyword_of(self.images[place]) != "CONTINUE":
                break
            value = value[:-1] + str(parse_value(b"CONTINUE= " + self.images[place][10:]) or "")
        return value

    def replaced(self, changes: Mapping[str, Value]) -> "Header":
        """Return a header with these values; None removes the card, a new keyword is appended."""
        images = []
        for keyword, image in self:
            if keyword not in changes:
                images.append(image)
            elif (value := changes[keyword]) is not None:
                images.append(card(keyword, literal(value), parse_comment(image)))
        images += [
            card(keyword, literal(value))
            for keyword, value in changes.items()
            if keyword not in self and value is not None
        ]
        return Header(images)


def as_number(value: Value, keyword: str) -> float:
    """Return a value; raise `HeaderError` unless it is a number."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise HeaderError(f"{keyword} is {shown(value)}, not a number")
    return value


def plain_number(value: Value) -> float:
    """Return a number, also one that is written as a text; raise ValueError for anything else."""
    if isinstance(value, str) and _NUMBER.fullmatch(text := value.strip().encode()):
        value = float(text.upper().replace(b"D", b"E"))
    if isinstance(value, bool | str | None) or not math.isfinite(value):
        raise ValueError(f"{shown(value)} is not a number")
    return float(value)


@lru_cache(CACHED)
def keyword_of(image: bytes) -> str:
    """Return the keyword of a card: up to 8 characters, or ``HIERARCH …`` up to the equals sign."""
    if image.startswith(b"HIERARCH ") and b"=" in image:
        return image.split(b"=", 1)[0].decode("ascii", "replace").strip()
    return image[:8].decode("ascii", "replace").rstrip()


def _value_field(image: bytes) -> bytes:
    if image.startswith(b"HIERARCH "):
        return image.partition(b"=")[2].lstrip()
    if image[8:10] == b"= ":
        return image[10:].lstrip()
    if image[8:].strip() and keyword_of(image) not in COMMENTARY:
        what = f"the card {readable(image)!r} does not have '= ' in columns 9 and 10"
        raise HeaderError(f"{keyword_of(image)}: {what}")
    return b""


@lru_cache(CACHED)
def parse_value(image: bytes) -> Value:
    """Return the value of one card; see `Header.value`."""
    field = _value_field(image)
    if field.startswith(b"'"):
        match = _STRING.match(field)
        if match is None:
            found = readable(field)
            raise HeaderError(f"{keyword_of(image)}: {found!r} is a string without its end")
        return match[1].decode("ascii", "replace").replace("''", "'").rstrip()
    text = field.partition(b"/")[0].strip()
    if text in _WORDS:
        return _WORDS[text]
    number = _NUMBER.fullmatch(text)
    if number and not number[1]:
        return integer(int(text), keyword_of(image))
    if number and math.isfinite(value := float(text.upper().replace(b"D", b"E"))):
        return value
    raise HeaderError(f"{keyword_of(image)}: {readable(text)!r} is not a value of FITS")


@lru_cache(CACHED)
def mended(image: bytes) -> bytes:
    """Return a card in the form of FITS 4.2: of one that differs, ``1.5e-03`` say, the value.

    Raises `HeaderError` if it has no value that FITS knows.
    """
    value = parse_value(image)
    if CARD_FORM.fullmatch(image) or value is None:
        return image
    text = literal(value)
    if not isinstance(value, bool | str):
        text = _value_field(image).partition(b"/")[0].strip().decode().upper()
    return card(keyword_of(image), text, parse_comment(image))


def integer(value: int, keyword: str) -> int:
    """Return ``value``; raise `HeaderError` unless it fits into 64 bits."""
    if value not in INTEGERS:
        raise HeaderError(f"{keyword}: {value} is more than an integer of 64 bits holds")
    return value


def readable(image: bytes) -> str:
    """Return a card as text that can be shown, whatever bytes it has."""
    signs = (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}" for byte in image)
    return "".join(signs).strip()


def parse_comment(image: bytes) -> str:
    """Return the comment of one card, empty where it has none that FITS could hold."""
    field = image.partition(b"=")[2].lstrip()
    value = _STRING.match(field)
    behind = field[value.end() :] if value else field
    comment = behind.partition(b"/")[2].decode("ascii", "replace").strip()
    return comment if comment.isascii() and comment.isprintable() else ""


def quoted(text: str) -> str:
    """Return ``text`` as a FITS string of at most 68 characters, at least 8 wide."""
    while len(escaped := text.replace("'", "''")) > LONGEST_STRING:
        text = text[:-1]
    return f"'{escaped:<8}'"


def literal(value: bool | int | float | str) -> str:
    """Return a Python value as the text of a FITS value (FITS 4.2), floats in full precision."""
    if isinstance(value, bool):
        return "T" if value else "F"
    return quoted(value) if isinstance(value, str) else repr(value).upper()


def shown(value: Value) -> str:
    """Return a value as messages show it: as in FITS, without the blanks that fill a string."""
    if value is None:
        return "no value"
    return repr(value) if isinstance(value, str) else literal(value)


@lru_cache(CACHED)
def card(keyword: str, text: str, comment: str = "") -> bytes:
    """Return the 80 bytes of a card; a comment that does not fit is cut.

    ``text`` is the value as it shall stand there, see `quoted` and `literal`. Raises `HeaderError`
    if keyword and value do not fit on a card.
    """
    if keyword.startswith("HIERARCH "):
        image = f"{keyword} = {text}"
    elif text.startswith("'"):
        image = f"{keyword:<8}= {text:<20}"
    else:
        image = f"{keyword:<8}= {text:>20}"
    if len(image) > CARD:
        raise HeaderError(f"{keyword}: {text} does not fit on a card")
    if comment and len(image) + 3 < CARD:
        image = f"{image} / {comment}"[:CARD].rstrip()
    return image.encode("ascii").ljust(CARD)
