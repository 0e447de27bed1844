"""Measuring models side by side: quality, fidelity, calibration, size and speed.

`evaluate_models` measures, `summary_table` shows it; the parts can be called on their own. Each task has a file with
its metrics and its `EvaluationTask`.
"""

from distilnlp.evaluation.calibration import expected_calibration_error
from distilnlp.evaluation.choices import CHOICE_EVALUATION
from distilnlp.evaluation.classification import (
    SINGLE_LABEL_EVALUATION,
    classification_scores,
    compute_classification_metrics,
)
from distilnlp.evaluation.fidelity import agreement, mean_kl
from distilnlp.evaluation.intervals import Interval, Scorer, bootstrap_intervals, weighted_scorer
from distilnlp.evaluation.latency import Speed, SpeedPlan, measure_speed
from distilnlp.evaluation.masked_lm import MASKED_LM_EVALUATION
from distilnlp.evaluation.metrics import Accuracy, MacroF1, MatthewsCorrelation, classification_metrics
from distilnlp.evaluation.multi_label import MULTI_LABEL_EVALUATION
from distilnlp.evaluation.prediction import predict_logits, predict_rows
from distilnlp.evaluation.quality import measure_quality
from distilnlp.evaluation.questions import QUESTION_EVALUATION
from distilnlp.evaluation.regression import REGRESSION_EVALUATION
from distilnlp.evaluation.report import ModelReport, TextLength, evaluate_models
from distilnlp.evaluation.size import ModelSize, measure_size
from distilnlp.evaluation.table import LOWER_IS_BETTER, summary_table
from distilnlp.evaluation.task import EvaluationTask
from distilnlp.evaluation.tokens import TOKEN_EVALUATION
from distilnlp.evaluation.verdict import CUT_TEACHER, teacher_warnings, verdict

__all__ = [
    "CHOICE_EVALUATION",
    "CUT_TEACHER",
    "LOWER_IS_BETTER",
    "MASKED_LM_EVALUATION",
    "MULTI_LABEL_EVALUATION",
    "QUESTION_EVALUATION",
    "REGRESSION_EVALUATION",
    "SINGLE_LABEL_EVALUATION",
    "TOKEN_EVALUATION",
    "Accuracy",
    "EvaluationTask",
    "Interval",
    "MacroF1",
    "MatthewsCorrelation",
    "ModelReport",
    "ModelSize",
    "Scorer",
    "Speed",
    "SpeedPlan",
    "TextLength",
    "agreement",
    "bootstrap_intervals",
    "classification_metrics",
    "classification_scores",
    "compute_classification_metrics",
    "evaluate_models",
    "expected_calibration_error",
    "mean_kl",
    "measure_quality",
    "measure_size",
    "measure_speed",
    "predict_logits",
    "predict_rows",
    "summary_table",
    "teacher_warnings",
    "verdict",
    "weighted_scorer",
]
