"""Which section of docs/operations.md helps with a message, by the rows of config/guide.csv."""

import re
from collections.abc import Iterable
from functools import cache

from scripts.lib.files.tables import read_table
from scripts.lib.settings.check import CHECKOUT

PAGE, TABLE = CHECKOUT / "docs/operations.md", CHECKOUT / "config/guide.csv"
# Where the page begins to explain mails.
GENERAL = "Mails"
# Sections that a mail names: one with more sends its reader nowhere.
MOST = 3


@cache
def rows() -> list[tuple[re.Pattern[str], str]]:
    """Return what messages say and the sections for it; none if the table cannot be read.

    A damaged table must not keep a mail from being sent.
    """
    try:
        return [(re.compile(row["message"]), row["section"]) for row in read_table(TABLE)]
    except (OSError, ValueError, KeyError, re.error):
        return []


def own_sections(messages: Iterable[str]) -> list[str]:
    """Return the sections of the rows for messages, each once."""
    found = (next((s for row, s in rows() if row.search(text)), "") for text in messages)
    return list(dict.fromkeys(filter(None, found)))


def sections(messages: Iterable[str]) -> list[str]:
    """Return the sections for messages: at least one, at most `MOST`."""
    return own_sections(messages)[:MOST] or [GENERAL]


def quoted(names: Iterable[str]) -> str:
    """Return sections as a mail names them."""
    return "section " + ", ".join(f'"{name}"' for name in names)


def with_guide(subject: str, text: str) -> str:
    """Return the text of a mail that ends with where to look for what to do."""
    names = quoted(sections([subject, *text.splitlines()]))
    return f"{text.rstrip()}\n\nWhat to do: {PAGE}, {names}"
