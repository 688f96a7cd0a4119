"""Two directories of products of the same nights: what differs, and what of it is expected.

Raw frames are paired first, by time and pixels; products are paired by the frames that they hold.
"""

import re
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from scripts.lib.files.errors import Damaged
from scripts.lib.fits.cards import COMMENTARY, Header, HeaderError
from scripts.lib.fits.hdu import read_primary_header
from scripts.lib.nights.dates import night_bounds
from scripts.lib.settings.telescopes import telescopes
from scripts.migration.differences import Difference, Expectations
from scripts.migration.planes import (
    ComparedProduct,
    Plane,
    plane_value,
    read_product,
    start_of,
    value_of,
)

THREADS = 2
OURS, LEGACY = "ours", "legacy"
LATER_PART = "_part"
# Texts for people; a CONTINUE belongs to the value before it.
TEXTUAL = {*COMMENTARY, "CONTINUE"}
# How METADATA is laid out; its columns are compared row by row.
LAYOUT = re.compile(r"TFIELDS|NAXIS[12]|T(TYPE|FORM|UNIT|NULL|DISP)\d+")


class Mismatch(NamedTuple):
    """Something about a product or a plane that differs; ``product`` is ours where there is one."""

    kind: str
    expected: bool
    product: str
    text: str


class Group(NamedTuple):
    """All differences of one keyword in one place that have one reason; none if unexpected."""

    place: str
    keyword: str
    reason: str | None


class Side(NamedTuple):
    """The products of one directory: whole ones by name, and what is wrong with the others."""

    products: dict[str, ComparedProduct]
    damaged: dict[str, str]

    def planes(self) -> list[Plane]:
        """Return the planes of all products."""
        return [plane for product in self.products.values() for plane in product.planes]


def read_side(folder: Path, night: str = "") -> Side:
    """Return the products of a directory, of one night if one is given.

    A file that is so damaged that it has no date belongs to every night.
    """
    paths = sorted(path for path in folder.glob("[!.]*.fits") if _is_of(path, night))
    with ThreadPoolExecutor(THREADS) as pool:
        read = list(pool.map(_read_or_why_not, paths))
    products = {product.name: product for product in read if isinstance(product, ComparedProduct)}
    damaged = {
        path.name: str(why)
        for path, why in zip(paths, read, strict=True)
        if isinstance(why, Damaged)
    }
    return Side(products, damaged)


def _is_of(path: Path, night: str) -> bool:
    if not night:
        return True
    try:
        header = read_primary_header(path)
        start, name = start_of(header), header.value("TELESCOP")
    except (OSError, HeaderError):
        return True
    sites = [one.site for one in telescopes().values() if one.telescop == name]
    if start is None or not sites:
        return True
    begin, end = night_bounds(night, sites[0].longitude)
    return begin <= start < end


def _read_or_why_not(path: Path) -> ComparedProduct | Damaged:
    try:
        return read_product(path)
    except Damaged as why:
        return why


# Pairs

# What a plane is known by.
Mark = tuple[str | bytes, ...]


def pair_planes(ours: list[Plane], legacy: list[Plane]) -> list[tuple[Plane, Plane]]:
    """Return pairs of planes of the same raw frame.

    They are sought first by time and pixels, then by pixels alone (swapped planes, a wrong
    DATE-OBS), then by time alone (changed pixels).
    """
    pairs = []
    for key in (_time_and_pixels, _pixels, _time):
        found = _paired(ours, legacy, key)
        pairs += found
        done = {id(plane) for pair in found for plane in pair}
        ours = [plane for plane in ours if id(plane) not in done]
        legacy = [plane for plane in legacy if id(plane) not in done]
    return pairs


def _time_and_pixels(plane: Plane) -> Mark:
    return plane.instrume, plane.start, plane.digest


def _pixels(plane: Plane) -> Mark | None:
    """Return the pixels; a constant plane, which is like any other, has no identity."""
    return None if plane.constant else (plane.digest,)


def _time(plane: Plane) -> Mark | None:
    return (plane.instrume, plane.start) if plane.start else None


def _paired(
    ours: list[Plane], legacy: list[Plane], key: Callable[[Plane], Mark | None]
) -> list[tuple[Plane, Plane]]:
    waiting: defaultdict[Mark, deque[Plane]] = defaultdict(deque)
    for plane in legacy:
        if (mark := key(plane)) is not None:
            waiting[mark].append(plane)
    pairs = []
    for plane in ours:
        if (mark := key(plane)) is not None and waiting.get(mark):
            pairs.append((plane, waiting[mark].popleft()))
    return pairs


