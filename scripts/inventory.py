"""Read every header of a night once: one row per raw frame, its sequence and name, or its fault.

What an earlier run delivered keeps the sequence and the product of its receipt. Frames that came
since make a further part of their sequence, so nothing is delivered twice.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from scripts.lib.delivery.receipts import PROMISED, delivered_rows, read_receipts, withheld_rows
from scripts.lib.files.log import logger, start_log
from scripts.lib.files.tables import write_table
from scripts.lib.frames import names
from scripts.lib.frames.frame import BadFrame, Frame, check_bytes, check_contrast, open_header
from scripts.lib.frames.programmes import check_delivered
from scripts.lib.headers.keywords import compose
from scripts.lib.headers.observatory import Observatory, expose, open_observatory
from scripts.lib.nights import ingested
from scripts.lib.nights.night_frames import COLUMNS, sequences
from scripts.lib.nights.times import iso

# What no two frames may share.
UNIQUE = ("eso_name", "datasum")


class BadNight(RuntimeError):
    """So many frames are held back that the night is bad, not a frame."""


def take_inventory(
    raw: Path,
    arrivals: list[dict],
    receipts: list[dict],
    observatory: Observatory,
    cubes: bool,
    promises: Sequence[dict] = (),
    deliver_unsolved: bool = True,
) -> list[dict]:
    """Return a row of ``frames.csv`` for every frame of a night.

    Parameters
    ----------
    arrivals : list of dict
        Rows of the ingested night.
    receipts : list of dict
        Rows of what was delivered of this night, or held back as unsolved.
    cubes : bool
        Whether a product is a cube of a sequence, or each frame.
    promises : sequence of dict
        Rows of what was about to be delivered when a run was killed: it may have been.
    deliver_unsolved : bool
        Whether frames that an earlier run held back as unsolved are tried again.
    """
    known = [{column: row[column] for column in COLUMNS} for row in receipts]
    delivered = {row["file"]: row for row in delivered_rows(known)}
    unsolved = {row["file"]: row for row in ([] if deliver_unsolved else withheld_rows(known))}
    arrivals = [arrival for arrival in arrivals if arrival["file"] not in unsolved]
    frames, bad = judge(raw, arrivals, delivered, observatory)
    bad += [held(name, row["reason"]) for name, row in unsolved.items()]
    candidates = {
        arrival["file"]: describe_row(
            frames[arrival["file"]], arrival, observatory.telescope.number
        )
        for arrival in arrivals
        if arrival["file"] in frames
    }
    good, twins = without_twins(candidates, list(delivered.values()), raw)
    promised = {row["file"]: row["sequence"] for row in promises if row["file"] in good}
    taken = {row["sequence"] for row in known} | set(promised.values())
    free = {name: frames[name] for name in good if name not in promised}
    named = promised | name_sequences(free, observatory, taken)
    for name, row in good.items():
        row["sequence"] = named[name]
    for sequence, members in sequences(list(good.values())).items():
        start = frames[members[0]["file"]].date_obs
        cube = names.cube_name(observatory.telescope.number, start, sequence)
        for row in members:
            row["product"] = cube if cubes else row["eso_name"]
    rows = [*delivered.values(), *good.values(), *bad, *twins]
    return sorted(rows, key=lambda row: row["file"])


def judge(
    raw: Path, arrivals: list[dict], delivered: dict[str, dict], observatory: Observatory
) -> tuple[dict[str, Frame], list[dict]]:
    """Return the good frames that were not delivered yet, and the rows of those held back.

    Parameters
    ----------
    delivered : dict
        Rows of frames that have a receipt, by file name.
    """
    frames, bad = {}, []
    for arrival in arrivals:
        name = arrival["file"]
        earlier = delivered.get(name)
        try:
            if earlier is None:
                frames[name] = examine(raw, arrival, observatory)
            elif arrival["datasum"] not in ("", earlier["datasum"]):
                product = earlier["product"]
                raise BadFrame(f"other pixels than those delivered in {product} under this name")
        except BadFrame as error:
            bad.append(held(name, str(error)))
    return frames, bad


def examine(raw: Path, arrival: dict, observatory: Observatory) -> Frame:
    """Return what a frame says of itself.

    Raises
    ------
    BadFrame
        For every reason not to deliver it, among them that its header could not be finished.
    """
    if arrival["status"] != "copied":
        raise BadFrame(f"could not be copied: {arrival['reason']}")
    if not arrival["file"].isascii():
        raise BadFrame("file name that is not ASCII")
    header, data_start = open_header(raw / arrival["file"])
    datasum = int(arrival["datasum"]) if arrival["datasum"] else None
    check_bytes(header, data_start, int(arrival["bytes"]), datasum)
    check_contrast(raw / arrival["file"], header, data_start, datasum)
    exposure = expose(arrival["file"], header, data_start, observatory)
    compose(exposure, observatory.keywords)
    return exposure.frame


def describe_row(frame: Frame, arrival: dict, number: int) -> dict:
    """Return the row of a frame, not yet with its sequence and product."""
    return {
        "file": arrival["file"],
        "kind": frame.kind.name,
        "object": frame.object,
        "filter": frame.filter,
        "exptime": f"{frame.exptime:.3f}",
        "date_obs": iso(frame.date_obs),
        "sequence": "",
        "product": "",
        "status": "ok",
        "reason": "",
        "eso_name": names.frame_name(number, frame.date_obs),
        "bytes": arrival["bytes"],
        "data_start": str(frame.data_start),
        "naxis1": str(frame.setting.naxis1),
        "naxis2": str(frame.setting.naxis2),
        "datasum": arrival["datasum"],
    }


def held(name: str, reason: str) -> dict:
    """Return the row of a frame that may not be delivered."""
    logger.warning("%s: held back: %s", name, reason)
    return {"file": name, "status": "held", "reason": reason}


def without_twins(
    candidates: dict[str, dict], delivered: list[dict], raw: Path
) -> tuple[dict[str, dict], list[dict]]:
    """Return the frames that no earlier one makes superfluous, and the rows of the others.

    An earlier frame is one that was delivered, that began before, or whose file name comes first.
    """
    seen = {row[key]: row for row in delivered for key in UNIQUE}
    good, twins = {}, []
    for name, row in sorted(candidates.items(), key=lambda item: (item[1]["date_obs"], item[0])):
        if reason := find_twin(row, seen, raw):
            twins.append(held(name, reason))
        else:
            good[name] = row
            seen |= {row[key]: row for key in UNIQUE}
    return good, twins


def find_twin(row: dict, seen: dict[str, dict], raw: Path) -> str | None:
    """Return why a frame is one too many: an earlier one has its pixels or its name; or None."""
    twin = seen.get(row["datasum"])
    if twin and same_pixels(row, twin, raw):
        return f"duplicate: the same pixels as {twin['file']}"
    twin = seen.get(row["eso_name"])
    if twin:
        name = row["eso_name"]
        return f"name clash: {twin['file']} has the same millisecond, both would be {name}"
    return None


def same_pixels(row: dict, other: dict, raw: Path) -> bool:
    """Tell whether two frames of equal sums hold the same pixels.

    One that was delivered and is no longer here cannot be compared: its sum and size must do.
    """
    if (row["naxis1"], row["naxis2"]) != (other["naxis1"], other["naxis2"]):
        return False
    paths = [raw / row["file"], raw / other["file"]]
    if not all(path.exists() for path in paths):
        return True
    pixels = [
        path.read_bytes()[int(r["data_start"]) :]
        for path, r in zip(paths, (row, other), strict=True)
    ]
    return pixels[0] == pixels[1]


def name_sequences(
    frames: dict[str, Frame], observatory: Observatory, taken: set[str]
) -> dict[str, str]:
    """Return the sequence of each frame.

    Frames are of one sequence if they agree in kind, target, filter, exposure time and read-out.

    Parameters
    ----------
    frames : dict
        Good frames by file name, earliest first.
    taken : set of str
        Sequences that were delivered: frames that come later make a further part.
    """
    owners: dict[str, tuple] = {}
    found = {}
    for file, frame in sorted(frames.items(), key=lambda item: item[1].date_obs):
        identity = (frame.kind.name, frame.object, frame.filter, frame.exptime, frame.setting)
        plain = names.sequence_name(frame, observatory.camera)
        mine = owners.setdefault(plain, identity) == identity
        mark = "" if mine else names.clash_mark(identity)
        part = 1
        while (name := names.fitting(plain, mark + names.part_mark(part))) in taken:
            part += 1
        found[file] = name
    return found


def check_night(rows: list[dict], max_held: float) -> None:
    """Raise `BadNight` if more than the share ``max_held`` of the frames is held back.

    Engineering exposures do not count: every night has them.
    """
    counted = [row for row in rows if not row["reason"].startswith("engineering")]
    bad = [row for row in counted if row["status"] == "held"]
    if len(bad) > max_held * len(counted):
        reasons = Counter(row["reason"].partition(":")[0] for row in bad)
        causes = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common(5))
        raise BadNight(
            f"{len(bad)} of {len(counted)} frames held back, more than max_held {max_held} allows: "
            f"{causes}. If they are to be left out, run again with --config max_held=1"
        )


if __name__ == "__main__":
    start_log(snakemake.log[0])
    night_folder = Path(snakemake.output.frames).parent
    receipts = read_receipts(night_folder / "archived")
    observatory = open_observatory(
        snakemake.wildcards.night, snakemake.params.observatory, dict(snakemake.input.items())
    )
    if not snakemake.config["redeliver"]:
        check_delivered(delivered_rows(receipts), observatory.assigned, observatory.programme.id)
    rows = take_inventory(
        Path(snakemake.input.marker).parent,
        ingested.read(Path(snakemake.input.ingested)),
        receipts,
        observatory,
        cubes=snakemake.params.products == "cubes",
        promises=read_receipts(night_folder / "archived" / PROMISED),
        deliver_unsolved=snakemake.params.unsolved == "deliver",
    )
    good = sum(row["status"] == "ok" for row in rows)
    logger.info("%d frames: %d good, %d held back", len(rows), good, len(rows) - good)
    check_night(rows, snakemake.config["max_held"])
    write_table(Path(snakemake.output.frames), COLUMNS, rows)
