"""Multi-label classification: each label of a text is a decision of its own, and some may be unknown (NaN)."""

import logging
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import numpy as np
from datasets import Features, List, Value
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.special import expit, log_expit, logit
from transformers import PreTrainedConfig, PreTrainedModel

from distilnlp.errors import DistillationError
from distilnlp.metrics import Figure, Scorer, Scoring, TaskMetric, mean_gap, predict_logits, row_chunks, weighted_scorer
from distilnlp.metrics.fidelity import as_pair, mean_divergence
from distilnlp.metrics.intervals import ratio
from distilnlp.metrics.label_reading import align_classes, read_numbers, require_labelled
from distilnlp.metrics.prediction import Collator, Rows, check_finite
from distilnlp.signals import NO_LABEL
from distilnlp.tasks.multi_label.thresholds import THRESHOLDS, best_thresholds

logger = logging.getLogger(__name__)


class LabelSetMetrics(TaskMetric):
    """Micro-F1, macro-F1 and mean average precision of logits `[rows, labels]`; a unit is a text.

    The references are 0, 1 or NaN for what is left out. A label is predicted where its sigmoid is above 0.5, its logit
    above 0. F1 is 2·hits / (predicted + labelled), over all decisions (micro) or as the mean over the labels that occur
    (macro). mAP is the mean of the labels' average precisions, Σ (recall gained at a threshold · precision there), over
    the labels that hold somewhere. They are scikit-learn's values, which count labels that do not occur as 0 and warn.
    NaN where nothing is left to count.
    """

    figures = (
        Figure("micro_f1", "micro-F1", "no label holds or is predicted"),
        Figure("macro_f1", "macro-F1", "no label holds or is predicted"),
        Figure("map", "mAP", "no label holds for any row"),
    )
    inputs = Features({"predictions": List(Value("float64")), "references": List(Value("float64"))})

    @staticmethod
    def scorer(predictions: ArrayLike, references: ArrayLike) -> Scorer:
        logits, labels = _rows_with_labels(np.asarray(predictions), np.asarray(references))
        predicted, truth = (logits > 0) & ~np.isnan(labels), labels == 1
        counts = [csr_array(decisions, dtype=np.float64) for decisions in (predicted & truth, predicted, truth)]
        scores = partial(_scores, counts=counts, logits=logits, labels=labels)
        return weighted_scorer(scores, len(logits), cells=labels.shape[1])


def _checked(labels: NDArray, num_labels: int) -> NDArray[np.float64]:
    labels = np.where(labels == NO_LABEL, np.nan, labels)
    known = ~np.isnan(labels)
    if labels.ndim != 2 or labels.shape[1] != num_labels or not np.isin(labels[known], (0, 1)).all():
        raise DistillationError(
            f"expected labels of the shape [rows, {num_labels}] that are 0, 1 or NaN, but got the shape {labels.shape} "
            f"and values such as {np.unique(labels[known])[:5].tolist()}. Give each row one 0 or 1 for each label."
        )
    require_labelled(known.any(-1))
    return labels


def _rows_with_labels(*columns: NDArray) -> tuple[NDArray, ...]:
    """Return the rows with a known label, of columns whose last are the labels."""
    known = ~np.isnan(columns[-1]).all(-1)
    return columns if known.all() else tuple(column[known] for column in columns)


def _scores(weights: NDArray, counts: Sequence[csr_array], logits: NDArray, labels: NDArray) -> dict[str, NDArray]:
    """Score draws: weights `[..., rows]`, counts `[rows, labels]` of hits, predicted and labelled."""
    hits, predicted, labelled = ((matrix.T @ weights.T).T for matrix in counts)
    occurring = predicted + labelled
    held = np.unique(counts[2].indices)
    precisions = [average_precision(weights, logits[:, label], labels[:, label]) for label in held]
    return {
        "micro_f1": ratio(2 * hits.sum(-1), occurring.sum(-1)),
        "macro_f1": ratio(ratio(2 * hits, occurring, undefined=0).sum(-1), (occurring > 0).sum(-1)),
        "map": ratio(np.sum(precisions, axis=0), (labelled > 0).sum(-1)),
    }


def average_precision(weights: NDArray, scores: NDArray, labels: NDArray) -> NDArray:
    """Return Σ over the thresholds of (recall gained · precision); rows of equal score share a threshold.

    That is the mean, over the rows for which the label holds, of the precision among the rows of at least their score.
    A row counts `weights` times, `[..., rows]`; labels `[rows]` are 0, 1 or NaN for a row that is left out. The result
    is `[...]`, 0 where the label holds for no row that counts.
    """
    known = np.flatnonzero(~np.isnan(labels))
    order = known[np.argsort(-scores[known], kind="stable")]
    falling, positives = -scores[order], np.flatnonzero(labels[order] == 1)
    above = np.searchsorted(falling, falling[positives], side="right")  # rows of at least a positive's score
    drawn = weights.T[order[: above.max(initial=0)]]  # what is below every positive changes nothing
    chosen = drawn.cumsum(0)[above - 1]
    hits = drawn[positives].cumsum(0)[np.searchsorted(positives, above) - 1]
    return ratio((drawn[positives] * ratio(hits, chosen, 0)).sum(0), drawn[positives].sum(0), 0)


