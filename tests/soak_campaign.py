"""A campaign of many nights, killed at random and begun again until all of them are delivered.

``python -m tests.soak_campaign`` (`make soak-campaign`) simulates the nights, kills the campaign,
or it and all its runs, when the seed says, and then tests that each frame is in exactly
one product and each product in the ledger once.
"""

import argparse
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path

from scripts.lib.ledger.ledger import ledger_path
from scripts.lib.running.campaign import mark_of
from scripts.lib.running.processes import end_marked
from tests.night import plane_digests
from tests.test_faults import Site as SmallNights
from tests.test_operations import Site

FIRST = date(2026, 1, 1)


def kill_at_random(site: Site, command: tuple[str, ...], chance: random.Random) -> str:
    """Start a campaign and kill it, unless it ends first; return how it ended, in a word."""
    process = site.start(*command)
    try:
        process.wait(timeout=chance.uniform(1, 20))
        return "ended"
    except subprocess.TimeoutExpired:
        process.kill()
        if everything := chance.random() < 0.5:
            end_marked(mark_of(site.night.workdir))
        return "killed with its runs" if everything else "killed alone"
    finally:
        process.communicate()


def wrong(site: Site, truth: list[dict]) -> list[str]:
    """Return what is wrong: frames that are lost or in two products, and what the ledger says."""
    found = Counter(digest for path in site.night.products() for digest in plane_digests(path))
    wanted = Counter(row["pixels_sha256"] for row in truth)
    said = [f"{row['file']} is lost" for row in truth if row["pixels_sha256"] not in found]
    said += [f"{digest} is delivered {n} times" for digest, n in found.items() if n > 1]
    said += [f"{digest} is of no frame" for digest in found - wanted]
    with closing(sqlite3.connect(ledger_path(site.night.workdir))) as ledger:
        queries = {
            "products of one dp_id": "SELECT dp_id FROM products GROUP BY 1 HAVING count(*) > 1",
            "intents left": "SELECT name FROM intents",
            "frames not delivered": "SELECT file FROM frames WHERE status != 'delivered'",
        }
        for name, query in queries.items():
            if rows := ledger.execute(query).fetchall():
                said.append(f"{name}: {rows}")
        (count,) = ledger.execute("SELECT count(*) FROM products").fetchone()
    if count != len(site.night.products()):
        said.append(f"{count} products in the ledger, {len(site.night.products())} delivered")
    return said


def main() -> int:
    """Print how the campaigns ended and what is wrong; return 1 if anything is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nights", type=int, default=100)
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance, begin = random.Random(options.seed), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        site = Site(Path(folder))
        site.set(nights="")
        nights = [f"{FIRST + timedelta(number):%Y%m%d}" for number in range(options.nights)]
        truth = []
        for seed, night in enumerate(nights):
            truth += SmallNights.simulate(site, night=night, seed=seed)
        command = ("campaign", "callisto", "--nights", f"{nights[0]}-{nights[-1]}", "--jobs", "2")
        ends = Counter(kill_at_random(site, command, chance) for _ in range(options.kills))
        process = site.start(*command)
        output, errors = process.communicate()
        said = wrong(site, truth) if process.returncode == 0 else [output[-2000:] + errors]
        print(f"{len(nights)} nights, {len(truth)} frames, {len(site.night.products())} products")
    print("; ".join(f"{count} campaigns {end}" for end, count in ends.items()))
    print(
        f"seed {options.seed}: {len(said)} wrong, {time.monotonic() - begin:.0f} s", *said, sep="\n"
    )
    return int(bool(said))


if __name__ == "__main__":
    sys.exit(main())
