"""The objective: the weighted sum of hard, soft and further losses, each with its own count of valid items."""

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import or_

import torch
from torch import Tensor

from distilnlp.errors import DistillationError
from distilnlp.objective.component import Component, HardLoss, LossConfig, ModelPair, SoftLoss
from distilnlp.objective.projections import Projections
from distilnlp.objective.schedule import TEMPERATURE, parse_schedules
from distilnlp.signals import REPEATED, Batch, SignalProfile, SignalRequest, Signals
from distilnlp.tasks import Task


class Objective:
    """Hard, soft and further losses under one convention, built for one student and one teacher.

    Attributes:
        components: the terms whose weight is not zero.
        projections: learned maps of student hidden states to the teacher's width; empty where the widths agree.
        student_request, teacher_request: the signals that the components read.

    Args:
        task: gives the hard and the soft loss.
        temperature: of the response losses.
        hard_loss_weight: 0 leaves the hard loss out.
        soft_loss_weight: 0 leaves the soft loss out.
        losses: the further losses.
        student: what the student can emit.
        teacher: what the teacher can emit; None = there is no teacher, which suits the hard loss alone.
        schedules: courses of weights and of the temperature; see `parse_schedules`.

    Raises:
        DistillationError: a loss that does not fit the task or the two models, or needs a teacher without one.
    """

    def __init__(
        self,
        task: Task,
        *,
        temperature: float,
        hard_loss_weight: float,
        soft_loss_weight: float,
        losses: Sequence[LossConfig],
        student: SignalProfile,
        teacher: SignalProfile | None,
        schedules: Mapping[str, Mapping[str, object]] | None = None,
    ) -> None:
        if teacher is None and (soft_loss_weight > 0 or losses):
            raise DistillationError(
                "teacher_model is missing: pass the fine-tuned model that the student learns from. Only the hard loss "
                "works without (soft_loss_weight=0 and no losses)."
            )
        further = [] if teacher is None else [loss.build(ModelPair(task, student, teacher)) for loss in losses]
        every: list[Component] = [HardLoss(task, hard_loss_weight), SoftLoss(task, soft_loss_weight), *further]
        self.components = [component for component in every if component.weight > 0]
        self._temperature = temperature
        self._schedules = parse_schedules(schedules or {}, self.names)
        self.projections = Projections(
            {key: projection for component in self.components for key, projection in component.projections.items()}
        )
        self.student_request = _join(component.student_request for component in self.components)
        self.teacher_request = _join(component.teacher_request for component in self.components)

    @property
    def needs_teacher(self) -> bool:
        """Whether any component reads the teacher's signals: all but the hard loss do."""
        return any(component.needs_teacher for component in self.components)

    @property
    def aligned_by(self) -> dict[str, str | None]:
        """The components that need the same tokens on both sides, by name, each with the column that does instead."""
        return {component.name: component.aligned_by for component in self.components if component.compares_tokens}

    @property
    def names(self) -> list[str]:
        """Component names in the order of the values."""
        return [component.name for component in self.components]

    @property
    def changes_weights(self) -> bool:
        """Whether a weight has a schedule."""
        return bool(self._schedules.keys() - {TEMPERATURE})

    @property
    def changes_temperature(self) -> bool:
        """Whether the temperature has a schedule."""
        return TEMPERATURE in self._schedules

    def count(self, batch: Batch) -> Tensor:
        """Return `[components]`: how many items of this batch each component counts; 0 in one that is repeated."""
        counts = torch.stack([component.count(batch) for component in self.components])
        return torch.zeros_like(counts) if REPEATED in batch else counts

    def weights(self, progress: float = 0.0) -> list[float]:
        """Return the components' weights when this share of the training is done."""
        return [self._at(component.name, component.weight, progress) for component in self.components]

    def temperature(self, progress: float = 0.0) -> float:
        """Return the temperature when this share of the training is done."""
        return self._at(TEMPERATURE, self._temperature, progress)

    @property
    def teacher_temperatures(self) -> frozenset[float | None]:
        """The temperatures at which the teacher's logits are read, None = as they are; empty where they are not."""
        course = self._schedules.get(TEMPERATURE)
        moments = (0.0,) if course is None else (0.0, course.warmup, 1.0)
        common = frozenset(self.temperature(progress) for progress in moments)
        return frozenset().union(*(component.teacher_temperatures(common) for component in self.components))

    def _at(self, name: str, value: float, progress: float) -> float:
        return self._schedules[name].at(value, progress) if name in self._schedules else value

    def __call__(
        self,
        student: Signals,
        teacher: Signals | None,
        batch: Batch,
        num_items: Tensor | None = None,
        progress: float = 0.0,
    ) -> Tensor:
        """Return `[components]`: the unweighted losses, each its sum over valid items / its entry of `num_items`."""
        divisors = [None] * len(self.components) if num_items is None else list(num_items)
        temperature = self.temperature(progress)
        with torch.autocast(student.logits.device.type, enabled=False):  # it would multiply matrices in half precision
            values = torch.stack(
                [
                    component(student, teacher, batch, divisor, temperature)  # type: ignore[arg-type]  # it needs none
                    for component, divisor in zip(self.components, divisors, strict=True)
                ]
            )
        if REPEATED in batch:
            values = values * 0.0
        # Every parameter of the student takes part, also where no component reads the logits: DDP waits for each.
        reads_logits = any(component.reads_logits for component in self.components)
        return values if reads_logits else values + student.logits.sum() * 0.0

    def total(self, values: Tensor, progress: float = 0.0, factors: Tensor | None = None) -> Tensor:
        """Return the weighted sum of the components' values, the weights multiplied by `factors` if given."""
        if factors is not None:
            values = values * factors.to(values.dtype)
        # Not one tensor of weights: to copy it to the device would wait for the device.
        return torch.stack([weight * value for weight, value in zip(self.weights(progress), values, strict=True)]).sum()


def _join(requests: Iterable[SignalRequest]) -> SignalRequest:
    return reduce(or_, requests, SignalRequest())
