"""Relation losses: what they are blind to by design, edges, memory. Their naive versions: test_feature_losses.py."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from distilnlp.losses import (
    QueryKeyValue,
    attention_relation,
    minilm,
    minilmv2,
    ordered_pairs,
    ordered_triples,
    pooled,
    rkd_angle,
    rkd_distance,
    similarity_preserving,
)
from tests.naive_features import mask_of, numbers

MASK = mask_of([4, 2, 3])


def qkv(seed: int, heads: int, width: int) -> QueryKeyValue:
    return QueryKeyValue(*numbers(seed, 3, *MASK.shape[:1], heads, MASK.shape[1], width).unbind())


def rotation(width: int) -> Tensor:
    return torch.linalg.qr(numbers(7, width, width)).Q


# ---- Pooled states ----


def test_pooled_is_the_mean_over_real_tokens() -> None:
    states, mask = numbers(0, 3, 4, 2), mask_of([4, 1, 2])
    expected = torch.stack([states[0].mean(dim=0), states[1, 0], states[2, :2].mean(dim=0)])
    assert torch.allclose(pooled(states, mask), expected, atol=1e-15)


def test_pooled_ignores_padding_whatever_it_holds() -> None:
    states, mask = numbers(0, 2, 3, 2), mask_of([0, 3])
    own = states.masked_fill(~mask[..., None], math.nan).requires_grad_()
    result = pooled(own, mask)
    result.sum().backward()
    assert (result[0] == 0).all()
    assert torch.equal(result, pooled(states, mask))
    assert torch.allclose(own.grad, (mask / 3.0)[..., None].double(), atol=1e-7)


def test_pooled_keeps_float32_at_least() -> None:
    assert pooled(numbers(0, 1, 2, 3).bfloat16(), mask_of([2])).dtype == torch.float32
    assert pooled(numbers(0, 1, 2, 3), mask_of([2])).dtype == torch.float64


# ---- Relations inside a text ----


def widened(states: Tensor) -> Tensor:
    """Every head's vectors twice over, scaled so that products over the root of the width stay."""
    return torch.cat([states, states], dim=-1) / 2**0.25


def test_minilm_compares_relations_and_not_values() -> None:
    """A rotation of queries and keys, another of values, and a wider head leave every relation as it is."""
    teacher = qkv(0, 2, 3)
    q, k, v = (states @ rotation(3) for states in teacher)
    student = QueryKeyValue(widened(q), widened(k), widened(v))
    assert minilm(student, teacher, MASK).item() == pytest.approx(0, abs=1e-14)
    apart = QueryKeyValue(student.queries, teacher.keys.flip(-1).repeat(1, 1, 1, 2), student.values)
    assert minilm(apart, teacher, MASK).item() > 1e-3


def test_minilmv2_compares_models_of_other_heads_and_widths() -> None:
    """Four heads of 3 are six relation heads of 2; the student has them as two heads of 12, each vector twice over."""
    teacher = qkv(0, 4, 3)
    student = QueryKeyValue(*(relation_heads_twice_over(states) for states in teacher))
    assert student.queries.shape[1::2] == (2, 12)
    assert minilmv2(student, teacher, MASK, num_relation_heads=6).item() == pytest.approx(0, abs=1e-14)
    assert minilmv2(student, teacher, MASK, num_relation_heads=4).item() > 1e-3


def relation_heads_twice_over(states: Tensor) -> Tensor:
    tokens = states.transpose(1, 2).flatten(2).unflatten(-1, (6, 2))
    return widened(tokens).flatten(2).unflatten(-1, (2, 12)).transpose(1, 2)


def test_the_parts_of_minilmv2_add_up_by_their_weights() -> None:
    student, teacher = qkv(0, 2, 4), qkv(1, 2, 6)
    names = ("query_weight", "key_weight", "value_weight")
    parts = [
        minilmv2(student, teacher, MASK, num_relation_heads=4, **{**dict.fromkeys(names, 0.0), name: 1.0}).item()
        for name in names
    ]
    assert min(parts) > 0.01
    weights = dict(zip(names, (0.5, 2.0, 3.0), strict=True))
    weighted = minilmv2(student, teacher, MASK, num_relation_heads=4, **weights)
    assert weighted.item() == pytest.approx(0.5 * parts[0] + 2 * parts[1] + 3 * parts[2], rel=1e-12)


def test_minilm_of_one_head_is_minilmv2s_value_part_plus_attention() -> None:
    student, teacher = qkv(0, 1, 4), qkv(1, 1, 6)
    same_keys = QueryKeyValue(student.queries, student.queries, student.values)
    other_keys = QueryKeyValue(teacher.queries, teacher.queries, teacher.values)
    both = minilmv2(student, teacher, MASK, num_relation_heads=1, key_weight=0.0)
    assert minilm(same_keys, other_keys, MASK).item() == pytest.approx(both.item(), rel=1e-12)


@pytest.mark.parametrize("at_once", [1, 100])
def test_how_many_texts_are_worked_on_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    def value_and_gradients() -> list[Tensor]:
        student = QueryKeyValue(*(states.requires_grad_() for states in qkv(0, 2, 4)))
        value = minilm(student, qkv(1, 2, 6), MASK)
        value.backward()
        return [value, *(states.grad for states in student)]

    expected = value_and_gradients()
    monkeypatch.setitem(attention_relation.NUMBERS_AT_ONCE, "cpu", at_once)
    for new, old in zip(value_and_gradients(), expected, strict=True):
        assert torch.allclose(new, old, rtol=1e-12, atol=1e-14)


