"""An ensemble: several teachers that answer as one, by a mean of their probabilities or of their logits."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from distilnlp.errors import DistillationError, did_you_mean
from distilnlp.losses.reduction import at_least_float32
from distilnlp.models.identity import joint_fingerprint
from distilnlp.signals import Batch, SignalProfile, SignalRequest, Signals
from distilnlp.tasks import Task, task_named
from distilnlp.teachers.protocol import LookupTeacher, Teacher
from distilnlp.teachers.reordered import in_label_order

Average = Literal["probabilities", "logits"]


class EnsembleTeacher:
    """The weighted mean of the teachers' answers, as logits; of probabilities by default. It gives no hidden states.

    With w_t the weight of teacher t, normalised over the teachers, p_t its distribution over the classes of an item
    and z_t its logits, the answer is

        probabilities:  log Σ_t w_t · p_t
        logits:         Σ_t w_t · z_t, whose distribution is the geometric mean of the p_t

    Hinton, Vinyals, Dean (arXiv 1503.02531) name both. Of yes-or-no decisions it is the logit of the mean probability,
    or the mean logit; of scores the mean score.

    By confidence, a teacher's weight differs from item to item: it is the given weight times

        1 − H(p_t) / log N

    where H is the entropy and N the number of classes that exist for the item, 2 for a decision. That is 1 for a
    certain teacher, 0 for one that does not know, and one minus the uncertainty of FastBERT (arXiv 2004.02178). Where
    no teacher knows, the given weights hold. Multi-teacher distillation with weights of an example's own: CA-MKD
    (arXiv 2201.00007), which measures confidence against the labels; entropy needs none.

    Args:
        teachers: one or more; those that name the first one's labels in another order are reordered.
        task: what their logits mean; None = what the first says whose profile names a task, else single-label
            classification.
        average: what the mean is of, `"probabilities"` or `"logits"`.
        weights: one number a teacher, not negative; only their proportions matter. A teacher of weight 0 is not
            asked. None = equal.
        by_confidence: weigh each teacher on every item by its confidence too.

    Raises:
        DistillationError: no teacher, teachers with different tasks or labels, weights that are none, another average,
            or confidence asked of scores.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        task: Task | None = None,
        *,
        average: Average = "probabilities",
        weights: Sequence[float] | None = None,
        by_confidence: bool = False,
    ) -> None:
        if not teachers:
            raise DistillationError("expected one teacher or more, but the list is empty. Pass at least one model.")
        _refuse_lookups(teachers)
        profiles = [teacher.profile for teacher in teachers]
        named = next((profile.task for profile in profiles if profile.task is not None), None)
        self._task = task or task_named(named)
        check_average(average, by_confidence, self._task)
        self._average, self._by_confidence = average, by_confidence
        first = next((profile for profile in profiles if profile.label_names is not None), profiles[0])
        self.profile = SignalProfile(first.label_names, first.num_labels, task=self._task.name)
        self.teachers = [in_label_order(teacher, self.profile, "the first teacher") for teacher in teachers]
        self._weights = relative_weights(weights, len(teachers))
        self.columns = frozenset().union(*(teacher.columns for teacher in teachers))

    @property
    def fingerprint(self) -> str | None:
        """What identifies the teachers' joint answers."""
        return joint_fingerprint(*self.teachers, self._task.name, self._average, self._weights, self._by_confidence)

    def to(self, device: torch.device) -> None:
        """Move every teacher to a device."""
        for teacher in self.teachers:
            teacher.to(device)

    @torch.no_grad()
    def __call__(self, batch: Batch, request: SignalRequest) -> Signals:
        """Return the mean answer as logits of the members' shape."""
        asked = [(teacher, weight) for teacher, weight in zip(self.teachers, self._weights, strict=True) if weight > 0]
        answers = torch.stack([at_least_float32(teacher(batch, SignalRequest()).logits) for teacher, _ in asked])
        weights = answers.new_tensor([weight for _, weight in asked]).view(-1, *[1] * (answers.dim() - 1))
        return Signals(logits=self._mean(answers, weights, batch))

    def _mean(self, answers: Tensor, weights: Tensor, batch: Batch) -> Tensor:
        """Return the mean of `[teachers, *logits]` over the teachers."""
        if self._task.answer == "score":
            return _weighted_mean(answers, weights)
        is_binary = self._task.answer == "binary"
        exists = self._task.class_mask(batch)
        lowest = torch.finfo(answers.dtype).min
        if exists is not None:  # padding must not share in the probabilities
            answers = answers.masked_fill(~exists, lowest)
        if self._by_confidence:
            confidence = _confidence(self._task.item_logits(answers), exists)
            weighted = weights * (confidence if is_binary else confidence.unsqueeze(-1))
            weights = torch.where(weighted.sum(dim=0) > 0, weighted, weights)  # as given where no teacher knows
        if self._average == "logits":
            return _weighted_mean(answers, weights).clamp(min=lowest)  # a sum of the lowest numbers is -inf
        if is_binary:
            yes, no = (_log_mean(F.logsigmoid(sign * answers), weights) for sign in (1, -1))
            return yes - no
        return _log_mean(F.log_softmax(answers, dim=-1), weights)


