"""The rows of a run for student and teacher at once, where each reads an encoding of its own."""

from dataclasses import replace
from typing import Any

from datasets import Dataset

from distilnlp.data import pair_encodings, same_positions
from distilnlp.errors import DistillationError
from distilnlp.objective import Objective
from distilnlp.runs.encoding import EncodedRows
from distilnlp.runs.lengths import longest_text
from distilnlp.runs.plan import Plan
from distilnlp.signals.names import TEACHER, WORD_IDS
from distilnlp.tasks import shown_windows
from distilnlp.tasks.collators import other_tokens
from distilnlp.tasks.question_answering.rows import QuestionRows
from distilnlp.tasks.question_answering.windows import same_windows
from distilnlp.tasks.text_rows import TextRows, add_words
from distilnlp.tasks.token_classification.rows import TokenRows


def side_by_side(plan: Plan, student: EncodedRows, teacher: EncodedRows) -> tuple[EncodedRows, EncodedRows]:
    """Return what student and teacher read, with the same items in both.

    Of windows of a context, the teacher reads what the student's show. Of words, those are measured that both have
    room for.

    Raises:
        DistillationError: the teacher cannot read what a window shows.
    """
    if isinstance(plan.task.rows, QuestionRows):
        return student, _with_shown_windows(plan, student, teacher)
    if isinstance(plan.task.rows, TokenRows) and student.test is not None and teacher.test is not None:
        own, other = plan.task.rows.with_common_labels(student.test, teacher.test)
        return replace(student, test=own), replace(teacher, test=other)
    return student, teacher


def _with_shown_windows(plan: Plan, student: EncodedRows, teacher: EncodedRows) -> EncodedRows:
    member, is_given = plan.members[0], plan.recipe.teacher.max_length is not None
    longest = min(longest_text(one.model) for one in plan.members)
    limit = member.max_length if is_given else longest

    def shown(part: str) -> Any:
        own, other = getattr(student, part), getattr(teacher, part)
        if own is None or other is None or same_windows(own, other):
            return other
        return shown_windows(own, getattr(plan.data, part), member.tokenizer, limit)

    return replace(teacher, train=shown("train"), validation=shown("validation"))


def paired_training_rows(plan: Plan, student: EncodedRows, teacher: EncodedRows, objective: Objective) -> Dataset:
    """Return the training rows with both encodings, their words numbered if the objective compares these.

    Raises:
        DistillationError: the objective compares tokens, of which the two encodings have others.
    """
    train = pair_encodings(plan.task.rows, student.train, teacher.train)
    aligned_by = objective.aligned_by
    if not aligned_by or same_positions(train):
        return train
    if WORD_IDS in aligned_by.values() and plan.recipe.teacher.text_columns is None:
        train = pair_encodings(plan.task.rows, _with_words(plan, student), _with_words(plan, teacher), words=True)
    columns = {*train.column_names}
    refused = [
        name for name, column in aligned_by.items() if column is None or not {column, TEACHER + column} <= columns
    ]
    if refused and plan.recipe.teacher.text_columns is not None:
        raise DistillationError(
            f"{', '.join(refused)}: student and teacher are compared token by token, but the teacher reads another "
            "text (teacher.text_columns). Remove these losses, or use losses on whole texts."
        )
    if refused:
        raise other_tokens(dict.fromkeys(refused), "the training texts", TEACHER)
    return train


def _with_words(plan: Plan, rows: EncodedRows) -> Dataset:
    if WORD_IDS in rows.train.column_names or not isinstance(plan.task.rows, TextRows):
        return rows.train
    return add_words(rows.train, plan.data.train, rows.tokenizer, rows.max_length)
