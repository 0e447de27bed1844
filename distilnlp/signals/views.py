"""Views of rows and batches where student and teacher read different parts: by prefix, or by the text's name."""

from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

from datasets import Dataset

from distilnlp.signals.names import TEACHER_TEXT, TEACHER_TEXT_PAIR, TEXT, TEXT_PAIR

Value = TypeVar("Value")

# ---- Several encodings of one row, by the prefix of their names ----


def under(prefix: str, entries: Mapping[str, Value]) -> dict[str, Value]:
    """Return the entries of a row or a batch whose names begin with a prefix, by what follows it."""
    return {name.removeprefix(prefix): value for name, value in entries.items() if name.startswith(prefix)}


def outside(prefixes: Iterable[str], entries: Mapping[str, Value]) -> dict[str, Value]:
    """Return the entries of a row or a batch whose names begin with none of the prefixes."""
    begins = tuple(prefixes)
    return {name: value for name, value in entries.items() if not name.startswith(begins)}


def prefixed(prefix: str, entries: Mapping[str, Value]) -> dict[str, Value]:
    """Return entries with a prefix before their names."""
    return {prefix + name: value for name, value in entries.items()}


def columns_under(prefix: str, rows: Dataset, names: Collection[str] | None = None) -> Dataset:
    """Return the columns of rows that begin with a prefix, by what follows it: those of these names, in their order."""
    own = under(prefix, {name: name for name in rows.column_names})
    kept = {own[name]: name for name in (own if names is None else names) if name in own}
    selected = rows.select_columns([*kept])
    return selected.rename_columns(kept) if prefix else selected


def prefixed_columns(prefix: str, rows: Dataset) -> Dataset:
    """Return rows with a prefix before the names of their columns."""
    return rows.rename_columns({name: prefix + name for name in rows.column_names})


# ---- Another text for the teacher ----


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
