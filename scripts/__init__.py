"""One script per rule, of the rule's name; what they share is in ``scripts.lib``.

What people call lies in ``commands/``, and is found as ``python -m scripts.validate`` all the same.
"""

import sys
from pathlib import Path

__path__.append(str(Path(__file__).parent / "commands"))
# On a full disk Python leaves a compiled module that is cut, which no later run could import. So
# runs leave none; `make` compiles all of them.
sys.dont_write_bytecode = True
