"""Models measured side by side: `evaluate_models` measures, `summary_table` shows it, `verdict` says what it means."""

from distilnlp.evaluation.latency import Speed, SpeedPlan, measure_speed
from distilnlp.evaluation.predictions import ANSWERS, PREDICTIONS, ROWS, Predictions, read_rows, write_rows
from distilnlp.evaluation.quality import FIGURES, figure_named, measure_quality, title_of
from distilnlp.evaluation.report import ModelReport, TextLength, evaluate_models, predict_models
from distilnlp.evaluation.size import ModelSize, measure_size
from distilnlp.evaluation.table import summary_table, terminal_rows, terminal_table
from distilnlp.evaluation.verdict import CUT_TEACHER, INT8_STUDENT, in_names, relation_said, teacher_warnings, verdict

__all__ = [
    "ANSWERS",
    "CUT_TEACHER",
    "FIGURES",
    "INT8_STUDENT",
    "PREDICTIONS",
    "ROWS",
    "ModelReport",
    "ModelSize",
    "Predictions",
    "Speed",
    "SpeedPlan",
    "TextLength",
    "evaluate_models",
    "figure_named",
    "in_names",
    "measure_quality",
    "measure_size",
    "measure_speed",
    "predict_models",
    "read_rows",
    "relation_said",
    "summary_table",
    "teacher_warnings",
    "terminal_rows",
    "terminal_table",
    "title_of",
    "verdict",
    "write_rows",
]
