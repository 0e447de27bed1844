"""The objective: the weighted sum of hard, soft and feature losses, each with its own count of valid items."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from distilnlp.errors import DistillationError, did_you_mean
from distilnlp.layer_mapping import LayerMapping, resolve_layer_mapping
from distilnlp.losses import hidden_state_cosine, hidden_state_mse
from distilnlp.projections import Projections
from distilnlp.signals import Batch, SignalProfile, SignalRequest, Signals
from distilnlp.tasks import Task
from distilnlp.validation import Section, parse_section

FEATURE_LOSSES: dict[str, Callable[..., Tensor]] = {
    "hidden_state_mse": hidden_state_mse,
    "hidden_state_cosine": hidden_state_cosine,
}


class LossConfig(Section):
    """One entry of the list `losses`: a loss by name, its weight and, for feature losses, its layers."""

    name: str = Field(description="name of the loss: " + ", ".join(FEATURE_LOSSES))
    weight: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="its weight in the objective")
    layer_mapping: str | list[tuple[int, int]] = Field(
        default="uniform",
        description="pairs of (student, teacher) hidden-state indices, 0 = embeddings, or uniform, first, last",
    )


def parse_losses(entries: Sequence[dict[str, Any]]) -> list[LossConfig]:
    """Validate the list `losses`.

    Raises:
        DistillationError: an unknown loss or key, an unfit value, or the same loss twice.
    """
    losses = [parse_section(LossConfig, entry, f"losses[{index}]") for index, entry in enumerate(entries)]
    names = [loss.name for loss in losses]
    for index, name in enumerate(names):
        if name not in FEATURE_LOSSES:
            known = sorted(FEATURE_LOSSES)
            raise DistillationError(
                f"losses[{index}] names no loss: {name!r}.{did_you_mean(name, known)} Known: {known}."
            )
        if name in names[:index]:
            raise DistillationError(f"losses names {name!r} twice: join the two into one entry with one layer_mapping.")
    return losses


class Component(ABC):
    """One term of the objective."""

    name: str
    weight: float

    @abstractmethod
    def count(self, batch: Batch) -> Tensor:
        """Return how many items of a batch this component counts (a scalar int64 tensor)."""

    @abstractmethod
    def __call__(self, student: Signals, teacher: Any, batch: Batch, num_items: Tensor | int | None) -> Tensor:
        """Return the unweighted loss, a scalar: its sum over those items / `num_items` (None = the items here)."""


@dataclass(frozen=True)
class HardLoss(Component):
    """The task's loss against the labels; rows without a label do not count."""

    task: Task
    weight: float
    name: str = "hard_loss"

    def count(self, batch: Batch) -> Tensor:
        return self.task.labelled_items(batch).sum()

    def __call__(self, student: Signals, teacher: Any, batch: Batch, num_items: Tensor | int | None) -> Tensor:
        if "labels" not in batch:
            return student.logits.sum() * 0.0
        return self.task.hard_loss(student.logits, batch["labels"], num_items)


@dataclass(frozen=True)
class SoftLoss(Component):
    """The task's loss against the teacher's logits, softened by the temperature; every valid item counts."""

    task: Task
    weight: float
    temperature: float
    name: str = "soft_loss"

    def count(self, batch: Batch) -> Tensor:
        return self.task.valid_items(batch).sum()

    def __call__(self, student: Signals, teacher: Any, batch: Batch, num_items: Tensor | int | None) -> Tensor:
        mask = self.task.valid_items(batch)
        return self.task.soft_loss(student.logits, teacher.logits, self.temperature, mask, num_items)


@dataclass(frozen=True)
class FeatureLoss(Component):
    """A loss on hidden states, averaged over the pairs of a layer mapping; real tokens count."""

    name: str
    weight: float
    distance: Callable[..., Tensor]
    layer_mapping: LayerMapping

    def count(self, batch: Batch) -> Tensor:
        return _token_mask(batch).sum()

    def __call__(self, student: Signals, teacher: Any, batch: Batch, num_items: Tensor | int | None) -> Tensor:
        if student.hidden_states is None or teacher.hidden_states is None:
            raise DistillationError(f"{self.name} needs hidden states of student and teacher, but one gave none.")
        mask = _token_mask(batch)
        pairs = [
            self.distance(
                student.projected.get(projection_key(self.name, own), student.hidden_states[own]),
                teacher.hidden_states[other],
                mask,
                num_items,
            )
            for own, other in self.layer_mapping
        ]
        return torch.stack(pairs).mean()


