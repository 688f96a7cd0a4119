"""A comparison of products as text for people, and as a dict for programs."""

from collections.abc import Iterable
from typing import Any

from scripts.lib.fits.cards import Value
from scripts.migration.comparison import Comparison, Group
from scripts.migration.differences import PLACES, Difference

LISTED = 5  # products, or planes, named of each kind
WIDEST = 40
Found = list[tuple[str, Difference]]  # with the names of our products
HEADINGS = {
    "damaged": "no whole products",
    "only legacy": "products of which nothing is on our side",
    "lost on ours": "planes that are not on our side",
    "sum": "DATASUM that is not that of the pixels",
    "constant": "planes of which all pixels are alike",
    "pixels": "pixels that differ",
    "order": "planes in another order",
    "duplicate": "the same pixels more than once on one side",
    "grouped otherwise": "frames that the legacy pipeline put into another product",
    "only ours": "products of which nothing is on the legacy side",
    "more on ours": "planes that are not on the legacy side",
}
SUMMARY = {
    "pairs": "pairs of products",
    "same": "  the same",
    "expected": "  differ as expected",
    "unexpected": "  differ unexpectedly",
    "only_ours": "only on our side",
    "only_legacy": "only on the legacy side",
    "damaged": "no whole products",
}


def as_text(comparison: Comparison) -> str:
    """Return the summary, then what is unexpected, then what is expected."""
    lines = [*_summary(comparison)]
    for expected, title in ((False, "UNEXPECTED"), (True, "EXPECTED")):
        details = [*_findings(comparison, expected), *_keywords(comparison, expected)]
        if details:
            lines += ["", title, *details]
    return "\n".join(lines)


def _summary(comparison: Comparison) -> Iterable[str]:
    sides = (comparison.ours, comparison.legacy)
    yield f"{'':26}{'ours':>6}{'legacy':>8}"
    for title, numbers in {
        "products": [len(side.products) + len(side.damaged) for side in sides],
        "raw frames in them": [len(side.planes()) for side in sides],
    }.items():
        yield f"{title:26}{numbers[0]:6}{numbers[1]:8}"
    yield ""
    for key, count in comparison.counts().items():
        yield f"{SUMMARY[key]:26}{count:6}"
    yield ""
    if comparison.unexpected():
        yield "NOT AS EXPECTED: see below"
    else:
        yield "AS EXPECTED: all raw frames are on our side, no difference without its reason"


def _findings(comparison: Comparison, expected: bool) -> Iterable[str]:
    for kind, heading in HEADINGS.items():
        found = [f for f in comparison.findings if f.kind == kind and f.expected == expected]
        if not found:
            continue
        yield f"  {heading}: {len(found)}"
        yield from (f"    {finding.text}" for finding in found[:LISTED])
        if len(found) > LISTED:
            yield f"    … and {len(found) - LISTED} more"


def _keywords(comparison: Comparison, expected: bool) -> Iterable[str]:
    groups = _groups(comparison, expected)
    if groups:
        yield "  keywords: how often, in how many products; the first, ours | the legacy's"
    for reason in dict.fromkeys(group.reason for group, _ in groups):
        indent = "    "
        if reason:
            yield f"    {reason}"
            indent = "      "
        for group, found in groups:
            if group.reason == reason:
                yield f"{indent}{_counted(group, found)}"


def _counted(group: Group, found: Found) -> str:
    name, example = found[0]
    values = f"{_shown(example.ours)} | {_shown(example.legacy)}"
    named = "" if group.reason else f", {name}"
    places = f"{len(found)} in {len({name for name, _ in found})}"
    return f"{group.keyword:9} {places:12} {PLACES[group.place]:18} {values}{named}"


def _groups(comparison: Comparison, expected: bool) -> list[tuple[Group, Found]]:
    chosen = [
        item for item in comparison.groups.items() if (item[0].reason is not None) == expected
    ]
    return sorted(chosen, key=lambda item: (list(PLACES).index(item[0].place), item[0].keyword))


def _shown(value: Value) -> str:
    if value is None:
        return "none"
    text = repr(value)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


def as_dict(comparison: Comparison) -> dict[str, Any]:
    """Return the whole comparison as a dict that JSON can hold."""
    sides = {"ours": comparison.ours, "legacy": comparison.legacy}
    return {
        "products": {name: len(side.products) + len(side.damaged) for name, side in sides.items()},
        "frames": {name: len(side.planes()) for name, side in sides.items()},
        **comparison.counts(),
        "as_expected": not comparison.unexpected(),
        "findings": [finding._asdict() for finding in comparison.findings],
        "keywords": [
            group._asdict()
            | {"count": len(found), "products": list(dict.fromkeys(name for name, _ in found))}
            | {"ours": found[0][1].ours, "legacy": found[0][1].legacy}
            for expected in (False, True)
            for group, found in _groups(comparison, expected)
        ],
    }
