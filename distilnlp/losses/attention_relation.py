"""Relation losses inside a text: how its tokens attend to one another (MiniLM, MiniLMv2). Padding never counts."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from distilnlp.losses.reduction import at_least_float32, ignore_masked, mean_over_items

# Numbers in the matrices of relations that are worked on at a time. On a CPU they are to stay in a core's cache, on
# another device to fill it.
NUMBERS_AT_ONCE = {"cpu": 2**18}
NUMBERS_AT_ONCE_ELSEWHERE = 2**24
PADDING = -1e30  # the score of a padded key. Not −inf, because the difference of two of them is NaN


class QueryKeyValue(NamedTuple):
    """One layer's queries, keys and values, each `[batch, heads, length, head width]`."""

    queries: Tensor
    keys: Tensor
    values: Tensor


def minilm(
    student: QueryKeyValue, teacher: QueryKeyValue, mask: Tensor, num_items: Tensor | int | None = None
) -> Tensor:
    """KL(teacher ‖ student) of the attention plus that of the value relation, in nats.

    MiniLM (arXiv 2002.10957), on the last layers. The attention is softmax(q·kᵀ / √head width), the value relation
    softmax(v·vᵀ / √head width). Each KL is a mean over the heads and then over the tokens that count.

    Args:
        student: queries, keys and values `[batch, heads, length, head width]`.
        teacher: of as many heads, of any width; no gradient flows to it.
        mask: bool `[batch, length]`, True for real tokens.
        num_items: see `mean_over_items`; None = the number of real tokens.

    Returns:
        A scalar.
    """
    attention = _divergence((student.queries, student.keys), (teacher.queries, teacher.keys), mask)
    values = _divergence((student.values, student.values), (teacher.values, teacher.values), mask)
    return _mean_over_tokens(attention + values, mask, num_items)


def minilmv2(
    student: QueryKeyValue,
    teacher: QueryKeyValue,
    mask: Tensor,
    num_items: Tensor | int | None = None,
    *,
    num_relation_heads: int,
    query_weight: float = 1.0,
    key_weight: float = 1.0,
    value_weight: float = 1.0,
) -> Tensor:
    """KL(teacher ‖ student) of the relations among queries, among keys and among values, in nats.

    MiniLMv2 (arXiv 2012.15828). The heads are joined and split anew into relation heads, so that student and teacher
    may differ in heads and in width; a relation is softmax(a·aᵀ / √relation head width). Each KL is a mean over the
    relation heads and then over the tokens that count; the loss is their weighted sum. Further arguments and the result
    are as for `minilm`, but the heads may differ.

    Args:
        num_relation_heads: divides heads · head width of both.
        query_weight: weight of the query relations; a relation of weight 0 is not computed. One is above 0.
        key_weight: weight of the key relations.
        value_weight: weight of the value relations.
    """
    per_text = []
    for weight, own, other in zip((query_weight, key_weight, value_weight), student, teacher, strict=True):
        if weight > 0:
            own, other = _regroup(own, num_relation_heads), _regroup(other, num_relation_heads)
            per_text.append(weight * _divergence((own, own), (other, other), mask))
    return _mean_over_tokens(torch.stack(per_text).sum(dim=0), mask, num_items)


def _regroup(states: Tensor, heads: int) -> Tensor:
    """Join `[batch, heads, length, head width]` along the width and split it into another number of heads."""
    return states.transpose(1, 2).flatten(2).unflatten(-1, (heads, -1)).transpose(1, 2)


def _mean_over_tokens(per_text: Tensor, mask: Tensor, num_items: Tensor | int | None) -> Tensor:
    return mean_over_items(per_text, num_items=mask.sum() if num_items is None else num_items)


def _divergence(student: tuple[Tensor, Tensor], teacher: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
    """Sum KL(teacher ‖ student) of one relation over the real tokens of each text, mean over heads: `[batch]`."""
    rows, columns = (at_least_float32(states) for states in student)
    others = (ignore_masked(states.detach().to(rows.dtype), mask.unsqueeze(1)) for states in teacher)
    heads = mask.unsqueeze(1).expand(rows.shape[:3])
    flat = (tensor.flatten(0, 1) for tensor in (rows, columns, *others, heads))
    return _Divergence.apply(*flat).unflatten(0, rows.shape[:2]).mean(dim=1)


class _Divergence(torch.autograd.Function):
    """KL of relations, a few heads at a time, with the gradient computed along.

    The matrices `[heads of all texts, length, length]` are what this loss costs. Autograd would keep two of each
    relation until the backward pass; here those of a few heads exist at a time, and only gradients of the states stay.
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> Tensor:
        """Take rows, columns, the teacher's rows and columns `[heads, length, width]`, the mask `[heads, length]`."""
        mask = inputs[-1]
        numbers = NUMBERS_AT_ONCE.get(mask.device.type, NUMBERS_AT_ONCE_ELSEWHERE)
        heads = max(1, numbers // mask.shape[1] ** 2)
        parts = zip(*(tensor.split(heads) for tensor in inputs), strict=True)
        sums, *gradients = (torch.cat(part) for part in zip(*(_compare(*part) for part in parts), strict=True))
        ctx.save_for_backward(*gradients)
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        by_rows, by_columns = ctx.saved_tensors
        gradient = gradient[:, None, None]
        return by_rows * gradient, by_columns * gradient, None, None, None


def _compare(
    rows: Tensor, columns: Tensor, teacher_rows: Tensor, teacher_columns: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return each head's sum of KL(teacher ‖ student) over the tokens, and its gradients by rows and by columns.

    `softmax` is taken beside `log_softmax`, for `exp` of the latter takes many times as long where it underflows. What
    is large is changed in place.
    """
    own, other = _scores(rows, columns, mask), _scores(teacher_rows, teacher_columns, mask)
    target = other.softmax(dim=-1)
    log_ratio = other.log_softmax(dim=-1).sub_(own.log_softmax(dim=-1))
    sums = log_ratio.mul_(target).sum(dim=-1).masked_fill(~mask, 0).sum(dim=-1)
    by_scores = own.softmax(dim=-1).sub_(target)
    weight = mask.unsqueeze(-1).to(rows.dtype) / math.sqrt(rows.shape[-1])
    return sums, (by_scores @ columns) * weight, by_scores.transpose(1, 2) @ (rows * weight)


def _scores(rows: Tensor, columns: Tensor, mask: Tensor) -> Tensor:
    """Return rows · columnsᵀ / √width, padded columns so low that their probability is exactly 0."""
    scores = (rows / math.sqrt(rows.shape[-1])) @ columns.transpose(1, 2)
    return scores.add_(PADDING * (~mask).unsqueeze(1).to(rows.dtype))
