"""Rows of one text or a pair: with one class, or with a score."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, ClassVar

import numpy as np
from datasets import ClassLabel, Dataset, Value
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from distilnlp.data import DataConfig, RowFormat
from distilnlp.data.columns import find_text_columns, is_text, sole_text_column
from distilnlp.data.label_names import LabelColumn, find_label_names
from distilnlp.data.parts import Part, map_in_parts, numbers_of, values_of
from distilnlp.data.rows import Layout
from distilnlp.errors import DistillationError, shown
from distilnlp.signals.names import LABEL, NO_LABEL, TEXT, TEXT_PAIR

LARGEST_SCORE = float(np.finfo(np.float32).max)  # the losses read scores as float32


class TextRows(RowFormat):
    """Normalised: `text` and, for pairs, `text_pair`. Tokenised: the inputs of a model, the labels kept."""

    are_texts = True
    inputs = (TEXT, TEXT_PAIR)
    features: ClassVar[Mapping[str, Any]] = {TEXT: Value("string"), TEXT_PAIR: Value("string"), LABEL: Value("int64")}

    def find_layout(self, dataset: Dataset, config: DataConfig, label: str) -> Layout:
        """Return the named text columns, or the only one."""
        return Layout(tuple(find_text_columns(dataset, config.text_columns, label)), label)

    def unlabelled_layout(self, dataset: Dataset, layout: Layout) -> Layout | None:
        """Return the same columns, or the only text column: a plain text file always calls it `text`."""
        if set(layout.texts) <= set(dataset.column_names):
            return layout
        own = sole_text_column(dataset, {layout.label, *layout.answers})
        return replace(layout, texts=(own,)) if own is not None and len(layout.texts) == 1 else None

    def read_inputs(self, part: Part, layout: Layout) -> dict[str, list[Any]]:
        """Return `text` and perhaps `text_pair`."""
        return {target: part.rows[name][:] for target, name in zip(self.inputs, layout.texts, strict=False)}

    def encode(
        self,
        rows: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        desc: str,
        *,
        config: DataConfig,
        for_evaluation: bool = False,
    ) -> Dataset:
        """Tokenise; of a pair the longer text is cut first."""
        return encode_texts(rows, tokenizer, max_length, desc)


def encode_texts(
    rows: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int, desc: str, **options: Any
) -> Dataset:
    """Tokenise `text` or the pair of it and `text_pair`; other columns stay."""

    def encode(batch: dict[str, list[str]]) -> dict[str, Any]:
        encoded = tokenizer(batch[TEXT], batch.get(TEXT_PAIR), truncation=True, max_length=max_length, **options)
        return {**encoded, "length": [len(ids) for ids in encoded["input_ids"]]}

    texts = [name for name in (TEXT, TEXT_PAIR) if name in rows.column_names]
    return map_in_parts(rows, encode, remove_columns=texts, desc=desc)


class SingleLabelRows(TextRows):
    """`label`: a class id, -100 = none."""

    task = "single-label classification"
    has_label_names = True
    own_keys = frozenset({"label_names"})

    def find_label_names(
        self, column: LabelColumn, given: Sequence[str] | None, teacher_names: Sequence[str] | None
    ) -> list[str]:
        """Return the names of the classes."""
        return find_label_names(column, given, teacher_names)

    def survey_labels(self, dataset: Dataset, layout: Layout) -> dict[Any, int]:
        """Return what each value means."""
        return LabelColumn(dataset, layout.label).ids(layout.given_names, layout.label_names)

    def read_labels(
        self, part: Part, layout: Layout, inputs: Mapping[str, list[Any]], survey: dict[Any, int] | None
    ) -> dict[str, list[Any]]:
        """Return the ids of names, or of ids in another order."""
        if survey is None:
            return {LABEL: [NO_LABEL] * len(part.rows)}
        return {LABEL: [survey[value] for value in part.rows[layout.label][:]]}

    def strata(self, rows: Dataset) -> NDArray | None:
        """Return the class ids."""
        return numbers_of(rows, LABEL)


class RegressionRows(TextRows):
    """`label`: a number, NaN = none; -100 is a number like any other."""

    task = "regression"
    features: ClassVar[Mapping[str, Any]] = {**TextRows.features, LABEL: Value("float64")}

    def check_label_column(self, dataset: Dataset, column: str) -> None:
        """Raise a `DistillationError` if the column holds neither numbers nor text."""
        feature = dataset.features[column]
        if isinstance(feature, ClassLabel) or not isinstance(feature, Value) or feature.dtype == "bool":
            raise DistillationError(
                f"label column {column!r} must hold one number a row, but it holds {shown(feature)}. Convert it, or "
                "set data.label_column."
            )

    def has_labels(self, dataset: Dataset, column: str) -> bool:
        """Whether rows have scores: not one number throughout, as a test split whose scores are hidden has."""
        is_written = is_text(dataset.features[column])
        values = (value for (value,) in values_of(dataset, column) if value is not None)
        known = (
            value for value in values if value == value and (not is_written or value.strip())
        )  # NaN is not a score
        first, second = next(known, None), next(known, None)
        return first is not None and (second is None or any(value != first for value in chain([second], known)))

    def read_labels(
        self, part: Part, layout: Layout, inputs: Mapping[str, list[Any]], survey: None
    ) -> dict[str, list[Any]]:
        """Return the scores, also of numbers that are written as text."""
        if layout.label not in part.rows.column_names:
            return {LABEL: [math.nan] * len(part.rows)}
        return {LABEL: [_score(value, layout.label, row) for row, value in part.numbered(layout.label)]}

    def is_labelled(self, rows: Dataset) -> NDArray[np.bool_]:
        """Bool `[rows]`: which have a score."""
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


SINGLE_LABEL_ROWS = SingleLabelRows()
REGRESSION_ROWS = RegressionRows()
