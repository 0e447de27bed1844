"""Soft losses: the student's logits against the teacher's. All take the arguments of `forward_kl`, some take more.

What does not count, by `mask` or by `class_mask`, has a gradient of exactly zero and may hold any value, NaN included,
in student and teacher.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from distilnlp.losses.reduction import at_least_float32, mean_over_items

ABSENT = -1e30  # the logit of a class that does not exist: e to this power is 0, and so is 0 times this
VARIANCE_FLOOR = 1e-6  # added to the variance of logits
RELATIVE_VARIANCE_FLOOR = 1e-8  # added to the variance of probabilities, in units of their mean square


def forward_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    num_items: Tensor | int | None = None,
    class_mask: Tensor | None = None,
) -> Tensor:
    """T² · KL(teacher ‖ student) of the distributions softened by the temperature, in nats.

    Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network" (arXiv 1503.02531). The factor T² keeps the
    gradient's size nearly independent of T: it is T · (softmax(student/T) − softmax(teacher/T)) an item.

    Args:
        student_logits: `[..., classes]`.
        teacher_logits: `[..., classes]`, in the same label order; no gradient flows to them. A class of probability
            zero (a logit of −inf) is allowed.
        temperature: T > 0, divides both logits.
        mask: bool `[...]`, True where the item counts; None = all count.
        num_items: see `mean_over_items`; None = the number of items that count.
        class_mask: bool `[..., classes]` or broadcasting to it, True where the class exists for the item: the positions
            of a context, the real choices of a question. None = all do. An item without classes does not count.

    Returns:
        A scalar.
    """
    student, teacher, exists = _comparable(student_logits, teacher_logits, mask, class_mask)
    student, teacher = _soften(student, temperature, exists), _soften(teacher, temperature, exists)
    return mean_over_items(_kl(student, teacher) * temperature**2, _items(exists), num_items)


def reverse_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    num_items: Tensor | int | None = None,
    class_mask: Tensor | None = None,
) -> Tensor:
    """T² · KL(student ‖ teacher) of the distributions softened by the temperature, in nats.

    It punishes probability where the teacher has little, so a student too small to match all of the teacher's
    distribution keeps to its peaks; MiniLLM (arXiv 2306.08543) uses it for language models.

    Arguments and result as for `forward_kl`, but the teacher's logits must be finite where the class exists: a
    probability of zero makes the loss infinite.
    """
    student, teacher, exists = _comparable(student_logits, teacher_logits, mask, class_mask)
    log_student = F.log_softmax(_soften(student, temperature, exists), dim=-1)
    log_teacher = F.log_softmax(_soften(teacher, temperature, exists), dim=-1)
    per_item = (log_student.exp() * (log_student - log_teacher)).sum(dim=-1)
    return mean_over_items(per_item * temperature**2, _items(exists), num_items)


def jensen_shannon(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    num_items: Tensor | int | None = None,
    class_mask: Tensor | None = None,
) -> Tensor:
    """T² · (KL(teacher ‖ mixture) + KL(student ‖ mixture)) / 2, in nats; the mixture is the mean of the two.

    Unlike a KL divergence it is symmetric, and at most T² · log 2 an item. The generalised form of GKD
    (arXiv 2306.13649) at equal weights. Arguments and result as for `forward_kl`.
    """
    student, teacher, exists = _comparable(student_logits, teacher_logits, mask, class_mask)
    log_student = F.log_softmax(_soften(student, temperature, exists), dim=-1)
    log_teacher = F.log_softmax(_soften(teacher, temperature, exists), dim=-1)
    log_mixture = torch.logaddexp(log_student, log_teacher) - math.log(2)
    of_student = F.kl_div(log_mixture, log_student, reduction="none", log_target=True)
    of_teacher = F.kl_div(log_mixture, log_teacher.exp(), reduction="none")  # probabilities may be zero, logs not
    per_item = (of_student + of_teacher).sum(dim=-1) / 2
    return mean_over_items(per_item * temperature**2, _items(exists), num_items)


def logit_mse(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    num_items: Tensor | int | None = None,
    class_mask: Tensor | None = None,
) -> Tensor:
    """Mean squared difference of the logits: averaged over the classes that exist, then over the items that count.

    Ba and Caruana (arXiv 1312.6184) train on the logits; Kim et al. (arXiv 2105.08919) compare it with the KL
    divergence. With a single output it is the soft loss of regression.

    Arguments as for `forward_kl`, but the teacher's logits must be finite where the class exists, and the temperature
    is without effect: T² · ((student − teacher) / T)² is the same at every T.

    Returns:
        A scalar, in squared units of the logits.
    """
    student, teacher, exists = _comparable(student_logits, teacher_logits, mask, class_mask)
    difference = _keep(student - teacher, exists, 0.0)
    return mean_over_items(_mean(difference.square(), exists).squeeze(-1), _items(exists), num_items)


def standardized_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    num_items: Tensor | int | None = None,
    class_mask: Tensor | None = None,
) -> Tensor:
    """`forward_kl` of standardised logits: each item's have mean 0 and variance 1 over its classes.

    Logit standardization (arXiv 2403.01427): the student learns how the teacher ranks and spaces the classes, and is
    free in the scale of its logits. The variance is that of the population, plus 1e-6, so that constant logits have a
    finite gradient. Two classes become −1 and 1, whatever the logits, which leaves nothing to learn but their order.

    Arguments and result as for `forward_kl`, but the teacher's logits must be finite where the class exists, and the
    temperature divides the standardised logits.
    """
    student, teacher, exists = _comparable(student_logits, teacher_logits, mask, class_mask)
    student, teacher = (_standardize(logits, exists, floor=VARIANCE_FLOOR) for logits in (student, teacher))
    student, teacher = _soften(student, temperature, exists), _soften(teacher, temperature, exists)
    return mean_over_items(_kl(student, teacher) * temperature**2, _items(exists), num_items)


def dkd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    num_items: Tensor | int | None = None,
    class_mask: Tensor | None = None,
    *,
    labels: Tensor | None = None,
    target_weight: float = 1.0,
    non_target_weight: float = 8.0,
) -> Tensor:
    """Decoupled distillation: T² · (target_weight · target part + non_target_weight · non-target part).

    Decoupled Knowledge Distillation (arXiv 2203.08679). The target part is KL(teacher ‖ student) of two events, the
    target class and any other; the non-target part is KL(teacher ‖ student) over the other classes, renormalised to
    sum to 1. In `forward_kl` the latter is weighted by 1 − the teacher's probability of the target, which is next to
    nothing where the teacher is sure. With two classes the non-target part is 0.

    Further arguments and the result are as for `forward_kl`, but the teacher's logits must be finite where the class
    exists.

    Args:
        labels: int `[...]`, the target classes. Where a label is none of the item's classes (-100, say), and where
            labels is None, the class that the teacher finds most likely takes its place.
        target_weight: weight of the target part.
        non_target_weight: weight of the non-target part.
    """
    student, teacher, exists = _comparable(student_logits, teacher_logits, mask, class_mask)
    target = _target_class(teacher, labels, exists)
    student, teacher = _soften(student, temperature, exists), _soften(teacher, temperature, exists)
    target_part = _kl(_two_events(student, target), _two_events(teacher, target))
    other_part = _kl(_keep(student, ~target, ABSENT), _keep(teacher, ~target, ABSENT))
    per_item = target_weight * target_part + non_target_weight * other_part
    return mean_over_items(per_item * temperature**2, _items(exists), num_items)


def dist(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    num_items: Tensor | int | None = None,
    class_mask: Tensor | None = None,
    *,
    inter_weight: float = 1.0,
    intra_weight: float = 1.0,
) -> Tensor:
    """T² · (inter_weight · inter + intra_weight · intra): one minus correlations of the softened probabilities.

    "Knowledge Distillation from A Stronger Teacher", DIST (arXiv 2205.10536), asks the student for the teacher's
    relations rather than its values:

    - inter, one an item: 1 − Pearson's correlation of student and teacher across the item's classes. With two classes
      it is 0 or 2, next to without gradient, and intra alone teaches.
    - intra, one a call: 1 − the correlation across the items that count and have the class, averaged over the classes
      that two such items or more have. It relates the items of one micro-batch, so it depends on how a batch is cut.
      It is added to every item that counts, which makes its part of the sum grow with the number of items.

    Fewer than two values have no correlation and add 0. To each variance 1e-8 of the mean square (and 1e-30) is added:
    a constant vector has the correlation 0 and a finite gradient.

    Further arguments and the result are as for `forward_kl`.

    Args:
        inter_weight: weight of the relation among classes.
        intra_weight: weight of the relation among items.
    """
    student, teacher, exists = _comparable(student_logits, teacher_logits, mask, class_mask)
    if exists is None:
        exists = torch.ones_like(student, dtype=torch.bool)
    student, teacher, exists = (
        tensor.reshape(-1, student.shape[-1]) for tensor in (student, teacher, exists.expand_as(student))
    )
    student, teacher = (F.softmax(_soften(logits, temperature, exists), dim=-1) for logits in (student, teacher))
    inter = _correlation_distance(student, teacher, exists, dim=-1)
    related_classes = (exists.sum(dim=0) > 1).sum()
    intra = _correlation_distance(student, teacher, exists, dim=0).sum() / related_classes.clamp(min=1)
    per_item = inter_weight * inter + intra_weight * intra
    return mean_over_items(per_item * temperature**2, _items(exists), num_items)


# ---- What counts ----
# `exists` says it for all losses: bool `[..., classes]`, or `[..., 1]` where an item has all classes or does not count;
# None = everything counts.


def _comparable(
    student_logits: Tensor, teacher_logits: Tensor, mask: Tensor | None, class_mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return student and teacher of one precision, float32 at least, the teacher without gradient, and `exists`."""
    student = at_least_float32(student_logits)
    exists = class_mask if class_mask is None else class_mask.expand_as(student)
    if mask is not None:
        exists = mask.unsqueeze(-1) if exists is None else exists & mask.unsqueeze(-1)
    return student, teacher_logits.detach().to(student.dtype), exists


