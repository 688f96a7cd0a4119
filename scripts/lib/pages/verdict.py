"""What the data of a night mean: what to look at, the night's state, the verdict in words."""

from collections.abc import Iterator
from typing import Any

from scripts.lib.delivery.confirmation import TABLE

Data = dict[str, Any]

MOST_REASONS = 3  # in the headline
SEVERITY = ("failed", "incomplete", "attention", "note")
GUIDE = "docs/operations.md"


def attention(data: Data) -> list[Data]:
    """Return what somebody should look at, the worst first.

    ``severity`` is one of `SEVERITY`; a note changes nothing of the night's state.
    """
    return sorted(_attention(data), key=lambda one: SEVERITY.index(one["severity"]))


def _attention(data: Data) -> Iterator[Data]:
    counts, eso, night = data["counts"], data["eso"] or {}, data["night"]
    run = f"speculoos-archive run {data['telescope'].lower()} --config nights={night}"

    def item(severity: str, code: str, words: str, count: int, command: str, section: str) -> Data:
        return {
            "severity": severity,
            "code": code,
            "words": words,
            "count": count,
            "command": command,
            "guide": f"{GUIDE}, {section}" if section else "",
        }

    for job in data["failed"]:
        words = f"{job['rule']} {job['what']} failed: {job['error']}"
        yield item("failed", "job", words, 1, f"tail -50 {job['log']}", "A job failed")
    if counts["waiting"]:
        words = f"{frames_of(counts['waiting'])} not delivered yet; the next run goes on."
        yield item("incomplete", "waiting", words, counts["waiting"], run, "A job failed")
    if counts["faulty"]:
        groups = data["undelivered"]["faulty"]
        reasons = ", ".join(f"{group['count']:,} {group['reason']}" for group in groups)
        words = f"{frames_of(counts['faulty'])} held back: {reasons}."
        command = f"grep ,held, {data['folder']}/frames.csv"
        yield item("attention", "faulty", words, counts["faulty"], command, "Frames held back")
    grep = f"grep -E 'missing|different' {data['folder']}/{TABLE}"
    for code, words in (
        ("missing", "{} missing at ESO: ask what became of it."),
        ("different", "{} at ESO otherwise than delivered: ask ESO to correct it."),
    ):
        if count := eso.get(code, 0):
            what = f"{count} product{'s' if count > 1 else ''}"
            yield item("attention", code, words.format(what), count, grep, "At ESO")
    if counts["warned"]:
        words = f"{counts['warned']} delivered with a warning of the gate: see Sequences."
        yield item("note", "warned", words, counts["warned"], "", "")
    lacking = [
        f"{kind} for {setup['filter']} {setup['exptime']:g} s"
        for setup in data["calibration"]["serves"]
        for kind in ("bias", "dark", "flat")
        if not setup[kind]
    ]
    if lacking:
        words = f"No {', no '.join(lacking)} in this night."
        yield item("note", "calibration", words, len(lacking), "", "")


def frames_of(count: int) -> str:
    """Return so many frames in words."""
    return f"{count:,} frame{'' if count == 1 else 's'}"


def state_of(data: Data) -> str:
    """Return how a night stands: failed, incomplete, attention, ok, or none without frames."""
    worst = min((SEVERITY.index(one["severity"]) for one in data["attention"]), default=3)
    if worst < SEVERITY.index("note"):
        return SEVERITY[worst]
    return "ok" if data["counts"]["raw"] else "none"


def headline(data: Data) -> str:
    """Return the verdict on a night in one or a few sentences; the first says the state."""
    counts, eso, state = data["counts"], data["eso"] or {}, data["state"]
    if state == "none":
        return "No frames this night."
    jobs = len(data["failed"])
    things = sum(one["severity"] != "note" for one in data["attention"])
    lead = {
        "failed": f"{jobs} job{'' if jobs == 1 else 's'} failed.",
        "incomplete": "Not complete.",
        "attention": f"Delivered, look at {'one thing' if things == 1 else f'{things} things'}.",
        "ok": "All delivered." if counts["good"] else "Nothing to deliver.",
    }[state]
    confirmed = counts["products"] and eso.get("confirmed") == counts["products"]
    products = f"{counts['products']:,} product{'' if counts['products'] == 1 else 's'}"
    parts = [
        lead,
        f"{counts['delivered']:,} of {counts['due']:,} frames for ESO are delivered"
        f"{' and confirmed' if confirmed else ''}, in {products}.",
    ]
    if counts["faulty"]:
        groups = data["undelivered"]["faulty"]
        reasons = ", ".join(group["reason"] for group in groups[:MOST_REASONS])
        more = f" and {len(groups) - MOST_REASONS} more reasons" if groups[MOST_REASONS:] else ""
        parts.append(f"{counts['faulty']:,} held back: {reasons}{more}.")
    if counts["unsolved"]:
        parts.append(f"{counts['unsolved']:,} of {counts['to_solve']:,} science frames unsolved.")
    if data["clouds"]:
        spans = [f"{begin[11:16]} and {end[11:16]}" for begin, end in data["clouds"]]
        parts.append(f"Cloud between {'; '.join(spans)} UTC.")
    return " ".join(parts)
