"""What a task's rows look like: how they are read from a source, and how they are tokenised."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from datasets import Dataset, Features, Value
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from distilnlp.data.config import DataConfig
from distilnlp.data.parts import PART, Columns, Part, Types, numbers_of, read_in_parts, values_of
from distilnlp.data.source_columns import (
    SINGLE,
    LabelCheck,
    LabelColumn,
    candidates,
    is_text,
    require_column,
)
from distilnlp.data.teacher_columns import GivenAnswers, joined_texts
from distilnlp.errors import DistillationError, shown
from distilnlp.signals import ANSWER, LABEL, NO_LABEL, SOURCE_ROW, TEACHER_TEXT, TEACHER_TEXT_PAIR, TEXT_PAIR

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
        features: the types of the normalised columns, in their order; `text_pair` is there for pairs alone.
        usual_labels: what the label column is called, where the recipe does not say it.
        label_checks: what the label column's type must be, and the message of another type.
        has_label_names: whether the labels are classes with names.
        needs_labels: whether rows can be without a label; if not, every row counts as labelled.
        own_keys: keys of the `data` section that only some tasks read, and this is one of them.
        are_texts: whether a row is one text or a pair, so that another text can take its place.
        are_windows: whether a row becomes several, windows of its context, so that nothing of it is cut.
        are_words: whether a row's items are words, of which a tokenizer may have no room for the last.
    """

    task: ClassVar[str]
    inputs: ClassVar[tuple[str, ...]]
    features: ClassVar[Types]
    usual_labels: ClassVar[tuple[str, ...]] = (LABEL,)
    label_checks: ClassVar[tuple[LabelCheck, ...]] = (
        (
            lambda feature: isinstance(feature, SINGLE),
            "must hold one label a row, a name or an id, but it holds %s. Convert it, or set data.label_column.",
        ),
    )
    has_label_names: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = True
    own_keys: ClassVar[frozenset[str]] = frozenset()
    are_texts: ClassVar[bool] = False
    are_windows: ClassVar[bool] = False
    are_words: ClassVar[bool] = False

    # ---- What a source's columns are ----

    def looked_for(self, config: DataConfig) -> list[str]:
        """Return the names of columns that a recipe gives, and where it gives none those that they usually have."""
        labels = self.usual_labels if config.label_column is None else [config.label_column]
        return [*(config.text_columns or self.inputs), *(config.choice_columns or ()), *labels]

    def unfold(self, dataset: Dataset, config: DataConfig, names: Sequence[str]) -> Dataset:
        """Return one row an example, with columns in the form that is read, where files write them otherwise.

        Args:
            dataset: rows of a source.
            config: the recipe's `data` section.
            names: the label names of a fine-tuned teacher; none where it is yet to be trained.
        """
        return dataset

    def has_labels(self, dataset: Dataset, column: str) -> bool:
        """Whether some row has a label, hidden ones (null, -100) aside."""
        return any(value == value for value in LabelColumn(dataset, column).labels)  # NaN is no label

    @abstractmethod
    def find_layout(self, dataset: Dataset, config: DataConfig, label: str) -> Layout:
        """Return the columns of the training rows, without label names.

        Raises:
            DistillationError: a named column is missing, or none was named and there is no single candidate.
        """

    def check_layout(self, dataset: Dataset, layout: Layout) -> None:
        """Raise a `DistillationError` if a split lacks a column of the layout, or has another type there."""
        if layout.label in layout.texts:
            raise DistillationError(f"{layout.label!r} is the label column: the answer cannot be a text column too.")
        for name in layout.texts:
            require_column(dataset, name, "data.text_columns")
            if not is_text(dataset.features[name]):
                texts = candidates(dataset, is_text, (), {layout.label, *layout.choices})
                raise DistillationError(
                    f"text column {name!r} must hold text, but it holds {shown(dataset.features[name])}. "
                    f"The text columns of the data are {shown(texts)}; name one of them in data.text_columns."
                )

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
            DistillationError: the data and the teacher do not agree, or there are fewer than two labels.
        """
        if not self.has_label_names:
            return []
        data_names = column.find_names(given)
        strange = [value for value in column.labels if not isinstance(value, str | int | float)]
        if strange:
            raise DistillationError(
                f"label column {column.name!r} must hold names or ids, but it holds {shown(strange[0])}. Write the "
                "labels as text."
            )
        groups: dict[str, list[str]] = {}
        for name in data_names or ():
            groups.setdefault(name.casefold(), []).append(name)
        for alike in (group for group in groups.values() if len(group) > 1):
            logger.warning("the labels %s differ in case alone, and count as several classes", shown(alike))
        if data_names is None and teacher_names is None:
            data_names = column.names_of_numbers()
        if data_names is None and getattr(column.feature, "dtype", None) == "bool":
            raise DistillationError(
                f"label column {column.name!r} holds true and false, which may be names or ids of the teacher's labels "
                f"{shown(list(teacher_names or ()))}. Write these names, or set data.label_names to what false and "
                "true mean."
            )
        names = column.agreed_names(data_names, teacher_names, given)
        column.warn_of_ids(given or names)
        if len(names) < 2:
            raise DistillationError(
                f"classification needs two labels or more, but the data has {shown(names)}. Check {column.name!r}."
            )
        return names

    # ---- From a source to normalised rows ----

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
        columns = set(dataset.column_names)
        survey = self.survey_labels(dataset, layout) if layout.label in columns else None
        types = {name: kind for name, kind in self.features.items() if name != TEXT_PAIR or len(layout.texts) == 2}
        if layout.teacher_texts and columns.issuperset(layout.teacher_texts):
            names = (TEACHER_TEXT, TEACHER_TEXT_PAIR)[: len(layout.teacher_texts)]
            types |= dict.fromkeys(names, Value("string"))
        answers = None
        if layout.answers and columns.issuperset(layout.answers):
            answers = GivenAnswers(dataset, layout.answers, split)
            types |= {ANSWER: answers.type, SOURCE_ROW: Value("int64")}
        rows = read_in_parts(
            dataset,
            partial(self._read, layout=layout, survey=survey, types=types, answers=answers),
            Features(types),
            key=[type(self).__qualname__, layout],
            desc=f"Reading the {split} data",
        )
        if len(rows) < len(dataset):
            logger.warning("%d empty texts of the %s data were left out", len(dataset) - len(rows), split)
        return rows

    def _read(self, part: Part, layout: Layout, survey: Any, types: Types, answers: GivenAnswers | None) -> Columns:
        """Return the normalised columns of some rows."""
        content = self.read_inputs(part, layout)
        content |= self.read_labels(part, layout, content, survey)
        blank: set[int] = set()
        for name in self.inputs:
            for index, value in enumerate(content.get(name, ())):
                text = value if isinstance(value, str) else "".join(value or ())
                if not text or text.isspace():
                    blank.add(index)
        keep = [index for index in range(len(part.rows)) if index not in blank]
        if TEACHER_TEXT in types:
            texts = joined_texts(part.rows, layout.teacher_texts)
            content |= dict(zip((TEACHER_TEXT, TEACHER_TEXT_PAIR), texts, strict=False))
        if blank:
            content = {name: [values[index] for index in keep] for name, values in content.items()}
        if answers is not None:
            content[ANSWER] = answers.read(part, keep)
            content[SOURCE_ROW] = [part.first + index for index in keep]
        return content

    def survey_labels(self, dataset: Dataset, layout: Layout) -> Any:
        """Return what only all labels together tell; `read_labels` gets it, or None for rows without the column.

        Of labels with names it is what each value that occurs means.
        """
        names = layout.label_names
        return LabelColumn(dataset, layout.label).ids(layout.given_names, names) if self.has_label_names else None

    def read_inputs(self, part: Part, layout: Layout) -> Columns:
        """Return the normalised columns of `inputs`, one entry a row: here, those of the texts as they are."""
        return {target: part.rows[name][:] for target, name in zip(self.inputs, layout.texts, strict=False)}

    @abstractmethod
    def read_labels(self, part: Part, layout: Layout, inputs: Columns, survey: Any) -> Columns:
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
        names = [name for name in self.inputs if name in rows.column_names]
        for batch in rows.with_format(None).select_columns(names).iter(batch_size=PART):
            columns = (map(tuple, own) if isinstance(own[0], list) else own for own in batch.values())
            yield from map(hash, zip(*columns, strict=True))

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

    # ---- The same rows, tokenised for a student and for a teacher with a tokenizer of its own ----

    def are_same_rows(self, student_rows: Dataset, teacher_rows: Dataset) -> bool:
        """Whether two encodings of normalised rows have one row for each, of the same content."""
        return len(student_rows) == len(teacher_rows)

    def with_common_labels(self, first: Dataset, second: Dataset) -> tuple[Dataset, Dataset]:
        """Return two encodings of normalised rows without the labels of items that only one has room for."""
        return first, second

    def with_common_marks(self, both: Dataset) -> Dataset:
        """Return the rows of `pair_encodings` without the marks of items that only one encoding has room for."""
        return both

    def as_shown(
        self, shown: Dataset, own: Dataset, rows: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> Dataset:
        """Return what a second tokenizer makes of the parts of the rows that the first one's encoding shows.

        Args:
            shown: the first encoding.
            own: the second tokenizer's own encoding of the whole rows.
            rows: normalised.
            tokenizer, max_length: the second one, and what its model reads.
        """
        return own

    def with_words(
        self, encoded: Dataset, rows: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> Dataset:
        """Return what `encode` made of the rows with `word_ids`, the number of each token's word, if it can be had."""
        return encoded


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
