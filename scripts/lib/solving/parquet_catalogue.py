"""A star catalogue in a Parquet file; it needs the optional package pyarrow."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from scripts.lib.solving.errors import Unreadable, check_file, first_wrong
from scripts.lib.solving.rows import (
    COLUMNS,
    GAIA_DR3,
    NO_STARS,
    PIECE,
    Circle,
    Rows,
    no_columns,
    rows_of,
    source_names,
)

MAGIC = b"PAR1"  # at either end


def check(path: Path) -> None:
    """Raise `Unreadable` or `OSError` unless a file is such a catalogue; read its footer only."""
    with _opened(path) as file:
        from pyarrow import types

        schema = file.schema_arrow
        for name in source_names(schema.names).values():
            kind = schema.field(name).type
            others = (types.is_nested, types.is_temporal, types.is_binary, types.is_large_binary)
            if any(test(kind) for test in others):
                raise Unreadable(f"its column {name} holds {kind}, not numbers")
        if not file.metadata.num_rows:
            raise Unreadable(NO_STARS)


def read(path: Path, band: str, circle: Circle) -> Iterator[Rows]:
    """Yield stars among which are all of a circle.

    Raises
    ------
    Unreadable
        If the file is damaged.
    """
    with _opened(path) as file:
        names = source_names(file.schema_arrow.names)
        for group in range(file.num_row_groups):
            if not _touches(file.metadata.row_group(group), names, circle):
                continue
            for batch in file.iter_batches(PIECE, [group], [*names.values()], use_threads=False):
                near = circle.in_strip(_floats(batch, names["dec"]))
                columns = {key: _floats(batch, name)[near] for key, name in names.items()}
                yield rows_of(columns, band, GAIA_DR3)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open the file as pyarrow's ParquetFile."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise Unreadable(
            "Parquet needs the package pyarrow: pip install -r requirements-solving.txt"
        ) from error
    size = check_file(path, no_columns())
    with open(path, "rb") as stream:
        begins = stream.read(len(MAGIC))
        stream.seek(max(0, size - len(MAGIC)))
        ends = stream.read()
    if begins != MAGIC:
        raise Unreadable(f"it is not a Parquet file; {COLUMNS}")
    if ends != MAGIC:
        raise Unreadable(f"it is truncated: its {size} bytes do not end as a Parquet file does")
    try:
        # Read ahead, or by several threads, a row group would be in memory many times.
        with parquet.ParquetFile(path, pre_buffer=False) as file:
            yield file
    except (OSError, pyarrow.ArrowException) as error:
        raise Unreadable("Parquet's reader finds it damaged") from error


def _floats(batch: Any, name: str) -> np.ndarray:
    """Return a column of a batch, NaN where there is no value."""
    values = batch[name].to_numpy(zero_copy_only=False)
    try:
        return values.astype(float)
    except (TypeError, ValueError):
        raise Unreadable(
            f"its column {name} has {first_wrong(values)}, which is not a number"
        ) from None


def _touches(group: Any, names: dict[str, str], circle: Circle) -> bool:
    """Tell whether a row group can hold stars of a circle, by the ranges that the file states."""
    ranges = {"dec": [circle.declinations()], "ra": circle.right_ascensions()}
    columns = (group.column(number) for number in range(group.num_columns))
    known = {column.path_in_schema: column.statistics for column in columns}
    return all(_overlaps(known.get(names[key]), ranges[key]) for key in ranges)


def _overlaps(statistics: Any, ranges: list[tuple[float, float]]) -> bool:
    if statistics is None or not statistics.has_min_max:
        return True
    return any(low <= statistics.max and high >= statistics.min for low, high in ranges)
