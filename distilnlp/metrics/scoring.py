"""What an evaluation must know of a task. A new task is one more `Scoring`; the report reads nothing else of it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from transformers import EvalPrediction, PreTrainedConfig, PreTrainedModel

from distilnlp.metrics.figure import Figure
from distilnlp.metrics.intervals import Scorer
from distilnlp.metrics.module import TaskMetric
from distilnlp.metrics.prediction import Collator, Rows, predict_rows
from distilnlp.signals import Batch

Items = Sequence[Any] | NDArray
ComputeMetrics = Callable[[EvalPrediction], dict[str, float]]


class Scoring:
    """How a task is scored; its subclasses are in `tasks/*/scores.py`, one a task.

    What labels and predictions are, arrays or lists of them, is the task's own affair.
    """

    metrics: ClassVar[tuple[type[TaskMetric], ...]]  # modules of the figures, that of the primary one first
    fidelity: ClassVar[Mapping[str, Callable[[Any, Any], float]]]  # of (student's, reference's predictions), by measure
    constant_name: ClassVar[str]  # what the best answer is that is the same for every text
    columns: ClassVar[Sequence[str]] = ()  # columns of the rows that a batch needs beside the inputs of a model
    logits_tell: ClassVar[bool] = True  # logits and labels alone, which a Trainer has, give the figures

    @property
    def figures(self) -> tuple[Figure, ...]:
        """The figures of the metrics, the primary one first."""
        return tuple(figure for metric in self.metrics for figure in metric.figures)

    def read_labels(self, examples: Rows, config: PreTrainedConfig) -> Any:
        """Return the labels of tokenised rows, as the config of the first model means them.

        Raises:
            DistillationError: the model cannot be scored on them.
        """
        raise NotImplementedError

    def predict(
        self, model: PreTrainedModel, examples: Rows, collator: Collator, batch_size: int = 32, owner: str = "the model"
    ) -> Any:
        """Return a model's predictions for rows; see `predict_rows`.

        Raises:
            DistillationError: there are no rows, they lack a column, or a prediction is NaN or infinite.
        """
        options = {"columns": self.columns, "batch_size": batch_size, "around": self.around}
        return predict_rows(model, examples, collator, self.read_outputs, owner=owner, **options)

    def settle(self, model: PreTrainedModel, examples: Rows, collator: Collator) -> None:
        """Put into a model's config what its answers depend on and only held-out rows tell; nothing for most tasks."""

    def read_outputs(self, outputs: Any, batch: Batch) -> Items:
        """Return what is kept of a model's outputs: for each row of the batch an array, or a tuple of them."""
        raise NotImplementedError

    def around(self, model: PreTrainedModel, batch: Batch) -> AbstractContextManager[object]:
        """Return what a model runs in."""
        return nullcontext()

    def align(self, predictions: Any, own: PreTrainedConfig, first: PreTrainedConfig) -> Any:
        """Return a model's predictions in the label order of the first one; without label names they mean the same."""
        return predictions

    def scores(self, predictions: Any, labels: Any) -> Scorer:
        """Return the scorer of the figures, the primary one first, on what has a label."""
        return self.metrics[0].scorer(predictions, labels)

    def constant(self, labels: Any) -> Scorer:
        """Return the scorer, of one figure or more, of the best answer that is the same for every text."""
        raise NotImplementedError

    def as_labels(self, predictions: Any, config: PreTrainedConfig) -> Any:
        """Return what a model answers in the form of labels, for rows without any; the config is the first model's."""
        raise NotImplementedError

    def calibration_error(self, predictions: Any, labels: Any) -> float | None:
        """Return the calibration error; None where the task has no such thing."""
        return None

    def class_counts(self, labels: Any, num_classes: int) -> NDArray | None:
        """Return how many items have each class; None where there are no classes."""
        return None

    def classes(self, predictions: Any, labels: Any) -> tuple[NDArray, NDArray] | None:
        """Return the answered and the labelled classes `[items]` of what has a label; None where they have no names."""
        return None

    def answers(self, predictions: Any, labels: Any) -> tuple[Items, Items]:
        """Return what further `evaluate` modules are given, of what has a label: predictions and references."""
        raise NotImplementedError

    def perfect_answers(self, config: PreTrainedConfig) -> tuple[Items, Items]:
        """Return what `answers` gives of a perfect model, to try further `evaluate` modules with: here class ids."""
        ids = list(range(max(2, config.num_labels or 0)))
        return ids, ids

    def compute_metrics(self, config: PreTrainedConfig) -> ComputeMetrics | None:
        """Return what a Trainer calls with logits and labels; None where these do not tell enough.

        An undefined figure is 0 there: a Trainer compares them to find the best checkpoint.
        """

        def compute(prediction: EvalPrediction) -> dict[str, float]:
            pair = self.of_trainer(trainer_logits(prediction), np.asarray(prediction.label_ids), config)
            return {name: 0.0 if np.isnan(value) else value for name, value in self.scores(*pair).values().items()}

        return compute if self.logits_tell else None

    def of_trainer(self, logits: NDArray, labels: NDArray, config: PreTrainedConfig) -> tuple[Any, Any]:
        """Return the predictions and labels that `scores` reads, checked, from those of a Trainer's evaluation.

        Raises:
            DistillationError: the model cannot be scored on them, or a logit is NaN or infinite.
        """
        raise NotImplementedError

    def training_metrics(self, config: PreTrainedConfig) -> tuple[str, ...]:
        """Return the names of the figures that `compute_metrics` gives, the primary one first."""
        return tuple(figure.name for figure in self.figures) if self.compute_metrics(config) else ()


def trainer_logits(prediction: EvalPrediction) -> NDArray:
    """Return the logits of a Trainer's evaluation, which come alone or first in a tuple."""
    predictions = prediction.predictions
    return np.asarray(predictions[0] if isinstance(predictions, tuple) else predictions)
