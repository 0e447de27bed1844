"""Several models that are evaluated as one: by their mean."""

from collections.abc import Sequence
from inspect import Parameter, Signature, signature
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from distilnlp.signals import SignalRequest
from distilnlp.tasks import task_named
from distilnlp.teachers.ensemble import EnsembleTeacher


class AveragedModel(nn.Module):
    """Answers like one model of the task, by the mean of its members: their size and their time are its own.

    Args:
        models: of one task; the first one's labels are those of the answers.
        mean: the ensemble of the models; what a member reads under a prefix must be in the rows.
    """

    name_or_path = ""

    def __init__(self, models: Sequence[PreTrainedModel], mean: EnsembleTeacher) -> None:
        super().__init__()
        self.models = nn.ModuleList(models)
        self.config = models[0].config
        self._mean = mean

        def forward(**inputs: Tensor) -> Any:
            return self._answer(inputs)

        forward.__signature__ = _named_by(models[0], mean)  # type: ignore[attr-defined]
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
        return SimpleNamespace(**task_named(self._mean.profile.task).as_outputs(logits))


def _named_by(model: PreTrainedModel, mean: EnsembleTeacher) -> Signature:
    """Return the inputs that a model names, those of the other members, and what says which classes exist.

    What only pads must not share a mean.
    """
    own = signature(model.forward)
    named = [one for one in own.parameters.values() if one.kind is not Parameter.VAR_KEYWORD]
    further = mean.columns | task_named(mean.profile.task).loss_inputs
    names = sorted(further - own.parameters.keys())
    return own.replace(parameters=[*named, *(Parameter(name, Parameter.KEYWORD_ONLY) for name in names)])
