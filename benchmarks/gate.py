"""What the gate costs: CPU time for each product, its pixels left out.

Small simulated nights of both cameras are taken through the workflow; then every product is read
and held against the table of checks, as `archive` does it.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from scripts.lib.frames.names import group_of, sequence_of
from scripts.lib.gate.checks import Check, errors, judged, read_checks
from scripts.lib.gate.product_file import TABLES, Context, read_product_file
from scripts.lib.headers.finished import read_headers
from scripts.lib.settings.profile import read_file
from tests.night import NIGHT, Night
from tests.records import expectations

ROUNDS = 5


def main() -> None:
    """Print the cost for products of both cameras."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=__doc__)
    parser.add_argument("--frames", type=int, default=300, help="of each night")
    given = parser.parse_args()
    checks = read_checks(TABLES / "checks.csv")
    print(f"{len(checks)} checks; CPU ms for each, the median of {ROUNDS} rounds")
    print("| product | planes | ms | ms a plane |\n|---|---|---|---|")
    for telescope in ("Io", "Callisto"):
        with tempfile.TemporaryDirectory() as root:
            for name, planes, cost in costs(Path(root), telescope, given.frames, checks):
                print(f"| {name} | {planes} | {cost:.2f} | {cost / planes:.2f} |")


def costs(
    root: Path, telescope: str, frames: int, checks: list[Check]
) -> list[tuple[str, int, float]]:
    """Return name, planes and CPU milliseconds: of the median frame, or of each cube."""
    night = Night(root, telescope)
    night.simulate(frames)
    night.run()
    settings = read_file(night.config)
    found = []
    for path in night.products():
        sequence = sequence_of(path.name)
        headers = night.folder / "headers" / group_of(sequence) / f"{sequence}.fits"
        expected = expectations(settings, NIGHT, read_headers(headers))
        product = read_product_file(path, expected)
        known = product.hdus[0].sum
        cost = median(cost_of(path, expected, known, checks) for _ in range(ROUNDS))
        found.append((path.name, int(product.value("NAXIS3") or 1), cost))
    if telescope == "Io":
        name = f"{len(found)} frames of Io, the median"
        return [(name, 1, median(cost for *_, cost in found))]
    return found


def cost_of(path: Path, expected: Context, known: int, checks: list[Check]) -> float:
    """Return the CPU milliseconds for one product, the sum of its pixels known from writing."""
    begin = time.process_time()
    findings = judged(read_product_file(path, expected, known), checks)
    cost = 1000 * (time.process_time() - begin)
    assert not errors(findings), findings
    return cost


if __name__ == "__main__":
    main()
