"""What a term of the objective is, and the two that every task has: the hard and the soft loss."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from pydantic import Field, model_validator
from torch import Tensor

from distilnlp.objective.projections import Projection
from distilnlp.signals import LABEL_INPUTS, Batch, SignalProfile, SignalRequest, Signals
from distilnlp.tasks import Task
from distilnlp.validation import Section


@dataclass(frozen=True)
class ModelPair:
    """What a loss is built for: the task of student and teacher, and what each can emit."""

    task: Task
    student: SignalProfile
    teacher: SignalProfile


class LossConfig(Section, ABC):
    """One entry of the list `losses`: a loss by name, its weight and its settings. Every loss extends it."""

    name: str = Field(description="name of the loss")
    weight: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="its weight in the objective")

    @abstractmethod
    def build(self, models: ModelPair) -> "Component":
        """Build the component that the entry describes.

        Raises:
            DistillationError: the loss, the task and the models do not fit together.
        """

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        parts = {key: value for key, value in self if key.endswith("_weight")}
        if parts and not any(parts.values()):
            raise ValueError(
                f"every part of {self.name} has the weight 0, so there is nothing to train on. Give one of "
                f"{', '.join(parts)} a positive weight, or set weight: 0 to turn the loss off"
            )
        return self


class Component(ABC):
    """One term of the objective.

    Attributes:
        name: in logs.
        weight: in the objective.
        needs_teacher: whether it reads the teacher's signals.
        reads_logits: whether it reads the student's logits.
        compares_tokens: whether it needs both models to split a text into the same tokens.
        aligned_by: the column that does instead where rows have it in both encodings; None = no such column.
        min_texts: texts that a micro-batch must have for it to have an item.
        student_request, teacher_request: the signals that it reads beside the logits.
        projections: by projection key.
    """

    name: str
    weight: float
    needs_teacher: ClassVar[bool] = True
    reads_logits: ClassVar[bool] = False
    compares_tokens: bool = False
    aligned_by: str | None = None
    min_texts: int = 1
    student_request: SignalRequest = SignalRequest()
    teacher_request: SignalRequest = SignalRequest()
    projections: Mapping[str, Projection] = {}

    def teacher_temperatures(self, common: frozenset[float]) -> frozenset[float | None]:
        """Return the temperatures at which it reads the teacher's logits, None = as they are; empty if it reads none.

        `common` are those that the objective's own temperature takes in the course of training.
        """
        return frozenset()

    @abstractmethod
    def count(self, batch: Batch) -> Tensor:
        """Return how many items of a batch this component counts (a scalar int64 tensor)."""

    @abstractmethod
    def __call__(
        self, student: Signals, teacher: Signals, batch: Batch, num_items: Tensor | int | None, temperature: float
    ) -> Tensor:
        """Return the unweighted loss, a scalar: its sum over those items / `num_items` (None = the items here)."""


class HardLoss(Component):
    """The task's loss against the labels; items without a label do not count."""

    needs_teacher = False
    reads_logits = True

    def __init__(self, task: Task, weight: float) -> None:
        self.name, self.weight, self._task = "hard_loss", weight, task

    def count(self, batch: Batch) -> Tensor:
        return self._task.labelled_items(batch).sum()

    def __call__(
        self, student: Signals, teacher: object, batch: Batch, num_items: Tensor | int | None, temperature: float
    ) -> Tensor:
        if not any(name in batch for name in LABEL_INPUTS):
            return student.logits.sum() * 0.0
        return self._task.hard_loss(student.logits, batch, num_items)


class SoftLoss(Component):
    """The task's loss against the teacher's logits, softened by the temperature; every valid item counts."""

    reads_logits = True

    def __init__(self, task: Task, weight: float) -> None:
        self.name, self.weight, self._task = "soft_loss", weight, task
        self.compares_tokens, self.aligned_by = task.items_are_tokens, task.aligned_by

    def teacher_temperatures(self, common: frozenset[float]) -> frozenset[float | None]:
        return frozenset({None}) if self._task.answer == "score" else common

    def count(self, batch: Batch) -> Tensor:
        return self._task.valid_items(batch).sum()

    def __call__(
        self, student: Signals, teacher: Signals, batch: Batch, num_items: Tensor | int | None, temperature: float
    ) -> Tensor:
        own, other, mask, num_items = compared_items(self._task, student, teacher, batch, num_items)
        return self._task.soft_loss(own, other, temperature, mask, num_items, self._task.class_mask(batch))


def compared_items(
    task: Task, student: Signals, teacher: Signals, batch: Batch, num_items: Tensor | int | None
) -> tuple[Tensor, Tensor, Tensor, Tensor | int | None]:
    """Return both sides' logits `[*items, classes]`, which items count, and their number.

    An item of several decisions (the labels of a text) counts as their mean: the items are then the decisions, and
    their number grows by that factor.
    """
    own, other = task.item_logits(student.logits), task.item_logits(teacher.logits)
    mask = task.valid_items(batch)
    decisions = own.shape[mask.dim() : -1]
    if decisions:
        mask = mask.reshape(*mask.shape, *[1] * len(decisions)).expand(own.shape[:-1])
        num_items = None if num_items is None else num_items * math.prod(decisions)
    return own, other, mask, num_items
