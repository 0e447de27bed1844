"""An ensemble: several teachers that answer as one, by the mean of their probabilities."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from distilnlp.errors import DistillationError
from distilnlp.losses.reduction import at_least_float32
from distilnlp.signals import Batch, SignalProfile, SignalRequest, Signals
from distilnlp.tasks import SINGLE_LABEL_CLASSIFICATION, Task, task_named
from distilnlp.teachers.protocol import Teacher
from distilnlp.teachers.reordered import in_label_order


class EnsembleTeacher:
    """The mean of the teachers' probabilities, as logits: log of the mean softmax. It gives no hidden states.

    Of yes-or-no decisions it is the mean of their probabilities, of scores the mean score.

    Args:
        teachers: one or more; those that name the first one's labels in another order are reordered.
        task: what their logits mean; None = what the first says whose profile names a task, else single-label
            classification.

    Raises:
        DistillationError: no teacher, or teachers with different tasks or labels.
    """

    def __init__(self, teachers: Sequence[Teacher], task: Task | None = None) -> None:
        if not teachers:
            raise DistillationError("expected one teacher or more, but the list is empty. Pass at least one model.")
        profiles = [teacher.profile for teacher in teachers]
        named = next((profile.task for profile in profiles if profile.task is not None), None)
        self._task = task or (SINGLE_LABEL_CLASSIFICATION if named is None else task_named(named))
        first = next((profile for profile in profiles if profile.label_names is not None), profiles[0])
        self.profile = SignalProfile(first.label_names, first.num_labels, task=self._task.name)
        self._teachers = [in_label_order(teacher, self.profile, "the first teacher") for teacher in teachers]
        self.columns = frozenset().union(*(teacher.columns for teacher in teachers))

    def to(self, device: torch.device) -> None:
        """Move every teacher to a device."""
        for teacher in self._teachers:
            teacher.to(device)

    @torch.no_grad()
    def __call__(self, batch: Batch, request: SignalRequest) -> Signals:
        """Return the mean answer as logits of the members' shape."""
        answers = [teacher(batch, SignalRequest()).logits for teacher in self._teachers]
        return Signals(logits=self._mean(torch.stack([at_least_float32(answer) for answer in answers]), batch))

    def _mean(self, answers: Tensor, batch: Batch) -> Tensor:
        """Return the mean of `[teachers, *logits]` over the teachers."""
        if self._task.answer == "score":
            return answers.mean(dim=0)
        if self._task.answer == "binary":
            yes, no = (_log_mean(F.logsigmoid(sign * answers)) for sign in (1, -1))
            return yes - no
        exists = self._task.class_mask(batch)
        if exists is not None:  # padding must not share in the probabilities
            answers = answers.masked_fill(~exists, torch.finfo(answers.dtype).min)
        return _log_mean(F.log_softmax(answers, dim=-1))


def _log_mean(log_probabilities: Tensor) -> Tensor:
    """Return the log of the mean over the first dimension."""
    return torch.logsumexp(log_probabilities, dim=0) - math.log(len(log_probabilities))
