"""Several models that are evaluated as one: by their mean."""

from collections.abc import Sequence
from inspect import Parameter, signature
from types import SimpleNamespace

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
        self.models, self.config = nn.ModuleList(models), models[0].config
        task, own = task_named(mean.profile.task), signature(models[0].forward)

        def forward(**inputs: Tensor) -> SimpleNamespace:
            return SimpleNamespace(**task.as_outputs(mean(inputs, SignalRequest()).logits))

        # It names the first model's inputs, those of the others, and what says which classes exist: what only pads must
        # not share a mean.
        named = [one for one in own.parameters.values() if one.kind is not Parameter.VAR_KEYWORD]
        further = sorted((mean.columns | task.loss_inputs) - own.parameters.keys())
        named += [Parameter(name, Parameter.KEYWORD_ONLY) for name in further]
        forward.__signature__ = own.replace(parameters=named)  # type: ignore[attr-defined]
        self.forward = forward

    @property
    def device(self) -> torch.device:
        """Where the members are."""
        return next(self.parameters()).device

    def num_parameters(self, exclude_embeddings: bool = False) -> int:
        """Count the parameters of all members."""
        return sum(model.num_parameters(exclude_embeddings=exclude_embeddings) for model in self.models)  # type: ignore[operator]
