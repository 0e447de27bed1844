"""Regression: a text is an item, and has a score."""

from collections.abc import Sequence

import numpy as np
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedConfig

from distilnlp.errors import DistillationError
from distilnlp.labels import label_column
from distilnlp.losses import squared_error
from distilnlp.signals import Batch
from distilnlp.tasks.collators import scores
from distilnlp.tasks.column_checks import NUMBERS, columns_of, require_type
from distilnlp.tasks.regression.rows import LARGEST_SCORE, REGRESSION_ROWS
from distilnlp.tasks.regression.scores import REGRESSION_EVALUATION
from distilnlp.tasks.whole_rows import TextTask


class Regression(TextTask):
    """A score a text; labels are numbers `[batch]`, NaN = none."""

    name = "regression"
    problem_type = "regression"
    answer = "score"
    rows = REGRESSION_ROWS
    collate_labels = staticmethod(scores)
    evaluation = REGRESSION_EVALUATION
    num_outputs = 1
    pipeline_options = 'truncation=True, function_to_apply="none"'

    def fits(self, config: PreTrainedConfig) -> bool:
        return config.problem_type in (None, self.problem_type) and config.num_labels == 1

    def check_labels(self, dataset: Dataset, label_names: Sequence[str] | None, num_labels: int, split: str) -> None:
        """Refuse targets that are no numbers, or beyond float32."""
        column = label_column(dataset)
        if column is None:
            return
        require_type(dataset, column, NUMBERS, "one number a row", split)
        for batch in columns_of(dataset, column):
            values = batch[column].drop_null().to_numpy().astype(float)
            if len(beyond := values[np.abs(values) > LARGEST_SCORE]):
                raise DistillationError(
                    f"column {column!r} of the {split} data must hold finite float32 numbers (null or NaN = unknown), "
                    f"but it holds {beyond[:3].tolist()}. Correct or rescale them."
                )

    def hard_loss(self, logits: Tensor, batch: Batch, num_items: Tensor | int | None) -> Tensor:
        return squared_error(logits.squeeze(-1), batch["labels"].float(), num_items)


REGRESSION = Regression()
