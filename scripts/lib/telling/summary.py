"""What became of a night: the facts that page, summary and mail tell."""

from collections import Counter
from pathlib import Path
from statistics import median

from scripts.lib.delivery.receipts import (
    delivered_rows,
    products_delivered,
    warned_products,
    withheld_rows,
)
from scripts.lib.nights.night_frames import sequences
from scripts.lib.solving.table import Solved, read_solved


def summarise(
    telescope: str,
    night: str,
    rows: list[dict],
    receipts: list[dict],
    solved: dict[str, list[Solved]],
) -> dict:
    """Return what page and summary say of a night.

    Parameters
    ----------
    rows : list of dict
        Of ``frames.csv``.
    receipts : list of dict
        Rows of the night's receipts.
    solved : dict of list of Solved
        By sequence, of those that were to be solved.
    """
    here = {row["file"] for row in delivered_rows(receipts)}
    unsolved = {row["file"]: row for row in withheld_rows(receipts)}
    held = [unsolved.get(row["file"], row) for row in rows if _is_held(row, unsolved)]
    good = [row for row in rows if not _is_held(row, unsolved)]
    frames = [frame for table in solved.values() for frame in table]
    return {
        "telescope": telescope,
        "night": night,
        "raw": len({row["file"] for row in rows}),
        "kinds": Counter(row["kind"] for row in good),
        "sequences": [
            _sequence(name, members, solved.get(name, []))
            for name, members in sequences(good).items()
        ],
        "products": products_delivered(receipts),
        "delivered": sum(row["file"] in here for row in good),
        "missing": [row["file"] for row in good if row["file"] not in here],
        "warned": warned_products(receipts),
        "held": held,
        "reasons": Counter(row["reason"].partition(":")[0] for row in held).most_common(),
        "to_solve": len(frames),
        "unsolved": [frame for frame in frames if not frame.solved],
    }


def _is_held(row: dict, unsolved: dict[str, dict]) -> bool:
    return row["status"] == "held" or row["file"] in unsolved


def _sequence(name: str, members: list[dict], solved: list[Solved]) -> dict:
    first, last = members[0]["date_obs"], members[-1]["date_obs"]
    products = {row["product"] for row in members}
    product = products.pop() if len(products) == 1 else f"{len(products)} frames"
    good = [frame for frame in solved if frame.solved]
    return {
        "name": name,
        "frames": len(members),
        "begin": first[11:19],
        "end": last[11:19],
        "product": product,
        "to_solve": len(solved),
        "solved": len(good),
        "rms": median(frame.rms for frame in good) if good else None,
        "fwhm": median(frame.fwhm for frame in good) if good else None,
        "offset": max(frame.offset for frame in good) if good else None,
    }


def read_solutions(folder: Path, rows: list[dict]) -> dict[str, list[Solved]]:
    """Return the solutions of a night's frames by sequence, of those that were to be solved."""
    paths = {name: folder / f"{name}.fits" for name in sequences(rows)}
    return {name: list(read_solved(p).values()) for name, p in paths.items() if p.exists()}
