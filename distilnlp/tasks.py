"""Tasks: what a head's logits mean. A new task is one more entry in `TASKS`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    default_data_collator,
)

from distilnlp.errors import DistillationError
from distilnlp.labels import LABEL_COLUMNS, NO_LABEL
from distilnlp.losses import cross_entropy, forward_kl
from distilnlp.signals import Batch


@dataclass(frozen=True)
class Task:
    """What is particular to one kind of head; the trainer and the recipes are written against this alone.

    Attributes:
        name: as recipes and messages call it.
        auto_class: loads a teacher or a student of this task.
        model_classes: the transformers mapping whose models have this head.
        problem_types: the values of `config.problem_type` that this task covers.
        collator: makes batches of tokenised rows, labels under `labels`.
        hard_loss: `(logits, labels, num_items) -> scalar`.
        soft_loss: `(student_logits, teacher_logits, temperature, mask, num_items) -> scalar`.
        labelled_items: which items of a batch have a label, bool, shaped like the labels.
        valid_items: which items of a batch the soft loss counts, bool, shaped like the logits without classes.
    """

    name: str
    auto_class: Any
    model_classes: Mapping[Any, Any]
    problem_types: tuple[str | None, ...]
    collator: Callable[[PreTrainedTokenizerBase | None], Callable[[list[dict[str, Any]]], dict[str, Tensor]]]
    hard_loss: Callable[[Tensor, Tensor, Tensor | int | None], Tensor]
    soft_loss: Callable[..., Tensor]
    labelled_items: Callable[[Batch], Tensor]
    valid_items: Callable[[Batch], Tensor]


class ClassificationCollator:
    """Pads rows to the longest of the batch; a row whose label is null gets the label -100.

    Args:
        tokenizer: pads; None for rows that have one length already.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase | None) -> None:
        self.tokenizer = tokenizer
        self.pad = default_data_collator if tokenizer is None else DataCollatorWithPadding(tokenizer)

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Return a batch of tensors `[batch, length]`, and `labels` `[batch]` if the rows have a label column."""
        inputs = [{name: value for name, value in row.items() if name not in LABEL_COLUMNS} for row in rows]
        batch = dict(self.pad(inputs))
        if any(name in row for row in rows for name in LABEL_COLUMNS):
            labels = [next((row[name] for name in LABEL_COLUMNS if name in row), None) for row in rows]
            batch["labels"] = torch.tensor([NO_LABEL if label is None else int(label) for label in labels])
        return batch


def rows_with_label(batch: Batch) -> Tensor:
    """Bool `[batch]`: True where the row has a label. A batch without labels has none."""
    if "labels" not in batch:
        return torch.zeros_like(every_row(batch))
    return batch["labels"] != NO_LABEL


def every_row(batch: Batch) -> Tensor:
    """Bool `[batch]`, all True: a whole text is one item."""
    first = next(iter(batch.values()))
    return torch.ones(first.shape[0], dtype=torch.bool, device=first.device)


SINGLE_LABEL_CLASSIFICATION = Task(
    name="single_label_classification",
    auto_class=AutoModelForSequenceClassification,
    model_classes=MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    problem_types=(None, "single_label_classification"),
    collator=ClassificationCollator,
    hard_loss=cross_entropy,
    soft_loss=forward_kl,
    labelled_items=rows_with_label,
    valid_items=every_row,
)

TASKS: dict[str, Task] = {task.name: task for task in (SINGLE_LABEL_CLASSIFICATION,)}


def task_of(model: PreTrainedModel) -> Task:
    """Return the task that a model's head is for.

    Raises:
        DistillationError: no task has such a head yet.
    """
    config: Any = getattr(model, "config", None)
    for task in TASKS.values():
        has_head = config is not None and type(model) in task.model_classes.values()
        if has_head and config.problem_type in task.problem_types and config.num_labels > 1:
            return task
    raise DistillationError(
        f"the tasks that can be distilled are {sorted(TASKS)}, but this model is a {type(model).__name__} with "
        f"problem_type={getattr(config, 'problem_type', None)!r} and {getattr(config, 'num_labels', 0)} label(s). Use "
        "a model of the class AutoModelForSequenceClassification with two labels or more."
    )
