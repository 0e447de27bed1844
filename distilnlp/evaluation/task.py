"""What an evaluation must know of a task. A new task is one more `EvaluationTask`; the report reads nothing else."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from transformers import PreTrainedConfig

from distilnlp.errors import DistillationError
from distilnlp.evaluation.calibration import expected_calibration_error
from distilnlp.evaluation.fidelity import agreement, mean_kl
from distilnlp.evaluation.intervals import Interval, bootstrap_intervals
from distilnlp.evaluation.metrics import check_label_ids, classification_scores
from distilnlp.evaluation.prediction import Example, predict_logits
from distilnlp.labels import LABEL_COLUMNS, NO_LABEL, label_order
from distilnlp.signals import label_names_of


@dataclass(frozen=True)
class EvaluationTask:
    """The parts of an evaluation that differ between tasks.

    Attributes:
        read_labels: `(examples, first model's config) -> labels`; raises where the model cannot be scored on them.
        predict: `(model, examples, collator, batch_size, description) -> logits`, one row per label.
        align: `(logits, own config, first model's config) -> logits` in the first model's label order.
        scores: `(logits, labels, resamples, seed) -> Interval` per metric, the most telling metric first.
        fidelity: `(student_logits, reference_logits) -> value` per measure.
        calibration_error: `(logits, labels) -> value`; None where the task has no such thing.
    """

    read_labels: Callable[[Sequence[Example], PreTrainedConfig], NDArray]
    predict: Callable[..., NDArray]
    align: Callable[[NDArray, PreTrainedConfig, PreTrainedConfig], NDArray]
    scores: Callable[[NDArray, NDArray, int, int], dict[str, Interval]]
    fidelity: Mapping[str, Callable[[NDArray, NDArray], float]]
    calibration_error: Callable[[NDArray, NDArray], float] | None


def read_class_ids(examples: Sequence[Example], config: PreTrainedConfig) -> NDArray:
    """Return the label ids `[items]` of the examples, -100 where a label is null or absent.

    Raises:
        DistillationError: no row has a label, or a label is not a class id of the model.
    """
    values = [next((row[name] for name in LABEL_COLUMNS if name in row), None) for row in examples]
    labels = np.asarray([NO_LABEL if value is None else value for value in values])
    check_label_ids(labels, config.num_labels or 0)
    return labels


def align_classes(logits: NDArray, own: PreTrainedConfig, first: PreTrainedConfig) -> NDArray:
    """Return logits `[items, classes]` with the classes in the order of the first model.

    A config without label names, only `LABEL_0`, `LABEL_1`…, is taken to be in that order already.

    Raises:
        DistillationError: the two models do not have the same labels.
    """
    own_names, names = label_names_of(own), label_names_of(first)
    if own.num_labels != first.num_labels:
        raise DistillationError(
            f"expected models with the same labels, but the first has {first.num_labels} and another has "
            f"{own.num_labels}. Evaluate models of one task together."
        )
    if own_names is None or names is None:
        return logits
    order = label_order(own_names, names, "one model", "the first model")
    return logits if order is None else logits[:, order]


def _classification_intervals(logits: NDArray, labels: NDArray, resamples: int, seed: int) -> dict[str, Interval]:
    labelled = labels != NO_LABEL
    scores = partial(classification_scores, num_classes=logits.shape[-1])
    return bootstrap_intervals(scores, logits[labelled].argmax(-1), labels[labelled], resamples=resamples, seed=seed)


def _classification_calibration(logits: NDArray, labels: NDArray) -> float:
    labelled = labels != NO_LABEL
    return expected_calibration_error(softmax(logits[labelled].astype(np.float64), axis=-1), labels[labelled])


SINGLE_LABEL_EVALUATION = EvaluationTask(
    read_labels=read_class_ids,
    predict=predict_logits,
    align=align_classes,
    scores=_classification_intervals,
    fidelity={"agreement": agreement, "kl": mean_kl},
    calibration_error=_classification_calibration,
)

# By the name of the task in `distilnlp.tasks`.
EVALUATION_TASKS = {"single_label_classification": SINGLE_LABEL_EVALUATION}