class Objective:
    """Hard, soft and feature losses under one convention, built for one student and one teacher.

    Attributes:
        components: the terms whose weight is not zero.
        projections: learned maps of student hidden states to the teacher's width; empty where the widths agree.
        request: the signals that the components read.

    Args:
        task: gives the hard and the soft loss.
        temperature: of the soft loss.
        hard_loss_weight: 0 leaves the hard loss out.
        soft_loss_weight: 0 leaves the soft loss out.
        losses: the feature losses.
        student: what the student can emit.
        teacher: what the teacher can emit; None = there is no teacher, which suits the hard loss alone.

    Raises:
        DistillationError: a layer mapping that does not fit the two models, or a loss that needs a teacher without one.
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
    ) -> None:
        if teacher is None and (soft_loss_weight > 0 or losses):
            raise DistillationError(
                "teacher_model is missing: pass the fine-tuned model that the student learns from. Only the hard loss "
                "works without (soft_loss_weight=0 and no losses)."
            )
        features = [feature_loss(config, student, teacher) for config in losses if teacher is not None]
        every: list[Component] = [
            HardLoss(task, hard_loss_weight),
            SoftLoss(task, soft_loss_weight, temperature),
            *features,
        ]
        self.components = [component for component in every if component.weight > 0]
        self.projections = _projections_for(features, student, teacher)
        self.request = SignalRequest(hidden_states=any(feature.weight > 0 for feature in features))

    @property
    def needs_teacher(self) -> bool:
        """Whether any component reads the teacher's signals: all but the hard loss do."""
        return any(not isinstance(component, HardLoss) for component in self.components)

    @property
    def names(self) -> list[str]:
        """Component names in the order of the values."""
        return [component.name for component in self.components]

    def count(self, batch: Batch) -> Tensor:
        """Return `[components]`: how many items of this batch each component counts."""
        return torch.stack([component.count(batch) for component in self.components])

    def __call__(
        self, student: Signals, teacher: Signals | None, batch: Batch, num_items: Tensor | None = None
    ) -> Tensor:
        """Return `[components]`: the unweighted losses, each its sum over valid items / its entry of `num_items`."""
        divisors = [None] * len(self.components) if num_items is None else list(num_items)
        pairs = zip(self.components, divisors, strict=True)
        values = torch.stack([component(student, teacher, batch, divisor) for component, divisor in pairs])
        # Every parameter of the student takes part, also where no component reads the logits: DDP waits for each.
        return values if self._reads_logits else values + student.logits.sum() * 0.0

    @property
    def _reads_logits(self) -> bool:
        return any(isinstance(component, HardLoss | SoftLoss) for component in self.components)

    def total(self, values: Tensor) -> Tensor:
        """Return the weighted sum of the components' values."""
        weighted = [component.weight * value for component, value in zip(self.components, values, strict=True)]
        return torch.stack(weighted).sum()


def feature_loss(config: LossConfig, student: SignalProfile, teacher: SignalProfile) -> FeatureLoss:
    """Build the component that an entry of `losses` describes, for this student and this teacher."""
    mapping = resolve_layer_mapping(config.layer_mapping, student.num_hidden_states, teacher.num_hidden_states)
    return FeatureLoss(config.name, config.weight, FEATURE_LOSSES[config.name], mapping)


def projection_key(loss: str, student_index: int) -> str:
    """Return the name of the projection of one student hidden state for one loss."""
    return f"{loss}_{student_index}"


def _projections_for(
    features: Sequence[FeatureLoss], student: SignalProfile, teacher: SignalProfile | None
) -> Projections:
    if teacher is None or student.hidden_size == teacher.hidden_size:
        return Projections({}, {})
    states = {
        projection_key(feature.name, own): own
        for feature in features
        if feature.weight > 0
        for own, _ in feature.layer_mapping
    }
    return Projections({key: nn.Linear(student.hidden_size, teacher.hidden_size) for key in states}, states)


def _token_mask(batch: Batch) -> Tensor:
    """Bool `[batch, length]`: True for real tokens."""
    if "attention_mask" in batch:
        return batch["attention_mask"].bool()
    return torch.ones_like(batch["input_ids"], dtype=torch.bool)
