"""The same rows, read by the tokenizers of a student and a teacher."""

from typing import Any

from datasets import Dataset, concatenate_datasets

from distilnlp.data.folds import FOLD
from distilnlp.data.questions import END, EXAMPLE, START
from distilnlp.data.tokens import WORD_IDS
from distilnlp.errors import DistillationError

TEACHER = "teacher_"
MARKS = ("word_starts", "context_mask")
MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids", *MARKS, WORD_IDS, FOLD)


def pair_encodings(student_rows: Dataset, teacher_rows: Dataset) -> Dataset:
    """Return the student's tokenised rows with the teacher's beside them, as `teacher_input_ids` and so on.

    Args:
        student_rows: rows tokenised for the student.
        teacher_rows: the same rows, in the same order, tokenised for the teacher.

    Raises:
        DistillationError: the rows are not the same, as when a context gives more windows than one.
    """
    are_windows = EXAMPLE in student_rows.column_names
    if len(student_rows) != len(teacher_rows) or (are_windows and not _same_windows(student_rows, teacher_rows)):
        raise DistillationError(
            "the tokenizers of student and teacher must give the same rows, but they give "
            f"{len(student_rows)} and {len(teacher_rows)}, or windows of other parts of a context. Raise "
            "data.max_length until every context fits, or use a student with the teacher's tokenizer."
        )
    inputs = teacher_rows.select_columns([name for name in MODEL_INPUTS if name in teacher_rows.column_names])
    named = inputs.rename_columns({name: TEACHER + name for name in inputs.column_names})
    both = concatenate_datasets([student_rows, named], axis=1)
    numbers = [name for name in (WORD_IDS, TEACHER + WORD_IDS) if name in both.column_names]
    return both.map(_words_of_both, remove_columns=numbers, desc="Pairing words") if len(numbers) == 2 else both


def _words_of_both(row: dict[str, Any]) -> dict[str, list[int]]:
    """Mark the words that both encodings have: one may have no room for a word, or no piece."""
    common = {*row[WORD_IDS]} & {*row[TEACHER + WORD_IDS]} - {-1}
    return {p + "word_starts": [int(word in common) for word in row[p + WORD_IDS]] for p in ("", TEACHER)}


def same_positions(rows: Dataset) -> bool:
    """Whether every row of `pair_encodings` has as many tokens for the teacher as for the student, choice by choice.

    Where rows say at which tokens words begin or which are the context, these must be the same tokens too.
    """
    marks = [name for name in MARKS if name in rows.column_names]
    names = ["input_ids", *marks]
    return all(
        _shape(row["input_ids"]) == _shape(row[TEACHER + "input_ids"])
        and all(row[name] == row[TEACHER + name] for name in marks)
        for row in rows.select_columns([*names, *(TEACHER + name for name in names)])
    )


def _same_windows(student_rows: Dataset, teacher_rows: Dataset) -> bool:
    """Whether the windows hold the same parts of a context: all of it, or the same tokens with the same answer."""
    own, other = student_rows[EXAMPLE][:], teacher_rows[EXAMPLE][:]
    one_each = len(set(own)) == len(own)
    alike = all(student_rows[name][:] == teacher_rows[name][:] for name in ("length", START, END, "context_mask"))
    return own == other and (one_each or alike)


def _shape(ids: list[int] | list[list[int]]) -> list[int]:
    return [len(part) if isinstance(part, list) else 1 for part in ids]
