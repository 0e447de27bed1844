"""What a task's rows look like: how they are read from a source, and how they are tokenised."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from datasets import ClassLabel, Dataset, Features, Value
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from distilnlp.data.columns import AnswerReader, answer_reader, check_text_columns, is_empty, is_text, joined_texts
from distilnlp.data.config import DataConfig
from distilnlp.data.label_names import LabelColumn
from distilnlp.data.parts import Part, numbers_of, read_in_parts, values_of
from distilnlp.errors import DistillationError, shown
from distilnlp.signals.names import ANSWER, LABEL, NO_LABEL, SOURCE_ROW, TEACHER_TEXT, TEACHER_TEXT_PAIR

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """Where a source's rows have what, and what their labels mean.

    Attributes:
        texts: text columns.
        label: label column, whether there or not.
        choices: multiple choice: one column a choice, or the one column of lists.
        teacher_texts: columns that the teacher reads instead, of rows that have them; none = the same as the student.
        answers: the column that holds a teacher's answers, or one column a label, of rows that have them.
        given_names: `data.label_names`, what bare ids in the source mean.
        label_names: in the order of the models' logits; empty for a task without names.
    """

    texts: tuple[str, ...]
    label: str
    choices: tuple[str, ...] = ()
    teacher_texts: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    given_names: tuple[str, ...] | None = None
    label_names: tuple[str, ...] = ()


class RowFormat(ABC):
    """The rows of one task: from a source's columns to *normalised* rows, and from those to tokenised ones.

    Normalised rows are the same for every source: the columns `inputs` and those of the labels. Tokenised rows are not
    padded and have their number of tokens as `length`, for batches of like length.

    Attributes:
        task: as messages call it.
        inputs: normalised columns that a model reads; a row in which one is blank is left out.
        features: the types of the normalised columns, as far as a source has them.
        usual_labels: what the label column is called, where the recipe does not say it.
        has_label_names: whether the labels are classes with names.
        needs_labels: whether rows can be without a label; if not, every row counts as labelled.
        own_keys: keys of the `data` section that only some tasks read, and this is one of them.
        are_texts: whether a row is one text or a pair, so that another text can take its place.
        are_windows: whether a row becomes several, windows of its context, so that nothing of it is cut.
        are_words: whether a row's items are words, of which a tokenizer may have no room for the last.
    """

    task: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]]
    features: ClassVar[Mapping[str, Any]]
    usual_labels: ClassVar[tuple[str, ...]] = (LABEL,)
    has_label_names: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = True
    own_keys: ClassVar[frozenset[str]] = frozenset()
    are_texts: ClassVar[bool] = False
    are_windows: ClassVar[bool] = False
    are_words: ClassVar[bool] = False

    # ---- From a source to normalised rows ----

    def unfold(self, dataset: Dataset) -> Dataset:
        """Return one row an example, where a file nests several in one."""
        return dataset

    def check_label_column(self, dataset: Dataset, column: str) -> None:
        """Raise a `DistillationError` if a label column has the wrong type: here, not one value a row."""
        if not isinstance(dataset.features[column], ClassLabel | Value):
            raise DistillationError(
                f"label column {column!r} must hold one label a row, a name or an id, but it holds "
                f"{shown(dataset.features[column])}. Convert it, or set data.label_column."
            )

    def has_labels(self, dataset: Dataset, column: str) -> bool:
        """Whether some row has a label, hidden ones (null, -100) aside."""
        labels = LabelColumn(dataset, column)
        return any(value == value for value in labels.distinct - labels.hidden)  # NaN is not a label

    @abstractmethod
    def find_layout(self, dataset: Dataset, config: DataConfig, label: str) -> Layout:
        """Return the columns of the training rows, without label names.

        Raises:
            DistillationError: a named column is missing, or none was named and there is no single candidate.
        """

    def check_layout(self, dataset: Dataset, layout: Layout) -> None:
        """Raise a `DistillationError` if a split lacks a column of the layout, or has another type there."""
        candidates = [name for name, feature in dataset.features.items() if is_text(feature)]
        check_text_columns(dataset, layout.texts, layout.label, candidates)

    def unlabelled_layout(self, dataset: Dataset, layout: Layout) -> Layout | None:
        """Return the columns of a transfer set, whose names may differ; None if it lacks some."""
        return layout if {*layout.texts, *layout.choices} <= set(dataset.column_names) else None

    def find_label_names(
        self, column: LabelColumn, given: Sequence[str] | None, teacher_names: Sequence[str] | None
    ) -> list[str]:
        """Return the label names in logit order; none for a task without names.

        Args:
            column: a label column that holds labels.
            given: `data.label_names`.
            teacher_names: the fine-tuned teacher's, in logit order; None = it is yet to be trained.

        Raises:
            DistillationError: the data and the teacher do not agree.
        """
        return []

    def normalise(self, dataset: Dataset, layout: Layout, split: str) -> Dataset:
        """Return normalised rows: checked, with blank texts left out; in a file, if the source's rows are in files.

        Args:
            dataset: rows of a source; without the label column they have no labels.
            layout: what their columns are. Rows that have a teacher's answers have their number in the source as well.
            split: what messages call them.

        Raises:
            DistillationError: a column or a label that does not fit.
        """
        self.check_layout(dataset, layout)
        survey = self.survey_labels(dataset, layout) if layout.label in dataset.column_names else None
        nothing = Part(dataset.select(range(0)), 0)
        types: dict[str, Any] = {**self.features, SOURCE_ROW: Value("int64")}
        answers = answer_reader(dataset, layout.answers, split) if _has(dataset, layout.answers) else None
        if answers is not None:
            types[ANSWER] = answers.kind.type
        names = self._read(nothing, layout, survey, answers)
        rows = read_in_parts(
            dataset,
            partial(self._read, layout=layout, survey=survey, answers=answers),
            Features({name: types.get(name, Value("string")) for name in names}),
            key=[type(self).__qualname__, layout],
            desc=f"Reading the {split} data",
        )
        if len(rows) < len(dataset):
            logger.warning("%d empty texts of the %s data were left out", len(dataset) - len(rows), split)
        return rows

    def _read(self, part: Part, layout: Layout, survey: Any, answers: AnswerReader | None) -> dict[str, list[Any]]:
        """Return the normalised columns of some rows."""
        content = self.read_inputs(part, layout)
        content |= self.read_labels(part, layout, content, survey)
        inputs = [content[name] for name in self.inputs if name in content]
        keep = [index for index, row in enumerate(zip(*inputs, strict=True)) if not any(map(_is_blank, row))]
        if _has(part.rows, layout.teacher_texts):
            texts = joined_texts(part.rows, layout.teacher_texts)
            content |= dict(zip((TEACHER_TEXT, TEACHER_TEXT_PAIR), texts, strict=False))
        kept = {name: [values[index] for index in keep] for name, values in content.items()}
        if answers is not None:
            kept[ANSWER] = answers.read(part, keep)
            kept[SOURCE_ROW] = [part.first + index for index in keep]
        return kept

    def survey_labels(self, dataset: Dataset, layout: Layout) -> Any:
        """Return what only all labels together tell; `read_labels` gets it, or None for rows without the column."""
        return None

    @abstractmethod
    def read_inputs(self, part: Part, layout: Layout) -> dict[str, list[Any]]:
        """Return the normalised columns of `inputs`, one entry a row."""

    @abstractmethod
    def read_labels(
        self, part: Part, layout: Layout, inputs: Mapping[str, list[Any]], survey: Any
    ) -> dict[str, list[Any]]:
        """Return the normalised columns of the labels, one entry a row; rows without a label have a mark for it."""

    # ---- What normalised rows are ----

    def is_labelled(self, rows: Dataset) -> NDArray[np.bool_]:
        """Bool `[rows]`: which rows, normalised or tokenised, have a label."""
        return numbers_of(rows, LABEL) != NO_LABEL

    def strata(self, rows: Dataset) -> NDArray | None:
        """Return the class of each normalised row, by which a held-out share is stratified; None = at random."""
        return None

    def keys(self, rows: Dataset) -> Iterator[int]:
        """Yield a hash of what a model reads of each normalised row: equal rows have equal keys."""
        for row in values_of(rows, *(name for name in self.inputs if name in rows.column_names)):
            yield hash(tuple(tuple(value) if isinstance(value, list) else value for value in row))

    def texts(self, rows: Dataset) -> Iterable[str]:
        """Return every text of normalised rows, as a tokenizer gets it, to be read as often as wanted."""
        return _Texts(self, rows)

    def as_texts(self, value: Any) -> list[str]:
        """Return the texts of one entry of `inputs`: itself, or those of a list."""
        return [value] if isinstance(value, str) else value

    # ---- From normalised rows to tokens ----

    @abstractmethod
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
        """Tokenise normalised rows.

        Args:
            rows: see `normalise`.
            tokenizer: of the model that reads them.
            max_length: in tokens; longer rows are cut.
            desc: caption of the progress bar.
            config: the `data` section, for what is particular to a task.
            for_evaluation: also give what scoring needs, and fix what training leaves to chance.

        Raises:
            DistillationError: the tokenizer or `max_length` does not do for this task.
        """


def require_fast(tokenizer: PreTrainedTokenizerBase, task: str) -> None:
    """Raise a `DistillationError` if a tokenizer cannot say which characters a token stands for."""
    if not tokenizer.is_fast:
        raise DistillationError(
            f"{task} needs to know which characters a token stands for, and only a fast tokenizer tells, but "
            f"this is a {type(tokenizer).__name__}. Put the model's tokenizer.json into its folder."
        )


def has_type(feature: Any, expected: bool) -> bool:
    """Whether a label column's type is as expected; a column of nothing but nulls fits every task."""
    return expected or is_empty(feature)


def _has(dataset: Dataset, columns: Sequence[str]) -> bool:
    """Whether rows have these columns, if there are any."""
    return bool(columns) and set(columns) <= set(dataset.column_names)


@dataclass(frozen=True)
class _Texts(Iterable[str]):
    """The texts of rows, read from them anew each time."""

    row_format: RowFormat
    rows: Dataset

    def __iter__(self) -> Iterator[str]:
        for name in self.row_format.inputs:
            if name in self.rows.column_names:
                for (value,) in values_of(self.rows, name):
                    yield from self.row_format.as_texts(value)


def _is_blank(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_blank, value))
    return not (value and value.strip())
