"""Collators: rows to batches. Padding never looks like a label, and a null label never like a real one."""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, default_data_collator

from distilnlp.errors import DistillationError, shown
from distilnlp.labels import label_of, marked_ids, marked_numbers
from distilnlp.signals import END, LABEL_COLUMNS, NO_LABEL, OFFSETS, START, TOKENS, WORD_IDS

Row = dict[str, Any]

# Columns with a value a token that a tokenizer does not pad, and what marks their padding.
TOKEN_COLUMNS: dict[str, Any] = {"word_starts": 0, "context_mask": 0, WORD_IDS: -1, OFFSETS: [0, 0]}
ENDS = (START, END)


class RowCollator:
    """Pads rows to the longest of the batch and makes a tensor of their labels.

    Args:
        tokenizer: pads; None for rows that have one length already.
        labels: makes the tensor of a batch's labels from its rows and the batch's length; None = there are none.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase | None, labels: Callable[[list[Row], int], Tensor] | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.labels = labels

    def __call__(self, rows: list[Row]) -> dict[str, Tensor]:
        """Return a batch of tensors, `labels` among them if the rows have a label column."""
        for row in rows:
            require_tokens(row)
        extra = {name for row in rows for name in row if name in (*LABEL_COLUMNS, *ENDS, *TOKEN_COLUMNS)}
        inputs = [{name: value for name, value in row.items() if name not in extra} for row in rows]
        if self.tokenizer is None:
            batch: dict[str, Tensor] = default_data_collator(inputs)
        else:  # on the right whatever the tokenizer says: labels and masks count their positions from the left
            batch = dict(self.tokenizer.pad(inputs, return_tensors="pt", padding_side="right"))
        length = batch[TOKENS.values].shape[-1]
        for name in extra & TOKEN_COLUMNS.keys():
            batch[name] = padded(rows, name, length, TOKEN_COLUMNS[name])
        for name in extra & set(ENDS):
            batch[name] = _ids([row.get(name) for row in rows], name)
        if self.labels is not None and extra & set(LABEL_COLUMNS):
            batch["labels"] = self.labels(rows, length)
        return batch


def require_tokens(row: Row) -> None:
    """Refuse a row that was never tokenised."""
    if row.get(TOKENS.values) is None:
        raise DistillationError(
            f"every row needs `{TOKENS.values}`, but a row has only {[name for name in row if name != TOKENS.values]}. "
            "Tokenise the data set first: dataset.map(lambda row: tokenizer(row['text'], truncation=True))."
        )


def class_ids(rows: list[Row], _length: int) -> Tensor:
    """Class ids, int64 `[batch]`; null becomes -100."""
    return _ids([label_of(row) for row in rows], "a label")


def scores(rows: list[Row], _length: int) -> Tensor:
    """Numbers, float32 `[batch]`; null becomes NaN."""
    expected = "a regression target must be a number, finite in float32, or null or NaN"
    labels = [label_of(row) for row in rows]
    values = _numbers(marked_numbers(labels), 1, expected).float()
    return _require(values, ~values.isinf(), expected)


def decisions(rows: list[Row], _length: int) -> Tensor:
    """Yes-or-no decisions, float32 `[batch, labels]`; null, for a row or for one label, becomes NaN."""
    expected = "the targets of a row must be a list of 0 or 1 (null or NaN = unknown) for each label"
    labels = [label_of(row) for row in rows]
    if any(label is not None and not _is_list(label) for label in labels):
        raise _refusal(expected, labels)
    width = next((len(label) for label in labels if label is not None), 1)
    filled = [marked_numbers([None] * width if label is None else label) for label in labels]
    if any(len(row) != width for row in filled):
        raise DistillationError(
            f"every row needs one 0 or 1 for each label, but the rows of one batch have {sorted({*map(len, filled)})} "
            "of them. Give every row as many as the model has labels, in the order of its id2label."
        )
    values = _numbers(filled, 2, expected).float()
    values = values.masked_fill(values == NO_LABEL, math.nan)
    return _require(values, values.isnan() | (values == 0) | (values == 1), expected)


def token_labels(rows: list[Row], length: int) -> Tensor:
    """Class ids a token, int64 `[batch, length]`; padding and rows without labels are -100."""
    labels = [label_of(row) for row in rows]
    full = [
        {**row, "labels": [NO_LABEL] * len(row[TOKENS.values]) if label is None else label}
        for row, label in zip(rows, labels, strict=True)
    ]
    return padded(full, "labels", length, NO_LABEL)


def padded(rows: list[Row], name: str, length: int, fill: int | list[int]) -> Tensor:
    """Return a column with an entry a token, a number or a list, as a tensor `[batch, length]`, padded on the right."""
    entry = "list of whole numbers" if isinstance(fill, list) else "whole number"
    expected = f"{name} must be a list of one {entry} for each token"
    for row in rows:
        if not _is_list(row.get(name)):
            raise _refusal(expected, [row.get(name)])
        if len(row[name]) != len(row[TOKENS.values]):
            raise DistillationError(
                f"{name} must have one entry for each token, but a row of {len(row['input_ids'])} tokens has "
                f"{len(row[name])} of them. Make them from the same tokenised text."
            )
    dims = 3 if isinstance(fill, list) else 2
    values = _numbers([[*row[name], *[fill] * (length - len(row[name]))] for row in rows], dims, expected)
    return _require(values, ~values.isnan() & (values == values.round()), expected).long()


def _ids(values: list[Any], name: str) -> Tensor:
    """Whole numbers, int64 `[batch]`; null becomes -100."""
    expected = f"{name} must be a whole number from 0, or null or {NO_LABEL} for a row without one"
    ids = _numbers(marked_ids(values), 1, expected)
    return _require(ids, (ids == NO_LABEL) | (ids >= 0) & (ids == ids.round()), expected).long()


def _is_list(value: Any) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, str) and getattr(value, "ndim", 1) > 0


def _numbers(values: list[Any], dims: int, expected: str) -> Tensor:
    """Make a tensor of a batch's numbers; text, null and lists in lists make none."""
    try:
        tensor = torch.tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise _refusal(expected, values) from error
    if tensor.dim() != dims:
        raise _refusal(expected, values)
    return tensor.long() if tensor.dtype == torch.bool else tensor


