"""Feature losses: hidden states and attention maps, token by token or text by text. Padding never counts."""

import torch
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
    student, teacher = comparable(student, teacher, mask)
    return mean_over_items((student - teacher).square().mean(dim=-1), mask, num_items)


def hidden_state_cosine(
    student: Tensor, teacher: Tensor, mask: Tensor, num_items: Tensor | int | None = None
) -> Tensor:
    """One minus the cosine between hidden states, averaged over the tokens that count.

    DistilBERT (arXiv 1910.01108) aligns the directions of the hidden states with it. Arguments as for
    `hidden_state_mse`.

    Returns:
        A scalar between 0 (same direction) and 2 (opposite).
    """
    student, teacher = comparable(student, teacher, mask)
    return mean_over_items(1 - F.cosine_similarity(student, teacher, dim=-1), mask, num_items)


def pkd(student: Tensor, teacher: Tensor, mask: Tensor | None = None, num_items: Tensor | int | None = None) -> Tensor:
    """Squared distance between the directions of the first token's states, averaged over the texts that count.

    Patient knowledge distillation (arXiv 1908.09355): ‖s/‖s‖ − t/‖t‖‖². A zero vector stays zero.

    Args:
        student: `[batch, width]`, the hidden state of each text's first token.
        teacher: `[batch, width]`, likewise; no gradient flows to it.
        mask: bool `[batch]`, True for texts that count; None = all count.
        num_items: see `mean_over_items`; None = the number of texts that count.

    Returns:
        A scalar between 0 (same directions) and 4 (opposite).
    """
    student, teacher = comparable(student, teacher, mask)
    return mean_over_items((unit_vectors(student) - unit_vectors(teacher)).square().sum(dim=-1), mask, num_items)


def neuron_selectivity(student: Tensor, teacher: Tensor, mask: Tensor, num_items: Tensor | int | None = None) -> Tensor:
    """How differently the neurons of two layers select among a text's tokens, averaged over the texts.

    Neuron selectivity transfer (arXiv 1707.01219). A neuron is one dimension of the width; its values over the real
    tokens of a text, scaled to length 1, are a sample. The loss of a text is the squared maximum mean discrepancy
    between the student's neurons and the teacher's under the kernel (x·y)²: ‖S·Sᵀ/width − T·Tᵀ/width‖², with the
    samples as the columns of S and T. The widths need not agree.

    Args:
        student: `[batch, length, width]`.
        teacher: `[batch, length, any width]`; no gradient flows to it.
        mask: bool `[batch, length]`, True for real tokens; a text without one does not count.
        num_items: see `mean_over_items`; None = the number of texts that count.

    Returns:
        A scalar.
    """
    student, teacher = comparable(student, teacher, mask)
    own, other = _selectivity(ignore_masked(student, mask)), _selectivity(teacher)
    return mean_over_items((own - other).square().sum(dim=(1, 2)), mask.any(dim=-1), num_items)


def attention_mse(student: Tensor, teacher: Tensor, mask: Tensor, num_items: Tensor | int | None = None) -> Tensor:
    """Mean squared difference of attention probabilities: over the heads, the real keys, then the queries that count.

    TinyBERT (arXiv 1909.10351) compares attention head by head. Where the numbers of heads differ, both maps are
    averaged over their heads first.

    Args:
        student: probabilities `[batch, heads, length, length]`; the last dimension is over the keys.
        teacher: probabilities `[batch, any heads, length, length]`; no gradient flows to it.
        mask: bool `[batch, length]`, True for real tokens, as queries and as keys.
        num_items: see `mean_over_items`; None = the number of real tokens.

    Returns:
        A scalar between 0 and 1.
    """
    student, teacher, padding = _comparable_maps(student, teacher, mask)
    squares = (student - teacher).masked_fill(padding, 0).square()
    keys = mask.sum(dim=-1, keepdim=True).clamp(min=1)
    return mean_over_items(squares.sum(dim=-1).mean(dim=1) / keys, mask, num_items)


def attention_kl(student: Tensor, teacher: Tensor, mask: Tensor, num_items: Tensor | int | None = None) -> Tensor:
    """KL(teacher ‖ student) of each query's attention over the real keys: mean over the heads, then the queries.

    The order is that of MiniLM's attention transfer (arXiv 2002.10957), on maps that are given. Where the numbers of
    heads differ, both maps are averaged over their heads first. A probability of zero is allowed: where the teacher's
    is zero the key adds nothing; the student's are raised to the smallest normal number of their dtype (1.2e-38 in
    float32), below which a probability gets no gradient. Arguments as for `attention_mse`.

    Returns:
        A scalar, in nats.
    """
    floor = torch.finfo(student.dtype).tiny
    student, teacher, padding = _comparable_maps(student, teacher, mask)
    log_student = student.masked_fill(padding, 1).clamp(min=floor).log()
    per_key = F.kl_div(log_student, teacher.masked_fill(padding, 0), reduction="none")
    return mean_over_items(per_key.sum(dim=-1).mean(dim=1), mask, num_items)


def activation_boundary(
    student: Tensor, teacher: Tensor, mask: Tensor, num_items: Tensor | int | None = None, margin: float = 1.0
) -> Tensor:
    """How far neurons are from being on and off as the teacher's are: over the neurons, then the tokens that count.

    Transfer of activation boundaries (arXiv 1811.03233): a squared hinge, max(0, margin − s)² where the teacher's
    neuron is on (t > 0), else max(0, margin + s)². How strongly a neuron is on makes no difference.

    Args:
        student: pre-activations `[batch, length, neurons]`.
        teacher: pre-activations `[batch, length, neurons]`; no gradient flows to it.
        mask: bool `[batch, length]`, True for real tokens.
        num_items: see `mean_over_items`; None = the number of real tokens.
        margin: how far beyond the boundary the student's neurons should be.

    Returns:
        A scalar, in squared units of the student's pre-activations.
    """
    student, teacher = comparable(student, teacher, mask)
    beyond = torch.where(teacher > 0, student, -student)
    return mean_over_items((margin - beyond).clamp(min=0).square().mean(dim=-1), mask, num_items)


def comparable(student: Tensor, teacher: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return both in one precision, float32 at least, the teacher without gradient and 0 where nothing counts.

    Args:
        student: `[..., width]`.
        teacher: `[..., any width]`.
        mask: bool `[...]`, True where the item counts; None = all count.
    """
    student = at_least_float32(student)
    return student, ignore_masked(teacher.detach(), mask).to(student.dtype)


def unit_vectors(vectors: Tensor, dim: int = -1) -> Tensor:
    """Scale vectors to length 1. A zero vector stays zero and has the gradient of a vector of length 1."""
    squares = vectors.square().sum(dim=dim, keepdim=True)
    return vectors * torch.where(squares > 0, squares, 1.0).rsqrt()


def _selectivity(states: Tensor) -> Tensor:
    """Return `[batch, length, length]`: S·Sᵀ/width, the neurons' values over a text scaled to length 1."""
    neurons = unit_vectors(states, dim=1)
    return neurons @ neurons.transpose(1, 2) / states.shape[-1]


def _comparable_maps(student: Tensor, teacher: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return both maps in one precision with equal numbers of heads, and where query or key is padding."""
    student, teacher = comparable(student, teacher, mask=None)
    if student.shape[1] != teacher.shape[1]:
        student, teacher = student.mean(dim=1, keepdim=True), teacher.mean(dim=1, keepdim=True)
    return student, teacher, ~(mask[:, None, :, None] & mask[:, None, None, :])
