"""Ask ESO's archive which products of a night it shows. That it does not answer is no failure."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.lib.delivery.confirmation import (
    BAD,
    CONFIRMED,
    Answer,
    Delivered,
    Expected,
    counts_of,
    judge_all,
    products_of,
    query_of,
    read_confirmed,
    unasked,
    write_asked,
    write_confirmed,
)
from scripts.lib.delivery.tap import PASSWORD, USER, Service, ask
from scripts.lib.files.errors import TryLater
from scripts.lib.files.log import logger, start_log
from scripts.lib.frames.instruments import read_kinds, read_telescopes
from scripts.lib.ledger.ledger import Ledger, ledger_path
from scripts.lib.settings.check import ConfigurationError
from scripts.lib.settings.passwords import credentials
from scripts.lib.settings.records import Configuration

if TYPE_CHECKING:
    from scripts.lib.files.job import snakemake


def confirm(
    night: str,
    products: list[Delivered],
    expected: Expected,
    service: Service,
    patience: timedelta,
) -> list[Answer]:
    """Return what ESO's archive says now of each product of a night.

    Raises
    ------
    TryLater
        If it cannot be asked.
    ConfigurationError
        If user or password is missing.
    """
    login = credentials(os.environ, USER, PASSWORD)
    found = ask(service, query_of(night, expected.number), login)
    who = "with a password" if login else "as anybody: science data are not shown to all"
    logger.info("asked %s; %d rows of %s", who, len(found), night)
    now = datetime.now(UTC)
    return judge_all(products, found, expected, now, patience, anonymous=login is None)


def main() -> None:
    """Run the job."""
    start_log(snakemake.log[0])
    output, night = Path(snakemake.output.table), snakemake.wildcards.night
    settings = Configuration.of(snakemake.config)
    telescope = read_telescopes(Path(snakemake.input.telescopes))[settings.telescope]
    expected = Expected(telescope.number, read_kinds(Path(snakemake.input.kinds)))
    service = Service(
        settings.confirm_service, settings.confirm_token_service, settings.confirm_timeout
    )
    patience, cause = timedelta(hours=settings.confirm_after), ""
    with Ledger(ledger_path(Path())) as ledger:
        products = products_of(ledger, night)
        try:
            answers = confirm(night, products, expected, service, patience)
        except (TryLater, ConfigurationError) as error:
            cause = str(error)
            logger.warning("not asked, the next run tries again: %s", cause)
            answers = unasked(products, read_confirmed(output), expected)
        confirmed = [answer.product for answer in answers if answer.status == CONFIRMED]
        ledger.confirm(confirmed, datetime.now(UTC))
    for answer in answers:
        if answer.status in BAD:
            logger.warning("%s: %s %s", answer.product, answer.status, answer.differs)
    logger.info("%s", counts_of([answers]))
    write_confirmed(output, answers)
    write_asked(output.parent, snakemake.params.run, cause)


if __name__ == "__main__":
    main()
