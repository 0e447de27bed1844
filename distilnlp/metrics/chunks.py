"""Rows a part at a time, so that what is computed of logits never needs many times the memory of the logits."""

from collections.abc import Iterator

from numpy.typing import NDArray

CELLS_AT_ONCE = 2_000_000  # numbers held at once in an intermediate result: 16 MB in float64


def row_chunks(values: NDArray) -> Iterator[slice]:
    """Yield slices that cover the rows of an array `[rows, ...]`, each of about `CELLS_AT_ONCE` numbers."""
    rows = max(1, CELLS_AT_ONCE * len(values) // max(values.size, 1))
    for start in range(0, len(values), rows):
        yield slice(start, start + rows)