def _refuse_lookups(teachers: Sequence[Teacher]) -> None:
    for teacher in teachers:
        if not isinstance(teacher, Teacher):
            raise DistillationError(
                f"the members of an ensemble must be teachers, but one is a {type(teacher).__name__}. Wrap each model: "
                "as_teacher(model)."
            )
        if isinstance(teacher, LookupTeacher):
            raise DistillationError(
                f"the members of an ensemble must be asked for a batch, but a {type(teacher).__name__} looks its "
                "answers up by row. Average the answers first and give them as one column (ColumnTeacher), or let the "
                "ensemble's own answers be kept."
            )


def _weighted_mean(answers: Tensor, weights: Tensor) -> Tensor:
    return (weights * answers).sum(dim=0) / weights.sum(dim=0)


def _log_mean(log_probabilities: Tensor, weights: Tensor) -> Tensor:
    """Return the log of the mean probability."""
    return torch.logsumexp(log_probabilities + weights.log(), dim=0) - weights.sum(dim=0).log()


def _confidence(logits: Tensor, exists: Tensor | None) -> Tensor:
    """Return 1 − H(p) / log N of `[teachers, *items, classes]`; 1 where there is but one class to choose."""
    entropy = torch.special.entr(logits.softmax(dim=-1)).sum(dim=-1)
    ones = torch.ones_like(logits[0])
    count = (ones if exists is None else ones * exists).sum(dim=-1)
    return (1 - entropy / count.clamp(min=2).log()).clamp(min=0)


def relative_weights(weights: Sequence[float] | None, count: int) -> list[float]:
    """Return one weight a teacher, in units of the largest."""
    given = [1.0] * count if weights is None else list(weights)
    are_weights = all(isinstance(weight, Real) and 0 <= weight < math.inf for weight in given)
    if len(given) != count or not are_weights or not any(given):
        raise DistillationError(
            f"weights must be one finite number from 0 for each of the {count} teachers, not all of them 0, but they "
            f"are {given}. Correct them, or leave them out: then all teachers weigh the same."
        )
    return [float(weight) / float(max(given)) for weight in given]


def check_average(average: str, by_confidence: bool, task: Task) -> None:
    """Raise a `DistillationError` for an unknown mean, or one that does not suit the task."""
    known = get_args(Average)
    if average not in known:
        raise DistillationError(
            f"there is no average {average!r} of teachers.{did_you_mean(str(average), known)} It is one of "
            f"{', '.join(known)}."
        )
    if by_confidence and task.answer == "score":
        raise DistillationError(
            f"by_confidence weighs teachers by the entropy of their distributions, but {task.name} answers with a "
            "score, which has none. Leave by_confidence out; fixed weights are possible."
        )
