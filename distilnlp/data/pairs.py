"""The same rows, read by the tokenizers of a student and a teacher."""

from datasets import Dataset, concatenate_datasets

from distilnlp.data.questions import EXAMPLE
from distilnlp.errors import DistillationError

TEACHER = "teacher_"
MODEL_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "word_starts", "context_mask")


def pair_encodings(student_rows: Dataset, teacher_rows: Dataset) -> Dataset:
    """Return the student's tokenised rows with the teacher's beside them, as `teacher_input_ids` and so on.

    Args:
        student_rows: rows tokenised for the student.
        teacher_rows: the same rows, in the same order, tokenised for the teacher.

    Raises:
        DistillationError: the rows are not the same, as when a context gives more windows than one.
    """
    one_each = EXAMPLE not in student_rows.column_names or _one_window_each(student_rows, teacher_rows)
    if len(student_rows) != len(teacher_rows) or not one_each:
        raise DistillationError(
            "the tokenizers of student and teacher must give the same rows, but they give "
            f"{len(student_rows)} and {len(teacher_rows)}, or windows of other parts of a context. Raise "
            "data.max_length until every context fits, or use a student with the teacher's tokenizer."
        )
    inputs = teacher_rows.select_columns([name for name in MODEL_INPUTS if name in teacher_rows.column_names])
    named = inputs.rename_columns({name: TEACHER + name for name in inputs.column_names})
    return concatenate_datasets([student_rows, named], axis=1)


def same_positions(rows: Dataset) -> bool:
    """Whether every row of `pair_encodings` has as many tokens for the teacher as for the student, choice by choice."""
    columns = rows.select_columns(["input_ids", TEACHER + "input_ids"])
    return all(_shape(row["input_ids"]) == _shape(row[TEACHER + "input_ids"]) for row in columns)


def _one_window_each(student_rows: Dataset, teacher_rows: Dataset) -> bool:
    """Whether both read every context in one window: two windows of two tokenizers hold different parts of it."""
    own, other = student_rows[EXAMPLE][:], teacher_rows[EXAMPLE][:]
    return own == other and len(set(own)) == len(own)


def _shape(ids: list[int] | list[list[int]]) -> list[int]:
    return [len(part) if isinstance(part, list) else 1 for part in ids]
