"""Hard losses: logits or scores against the labels. What has no label does not count."""

import math

import torch.nn.functional as F
from torch import Tensor

from distilnlp.losses.reduction import at_least_float32, ignore_masked, mean_over_items


def cross_entropy(
    logits: Tensor, labels: Tensor, num_items: Tensor | int | None = None, class_mask: Tensor | None = None
) -> Tensor:
    """Cross-entropy with the labels, in nats.

    Args:
        logits: `[..., classes]`.
        labels: `[...]`, class indices; -100 marks an item without a label, which does not count.
        num_items: see `mean_over_items`; None = the number of labelled items.
        class_mask: bool `[..., classes]`, True where the class exists for the item; None = all do. The others take no
            part in the softmax, and an item without classes does not count. A label outside its item's classes has
            probability zero, which makes the loss infinite.

    Returns:
        A scalar: Σ over labelled items of −log softmax(logits)[label] / num_items.
    """
    logits, counts = at_least_float32(logits), labels != -100
    if class_mask is not None:
        logits, counts = logits.masked_fill(~class_mask, -math.inf), counts & class_mask.any(dim=-1)
    rows = ignore_masked(logits, counts).reshape(-1, logits.shape[-1])
    per_item = F.cross_entropy(rows, labels.reshape(-1), reduction="none", ignore_index=-100)
    return mean_over_items(per_item, counts.reshape(-1), num_items)


def binary_cross_entropy(logits: Tensor, targets: Tensor, num_items: Tensor | int | None = None) -> Tensor:
    """Cross-entropy of independent yes-or-no decisions, in nats: one item is one label of one row.

    Args:
        logits: `[..., labels]`.
        targets: `[..., labels]`, the probability of yes, from 0 to 1; NaN marks a decision without a label, which does
            not count.
        num_items: see `mean_over_items`; None = the number of labelled decisions.

    Returns:
        A scalar: −Σ over labelled decisions of (target · log σ(logit) + (1 − target) · log σ(−logit)) / num_items.
    """
    logits, targets, counts = _labelled(logits, targets)
    per_item = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return mean_over_items(per_item, counts, num_items)


def squared_error(scores: Tensor, targets: Tensor, num_items: Tensor | int | None = None) -> Tensor:
    """Squared difference of scores and targets: the hard loss of regression.

    Args:
        scores: `[...]`, one number an item.
        targets: one number for each score, of the same shape but for dimensions of size 1; NaN marks an item without a
            label, which does not count.
        num_items: see `mean_over_items`; None = the number of labelled items.

    Returns:
        A scalar: Σ over labelled items of (score − target)² / num_items.
    """
    scores, targets, counts = _labelled(scores, targets.reshape(scores.shape))  # [n, 1] − [n] would be [n, n]
    return mean_over_items((scores - targets).square(), counts, num_items)


def _labelled(predictions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return predictions, targets and where there is a target; where there is none, the first two are zero."""
    predictions, counts = at_least_float32(predictions), ~targets.isnan()
    return predictions.masked_fill(~counts, 0), targets.to(predictions.dtype).masked_fill(~counts, 0), counts
