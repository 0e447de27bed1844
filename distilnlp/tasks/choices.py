"""Multiple choice: a question is an item, its classes are the choices, each a text of its own."""

from typing import Any

import torch
from torch import Tensor
from transformers import (
    MODEL_FOR_MULTIPLE_CHOICE_MAPPING,
    AutoModelForMultipleChoice,
    PreTrainedTokenizerBase,
)

from distilnlp.data import CHOICE_ROWS
from distilnlp.evaluation import CHOICE_EVALUATION
from distilnlp.labels import LABEL_COLUMNS
from distilnlp.losses import cross_entropy
from distilnlp.signals import Batch
from distilnlp.tasks.collators import RowCollator, class_ids
from distilnlp.tasks.sequence import class_labels, rows_with_class
from distilnlp.tasks.task import Task, every_row


class ChoiceCollator:
    """Pads the choices of every row to one length, and gives every row as many choices as the longest has.

    Args:
        tokenizer: pads; None for choices that have one length already.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase | None) -> None:
        self.pad = RowCollator(tokenizer)

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Return tensors `[batch, choices, length]`, `choice_mask` `[batch, choices]`, perhaps `labels` `[batch]`."""
        counts = [len(row["input_ids"]) for row in rows]
        most = max(counts)
        texts = [text for row in rows for text in _choices(row, most)]
        batch = {name: value.unflatten(0, (len(rows), most)) for name, value in self.pad(texts).items()}
        batch["choice_mask"] = torch.arange(most) < torch.tensor(counts).unsqueeze(-1)
        if any(name in row for row in rows for name in LABEL_COLUMNS):
            batch["labels"] = class_ids(rows, 0)
        return batch


def _choices(row: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """Split a row into its choices; missing ones repeat the first, which they can thus never beat."""
    inputs = {name: value for name, value in row.items() if isinstance(value, list) and name not in LABEL_COLUMNS}
    own = len(row["input_ids"])
    return [{name: value[index if index < own else 0] for name, value in inputs.items()} for index in range(count)]


def choice_mask(batch: Batch) -> Tensor | None:
    """Bool `[batch, choices]`: which choices a row has; None = all."""
    return batch.get("choice_mask")


MULTIPLE_CHOICE = Task(
    name="multiple_choice",
    pipeline_tag="multiple-choice",
    auto_class=AutoModelForMultipleChoice,
    model_classes=MODEL_FOR_MULTIPLE_CHOICE_MAPPING,
    fits=lambda config: True,
    answer="categorical",
    classes_vary=True,
    rows=CHOICE_ROWS,
    evaluation=CHOICE_EVALUATION,
    collator=ChoiceCollator,
    hard_loss=lambda logits, batch, num_items: cross_entropy(logits, batch["labels"], num_items, choice_mask(batch)),
    labelled_items=rows_with_class,
    valid_items=every_row,
    class_mask=choice_mask,
    item_labels=class_labels,
    loss_inputs=frozenset({"choice_mask"}),
    num_classes=lambda config: 0,
    has_label_names=False,
)
