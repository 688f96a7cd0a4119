"""What is done once a run has ended: lists, the mail, the copy of the transfer logs, counts.

The run's outcome stands: what goes wrong here is a line on standard error.

``logs/{night}/transferred`` names products, ``non_transferred`` raw frames, each with the reason.
"""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.lib.delivery.confirmation import FAILED, failed_attempts
from scripts.lib.delivery.retries import ALERT_AFTER, count_failure
from scripts.lib.delivery.transfer_log import copy_or_count, write_transfer_logs
from scripts.lib.files.durable import write_text
from scripts.lib.files.lock import shared_lock
from scripts.lib.ledger.ledger import Ledger, LedgerError
from scripts.lib.pages.update import Failure, update_pages
from scripts.lib.reporting.failures import failures
from scripts.lib.reporting.mail import alert
from scripts.lib.reporting.report import Run, mail_run
from scripts.lib.reporting.summary import summarise
from scripts.lib.settings.records import Configuration

PENDING = "not delivered yet: a job failed or was stopped"


def end_run(settings: Configuration, ledger: Ledger, run: Run) -> None:
    """Write lists and pages once a run has ended; `report_run` does the rest."""
    if run.failed:
        print(failures(run.failed), file=sys.stderr)
    with only_printed("lists of transferred files not written"):
        write_lists(ledger, settings.workdir, run.nights)
    failed = [
        Failure(job.night, job.rule, job.what, job.error, job.log, job.last_lines)
        for job in run.failed
    ]
    with only_printed("pages not written"):
        update_pages(ledger, settings, run.nights, failed, run.asked)


def report_run(
    settings: Configuration, ledger: Ledger, run: Run, templates: Path, mail: bool
) -> None:
    """Report a run to others; ``mail`` is whether a mail may be sent of it."""
    if mail:
        mail_run(settings, ledger, run, templates)
    with only_printed("transfer log not copied"):
        count, cause = copy_or_count(settings.workdir, settings.transfer_log_remote)
        if cause:
            print(cause, file=sys.stderr)
        if count == ALERT_AFTER:
            alert(settings, f"transfer log not copied, {count} times in a row", cause)
    with only_printed("confirmations not counted"):
        if causes := failed_attempts(settings.workdir, run.asked, run.attempt):
            cause = next(filter(None, causes), "")
            count = count_failure(settings.workdir / FAILED, cause)
            if cause:
                print(f"ESO's archive could not be asked: {cause}", file=sys.stderr)
            if count == ALERT_AFTER:
                alert(settings, f"ESO's archive could not be asked, {count} runs in a row", cause)


@contextmanager
def only_printed(what: str) -> Iterator[None]:
    """Turn an error of the disk or the ledger into a line."""
    try:
        yield
    except (OSError, LedgerError) as error:
        print(f"{what}: {error}", file=sys.stderr)


def write_lists(ledger: Ledger, workdir: Path, nights: Iterable[str]) -> None:
    """Write the transfer logs, and what of each night was transferred and what was not."""
    with shared_lock(workdir):
        write_transfer_logs(workdir, ledger.transfers())
    for night in nights:
        summary = summarise("", night, ledger, None)
        if not summary.raw:
            continue
        waiting = dict.fromkeys(summary.missing, PENDING)
        refused = sorted([*summary.held, *summary.not_for_eso], key=lambda frame: frame.key)
        waiting |= {frame.file: str(frame.fault) for frame in refused}
        folder = workdir / "logs" / night
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "transferred", "".join(f"{name}\n" for name in summary.products))
        lines = (f"{name}: {reason}\n" for name, reason in waiting.items())
        write_text(folder / "non_transferred", "".join(lines))
