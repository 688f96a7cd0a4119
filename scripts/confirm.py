"""Ask ESO's archive which products of a night it shows. That it does not answer is no failure."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from scripts.lib.delivery.confirmation import (
    BAD,
    COLUMNS,
    Expected,
    Product,
    counts_of,
    judge_all,
    products_of,
    query_of,
    read_confirmed,
    unasked,
    write_asked,
)
from scripts.lib.delivery.receipts import read_receipts
from scripts.lib.delivery.tap import Service, TapError, ask, credentials
from scripts.lib.files.log import logger, start_log
from scripts.lib.files.tables import write_table
from scripts.lib.frames.identity import read_kinds, read_telescopes


def confirm(
    night: str, products: list[Product], expected: Expected, service: Service, patience: timedelta
) -> list[dict]:
    """Return a row for each product of a night, as ESO's archive has it now.

    Raises
    ------
    TapError
        If it cannot be asked.
    """
    login = credentials()
    found = ask(service, query_of(night, expected.number), login)
    who = "with a password" if login else "as anybody: science data are not shown to all"
    logger.info("asked %s; %d rows of %s", who, len(found), night)
    now = datetime.now(UTC)
    return judge_all(products, found, expected, now, patience, anonymous=login is None)


if __name__ == "__main__":
    start_log(snakemake.log[0])
    output, config = Path(snakemake.output.table), snakemake.config
    telescope = read_telescopes(Path(snakemake.input.telescopes))[config["telescope"]]
    expected = Expected(telescope.number, read_kinds(Path(snakemake.input.kinds)))
    products = products_of(read_receipts(output.parent / "archived"))
    service = Service(
        config["confirm_service"], config["confirm_token_service"], config["confirm_timeout"]
    )
    patience, cause = timedelta(hours=config["confirm_after"]), ""
    try:
        rows = confirm(snakemake.wildcards.night, products, expected, service, patience)
    except TapError as error:
        cause = str(error)
        logger.warning("not asked, the next run tries again: %s", cause)
        rows = unasked(products, read_confirmed(output), expected)
    for row in rows:
        if row["status"] in BAD:
            logger.warning("%s: %s %s", row["product"], row["status"], row.get("differs", ""))
    logger.info("%s", counts_of([rows]))
    write_table(output, COLUMNS, rows)
    write_asked(output.parent, snakemake.params.run, cause)
