"""Rows of one text or a pair with one class."""

from typing import Any

from datasets import Dataset
from numpy.typing import NDArray

from distilnlp.data import Columns, Layout, Part, numbers_of
from distilnlp.signals import LABEL, NO_LABEL
from distilnlp.tasks.text_rows import TextRows


class SingleLabelRows(TextRows):
    """`label`: a class id, -100 = none."""

    task = "single-label classification"
    has_label_names = True
    own_keys = frozenset({"label_names"})

    def read_labels(self, part: Part, layout: Layout, inputs: Columns, survey: dict[Any, int] | None) -> Columns:
        if survey is None:
            return {LABEL: [NO_LABEL] * len(part.rows)}
        return {LABEL: [survey[value] for value in part.rows[layout.label][:]]}

    def strata(self, rows: Dataset) -> NDArray | None:
        return numbers_of(rows, LABEL)


SINGLE_LABEL_ROWS = SingleLabelRows()
