"""Checks of tokenised data sets before training: the types of their columns, and what has an entry for each token."""

from collections.abc import Callable, Iterator
from typing import TypeGuard

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from pyarrow import types

from distilnlp.errors import DistillationError
from distilnlp.signals import NO_LABEL, TOKENS

Kinds = tuple[Callable[[pa.DataType], bool], ...]
IDS: Kinds = (types.is_integer,)
MARKS: Kinds = (types.is_integer, types.is_boolean)
NUMBERS: Kinds = (types.is_integer, types.is_floating, types.is_boolean)


def is_tokenised(dataset: object) -> TypeGuard[Dataset]:
    """Whether the rows can be read more than once, and hold token ids already."""
    return isinstance(dataset, Dataset) and TOKENS.values in dataset.column_names


def columns_of(dataset: Dataset, *names: str) -> Iterator[pa.Table]:
    """Read columns of a data set, some rows at a time."""
    return dataset.with_format("arrow", columns=list(names)).iter(batch_size=10_000)


def token_ids_of(dataset: Dataset, column: str) -> Iterator[pa.Array]:
    """Read the ids of a column's tokens, flat, some rows at a time; nothing where they are not numbers."""
    for table in columns_of(dataset, column):
        flat = table[column].combine_chunks()
        while not isinstance(flat, pa.ChunkedArray) and (types.is_list(flat.type) or types.is_large_list(flat.type)):
            flat = flat.flatten()
        if types.is_integer(flat.type) and len(flat):
            yield flat


def require_ids(dataset: Dataset, column: str, split: str) -> None:
    """Refuse tokens of a row that are not ids, however deeply they are nested."""
    kind, depth = dataset.features.arrow_schema.field(column).type, 0
    while _is_list(kind):
        kind, depth = kind.value_type, depth + 1
    require_type(dataset, column, IDS, "the ids of a row's tokens", split, depth=max(depth, 1))


def require_type(
    dataset: Dataset, column: str, kinds: Kinds, expected: str, split: str, *, depth: int = 0, may_be_null: bool = True
) -> None:
    """Refuse a column whose values, each row's in `depth` lists, have another type.

    Args:
        kinds: the types of number that fit.
        expected: what the column must hold, for the message.
        may_be_null: whether a column of nothing but null passes.
    """
    kind = dataset.features.arrow_schema.field(column).type
    while depth and _is_list(kind):
        kind, depth = kind.value_type, depth - 1
    fits = may_be_null if types.is_null(kind) else depth == 0 and any(is_kind(kind) for is_kind in kinds)
    if not fits:
        fix = "Tokenise the texts anew." if column.endswith(TOKENS.values) else "Encode the column so, or remove it."
        raise DistillationError(
            f"column {column!r} of the {split} data must hold {expected}, but its type is "
            f"{dataset.features[column]}. {fix}"
        )


def _is_list(kind: pa.DataType) -> bool:
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def check_token_labels(dataset: Dataset, column: str, num_labels: int, split: str, fix: str) -> None:
    """Refuse labels that are not one of the model's ids, or -100, for each token; null is a row without labels."""
    expected = (
        f"label ids from 0 to {num_labels - 1}, or {NO_LABEL} for a token that does not count, one for each token"
    )
    require_type(dataset, column, IDS, expected, split, depth=1)
    _check_entries(dataset, column, [NO_LABEL, *range(num_labels)], f"{expected} of `{TOKENS.values}`", split, fix)


def check_marks(dataset: Dataset, column: str, split: str) -> None:
    """Refuse marks, if there are any, that are not one 0 or 1 for each token."""
    if column not in dataset.column_names:
        return
    expected, fix = "0 or 1 for each token", "Make it anew from the tokenised text."
    require_type(dataset, column, MARKS, expected, split, depth=1, may_be_null=False)
    _check_entries(dataset, column, [0, 1], f"{expected} of `{TOKENS.values}`", split, fix)


def _check_entries(dataset: Dataset, column: str, allowed: list[int], expected: str, split: str, fix: str) -> None:
    """Refuse rows that have other numbers, or not one for each token; a null row is one where -100 is allowed."""
    require_type(dataset, TOKENS.values, IDS, "the ids of a row's tokens", split, depth=1, may_be_null=False)
    for batch in columns_of(dataset, TOKENS.values, column):
        lists = batch[column].cast(pa.list_(pa.int64()))
        lengths_differ = pc.any(pc.not_equal(pc.list_value_length(batch[TOKENS.values]), pc.list_value_length(lists)))
        unknown = set(pc.unique(pc.list_flatten(lists)).to_pylist()) - set(allowed)
        if lists.null_count and NO_LABEL not in allowed:
            unknown.add(None)
        if unknown or lengths_differ.as_py():
            some = sorted(unknown, key=lambda value: (value is None, value))[:5]
            came = f"it holds {some}" if unknown else "some rows have another number of them"
            raise DistillationError(f"column {column!r} of the {split} data must hold {expected}, but {came}. {fix}")
