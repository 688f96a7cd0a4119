"""Simulate a night's raw frames as the observatory software Astra writes them."""

import argparse
from pathlib import Path

from scripts.simulator.night import simulate


def parse_size(text: str) -> tuple[int, int]:
    """Return columns and rows of a size written ``1024x1280``."""
    columns, rows = text.split("x")
    return int(columns), int(rows)


def main(words: list[str] | None = None) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="speculoos-archive simulate", description=__doc__)
    parser.add_argument("--telescope", required=True)
    parser.add_argument("--night", required=True, help="YYYYMMDD")
    parser.add_argument("--output", required=True, type=Path, help="gets a folder for the night")
    parser.add_argument("--frames", type=int, default=60, help="good frames")
    parser.add_argument("--size", type=parse_size, help="NAXIS1xNAXIS2")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--wcs", choices=["astra", "none"], help="header WCS; default by telescope")
    parser.add_argument("--faults", action="store_true", help="add a file with each known fault")
    parser.add_argument(
        "--cloud", type=float, default=0.0, help="magnitudes that the second half loses"
    )
    parser.add_argument(
        "--truth", type=Path, help="the truth table; default <output>/<night>.truth.csv"
    )
    options = parser.parse_args(words)
    try:
        rows = simulate(**vars(options))
    except (ValueError, FileExistsError) as error:
        parser.exit(1, f"{error}\n")
    bad = sum(bool(row["fault"]) for row in rows)
    print(f"{options.output / options.night}: {len(rows)} raw frames, {bad} of them with a fault")


if __name__ == "__main__":
    main()
