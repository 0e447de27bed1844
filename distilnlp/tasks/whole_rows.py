"""What the tasks share whose item is a whole row."""

import torch
from torch import Tensor
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoModelForSequenceClassification

from distilnlp.signals import NO_LABEL, Batch
from distilnlp.tasks.task import Task


def every_row(batch: Batch) -> Tensor:
    """Bool `[batch]`, all True."""
    first = next(iter(batch.values()))
    return torch.ones(first.shape[0], dtype=torch.bool, device=first.device)


class RowTask(Task):
    """A task whose item is a row: a text, a pair, or a question with its choices."""

    def valid_items(self, batch: Batch) -> Tensor:
        """Bool `[batch]`: every row."""
        return every_row(batch)

    def labelled_items(self, batch: Batch) -> Tensor:
        """Bool, of the shape of the labels: which are known. A batch without labels has none."""
        if "labels" not in batch:
            return ~every_row(batch)
        labels = batch["labels"]
        return labels != NO_LABEL if self.answer == "categorical" else ~labels.isnan()


class TextTask(RowTask):
    """A task whose item is a text, or a pair; `problem_type` tells its models apart from those of the others."""

    auto_class = AutoModelForSequenceClassification
    model_classes = MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    pipeline_tag = "text-classification"
    items_are_texts = True
