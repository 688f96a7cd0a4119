"""What the mail of a run says: what was delivered, what was not and why, what to do next.

Facts come from Snakemake's jobs, handed in, and from the tables of each night.
"""

import hashlib
import os
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from scripts.lib.delivery.confirmation import (
    DIFFERENT,
    MISSING,
    TABLE,
    bad_rows,
    marks_of,
    read_confirmed,
    read_told,
    write_told,
)
from scripts.lib.delivery.receipts import delivered_rows, read_receipts
from scripts.lib.files.durable import write_text
from scripts.lib.files.tables import read_table
from scripts.lib.frames.corrections import correction_file
from scripts.lib.telling.failures import failures, last_line
from scripts.lib.telling.mail import (
    LOST,
    Settings,
    clean,
    compose,
    post,
    refusals,
    say,
    send_spooled,
    spool_of,
    told,
    usable_settings,
)

# In a night's folder: the held-back frames that a mail has told of.
REPORTED = "reported"
TAIL = 10
LONGEST_LINE = 400
# Of a log only its end is read, however long it is.
END_OF_LOG = 64_000
# A mail that is too long is not read; the rest is on the page.
MOST_JOBS = 12
MOST_FRAMES = 20


class Run(NamedTuple):
    """A run that ended.

    Attributes
    ----------
    nights : list of str
        That it was to bring up to date.
    failed : list
        Jobs with ``rule.name``, ``wildcards`` and ``log``, as Snakemake's scheduler has them.
    ended : bool
        Whether it came to its end; False without failed jobs means that somebody stopped it.
    command : list of str
        As it was called.
    folder : str
        Where it was called.
    log : str
        Of the run as a whole; empty if there is none.
    asked : list of str
        Nights for which it asked ESO's archive.
    """

    nights: list[str]
    failed: Iterable
    ended: bool
    command: list[str]
    folder: str
    log: str = ""
    asked: list[str] = []


class FailedJob(NamedTuple):
    """A job that failed; ``what`` is its wildcards, the night first."""

    rule: str
    night: str
    what: str
    error: str
    tail: list[str]
    log: str


# Facts


def failed_jobs(jobs: Iterable) -> list[FailedJob]:
    """Return what is to be said of each failed job, by night."""
    return sorted(map(failed_job, jobs), key=lambda job: (job.night, job.rule, job.what))


def failed_job(job) -> FailedJob:
    """Return what is to be said of a failed job."""
    wildcards = {key: str(value) for key, value in job.wildcards.items()}
    night = wildcards.pop("night", "")
    log = Path(str(job.log[0])).absolute() if job.log else None
    return FailedJob(
        rule=job.rule.name,
        night=night,
        what=" ".join(filter(None, [night, *wildcards.values()])),
        error=shortened(last_line(log)) if log else "see the run's log",
        tail=tail(log) if log else [],
        log=str(log or ""),
    )


def tail(path: Path, count: int = TAIL) -> list[str]:
    """Return the last lines of a log."""
    if not path.exists():
        return []
    with open(path, "rb") as stream:
        stream.seek(max(0, path.stat().st_size - END_OF_LOG))
        lines = stream.read().decode("utf-8", "replace").splitlines()
    return [shortened(line) for line in lines[-count:]]


def shortened(line: str) -> str:
    """Return a line of reasonable length, without what a terminal would obey."""
    line = clean(line).rstrip()
    return line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 1] + "…"


def night_facts(folder: Path, telescope: str) -> dict:
    """Return what is to be said of a night; ``raw`` is None if it has no table of frames yet."""
    from scripts.lib.telling.summary import (  # numpy: only if there is something to say
        read_solutions,
        summarise,
    )

    table = folder / "frames.csv"
    rows = read_table(table) if table.exists() else []
    receipts = read_receipts(folder / "archived")
    facts = summarise(
        telescope, folder.name, rows, receipts, read_solutions(folder / "solved", rows)
    )
    here = {row["file"]: row["kind"] for row in delivered_rows(receipts)}
    told = reported(folder)
    return {
        "night": folder.name,
        "raw": facts["raw"] if table.exists() else None,
        "delivered": facts["delivered"],
        "kinds": Counter(here.values()).most_common(),
        "products": len(facts["products"]),
        "held": len(facts["held"]),
        "groups": groups(facts["held"]),
        "news": bool(fingerprints(facts["held"]) - told),
        "fingerprints": fingerprints(facts["held"]),
        "missing": len(facts["missing"]),
        "to_solve": facts["to_solve"],
        "unsolved": len(facts["unsolved"]),
        "page": str(folder.absolute() / "night.html"),
        "has_page": (folder / "night.html").exists(),
    }


def groups(held: list[dict]) -> list[dict]:
    """Return held-back frames by reason, the most frequent first."""
    found: dict[str, list[dict]] = {}
    for row in held:
        reason, _, detail = row["reason"].partition(":")
        found.setdefault(reason, []).append({"file": row["file"], "detail": detail.strip()})
    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        {
            "reason": reason,
            "count": len(frames),
            "frames": frames[:MOST_FRAMES],
            "more": max(0, len(frames) - MOST_FRAMES),
        }
        for reason, frames in ordered
    ]


