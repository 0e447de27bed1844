"""Figures of predictions and labels: intervals, fidelity, calibration."""

from distilnlp.metrics.calibration import expected_calibration_error
from distilnlp.metrics.fidelity import agreement, mean_kl
from distilnlp.metrics.intervals import Interval, Scorer, bootstrap_intervals, weighted_scorer
from distilnlp.metrics.prediction import predict_logits, predict_rows
from distilnlp.metrics.task import EvaluationTask

__all__ = [
    "EvaluationTask",
    "Interval",
    "Scorer",
    "agreement",
    "bootstrap_intervals",
    "expected_calibration_error",
    "mean_kl",
    "predict_logits",
    "predict_rows",
    "weighted_scorer",
]
