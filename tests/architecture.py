"""Draw the modules of scripts/ and their imports into docs/design.md (`make docs`).

A node is a folder with its modules. An arrow means that some module of the one folder imports from
the other; an arrow that follows from others is left out.
"""

import ast
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

from tests.night import REPOSITORY

PAGE = REPOSITORY / "docs" / "design.md"
PICTURE = re.compile(r"(?<=```mermaid\n).*?(?=```\n)", re.S)


def folder_of(name: str) -> str:
    """Return the folder of a module: that of scripts/lib, or ``rules`` for the scripts of rules."""
    parts = name.removeprefix("scripts.").removeprefix("lib.").split(".")
    return parts[0] if len(parts) > 1 else "rules"


def modules() -> dict[str, Path]:
    """Return the files of all modules of scripts/ by their names."""
    paths = sorted((REPOSITORY / "scripts").rglob("*.py"))
    return {
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts): path
        for path in paths
        if path.name != "__init__.py"
    }


@cache
def imports(path: Path, always: bool = False) -> set[str]:
    """Return what a file imports: modules, or names in them.

    With ``always`` only what it imports whenever it is imported or run itself.
    """
    found = set()
    nodes: list[ast.AST] = [ast.parse(path.read_text())]
    while nodes:
        node = nodes.pop()
        if always and (isinstance(node, ast.FunctionDef) or is_for_types(node)):
            continue
        nodes += ast.iter_child_nodes(node)
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def is_for_types(node: ast.AST) -> bool:
    """Return whether a statement is for the type checker only."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def picture() -> str:
    """Return the graph of folders, in Mermaid's language."""
    names, arrows, known = defaultdict(list), defaultdict(set), modules()
    for name, path in known.items():
        folder = folder_of(name)
        names[folder].append(path.stem)
        # What the package `scripts` itself has belongs to no folder.
        named = imports(path) | {one.rpartition(".")[0] for one in imports(path)}
        used = named & known.keys()
        arrows[folder] |= {folder_of(other) for other in used} - {folder}

    def reached(folder: str) -> set[str]:
        return arrows[folder].union(*map(reached, arrows[folder]))

    lines = ["flowchart TD"]
    for folder, stems in sorted(names.items()):
        rows = [", ".join(stems[n : n + 4]) for n in range(0, len(stems), 4)]
        lines.append(f'  {folder}["<b>{folder}</b><br>{"<br>".join(rows)}"]')
    for folder in sorted(names):
        further = set().union(*map(reached, arrows[folder]))
        lines += [f"  {folder} --> {other}" for other in sorted(arrows[folder] - further)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(PICTURE.sub(lambda _: picture(), PAGE.read_text()))