def _require(values: Tensor, fits: Tensor, expected: str) -> Tensor:
    if not fits.all():
        raise _refusal(expected, values[~fits].tolist())
    return values


def _refusal(expected: str, came: list[Any]) -> DistillationError:
    return DistillationError(f"{expected}, but a batch has {shown(came[:3])}. Encode the column so.")


def refuse_outside(name: str, ids: Iterable[int | None], limit: int, where: str) -> None:
    """Refuse ids that the model has no place for: not one of 0 to `limit` - 1, nor -100 where they are labels."""
    outside = [value for value in ids if value is not None and not 0 <= value < limit]
    if name == "labels":
        outside = [value for value in outside if value != NO_LABEL]
    if outside:
        ways = f"ids from 0 to {limit - 1}" + f", or {NO_LABEL} for none" * (name == "labels")
        raise DistillationError(
            f"{name} must hold {ways}, because the model has {limit}, but {where} holds {outside[:3]}. Use the model's "
            + ("own label order." if name == "labels" else "own tokenizer.")
        )


def other_tokens(losses: Mapping[str, str | None], which: str, prefix: str) -> DistillationError:
    """Return the refusal of losses that need the same tokens on both sides, where `which` texts differ in them.

    Each loss comes with the column that would do instead, under the teacher's `prefix` too; None = nothing does.
    """
    columns = " and ".join(sorted({f"{name} and {prefix}{name}" for name in losses.values() if name is not None}))
    ways = f"give the rows {columns}, " if columns and None not in losses.values() else ""
    return DistillationError(
        f"{', '.join(losses)}: student and teacher are compared token by token, but their tokenizers split {which} "
        f"differently. Use a student with the teacher's tokenizer, {ways}or losses on whole texts (docs/students.md)."
    )
