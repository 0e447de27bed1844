"""Rows of one text or a pair with a score."""

import math
from itertools import chain
from typing import Any, ClassVar

import numpy as np
from datasets import Dataset, Value
from numpy.typing import NDArray

from distilnlp.data import Columns, Layout, Part, Types, is_text, numbers_of, values_of
from distilnlp.errors import DistillationError, shown
from distilnlp.signals import LABEL
from distilnlp.tasks.text_rows import TextRows

LARGEST_SCORE = float(np.finfo(np.float32).max)  # the losses read scores as float32


class RegressionRows(TextRows):
    """`label`: a number, NaN = none; -100 is a number like any other."""

    task = "regression"
    features: ClassVar[Types] = {**TextRows.features, LABEL: Value("float64")}
    label_checks = (
        (
            lambda feature: isinstance(feature, Value) and feature.dtype != "bool",
            "must hold one number a row, but it holds %s. Convert it, or set data.label_column.",
        ),
    )

    def has_labels(self, dataset: Dataset, column: str) -> bool:
        """Whether rows have scores: not one number throughout, as a test split whose scores are hidden has."""
        is_written = is_text(dataset.features[column])
        values = (value for (value,) in values_of(dataset, column) if value is not None)
        known = (value for value in values if value == value and (not is_written or value.strip()))  # NaN is no score
        first, second = next(known, None), next(known, None)
        return first is not None and (second is None or any(value != first for value in chain([second], known)))

    def read_labels(self, part: Part, layout: Layout, inputs: Columns, survey: None) -> Columns:
        """Return the scores, also of numbers that are written as text."""
        if layout.label not in part.rows.column_names:
            return {LABEL: [math.nan] * len(part.rows)}
        return {LABEL: [_score(value, layout.label, row) for row, value in part.numbered(layout.label)]}

    def is_labelled(self, rows: Dataset) -> NDArray[np.bool_]:
        return ~np.isnan(numbers_of(rows, LABEL))


def _score(value: Any, column: str, row: int) -> float:
    if value is None or (isinstance(value, str) and not value.strip()):
        return math.nan
    try:
        score = float(value)
    except (TypeError, ValueError):
        score = math.inf
    if abs(score) > LARGEST_SCORE:
        raise DistillationError(
            f"label column {column!r} must hold finite numbers, but row {row} (counted from 0) holds {shown(value)} "
            "(float32 ends at 3.4e38). Correct it, or leave it empty: a row without a score is unlabelled."
        )
    return score


REGRESSION_ROWS = RegressionRows()
