"""Measuring models side by side: quality, fidelity, calibration, size and speed.

`evaluate_models` measures, `summary_table` shows it; the parts can be called on their own.
"""

from distilnlp.evaluation.calibration import expected_calibration_error
from distilnlp.evaluation.fidelity import agreement, mean_kl
from distilnlp.evaluation.intervals import Interval, bootstrap_intervals
from distilnlp.evaluation.latency import Speed, SpeedPlan, measure_speed
from distilnlp.evaluation.metrics import (
    Accuracy,
    MacroF1,
    MatthewsCorrelation,
    classification_metrics,
    classification_scores,
    compute_classification_metrics,
)
from distilnlp.evaluation.prediction import predict_logits
from distilnlp.evaluation.report import ModelReport, evaluate_models
from distilnlp.evaluation.size import ModelSize, measure_size
from distilnlp.evaluation.table import summary_table, verdict
from distilnlp.evaluation.task import EVALUATION_TASKS, SINGLE_LABEL_EVALUATION, EvaluationTask

__all__ = [
    "EVALUATION_TASKS",
    "SINGLE_LABEL_EVALUATION",
    "Accuracy",
    "EvaluationTask",
    "Interval",
    "MacroF1",
    "MatthewsCorrelation",
    "ModelReport",
    "ModelSize",
    "Speed",
    "SpeedPlan",
    "agreement",
    "bootstrap_intervals",
    "classification_metrics",
    "classification_scores",
    "compute_classification_metrics",
    "evaluate_models",
    "expected_calibration_error",
    "mean_kl",
    "measure_size",
    "measure_speed",
    "predict_logits",
    "summary_table",
    "verdict",
]
