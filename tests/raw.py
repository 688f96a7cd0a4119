"""Raw frames that differ from what the simulator writes, made card by card, for tests."""

from collections.abc import Callable
from pathlib import Path

CARD, BLOCK = 80, 2880


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


def with_cards(content: bytes, changes: dict[str, str | list[str] | None]) -> bytes:
    """Return a raw file with other cards: whole images, as text, by keyword; None removes one.

    What is not there yet is appended. Data, and so their sum, stay as they are.
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
    return joined(result, data)


def images(new: str | list[str] | None) -> list[str]:
    return [] if new is None else [new] if isinstance(new, str) else new


def rewrite(path: Path, change: Callable[[bytes], bytes] | dict) -> None:
    """Change a raw file in place: by a function of its bytes, or by cards (see `with_cards`)."""
    content = path.read_bytes()
    path.write_bytes(with_cards(content, change) if isinstance(change, dict) else change(content))
