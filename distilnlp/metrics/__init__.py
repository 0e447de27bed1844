"""Figures of predictions and labels: what they are, as `evaluate` modules, with intervals, fidelity and calibration."""

from distilnlp.metrics.calibration import expected_calibration_error, mean_gap
from distilnlp.metrics.chunks import row_chunks
from distilnlp.metrics.extra import ExtraMetric, MetricConfig, load_metrics
from distilnlp.metrics.fidelity import MEASURES, agreement, as_pair, mean_kl, same_share
from distilnlp.metrics.figure import ACCURACY, Figure, amount
from distilnlp.metrics.intervals import (
    Interval,
    Resampled,
    Scorer,
    bootstrap_intervals,
    count_ids,
    ratio,
    weighted_means,
    weighted_scorer,
)
from distilnlp.metrics.label_reading import check_label_ids, labels_agree
from distilnlp.metrics.module import TaskMetric
from distilnlp.metrics.prediction import Collator, Rows, per_model, predict_logits, predict_rows
from distilnlp.metrics.scoring import Scoring

__all__ = [
    "ACCURACY",
    "MEASURES",
    "Collator",
    "ExtraMetric",
    "Figure",
    "Interval",
    "MetricConfig",
    "Resampled",
    "Rows",
    "Scorer",
    "Scoring",
    "TaskMetric",
    "agreement",
    "amount",
    "as_pair",
    "bootstrap_intervals",
    "check_label_ids",
    "count_ids",
    "expected_calibration_error",
    "labels_agree",
    "load_metrics",
    "mean_gap",
    "mean_kl",
    "per_model",
    "predict_logits",
    "predict_rows",
    "ratio",
    "row_chunks",
    "same_share",
    "weighted_means",
    "weighted_scorer",
]
