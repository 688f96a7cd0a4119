"""What is known of a night, as data: ``night.json``, which page, mail, history and site show.

Its form is `web/night.schema.json`. Everything follows from the ledger and the tables of the
night's folder; what is not known is None.
"""

import math
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from scripts.lib.delivery.confirmation import STATUSES, TABLE, read_confirmed
from scripts.lib.delivery.receipts import warned_products
from scripts.lib.files.log import logger
from scripts.lib.ledger.ledger import Ledger
from scripts.lib.ledger.outlook import latest
from scripts.lib.ledger.records import DONE, Frame, Measures, Product, Status
from scripts.lib.ledger.snapshot import good, held, sequences
from scripts.lib.nights.dates import night_bounds
from scripts.lib.nights.times import after
from scripts.lib.pages.pictures import read_noise_note
from scripts.lib.pages.sun import sun_times
from scripts.lib.settings.records import Configuration
from scripts.lib.solving.table import Solved, read_solved

Data = dict[str, Any]
Column = list[Any]  # one value a frame

REPOSITORY = Path(__file__).parents[3]
SCHEMA = 1  # of the data
# Columns of `solved/` that are shown, and the decimals that are kept.
METRICS = {"fwhm": 2, "zero_point": 2, "sky": 1, "rms": 3, "offset": 1}
# Where the telescope points, arcsec from the median of the sequence.
DRIFT = ("ra_offset", "dec_offset")
CLOUD, SMOOTHED, SHORTEST_CLOUD = 0.3, 5, 600  # mag below the clear sky; frames; s
SHORTEST_GAP = 600  # s of dark time without science
MOST_FILES = 50  # of one reason; the others stand in frames.csv
MOST_REASONS = 3  # in the headline
SEVERITY = ("failed", "incomplete", "attention", "note")
GUIDE = "docs/operations.md"


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
    solved = read_solutions(folder / "solved", grouped)
    begin, _ = night_bounds(night)
    calibration = calibrations(grouped, measures, ledger.text(read_noise_note(night)))
    table = frame_table(grouped, solved, begin)
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
    sky = {name: percentiles(table[name]) for name in METRICS}
    del table["offset"]
    times, gaps = night_times(chosen, night, settings.longitude)
    clouds = cloud_spans(table)
    eso = Counter(answers.values())
    copied, done = ledger.worked(night)
    data: Data = {
        "schema": SCHEMA,
        "telescope": settings.telescope,
        "camera": settings.camera.name,
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
        "clouds": [[seconds_text(begin, one) for one in span] for span in clouds],
        "transparency": transparency(table),
        "sky": sky,
        "usual": {name: usual.get(name) for name in (*METRICS, "bias", "read_noise", "science_h")},
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


def version() -> str:
    """Return the version of this workflow."""
    return str(tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"])


def text(time: datetime | None) -> str | None:
    """Return a time to the second."""
    return None if time is None else f"{time:%Y-%m-%dT%H:%M:%SZ}"


def seconds_text(begin: datetime, seconds: float) -> str | None:
    """Return a time so many seconds after the beginning of the night."""
    return text(after(begin, seconds))


def read_solutions(folder: Path, names: Iterable[str]) -> dict[str, Solved]:
    """Return what became of each frame that was to be solved; of a damaged table nothing."""
    found: dict[str, Solved] = {}
    for path in (folder / f"{name}.fits" for name in names):
        try:
            found |= read_solved(path) if path.exists() else {}
        except (OSError, ValueError, TypeError) as error:
            logger.warning("%s: not shown: %s", path, error)
    return found


def frame_table(
    grouped: Mapping[str, list[Frame]],
    solved: Mapping[str, Solved],
    begin: datetime,
) -> dict[str, Column]:
    """Return the science frames as columns, in time order.

    ``t`` is seconds after the beginning of the night, ``sequence`` the number of the sequence.
    """
    numbers = {name: number for number, name in enumerate(grouped)}
    science = sorted(
        (frame for members in grouped.values() for frame in members if frame.kind == "science"),
        key=lambda frame: frame.begin,
    )
    drift = pointing_drift(grouped, solved)
    table: dict[str, Column] = {
        "t": [round((frame.begin - begin).total_seconds()) for frame in science],
        "sequence": [numbers[frame.sequence] for frame in science],
        "solved": [
            None if frame.file not in solved else int(solved[frame.file].solved)
            for frame in science
        ],
    }
    for name, digits in METRICS.items():
        values = [getattr(solved.get(frame.file), name, None) for frame in science]
        table[name] = [rounded(value, digits) for value in values]
    for number, name in enumerate(DRIFT):
        values = [drift[f.file][number] if f.file in drift else None for f in science]
        table[name] = [rounded(value, 1) for value in values]
    return table


def rounded(value: float | None, digits: int) -> float | None:
    """Return a number as short as it may be; None for what is not known."""
    if value is None or not math.isfinite(value):
        return None
    return round(value, digits) if abs(value) < 1000 else round(value)


def pointing_drift(
    grouped: Mapping[str, list[Frame]], solved: Mapping[str, Solved]
) -> dict[str, tuple[float, float]]:
    """Return how far east and north of its sequence's median each solved frame lies, arcsec."""
    found: dict[str, tuple[float, float]] = {}
    for members in grouped.values():
        chosen = [(f, solved[f.file]) for f in members if f.file in solved]
        chosen = [(frame, one) for frame, one in chosen if one.solved]
        if not chosen:
            continue
        centre = np.array([(f.naxis1 + 1, f.naxis2 + 1) for f, _ in chosen]) / 2
        matrix = np.array([(o.cd1_1, o.cd1_2, o.cd2_1, o.cd2_2) for _, o in chosen])
        from_reference = centre - [(one.crpix1, one.crpix2) for _, one in chosen]
        moved = np.einsum("nij,nj->ni", matrix.reshape(-1, 2, 2), from_reference)
        ra, dec = np.array([(one.ra, one.dec) for _, one in chosen]).T
        cosine = np.cos(np.radians(dec))
        east = ((ra - ra[0] + 180) % 360 - 180) * cosine + moved[:, 0]
        places = 3600 * np.column_stack([east, dec + moved[:, 1]])
        places -= np.median(places, axis=0)
        found |= {
            frame.file: tuple(p) for (frame, _), p in zip(chosen, places.tolist(), strict=True)
        }
    return found


def percentiles(values: Iterable[float | None]) -> list[float] | None:
    """Return the percentiles 10, 50 and 90; None if nothing was measured."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return [float(f"{value:.4g}") for value in np.percentile(known, (10, 50, 90))]


def clear_sky(table: Mapping[str, Column]) -> list[float | None]:
    """Return how far below the clear sky of its sequence each frame's zero point is, mag."""
    best = {}
    for number in set(table["sequence"]):
        values = [
            zero
            for zero, mine in zip(table["zero_point"], table["sequence"], strict=True)
            if mine == number and zero is not None
        ]
        best[number] = float(np.percentile(values, 90)) if values else 0.0
    return [
        None if zero is None else zero - best[number]
        for zero, number in zip(table["zero_point"], table["sequence"], strict=True)
    ]


def transparency(table: Mapping[str, Column]) -> dict[str, float] | None:
    """Return the median and the worst transparency of a night, mag against its clear sky."""
    known = [value for value in clear_sky(table) if value is not None]
    if not known:
        return None
    median, worst = float(np.median(known)), float(np.percentile(known, 1))
    return {"median": round(median, 2), "worst": round(worst, 2)}


def cloud_spans(table: Mapping[str, Column]) -> list[tuple[float, float]]:
    """Return when stars were fainter by `CLOUD` for at least `SHORTEST_CLOUD`, begin and end."""
    pairs = zip(table["t"], clear_sky(table), strict=True)
    points = [(time, value) for time, value in pairs if value is not None]
    spans: list[tuple[float, float]] = []
    smooth = []
    for number, (time, _) in enumerate(points):
        near = points[max(0, number - SMOOTHED // 2) : number + SMOOTHED // 2 + 1]
        smooth.append((time, float(np.median([value for _, value in near]))))
    for cloudy, members in groupby(smooth, key=lambda point: point[1] < -CLOUD):
        times = [time for time, _ in members]
        if cloudy and times[-1] - times[0] >= SHORTEST_CLOUD:
            spans.append((times[0], times[-1]))
    return spans


def night_times(frames: Sequence[Frame], night: str, longitude: float) -> tuple[Data, list[Data]]:
    """Return times of a night with hours of darkness and of science, and gaps in the latter."""
    sun = sun_times(night, longitude)
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
            key: rounded(median(getattr(one, key) for one in found), METRICS[key])
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


# What it means


def attention(data: Data) -> list[Data]:
    """Return what somebody should look at, the worst first.

    ``severity`` is one of `SEVERITY`; a note changes nothing of the night's state.
    """
    return sorted(_attention(data), key=lambda one: SEVERITY.index(one["severity"]))


def _attention(data: Data) -> Iterator[Data]:
    counts, eso, night = data["counts"], data["eso"] or {}, data["night"]
    run = f".venv/bin/python -m scripts.run {data['telescope'].lower()} --config nights={night}"

    def item(severity: str, code: str, words: str, count: int, command: str, section: str) -> Data:
        return {
            "severity": severity,
            "code": code,
            "words": words,
            "count": count,
            "command": command,
            "guide": f"{GUIDE}, {section}" if section else "",
        }

    for job in data["failed"]:
        words = f"{job['rule']} {job['what']} failed: {job['error']}"
        yield item("failed", "job", words, 1, f"tail -50 {job['log']}", "A job failed")
    if counts["waiting"]:
        words = f"{frames_of(counts['waiting'])} not delivered yet; the next run goes on."
        yield item("incomplete", "waiting", words, counts["waiting"], run, "A job failed")
    if counts["faulty"]:
        groups = data["undelivered"]["faulty"]
        reasons = ", ".join(f"{group['count']:,} {group['reason']}" for group in groups)
        words = f"{frames_of(counts['faulty'])} held back: {reasons}."
        command = f"grep ,held, {data['folder']}/frames.csv"
        yield item("attention", "faulty", words, counts["faulty"], command, "Frames held back")
    grep = f"grep -E 'missing|different' {data['folder']}/{TABLE}"
    for code, words in (
        ("missing", "{} missing at ESO: ask what became of it."),
        ("different", "{} at ESO otherwise than delivered: ask ESO to correct it."),
    ):
        if count := eso.get(code, 0):
            what = f"{count} product{'s' if count > 1 else ''}"
            yield item("attention", code, words.format(what), count, grep, "At ESO")
    if counts["warned"]:
        words = f"{counts['warned']} delivered with a warning of the gate: see Sequences."
        yield item("note", "warned", words, counts["warned"], "", "")
    lacking = [
        f"{kind} for {setup['filter']} {setup['exptime']:g} s"
        for setup in data["calibration"]["serves"]
        for kind in ("bias", "dark", "flat")
        if not setup[kind]
    ]
    if lacking:
        words = f"No {', no '.join(lacking)} in this night."
        yield item("note", "calibration", words, len(lacking), "", "")


def frames_of(count: int) -> str:
    """Return so many frames in words."""
    return f"{count:,} frame{'' if count == 1 else 's'}"


def state_of(data: Data) -> str:
    """Return how a night stands: failed, incomplete, attention, ok, or none without frames."""
    worst = min((SEVERITY.index(one["severity"]) for one in data["attention"]), default=3)
    if worst < SEVERITY.index("note"):
        return SEVERITY[worst]
    return "ok" if data["counts"]["raw"] else "none"


def headline(data: Data) -> str:
    """Return the verdict on a night in one or a few sentences; the first says the state."""
    counts, eso, state = data["counts"], data["eso"] or {}, data["state"]
    if state == "none":
        return "No frames this night."
    jobs = len(data["failed"])
    things = sum(one["severity"] != "note" for one in data["attention"])
    lead = {
        "failed": f"{jobs} job{'' if jobs == 1 else 's'} failed.",
        "incomplete": "Not complete.",
        "attention": f"Delivered, look at {'one thing' if things == 1 else f'{things} things'}.",
        "ok": "All delivered." if counts["good"] else "Nothing to deliver.",
    }[state]
    confirmed = counts["products"] and eso.get("confirmed") == counts["products"]
    products = f"{counts['products']:,} product{'' if counts['products'] == 1 else 's'}"
    parts = [
        lead,
        f"{counts['delivered']:,} of {counts['due']:,} frames for ESO are delivered"
        f"{' and confirmed' if confirmed else ''}, in {products}.",
    ]
    if counts["faulty"]:
        groups = data["undelivered"]["faulty"]
        reasons = ", ".join(group["reason"] for group in groups[:MOST_REASONS])
        more = f" and {len(groups) - MOST_REASONS} more reasons" if groups[MOST_REASONS:] else ""
        parts.append(f"{counts['faulty']:,} held back: {reasons}{more}.")
    if counts["unsolved"]:
        parts.append(f"{counts['unsolved']:,} of {counts['to_solve']:,} science frames unsolved.")
    if data["clouds"]:
        spans = [f"{begin[11:16]} and {end[11:16]}" for begin, end in data["clouds"]]
        parts.append(f"Cloud between {'; '.join(spans)} UTC.")
    return " ".join(parts)
