"""What an evaluation must know of a task. A new task is one more `EvaluationTask`; the report reads nothing else."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import EvalPrediction, PreTrainedConfig

from distilnlp.metrics.intervals import Scorer
from distilnlp.metrics.prediction import Rows

ComputeMetrics = Callable[[EvalPrediction], dict[str, float]]


@dataclass(frozen=True)
class EvaluationTask:
    """The parts of an evaluation that differ between tasks.

    What labels and predictions are, arrays or lists of them, is the task's own affair.

    Attributes:
        read_labels: `(examples, first model's config) -> labels`; raises where the model cannot be scored on them.
        predict: `(model, examples, collator, batch_size, owner) -> predictions`; raises where they are NaN or infinite,
            naming the owner.
        align: `(predictions, own config, first model's config) -> predictions` in the first model's label order.
        scores: `(predictions, labels) -> Scorer` of the metrics, the most telling one first, on what has a label.
        fidelity: `(student's predictions, reference's predictions) -> value` per measure.
        calibration_error: `(predictions, labels) -> value`; None where the task has no such thing.
        constant: `(labels) -> Scorer` of the best answer that is the same for every text, in one metric or more.
        constant_name: what that answer is.
        compute_metrics: `(config) -> ` what a Trainer calls with logits and labels; None where it cannot.
        training_metrics: `(config) -> ` the names of what that gives, the most telling one first.
        class_counts: `(labels, number of classes) -> ` how many items have each class; None where there are no classes.
        classes: `(predictions, labels) -> (answered classes, labelled classes)`, `[items]` each, of the items with a
            label; None where classes have no names.
        columns: columns of the rows that a batch needs beside the inputs of a model.
    """

    read_labels: Callable[[Rows, PreTrainedConfig], Any]
    predict: Callable[..., Any]
    align: Callable[[Any, PreTrainedConfig, PreTrainedConfig], Any]
    scores: Callable[[Any, Any], Scorer]
    fidelity: Mapping[str, Callable[[Any, Any], float]]
    calibration_error: Callable[[Any, Any], float] | None
    constant: Callable[[Any], Scorer]
    constant_name: str
    compute_metrics: Callable[[PreTrainedConfig], ComputeMetrics | None]
    training_metrics: Callable[[PreTrainedConfig], Sequence[str]]
    class_counts: Callable[[Any, int], NDArray] | None = None
    classes: Callable[[Any, Any], tuple[NDArray, NDArray]] | None = None
    columns: Sequence[str] = ()


def no_training_metrics(_config: PreTrainedConfig) -> None:
    """Return no metrics: those of the task need more than the logits and labels of a batch."""


def best_checkpoint_metric(task: EvaluationTask, config: PreTrainedConfig) -> str:
    """Return the name of the metric by which a training keeps its best checkpoint."""
    return next(iter(task.training_metrics(config)), "loss")


def trainer_logits(prediction: EvalPrediction) -> NDArray:
    """Return the logits of a Trainer's evaluation, which come alone or first in a tuple."""
    predictions = prediction.predictions
    return np.asarray(predictions[0] if isinstance(predictions, tuple) else predictions)


def training_values(scorer: Scorer) -> dict[str, float]:
    """Return the metrics for a Trainer, which compares them to find the best checkpoint: 0 where one is undefined."""
    return {name: 0.0 if np.isnan(value) else value for name, value in scorer.values().items()}
