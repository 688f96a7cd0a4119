"""Every message that can be mailed has its section in docs/operations.md."""

import ast
import re
from collections.abc import Iterator

import pytest

from scripts.lib.files import log
from scripts.lib.files.tables import read_table
from scripts.lib.reporting import failures, guide
from tests.night import REPOSITORY
from tests.servers import mounted_disk

# What a call of these is given, a person reads in a mail or on standard error.
ERRORS = {"ConfigurationError", "TryLater", "unreachable"}
REPORTS = {"report": 1, "alert": 1, "with_guide": 0}
# Here messages are not mailed: the command line of a person shows them.
TYPED = ("commands/install.py", "commands/migrate.py", "migration/", "lib/reporting/")
# And here under a subject of their own.
TYPED += ("lib/delivery/tap.py", "lib/delivery/transfer_log.py")
PROBLEMS = ("free_space", "write_problems", "source_problems")


def sources() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((REPOSITORY / "scripts").rglob("*.py")):
        yield str(path.relative_to(REPOSITORY / "scripts")), ast.parse(path.read_text())


def text_of(node: ast.AST) -> str:
    """Return a text as it is written; what is put into it is `x`, a path that of a setting."""
    if isinstance(node, ast.FormattedValue):
        return "/x.yaml" if ast.unparse(node.value) == "path" else "x"
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(one) for one in node.values)
    return "x"


def calls(tree: ast.AST, names: set[str] | dict) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            if name in names:
                yield name, node


def errors() -> Iterator[tuple[str, str]]:
    """Return the messages that keep a run from beginning, with the module of each."""
    for name, tree in sources():
        if not name.startswith(TYPED):
            for _, call in calls(tree, ERRORS):
                yield name, text_of(call.args[0])
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef) and function.name in PROBLEMS:
                parts = [node for node in ast.walk(function) if isinstance(node, ast.List)]
                texts = [one for part in parts for one in part.elts]
                texts += [call.args[0] for _, call in calls(function, {"append"})]
                yield from ((name, text_of(one)) for one in texts if text_of(one) != "x")


def subjects() -> Iterator[str]:
    """Return the subjects of all mails but that of a run; what is put into them is `x`."""
    for _, tree in sources():
        known = {
            one.targets[0].id: text_of(one.value)
            for one in ast.walk(tree)
            if isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name)
        }
        for name, call in calls(tree, REPORTS):
            subject = call.args[REPORTS[name]] if len(call.args) > REPORTS[name] else None
            if isinstance(subject, ast.Name):
                yield known.get(subject.id, "")
            elif subject is not None:
                yield text_of(subject)


def headings() -> set[str]:
    return set(re.findall("^##+ (.+)$", guide.PAGE.read_text(), re.M))


def test_sections_of_the_table_are_on_the_page():
    rows = read_table(guide.TABLE)
    assert len(guide.rows()) == len(rows) > 20
    assert {guide.GENERAL, *(row["section"] for row in rows)} <= headings()


def test_every_subject_has_its_own_row():
    found = {subject for subject in subjects() if subject not in ("", "x")}
    assert len(found) >= 9
    assert not [one for one in found if not guide.own_sections([one])]


def test_every_reason_not_to_begin_has_its_own_row():
    found = {(name, text) for name, text in errors() if text != "x"}
    assert len(found) > 20
    assert not [(name, text) for name, text in found if not guide.own_sections([text])]


@pytest.mark.parametrize(
    ("error", "section"),
    [
        ("OSError: [Errno 28] No space left on device: '/nowhere/x'", "Full disk"),
        ("/data has 1 GB of free space; 3 frames to copy … Make room; …", "Full disk"),
        ("catalogue: /data/gaia.db does not exist; is its disk mounted?", "Star catalogue"),
        ("source sftp://h has no list of known hosts: /x (No such file)", "Servers"),
        ("/w/confirmed.csv: x; what to do: docs/operations.md, Damaged tables", "Damaged tables"),
        ("/w/ledger.sqlite: x; what to do: docs/operations.md, The ledger", "The ledger"),
        ("processes [7] of an earlier run cannot be ended", "Not run"),
    ],
)
def test_a_line_names_the_section_that_helps(error, section):
    assert guide.sections(["job failed", error]) == ["A job failed", section]
    assert guide.with_guide("other", "x").endswith(f'{guide.PAGE}, section "Mails"')


def test_mails_are_sent_without_the_table(monkeypatch, tmp_path):
    monkeypatch.setattr(guide, "TABLE", tmp_path / "none.csv")
    guide.rows.cache_clear()
    try:
        assert guide.sections(["not run"]) == ["Mails"]
    finally:
        guide.rows.cache_clear()


def test_a_full_disk_is_named_without_words_of_python(tmp_path):
    path = tmp_path / "raw" / "x.fits"
    path.parent.mkdir()
    disk = failures.disk_of(tmp_path)
    for named in (f": '{path}'", f": '{path}' -> '{path}2'", ""):
        said = failures.in_words(f"OSError: [Errno 28] No space left on device{named}", [tmp_path])
        assert re.fullmatch(rf"No space left on device: the disk {disk} has [\d.]+ GB .*", said)
    with mounted_disk(tmp_path / "small", "size=1m") as small:
        said = failures.in_words("OSError: [Errno 28] No space left on device", [tmp_path, small])
        assert f": the disk {small} has 0.0 GB" in said
    wrong = "PermissionError: [Errno 13] Permission denied: '/x'"
    assert failures.in_words(wrong, [tmp_path]) == "/x: Permission denied"


def test_tracebacks_are_left_out_of_what_people_read(tmp_path):
    path = tmp_path / "job.log"
    path.write_text(
        "INFO before\nCRITICAL job failed\nTraceback (most recent call last):\n"
        '  File "x.py", line 3, in f\n    g()\n    ~^^\n\nKeyError: 7\n'
    )
    assert log.tail(path, 10) == ["INFO before", "CRITICAL job failed", "KeyError: 7"]