def test_no_matrix_of_relations_waits_for_the_backward_pass() -> None:
    """At 512 tokens and 12 heads such a matrix is 16 times as large as the states it comes from."""
    kept: list[Tensor] = []
    student = QueryKeyValue(*(states.requires_grad_() for states in qkv(0, 2, 2)))
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        minilmv2(student, qkv(1, 2, 2), MASK, num_relation_heads=2)
    assert kept
    assert all(tensor.shape[-2:] != (MASK.shape[1], MASK.shape[1]) for tensor in kept)


def test_scores_far_apart_are_finite() -> None:
    """Probabilities that underflow to zero on both sides."""
    student, teacher = (QueryKeyValue(*(100 * states for states in qkv(seed, 2, 4))) for seed in (0, 1))
    student = QueryKeyValue(*(states.float().requires_grad_() for states in student))
    value = minilmv2(student, teacher, MASK, num_relation_heads=2)
    value.backward()
    assert value.isfinite()
    assert value.item() > 10
    assert all(states.grad.isfinite().all() for states in student)


# ---- Relations among texts ----


@pytest.mark.parametrize("loss", [rkd_distance, rkd_angle])
def test_rkd_is_blind_to_rotation_scale_place_and_width(loss: Callable[..., Tensor]) -> None:
    teacher = numbers(0, 5, 3)
    student = 4 * torch.cat([teacher, torch.zeros_like(teacher)], dim=-1) @ rotation(6) + numbers(1, 6)
    assert loss(student, teacher).item() == pytest.approx(0, abs=1e-14)
    assert loss(student[:, :2], teacher).item() > 1e-3


def test_similarity_preserving_is_blind_to_rotation_scale_and_width() -> None:
    teacher = numbers(0, 5, 3)
    student = 4 * torch.cat([teacher, torch.zeros_like(teacher)], dim=-1) @ rotation(6)
    assert similarity_preserving(student, teacher).item() == pytest.approx(0, abs=1e-14)
    assert similarity_preserving(student + 1, teacher).item() > 1e-3


def test_rkd_distance_has_its_known_value() -> None:
    """Distances 1, 1, 2 with the mean 4/3 against 1, 1, 1."""
    student = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]).double()
    teacher = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(0.75)]]).double()
    expected = (2 * 0.25**2 + 0.5**2) / 2 / 3
    assert rkd_distance(student, teacher).item() == pytest.approx(expected, abs=1e-6)


def test_rkd_angle_has_its_known_value() -> None:
    """Cosines -1, 1, 1 on a line against 1/2 in an equilateral triangle."""
    student = torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]).double()
    teacher = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, math.sqrt(0.75)]]).double()
    assert rkd_angle(student, teacher).item() == pytest.approx((1.0 + 2 * 0.125) / 3, abs=1e-6)


@pytest.mark.parametrize("loss", [rkd_distance, rkd_angle, similarity_preserving])
@pytest.mark.parametrize("equal", ["two of the student's", "all of the student's", "all of the teacher's"])
def test_equal_texts_are_finite(loss: Callable[..., Tensor], equal: str) -> None:
    student, teacher = numbers(0, 4, 3).float(), numbers(1, 4, 5).float()
    if equal == "all of the teacher's":
        teacher = teacher[:1].repeat(4, 1)
    else:
        student = student[torch.tensor([0, 0, 1, 2] if equal.startswith("two") else [0, 0, 0, 0])]
    value = loss(student.requires_grad_(), teacher)
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()
    assert student.grad.norm() < 100


@pytest.mark.parametrize("loss", [rkd_distance, rkd_angle, similarity_preserving])
def test_zero_vectors_are_finite(loss: Callable[..., Tensor]) -> None:
    student = torch.zeros(3, 4, requires_grad=True)
    value = loss(student, numbers(0, 3, 4).float())
    value.backward()
    assert value.item() > 0
    assert student.grad.isfinite().all()


def test_close_texts_far_from_the_origin_keep_their_distances_and_angles() -> None:
    """Inner products of such vectors lose all digits of their differences in float32."""
    student, teacher = (torch.round(numbers(seed, 4, 3) * 64) / 64 for seed in (0, 1))
    for loss in (rkd_distance, rkd_angle):
        near, far = loss(student, teacher), loss((student + 2048).float(), teacher)
        assert far.item() == pytest.approx(near.item(), rel=1e-5)


@pytest.mark.parametrize("texts", [0, 1, 2, 5])
def test_the_counts_are_the_numbers_of_items(texts: int) -> None:
    """The sum over the items, by dividing by one, is the mean times the count."""
    student, teacher, mask = numbers(0, 6, 3), numbers(1, 6, 4), torch.arange(6) < texts
    for loss, count in ((rkd_distance, ordered_pairs), (rkd_angle, ordered_triples)):
        total, mean = loss(student, teacher, mask, 1), loss(student, teacher, mask)
        assert total.item() == pytest.approx(mean.item() * count(mask.sum()).item(), rel=1e-12)
