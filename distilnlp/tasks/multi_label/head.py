"""Multi-label classification: a text is an item, and each label of it a decision of its own."""

import math
from collections.abc import Sequence

import numpy as np
import pyarrow.compute as pc
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedConfig

from distilnlp.errors import DistillationError
from distilnlp.labels import label_column
from distilnlp.losses import binary_cross_entropy
from distilnlp.signals import NO_LABEL, Batch
from distilnlp.tasks.collators import decisions
from distilnlp.tasks.column_checks import NUMBERS, columns_of, require_type
from distilnlp.tasks.multi_label.rows import MULTI_LABEL_ROWS
from distilnlp.tasks.multi_label.scores import MULTI_LABEL_EVALUATION
from distilnlp.tasks.whole_rows import TextTask


class MultiLabelClassification(TextTask):
    """Any number of labels a text; labels are 0 or 1 `[batch, labels]`, NaN = unknown: each decision counts."""

    name = "multi_label_classification"
    problem_type = "multi_label_classification"
    answer = "binary"
    rows = MULTI_LABEL_ROWS
    collate_labels = staticmethod(decisions)
    evaluation = MULTI_LABEL_EVALUATION
    pipeline_options = 'truncation=True, top_k=None, function_to_apply="sigmoid"'

    def fits(self, config: PreTrainedConfig) -> bool:
        return config.problem_type == self.problem_type

    def check_labels(self, dataset: Dataset, label_names: Sequence[str] | None, num_labels: int, split: str) -> None:
        """Refuse targets that are not one 0 or 1 for each label."""
        column = label_column(dataset)
        if column is None:
            return
        expected = f"{num_labels} targets a row, each 0 or 1 (null or NaN = unknown)"
        require_type(dataset, column, NUMBERS, expected, split, depth=1)
        for batch in columns_of(dataset, column):
            lists = batch[column].drop_null()
            widths = pc.unique(pc.list_value_length(lists)).to_pylist()
            values = pc.unique(pc.list_flatten(lists)).to_numpy(zero_copy_only=False).astype(float)
            wrong = values[~np.isnan(values) & ~np.isin(values, (0, 1, NO_LABEL))]
            if any(width != num_labels for width in widths) or len(wrong):
                raise DistillationError(
                    f"column {column!r} of the {split} data must hold {expected}, but there are rows of {widths} "
                    f"targets{f' and the targets {wrong[:3].tolist()}' * (len(wrong) > 0)}. Encode each row as one 0 "
                    "or 1 for each label, in the order of the model's id2label."
                )

    def item_logits(self, logits: Tensor) -> Tensor:
        """Return yes-or-no logits `[batch, labels]` as `[batch, labels, 2]`: softmax of (z, 0) is the sigmoid of z."""
        return torch.stack([logits, torch.zeros_like(logits)], dim=-1)

    def hard_loss(self, logits: Tensor, batch: Batch, num_items: Tensor | int | None) -> Tensor:
        targets = batch["labels"].float()
        if targets.shape != logits.shape:
            if not targets.isnan().all():
                raise DistillationError(
                    f"every row needs one 0 or 1 for each of the model's {logits.shape[-1]} labels, but the rows have "
                    f"{targets.shape[-1]}. Encode them in the order of the model's id2label."
                )
            targets = targets.new_full(logits.shape, math.nan)  # where every row's label is null, it is one NaN wide
        return binary_cross_entropy(logits, targets, num_items)


MULTI_LABEL_CLASSIFICATION = MultiLabelClassification()
