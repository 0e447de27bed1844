"""Figures of predictions and labels: what they are, as `evaluate` modules, with intervals, fidelity and calibration."""

from distilnlp.metrics.calibration import expected_calibration_error
from distilnlp.metrics.extra import ExtraMetric, MetricConfig, load_metrics
from distilnlp.metrics.fidelity import agreement, mean_kl
from distilnlp.metrics.figure import ACCURACY, Figure
from distilnlp.metrics.intervals import Interval, Scorer, bootstrap_intervals, weighted_scorer
from distilnlp.metrics.module import TaskMetric
from distilnlp.metrics.prediction import predict_logits, predict_rows
from distilnlp.metrics.scoring import Scoring

__all__ = [
    "ACCURACY",
    "ExtraMetric",
    "Figure",
    "Interval",
    "MetricConfig",
    "Scorer",
    "Scoring",
    "TaskMetric",
    "agreement",
    "bootstrap_intervals",
    "expected_calibration_error",
    "load_metrics",
    "mean_kl",
    "predict_logits",
    "predict_rows",
    "weighted_scorer",
]
