"""One word for each thing: words that were replaced do not come back, in code or documents."""

import re
from functools import cache
from pathlib import Path

import pytest

from tests.night import REPOSITORY

# What was written once, as a regular expression, and what is written instead.
REPLACED = {
    "telling": "reporting",
    "told": "reported",
    "tells? of": "report",
    "tells? whether": "return whether",
    "news": "new",
    "headered": "headers",
    "(?<!second )moments?": "time",
    "twins?": "duplicate",
    "placing": "publish",
    "lies there": "published",
    r"promis\w+": "intent",
    "patience|impatient": "retries",
    "in vain": "failed attempts",
    "exposed?": "load_exposure; exposure",
    "seal|sealed|sealing": "with checksums",
    "makeshift|spool": "queue",
    r"is_settled|settle\(|settle[sd]": "finished; stable; publish_intents",
    r"stumbl\w+": "fail",
    "for ever": "permanently",
    "anew": "again",
    "at once": "immediately",
    "(?<!there )is no(?! longer)": "is not a",
    "[0-9] (?-i:adu)": "ADU",
}
# Names of files that earlier versions wrote; a name of JavaScript.
ALLOWED = ("headered/", "archived/promised/", '"promised"', '"confirmed.told"')
ALLOWED += ("new Promise(", "Promise.all(")
FOLDERS = "benchmarks config docs envs profiles rules scripts templates tests units web".split()
SUFFIXES = set(".py .smk .md .csv .yaml .txt .html .js .css .json .example .in".split())


@cache
def texts() -> dict[str, str]:
    """Return the text of each file, by its path in the repository."""
    paths = [path for name in FOLDERS for path in (REPOSITORY / name).rglob("*")]
    paths = [path for path in paths if path.suffix in SUFFIXES and path != Path(__file__)]
    paths = [path for path in paths if "uplot" not in path.parts]  # a library
    paths += [REPOSITORY / name for name in ("README.md", "CHANGELOG.md", "Makefile", "Snakefile")]
    found = {str(path.relative_to(REPOSITORY)): path.read_text() for path in paths}
    for text in ALLOWED:
        found = {name: content.replace(text, "") for name, content in found.items()}
    return found


@pytest.mark.parametrize("word", REPLACED)
def test_replaced_words_are_gone(word):
    pattern = re.compile(rf"(?<![A-Za-z])({word})(?![A-Za-z])", re.I)
    left = [
        f"{name}:{number}: {line.strip()}"
        for name, content in texts().items()
        for number, line in enumerate(content.splitlines(), 1)
        if pattern.search(line)
    ]
    assert not left, f"write {REPLACED[word]!r}"