def _items(exists: Tensor | None) -> Tensor | None:
    """Return `[...]`: True for the items that have a class; None = all."""
    return None if exists is None else exists.any(dim=-1)


def _keep(values: Tensor, exists: Tensor | None, otherwise: float) -> Tensor:
    """Replace what does not count, before anything is computed from it: 0 · NaN = NaN, in a gradient as elsewhere."""
    return values if exists is None else values.masked_fill(~exists, otherwise)


def _soften(logits: Tensor, temperature: float, exists: Tensor | None) -> Tensor:
    return _keep(logits / temperature, exists, ABSENT)


# ---- Distributions ----


def _kl(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(softmax(teacher) ‖ softmax(student)): `[..., classes]` to `[...]`."""
    return F.kl_div(F.log_softmax(student, dim=-1), F.softmax(teacher, dim=-1), reduction="none").sum(dim=-1)


def _target_class(teacher: Tensor, labels: Tensor | None, exists: Tensor | None) -> Tensor:
    """Return bool `[..., classes]`: True for the label's class, or else for the one that the teacher prefers."""
    classes = torch.arange(teacher.shape[-1], device=teacher.device)
    target = classes == _keep(teacher, exists, ABSENT).argmax(dim=-1, keepdim=True)
    if labels is None:
        return target
    labelled = classes == labels.unsqueeze(-1)
    if exists is not None:
        labelled = labelled & exists
    return torch.where(labelled.any(dim=-1, keepdim=True), labelled, target)


def _two_events(logits: Tensor, target: Tensor) -> Tensor:
    """Return `[..., 2]`: logits of "the target" and of "any other class"."""
    return torch.stack([_keep(logits, event, ABSENT).logsumexp(dim=-1) for event in (target, ~target)], dim=-1)


# ---- Statistics over what counts ----


def _mean(values: Tensor, exists: Tensor | None, dim: int = -1) -> Tensor:
    """Return the mean along a dimension, which stays with size 1; 0 where nothing counts."""
    if exists is None:
        return values.mean(dim, keepdim=True)
    count = exists.expand_as(values).sum(dim, keepdim=True).clamp(min=1)
    return _keep(values, exists, 0.0).sum(dim, keepdim=True) / count


def _standardize(values: Tensor, exists: Tensor | None, dim: int = -1, *, floor: Tensor | float) -> Tensor:
    """Shift and scale to mean 0 and variance 1 along a dimension; `floor` is added to the variance."""
    centred = _keep(values - _mean(values, exists, dim), exists, 0.0)
    return centred / (_mean(centred.square(), exists, dim) + floor).sqrt()


def _correlation_distance(student: Tensor, teacher: Tensor, exists: Tensor, dim: int) -> Tensor:
    """Return 1 − Pearson's correlation along a dimension, which is removed; 0 where fewer than two values exist."""
    own, other = (
        _standardize(values, exists, dim, floor=RELATIVE_VARIANCE_FLOOR * _mean(values.square(), exists, dim) + 1e-30)
        for values in (student, teacher)
    )
    distance = 1 - _mean(own * other, exists, dim).squeeze(dim)
    return torch.where(exists.sum(dim) > 1, distance, torch.zeros_like(distance))
