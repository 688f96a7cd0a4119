"""Random damage: each frame is delivered in a product that passes everywhere, or held back."""

import os
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from scripts.archive import Delivery, hold_back
from scripts.cube import write_cube
from scripts.frames import write_frames
from scripts.header import Night as HeaderNight
from scripts.header import write_headers
from scripts.ingest import copy_night
from scripts.inventory import take_inventory
from scripts.lib.delivery.receipts import target_of
from scripts.lib.files.durable import sync
from scripts.lib.gate.checks import errors, judged, read_checks
from scripts.lib.gate.product_file import TABLES, read_product_file
from scripts.lib.headers.finished import read_headers
from scripts.lib.ledger.ledger import Ledger
from scripts.lib.ledger.records import DONE, Frame, Night, Status
from scripts.lib.ledger.snapshot import held, sequences
from scripts.lib.sources.opening import open_folder
from scripts.lib.sources.raw_copies import RawCopies
from scripts.simulator.night import simulate
from tests.night import NIGHT, plane_digests
from tests.raw import with_checksum
from tests.records import configuration, expectations, observatory_of

SEED = int(os.environ["FUZZ_SEED"])
SIZE = (32, 40)
FRAMES = 20
# Two telescopes: 2,000 frames.
NIGHTS = int(os.environ.get("FUZZ_NIGHTS", 50))
CHECKS = read_checks(TABLES / "checks.csv")

KEYWORDS = (
    "SIMPLE BITPIX NAXIS NAXIS1 NAXIS2 BZERO BSCALE BLANK BUNIT TELESCOP INSTRUME OBJECT IMAGETYP "
    "ASTRATYP FILTER EXPTIME DATE-OBS DATE-END MJD-OBS JD-OBS HJD-OBS BJD-OBS LST RA DEC RADESYS "
    "EQUINOX AIRMASS XBINNING YBINNING XORGSUBF YORGSUBF FOCALLEN XPIXSZ LAT-OBS LONG-OBS OBSERVER "
    "PI-COI CCD-TEMP TRACKING HA CTYPE1 CUNIT1 CRPIX1 CRVAL1 CRVAL2 CD1_1 PC1_1 CDELT1 DATASUM "
    "CHECKSUM COMMENT HISTORY EXTEND END NEWKEY FILENAME DATE-AVG BLOCKED CLOUDY TTYPE1 A_ORDER "
    "CROTA2 EPOCH CONTINUE HIERARCH"
).split()
LITERALS = [
    *(
        "T",
        "F",
        "0",
        "-1",
        "1",
        "2",
        "1E99",
        "-0.0",
        "NaN",
        "nan",
        "INF",
        "1e400",
        "1.5",
        "''",
        "'",
    ),
    *(
        "'x",
        "'it''s'",
        "' lead'",
        "'O''",
        "1.0D5",
        "(1.0, 2.0)",
        "1 2",
        "0x10",
        "",
        "/ only",
        "''''",
    ),
    *(
        "'2026-03-06T00:01:23.540695'",
        "'2026-03-06T00:01:60.5'",
        "'2026-02-30T00:00:00'",
        "'yesterday'",
    ),
    *(
        "'Light Frame'",
        "'Dark Frame'",
        "'light'",
        "'C/2025 N1 (ATLAS)'",
        "'../../etc'",
        "'a&'",
        "'#'",
        "'FK5'",
    ),
    *("'08 05 12.3'", "'+04:16:48'", "'91 00 00'", "361.0", "'12h'", "'" + "x" * 68 + "'", "32768"),
    *("9223372036854775808", "-9223372036854775809", "1E19", "99999999999999999999999"),
]
printable = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60)
literals = st.one_of(
    st.sampled_from(LITERALS),
    st.floats(allow_nan=True).map(repr),
    st.integers().map(str),
    printable.map(lambda text: "'" + text.replace("'", "''") + "'"),
    printable,
)
keywords = st.one_of(st.sampled_from(KEYWORDS), st.text("ABCXYZ019-_ a*", min_size=1, max_size=8))


def on_card(keyword: str, literal: str) -> bytes:
    return f"{keyword:<8}= {literal:>20} / fuzzed".encode("latin-1", "replace")[:80].ljust(80)


