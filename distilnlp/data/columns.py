"""Find the columns that matter."""

import json
from collections.abc import Collection, Sequence
from typing import Any

from datasets import ClassLabel, Dataset, LargeList, List, Value

from distilnlp.data.parts import Part
from distilnlp.errors import DistillationError, did_you_mean


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
    others = {label_column, *taken}
    candidates = [name for name in dataset.column_names if name not in others and is_text(dataset.features[name])]
    if wanted is not None:
        check_text_columns(dataset, wanted, label_column, candidates)
        return list(wanted)
    if len(candidates) == 1:
        return candidates
    if "text" in candidates:
        return ["text"]
    raise DistillationError(
        f"expected one text column, but the data has {len(candidates)}: {candidates} (all columns: "
        f"{dataset.column_names}). Name one, or two for pairs, as data.text_columns."
    )


def check_text_columns(dataset: Dataset, wanted: Sequence[str], label_column: str, candidates: Sequence[str]) -> None:
    """Raise a `DistillationError` if a column is missing, is the label column, or holds something else than text."""
    if label_column in wanted:
        raise DistillationError(f"{label_column!r} is the label column: the answer cannot be a text column too.")
    for name in wanted:
        require_column(dataset, name, "data.text_columns")
        if not is_text(dataset.features[name]):
            raise DistillationError(
                f"text column {name!r} must hold text, but it holds {dataset.features[name]}. "
                f"The text columns of the data are {candidates}; name one of them in data.text_columns."
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


def given_answers(part: Part, columns: Sequence[str]) -> tuple[list[Any], Any]:
    """Return a teacher's answers to the rows, and their type: a column as it is, or one number a label of several.

    Lists of numbers may be written as text, `[0.1, 0.9]`: a CSV has no others.

    Raises:
        DistillationError: one of several columns holds no numbers, or a text is no list.
    """
    dataset = part.rows
    if len(columns) > 1:
        for name in columns:
            _require_numbers(dataset, name)
        return [list(row) for row in zip(*(dataset[name][:] for name in columns), strict=True)], List(Value("float64"))
    [name] = columns
    if is_text(dataset.features[name]):
        return [_list_in(text, name, row) for row, text in part.numbered(name)], List(Value("float64"))
    return dataset[name][:], dataset.features[name]


def _require_numbers(dataset: Dataset, name: str) -> None:
    feature = dataset.features[name]
    if not isinstance(feature, Value) or not feature.dtype.startswith(("float", "int", "uint")):
        raise DistillationError(
            f"teacher.column names several columns, each of which must hold one number a row, but {name!r} holds "
            f"{feature}. Convert it, or name one column of lists."
        )


def _list_in(text: str | None, name: str, row: int) -> list[float] | None:
    if text is None or not text.strip():
        return None
    try:
        return [float(value) for value in json.loads(text)]
    except (ValueError, TypeError):
        raise DistillationError(
            f"teacher.column {name!r} must hold a list of numbers in every row, but row {row} (counted from 0) holds "
            f"{text!r:.60}. Write [0.1, 0.9], or name one column a label."
        ) from None


def _written(value: Any) -> str:
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def require_column(dataset: Dataset, name: str, key: str) -> None:
    """Raise a `DistillationError` that names the recipe's `key` if the data set has no such column."""
    if name not in dataset.column_names:
        raise DistillationError(
            f"{key} names the column {name!r}, but the data has {dataset.column_names}."
            f"{did_you_mean(name, dataset.column_names)} Set {key}."
        )


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
