"""Response losses: what the teacher answers, beside the soft loss that every objective has."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pydantic import Field
from torch import Tensor

from distilnlp import losses
from distilnlp.errors import DistillationError
from distilnlp.objective.component import Component, LossConfig, ModelPair, compared_items
from distilnlp.signals import Batch, Signals
from distilnlp.tasks import Answer, Task


class LogitsConfig(LossConfig):
    """An entry of `losses` that compares logits."""

    temperature: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="of this loss alone; null = that of the objective"
    )

    def build(self, models: ModelPair) -> "ResponseLoss":
        task = models.task
        fitting = [name for name, other in RESPONSES.items() if fits(other, task, models.student.num_labels)]
        if self.name not in fitting:
            raise DistillationError(
                f"the loss {self.name!r} and the task {task.name} do not fit: {_why_not(RESPONSES[self.name], task)}. "
                f"The response losses that fit here: {', '.join(fitting)}."
            )
        return ResponseLoss(self, task)


class ResponseConfig(LogitsConfig):
    """An entry of `losses` that compares logits, without further settings."""

    name: Literal["forward_kl", "reverse_kl", "jensen_shannon", "logit_mse", "standardized_kl"]


class DKDConfig(LogitsConfig):
    """An entry of `losses` for decoupled distillation."""

    name: Literal["dkd"]
    target_weight: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="weight of the target's part")
    non_target_weight: float = Field(default=8.0, ge=0, allow_inf_nan=False, description="weight of the other classes")


class DISTConfig(LogitsConfig):
    """An entry of `losses` for relations among classes and among texts."""

    name: Literal["dist"]
    inter_weight: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="weight of a text's classes")
    intra_weight: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="weight of a class over texts")


@dataclass(frozen=True)
class Response:
    """A response loss and what it can be used for.

    Attributes:
        compute: the function of tensors.
        answers: the kinds of answers it can compare.
        min_classes: with fewer it has nothing to compare; 0 = it needs no fixed number.
        fixed_classes: it relates one class over several items, so every item must have the same classes.
        reads_probabilities: it compares distributions, and not the logits themselves.
    """

    compute: Callable[..., Tensor]
    answers: tuple[Answer, ...] = ("categorical",)
    min_classes: int = 0
    fixed_classes: bool = False
    reads_probabilities: bool = True


RESPONSES = {
    "forward_kl": Response(losses.forward_kl, ("categorical", "binary")),
    "reverse_kl": Response(losses.reverse_kl, ("categorical", "binary")),
    "jensen_shannon": Response(losses.jensen_shannon, ("categorical", "binary")),
    "logit_mse": Response(losses.logit_mse, ("categorical", "binary", "score"), reads_probabilities=False),
    "dkd": Response(losses.dkd, min_classes=3),
    "dist": Response(losses.dist, min_classes=3, fixed_classes=True),
    "standardized_kl": Response(losses.standardized_kl, min_classes=3, reads_probabilities=False),
}


class ResponseLoss(Component):
    """A response loss of the list `losses`."""

    reads_logits = True

    def __init__(self, config: LogitsConfig, task: Task) -> None:
        self.name, self.weight, self._task = config.name, config.weight, task
        self._response, self._temperature = RESPONSES[config.name], config.temperature
        self.compares_tokens = task.items_are_tokens
        # Probabilities can be added up where the pieces of a text differ; logits cannot.
        self.aligned_by = task.aligned_by if self._response.reads_probabilities else None
        self._options = config.model_dump(exclude={"name", "weight", "temperature"})

    def teacher_temperatures(self, common: frozenset[float]) -> frozenset[float | None]:
        if not self._response.reads_probabilities:
            return frozenset({None})
        return common if self._temperature is None else frozenset({self._temperature})

    def count(self, batch: Batch) -> Tensor:
        return self._task.valid_items(batch).sum()

    def __call__(
        self, student: Signals, teacher: Signals, batch: Batch, num_items: Tensor | int | None, temperature: float
    ) -> Tensor:
        own, other, mask, num_items = compared_items(self._task, student, teacher, batch, num_items)
        labels = {"labels": self._task.item_labels(batch)} if self.name == "dkd" else {}
        softened, classes = self._temperature or temperature, self._task.class_mask(batch)
        return self._response.compute(own, other, softened, mask, num_items, classes, **self._options, **labels)


def fits(response: Response, task: Task, num_labels: int) -> bool:
    """Tell whether a response loss has something to compare in a task whose logits have `num_labels` classes."""
    enough = response.min_classes <= num_labels or task.classes_vary
    return task.answer in response.answers and enough and not (response.fixed_classes and task.classes_vary)


def _why_not(response: Response, task: Task) -> str:
    if task.answer not in response.answers:
        kinds = {"categorical": "one class of several", "binary": "yes or no for each label", "score": "a number"}
        compared = " or ".join(kinds[kind] for kind in response.answers)
        return f"it compares {compared}, and here the answer is {kinds[task.answer]}"
    if response.fixed_classes and task.classes_vary:
        return "it follows a class over several texts, and here every text has its own positions or choices"
    return f"it needs {response.min_classes} classes or more: with fewer it has nothing to compare"
