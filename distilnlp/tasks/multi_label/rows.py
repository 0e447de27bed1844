"""Rows of one text or a pair with any number of labels, each there or not."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
from datasets import Dataset, List, Value
from numpy.typing import NDArray

from distilnlp.data import Columns, DataConfig, LabelColumn, Layout, Part, Types, may_be_label_list, values_of
from distilnlp.errors import DistillationError, shown
from distilnlp.signals import LABEL, NO_LABEL
from distilnlp.tasks.multi_label.forms import LABELS, is_targets, with_label_lists
from distilnlp.tasks.text_rows import TextRows

NumberedRows = Iterable[tuple[int, list[Any] | None]]
Read = Callable[[NumberedRows], Iterator[list[float]]]
HOW_TO_WRITE = "Write the labels of a row as a list of their names, or as one 0.0 or 1.0 for each of data.label_names."


class MultiLabelRows(TextRows):
    """`label`: one 0.0 or 1.0 a label name, NaN = unknown.

    A source gives a row's labels as names, as ids, or as one 0/1 target for each label. Text means names, a ClassLabel
    means ids, fractions (0.0), true/false and the fields of an object mean targets. Whole numbers are targets if every
    row has as many of them as there are labels, all 0 or 1; where they could be ids as well, nothing is guessed.
    """

    task = "multi-label classification"
    usual_labels = (LABELS, LABEL)
    has_label_names = True
    own_keys = frozenset({"label_names", "label_separator"})
    features: ClassVar[Types] = {**TextRows.features, LABEL: List(Value("float32"))}
    label_checks = (
        (
            lambda feature: may_be_label_list(feature) or is_targets(feature),
            f"must hold a list of labels a row, but it holds %s. {HOW_TO_WRITE}",
        ),
    )

    def unfold(self, dataset: Dataset, config: DataConfig, names: Sequence[str]) -> Dataset:
        """Return rows with a list of labels, or an object of targets, of the forms that people write; see `forms`."""
        usual = [config.label_column] if config.label_column else self.usual_labels
        label = next((name for name in usual if name in dataset.column_names), None)
        return with_label_lists(
            dataset, label, config.label_separator, config.label_names or names, config.text_columns or ()
        )

    def find_label_names(
        self, column: LabelColumn, given: Sequence[str] | None, teacher_names: Sequence[str] | None
    ) -> list[str]:
        """Return the label names in logit order; numbers have none of their own."""
        are_numbers = column.names is None and not column.is_text
        data_names = given if are_numbers else column.find_names(given)
        if data_names is None and teacher_names is None:
            raise DistillationError(
                f"label column {column.name!r} holds numbers, and nothing says which labels they mean. Set "
                "data.label_names, or write the labels of a row as a list of their names."
            )
        names = column.agreed_names(data_names, teacher_names, given)
        if not names:
            raise DistillationError(f"the data has no labels. Check {column.name!r}.")
        return names

    def survey_labels(self, dataset: Dataset, layout: Layout) -> Read:
        """Return what reads the labels: they are targets or ids in all rows alike."""
        column = LabelColumn(dataset, layout.label)
        if _are_targets(column, layout):
            return partial(_read_targets, layout)
        return partial(_read_ids, layout, column.ids(layout.given_names, layout.label_names), column.is_text)

    def read_labels(self, part: Part, layout: Layout, inputs: Columns, survey: Read | None) -> Columns:
        if survey is None:
            return {LABEL: [_unknown(layout)] * len(part.rows)}
        return {LABEL: list(survey(part.numbered(layout.label)))}

    def is_labelled(self, rows: Dataset) -> NDArray[np.bool_]:
        return np.fromiter((any(map(math.isfinite, own)) for (own,) in values_of(rows, LABEL)), dtype=np.bool_)


def _unknown(layout: Layout) -> list[float]:
    return [math.nan] * len(layout.label_names)


def _are_targets(column: LabelColumn, layout: Layout) -> bool:
    """Whether numbers are 0/1 targets rather than ids. Ids never repeat in a row, and targets fill the whole row."""
    if column.are_targets:
        return True
    if column.is_text or column.names is not None:
        return False
    if not str(getattr(column.feature, "dtype", "")).startswith(("int", "uint")):
        return True
    width = len(layout.label_names)

    def labelled() -> Iterator[list[Any]]:
        return (row for (row,) in values_of(column.dataset, column.name) if row is not None)

    may_be_targets = all(len(row) == width for row in labelled())
    may_be_ids = all(len(set(row)) == len(row) and set(row) <= set(range(width)) for row in labelled())
    first = next(labelled(), None)
    if first is not None and may_be_targets and may_be_ids and all(set(row) <= {0, 1} for row in labelled()):
        raise DistillationError(
            f"the numbers in label column {column.name!r}, such as {shown(first)}, may be ids or 0/1 targets. "
            + HOW_TO_WRITE
        )
    return may_be_targets and not may_be_ids


def _read_targets(layout: Layout, rows: NumberedRows) -> Iterator[list[float]]:
    meaning = layout.given_names or layout.label_names
    order = [meaning.index(name) for name in layout.label_names]
    for number, given in rows:
        row = [given[name] for name in meaning] if isinstance(given, dict) else given
        if row is not None and len(row) != len(meaning):
            raise DistillationError(
                f"row {number} (counted from 0) of label column {layout.label!r} must have one 0 or 1 for each of the "
                f"{len(meaning)} labels {shown(list(meaning))}, but it has {len(row)}: {shown(row)}. {HOW_TO_WRITE}"
            )
        yield _unknown(layout) if row is None else [_target(row[i], meaning[i], layout.label, number) for i in order]


def _target(value: Any, label: str, column: str, row: int) -> float:
    if value is None or value != value or value == NO_LABEL:
        return math.nan
    if value not in (0, 1):
        raise DistillationError(
            f"a target must be 0 or 1 (null = unknown), but row {row} (counted from 0) of label column {column!r} has "
            f"{shown(value)} for the label {label!r}. Correct it."
        )
    return float(value)


def _read_ids(layout: Layout, ids: dict[Any, int], are_text: bool, rows: NumberedRows) -> Iterator[list[float]]:
    for number, row in rows:
        known = [value for value in row or () if ids[value] != NO_LABEL]
        if row is not None and (None in row or 0 < len(known) < len(row)):
            raise DistillationError(
                f"row {number} (counted from 0) of label column {layout.label!r} has an empty label among its labels: "
                f"{shown(row)}. Leave it out of the list; null in place of the list means that the row is unlabelled."
            )
        if row is None or len(known) < len(row):
            yield _unknown(layout)
            continue
        if len(set(row)) < len(row) and not are_text:
            raise DistillationError(
                f"row {number} (counted from 0) of label column {layout.label!r} has a label id twice: {shown(row)}. "
                "Give each label once; if these are 0/1 targets, there must be one for each label in every row."
            )
        present = {ids[value] for value in row}
        yield [float(index in present) for index in range(len(layout.label_names))]


MULTI_LABEL_ROWS = MultiLabelRows()
