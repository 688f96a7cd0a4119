"""What is known of a night, as data: ``night.json``, which page, mail, history and site show.

Its form is `web/night.schema.json`. Everything follows from the ledger and the tables of the
night's folder; what is not known is None.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from scripts import version
from scripts.lib.delivery.confirmation import STATUSES, TABLE, read_confirmed
from scripts.lib.delivery.receipts import warned_products
from scripts.lib.files.log import logger
from scripts.lib.ledger.ledger import Ledger
from scripts.lib.ledger.outlook import latest
from scripts.lib.ledger.records import DONE, Frame, Measures, Product, Status
from scripts.lib.ledger.snapshot import good, held, sequences
from scripts.lib.nights.cameras import of_night
from scripts.lib.nights.dates import night_bounds
from scripts.lib.nights.times import after
from scripts.lib.pages import sky
from scripts.lib.pages.pictures import read_noise_note
from scripts.lib.pages.sun import sun_times
from scripts.lib.pages.verdict import Data, attention, headline, state_of
from scripts.lib.settings.records import Configuration
from scripts.lib.settings.telescopes import Site
from scripts.lib.solving.table import Solved

SCHEMA = 1  # of the data
SHORTEST_GAP = 600  # s of dark time without science
MOST_FILES = 50  # of one reason; the others stand in frames.csv


def night_data(
    ledger: Ledger,
    night: str,
    settings: Configuration,
    usual: Mapping[str, list[float] | None],
    failed: Sequence[Data] = (),
) -> Data:
    """Return what is known of a night.

    Parameters
    ----------
    usual : mapping
        By metric, its quartiles in the nights before.
    failed : sequence of dict
        Jobs of the night that failed: rule, what, error, log, tail.
    """
    folder = settings.workdir / night
    frames, products = ledger.frames(night), ledger.products(night)
    chosen, refused = good(frames), held(frames)
    waiting = [f for f in latest(frames).values() if f.status in (Status.SEEN, Status.COPIED)]
    measures, grouped = ledger.measures(night), sequences(frames)
    solved = sky.read_solutions(folder / "solved", grouped)
    begin, _ = night_bounds(night, settings.place.longitude)
    calibration = calibrations(grouped, measures, ledger.text(read_noise_note(night)))
    table = sky.frame_table(grouped, solved, begin)
    answers, asked = eso_answers(folder)
    faulty = [frame for frame in refused if frame.fault and not frame.fault.expected]
    undone = [f for f in chosen if f.status not in DONE] + waiting
    tried = list(solved.values())
    counts = {
        "raw": len({frame.file for frame in frames}),
        "engineering": len(refused) - len(faulty),
        "faulty": len(faulty),
        "good": len(chosen),
        "due": len(chosen) + len(waiting) + len(faulty),
        "delivered": sum(frame.status in DONE for frame in chosen),
        "waiting": len(undone),
        "products": len(products),
        "to_solve": len(tried),
        "unsolved": sum(not one.solved for one in tried),
        "warned": len(warned_products(products)),
        "bytes": sum(product.bytes for product in products),
    }
    summary = {name: sky.percentiles(table[name]) for name in sky.METRICS}
    del table["offset"]
    times, gaps = night_times(chosen, night, settings.place)
    eso = Counter(answers.values())
    copied, done = ledger.worked(night)
    data: Data = {
        "schema": SCHEMA,
        "telescope": settings.telescope,
        "camera": of_night(settings, night).camera.name,
        "night": night,
        "made": text(datetime.now(UTC)),
        "version": version(),
        "programmes": sorted({product.programme for product in products}),
        "folder": str(folder.absolute()),
        "state": "",
        "headline": "",
        "attention": [],
        "failed": list(failed),
        "counts": counts,
        "times": times,
        "gaps": gaps,
        "clouds": [[text(after(begin, one)) for one in span] for span in sky.cloud_spans(table)],
        "transparency": sky.transparency(table),
        "sky": summary,
        "usual": {
            name: usual.get(name) for name in (*sky.METRICS, "bias", "read_noise", "science_h")
        },
        "calibration": calibration | {"serves": serves(grouped)},
        "sequences": [
            sequence_data(name, members, solved, products, answers)
            for name, members in grouped.items()
        ],
        "undelivered": {
            "faulty": by_reason(faulty),
            "engineering": by_reason([f for f in refused if f.fault and f.fault.expected]),
            "unsolved": [[one.file, one.reason] for one in tried if not one.solved][:MOST_FILES],
        },
        "eso": {name: eso[name] for name in STATUSES} | {"asked": asked} if asked else None,
        "run": {
            "begin": text(copied),
            "end": text(done),
            "wall_s": round((done - copied).total_seconds(), 1) if copied and done else None,
        },
        "frames": {"begin": text(begin), **table},
    }
    data["attention"] = attention(data)
    data["state"] = state_of(data)
    data["headline"] = headline(data)
    return data


def text(time: datetime | None) -> str | None:
    """Return a time to the second."""
    return None if time is None else f"{time:%Y-%m-%dT%H:%M:%SZ}"


def night_times(frames: Sequence[Frame], night: str, place: Site) -> tuple[Data, list[Data]]:
    """Return times of a night with hours of darkness and of science, and gaps in the latter."""
    sun = sun_times(night, place)
    science = [frame for frame in frames if frame.kind == "science"]
    first = science[0].begin if science else None
    last = max(after(f.begin, f.exptime) for f in science) if science else None
    dusk, dawn = sun["dusk18"], sun["dawn18"]
    times: Data = {name: text(time) for name, time in sun.items()}
    times |= {"first": text(first), "last": text(last), "dark_h": None, "open_h": None}
    times["science_h"] = round(sum(frame.exptime for frame in science) / 3600, 2)
    if first and last:
        times["open_h"] = round((last - first).total_seconds() / 3600, 2)
    gaps = []
    if dusk and dawn:
        times["dark_h"] = round((dawn - dusk).total_seconds() / 3600, 2)
        free = dusk
        for frame in science:
            if (min(frame.begin, dawn) - free).total_seconds() >= SHORTEST_GAP:
                gaps.append((free, min(frame.begin, dawn)))
            free = max(free, after(frame.begin, frame.exptime))
        if science and (dawn - free).total_seconds() >= SHORTEST_GAP:
            gaps.append((free, dawn))
    return times, [
        {"begin": text(a), "end": text(b), "minutes": round((b - a).total_seconds() / 60)}
        for a, b in gaps
    ]


# Calibrations


def calibrations(
    grouped: Mapping[str, list[Frame]],
    measures: Mapping[tuple[str, int], Measures],
    noise: str,
) -> Data:
    """Return levels, noise and rates of a night's calibrations, ADU and ADU/s.

    Parameters
    ----------
    noise : str
        Read noise, ADU, as it was measured while raw frames were here; empty if it was not.
    """
    found: dict[str, list[Data]] = {"bias": [], "dark": [], "flat": []}
    for name, members in grouped.items():
        if members[0].kind in found:
            taken = [measures[f.key] for f in members if f.key in measures]
            levels = sorted(one.median for one in taken)
            found[members[0].kind].append(
                {
                    "sequence": name,
                    "filter": members[0].filter,
                    "exptime": [min(f.exptime for f in members), max(f.exptime for f in members)],
                    "frames": len(members),
                    "level": float(np.median(levels)) if levels else None,
                    "levels": [levels[0], levels[-1]] if levels else None,
                    "saturated": max((one.saturated for one in taken), default=None),
                }
            )
    bias = found["bias"][0] | {"noise": float(noise) if noise else None} if found["bias"] else None
    darks = [dark | {"rate": dark_rate(dark, (bias or {}).get("level"))} for dark in found["dark"]]
    return {"bias": bias, "dark": darks, "flat": flats_by_filter(found["flat"])}


def dark_rate(dark: Data, bias: float | None) -> float | None:
    """Return what a dark gathers, ADU/s."""
    exptime, level = dark["exptime"][0], dark["level"]
    if bias is None or level is None or not exptime:
        return None
    return round(float((level - bias) / exptime), 3)


def flats_by_filter(flats: Iterable[Data]) -> list[Data]:
    """Return flats with one row a filter: each exposure time is a sequence of its own."""
    rows: dict[str, Data] = {}
    for flat in flats:
        row = rows.setdefault(flat["filter"], flat | {"sequences": []})
        row["sequences"].append(flat["sequence"])
        if row["sequence"] != flat["sequence"]:
            row["frames"] += flat["frames"]
            for name in ("exptime", "levels"):
                both = [*(row[name] or []), *(flat[name] or [])]
                row[name] = [min(both), max(both)] if both else None
    return list(rows.values())


def serves(grouped: Mapping[str, list[Frame]]) -> list[Data]:
    """Return for each set-up of the science which calibrations the night has for it."""
    members = [frames[0] for frames in grouped.values()]
    setups = {(f.filter, f.exptime, f.shape) for f in members if f.kind == "science"}
    return [
        {
            "filter": filter_name,
            "exptime": exptime,
            "bias": any(f.kind == "bias" and f.shape == shape for f in members),
            "dark": any((f.kind, f.shape, f.exptime) == ("dark", shape, exptime) for f in members),
            "flat": any(
                (f.kind, f.shape, f.filter) == ("flat", shape, filter_name) for f in members
            ),
        }
        for filter_name, exptime, shape in sorted(setups)
    ]


# Sequences, and what was not delivered


def sequence_data(
    name: str,
    members: Sequence[Frame],
    solved: Mapping[str, Solved],
    products: Iterable[Product],
    answers: Mapping[str, str],
) -> Data:
    """Return what is shown of a sequence; ``eso`` is what its products have come to there."""
    first, last = members[0], members[-1]
    named = sorted({frame.product for frame in members if frame.product})
    tried = [solved[frame.file] for frame in members if frame.file in solved]
    found = [one for one in tried if one.solved]
    warned = warned_products(product for product in products if product.name in named)
    return {
        "name": name,
        "kind": first.kind,
        "target": first.object,
        "filter": first.filter,
        "exptime": first.exptime,
        "frames": len(members),
        "begin": text(first.begin),
        "end": text(after(last.begin, last.exptime)),
        "to_solve": len(tried),
        "solved": len(found),
        **{
            key: sky.rounded(median(getattr(one, key) for one in found), sky.METRICS[key])
            for key in ("fwhm", "zero_point", "offset", "rms")
        },
        "products": named,
        "delivered": sum(frame.status in DONE for frame in members),
        "eso": dict(Counter(answers[product] for product in named if product in answers)),
        "warned": [f"{product}: {words}" for product, words in warned.items()],
    }


def median(values: Iterable[float | None]) -> float | None:
    """Return the median of what is known; None if nothing is."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    return float(np.median(known)) if known else None


def by_reason(frames: Iterable[Frame]) -> list[Data]:
    """Return held-back frames by reason, the most frequent first."""
    grouped: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        if frame.fault:
            grouped[frame.fault.heading].append(frame)
    ordered = sorted(grouped.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        {
            "reason": reason,
            "count": len(members),
            "files": [[f.file, f.fault.detail if f.fault else ""] for f in members[:MOST_FILES]],
        }
        for reason, members in ordered
    ]


def eso_answers(folder: Path) -> tuple[dict[str, str], str]:
    """Return by product what ESO's archive says of it, and when it was asked last."""
    try:
        rows = read_confirmed(folder / TABLE)
    except (OSError, ValueError, TypeError) as error:
        logger.warning("%s: not shown: %s", folder / TABLE, error)
        rows = []
    asked = max((row.asked for row in rows), default="")
    return {row.product: row.status for row in rows}, asked or ("not yet" if rows else "")
