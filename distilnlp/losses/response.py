"""Response-based losses: the labels' hard loss and the teacher's soft loss, on logits."""

import torch.nn.functional as F
from torch import Tensor

from distilnlp.losses.reduction import at_least_float32, ignore_masked, mean_over_items


def cross_entropy(logits: Tensor, labels: Tensor, num_items: Tensor | int | None = None) -> Tensor:
    """Cross-entropy with the labels, in nats.

    Args:
        logits: `[items, classes]`.
        labels: `[items]`, class indices; -100 marks an item without a label, which does not count.
        num_items: see `mean_over_items`; None = the number of labelled items.

    Returns:
        A scalar: Σ over labelled items of −log softmax(logits)[label] / num_items.
    """
    per_item = F.cross_entropy(at_least_float32(logits), labels, reduction="none", ignore_index=-100)
    return mean_over_items(per_item, labels != -100, num_items)


def forward_kl(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float = 1.0,
    mask: Tensor | None = None,
    num_items: Tensor | int | None = None,
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

    Returns:
        A scalar.
    """
    student = F.log_softmax(at_least_float32(student_logits) / temperature, dim=-1)
    target = ignore_masked(at_least_float32(teacher_logits.detach()).to(student.dtype), mask)
    teacher = F.softmax(target / temperature, dim=-1)
    per_item = F.kl_div(student, teacher, reduction="none").sum(dim=-1) * temperature**2
    return mean_over_items(per_item, mask, num_items)