def fingerprints(held: list[dict]) -> set[str]:
    """Return a short text for each held-back frame and its reason."""
    texts = (f"{row['file']}\t{row['reason']}" for row in held)
    return {
        hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16] for text in texts
    }


def reported(folder: Path) -> set[str]:
    """Return the fingerprints of the held-back frames of a night that a mail has told of."""
    path = folder / REPORTED
    return set(path.read_text().split()) if path.exists() else set()


def remember(folder: Path, facts: dict) -> None:
    """Write down that a mail has told of a night's held-back frames."""
    if facts["news"]:
        write_text(folder / REPORTED, "".join(f"{one}\n" for one in sorted(facts["fingerprints"])))


def confirmation_facts(folder: Path, archive: Path) -> dict:
    """Return what is to be said of products that ESO's archive misses or has otherwise."""
    bad = bad_rows(read_confirmed(folder / TABLE))
    missing = [row for row in bad if row["status"] == MISSING]
    here = {row["product"] for row in missing if (archive / row["product"]).exists()}
    return {
        "night": folder.name,
        "uncollected": [row for row in missing if row["product"] in here],
        "missing": [row for row in missing if row["product"] not in here],
        "different": [row for row in bad if row["status"] == DIFFERENT],
        "count": len(bad),
        "most": MOST_FRAMES,
        "table": str((folder / TABLE).absolute()),
        "news": bool(marks_of(bad) - read_told(folder)),
        "marks": marks_of(bad),
    }


def run_facts(config: dict, run: Run) -> dict:
    """Return all that the mail says."""
    workdir = Path(config["workdir"])
    failed = failed_jobs(run.failed)
    every = sorted({*run.nights, *(job.night for job in failed if job.night)})
    nights = [night_facts(workdir / night, config["telescope"]) for night in every]
    asked = [confirmation_facts(workdir / n, Path(config["archive"])) for n in run.asked]
    facts = {
        "telescope": config["telescope"],
        "nights": nights,
        "unconfirmed": [night for night in asked if night["count"]],
        "failed": failed,
        "most_jobs": MOST_JOBS,
        "stopped": not run.ended and not failed,
        "workdir": str(workdir),
        "archive": config["archive"],
        "run_log": run.log,
        "refusals": refusals(spool_of(config)),
        **{key: sum(night[key] or 0 for night in nights) for key in COUNTS},
    }
    return (
        facts
        | {"subject": subject(facts), "verdict": verdict(facts)}
        | next_steps(config, run, facts)
    )


COUNTS = ("raw", "delivered", "held", "missing", "to_solve", "unsolved", "products")


def verdict(facts: dict) -> str:
    """Return the run's outcome in a few words."""
    parts = []
    if jobs := len(facts["failed"]):
        parts.append(f"{jobs} {'job' if jobs == 1 else 'jobs'} FAILED")
    if facts["stopped"]:
        parts.append("run STOPPED before its end")
    if facts["raw"]:
        parts.append(f"{facts['delivered']} of {facts['raw']} frames delivered")
    elif all(night["raw"] is not None for night in facts["nights"]):
        parts.append("no frames")
    if count := sum(night["raw"] is None for night in facts["nights"]):
        parts.append(f"{count} {'night' if count == 1 else 'nights'} without table")
    if facts["held"]:
        parts.append(f"{facts['held']} held back")
    if count := sum(night["count"] for night in facts["unconfirmed"]):
        parts.append(f"{count} {'product' if count == 1 else 'products'} NOT RIGHT AT ESO")
    return ", ".join(parts)


def subject(facts: dict) -> str:
    """Return the mail's subject."""
    nights = night_words([night["night"] for night in facts["nights"]])
    return f"{facts['telescope']} {nights}: {verdict(facts)}"


def night_words(nights: list[str]) -> str:
    """Return nights as they stand in a subject."""
    if len(nights) <= 3:
        return " ".join(nights) or "no night"
    return f"{nights[0]} to {nights[-1]} ({len(nights)} nights)"


# What to do next


def next_steps(config: dict, run: Run, facts: dict) -> dict:
    """Return what the operator can do: words, and a command where there is one."""
    steps = []
    again = command_line(run)
    if facts["failed"]:
        words = "Read the last lines of each log below and remove the cause. The next run continues"
        steps.append({"words": f"{words} by itself; to continue now:", "command": again})
    if facts["stopped"]:
        words = "Somebody or a shutdown stopped this run. Nothing is lost; to continue it:"
        steps.append({"words": words, "command": again})
    news = [night for night in facts["nights"] if night["news"]]
    if wrong := [night["night"] for night in news if has_other_than_unsolved(night)]:
        folder = Path(config["corrections"])
        files = " ".join(str(correction_file(folder, facts["telescope"], n)) for n in wrong)
        words = f"If held-back frames only have wrong headers, correct these in {files}, then:"
        steps.append({"words": words, "command": command_line(run, nights=" ".join(wrong))})
    if lost := [night["night"] for night in news if has_unsolved(night)]:
        words = "To deliver the unsolved frames without sky coordinates:"
        command = command_line(run, nights=" ".join(lost), unsolved="deliver")
        steps.append({"words": words, "command": command})
    return {"steps": steps + confirmation_steps(config, run, facts["unconfirmed"])}


