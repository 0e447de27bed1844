"""Extractive question answering: the start and the end of an answer are two items, their classes the positions."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from datasets import Dataset
from torch import Tensor
from transformers import MODEL_FOR_QUESTION_ANSWERING_MAPPING, AutoModelForQuestionAnswering

from distilnlp.data import QUESTION_ROWS
from distilnlp.errors import DistillationError
from distilnlp.evaluation import QUESTION_EVALUATION
from distilnlp.labels import LABEL_COLUMNS, NO_LABEL
from distilnlp.losses import cross_entropy
from distilnlp.signals import Batch, token_mask
from distilnlp.tasks.checks import IDS, check_marks, columns_of, is_tokenised, require_type
from distilnlp.tasks.collators import ENDS, RowCollator
from distilnlp.tasks.task import Task, every_row, no_row


def answer_ends(batch: Batch) -> Tensor:
    """Positions of start and end `[batch, 2]`; -100 where the answer is unknown or beyond the text."""
    if "start_positions" not in batch:
        return torch.full_like(torch.stack([every_row(batch)] * 2, dim=-1), NO_LABEL, dtype=torch.long)
    ends = torch.stack([batch["start_positions"], batch["end_positions"]], dim=-1)
    mask = token_mask(batch)
    known = (ends >= 0) & (ends < mask.shape[-1])
    is_token = mask.gather(-1, ends.clamp(0, mask.shape[-1] - 1))
    return ends.masked_fill(~(known & is_token), NO_LABEL)


def context(batch: Batch) -> Tensor:
    """Bool `[batch, length]`: where an answer can be. Rows without `context_mask` count every real token."""
    return batch["context_mask"].bool() if "context_mask" in batch else token_mask(batch)


def both_ends(mask: Tensor) -> Tensor:
    """Bool `[batch, length]` to `[batch, 2, length]`: start and end have the same positions to choose from."""
    return mask.unsqueeze(1).expand(-1, 2, -1)


def _valid_items(batch: Batch) -> Tensor:
    """Bool `[batch, 2]`: every window that shows some context."""
    return context(batch).any(dim=-1, keepdim=True).expand(-1, 2) if "input_ids" in batch else no_row(batch)


def _read_logits(outputs: Any, _batch: Batch) -> Tensor:
    return torch.stack([outputs.start_logits, outputs.end_logits], dim=1)


def _hard_loss(logits: Tensor, batch: Batch, num_items: Tensor | int | None) -> Tensor:
    # Over the real tokens: position 0 stands for "not in this window", and padding must not matter.
    return cross_entropy(logits, answer_ends(batch), num_items, both_ends(token_mask(batch)))


def _check_answers(dataset: Any, _names: Sequence[str] | None, _num_labels: int, split: str) -> Any:
    """Refuse answers that are not a start and an end among the row's tokens."""
    if not is_tokenised(dataset):
        return dataset
    check_marks(dataset, "context_mask", split)
    ends = [name for name in ENDS if name in dataset.column_names]
    answers = [name for name in ("answers", *LABEL_COLUMNS) if name in dataset.column_names]
    if len(ends) == 1 or (answers and not ends):
        raise DistillationError(
            f"the {split} data must hold the answers as two columns, {' and '.join(ENDS)}, but it has "
            f"{ends or answers}. Write the indices of each answer's first and last token there, or remove the column."
        )
    if ends:
        _check_positions(dataset, split)
    return dataset


def _check_positions(dataset: Dataset, split: str) -> None:
    expected = f"indices of tokens, or {NO_LABEL} or null for a row without an answer"
    require_type(dataset, "input_ids", IDS, "the ids of a row's tokens", split, depth=1, may_be_null=False)
    for name in ENDS:
        require_type(dataset, name, IDS, expected, split)
    for batch in columns_of(dataset, "input_ids", *ENDS):
        first, last = (batch[name].cast(pa.int64()).fill_null(NO_LABEL).to_numpy() for name in ENDS)
        lengths = pc.list_value_length(batch["input_ids"]).fill_null(0).to_numpy()
        unknown = (first == NO_LABEL) & (last == NO_LABEL)
        wrong = np.flatnonzero(~unknown & ~((first >= 0) & (first <= last) & (last < lengths)))
        if len(wrong):
            row = wrong[0]
            raise DistillationError(
                f"{' and '.join(ENDS)} of the {split} data must hold {expected}, the end not before the start, but a "
                f"row of {lengths[row]} tokens has {first[row]} and {last[row]}. Give a row that does not hold its "
                "whole answer 0 and 0."
            )


QUESTION_ANSWERING = Task(
    name="question_answering",
    pipeline_tag="question-answering",
    auto_class=AutoModelForQuestionAnswering,
    model_classes=MODEL_FOR_QUESTION_ANSWERING_MAPPING,
    fits=lambda config: config.num_labels == 2,
    num_outputs=2,
    answer="categorical",
    classes_vary=True,
    items_are_tokens=True,
    rows=QUESTION_ROWS,
    evaluation=QUESTION_EVALUATION,
    collator=RowCollator,
    hard_loss=_hard_loss,
    labelled_items=lambda batch: answer_ends(batch) != NO_LABEL,
    valid_items=_valid_items,
    read_logits=_read_logits,
    class_mask=lambda batch: both_ends(context(batch)),
    item_labels=answer_ends,
    loss_inputs=frozenset({"context_mask"}),
    has_label_names=False,
    align_labels=_check_answers,
)
