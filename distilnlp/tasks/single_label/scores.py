"""Single-label classification: a text is an item and has one class."""

from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from transformers import EvalPrediction, PreTrainedConfig

from distilnlp.metrics import Scorer, Scoring, agreement, count_ids, mean_gap, mean_kl, predict_logits, row_chunks
from distilnlp.metrics.label_reading import align_classes, check_label_ids, read_class_ids
from distilnlp.metrics.prediction import check_finite
from distilnlp.metrics.scoring import ComputeMetrics, trainer_logits
from distilnlp.signals import NO_LABEL
from distilnlp.tasks.single_label.metrics import Accuracy, MacroF1, MatthewsCorrelation, classification_metrics


def compute_classification_metrics(eval_prediction: EvalPrediction) -> dict[str, float]:
    """Score logits against label ids: pass it as `Trainer(compute_metrics=compute_classification_metrics)`.

    Args:
        eval_prediction: logits `[rows, classes]`, alone or first in a tuple, and label ids `[rows]`; rows whose label
            is -100 are left out.

    Returns:
        `accuracy`, `macro_f1` and `mcc`.

    Raises:
        DistillationError: no row has a label, a label is not a class of the logits, or a logit is NaN or infinite.
    """
    logits, labels = trainer_logits(eval_prediction), np.asarray(eval_prediction.label_ids)
    check_finite(logits)
    check_label_ids(labels, logits.shape[-1])

    labelled = labels != NO_LABEL
    results = classification_metrics().compute(predictions=logits[labelled].argmax(-1), references=labels[labelled])
    return {name: float(value) for name, value in results.items()}


def classification_scores(predictions: NDArray, labels: NDArray, num_classes: int) -> dict[str, NDArray]:
    """Compute the three metrics for many sets of rows at once, for the resampling of confidence intervals.

    Equal to scikit-learn's values, from three counts per class instead of a validated call per set; but the Matthews
    correlation of labels of a single class, with which nothing correlates, is NaN here. From class ids `[..., rows]`,
    all from 0 to `num_classes - 1`, come `accuracy`, `macro_f1` and `mcc`, each `[...]`.
    """
    rows = labels.shape[-1]
    labelled, predicted = count_ids(labels, num_classes), count_ids(predictions, num_classes)
    # Misses are counted as one more class, which is then dropped.
    hits = count_ids(np.where(predictions == labels, labels, num_classes), num_classes + 1)[..., :num_classes]
    occurring = labelled + predicted
    f1 = 2 * hits / np.maximum(occurring, 1)
    # Matthews correlation of several classes, Gorodkin 2004: covariances of the one-hot labels and predictions.
    covariance = rows * hits.sum(-1) - (labelled * predicted).sum(-1)
    of_labels = rows**2 - (labelled**2).sum(-1)
    variances = of_labels * (rows**2 - (predicted**2).sum(-1))
    mcc = np.where(variances > 0, covariance / np.sqrt(np.maximum(variances, 1)), 0.0)
    return {
        "accuracy": hits.sum(-1) / rows,
        "macro_f1": f1.sum(-1) / (occurring > 0).sum(-1),
        "mcc": np.where(of_labels > 0, mcc, np.nan),
    }


def softmax_confidences(logits: NDArray, labels: NDArray) -> tuple[NDArray, NDArray]:
    """Return how sure a model is of each row that has a label, and whether it is right there."""
    labelled = labels != NO_LABEL
    probabilities = softmax(logits[labelled].astype(np.float64), axis=-1)
    return probabilities.max(-1), probabilities.argmax(-1) == labels[labelled]


def answered_classes(predictions: NDArray, labels: NDArray) -> tuple[NDArray, NDArray]:
    """Return the answered and the labelled class ids of the rows with a label, from logits `[rows, classes]`."""
    labelled = labels != NO_LABEL
    return predictions.argmax(-1)[labelled], labels[labelled]


class ClassScoring(Scoring):
    """One class an item: logits `[rows, classes]` and class ids `[rows]`, -100 = none."""

    fidelity: ClassVar = {"agreement": agreement, "kl": mean_kl}
    answers = staticmethod(answered_classes)

    def constant(self, labels: NDArray) -> Scorer:
        """Return the scorer of one class for all rows, the one that most of them have."""
        known = labels[labels != NO_LABEL]
        return _scorer_of_ids(np.full_like(known, np.bincount(known).argmax()), known)

    def as_labels(self, predictions: NDArray, config: PreTrainedConfig) -> NDArray:
        return predictions.argmax(-1)

    def calibration_error(self, predictions: NDArray, labels: NDArray) -> float:
        return mean_gap(softmax_confidences(predictions[rows], labels[rows]) for rows in row_chunks(predictions))


class SingleLabelScoring(ClassScoring):
    """Single-label classification."""

    metrics = (Accuracy, MacroF1, MatthewsCorrelation)
    constant_name = "the most frequent class for every text"
    read_labels = staticmethod(read_class_ids)
    predict = staticmethod(predict_logits)
    align = staticmethod(align_classes)
    classes = staticmethod(answered_classes)

    def scores(self, predictions: NDArray, labels: NDArray) -> Scorer:
        return _scorer_of_ids(*answered_classes(predictions, labels))

    def class_counts(self, labels: NDArray, num_classes: int) -> NDArray:
        return np.bincount(labels[labels != NO_LABEL], minlength=num_classes)

    def compute_metrics(self, config: PreTrainedConfig) -> ComputeMetrics:
        return compute_classification_metrics


def _scorer_of_ids(predictions: NDArray, labels: NDArray) -> Scorer:
    # Classes that never occur count for nothing: numbered anew, thousands of classes cost no more than the rows.
    classes, ids = np.unique(np.concatenate([predictions, labels]), return_inverse=True)
    columns = tuple(np.split(ids, 2))
    return Scorer(partial(classification_scores, num_classes=len(classes)), columns, cells=len(classes))


SINGLE_LABEL_EVALUATION = SingleLabelScoring()
