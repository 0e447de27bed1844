"""The student's and the teacher's view of rows where the teacher reads more."""

from datasets import Dataset

from distilnlp.signals.names import TEACHER_TEXT, TEACHER_TEXT_PAIR, TEXT, TEXT_PAIR


def student_view(rows: Dataset) -> Dataset:
    """Return normalised rows without what only the teacher reads."""
    return rows.remove_columns([name for name in (TEACHER_TEXT, TEACHER_TEXT_PAIR) if name in rows.column_names])


def teacher_view(rows: Dataset) -> Dataset:
    """Return normalised rows with the teacher's text, if they have one, in place of the student's."""
    if TEACHER_TEXT not in rows.column_names:
        return rows
    students = [name for name in (TEXT, TEXT_PAIR) if name in rows.column_names]
    names = {TEACHER_TEXT: TEXT, TEACHER_TEXT_PAIR: TEXT_PAIR}
    own = {source: target for source, target in names.items() if source in rows.column_names}
    return rows.remove_columns(students).rename_columns(own)