def label_agreement(student_logits: NDArray, reference_logits: NDArray) -> float:
    """Share of the decisions, one for each label of each row, that both models take alike."""
    student, reference = as_pair(student_logits, reference_logits)
    return float(((student > 0) == (reference > 0)).mean())


def bernoulli_kl(student_logits: NDArray, reference_logits: NDArray) -> float:
    """Mean over the decisions of KL(reference ‖ student) between their two outcomes, in nats."""
    student, reference = as_pair(student_logits, reference_logits)
    return mean_divergence(_bernoulli_kl(student[rows], reference[rows]) for rows in row_chunks(student))


def _bernoulli_kl(student: NDArray, reference: NDArray) -> NDArray:
    """Return the mean divergence of each row's decisions `[rows]`."""
    student, reference = student.astype(np.float64), reference.astype(np.float64)
    holds = expit(reference) * (log_expit(reference) - log_expit(student))
    fails = expit(-reference) * (log_expit(-reference) - log_expit(-student))
    return (holds + fails).mean(-1)


def _confidences(logits: NDArray, labels: NDArray) -> tuple[NDArray, NDArray]:
    known = ~np.isnan(labels)
    holds = expit(logits[known].astype(np.float64))
    return np.maximum(holds, 1 - holds), (holds > 1 - holds) == labels[known]


class MultiLabelScoring(Scoring):
    """Multi-label classification: logits `[rows, labels]`, labels `[rows, labels]` of 0, 1 or NaN."""

    metrics = (LabelSetMetrics,)
    constant_name = "the same labels for every text"
    fidelity: ClassVar = {"agreement": label_agreement, "kl": bernoulli_kl}
    predict = staticmethod(predict_logits)
    align = staticmethod(align_classes)

    def read_labels(self, examples: Rows, config: PreTrainedConfig) -> NDArray[np.float64]:
        """Return the labels, 1 where a label holds, 0 where not, NaN where that is unknown."""
        return _checked(read_numbers(examples, (config.num_labels or 0,)), config.num_labels or 0)

    def settle(self, model: PreTrainedModel, examples: Rows, collator: Collator) -> None:
        """Put into the config from which probability on each label is given when the student serves.

        The figures stay those of 0.5, by which models are compared everywhere.
        """
        labels = self.read_labels(examples, model.config)
        logits = predict_logits(model, examples, collator, owner="the thresholds")
        thresholds = best_thresholds(logits, labels)
        setattr(model.config, THRESHOLDS, [round(float(each), 4) for each in thresholds])
        shifted = logits - logit(thresholds)
        before, after = (self.scores(own, labels).values()["micro_f1"] for own in (logits, shifted))
        logger.info(
            "labels are served from a probability of %.2f to %.2f on: micro-F1 %.1f%%, from one half on %.1f%%, on the "
            "validation rows that chose it",
            thresholds.min(),
            thresholds.max(),
            100 * after,
            100 * before,
        )

    def constant(self, labels: NDArray) -> Scorer:
        """Return the scorer, of micro-F1 alone, of those labels for all rows that together have the highest.

        These are the most frequent ones, up to some number of them.
        """
        (labels,) = _rows_with_labels(labels)
        truth, known = labels == 1, ~np.isnan(labels)
        order = np.argsort(-ratio(truth.sum(0), known.sum(0), undefined=0), kind="stable")
        hits, predicted = (decisions.sum(0)[order].cumsum() for decisions in (truth, known))
        chosen = order[: 1 + (2 * hits / (predicted + truth.sum())).argmax()]
        counts = np.stack([truth[:, chosen].sum(-1), known[:, chosen].sum(-1), truth.sum(-1)], -1).astype(np.float64)

        def scores(weights: NDArray) -> dict[str, NDArray]:
            hits, predicted, labelled = np.moveaxis(weights @ counts, -1, 0)
            return {"micro_f1": ratio(2 * hits, predicted + labelled)}

        return weighted_scorer(scores, len(labels))

    def as_labels(self, predictions: NDArray, config: PreTrainedConfig) -> NDArray[np.float64]:
        return (predictions > 0).astype(np.float64)

    def calibration_error(self, predictions: NDArray, labels: NDArray) -> float:
        """Return that of the known decisions; the confidence of one is that of its likelier outcome."""
        return mean_gap(_confidences(predictions[rows], labels[rows]) for rows in row_chunks(predictions))

    def class_counts(self, labels: NDArray, num_classes: int) -> NDArray:
        """Count the rows for which each label holds."""
        return (labels == 1).sum(0)

    def answers(self, predictions: NDArray, labels: NDArray) -> tuple[NDArray, NDArray]:
        """Return the decisions, 0 or 1 for each label, of the rows whose labels are all known."""
        known = ~np.isnan(labels).any(-1)
        return (predictions[known] > 0).astype(int), labels[known].astype(int)

    def perfect_answers(self, config: PreTrainedConfig) -> tuple[NDArray, NDArray]:
        rows = np.eye(config.num_labels or 0, dtype=int)
        return rows, rows

    def of_trainer(self, logits: NDArray, labels: NDArray, config: PreTrainedConfig) -> tuple[NDArray, NDArray]:
        check_finite(logits)
        return logits, _checked(labels, logits.shape[-1])


MULTI_LABEL_EVALUATION = MultiLabelScoring()
