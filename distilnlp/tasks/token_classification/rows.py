"""Rows of words, each with a tag."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, ClassVar

import numpy as np
from datasets import Dataset, List, Value, concatenate_datasets
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from distilnlp.data import (
    Columns,
    DataConfig,
    LabelColumn,
    Layout,
    Part,
    RowFormat,
    Types,
    candidates,
    find_text_columns,
    is_text,
    is_text_list,
    map_in_parts,
    may_be_label_list,
    require_column,
    require_fast,
    values_of,
    with_written_values,
)
from distilnlp.errors import DistillationError, shown
from distilnlp.signals import LABEL, NO_LABEL, TEACHER, WORD_IDS, WORDS
from distilnlp.tasks.token_classification.schemes import refuse_two_schemes
from distilnlp.tasks.token_classification.spans import TOKENS, find_spans, with_tagged_words

USUAL_WORDS = (TOKENS, WORDS)


class TokenRows(RowFormat):
    """Normalised: `words` and `label`, a tag id a word, -100 = none.

    Tokenised: `word_starts`, 1 at the first token of every word, `label`, the tag id there and -100 elsewhere, and
    `word_ids`, the index of each token's word, -1 = none. The tokenizer reads the words with one space between them, as
    it reads running text: so the first token of a word is the same as in a text, also where it begins with the space
    before it (RoBERTa).
    """

    task = "token classification"
    inputs = (WORDS,)
    features: ClassVar[Types] = {WORDS: List(Value("string")), LABEL: List(Value("int64"))}
    usual_labels = ("ner_tags", "tags", "labels", LABEL)
    label_checks = (
        (
            may_be_label_list,
            "must hold a list of tags a row, one a word, but it holds %s. Convert it, for example to JSON lines, or "
            "set data.label_column.",
        ),
    )
    has_label_names = True
    own_keys = frozenset({"label_names"})
    are_words = True

    def unfold(self, dataset: Dataset, config: DataConfig, names: Sequence[str]) -> Dataset:
        """Return rows of words and tags, also of lists that are written as text, and of entities by characters."""
        words, label = config.text_columns[0] if config.text_columns else None, config.label_column
        if (column := find_spans(dataset, label)) is not None:
            return with_tagged_words(dataset, column, words, label)
        usual = [*([words] if words else USUAL_WORDS), *([label] if label else self.usual_labels)]
        for name in usual:
            if name in dataset.column_names and is_text(dataset.features[name]):
                dataset = with_written_values(dataset, name)
        return dataset

    def find_layout(self, dataset: Dataset, config: DataConfig, label: str) -> Layout:
        """Return the named column, the only column of lists of words, or the only text column."""
        if config.text_columns is None:
            return Layout(_find_words(dataset, label), label)
        if len(config.text_columns) > 1:
            raise DistillationError(
                f"token classification reads one column of words, but data.text_columns names {config.text_columns}. "
                "Name one."
            )
        return Layout(tuple(config.text_columns), label)

    def find_label_names(
        self, column: LabelColumn, given: Sequence[str] | None, teacher_names: Sequence[str] | None
    ) -> list[str]:
        """Return the tags in logit order; those that a teacher is yet to learn must be of one scheme."""
        names = super().find_label_names(column, given, teacher_names)
        if teacher_names is None:
            refuse_two_schemes(names)
        return names

    def check_layout(self, dataset: Dataset, layout: Layout) -> None:
        name = layout.texts[0]
        require_column(dataset, name, "data.text_columns")
        feature = dataset.features[name]
        if name == layout.label or not (is_text_list(feature) or is_text(feature)):
            raise DistillationError(
                f"column {name!r} must hold a list of words a row, or text, which is split at white space, but it "
                f"holds {'the labels' if name == layout.label else shown(feature)}. Set data.text_columns."
            )

    def unlabelled_layout(self, dataset: Dataset, layout: Layout) -> Layout | None:
        """Return the same column, or the only one of words or text."""
        if set(layout.texts) <= set(dataset.column_names):
            return layout
        return replace(layout, texts=_find_words(dataset, layout.label))

    def read_inputs(self, part: Part, layout: Layout) -> Columns:
        """Return `words`; text is split at white space."""
        return {WORDS: [_words(value) for value in part.rows[layout.texts[0]][:]]}

    def as_texts(self, value: list[str]) -> list[str]:
        """Return the words joined by one space: so they are tokenised."""
        return [" ".join(value)]

    def read_labels(self, part: Part, layout: Layout, inputs: Columns, survey: dict[Any, int] | None) -> Columns:
        words = inputs[WORDS]
        if survey is None:
            return {LABEL: [[NO_LABEL] * len(row) for row in words]}
        tags = []
        for (row, given), own in zip(part.numbered(layout.label), words, strict=True):
            tags.append([NO_LABEL] * len(own) if given is None else [survey[tag] for tag in given])
            if len(own) != len(tags[-1]):
                raise DistillationError(
                    f"every word needs one tag, but row {row} (counted from 0) has {len(own)} words in "
                    f"{layout.texts[0]!r} and {len(tags[-1])} tags in {layout.label!r}. Correct the row; a row without "
                    "tags has null."
                )
        return {LABEL: tags}

    def is_labelled(self, rows: Dataset) -> NDArray[np.bool_]:
        return np.fromiter((any(tag != NO_LABEL for tag in own) for (own,) in values_of(rows, LABEL)), dtype=np.bool_)

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
        """Tokenise; the words beyond `max_length` are cut, and their tags with them."""
        require_fast(tokenizer, self.task)

        def encode(batch: Columns) -> dict[str, Any]:
            texts = [text for words in batch[WORDS] for text in self.as_texts(words)]
            encoded = dict(tokenizer(texts, truncation=True, max_length=max_length, return_offsets_mapping=True))
            words_of = list(map(_word_of_each_token, batch[WORDS], encoded.pop("offset_mapping")))
            starts = list(map(_first_pieces, words_of))
            labels = [
                np.asarray([own[word] if is_first else NO_LABEL for word, is_first in zip(*row, strict=True)], np.int32)
                for *row, own in zip(words_of, starts, batch[LABEL], strict=True)
            ]
            lengths = list(map(len, words_of))
            return {**encoded, LABEL: labels, "word_starts": starts, WORD_IDS: words_of, "length": lengths}

        return map_in_parts(rows, encode, remove_columns=[WORDS], desc=desc)

    def with_common_labels(self, first: Dataset, second: Dataset) -> tuple[Dataset, Dataset]:
        """Return both with marks and labels at those words alone that both have room for."""

        def label(rows: Columns) -> Columns:
            starts = list(map(_common_starts, rows[WORD_IDS], rows[TEACHER + WORD_IDS]))
            labels = [np.where(start, own, NO_LABEL) for start, own in zip(starts, rows[LABEL], strict=True)]
            return {"word_starts": starts, LABEL: labels}

        def restricted(own: Dataset, other: Dataset) -> Dataset:
            others = other.select_columns([WORD_IDS]).rename_column(WORD_IDS, TEACHER + WORD_IDS)
            both = concatenate_datasets([own, others], axis=1)
            return map_in_parts(both, label, remove_columns=others.column_names, desc="Pairing words")

        return restricted(first, second), restricted(second, first)

    def with_common_marks(self, both: Dataset) -> Dataset:
        """Return the rows with marks at those words alone that both encodings have room for."""
        if not {WORD_IDS, TEACHER + WORD_IDS, "word_starts"} <= set(both.column_names):
            return both

        def mark(rows: Columns) -> Columns:
            own, other = rows[WORD_IDS], rows[TEACHER + WORD_IDS]
            return {
                "word_starts": list(map(_common_starts, own, other)),
                TEACHER + "word_starts": list(map(_common_starts, other, own)),
            }

        return map_in_parts(both, mark, desc="Pairing words")


def _find_words(dataset: Dataset, label: str) -> tuple[str, ...]:
    found = candidates(dataset, is_text_list, USUAL_WORDS, [label])
    return tuple(found) if len(found) == 1 else find_text_columns(dataset, None, label)


def _words(value: str | list[str] | None) -> list[str]:
    if isinstance(value, str):
        return value.split()
    return [word or "" for word in value or ()]


def _word_of_each_token(words: Sequence[str], offsets: Sequence[tuple[int, int]]) -> NDArray[np.int32]:
    """Return for every token the index of its word, -1 if it is of none; words were read with one space between."""
    ends = list(accumulate(words, lambda end, word: end + 1 + len(word), initial=-1))[1:]

    def word_at(start: int, end: int) -> int:
        # By its last character, because a token may begin with the space before its word.
        word = bisect_right(ends, end - 1) if end > start else len(ends)
        return word if word < len(ends) and end - 1 >= ends[word] - len(words[word]) else -1

    return np.asarray([word_at(start, end) for start, end in offsets], dtype=np.int32)


def _first_pieces(words: Sequence[int] | NDArray) -> NDArray[np.int8]:
    """Return 1 for every token that is the first of a word, else 0, from the index of each token's word, -1 = none."""
    first = np.zeros(len(words), dtype=np.int8)
    first[np.unique(words, return_index=True)[1]] = 1
    return first * (np.asarray(words) >= 0)


def _common_starts(own: Sequence[int], other: Sequence[int]) -> NDArray[np.int8]:
    """Mark the words that both encodings have: one may have no room for a word, or no piece."""
    common = {*own} & {*other}
    return _first_pieces([word if word in common else -1 for word in own])


TOKEN_ROWS = TokenRows()
