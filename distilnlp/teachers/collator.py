"""Batches for a student and its teachers: each side's encoding collated, and answers that are looked up put in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distilnlp.signals import outside, prefixed, token_mask, under
from distilnlp.tasks import Row, other_tokens, refuse_outside
from distilnlp.teachers.protocol import LookupTeacher

Collate = Callable[[list[Row]], dict[str, Tensor]]


@dataclass(frozen=True)
class LookUp:
    """How answers that were made before come into a batch.

    Attributes:
        teacher: whose answers are looked up by row.
        model_columns: columns that a collator can make tensors of; what else the teacher names is kept from it.
        prefix: of the teacher's columns and entries, where it has an encoding of its own.
        is_asked: False only keeps the teacher's columns from the collator: rows that the teacher is not asked about.
    """

    teacher: LookupTeacher
    model_columns: frozenset[str]
    prefix: str = ""
    is_asked: bool = True


class DistillationCollator:
    """Makes batches of rows for a student and its teachers.

    Args:
        student: collates the student's columns, with the labels.
        teachers: by the prefix of a teacher's columns, mostly `teacher_`, what collates them; none where no column has
            a prefix, or `student` collates all of them.
        same_tokens: the losses that need the same tokens on both sides, by name, each with the column that does instead
            where both encodings have it (None = nothing does); a batch without either is refused.
        limits: by entry of the batch, how many ids the models have. Ids beyond are refused: rows of a stream are seen
            here for the first time.
        look_up: the answers that are put into the batch; None = none.
    """

    def __init__(
        self,
        student: Collate,
        teachers: Mapping[str, Collate] | None = None,
        same_tokens: Mapping[str, str | None] | None = None,
        limits: Mapping[str, int] | None = None,
        look_up: LookUp | None = None,
    ) -> None:
        self.student, self.teachers = student, dict(teachers or {})
        self.same_tokens, self.limits, self.look_up = dict(same_tokens or {}), dict(limits or {}), look_up

    def __call__(self, rows: list[Row]) -> dict[str, Tensor]:
        """Return the student's batch with the teachers' inputs and answers beside it."""
        look_up = self.look_up
        if look_up is None:
            return self._encodings(rows)
        hidden = {look_up.prefix + name for name in look_up.teacher.columns - look_up.model_columns}
        batch = self._encodings([{name: row[name] for name in row if name not in hidden} for row in rows])
        if not look_up.is_asked:
            return batch
        if not look_up.prefix:
            return {**batch, **look_up.teacher.look_up([*rows], batch)}
        own: list[Mapping[str, Any]] = [under(look_up.prefix, row) for row in rows]
        return {**batch, **prefixed(look_up.prefix, look_up.teacher.look_up(own, under(look_up.prefix, batch)))}

    def _encodings(self, rows: list[Row]) -> dict[str, Tensor]:
        """Return the batch of each side's inputs."""
        batch = self.student([outside(self.teachers, row) for row in rows] if self.teachers else rows)
        for prefix, collate in self.teachers.items():
            own = [under(prefix, row) for row in rows]
            if not any(own):  # rows to evaluate the student on need no teacher
                continue
            its = collate(own)
            refused = [name for name, column in self.same_tokens.items() if column not in batch.keys() & its.keys()]
            if refused and not torch.equal(token_mask(batch), token_mask(its)):
                raise other_tokens({name: self.same_tokens[name] for name in refused}, "a text of this batch", prefix)
            batch |= prefixed(prefix, its)
        for name, limit in self.limits.items():
            ids = batch.get(name)
            if isinstance(ids, Tensor) and (outer := ids[(ids < 0) | (ids >= limit)].tolist()):
                refuse_outside(name, outer, limit, "a batch")
        return batch