def written(cards: list, keyword: str, literal: str) -> list:
    """Write a value on the cards of a keyword, or on a new one."""
    image = on_card(keyword, literal)
    found = [c[:8].rstrip() == keyword.encode() for c in cards]
    if not any(found):
        return [*cards, image]
    return [image if yes else c for c, yes in zip(cards, found, strict=True)]


def placed(cards: list, at: int, image: bytes) -> list:
    at %= len(cards) + 1
    return cards[:at] + [image.ljust(80)[:80]] + cards[at:]


def dropped(cards: list, at: int) -> list:
    at %= len(cards)
    return cards[:at] + cards[at + 1 :]


def repeated(cards: list, at: int) -> list:
    return placed(cards, at, cards[at % len(cards)])


places = st.integers(0, 200)
card_faults = st.one_of(
    st.tuples(st.just(written), keywords, literals),
    st.tuples(st.just(written), keywords, literals),
    st.tuples(st.just(placed), places, st.binary(max_size=80)),
    st.tuples(st.just(placed), places, st.tuples(keywords, literals).map(lambda kv: on_card(*kv))),
    st.tuples(st.just(dropped), places),
    st.tuples(st.just(repeated), places),
)
file_faults = st.one_of(
    st.integers(0, 20000).map(lambda n: lambda content: content[:n]),
    st.binary(min_size=1, max_size=3000).map(lambda tail: lambda content: content + tail),
    st.integers(0, 10**6).map(lambda n: lambda content: flipped(content, n)),
    st.binary(min_size=2, max_size=2).map(lambda pixel: lambda content: flat(content, pixel)),
)
# Most cards are changed by somebody who computes a new CHECKSUM; the others show by it.
resummed = st.sampled_from([True, True, True, True, True, True, True, False])
# A third of the frames is left as it is.
faults = st.lists(
    st.one_of(
        st.just(()),
        st.tuples(st.lists(card_faults, min_size=1, max_size=3), resummed),
        file_faults,
    ),
    min_size=FRAMES,
    max_size=FRAMES,
)


