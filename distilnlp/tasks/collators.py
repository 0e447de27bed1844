"""Collators: rows to batches. Padding never looks like a label, and a null label never like a real one."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, default_data_collator

from distilnlp.data.pairs import TEACHER
from distilnlp.errors import DistillationError
from distilnlp.labels import LABEL_COLUMNS, NO_LABEL, label_of
from distilnlp.signals import token_mask

Row = dict[str, Any]

# Columns with a value a token that a tokenizer does not pad, and what marks their padding.
TOKEN_COLUMNS = {"word_starts": 0, "context_mask": 0}
ENDS = ("start_positions", "end_positions")


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
        extra = {name for row in rows for name in row if name in (*LABEL_COLUMNS, *ENDS, *TOKEN_COLUMNS)}
        batch = self._pad([{name: value for name, value in row.items() if name not in extra} for row in rows])
        length = batch["input_ids"].shape[-1] if "input_ids" in batch else 0
        for name in extra & TOKEN_COLUMNS.keys():
            batch[name] = padded(rows, name, length, TOKEN_COLUMNS[name])
        for name in extra & set(ENDS):
            positions = [row.get(name) for row in rows]
            batch[name] = torch.tensor([NO_LABEL if position is None else position for position in positions])
        if self.labels is not None and extra & set(LABEL_COLUMNS):
            batch["labels"] = self.labels(rows, length)
        return batch

    def _pad(self, rows: list[Row]) -> dict[str, Tensor]:
        if self.tokenizer is None:
            return dict(default_data_collator(rows))
        # On the right whatever the tokenizer says: labels and masks count their positions from the left.
        return dict(self.tokenizer.pad(rows, return_tensors="pt", padding_side="right"))


def class_ids(rows: list[Row], _length: int) -> Tensor:
    """Class ids, int64 `[batch]`; null becomes -100."""
    labels = [label_of(row) for row in rows]
    return torch.tensor([NO_LABEL if label is None else int(label) for label in labels])


def scores(rows: list[Row], _length: int) -> Tensor:
    """Numbers, float32 `[batch]`; null becomes NaN."""
    labels = [label_of(row) for row in rows]
    wrong = [label for label in labels if isinstance(label, str)]
    if wrong:
        raise DistillationError(
            f"a regression target must be a number, but a row has {wrong[0]!r}. Convert the label column to numbers."
        )
    return torch.tensor([math.nan if label is None else float(label) for label in labels])


def decisions(rows: list[Row], _length: int) -> Tensor:
    """Yes-or-no decisions, float32 `[batch, labels]`; null, for a row or for one label, becomes NaN."""
    labels = [label_of(row) for row in rows]
    width = next((len(label) for label in labels if label is not None), 1)
    filled = [[math.nan] * width if label is None else label for label in labels]
    if any(len(row) != width for row in filled):
        raise DistillationError(
            f"every row needs one 0 or 1 for each label, but the rows of one batch have {sorted({*map(len, filled)})} "
            "of them. Give every row as many as the model has labels, in the order of its id2label."
        )
    values = torch.tensor([[math.nan if value is None else float(value) for value in row] for row in filled])
    return values.masked_fill(values == NO_LABEL, math.nan)


def token_labels(rows: list[Row], length: int) -> Tensor:
    """Class ids a token, int64 `[batch, length]`; padding and rows without labels are -100."""
    full = [{**row, "labels": label_of(row) or [NO_LABEL] * len(row["input_ids"])} for row in rows]
    return padded(full, "labels", length, NO_LABEL)


def padded(rows: list[Row], name: str, length: int, fill: int) -> Tensor:
    """Return a column with an entry a token as a tensor `[batch, length]`, filled up on the right."""
    for row in rows:
        if len(row[name]) != len(row["input_ids"]):
            raise DistillationError(
                f"{name} must have one entry for each token, but a row of {len(row['input_ids'])} tokens has "
                f"{len(row[name])} of them. Make them from the same tokenised text."
            )
    return torch.tensor([[*row[name], *[fill] * (length - len(row[name]))] for row in rows])


class BothEncodings:
    """Makes batches of rows that carry two encodings of their text: the student's, and the teacher's as `teacher_*`.

    Args:
        student: collates the student's rows, with the labels.
        teacher: collates the teacher's.
        same_tokens: refuse a batch whose rows have other numbers of tokens for the teacher, for a loss compares token
            by token.
    """

    def __init__(
        self,
        student: Callable[..., dict[str, Tensor]],
        teacher: Callable[..., dict[str, Tensor]],
        same_tokens: bool = False,
    ) -> None:
        self.student, self.teacher, self.same_tokens = student, teacher, same_tokens

    def __call__(self, rows: list[Row]) -> dict[str, Tensor]:
        """Return the student's batch with the teacher's inputs beside it."""
        own = [{name: value for name, value in row.items() if not name.startswith(TEACHER)} for row in rows]
        other = [
            {name.removeprefix(TEACHER): value for name, value in row.items() if name.startswith(TEACHER)}
            for row in rows
        ]
        mine = self.student(own)
        if not any(other):  # rows to evaluate the student on need no teacher
            return mine
        its = self.teacher(other)
        if self.same_tokens and not torch.equal(token_mask(mine), token_mask(its)):
            raise DistillationError(
                "a loss compares student and teacher token by token, but their tokenizers split a text of this batch "
                "differently. Use a student with the teacher's tokenizer, or losses on whole texts."
            )
        return {**mine, **{TEACHER + name: value for name, value in its.items()}}
