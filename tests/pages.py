"""Nights as the ledger knows them, made quickly, for tests of the pages."""

import math
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

from scripts.lib.ledger.faults import Fault, Reason
from scripts.lib.ledger.ledger import Ledger, ledger_path
from scripts.lib.ledger.records import Frame, Measures, Product, Status
from scripts.lib.nights.dates import night_bounds
from scripts.lib.settings.records import Configuration
from scripts.lib.solving.table import Solved, solved_bytes
from tests.night import NIGHT
from tests.records import configuration

PROGRAMME = "60.A-9009(D)"
# Target, frames of 2,900, exposure time.
TARGETS = (
    ("Sp0805+0417", 1100, 10.0),
    ("TIC 46432937 b", 1200, 10.0),
    ("C/2025 N1 (ATLAS)", 600, 10.0),
)
CALIBRATIONS = (("bias", 0.0, 11, 301.0), ("dark", 10.0, 11, 681.0), ("flat", 2.0, 7, 30100.0))
FAULTS = (
    Fault(Reason.ENGINEERING, "ASTRATYP is pointing"),
    Fault(Reason.TRUNCATED, "1320480 bytes of 2632320"),
)
DEGREE = 0.309 / 3600


def settings_of(root: Path, telescope: str = "Callisto", **changes) -> Configuration:
    """Return a telescope's configuration with its folders below ``root``."""
    folders = {name: str(root / name) for name in ("source", "archive")}
    workdir = root / telescope
    workdir.mkdir(parents=True, exist_ok=True)
    return configuration(telescope, workdir=str(workdir), **folders, **changes)


def made_night(
    settings: Configuration,
    night: str = NIGHT,
    frames: int = 60,
    targets=TARGETS,
    engineering: int = 3,
    faulty: int = 0,
    status: Status = Status.DELIVERED,
    cloudy: bool = False,
    seed: int = 1,
) -> None:
    """Write a night into the ledger, with what solving left of it."""
    rng = random.Random(f"{night} {seed}")
    folder = settings.workdir / night
    (folder / "solved").mkdir(parents=True, exist_ok=True)
    begin, _ = night_bounds(night, settings.place.longitude)
    clock = begin + timedelta(hours=6.6)
    made: list[Frame] = []
    for kind, exptime, count, level in CALIBRATIONS:
        name = f"C_{kind}_{exptime:g}s"
        for _ in range(count):
            measures = Measures(level + rng.gauss(0, 1), 9, level - 20, level + 20, 0.0)
            made.append(
                frame_of(
                    night, name, kind, kind.upper(), exptime, clock, len(made), status, measures
                )
            )
            clock += timedelta(seconds=exptime + 5)
    clock, seeing = begin + timedelta(hours=9.2), rng.uniform(1.25, 1.55)
    share, step = frames / sum(count for _, count, _ in targets), 31_500 / frames
    for target, count, exptime in targets:
        name = f"S_{''.join(c if c.isalnum() else '_' for c in target)[:40]}"
        rows, members = [], max(1, round(count * share))
        for number in range(members):
            frame = frame_of(
                night, name, "science", target, exptime, clock, len(made), status, None
            )
            made.append(frame)
            # A cloud comes over the second target, and a dome that is closed after it.
            depth = cloudy and target == targets[1][0]
            rows.append(solution(frame, rng, number, number / members, depth, seeing))
            clock += timedelta(seconds=step)
        clock += timedelta(minutes=25 if cloudy and target == targets[1][0] else 0)
        (folder / f"solved/{name}.fits").write_bytes(solved_bytes(rows))
    held = [
        Frame(
            night,
            f"{'focus' if fault is FAULTS[0] else 'cut'}{n}.fits",
            status=Status.HELD,
            fault=fault,
        )
        for fault, count in zip(FAULTS, (engineering, faulty), strict=True)
        for n in range(count)
    ]
    products = [
        Product(name, night, name, PROGRAMME, name, 450_000_000, 1, "", "passed", delivered=clock)
        for name in sorted({frame.product for frame in made})
    ]
    with Ledger(ledger_path(settings.workdir)) as ledger:
        with ledger.transaction():
            ledger.set_night(night, snapshot="made", reported=1)
            ledger.record([*made, *held])
            ledger.enter(products if status in (Status.DELIVERED, Status.CONFIRMED) else [])
        ledger.note(f"read noise {night}", f"{rng.gauss(6.3, 0.1):.2f}")


def frame_of(night, sequence, kind, target, exptime, clock, number, status, measures) -> Frame:
    return Frame(
        *(night, f"{night}_{number:05d}_{kind}.fits"),
        status=status,
        kind=kind,
        object=target,
        filter="zYJ",
        exptime=exptime,
        date_obs=clock.replace(microsecond=0),
        naxis1=1024,
        naxis2=1280,
        pixel_sum=number,
        sequence=sequence,
        product=f"SPECU4.{night}T000000_{sequence}_zYJ.fits",
        measures=measures,
    )


def solution(
    frame: Frame, rng: random.Random, number: int, at: float, cloudy: bool, seeing: float
) -> Solved:
    """Return what solving says of a frame ``at`` a share of its sequence."""
    depth = 1.2 * math.exp(-(((at - 0.5) / 0.12) ** 2)) if cloudy else 0.0
    if number % 97 == 50:
        return Solved(frame.file, False, background=800.0, reason="no stars")
    background = 1300 + 400 * (2 * at - 1) ** 2 + 900 * depth
    return Solved(
        frame.file,
        True,
        ra=121.3 + at * DEGREE * 3,
        dec=4.28 + rng.gauss(0, 0.3) * DEGREE,
        crpix1=512.5,
        crpix2=640.5,
        cd1_1=DEGREE,
        cd1_2=0.0,
        cd2_1=0.0,
        cd2_2=DEGREE,
        rms=0.035 + abs(rng.gauss(0, 0.006)),
        offset=9 + rng.gauss(0, 0.3),
        background=background,
        fwhm=seeing + 0.2 * at + 0.8 * depth + abs(rng.gauss(0, 0.05)),
        zero_point=21.9 - depth + rng.gauss(0, 0.01),
        sky=background / frame.exptime,
    )


def confirmed_table(settings: Configuration, night: str = NIGHT, status: str = "confirmed") -> None:
    """Write that ESO's archive was asked for a night."""
    from scripts.lib.delivery.confirmation import TABLE, Answer, write_confirmed

    with Ledger(ledger_path(settings.workdir)) as ledger:
        products = ledger.products(night)
    asked = f"{datetime(2026, 3, 6, 21, 5, tzinfo=UTC):%Y-%m-%dT%H:%M:%S}"
    answers = [
        Answer(p.name, p.dp_id, PROGRAMME, "OBJECT", asked, status, asked=asked) for p in products
    ]
    write_confirmed(settings.workdir / night / TABLE, answers)
