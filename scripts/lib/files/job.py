"""The object ``snakemake`` of a rule's script, declared for linters and type checkers.

A script imports it if TYPE_CHECKING only: when it runs, Snakemake has defined the object.
"""

from collections.abc import Sequence
from typing import Any


class Job:
    """What a rule hands to its script; files, parameters and wildcards by their names."""

    input: Any
    output: Any
    params: Any
    wildcards: Any
    log: Sequence[str]
    threads: int
    config: dict[str, Any]


snakemake: Job