def split(content: bytes) -> tuple[list[bytes], bytes]:
    """Return the cards of a raw file, END left out, and its data."""
    cards = [content[i : i + 80] for i in range(0, len(content), 80)]
    end = next(n for n, image in enumerate(cards) if image.rstrip() == b"END")
    return cards[:end], content[-(-(end + 1) // 36) * 2880 :]


def flipped(content: bytes, place: int) -> bytes:
    byte, bit = divmod(place % (8 * len(content)), 8)
    return content[:byte] + bytes([content[byte] ^ 1 << bit]) + content[byte + 1 :]


def flat(content: bytes, pixel: bytes) -> bytes:
    """Return a frame whose pixels are all the same, with its DATASUM gone."""
    cards, data = split(content)
    pixels = 2 * SIZE[0] * SIZE[1]
    cards = [c for c in cards if not c.startswith((b"DATASUM", b"CHECKSUM"))]
    return joined(cards, (pixel * (pixels // 2)).ljust(len(data), b"\0"))


def joined(cards: list[bytes], data: bytes) -> bytes:
    header = b"".join([*cards, b"END".ljust(80)])
    return header.ljust(-(-len(header) // 2880) * 2880) + data


def damaged(content: bytes, fault) -> bytes:
    if callable(fault):
        return fault(content)
    if not fault:
        return content
    changes, is_resummed = fault
    cards, data = split(content)
    for function, *words in changes:
        cards = function(cards, *words)
    changed = joined(cards, data)
    return with_checksum(changed) if is_resummed else changed


class Case:
    """A telescope, the good frames of a small night, and folders for one damaged night."""

    def __init__(self, root: Path, telescope: str):
        self.root, self.telescope = root, telescope
        camera = {"naxis1": SIZE[0], "naxis2": SIZE[1]}
        self.settings = configuration(
            telescope, camera=camera, corrections=str(root), streams=1, settle=0
        )
        simulate(telescope, NIGHT, root / "good", FRAMES, SIZE)
        self.good = sorted((root / "good" / NIGHT).glob("*.f*ts"))[:FRAMES]
        assert len(self.good) == FRAMES
        self.observatory = observatory_of(self.settings, NIGHT)
        self.expected = expectations(self.settings, NIGHT)
        self.cubes = self.settings.products == "cubes"

    def run(self, faults: list) -> tuple[dict[str, str], list[Path]]:
        """Take a damaged night through the workflow; return reasons by file, and products."""
        work = self.root / "work"
        shutil.rmtree(work, ignore_errors=True)
        raw, archive = work / "raw", work / "archive"
        for folder in (raw, archive, work / "made", work / "source" / NIGHT, work / "headers"):
            folder.mkdir(parents=True)
        for path, fault in zip(self.good, faults, strict=True):
            content = damaged(path.read_bytes(), fault)
            (work / "source" / NIGHT / path.name).write_bytes(content)
        with Ledger(":memory:") as ledger:
            copy_night(open_folder(str(work / "source")), NIGHT, raw, ledger, self.settings)
            frames = ledger.frames(NIGHT)
            night = ledger.night(NIGHT)
            judged = take_inventory(raw, frames, [], night, self.observatory, self.cubes, "")
            with ledger.transaction():
                ledger.record(judged)
            headers = HeaderNight(self.observatory, -70.39, CHECKS, self.cubes)
            frames = ledger.frames(NIGHT)
            found = write_headers(work / "headers", sequences(frames), raw, headers, {})
            hold_back(ledger, frames, found)
            for sequence, members in sequences(ledger.frames(NIGHT)).items():
                self.deliver(work, sequence, members, ledger, night)
            frames = ledger.frames(NIGHT)
        assert all(frame.status in DONE | {Status.HELD} for frame in frames)
        return {frame.file: str(frame.fault) for frame in held(frames)}, sorted(archive.iterdir())

    def deliver(
        self, work: Path, sequence: str, frames: list[Frame], ledger: Ledger, night: Night
    ) -> None:
        headers, raw = work / "headers" / f"{sequence}.fits", RawCopies(work / "raw")
        expected = self.expected._replace(headers=read_headers(headers))
        target = target_of(frames[0].product, sequence, self.cubes)
        archive = work / "archive"
        delivery = Delivery(ledger, archive, night, False, CHECKS, expected)
        if self.cubes:
            cube = work / "made" / frames[0].product
            write_cube(cube, frames, raw, headers)
            made = [delivery.judge(target, cube, frames, expected, {})]
        else:
            folder = work / "made" / sequence
            write_frames(folder, frames, raw, expected.headers, 1)
            made = [
                delivery.judge(target, folder / frame.product, [frame], expected, {})
                for frame in frames
            ]
        sync(archive)
        delivery.deliver(made, 0o644)
        assert delivery.failed == []


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> dict:
    return {
        name: Case(tmp_path_factory.mktemp(f"fuzz-{name}"), name) for name in ("Callisto", "Io")
    }


@pytest.mark.parametrize("telescope", ["Callisto", "Io"])
def test_damaged_frames_are_held_back_or_delivered_conforming(cases, telescope):
    case = cases[telescope]
    seen = Counter()

    @seed(SEED)
    @settings(
        max_examples=NIGHTS,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(faults)
    def night(faults):
        reasons, products = case.run(faults)
        seen.update(frames=FRAMES, held=len(reasons))
        assert all(reasons.values())
        for path in products:
            assert not errors(judged(read_product_file(path, case.expected), CHECKS)), path
        assert complaints(products) == []
        delivered = Counter(digest for path in products for digest in plane_digests(path))
        assert delivered.total() + len(reasons) == FRAMES
        untouched = {
            path: fault for path, fault in zip(case.good, faults, strict=True) if fault == ()
        }
        for path in untouched:
            reason = reasons.get(path.name, "")
            # A neighbour that got its pixels or its millisecond may have come first.
            assert not reason or reason.startswith(("duplicate", "name clash")), reason

    night()
    assert seen["frames"] >= NIGHTS * FRAMES and 0.2 < seen["held"] / seen["frames"] < 0.8
    print(f"{telescope}: {seen['frames']} frames, {seen['held']} held back, seed {SEED}")


def complaints(products: list[Path]) -> list[str]:
    """Return what fitsverify says of products, but for hyphens in the columns of METADATA."""
    if not products:
        return []
    done = subprocess.run(
        ["fitsverify", "-H", *map(str, products)], capture_output=True, text=True, errors="replace"
    )
    said = [line for line in done.stdout.splitlines() if line.startswith(("*** ", "**** Abort"))]
    return [line for line in said if "contains character '-'" not in line]
