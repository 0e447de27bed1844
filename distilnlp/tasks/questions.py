"""Extractive question answering: the start and the end of an answer are two items, their classes the positions."""

from typing import Any

import torch
from torch import Tensor
from transformers import MODEL_FOR_QUESTION_ANSWERING_MAPPING, AutoModelForQuestionAnswering

from distilnlp.data import QUESTION_ROWS
from distilnlp.evaluation import QUESTION_EVALUATION
from distilnlp.labels import NO_LABEL
from distilnlp.losses import cross_entropy
from distilnlp.signals import Batch, token_mask
from distilnlp.tasks.collators import RowCollator
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
)
