"""Metrics of single-label classification, as `evaluate` modules defined here: nothing is fetched or written."""

import warnings
from typing import Any

import evaluate
import numpy as np
from datasets import Features, Value
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef
from transformers import EvalPrediction

from distilnlp.errors import DistillationError
from distilnlp.labels import NO_LABEL


class _LocalMetric(evaluate.Metric):
    """An `evaluate` metric over class ids that stays in memory.

    Without `keep_in_memory`, evaluate writes predictions to one file of the user's cache that all processes share by
    name, so two runs at once wait for each other's lock.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"keep_in_memory": True, **options})

    def _build_data_dir(self) -> str:
        # evaluate makes a cache folder even for data in memory, which fails where the home folder is read-only.
        return str(self._data_dir_root) if self.keep_in_memory else super()._build_data_dir()

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=type(self).__doc__,
            citation="",
            features=Features({"predictions": Value("int64"), "references": Value("int64")}),
        )


class Accuracy(_LocalMetric):
    """Share of rows whose predicted class is the labelled one; result key `accuracy`."""

    def _compute(self, *, predictions: Any, references: Any) -> dict[str, float]:
        return {"accuracy": float(accuracy_score(references, predictions))}


class MacroF1(_LocalMetric):
    """Mean of the classes' F1, over the classes that occur in labels or predictions; result key `macro_f1`."""

    def _compute(self, *, predictions: Any, references: Any) -> dict[str, float]:
        return {"macro_f1": float(f1_score(references, predictions, average="macro", zero_division=0))}


class MatthewsCorrelation(_LocalMetric):
    """Matthews correlation, from -1 to 1, 0 for a constant prediction or a single class; result key `mcc`."""

    def _compute(self, *, predictions: Any, references: Any) -> dict[str, float]:
        with warnings.catch_warnings():
            # scikit-learn warns about the shape of a matrix that the user never sees when all rows have one class.
            warnings.filterwarnings("ignore", message="A single label was found", category=UserWarning)
            return {"mcc": float(matthews_corrcoef(references, predictions))}


def classification_metrics() -> evaluate.CombinedEvaluations:
    """Return accuracy, macro-F1 and Matthews correlation as one `evaluate` module.

    `classification_metrics().compute(predictions=ids, references=ids)` gives `accuracy`, `macro_f1` and `mcc`.
    """
    return evaluate.combine([Accuracy(), MacroF1(), MatthewsCorrelation()])


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
    predictions = eval_prediction.predictions
    logits = np.asarray(predictions[0] if isinstance(predictions, tuple) else predictions)
    labels = np.asarray(eval_prediction.label_ids)
    check_finite(logits, "the model under evaluation")
    check_label_ids(labels, logits.shape[-1])
    labelled = labels != NO_LABEL
    results = classification_metrics().compute(predictions=logits[labelled].argmax(-1), references=labels[labelled])
    return {name: float(value) for name, value in results.items()}


def classification_scores(predictions: NDArray, labels: NDArray, num_classes: int) -> dict[str, NDArray]:
    """Compute the three metrics for many sets of rows at once, for the resampling of confidence intervals.

    Equal to scikit-learn's values, from three counts per class instead of a validated call per set.

    Args:
        predictions: class ids `[..., rows]`.
        labels: class ids `[..., rows]`, all from 0 to `num_classes - 1`.
        num_classes: number of classes.

    Returns:
        `accuracy`, `macro_f1` and `mcc`, each `[...]`.
    """
    rows = labels.shape[-1]
    labelled, predicted = _count_ids(labels, num_classes), _count_ids(predictions, num_classes)
    # Misses are counted as one more class, which is then dropped.
    hits = _count_ids(np.where(predictions == labels, labels, num_classes), num_classes + 1)[..., :num_classes]
    occurring = labelled + predicted
    f1 = 2 * hits / np.maximum(occurring, 1)
    # Matthews correlation of several classes, Gorodkin 2004: covariances of the one-hot labels and predictions.
    covariance = rows * hits.sum(-1) - (labelled * predicted).sum(-1)
    variances = (rows**2 - (labelled**2).sum(-1)) * (rows**2 - (predicted**2).sum(-1))
    return {
        "accuracy": hits.sum(-1) / rows,
        "macro_f1": f1.sum(-1) / (occurring > 0).sum(-1),
        "mcc": np.where(variances > 0, covariance / np.sqrt(np.maximum(variances, 1)), 0.0),
    }


def _count_ids(ids: NDArray, num_ids: int) -> NDArray:
    """Count the ids of each set: `[..., rows]` to `[..., num_ids]`, in float64 so that products cannot overflow."""
    sets = ids.reshape(-1, ids.shape[-1])
    offsets = num_ids * np.arange(len(sets))[:, None]
    counts = np.bincount((sets + offsets).ravel(), minlength=num_ids * len(sets))
    return counts.reshape(*ids.shape[:-1], num_ids).astype(np.float64)


def check_finite(logits: NDArray, owner: str) -> None:
    """Refuse logits `[items, ...]` that are NaN or infinite: their argmax would be class 0 without a word."""
    broken = ~np.isfinite(logits).reshape(len(logits), -1).all(-1)
    if broken.any():
        raise DistillationError(
            f"expected finite logits, but {owner} gave NaN or infinite ones for {broken.sum()} of {len(logits)} rows, "
            f"first for row {broken.argmax()}. Evaluate it in float32 if it runs in half precision; otherwise its "
            "training diverged: take an earlier checkpoint."
        )


def check_label_ids(labels: NDArray, num_classes: int) -> None:
    """Refuse labels `[rows]` that are not class ids, that the model has no class for, or that are all missing."""
    if labels.ndim != 1 or labels.dtype.kind not in "iub":
        raise DistillationError(
            f"expected one class id per row, but the labels have the type {labels.dtype} and the shape {labels.shape}. "
            "Encode each label as one whole number, for instance with the dataset's `class_encode_column`."
        )
    known = labels[labels != NO_LABEL]
    if not len(known):
        raise DistillationError(
            f"expected labelled rows to evaluate on, but none of the {len(labels)} rows has a label. Name an "
            "evaluation split whose rows have labels."
        )
    outside = np.unique(known[(known < 0) | (known >= num_classes)])
    if len(outside):
        raise DistillationError(
            f"expected label ids from 0 to {num_classes - 1}, but the rows hold {outside[:5].tolist()}. Evaluate on "
            "data with the model's own labels, or load the model with as many labels as the data has."
        )
