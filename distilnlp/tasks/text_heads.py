"""Tasks whose item is a whole text, or a pair: one class, several labels, or a score."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from torch import Tensor
from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, AutoModelForSequenceClassification

from distilnlp.errors import DistillationError
from distilnlp.labels import align_dataset_labels, label_column
from distilnlp.losses import binary_cross_entropy, cross_entropy, squared_error
from distilnlp.signals import Batch
from distilnlp.signals.names import NO_LABEL
from distilnlp.tasks.checks import NUMBERS, columns_of, require_type
from distilnlp.tasks.collators import RowCollator, class_ids, decisions, scores
from distilnlp.tasks.multi_label.rows import MULTI_LABEL_ROWS
from distilnlp.tasks.multi_label.scores import MULTI_LABEL_EVALUATION
from distilnlp.tasks.regression.rows import REGRESSION_ROWS
from distilnlp.tasks.regression.scores import REGRESSION_EVALUATION
from distilnlp.tasks.single_label.rows import SINGLE_LABEL_ROWS
from distilnlp.tasks.single_label.scores import SINGLE_LABEL_EVALUATION
from distilnlp.tasks.task import Task, every_row, no_row

SEQUENCE_CLASSIFIER: dict[str, Any] = {
    "auto_class": AutoModelForSequenceClassification,
    "model_classes": MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    "pipeline_tag": "text-classification",
}
MOST = np.finfo(np.float32).max  # of a score


def rows_with_class(batch: Batch) -> Tensor:
    """Bool `[batch]`: True where the row has a class. A batch without labels has none."""
    return batch["labels"] != NO_LABEL if "labels" in batch else no_row(batch)


def rows_with_score(batch: Batch) -> Tensor:
    """Bool `[batch]`: True where the row has a score. A batch without labels has none."""
    return ~batch["labels"].isnan() if "labels" in batch else no_row(batch)


def class_labels(batch: Batch) -> Tensor | None:
    """Class ids `[batch]`, -100 = none; None for a batch without labels."""
    return batch.get("labels")


def two_classes(logits: Tensor) -> Tensor:
    """Return yes-or-no logits `[batch, labels]` as `[batch, labels, 2]`: softmax of (z, 0) is the sigmoid of z."""
    return torch.stack([logits, torch.zeros_like(logits)], dim=-1)


SINGLE_LABEL_CLASSIFICATION = Task(
    name="single_label_classification",
    problem_type="single_label_classification",
    fits=lambda config: config.problem_type in (None, "single_label_classification") and config.num_labels > 1,
    answer="categorical",
    rows=SINGLE_LABEL_ROWS,
    evaluation=SINGLE_LABEL_EVALUATION,
    collator=lambda tokenizer: RowCollator(tokenizer, class_ids),
    hard_loss=lambda logits, batch, num_items: cross_entropy(logits, batch["labels"], num_items),
    labelled_items=rows_with_class,
    valid_items=every_row,
    item_labels=class_labels,
    align_labels=align_dataset_labels,
    **SEQUENCE_CLASSIFIER,
)


def _check_decisions(dataset: Any, _names: Sequence[str] | None, num_labels: int, split: str) -> Any:
    """Refuse targets that are not one 0 or 1 for each label."""
    column = label_column(dataset)
    if column is None:
        return dataset
    expected = f"{num_labels} targets a row, each 0 or 1 (null or NaN = unknown)"
    require_type(dataset, column, NUMBERS, expected, split, depth=1)
    for batch in columns_of(dataset, column):
        lists = batch[column].drop_null()
        widths = pc.unique(pc.list_value_length(lists)).to_pylist()
        values = pc.unique(pc.list_flatten(lists)).to_numpy(zero_copy_only=False).astype(float)
        wrong = values[~np.isnan(values) & ~np.isin(values, (0, 1, NO_LABEL))]
        if any(width != num_labels for width in widths) or len(wrong):
            raise DistillationError(
                f"column {column!r} of the {split} data must hold {expected}, but there are rows of {widths} targets"
                + (f" and the targets {wrong[:3].tolist()}" if len(wrong) else "")
                + ". Encode each row as one 0 or 1 for each label, in the order of the model's id2label."
            )
    return dataset


def _check_scores(dataset: Any, _names: Sequence[str] | None, _num_labels: int, split: str) -> Any:
    """Refuse targets that are no numbers, or beyond float32."""
    column = label_column(dataset)
    if column is None:
        return dataset
    require_type(dataset, column, NUMBERS, "one number a row", split)
    for batch in columns_of(dataset, column):
        values = batch[column].drop_null().to_numpy().astype(float)
        beyond = values[np.abs(values) > MOST]
        if len(beyond):
            raise DistillationError(
                f"column {column!r} of the {split} data must hold finite float32 numbers (null or NaN = unknown), but "
                f"it holds {beyond[:3].tolist()}. Correct or rescale them."
            )
    return dataset


def _decision_loss(logits: Tensor, batch: Batch, num_items: Tensor | int | None) -> Tensor:
    targets = batch["labels"].float()
    if targets.shape != logits.shape:
        if not targets.isnan().all():
            raise DistillationError(
                f"every row needs one 0 or 1 for each of the model's {logits.shape[-1]} labels, but the rows have "
                f"{targets.shape[-1]}. Encode them in the order of the model's id2label."
            )
        targets = targets.new_full(logits.shape, math.nan)  # where every row's label is null, it is one NaN wide
    return binary_cross_entropy(logits, targets, num_items)


MULTI_LABEL_CLASSIFICATION = Task(
    name="multi_label_classification",
    problem_type="multi_label_classification",
    fits=lambda config: config.problem_type == "multi_label_classification",
    answer="binary",
    rows=MULTI_LABEL_ROWS,
    evaluation=MULTI_LABEL_EVALUATION,
    collator=lambda tokenizer: RowCollator(tokenizer, decisions),
    hard_loss=_decision_loss,
    labelled_items=rows_with_score,  # single labels may be unknown: each decision counts
    valid_items=every_row,
    item_logits=two_classes,
    align_labels=_check_decisions,
    **SEQUENCE_CLASSIFIER,
)

REGRESSION = Task(
    name="regression",
    problem_type="regression",
    fits=lambda config: config.problem_type in (None, "regression") and config.num_labels == 1,
    num_outputs=1,
    answer="score",
    rows=REGRESSION_ROWS,
    evaluation=REGRESSION_EVALUATION,
    collator=lambda tokenizer: RowCollator(tokenizer, scores),
    hard_loss=lambda logits, batch, num_items: squared_error(logits.squeeze(-1), batch["labels"].float(), num_items),
    labelled_items=rows_with_score,
    valid_items=every_row,
    has_label_names=False,
    align_labels=_check_scores,
    **SEQUENCE_CLASSIFIER,
)
