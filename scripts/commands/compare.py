"""Compare the products of this workflow with those of the legacy pipeline, of the same nights.

Products are paired by the raw frames that they hold. Differences of keywords are expected if
config/compare.csv has a reason for them.
"""

import argparse
import json
import sys
from pathlib import Path

from scripts.lib.nights.dates import parse_night
from scripts.lib.settings.check import ConfigurationError
from scripts.migration.comparison import Comparison, read_side
from scripts.migration.comparison_text import as_dict, as_text
from scripts.migration.differences import Expectations

TABLE = Path(__file__).parents[2] / "config" / "compare.csv"
STATUS = """
exit status: 0 if all raw frames of the legacy side are on our side, their pixels unchanged, and all
differences are expected; 1 if not; 2 if there was nothing to compare
"""


def parse(words: list[str] | None = None) -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        prog="speculoos-archive compare",
        description=__doc__,
        epilog=STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("ours", type=Path, metavar="OURS", help="directory of our products")
    parser.add_argument("legacy", type=Path, metavar="LEGACY", help="that of the legacy pipeline")
    parser.add_argument("--json", action="store_true", help="for a program, nothing left out")
    parser.add_argument(
        "--night", default="", metavar="YYYYMMDD", help="products of that night only"
    )
    options = parser.parse_args(words)
    for folder in (options.ours, options.legacy):
        if not folder.is_dir():
            parser.error(f"{folder} is not a directory")
    try:
        if options.night:
            parse_night(options.night)
    except ConfigurationError as error:
        parser.error(str(error).replace("nights:", "--night:"))
    return options


def main(words: list[str] | None = None) -> int:
    """Run from the command line and return the exit status."""
    options = parse(words)
    try:
        ours, legacy = (read_side(one, options.night) for one in (options.ours, options.legacy))
        if not any(side.products or side.damaged for side in (ours, legacy)):
            print("no products in either directory", file=sys.stderr)
            return 2
        comparison = Comparison(ours, legacy, Expectations(TABLE))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(as_dict(comparison), indent=1))
    else:
        print(as_text(comparison))
    return int(comparison.unexpected())


if __name__ == "__main__":
    sys.exit(main())
