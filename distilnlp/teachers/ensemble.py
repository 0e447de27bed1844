"""An ensemble: several teachers that answer as one, by the mean of their probabilities."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from distilnlp.errors import DistillationError
from distilnlp.losses.reduction import at_least_float32
from distilnlp.signals import Batch, SignalProfile, SignalRequest, Signals
from distilnlp.teachers.protocol import Teacher
from distilnlp.teachers.reordered import in_label_order


class EnsembleTeacher:
    """The mean of the teachers' probabilities, as logits: log of the mean softmax. It gives no hidden states.

    Args:
        teachers: one or more; those that name the first one's labels in another order are reordered.

    Raises:
        DistillationError: no teacher, or teachers with different labels.
    """

    def __init__(self, teachers: Sequence[Teacher]) -> None:
        if not teachers:
            raise DistillationError("expected one teacher or more, but the list is empty. Pass at least one model.")
        profiles = [teacher.profile for teacher in teachers]
        first = next((profile for profile in profiles if profile.label_names is not None), profiles[0])
        self._teachers = [in_label_order(teacher, first, "the first teacher") for teacher in teachers]
        self.columns = frozenset().union(*(teacher.columns for teacher in teachers))
        self.profile = SignalProfile(label_names=first.label_names, num_labels=first.num_labels)

    def to(self, device: torch.device) -> None:
        """Move every teacher to a device."""
        for teacher in self._teachers:
            teacher.to(device)

    @torch.no_grad()
    def __call__(self, batch: Batch, request: SignalRequest) -> Signals:
        """Return the log of the mean probability as logits `[items, classes]`."""
        answers = [at_least_float32(teacher(batch, SignalRequest()).logits) for teacher in self._teachers]
        log_probabilities = torch.stack([F.log_softmax(logits, dim=-1) for logits in answers])
        return Signals(logits=torch.logsumexp(log_probabilities, dim=0) - math.log(len(answers)))
