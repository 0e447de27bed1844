"""Several models that are evaluated as one: by the mean of their probabilities."""

from collections.abc import Sequence
from inspect import Parameter, Signature, signature
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from distilnlp.signals import SignalRequest
from distilnlp.tasks import Task
from distilnlp.tasks.choices import MULTIPLE_CHOICE
from distilnlp.teachers.ensemble import EnsembleTeacher
from distilnlp.teachers.live import LiveTeacher


class AveragedModel(nn.Module):
    """Answers like one model of the task, by the mean of its members: their size and their time are its own.

    Args:
        models: of one task, family and label order.
        task: of the models.
    """

    name_or_path = ""

    def __init__(self, models: Sequence[PreTrainedModel], task: Task) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)
        self.config = models[0].config
        self._mean = EnsembleTeacher([LiveTeacher(model) for model in models], task)

        def forward(**inputs: Tensor) -> Any:
            return self._answer(inputs)

        forward.__signature__ = _named_by(models[0], task)  # type: ignore[attr-defined]
        self.forward = forward

    @property
    def device(self) -> torch.device:
        """Where the members are."""
        return next(self.parameters()).device

    def num_parameters(self, exclude_embeddings: bool = False) -> int:
        """Count the parameters of all members."""
        return sum(model.num_parameters(exclude_embeddings=exclude_embeddings) for model in self.models)  # type: ignore[operator]

    def _answer(self, inputs: dict[str, Tensor]) -> Any:
        logits = self._mean(inputs, SignalRequest()).logits
        if self._mean.profile.task == "question_answering":
            return SimpleNamespace(start_logits=logits[:, 0], end_logits=logits[:, 1])
        return SimpleNamespace(logits=logits)


def _named_by(model: PreTrainedModel, task: Task) -> Signature:
    """Return the inputs that a model names, and which choices there are: those that only pad must not share a mean."""
    own = signature(model.forward)
    named = [one for one in own.parameters.values() if one.kind is not Parameter.VAR_KEYWORD]
    if task is MULTIPLE_CHOICE:
        named.append(Parameter("choice_mask", Parameter.KEYWORD_ONLY))
    return own.replace(parameters=named)
