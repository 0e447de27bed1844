"""Feature-based losses: hidden states of equal width, token by token. Padding never counts."""

import torch.nn.functional as F
from torch import Tensor

from distilnlp.losses.reduction import at_least_float32, ignore_masked, mean_over_items


def hidden_state_mse(student: Tensor, teacher: Tensor, mask: Tensor, num_items: Tensor | int | None = None) -> Tensor:
    """Mean squared difference of hidden states: averaged over the width, then over the tokens that count.

    TinyBERT (arXiv 1909.10351) uses it after a learned projection where the widths differ.

    Args:
        student: `[batch, length, width]`.
        teacher: `[batch, length, width]`; no gradient flows to it.
        mask: bool `[batch, length]`, True for real tokens.
        num_items: see `mean_over_items`; None = the number of real tokens.

    Returns:
        A scalar, in squared units of the hidden states.
    """
    student, teacher = at_least_float32(student), at_least_float32(ignore_masked(teacher.detach(), mask))
    per_token = (student - teacher.to(student.dtype)).square().mean(dim=-1)
    return mean_over_items(per_token, mask, num_items)


def hidden_state_cosine(
    student: Tensor, teacher: Tensor, mask: Tensor, num_items: Tensor | int | None = None
) -> Tensor:
    """One minus the cosine between hidden states, averaged over the tokens that count.

    DistilBERT (arXiv 1910.01108) aligns the directions of the hidden states with it.

    Args:
        student: `[batch, length, width]`.
        teacher: `[batch, length, width]`; no gradient flows to it.
        mask: bool `[batch, length]`, True for real tokens.
        num_items: see `mean_over_items`; None = the number of real tokens.

    Returns:
        A scalar between 0 (same direction) and 2 (opposite).
    """
    student, teacher = at_least_float32(student), at_least_float32(ignore_masked(teacher.detach(), mask))
    per_token = 1 - F.cosine_similarity(student, teacher.to(student.dtype), dim=-1)
    return mean_over_items(per_token, mask, num_items)
