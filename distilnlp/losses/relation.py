"""Relation losses among texts: distances, angles and similarities between the pooled states of a batch's texts.

A loss here relates the texts of one call, which are those of one micro-batch on one process. With the number of items
of the whole accumulated batch as `num_items`, the sum over micro-batches is the mean over all related pairs (triples);
texts of different micro-batches are never related, so the loss depends on how a batch is cut.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from distilnlp.losses.feature import comparable, unit_vectors
from distilnlp.losses.reduction import at_least_float32, ignore_masked, mean_over_items


def pooled(states: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of a text's states over its real tokens, in float32 at least: `[batch, width]`.

    Args:
        states: `[batch, length, width]`.
        mask: bool `[batch, length]`, True for real tokens. A text without one gets zeros.
    """
    total = ignore_masked(at_least_float32(states), mask).sum(dim=1)
    return total / mask.sum(dim=1, keepdim=True).clamp(min=1)


def ordered_pairs(texts: Tensor) -> Tensor:
    """Return how many ordered pairs of different texts a number of texts makes: the items of `rkd_distance`."""
    return texts * (texts - 1)


def ordered_triples(texts: Tensor) -> Tensor:
    """Return how many ordered triples of different texts a number of texts makes: the items of `rkd_angle`."""
    return texts * (texts - 1) * (texts - 2)


def rkd_distance(
    student: Tensor, teacher: Tensor, mask: Tensor | None = None, num_items: Tensor | int | None = None
) -> Tensor:
    """Huber loss of the distances between texts, relative to the mean distance: student's against teacher's.

    Relational knowledge distillation (arXiv 1904.05068). Each side's Euclidean distances are divided by their mean
    over the pairs of this call. An item is an ordered pair of different texts: n (n − 1) for n texts that count. The
    Huber loss is d²/2 up to d = 1 and d − 1/2 beyond. Equal vectors get no gradient from their distance.

    Args:
        student: `[batch, width]`, one vector a text, such as `pooled` states.
        teacher: `[batch, any width]`; no gradient flows to it.
        mask: bool `[batch]`, True for texts that count; None = all count.
        num_items: see `mean_over_items`; None = the number of ordered pairs.

    Returns:
        A scalar.
    """
    student, teacher, mask = _counting(student, teacher, mask)
    pairs = mask[:, None] & mask & _different(mask)
    own, other = _relative_distances(student, pairs), _relative_distances(teacher, pairs)
    return mean_over_items(F.smooth_l1_loss(own, other, reduction="none"), pairs, num_items)


def rkd_angle(
    student: Tensor, teacher: Tensor, mask: Tensor | None = None, num_items: Tensor | int | None = None
) -> Tensor:
    """Huber loss of the angles between texts: cosine at the vertex, student's against teacher's.

    Relational knowledge distillation (arXiv 1904.05068). An item is an ordered triple (vertex, i, k) of different
    texts with the cosine between i − vertex and k − vertex: n (n − 1) (n − 2) for n texts that count, every angle
    twice. A direction between equal vectors is zero, and so is its cosine. The Huber loss is d²/2 up to d = 1 and
    d − 1/2 beyond.

    Takes memory for batch² · (width + batch) numbers a few times over. Inner products of the vectors would do without
    the width, but close texts would lose their angle to rounding. Arguments and result as for `rkd_distance`.
    """
    student, teacher, mask = _counting(student, teacher, mask)
    different = _different(mask)
    triples = mask[:, None, None] & mask[:, None] & mask
    triples = triples & different[:, :, None] & different[:, None, :] & different
    own, other = _cosines_at_vertices(student), _cosines_at_vertices(teacher)
    return mean_over_items(F.smooth_l1_loss(own, other, reduction="none"), triples, num_items)


def similarity_preserving(
    student: Tensor, teacher: Tensor, mask: Tensor | None = None, num_items: Tensor | int | None = None
) -> Tensor:
    """Squared difference of the similarities between texts, as each text sees them.

    Similarity-preserving distillation (arXiv 1907.09682). The similarities are inner products; those of one text with
    all, itself included, are scaled to length 1. An item is an ordered pair, a text with itself included: n² for n
    texts that count. Arguments and result as for `rkd_distance`.
    """
    student, teacher, mask = _counting(student, teacher, mask)
    own, other = unit_vectors(student @ student.T), unit_vectors(teacher @ teacher.T)
    return mean_over_items((own - other).square(), mask[:, None] & mask, num_items)


def _counting(student: Tensor, teacher: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Return student and teacher of one precision, both zero for texts that do not count, and the mask."""
    student, teacher = comparable(student, teacher, mask)
    if mask is None:
        mask = torch.ones(len(student), dtype=torch.bool, device=student.device)
    return ignore_masked(student, mask), teacher, mask


def _different(mask: Tensor) -> Tensor:
    """Bool `[batch, batch]`: True off the diagonal."""
    return ~torch.eye(len(mask), dtype=torch.bool, device=mask.device)


def _relative_distances(vectors: Tensor, pairs: Tensor) -> Tensor:
    """Return `[batch, batch]`: Euclidean distances over their mean over `pairs`; as they are if all are 0."""
    # Not by inner products: they lose small distances to rounding. The gradient at a distance of 0 is 0.
    distances = torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist")
    mean = mean_over_items(distances, pairs)
    return distances / torch.where(mean > 0, mean, 1.0)


def _cosines_at_vertices(vectors: Tensor) -> Tensor:
    """Return `[vertex, i, k]`: the cosine between i − vertex and k − vertex."""
    directions = unit_vectors(vectors - vectors[:, None])
    return directions @ directions.transpose(1, 2)
