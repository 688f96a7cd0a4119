"""The project itself: pins that agree, names that match, paths that stay at home."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scripts import commands, version
from scripts.commands.describe import PAGES
from scripts.lib.files.tables import read_table
from scripts.lib.settings.telescopes import telescopes
from tests.architecture import PICTURE, picture

REPOSITORY = Path(__file__).parent.parent


def pins(path: Path) -> dict[str, str]:
    """Return the pinned versions in a requirements file."""
    return dict(re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", path.read_text(), re.M))


def test_environments_repeat_the_pins():
    right = pins(REPOSITORY / "requirements.txt")
    for path in (REPOSITORY / "envs").glob("*.yaml"):
        for dependency in yaml.safe_load(path.read_text())["dependencies"]:
            package, _, version = dependency.partition("=")
            assert package == "python" or right[package] == version, path


def test_constraints_repeat_the_pins():
    constraints = {k.lower(): v for k, v in pins(REPOSITORY / "constraints.txt").items()}
    for name in ("requirements.txt", "requirements-test.txt", "requirements-slurm.txt"):
        for package, pinned in pins(REPOSITORY / name).items():
            assert constraints[package] == pinned


def test_each_rule_has_its_script_environment_and_log():
    text = "".join(path.read_text() for path in (REPOSITORY / "rules").glob("*.smk"))
    parts = re.split(r"^(?:rule|checkpoint) (\w+):$", text, flags=re.M)[1:]
    rules = dict(zip(parts[::2], parts[1::2], strict=True))
    assert {"ingest", "inventory", "header", "cube", "frames", "archive", "night"} <= rules.keys()
    for name, body in rules.items():
        assert f'"../scripts/{name}.py"' in body and f'"../envs/{name}.yaml"' in body
        assert re.search(rf'log:\n +"{{night}}/logs/{name}\b', body)


def test_snakemake_is_the_version_whose_internals_are_used():
    import snakemake

    assert snakemake.__version__ == pins(REPOSITORY / "requirements.txt")["snakemake"]


def test_internals_of_snakemake_are_used_in_one_place():
    for path in [REPOSITORY / "Snakefile", *REPOSITORY.glob("rules/*.smk")]:
        used = set(re.findall(r"\bworkflow\.\w+", path.read_text()))
        assert path.name == "snakemake_internals.smk" or used <= {"workflow.basedir"}, path


def test_every_configuration_is_of_a_telescope_of_the_table():
    for path in (REPOSITORY / "config").glob("*.yaml"):
        if path.name != "schema.yaml":
            assert yaml.safe_load(path.read_text())["telescope"] in telescopes()
            assert yaml.safe_load(path.read_text())["telescope"].lower() == path.stem


def test_domain_modules_know_no_snakemake():
    for path in (REPOSITORY / "scripts/lib").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) snakemake|snakemake\.", path.read_text(), re.M)


# What the system, the shell or a library says.
FOREIGN = {
    "(Read-only file system)",
    "No space left on device",
    "was unexpected",
    "is not one of",
    "chmod 600",
    "database or disk is full",
    "database is locked",
    "disk image is malformed",
    "not a database",
}


def test_operations_page_quotes_what_is_really_said():
    sources = [*REPOSITORY.glob("scripts/**/*.py"), *REPOSITORY.glob("rules/*.smk")]
    said = "".join(re.sub(r'"\s*f?"', "", path.read_text()) for path in sources)
    said += re.sub(r"\{[^{}]*\} ?", "", said)
    page = (REPOSITORY / "docs/operations.md").read_text()
    rows = [line for line in page[page.index("## Mails") :].splitlines() if line.startswith("| `")]
    quoted = [text for row in rows for text in re.findall("`([^`]*)`", row.split("|")[1])]
    parts = [
        part.strip() for text in quoted for part in re.split("…|Callisto(?: 20260305)?:", text)
    ]
    wanted = {part for part in parts if part} - FOREIGN
    assert len(wanted) > 30
    assert not [part for part in wanted if part not in said]


@pytest.mark.parametrize("name", PAGES)
def test_generated_files_are_up_to_date(name):
    assert (REPOSITORY / name).read_text() == PAGES[name](), "run make docs"


def test_make_in_a_path_with_blanks_removes_its_own_folder_only(tmp_path):
    checkout, other = tmp_path / "a b", tmp_path / "a"
    for folder in (checkout / "demo", other, checkout / "b/demo"):
        folder.mkdir(parents=True)
    for name in ("Makefile", "requirements.txt", "constraints.txt"):
        shutil.copy(REPOSITORY / name, checkout)
    done = subprocess.run(["make", "demo"], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 2 and "has blanks in its path" in done.stdout
    assert (checkout / "demo").is_dir() and not (checkout / ".venv").exists()
    subprocess.run(["make", "demo-clean"], cwd=checkout, check=True)
    assert other.is_dir() and (checkout / "b/demo").is_dir() and not (checkout / "demo").exists()


def test_folders_import_only_from_those_above_them():
    page = (REPOSITORY / "docs/design.md").read_text()
    order = re.findall(r"^\| `([a-z]+)/` \|", page, re.M)
    library = REPOSITORY / "scripts/lib"
    assert sorted(order) == sorted(path.parent.name for path in library.glob("*/__init__.py"))
    for path in library.glob("*/*.py"):
        imported = re.findall(r"^from scripts\.lib\.([a-z]+)", path.read_text(), re.M)
        assert not re.search(r"^from scripts\.(?!lib\b)", path.read_text(), re.M), path
        here = order.index(path.parent.name)
        assert not [name for name in imported if order.index(name) > here], path


def test_names_of_tests_can_be_read_at_a_glance():
    source = "".join(path.read_text() for path in (REPOSITORY / "tests").rglob("*.py"))
    names = re.findall(r"^ *def (test_\w+)", source, re.M)
    assert len(names) > 300
    assert not [name for name in names if len(name) > 60]


# What the documents name and a user or a run writes.
WRITTEN_LATER = {"config/callisto.env", "config/site/callisto.env", "config/site/callisto.yaml"}
WRITTEN_LATER |= {"config/corrections/callisto_20260305.yaml"}
WRITTEN_LATER |= {"envs/*.linux-64.pin.txt"}
# Scripts of the legacy pipeline.
LEGACY = "astrometry astrometry_spirit headerfix create_datacubes mail_alert".split()


def test_paths_that_the_documents_name_exist():
    folders = "|".join(path.name for path in REPOSITORY.iterdir() if path.is_dir())
    for page in (REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")):
        named = re.findall(rf"`((?:{folders})/[\w./*-]+)`", page.read_text())
        missing = {path for path in named if not list(REPOSITORY.glob(path))}
        modules = re.findall(r"`(\w+\.py)`", page.read_text())
        missing |= {name for name in modules if not list(REPOSITORY.glob(f"scripts/**/{name}"))}
        assert not missing - WRITTEN_LATER - {f"{name}.py" for name in LEGACY}, page


def test_the_map_of_the_modules_answers_its_questions():
    page = (REPOSITORY / "docs/design.md").read_text()
    rows = page[page.index("| where is … |") : page.index("| to change |")].strip().splitlines()
    assert len(rows) == 2 + 14
    assert all(re.search("`[a-z]+/[^`]+`", row) for row in rows[2:])


def test_the_picture_of_the_modules_is_that_of_the_code():
    [drawn] = PICTURE.findall((REPOSITORY / "docs/design.md").read_text())
    assert drawn == picture(), "run make docs"


def test_every_command_says_what_it_does(capsys):
    assert commands.main(["--help"]) == 0
    names = set(re.findall(r"^  (\w+) +[A-Z]", capsys.readouterr().out, re.M))
    assert names == set(commands.summaries()) >= {"run", "status", "validate"}
    for name in sorted(names):
        try:
            status = commands.main([name, "--help"])
        except SystemExit as ended:
            status = ended.code
        assert status == 0
        assert f"usage: speculoos-archive {name}" in capsys.readouterr().out
    assert commands.main(["nonsense"]) == 2 and "is not a command" in capsys.readouterr().err


def test_the_changelog_begins_with_the_version():
    [latest, *_] = re.findall(
        r"^## (\d+\.\d+\.\d+)", (REPOSITORY / "CHANGELOG.md").read_text(), re.M
    )
    assert latest == version()


def test_readme_counts_the_checks():
    count = len(read_table(REPOSITORY / "config/checks.csv"))
    assert f"passes {count} checks before delivery" in (REPOSITORY / "README.md").read_text()


def test_a_full_disk_leaves_no_compiled_module_that_is_cut(tmp_path):
    """Python renames what it could write of one; an import of it would fail in each later run."""
    for path in (REPOSITORY / "scripts").rglob("*.py"):
        copy = tmp_path / path.relative_to(REPOSITORY)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    program = "import resource, sys\n"
    program += "limit = int(sys.argv[1])\n"
    program += "resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))\n"
    program += "import scripts.archive"
    environ = {"PATH": os.environ["PATH"]}
    for room in (3000, 1 << 40):
        words = [sys.executable, "-c", program, str(room)]
        subprocess.run(words, cwd=tmp_path, env=environ, check=True)
