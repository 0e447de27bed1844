"""The same rows read by two tokenizers: side by side, and the words by which their tokens are compared."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Dataset, concatenate_datasets
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from distilnlp.data.parts import values_of
from distilnlp.data.row_format import RowFormat
from distilnlp.errors import DistillationError
from distilnlp.signals import MARKS, MEMBER, MODEL_INPUTS, TEACHER, TOKENS, WORD_IDS, prefixed_columns


def pair_encodings(rows: RowFormat, student_rows: Dataset, teacher_rows: Dataset, words: bool = False) -> Dataset:
    """Return the student's tokenised rows with the teacher's beside them, as `teacher_input_ids` and so on.

    Args:
        rows: the row format of the task.
        student_rows: rows tokenised for the student.
        teacher_rows: the same rows, in the same order, tokenised for the teacher.
        words: keep the numbers of the words, for losses on the states of words.

    Raises:
        DistillationError: the rows are not the same, as when a context gives more windows than one.
    """
    if not rows.are_same_rows(student_rows, teacher_rows):
        raise DistillationError(
            "the tokenizers of student and teacher must give the same rows, but they give "
            f"{len(student_rows)} and {len(teacher_rows)}, or windows of other parts of a context. Let the teacher "
            "read what the student's windows show (shown_windows), raise data.max_length until every context fits, or "
            "use a student with the teacher's tokenizer."
        )
    inputs = teacher_rows.select_columns(
        [name for name in teacher_rows.column_names if name in MODEL_INPUTS or name.startswith(MEMBER)]
    )
    both = rows.with_common_marks(concatenate_datasets([student_rows, prefixed_columns(TEACHER, inputs)], axis=1))
    return both if words else both.remove_columns([n for n in (WORD_IDS, TEACHER + WORD_IDS) if n in both.features])


def same_positions(rows: Dataset) -> bool:
    """Whether every row of `pair_encodings` has as many tokens for the teacher as for the student, choice by choice.

    Where rows say at which tokens words begin or which are the context, these must be the same tokens too.
    """
    marks = [name for name in MARKS if name in rows.column_names]
    names = (TOKENS.values, *marks)
    both = zip(values_of(rows, *names), values_of(rows, *(TEACHER + name for name in names)), strict=True)
    return all(_shape(own[0]) == _shape(other[0]) and own[1:] == other[1:] for own, other in both)


def _shape(ids: list[int] | list[list[int]]) -> list[int]:
    return [len(part) if isinstance(part, list) else 1 for part in ids]


def require_fast(tokenizer: PreTrainedTokenizerBase, task: str) -> None:
    """Refuse a tokenizer that cannot say which characters a token stands for."""
    if not tokenizer.is_fast:
        raise DistillationError(
            f"{task} needs to know which characters a token stands for, and only a fast tokenizer tells, but "
            f"this is a {type(tokenizer).__name__}. Put the model's tokenizer.json into its folder."
        )


def word_numbers(encoded: Any, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[NDArray[np.int32]]:
    """Return for each piece of each text the number of its word, from 0; -1 = none, as for special tokens.

    A word is a run of characters without white space between them, so that the numbers mean the same words for every
    tokenizer. The words of a second text come after those of the first. A piece that reaches into several words belongs
    to the first of them.

    Args:
        encoded: what a fast tokenizer gave for these texts, one row each.
        texts: as the tokenizer got them.
        pairs: the second texts, if there are any.
    """
    rows = zip(texts, pairs, strict=True) if pairs is not None else ((text,) for text in texts)
    return [
        words_of_pieces(one.offsets, one.sequence_ids, row) for one, row in zip(encoded.encodings, rows, strict=True)
    ]


def words_of_pieces(offsets: Any, parts: Sequence[int | None], texts: Sequence[str]) -> NDArray[np.int32]:
    """Return the word of each piece of one row, at its offsets, `[pieces, 2]`, in one of the texts, None = in none."""
    spans, owners = np.asarray(offsets).reshape(-1, 2), np.asarray([-1 if part is None else part for part in parts])
    words, before = np.full(len(owners), -1, dtype=np.int32), 0
    for part, text in enumerate(texts):
        # With one white space behind: an offset may be the end of the text.
        is_space = np.asarray([character.isspace() for character in text] + [True])
        begun = np.cumsum(~is_space & np.concatenate([[True], is_space[:-1]]))
        solid = np.concatenate([[0], np.cumsum(~is_space)])
        first, end = spans[owners == part].T
        number = begun[first] - ~is_space[first]  # of the character's own word, or of the next one
        words[owners == part] = np.where(solid[end] > solid[first], number + before, -1)
        before += begun[-1]
    return words
