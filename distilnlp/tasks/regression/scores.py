"""Regression: a text has one score."""

from functools import partial
from typing import ClassVar

import numpy as np
from datasets import Features, Value
from numpy.typing import ArrayLike, NDArray
from transformers import PreTrainedConfig, PreTrainedModel

from distilnlp.errors import DistillationError
from distilnlp.metrics import Figure, Scorer, Scoring, TaskMetric, as_pair, predict_logits, ratio, weighted_scorer
from distilnlp.metrics.label_reading import read_numbers, require_labelled
from distilnlp.metrics.prediction import Collator, Rows, check_finite

# A spread below this share of the values is what rounding leaves of a constant, and has no correlation.
CONSTANT = 1e-12
NO_SPREAD = "the scores or the predictions are constant"


class Correlations(TaskMetric):
    """Pearson's and Spearman's correlation of values and targets `[rows]`, NaN targets left out.

    Both are NaN where one side is constant, which has no correlation.
    """

    figures = (
        Figure("pearson", "Pearson", NO_SPREAD, is_share=False),
        Figure("spearman", "Spearman", NO_SPREAD, is_share=False),
    )
    inputs = Features({"predictions": Value("float64"), "references": Value("float64")})

    @staticmethod
    def scorer(predictions: ArrayLike, references: ArrayLike) -> Scorer:
        values, targets = (np.asarray(column, dtype=np.float64) for column in (predictions, references))
        known = ~np.isnan(targets)
        scores = partial(_scores, values=values[known], targets=targets[known])
        return weighted_scorer(scores, int(known.sum()))


def _scores(weights: NDArray, values: NDArray, targets: NDArray) -> dict[str, NDArray]:
    ranks = [weighted_ranks(weights, column) for column in (values, targets)]
    return {
        "pearson": weighted_correlation(weights, values, targets),
        "spearman": weighted_correlation(weights, *ranks),
    }


def weighted_correlation(weights: NDArray, first: NDArray, second: NDArray) -> NDArray:
    """Return Pearson's correlation `[...]` of two columns `[..., units]` in which a unit counts `weights` times."""
    (first, first_spread), (second, second_spread) = (_standardised(weights, column) for column in (first, second))
    covariance = (weights * first * second).sum(-1) / weights.sum(-1)
    return ratio(covariance, first_spread * second_spread).clip(-1, 1)


def _standardised(weights: NDArray, column: NDArray) -> tuple[NDArray, NDArray]:
    """Return the column without its mean, and its spread, 0 if it is constant."""
    total = weights.sum(-1, keepdims=True)
    centred = column - (weights * column).sum(-1, keepdims=True) / total
    spread = np.sqrt((weights * centred**2).sum(-1) / total[..., 0])
    return centred, np.where(spread > CONSTANT * np.abs(column).max(-1), spread, 0)


def weighted_ranks(weights: NDArray, values: NDArray) -> NDArray:
    """Return the ranks `[..., units]` of values `[units]` that occur `weights` times each; ties share the mean."""
    _, value_of_unit, counts = np.unique(values, return_inverse=True, return_counts=True)
    by_value = weights[..., np.argsort(value_of_unit, kind="stable")]
    occurrences = np.add.reduceat(by_value, counts.cumsum() - counts, axis=-1)
    ranks = occurrences.cumsum(-1) - (occurrences - 1) / 2
    return ranks[..., value_of_unit]


def correlation(student: NDArray, reference: NDArray) -> float:
    """Pearson's correlation of the values of two models `[rows]`."""
    student, reference = as_pair(student, reference, ndim=1)
    columns = (values.astype(np.float64) for values in (student, reference))
    return float(weighted_correlation(np.ones(len(student)), *columns))


def absolute_difference(student: NDArray, reference: NDArray) -> float:
    """Mean absolute difference of the values of two models `[rows]`, in units of the target."""
    student, reference = as_pair(student, reference, ndim=1)
    return float(np.abs(student.astype(np.float64) - reference).mean())


class RegressionScoring(Scoring):
    """Regression: values and targets `[rows]`, NaN where there is no target."""

    metrics = (Correlations,)
    fidelity: ClassVar = {"correlation": correlation, "absolute_difference": absolute_difference}
    constant_name = "the mean score for every text"

    def read_labels(self, examples: Rows, config: PreTrainedConfig) -> NDArray[np.float64]:
        """Return the target of each row."""
        return _checked(read_numbers(examples, ()))

    def predict(
        self, model: PreTrainedModel, examples: Rows, collator: Collator, batch_size: int = 32, owner: str = "the model"
    ) -> NDArray[np.float32]:
        """Return a model's value for each row; raises where it has several outputs."""
        return _one_output(predict_logits(model, examples, collator, batch_size, owner), owner)

    def constant(self, labels: NDArray) -> Scorer:
        """Return the scorer of one value for all rows: it tells nothing of them, which is a correlation of 0."""
        known = int((~np.isnan(labels)).sum())
        return weighted_scorer(lambda weights: {"pearson": np.zeros(weights.shape[:-1])}, known)

    def as_labels(self, predictions: NDArray, config: PreTrainedConfig) -> NDArray[np.float64]:
        return predictions.astype(np.float64)

    def answers(self, predictions: NDArray, labels: NDArray) -> tuple[NDArray, NDArray]:
        known = ~np.isnan(labels)
        return predictions[known], labels[known]

    def perfect_answers(self, config: PreTrainedConfig) -> tuple[NDArray, NDArray]:
        return np.arange(3.0), np.arange(3.0)

    def of_trainer(self, logits: NDArray, labels: NDArray, config: PreTrainedConfig) -> tuple[NDArray, NDArray]:
        """Return values and targets `[rows]`, from logits `[rows, 1]` or `[rows]`."""
        values = _one_output(logits, "the model under evaluation")
        check_finite(values)
        return values, _checked(labels)


def _checked(targets: NDArray) -> NDArray:
    if targets.ndim != 1 or targets.dtype.kind not in "fiu" or np.isinf(targets).any():
        raise DistillationError(
            f"expected one finite number per row, but the labels have the type {targets.dtype} and the shape "
            f"{targets.shape}, or are infinite. Give each row one number; null or NaN marks a missing one."
        )
    require_labelled(~np.isnan(targets))
    return targets


def _one_output(logits: NDArray, owner: str) -> NDArray:
    if logits.ndim > 2 or (logits.ndim == 2 and logits.shape[1] != 1):
        raise DistillationError(
            f"expected a regression model with one output, but {owner} gave logits of the shape {logits.shape}. Load "
            "it with num_labels=1, or evaluate it as the classifier that it is."
        )
    return logits.reshape(-1)


REGRESSION_EVALUATION = RegressionScoring()
