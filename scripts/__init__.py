"""One script per rule, of the rule's name; what they share is in ``scripts.lib``.

What people call lies in ``commands/``: ``speculoos-archive validate``, or in the checkout
``python -m scripts.validate``.
"""

import sys
from pathlib import Path

__path__.append(str(Path(__file__).parent / "commands"))
# On a full disk Python leaves a compiled module that is cut, which no later run could import. So
# runs leave none; `make` compiles all of them.
sys.dont_write_bytecode = True


def version() -> str:
    """Return the workflow's version; pyproject.toml has it."""
    import tomllib

    text = (Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8")
    return str(tomllib.loads(text)["project"]["version"])
