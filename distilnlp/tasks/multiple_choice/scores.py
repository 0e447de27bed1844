"""Multiple choice: a question is an item, its classes are its choices, and questions may differ in their number."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedConfig, PreTrainedModel

from distilnlp.errors import DistillationError
from distilnlp.labels import label_of, marked_ids
from distilnlp.metrics import Scorer, check_label_ids, weighted_means, weighted_scorer
from distilnlp.metrics.prediction import Collator, Rows, check_finite, split_rows
from distilnlp.signals import Batch
from distilnlp.tasks.single_label.metrics import Accuracy
from distilnlp.tasks.single_label.scores import ClassScoring, answered_classes


class ChoiceScoring(ClassScoring):
    """Multiple choice: logits `[items, choices]`, −inf for choices that a row does not have."""

    metrics = (Accuracy,)
    constant_name = "the same choice for every question"

    def read_labels(self, examples: Rows, config: PreTrainedConfig) -> NDArray:
        """Return the index of the right choice of each row `[items]`, -100 where it is null or absent."""
        labels = np.asarray(marked_ids(map(label_of, examples)))
        counts = np.array([len(row["input_ids"]) for row in examples])
        check_label_ids(labels, int(counts.max()))
        outside = np.flatnonzero(labels >= counts)
        if len(outside):
            index = outside[0]
            raise DistillationError(
                f"expected a row's label to be one of its choices, but row {index} has {counts[index]} choices and the "
                f"label {labels[index]}. Number the choices of each row from 0."
            )
        return labels

    def predict(
        self, model: PreTrainedModel, examples: Rows, collator: Collator, batch_size: int = 32, owner: str = "the model"
    ) -> NDArray[np.float32]:
        rows = super().predict(model, examples, collator, batch_size, owner)
        logits = np.full((len(rows), max(map(len, rows))), -np.inf, dtype=np.float32)
        for index, row in enumerate(rows):
            logits[index, : len(row)] = row
        return logits

    def scores(self, predictions: NDArray, labels: NDArray) -> Scorer:
        answered, right = answered_classes(predictions, labels)
        return weighted_scorer(lambda weights: weighted_means(weights, {"accuracy": answered == right}), len(right))

    def read_outputs(self, outputs: Any, batch: Batch) -> list[NDArray]:
        mask = batch.get("choice_mask", torch.ones_like(outputs.logits)).bool()
        return split_rows(outputs.logits[mask], mask)

    def of_trainer(self, logits: NDArray, labels: NDArray, config: PreTrainedConfig) -> tuple[NDArray, NDArray]:
        check_finite(np.where(np.isneginf(logits), 0, logits))  # −inf: no such choice
        check_label_ids(labels, logits.shape[-1])
        return logits, labels


CHOICE_EVALUATION = ChoiceScoring()