def pair_products(pairs: list[tuple[Plane, Plane]]) -> dict[str, str]:
    """Return for each of our products the legacy product that shares most frames with it.

    No product is in two pairs.
    """
    shared = Counter((one.product, other.product) for one, other in pairs)
    ordered = sorted(shared, key=lambda names: (-shared[names], names[0] != names[1], names))
    partners, taken = {}, set()
    for one, other in ordered:
        if one not in partners and other not in taken:
            partners[one] = other
            taken.add(other)
    return partners


# Comparison


class Comparison:
    """What two directories of products have in common, and what not.

    Parameters
    ----------
    ours, legacy : Side
        The products.
    expectations : Expectations
        Which differences of keywords are expected.
    """

    def __init__(self, ours: Side, legacy: Side, expectations: Expectations):
        self.ours, self.legacy = ours, legacy
        self.expectations = expectations
        self.findings: list[Mismatch] = []
        # Differences of keywords, each with the name of our product.
        self.groups: defaultdict[Group, list[tuple[str, Difference]]] = defaultdict(list)
        self.pairs = pair_planes(ours.planes(), legacy.planes())
        self.partners = pair_products(self.pairs)
        self.alone = tuple(self._alone(side) for side in (0, 1))
        self._compare_sides()
        self._compare_planes()
        self._compare_partners()

    def unexpected(self) -> bool:
        """Return whether anything differs that should not."""
        return any(not finding.expected for finding in self.findings) or any(
            group.reason is None for group in self.groups
        )

    def counts(self) -> dict[str, int]:
        """Return how many products pair, and how those pairs compare."""
        wrong = {finding.product for finding in self.findings if not finding.expected}
        changed: set[str] = set()
        for group, found in self.groups.items():
            names = {product for product, _ in found}
            changed |= names
            if group.reason is None:
                wrong |= names
        changed |= {finding.product for finding in self.findings}
        ours, legacy = self.alone
        unlike = sum(name in wrong for name in self.partners)
        differ = sum(name in changed or name in wrong for name in self.partners)
        return {
            "pairs": len(self.partners),
            "same": len(self.partners) - differ,
            "expected": differ - unlike,
            "unexpected": unlike,
            "only_ours": len(ours),
            "only_legacy": len(legacy),
            "damaged": len(self.ours.damaged) + len(self.legacy.damaged),
        }

    def _alone(self, side: int) -> list[str]:
        """Return the products of a side (0 ours, 1 legacy) of which no frame is on the other."""
        known = {pair[side].product for pair in self.pairs}
        doubles = self._doubles(side)
        return [
            product.name
            for product in (self.ours, self.legacy)[side].products.values()
            if product.name not in known
            and not any(plane.digest in doubles for plane in product.planes)
        ]

    def _doubles(self, side: int) -> set[bytes]:
        """Return the pixels that are paired: a further plane of them is reported as a duplicate."""
        return {pair[side].digest for pair in self.pairs if not pair[side].constant}

    def _find(self, kind: str, expected: bool, product: str, text: str) -> None:
        self.findings.append(Mismatch(kind, expected, product, text))

    def _name_here(self, legacy: str) -> str:
        """Return the name of our partner of a legacy product; its own if it has none."""
        return next((one for one, other in self.partners.items() if other == legacy), legacy)

    def _compare_sides(self) -> None:
        """Look at each side by itself: damaged products, wrong sums, frames held twice."""
        for side, whose in ((self.ours, OURS), (self.legacy, LEGACY)):
            for name, why in side.damaged.items():
                self._find("damaged", False, name, f"{whose}: {name}: {why}")
            for product in side.products.values():
                if product.wrong_sum:
                    name = product.name if whose == OURS else self._name_here(product.name)
                    self._find("sum", False, name, f"{whose}: {product.name}: {product.wrong_sum}")
            for places in duplicates(side.planes()):
                name = places[0].product
                text = "; ".join(map(str, places))
                name = name if whose == OURS else self._name_here(name)
                self._find("duplicate", False, name, f"{whose}: {text}")

    def _compare_planes(self) -> None:
        """Look at raw frames, wherever they are: pixels, and those without a partner."""
        for one, other in self.pairs:
            if one.digest != other.digest:
                self._report_pixels(one, other)
            elif self.partners.get(one.product) != other.product:
                later = LATER_PART in one.product
                text = f"{one} is in the legacy's {other}"
                self._find("grouped otherwise", later, one.product, text)
        for kind, sides in (("more on ours", 0), ("lost on ours", 1)):
            self._report_single(kind, sides)

    def _report_pixels(self, one: Plane, other: Plane) -> None:
        planes = ((one, OURS), (other, LEGACY))
        constant = [f"{whose} constant" for plane, whose in planes if plane.constant]
        note = f" ({', '.join(constant)})" if constant else ""
        text = f"{one} and the legacy's {other}, {one.start}{note}"
        self._find("constant" if constant else "pixels", False, one.product, text)

    def _report_single(self, kind: str, side: int) -> None:
        """Report planes, or whole products, of one side (0 ours, 1 legacy) without a partner."""
        whose, planes = ((OURS, self.ours), (LEGACY, self.legacy))[side]
        paired = {id(pair[side]) for pair in self.pairs}
        doubles, alone = self._doubles(side), self.alone[side]
        for name in alone:
            count = len(planes.products[name].planes)
            text = f"{name} ({count} frame{'' if count == 1 else 's'})"
            self._find(f"only {whose}", whose == OURS, name, text)
        for plane in planes.planes():
            if id(plane) in paired or plane.product in alone or plane.digest in doubles:
                continue
            name = plane.product if whose == OURS else self._name_here(plane.product)
            found = "constant" if plane.constant else kind
            expected = whose == OURS and not plane.constant
            self._find(found, expected, name, f"{whose}: {plane}, {plane.start or 'no DATE-OBS'}")

    def _compare_partners(self) -> None:
        """Look at each pair of products: order of the planes, keywords."""
        inside = defaultdict(list)
        for one, other in self.pairs:
            inside[one.product, other.product].append((one, other))
        for names in self.partners.items():
            ours, legacy = self.ours.products[names[0]], self.legacy.products[names[1]]
            common = sorted(inside[names], key=lambda pair: pair[0].number)
            self._compare_order(common)
            for difference in keyword_differences(ours, legacy, common):
                reason = self.expectations.reason(difference)
                group = Group(difference.place, difference.keyword, reason)
                self.groups[group].append((ours.name, difference))

    def _compare_order(self, common: list[tuple[Plane, Plane]]) -> None:
        moved = [
            (one, other)
            for (_, before), (one, other) in zip(common, common[1:], strict=False)
            if other.number < before.number
        ]
        if moved:
            one, other = moved[0]
            text = f"{one} is plane {other.number} of the legacy's, behind later ones"
            self._find("order", False, one.product, text)


