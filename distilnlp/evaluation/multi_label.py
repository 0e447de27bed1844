"""Multi-label classification: each label of a text is a decision of its own, and some may be unknown (NaN)."""

from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, log_expit
from transformers import EvalPrediction, PreTrainedConfig

from distilnlp.errors import DistillationError
from distilnlp.evaluation.calibration import expected_calibration_error
from distilnlp.evaluation.fidelity import as_pair
from distilnlp.evaluation.intervals import Scorer, ratio, weighted_scorer
from distilnlp.evaluation.labels import align_classes, read_numbers, require_labelled
from distilnlp.evaluation.prediction import Rows, check_finite, predict_logits
from distilnlp.evaluation.task import EvaluationTask, trainer_logits
from distilnlp.labels import NO_LABEL


def read_label_sets(examples: Rows, config: PreTrainedConfig) -> NDArray[np.float64]:
    """Return the labels `[items, labels]`, 1 where a label holds, 0 where not, NaN where that is unknown.

    Raises:
        DistillationError: no entry is known, a row has another number of entries, or one is neither 0 nor 1.
    """
    return _checked(read_numbers(examples, (config.num_labels or 0,)), config.num_labels or 0)


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


def multi_label_scorer(logits: NDArray, labels: NDArray) -> Scorer:
    """Return the scorer of micro-F1, macro-F1 and mean average precision; a unit is a text.

    A label is predicted where its sigmoid is above 0.5, its logit above 0. F1 is 2·hits / (predicted + labelled), over
    all decisions (micro) or as the mean over the labels that occur (macro). mAP is the mean of the labels' average
    precisions, Σ (recall gained at a threshold · precision there), over the labels that hold somewhere. They are
    scikit-learn's values, which count labels that do not occur as 0 and warn.

    Args:
        logits: `[rows, labels]`.
        labels: `[rows, labels]`, 0, 1 or NaN for what is left out.
    """
    rows = ~np.isnan(labels).all(-1)
    logits, labels = logits[rows], labels[rows]
    truth, predicted = labels == 1, (logits > 0) & ~np.isnan(labels)
    counts = np.stack([truth & predicted, predicted, truth], axis=-1).astype(np.float64)
    return weighted_scorer(partial(_scores, counts=counts, logits=logits, labels=labels), len(logits))


def _scores(weights: NDArray, counts: NDArray, logits: NDArray, labels: NDArray) -> dict[str, NDArray]:
    """Score draws: weights `[..., rows]`, counts `[rows, labels, 3]` of hits, predicted and labelled."""
    flat = weights @ counts.reshape(len(counts), -1)
    hits, predicted, labelled = np.moveaxis(flat.reshape(*weights.shape[:-1], *counts.shape[1:]), -1, 0)
    occurring = predicted + labelled
    precisions = [average_precision(weights, *columns) for columns in zip(logits.T, labels.T, strict=True)]
    return {
        "micro_f1": ratio(2 * hits.sum(-1), occurring.sum(-1)),
        "macro_f1": ratio(ratio(2 * hits, occurring).sum(-1), (occurring > 0).sum(-1)),
        "map": ratio(np.sum(precisions, axis=0), (labelled > 0).sum(-1)),
    }


def average_precision(weights: NDArray, scores: NDArray, labels: NDArray) -> NDArray:
    """Return Σ over the thresholds of (recall gained · precision); rows of equal score share a threshold.

    That is the mean, over the rows for which the label holds, of the precision among the rows of at least their score.

    Args:
        weights: how often each row counts, `[..., rows]`.
        scores: `[rows]`.
        labels: `[rows]`, 0, 1 or NaN for a row that is left out.

    Returns:
        `[...]`; 0 where the label holds for no row that counts.
    """
    known = np.flatnonzero(~np.isnan(labels))
    order = known[np.argsort(-scores[known], kind="stable")]
    falling, positives = -scores[order], np.flatnonzero(labels[order] == 1)
    drawn = weights.T[order]
    above = np.searchsorted(falling, falling[positives], side="right")  # rows of at least a positive's score
    chosen = drawn.cumsum(0)[above - 1]
    hits = drawn[positives].cumsum(0)[np.searchsorted(positives, above) - 1]
    return ratio((drawn[positives] * ratio(hits, chosen)).sum(0), drawn[positives].sum(0))


def compute_multi_label_metrics(eval_prediction: EvalPrediction) -> dict[str, float]:
    """Score logits `[rows, labels]` against labels `[rows, labels]` of 0, 1 or NaN, for a Trainer.

    Returns:
        `micro_f1`, `macro_f1` and `map`.

    Raises:
        DistillationError: no label is known or one is neither 0 nor 1, or a logit is NaN or infinite.
    """
    logits = trainer_logits(eval_prediction)
    check_finite(logits, "the model under evaluation")
    labels = _checked(np.asarray(eval_prediction.label_ids), logits.shape[-1])
    return multi_label_scorer(logits, labels).values()


def label_agreement(student_logits: NDArray, reference_logits: NDArray) -> float:
    """Share of the decisions, one for each label of each row, that both models take alike."""
    student, reference = as_pair(student_logits, reference_logits)
    return float(((student > 0) == (reference > 0)).mean())


def bernoulli_kl(student_logits: NDArray, reference_logits: NDArray) -> float:
    """Mean over the decisions of KL(reference ‖ student) between their two outcomes, in nats."""
    student, reference = as_pair(student_logits, reference_logits)
    holds = expit(reference) * (log_expit(reference) - log_expit(student))
    fails = expit(-reference) * (log_expit(-reference) - log_expit(-student))
    return max(0.0, float((holds + fails).mean()))  # rounding can bring equal models a hair below zero


def decision_calibration(logits: NDArray, labels: NDArray) -> float:
    """Return the calibration error over the known decisions; the confidence of one is that of its likelier outcome."""
    known = ~np.isnan(labels)
    holds = expit(logits[known].astype(np.float64))
    return expected_calibration_error(np.stack([1 - holds, holds], axis=-1), labels[known])


MULTI_LABEL_EVALUATION = EvaluationTask(
    read_labels=read_label_sets,
    predict=predict_logits,
    align=align_classes,
    scores=multi_label_scorer,
    fidelity={"agreement": label_agreement, "kl": bernoulli_kl},
    calibration_error=decision_calibration,
    compute_metrics=lambda config: compute_multi_label_metrics,
    training_metrics=lambda config: ("micro_f1", "macro_f1", "map"),
)
