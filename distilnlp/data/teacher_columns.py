"""Columns that are there for the teacher: other texts than the student's, and answers that are given already."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import Dataset, List, Value

from distilnlp.data.parts import Part, values_of
from distilnlp.data.source_columns import is_text
from distilnlp.errors import DistillationError, shown

# What a teacher's answers are read as: a number a label, or the labels that are named, with their scores.
NUMBERS = List(Value("float64"))
SCORES = List({"label": Value("string"), "score": Value("float64")})


# ---- Texts ----


def joined_texts(dataset: Dataset, columns: Sequence[str]) -> list[list[str]]:
    """Return the text, and perhaps the second text, that columns of any kind make.

    One column is a text and two text columns are a pair. Of more columns, or of others than text, the first is the text
    and the others are the second, written as `name: value; name: value`. An empty cell is an empty text.
    """
    first, *others = columns
    texts = [[_written(value) for value in dataset[first]]]
    if len(others) == 1 and is_text(dataset.features[others[0]]):
        texts.append([_written(value) for value in dataset[others[0]]])
    elif others:
        rows = zip(*(dataset[name][:] for name in others), strict=True)
        texts.append(["; ".join(f"{n}: {_written(v)}" for n, v in zip(others, row, strict=True)) for row in rows])
    return texts


def _written(value: object) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


# ---- Answers ----


def _parsed(cell: Any) -> Any:
    """Return what a cell holds, which in a CSV is written as text."""
    if not isinstance(cell, str):
        return cell
    try:
        return json.loads(cell) if cell.strip() else None
    except ValueError:
        return cell  # such as nan, which is a number, though not in JSON


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _numbers(value: Any) -> list[float | None] | None:
    return None if value is None else [_number(entry) for entry in (value if isinstance(value, list) else [value])]


def _scores(value: Any) -> list[dict[str, Any]] | None:
    """Return the named labels; of a mapping in a table a row has every key, null where it does not name the label."""
    if isinstance(value, dict):
        value = [{"label": name, "score": score} for name, score in value.items() if score is not None]
    if value is None:
        return None
    if not all(isinstance(entry["label"], str) for entry in value):
        raise TypeError
    return [{"label": entry["label"], "score": _number(entry["score"])} for entry in value]


@dataclass(frozen=True)
class _Kind:
    """What the cells of a column of answers hold, and how one is read; `type` is that of a whole answer."""

    type: List
    read: Callable[[Any], Any]
    expected: str
    fix: str


_CELLS = _Kind(NUMBERS, _number, "one number a row", "Correct it, or name one column of lists.")
_LISTS = _Kind(
    NUMBERS, _numbers, "a list of numbers in every row", "Write [0.1, 0.9], or name one column of numbers a label."
)
_NAMED = _Kind(
    SCORES,
    _scores,
    'a list of {"label": name, "score": probability} or {name: probability} in every row',
    "Correct it.",
)


class GivenAnswers:
    """Reads a teacher's answers from a column, or from one a label; however they are written, they come out alike.

    Args:
        dataset: has the columns. One column holds numbers or named labels with scores, as the first answer has it.
        columns: one column of answers, or one of numbers a label.
        split: what messages call the rows.
    """

    def __init__(self, dataset: Dataset, columns: Sequence[str], split: str) -> None:
        self.columns, self._split, self._kind = columns, split, _CELLS
        if len(columns) == 1:
            first = next(filter(None, (_parsed(cell) for (cell,) in values_of(dataset, *columns))), None)
            is_named = isinstance(first[0] if isinstance(first, list) else first, dict)
            self._kind = _NAMED if is_named else _LISTS
        self.type = self._kind.type

    def read(self, part: Part, keep: Sequence[int]) -> list[Any]:
        """Return the answers of the rows of a part that are kept, None for a row without.

        Raises:
            DistillationError: a cell holds neither an answer nor nothing.
        """
        read: list[list[Any]] = []
        for name in self.columns:
            read.append([])
            cells = part.rows[name][:]
            for index in keep:
                try:
                    read[-1].append(self._kind.read(_parsed(cells[index])))
                except (ValueError, TypeError, KeyError, OverflowError):
                    raise DistillationError(
                        f"teacher.column {name!r} of the {self._split} data must hold {self._kind.expected}, but row "
                        f"{part.first + index} (counted from 0) holds {shown(cells[index], 60)}. {self._kind.fix}"
                    ) from None
        return read[0] if len(read) == 1 else [list(row) for row in zip(*read, strict=True)]
