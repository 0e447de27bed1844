"""The same rows, read by the tokenizers of a student and a teacher."""

from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets
from numpy.typing import NDArray

from distilnlp.data.parts import map_in_parts, numbers_of, values_of
from distilnlp.data.words import first_pieces
from distilnlp.errors import DistillationError
from distilnlp.signals.names import (
    END,
    EXAMPLE,
    LABEL,
    MARKS,
    MEMBER,
    MODEL_INPUTS,
    NO_LABEL,
    START,
    TEACHER,
    WORD_IDS,
)
from distilnlp.signals.views import prefixed_columns


def pair_encodings(student_rows: Dataset, teacher_rows: Dataset, words: bool = False) -> Dataset:
    """Return the student's tokenised rows with the teacher's beside them, as `teacher_input_ids` and so on.

    Args:
        student_rows: rows tokenised for the student.
        teacher_rows: the same rows, in the same order, tokenised for the teacher.
        words: keep the numbers of the words, for losses on the states of words.

    Raises:
        DistillationError: the rows are not the same, as when a context gives more windows than one.
    """
    are_windows = EXAMPLE in student_rows.column_names
    if len(student_rows) != len(teacher_rows) or (are_windows and not _same_parts(student_rows, teacher_rows)):
        raise DistillationError(
            "the tokenizers of student and teacher must give the same rows, but they give "
            f"{len(student_rows)} and {len(teacher_rows)}, or windows of other parts of a context. Let the teacher "
            "read what the student's windows show (shown_windows), raise data.max_length until every context fits, or "
            "use a student with the teacher's tokenizer."
        )
    inputs = teacher_rows.select_columns(
        [name for name in teacher_rows.column_names if name in MODEL_INPUTS or name.startswith(MEMBER)]
    )
    both = concatenate_datasets([student_rows, prefixed_columns(TEACHER, inputs)], axis=1)
    numbers = [name for name in (WORD_IDS, TEACHER + WORD_IDS) if name in both.column_names]
    if len(numbers) == 2 and "word_starts" in both.column_names:
        both = map_in_parts(both, _words_of_both, desc="Pairing words")
    return both if words else both.remove_columns(numbers)


def same_words(first: Dataset, second: Dataset) -> tuple[Dataset, Dataset]:
    """Return two encodings of rows of words, with marks and labels at those words alone that both have room for."""

    def restricted(own: Dataset, other: Dataset) -> Dataset:
        others = other.select_columns([WORD_IDS]).rename_column(WORD_IDS, TEACHER + WORD_IDS)
        both = concatenate_datasets([own, others], axis=1)
        return map_in_parts(both, _labels_of_both, remove_columns=others.column_names, desc="Pairing words")

    return restricted(first, second), restricted(second, first)


def _labels_of_both(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    starts = [_starts(*words) for words in zip(rows[WORD_IDS], rows[TEACHER + WORD_IDS], strict=True)]
    labels = [np.where(first, own, NO_LABEL) for first, own in zip(starts, rows[LABEL], strict=True)]
    return {"word_starts": starts, LABEL: labels}


def _words_of_both(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    both = list(zip(rows[WORD_IDS], rows[TEACHER + WORD_IDS], strict=True))
    return {
        "word_starts": [_starts(own, other) for own, other in both],
        TEACHER + "word_starts": [_starts(other, own) for own, other in both],
    }


def _starts(own: list[int], other: list[int]) -> NDArray[np.int8]:
    """Mark the words that both encodings have: one may have no room for a word, or no piece."""
    common = {*own} & {*other}
    return first_pieces([word if word in common else -1 for word in own])


def same_positions(rows: Dataset) -> bool:
    """Whether every row of `pair_encodings` has as many tokens for the teacher as for the student, choice by choice.

    Where rows say at which tokens words begin or which are the context, these must be the same tokens too.
    """
    marks = [name for name in MARKS if name in rows.column_names]
    names = ("input_ids", *marks)
    both = zip(values_of(rows, *names), values_of(rows, *(TEACHER + name for name in names)), strict=True)
    return all(_shape(own[0]) == _shape(other[0]) and own[1:] == other[1:] for own, other in both)


def same_windows(student_rows: Dataset, teacher_rows: Dataset) -> bool:
    """Whether two tokenizers made windows of the same tokens, with the same answers."""
    names = (EXAMPLE, "length", START, END, "context_mask")
    both = zip(values_of(student_rows, *names), values_of(teacher_rows, *names), strict=False)
    return len(student_rows) == len(teacher_rows) and all(own == other for own, other in both)


def _same_parts(student_rows: Dataset, teacher_rows: Dataset) -> bool:
    """Whether windows hold the same parts of a context: all of it, what the student's show, or the same tokens."""
    own, other = numbers_of(student_rows, EXAMPLE), numbers_of(teacher_rows, EXAMPLE)
    one_each, are_shown = len(np.unique(own)) == len(own), START not in teacher_rows.column_names
    return np.array_equal(own, other) and (one_each or are_shown or same_windows(student_rows, teacher_rows))


def _shape(ids: list[int] | list[list[int]]) -> list[int]:
    return [len(part) if isinstance(part, list) else 1 for part in ids]
