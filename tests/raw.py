"""Raw frames that differ from what the simulator writes, made card by card, for tests."""

import re
from collections.abc import Callable
from pathlib import Path

from scripts.lib.fits.checksum import ALL_ONES, data_sum, encode_checksum, fold

CARD, BLOCK = 80, 2880
CHECKSUM = re.compile(rb"CHECKSUM= '.{16}'")


def split(content: bytes) -> tuple[list[str], bytes]:
    """Return the cards of a raw file, without END, and its data."""
    cards = []
    for start in range(0, len(content), CARD):
        text = content[start : start + CARD].decode("latin-1")
        if text.rstrip() == "END":
            return cards, content[-(-(start + CARD) // BLOCK) * BLOCK :]
        cards.append(text)
    raise ValueError("no END")


def joined(cards: list[str], data: bytes) -> bytes:
    """Return a raw file of cards and data."""
    header = "".join(f"{card:<80}"[:CARD] for card in [*cards, "END"]).encode("latin-1")
    return header + b" " * (-len(header) % BLOCK) + data


def with_checksum(content: bytes) -> bytes:
    """Return a raw file with the CHECKSUM that it should have, if it has one at all."""
    try:
        cards, data = split(content)
    except ValueError:
        return content
    at = next(
        (CARD * n for n, card in enumerate(cards) if CHECKSUM.match(card.encode("latin-1"))), 0
    )
    header = content[: len(content) - len(data)]
    if not at or fold(data_sum(header) + data_sum(data)) == ALL_ONES:
        return content
    value = slice(at + 11, at + 27)
    empty = header[: value.start] + b"0" * 16 + header[value.stop :]
    text = encode_checksum(fold(data_sum(empty) + data_sum(data))).encode()
    return header[: value.start] + text + header[value.stop :] + data


def with_cards(
    content: bytes, changes: dict[str, str | list[str] | None], checksum: bool = True
) -> bytes:
    """Return a raw file with other cards: whole images, as text, by keyword; None removes one.

    What is not there yet is appended. Data, and so their sum, stay as they are.

    Parameters
    ----------
    checksum : bool
        Whether to make CHECKSUM right again, unless it is among the changes.
    """
    cards, data = split(content)
    left = dict(changes)
    result = []
    for card in cards:
        keyword = card[:8].rstrip()
        if keyword not in changes:
            result.append(card)
        else:
            result += images(left.pop(keyword, None))
    for new in left.values():
        result += images(new)
    changed = joined(result, data)
    return with_checksum(changed) if checksum and "CHECKSUM" not in changes else changed


def images(new: str | list[str] | None) -> list[str]:
    return [] if new is None else [new] if isinstance(new, str) else new


def rewrite(path: Path, change: Callable[[bytes], bytes] | dict, checksum: bool = True) -> None:
    """Change a raw file in place: by a function of its bytes, or by cards (see `with_cards`)."""
    content = path.read_bytes()
    if isinstance(change, dict):
        path.write_bytes(with_cards(content, change, checksum))
    else:
        path.write_bytes(with_checksum(change(content)) if checksum else change(content))
