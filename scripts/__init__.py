"""One script per rule, of the rule's name; what they share is in ``scripts.lib``.

What people call lies in ``commands/``, and is found as ``python -m scripts.validate`` all the same.
"""

from pathlib import Path

__path__.append(str(Path(__file__).parent / "commands"))
