"""Print the nights of a telescope, or those of a target with its hours; export them as a table."""

import argparse
import sys
from pathlib import Path

from scripts.lib.ledger.ledger import Ledger, LedgerError, ledger_path
from scripts.lib.pages.history import NAME, hours_of_targets, load_history, update_history
from scripts.lib.pages.night_page import write_night_page
from scripts.lib.settings.check import ConfigurationError
from scripts.lib.settings.profile import find_profile, read_unchecked
from scripts.lib.settings.records import Configuration

SHOWN = "night state delivered due science_h fwhm zero_point sky".split()


def parse(words: list[str] | None) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(prog="speculoos-archive history", description=__doc__)
    parser.add_argument("--telescope", required=True)
    parser.add_argument("--target", default="", help="part of a name; upper and lower case alike")
    parser.add_argument("--since", default="", metavar="YYYYMMDD", help="nights from this one on")
    parser.add_argument("--until", default="", metavar="YYYYMMDD", help="nights up to this one")
    parser.add_argument(
        "--export", type=Path, metavar="FILE", help="write all columns to a .csv or .parquet"
    )
    parser.add_argument(
        "--rebuild", action="store_true", help="write the pages of all nights that have none"
    )
    options = parser.parse_args(words)
    if options.export and options.export.suffix not in (".csv", ".parquet"):
        parser.error(f"--export {options.export}: write a name that ends with .csv or .parquet")
    return options


def rebuild(settings: Configuration) -> None:
    """Write the pages of all nights of the ledger that have none."""
    with Ledger(ledger_path(settings.workdir)) as ledger:
        for night in ledger.nights():
            if not (settings.workdir / night / "night.json").exists():
                write_night_page(ledger, night, settings)
    update_history(settings.workdir, [])


def main(words: list[str] | None = None) -> int:
    """Run from the command line and return the exit status."""
    options = parse(words)
    try:
        settings = read_unchecked(find_profile(options.telescope.lower())).checked()
        if options.rebuild:
            rebuild(settings)
        table = load_history(settings.workdir / NAME)
    except (ConfigurationError, LedgerError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    if options.since:
        table = table[table["night"] >= options.since]
    if options.until:
        table = table[table["night"] <= options.until]
    columns, hours = SHOWN, hours_of_targets(table)
    if options.target:
        named = hours["target"].str.contains(options.target, case=False, regex=False)
        table, columns = hours[named], ["night", "target", "hours", *SHOWN[1:]]
        hours = table
    if table.empty:
        print(f"no night of {options.target or settings.telescope}", file=sys.stderr)
        return 1
    print(table[columns].to_string(index=False, na_rep=""))
    totals = hours.groupby("target")["hours"].agg(["sum", "count"]).sort_values("sum")[::-1]
    print()
    for target, total, count in totals.itertuples():
        print(f"{total:8.1f} h in {count:4d} nights  {target}")
    if options.export:
        exported = table.drop(columns=["targets", "headline"], errors="ignore")
        if options.export.suffix == ".csv":
            exported.to_csv(options.export, index=False)
        else:
            try:
                exported.to_parquet(options.export, index=False)
            except ImportError:
                print("Parquet: pip install -r requirements-solving.txt", file=sys.stderr)
                return 2
        print(f"\n{len(exported)} rows: {options.export}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
