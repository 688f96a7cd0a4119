"""Ask ESO's archive which products of a night it shows. No answer is not a failure."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.lib.delivery import confirmation, tap
from scripts.lib.files.errors import TryLater
from scripts.lib.files.log import logger, start_log
from scripts.lib.frames.instruments import read_kinds
from scripts.lib.ledger.ledger import Ledger, ledger_path
from scripts.lib.settings.check import ConfigurationError
from scripts.lib.settings.passwords import credentials
from scripts.lib.settings.records import Configuration
from scripts.lib.settings.telescopes import read_telescopes

if TYPE_CHECKING:
    from scripts.lib.files.log import snakemake


def confirm(
    night: str,
    products: list[confirmation.Delivered],
    instrument: confirmation.Instrument,
    settings: Configuration,
) -> list[confirmation.Answer]:
    """Return what ESO's archive says now of each product of a night.

    If it cannot be asked, that is a `TryLater`, or a `ConfigurationError` of the login.
    """
    service = tap.Service(
        settings.confirm_service, settings.confirm_token_service, settings.confirm_timeout
    )
    login = credentials(os.environ, tap.USER, tap.PASSWORD)
    query = confirmation.query_of(night, instrument.telescope, settings.place.longitude)
    found = tap.ask(service, query, login)
    who = "with a password" if login else "as anybody: science data are not shown to all"
    logger.info("asked %s; %d rows of %s", who, len(found), night)
    now, limit = datetime.now(UTC), timedelta(hours=settings.confirm_after)
    return confirmation.judge_all(products, found, instrument, now, limit, anonymous=login is None)


def main() -> None:
    """Run the job."""
    start_log(snakemake.log[0])
    output, night = Path(snakemake.output.table), snakemake.wildcards.night
    settings, cause = Configuration.of(snakemake.config), ""
    telescope = read_telescopes(Path(snakemake.input.telescopes))[settings.telescope]
    instrument = confirmation.Instrument(telescope, read_kinds(Path(snakemake.input.kinds)))
    with Ledger(ledger_path(Path())) as ledger:
        products = confirmation.products_of(ledger, night)
        try:
            answers = confirm(night, products, instrument, settings)
        except (TryLater, ConfigurationError) as error:
            cause = str(error)
            logger.warning("not asked, the next run tries again: %s", cause)
            earlier = confirmation.read_confirmed(output)
            answers = confirmation.unasked(products, earlier, instrument)
        confirmed = [one.product for one in answers if one.status == confirmation.CONFIRMED]
        ledger.confirm(confirmed, datetime.now(UTC))
    for answer in confirmation.bad_answers(answers):
        logger.warning("%s: %s %s", answer.product, answer.status, answer.differs)
    logger.info("%s", confirmation.counts_of([answers]))
    confirmation.write_confirmed(output, answers)
    confirmation.write_asked(output.parent, snakemake.params.run, cause)


if __name__ == "__main__":
    main()
