"""Find the columns that matter."""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from datasets import ClassLabel, Dataset, Json, LargeList, List, Value

from distilnlp.data.parts import Part, values_of
from distilnlp.errors import DistillationError, did_you_mean, shown

# What a teacher's answers are read as: a number a label, or the labels that are named, with their scores.
NUMBERS = List(Value("float64"))
SCORES = List({"label": Value("string"), "score": Value("float64")})


KINDS: dict[type, str] = {str: "text", bool: "true or false", list: "a list", dict: "an object"}


def find_text_columns(
    dataset: Dataset, wanted: Sequence[str] | None, label_column: str, taken: Collection[str] = ()
) -> list[str]:
    """Return the text columns: those that were named, or the only one there is.

    Args:
        dataset: the rows.
        wanted: `data.text_columns`.
        label_column: no text, whatever it holds.
        taken: columns that are something else already.

    Raises:
        DistillationError: a named column is missing or not text, or there is no single candidate.
    """
    candidates = _text_candidates(dataset, {label_column, *taken})
    if wanted is not None:
        check_text_columns(dataset, wanted, label_column, candidates)
        return list(wanted)
    own = sole_text_column(dataset, {label_column, *taken})
    if own is not None:
        return [own]
    raise DistillationError(
        f"expected one text column, but the data has {len(candidates)}: {shown(candidates)} (all columns: "
        f"{shown(dataset.column_names)}). Name one, or two for pairs, as data.text_columns."
    )


def sole_text_column(dataset: Dataset, taken: Collection[str]) -> str | None:
    """Return the only text column, or the one that is called `text`; None if there is neither."""
    candidates = _text_candidates(dataset, taken)
    return candidates[0] if len(candidates) == 1 else "text" if "text" in candidates else None


def _text_candidates(dataset: Dataset, taken: Collection[str]) -> list[str]:
    return [name for name in dataset.column_names if name not in taken and is_text(dataset.features[name])]


def check_text_columns(dataset: Dataset, wanted: Sequence[str], label_column: str, candidates: Sequence[str]) -> None:
    """Raise a `DistillationError` if a column is missing, is the label column, or holds something else than text."""
    if label_column in wanted:
        raise DistillationError(f"{label_column!r} is the label column: the answer cannot be a text column too.")
    for name in wanted:
        require_column(dataset, name, "data.text_columns")
        if not is_text(dataset.features[name]):
            raise DistillationError(
                f"text column {name!r} must hold text, but it holds {shown(dataset.features[name])}. "
                f"The text columns of the data are {shown(candidates)}; name one of them in data.text_columns."
            )


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


@dataclass(frozen=True)
class AnswerReader:
    """Reads a teacher's answers from a column, or from one a label; however they are written, they come out alike.

    Attributes:
        columns: one column of answers, or one of numbers a label.
        kind: what a cell holds.
        split: what messages call the rows.
    """

    columns: tuple[str, ...]
    kind: _Kind
    split: str

    def read(self, part: Part, keep: Sequence[int]) -> list[Any]:
        """Return the answers of the rows of a part that are kept, None for a row without.

        Raises:
            DistillationError: a cell holds neither an answer nor nothing.
        """
        read = []
        for name in self.columns:
            cells = list(part.numbered(name))
            read.append([self._cell(name, *cells[index]) for index in keep])
        return read[0] if len(read) == 1 else [list(row) for row in zip(*read, strict=True)]

    def _cell(self, name: str, row: int, cell: Any) -> Any:
        try:
            return self.kind.read(_parsed(cell))
        except (ValueError, TypeError, KeyError, OverflowError):
            raise DistillationError(
                f"teacher.column {name!r} of the {self.split} data must hold {self.kind.expected}, but row {row} "
                f"(counted from 0) holds {shown(cell, 60)}. {self.kind.fix}"
            ) from None


def answer_reader(dataset: Dataset, columns: tuple[str, ...], split: str) -> AnswerReader:
    """Return what reads a teacher's answers: numbers, or named labels with scores, as the first answer has it."""
    if len(columns) > 1:
        return AnswerReader(columns, _CELLS, split)
    answers = (_parsed(cell) for (cell,) in values_of(dataset, *columns))
    first = next(filter(None, answers), None)
    is_named = isinstance(first[0] if isinstance(first, list) else first, dict)
    return AnswerReader(columns, _NAMED if is_named else _LISTS, split)


def _written(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def require_column(dataset: Dataset, name: str, key: str, where: str = "") -> None:
    """Raise a `DistillationError` that names the recipe's `key` if the data set has no such column.

    Args:
        dataset: the rows.
        name: the column.
        key: what names it.
        where: how the message begins, if the rows are not those of `data.source`.
    """
    if name not in dataset.column_names:
        raise DistillationError(
            f"{where}{key} names the column {name!r}, but the data has {shown(dataset.column_names)}."
            f"{did_you_mean(name, dataset.column_names)} Set {key}."
        )


def refuse_mixed_types(dataset: Dataset, name: str, hint: str = "") -> None:
    """Raise a `DistillationError` if the values of a column, or those in its lists, are of several types.

    Args:
        dataset: the rows, of JSON: there the library makes such a column, and no other source can.
        name: the column.
        hint: what else to do, for the end of the message.
    """
    feature = dataset.features[name]
    while is_list(feature):
        feature = feature.feature
    if not isinstance(feature, Json):
        return
    counts: Counter[str] = Counter()
    first: dict[str, tuple[int, Any]] = {}
    for row, (value,) in enumerate(values_of(dataset, name)):
        for entry in _entries(value, dataset.features[name]):
            kind = KINDS.get(type(entry), "a number")
            counts[kind] += 1
            first.setdefault(kind, (row, entry))
    if len(first) < 2:
        return
    rare = min(reversed(first), key=counts.__getitem__)
    others = " or ".join(kind for kind in first if kind != rare)
    row, entry = first[rare]
    raise DistillationError(
        f"column {name!r} holds {others}, but row {row} (counted from 0) holds {rare}, {shown(entry)}. Give all its "
        f"values one type, such as text in quotation marks.{hint}"
    )


def _entries(value: Any, feature: Any) -> Iterator[Any]:
    """Yield the values in lists, at any depth that the type of a column has, nulls aside."""
    if is_list(feature):
        for entry in value or ():
            yield from _entries(entry, feature.feature)
    elif value is not None:
        yield value


def is_text(feature: Any) -> bool:
    """Whether a column holds text."""
    return isinstance(feature, Value) and feature.dtype in ("string", "large_string")


def is_empty(feature: Any) -> bool:
    """Whether a column holds nothing but nulls, so that its type is unknown."""
    return isinstance(feature, Value) and feature.dtype == "null"


def is_list(feature: Any) -> bool:
    """Whether a column holds lists."""
    return isinstance(feature, List | LargeList)


def is_label_list(feature: Any) -> bool:
    """Whether a column holds lists of single values."""
    return is_list(feature) and isinstance(feature.feature, Value | ClassLabel)


def is_text_list(feature: Any) -> bool:
    """Whether a column holds lists of texts."""
    return is_list(feature) and is_text(feature.feature)


def find_text_list(dataset: Dataset, usual: Sequence[str], excluded: Collection[str]) -> str | None:
    """Return the column of lists of texts: one of the usual names, or the only one there is; None if there is none."""
    candidates = [
        name for name in dataset.column_names if name not in excluded and is_text_list(dataset.features[name])
    ]
    named = [name for name in usual if name in candidates]
    if named:
        return named[0]
    return candidates[0] if len(candidates) == 1 else None
