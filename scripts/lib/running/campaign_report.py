"""What a campaign reports: a line of its progress, the table of its nights, the page, the mail."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from scripts.lib.files.durable import write_text
from scripts.lib.files.errors import Damaged
from scripts.lib.files.tables import read_table, table_text
from scripts.lib.ledger.ledger import Ledger
from scripts.lib.pages.night_page import asset
from scripts.lib.reporting.end_of_run import report_run
from scripts.lib.reporting.failures import FailedJob
from scripts.lib.reporting.report import Run
from scripts.lib.reporting.templates import render
from scripts.lib.running.campaign import DONE, FAILED, LOG, Campaign, Result, Work
from scripts.lib.settings.records import Configuration

TABLE, PAGE = "campaign.csv", "campaign.html"  # in the working directory
# A night costs as much as so many bytes before its first frame: for the time to go.
BYTES_OF_START = 3e8
SECONDS_OF_PAGE = 10  # between two writings of the page


@dataclass
class Progress:
    """The progress of a campaign: results so far, and the rows of earlier campaigns."""

    settings: Configuration
    work: Sequence[Work]
    complete: int  # nights that there was nothing to do for
    templates: Path
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    results: list[Result] = field(default_factory=list)
    rows: dict[str, dict[str, str]] = field(default_factory=dict)
    page_written: float = 0.0

    def __post_init__(self) -> None:
        try:
            self.rows = {row["night"]: row for row in read_table(self.workdir / TABLE)}
        except (FileNotFoundError, KeyError, Damaged):
            self.rows = {}  # a view only: what was delivered is in the ledger

    @property
    def workdir(self) -> Path:
        """The working directory."""
        return self.settings.workdir

    @property
    def failed(self) -> list[Result]:
        """The nights that failed or were stopped."""
        return [result for result in self.results if result.status != DONE]

    @property
    def seconds(self) -> float:
        """Since the campaign began."""
        return (datetime.now(UTC) - self.began).total_seconds()

    @property
    def seconds_to_go(self) -> float | None:
        """What is left, as it has gone so far; None before the first night has ended."""
        ended = {result.night for result in self.results}
        cost = {one.night: one.bytes + BYTES_OF_START for one in self.work}
        done = sum(cost[night] for night in ended)
        return self.seconds * (sum(cost.values()) - done) / done if done else None

    def ended(self, result: Result) -> None:
        """Take a result into the table, which is written."""
        self.results.append(result)
        self.rows[result.night] = {key: str(value) for key, value in result._asdict().items()}
        rows = (self.rows[night] for night in sorted(self.rows))
        write_text(self.workdir / TABLE, table_text(Result._fields, rows))

    def figures(self) -> dict[str, str]:
        """Return the figures of the campaign as words."""
        seconds = max(self.seconds, 1e-3)
        frames = sum(result.frames for result in self.results)
        size = sum(result.bytes for result in self.results) / 1e9
        to_go = self.seconds_to_go
        return {
            "nights": f"{len(self.results)} of {len(self.work)} nights",
            "failed": f"{len(self.failed)} failed",
            "frames": f"{frames / seconds:.1f} frames/s",
            "bytes": f"{size / seconds:.3f} GB/s",
            "to go": "time to go unknown" if to_go is None else f"{hours(to_go)} to go",
        }

    def line(self) -> str:
        """Return the progress in a line."""
        return ", ".join(self.figures().values())

    def write_page(self, campaign: Campaign | None, outcome: str = "") -> None:
        """Write the page; while the campaign is at work only now and then."""
        if not outcome and self.seconds - self.page_written < SECONDS_OF_PAGE:
            return
        self.page_written = self.seconds
        results = sorted(self.results, key=lambda one: (one.status == DONE, one.night))
        facts = {
            "telescope": self.settings.telescope,
            "style": asset("style.css"),
            "outcome": outcome,
            "failed": len(self.failed),
            "figures": self.figures(),
            "complete": self.complete,
            "frames": sum(result.frames for result in self.results),
            "gigabytes": sum(result.bytes for result in self.results) / 1e9,
            "began": f"{self.began:%Y-%m-%d %H:%M} UTC",
            "written": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
            "running": sorted(campaign.running) if campaign else [],
            "results": results,
            "log": LOG,
            "refresh": 0 if outcome else SECONDS_OF_PAGE,
        }
        write_text(self.workdir / PAGE, render(self.templates / PAGE, **facts))

    def mail(self, ledger: Ledger, command: Sequence[str], folder: Path) -> None:
        """Report the campaign as one run: its mail, and the copy of the transfer logs."""
        failed = [
            FailedJob(
                "run", {"night": one.night}, str(self.workdir / "logs" / one.night / LOG), one.cause
            )
            for one in self.results
            if one.status == FAILED
        ]
        nights = sorted(result.night for result in self.results)
        run = Run(nights, failed, not self.failed, list(command), str(folder))
        if nights:
            report_run(self.settings, ledger, run, self.templates, mail=True)


def walk_nights(
    settings: Configuration,
    ledger: Ledger,
    nights: Sequence[str],
    command: Sequence[str],
    folder: str,
    templates: Path,
) -> list[str]:
    """Run nights one after the other by a command that is called in a folder; report them together.

    It writes neither table nor page: these are of the campaign that somebody asked for. Returns
    why which nights failed.
    """
    work = [Work(night) for night in nights]
    progress = Progress(settings, work, 0, templates)

    def ended(result: Result) -> None:
        progress.results.append(result)
        print(f"{result.night} {result.status}; {progress.line()}", file=sys.stderr, flush=True)

    campaign = Campaign(settings, ledger, command, Path(folder), ended=ended)
    campaign.walk(work)
    progress.mail(ledger, command, Path(folder))
    failed = [f"{result.night} {result.status}, {result.cause}" for result in progress.failed]
    return failed + ([campaign.stopped] if campaign.stopped else [])


def hours(seconds: float) -> str:
    """Return a length of time in the unit that suits it."""
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
