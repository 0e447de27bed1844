"""Keys of rows: a hash of what the teacher reads of a row, so that no order of the rows can mispair an answer."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray

from distilnlp.errors import NotKeptError, shown
from distilnlp.files import digest

KEY_BYTES = 16

Keys = NDArray[np.uint8]


def row_key(row: Mapping[str, Any], columns: Iterable[str]) -> bytes:
    """Return the key of a row that is not padded: 16 bytes of BLAKE2b over the columns that it has, in their order."""
    parts: list[bytes] = []
    for name in columns:
        if row.get(name) is not None:
            parts += [name.encode() + b"=", *_parts(row[name])]
    return digest(parts)


def _parts(value: Any) -> Iterator[bytes]:
    """Yield a number or a list, whose length goes first, so that [[1], [2, 3]] is not [[1, 2], [3]]."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list) and value and hasattr(value[0], "__len__"):
        yield b"[%d" % len(value)
        for part in value:
            yield from _parts(part)
        return
    numbers = np.asarray(value)
    if numbers.size and numbers.dtype.kind not in "biu":
        raise NotKeptError(
            f"the columns that a teacher reads must hold whole numbers for its answers to be kept, but one holds "
            f"{shown(value, 60)}. Set teacher_cache to off."
        )
    numbers = numbers.astype(np.int64)
    yield b"(%d" % numbers.size
    yield numbers.tobytes()


def dataset_keys(dataset: Dataset, columns: Iterable[str]) -> Keys:
    """Return the keys of all rows, uint8 `[rows, 16]`."""
    present = [name for name in columns if name in dataset.column_names]
    keys = bytearray()
    for row in dataset.with_format(None).select_columns(present):
        keys += row_key(row, present)
    return np.frombuffer(bytes(keys), dtype=np.uint8).reshape(len(dataset), KEY_BYTES)


class KeyIndex:
    """Finds positions by key, uint8 `[count, 16]` and all different, in 24 bytes of memory a key."""

    def __init__(self, keys: Keys) -> None:
        halves = _halves(keys)
        self._order = np.lexsort((halves[:, 1], halves[:, 0]))
        self._sorted = halves[self._order]

    def find(self, keys: Keys) -> NDArray[np.int64]:
        """Return for each key its position, -1 where it is not there."""
        wanted = _halves(keys)
        first = np.searchsorted(self._sorted[:, 0], wanted[:, 0])
        found = np.full(len(wanted), -1, dtype=np.int64)
        for step in range(len(self._sorted)):  # as often as keys share their first half: once, in practice
            place = np.minimum(first + step, len(self._sorted) - 1)
            alike = self._sorted[place, 0] == wanted[:, 0]
            hit = alike & (self._sorted[place, 1] == wanted[:, 1]) & (first + step < len(self._sorted))
            found[hit] = self._order[place[hit]]
            if not (alike & (found < 0) & (first + step < len(self._sorted))).any():
                break
        return found


def _halves(keys: Keys) -> NDArray[np.uint64]:
    return np.ascontiguousarray(keys).view(np.uint64).reshape(-1, 2)
