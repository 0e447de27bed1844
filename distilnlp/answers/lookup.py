"""Batches with a teacher's answers in them, looked up by row."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from distilnlp.teachers import LookupTeacher


class LookupCollator:
    """Collates rows, and puts what a teacher answers for them into the batch.

    Args:
        collate: makes the batch of the student's columns.
        teacher: whose answers are looked up.
        model_columns: columns that a collator can make tensors of; what else the teacher names is kept from it.
        prefix: of the teacher's columns and entries, where it has an encoding of its own.
        answers: False only keeps the teacher's columns from the collator: rows that the teacher is not asked about.
    """

    def __init__(
        self,
        collate: Callable[[list[Any]], dict[str, Tensor]],
        teacher: LookupTeacher,
        model_columns: frozenset[str],
        prefix: str = "",
        answers: bool = True,
    ) -> None:
        self.collate, self.teacher, self.prefix, self.answers = collate, teacher, prefix, answers
        self.hidden = frozenset(prefix + name for name in teacher.columns - model_columns)

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Return the batch of the rows, the teacher's entries among it."""
        batch = self.collate([{name: value for name, value in row.items() if name not in self.hidden} for row in rows])
        if not self.answers:
            return batch
        answers = self.teacher.look_up([self._own(row) for row in rows], self._own(batch))
        return {**batch, **{self.prefix + name: value for name, value in answers.items()}}

    def _own(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the teacher sees, under the names that it knows."""
        start = len(self.prefix)
        return {name[start:]: value for name, value in values.items() if name.startswith(self.prefix)}