def duplicates(planes: list[Plane]) -> list[list[Plane]]:
    """Return the planes that hold the same pixels, in lists; constant ones have no identity."""
    places = defaultdict(list)
    for plane in planes:
        if not plane.constant:
            places[plane.digest].append(plane)
    return [same for same in places.values() if len(same) > 1]


# Keywords


def keyword_differences(
    ours: ComparedProduct, legacy: ComparedProduct, common: list[tuple[Plane, Plane]]
) -> Iterable[Difference]:
    """Yield the keywords that differ between two products, and between the rows of two cubes.

    Parameters
    ----------
    common : list of tuple
        Pairs of planes that both hold.
    """
    place = "frame" if ours.table is None else "cube"
    if ours.name != legacy.name:
        starts = tuple(re.sub("[-:]", "", plane.start)[:15] for plane in ours.planes)
        yield Difference(place, "(name)", ours.name, legacy.name, starts)
    for keyword in _keywords(ours.header, legacy.header):
        values = value_of(ours.header, keyword), value_of(legacy.header, keyword)
        if values[0] != values[1]:
            planes = ours.values(keyword) if place == "cube" else ()
            yield Difference(place, keyword, *values, tuple(planes))
    if ours.table is None or legacy.table is None:
        return
    for keyword in _keywords(ours.table, legacy.table):
        values = value_of(ours.table, keyword), value_of(legacy.table, keyword)
        if values[0] != values[1] and not LAYOUT.fullmatch(keyword):
            yield Difference("table", keyword, *values)
    yield from _rows_that_differ(ours, legacy, common)


def _rows_that_differ(
    ours: ComparedProduct, legacy: ComparedProduct, common: list[tuple[Plane, Plane]]
) -> Iterable[Difference]:
    """Yield what differs in METADATA. A value that is not a column of one side is in its header."""
    keywords = dict.fromkeys(key for pair in common[:1] for plane in pair for key in plane.row)
    for one, other in common:
        for keyword in keywords:
            values = plane_value(ours, one, keyword), plane_value(legacy, other, keyword)
            if values[0] != values[1]:
                yield Difference("plane", keyword, *values)


def _keywords(*headers: Header) -> list[str]:
    """Return the keywords of headers that are not the same card in all, each once."""
    common = set.intersection(*(set(header.images) for header in headers))
    return list(
        dict.fromkeys(
            keyword
            for header in headers
            for keyword, image in header
            if image not in common and keyword not in TEXTUAL
        )
    )