def confirmation_steps(config: dict, run: Run, unconfirmed: list[dict]) -> list[dict]:
    """Return what to do about products that ESO's archive misses or has otherwise."""
    news = [night for night in unconfirmed if night["news"]]
    steps = []
    if any(night["uncollected"] for night in news):
        words = "ESO has not collected products listed below, they still lie in the archive "
        words += "directory. Ask ESO whether its collection stands still. What lies there:"
        steps.append({"words": words, "command": f"ls -l {shlex.quote(config['archive'])}"})
    if lost := [night["night"] for night in news if night["missing"]]:
        words = "ESO collected products that its archive does not show, see below. Ask ESO what "
        words += "became of them; if it has lost them, to deliver the night again:"
        command = command_line(run, nights=" ".join(lost), redeliver="true")
        steps.append({"words": words, "command": command})
    if tables := [night["table"] for night in news if night["different"]]:
        words = "ESO has products otherwise than they were delivered, see below. Ask ESO to "
        words += "correct them. What it has:"
        steps.append({"words": words, "command": shlex.join(["grep", DIFFERENT, *tables])})
    return steps


def has_unsolved(night: dict) -> bool:
    """Tell whether frames of a night are held back because they are unsolved."""
    return any(group["reason"] == "unsolved" for group in night["groups"])


def has_other_than_unsolved(night: dict) -> bool:
    """Tell whether frames of a night are held back for another reason than the sky."""
    return any(group["reason"] != "unsolved" for group in night["groups"])


def command_line(run: Run, **settings: str) -> str:
    """Return a line for the shell that runs the same again, with other settings if given."""
    words = [word for word in run.command if word.partition("=")[0] not in settings]
    given = [f"{key}={value}" for key, value in settings.items()]
    flags = [at for at, word in enumerate(words) if word in ("--config", "-C")]
    if given and flags:
        words[flags[-1] + 1 : flags[-1] + 1] = given
    elif given:
        words += ["--config", *given]
    return f"cd {shlex.quote(run.folder)} && {shlex.join(words)}"


# The mail


def render(facts: dict, templates: Path) -> tuple[str, str]:
    """Return the mail as plain text and as HTML."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        autoescape=lambda name: name.endswith(".html"),
        loader=FileSystemLoader(templates),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text, html = (environment.get_template(f"mail.{end}").render(facts) for end in ("txt", "html"))
    return text, html


def is_wanted(when: str, facts: dict) -> bool:
    """Tell whether a run is worth a mail: failures always, held-back frames the first time."""
    if when == "problems":
        news = any(night["news"] for night in (*facts["nights"], *facts["unconfirmed"]))
        return bool(facts["failed"] or facts["stopped"] or news)
    return when == "always"


def mail_run(config: dict, run: Run, templates: Path, environ: Mapping = os.environ) -> str:
    """Mail how a run ended, if it is worth a mail; never raise.

    Parameters
    ----------
    config : dict
        The telescope's configuration, ``corrections`` spelt out.
    templates : Path
        Folder of ``mail.txt`` and ``mail.html``.

    Returns
    -------
    str
        What became of the mail; empty if there was none.
    """
    outcome = LOST
    with told():
        settings = usable_settings(config)
        outcome = mail_with(settings, config, run, templates, environ) if settings else ""
    return outcome


def mail_with(settings: Settings, config: dict, run: Run, templates: Path, environ: Mapping) -> str:
    """Mail how a run ended, if it is worth a mail, and send what waits from earlier runs."""
    if settings.when == "never":
        return ""
    workdir = Path(config["workdir"])
    try:
        facts = run_facts(config, run)
        wanted = is_wanted(settings.when, facts)
        message = compose(settings, facts["subject"], *render(facts, templates))
    except Exception as error:  # A damaged table must not keep a failure from being told.
        say(f"the report could not be made: {type(error).__name__}: {error}")
        facts, wanted = {"nights": [], "unconfirmed": []}, True
        message = compose(settings, *makeshift(config, run, error))
    if not wanted:
        send_spooled(config, environ)
        return ""
    outcome = post(settings, spool_of(config), message, environ)
    if outcome != LOST:
        for night in facts["nights"]:
            remember(workdir / night["night"], night)
        for night in facts["unconfirmed"]:
            write_told(workdir / night["night"], night["marks"])
    return outcome


def makeshift(config: dict, run: Run, error: Exception) -> tuple[str, str]:
    """Return subject and text of a mail for when the report itself fails."""
    ended = "the run ended well" if run.ended else "the run FAILED"
    subject = f"{config['telescope']} {night_words(run.nights)}: {ended}, no report"
    text = [f"The report could not be made: {type(error).__name__}: {error}", ""]
    if not run.ended:
        text.append(failures(list(run.failed)))
    text += ["", f"Everything of this run lies below {config['workdir']}", command_line(run)]
    return subject, "\n".join(text)
