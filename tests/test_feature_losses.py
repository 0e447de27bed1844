"""Feature losses against known values, and the convention that feature and relation losses keep alike."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from distilnlp.losses import (
    QueryKeyValue,
    activation_boundary,
    attention_kl,
    attention_mse,
    minilm,
    minilmv2,
    neuron_selectivity,
    pkd,
    rkd_angle,
    rkd_distance,
    similarity_preserving,
)
from tests import naive_features as naive
from tests.naive_features import mask_of, numbers

# ---- What the losses compare ----


@dataclass(frozen=True)
class Kind:
    """One kind of input, student's and teacher's.

    Attributes:
        make: `(seed, texts, length, size)` to the values of one side.
        counts: where a mask lets the values count.
        pad: what `F.pad` takes to append one place that does not count.
        texts_dim: the dimension of the texts.
        by_text: its mask is `[texts]`, else `[texts, length]`.
    """

    make: Callable[..., Tensor]
    counts: Callable[[Tensor], Tensor]
    pad: tuple[int, ...] = (0, 0, 0, 1)
    texts_dim: int = 0
    by_text: bool = False


VECTORS = Kind(lambda seed, texts, _, width: numbers(seed, texts, width), lambda mask: mask[:, None], by_text=True)
STATES = Kind(lambda seed, texts, length, width: numbers(seed, texts, length, width), lambda mask: mask[..., None])
MAPS = Kind(
    lambda seed, texts, length, heads: numbers(seed, texts, heads, length, length).softmax(dim=-1),
    lambda mask: mask[:, None, :, None] & mask[:, None, None, :],
    pad=(0, 1, 0, 1),
)
QKV = Kind(
    lambda seed, texts, length, shape: numbers(seed, 3, texts, shape[0], length, shape[1]),
    lambda mask: mask[:, None, :, None],
    texts_dim=1,
)


@dataclass(frozen=True)
class Case:
    """A loss, its naive version, and the kind and sizes of its input."""

    loss: Callable[..., Tensor]
    naive: Callable[..., list[float]]
    kind: Kind
    student_size: int | tuple[int, int]
    teacher_size: int | tuple[int, int]

    def sides(self, mask: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
        texts, length = mask.shape[0], mask.shape[-1]
        student = self.kind.make(2 * seed, texts, length, self.student_size)
        return student, self.kind.make(2 * seed + 1, texts, length, self.teacher_size)


def of_qkv(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Let a loss of queries, keys and values take each side as one tensor `[3, batch, heads, length, width]`."""
    return lambda student, teacher, *rest, **options: loss(
        QueryKeyValue(*student), QueryKeyValue(*teacher), *rest, **options
    )


def minilmv2_case(student: tuple[int, int], teacher: tuple[int, int], heads: int, *weights: float) -> Case:
    names = ("query_weight", "key_weight", "value_weight")
    options = dict(zip(names, weights, strict=True)) if weights else {}
    return Case(
        of_qkv(partial(minilmv2, num_relation_heads=heads, **options)),
        partial(naive.naive_minilmv2, heads=heads, weights=weights or (1, 1, 1)),
        QKV,
        student,
        teacher,
    )


CASES = {
    "attention_mse": Case(attention_mse, naive.naive_attention_mse, MAPS, 2, 2),
    "attention_mse, other heads": Case(attention_mse, naive.naive_attention_mse, MAPS, 2, 3),
    "attention_kl": Case(attention_kl, naive.naive_attention_kl, MAPS, 2, 2),
    "attention_kl, other heads": Case(attention_kl, naive.naive_attention_kl, MAPS, 3, 2),
    "pkd": Case(pkd, naive.naive_pkd, VECTORS, 4, 4),
    "activation_boundary": Case(
        activation_boundary, partial(naive.naive_activation_boundary, margin=1.0), STATES, 4, 4
    ),
    "activation_boundary, nearer": Case(
        partial(activation_boundary, margin=0.25), partial(naive.naive_activation_boundary, margin=0.25), STATES, 4, 4
    ),
    "neuron_selectivity": Case(neuron_selectivity, naive.naive_neuron_selectivity, STATES, 3, 5),
    "minilm": Case(of_qkv(minilm), naive.naive_minilm, QKV, (2, 3), (2, 5)),
    "minilmv2": minilmv2_case((2, 2), (3, 4), 4),
    "minilmv2, weighted": minilmv2_case((2, 3), (2, 3), 3, 0.5, 0.0, 2.0),
    "rkd_distance": Case(rkd_distance, naive.naive_rkd_distance, VECTORS, 3, 5),
    "rkd_angle": Case(rkd_angle, naive.naive_rkd_angle, VECTORS, 3, 5),
    "similarity_preserving": Case(similarity_preserving, naive.naive_similarity_preserving, VECTORS, 3, 5),
}
every_loss = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
lengths = st.lists(st.integers(0, 4), min_size=1, max_size=5)
seeds = st.integers(0, 2**16)


def mask_for(case: Case, row_lengths: list[int]) -> Tensor:
    """The mask of ragged texts; for a loss of one vector a text, which of the texts have a token."""
    mask = mask_of(row_lengths)
    return mask.any(dim=-1) if case.kind.by_text else mask


LENGTHS = [3, 2, 0, 4, 1]


# ---- The convention ----


@every_loss
@given(row_lengths=lengths, seed=seeds)
def test_a_loss_is_the_mean_of_the_naive_items(case: Case, row_lengths: list[int], seed: int) -> None:
    mask = mask_for(case, row_lengths)
    student, teacher = case.sides(mask, seed)
    expected = naive.mean(case.naive(student, teacher, mask))
    assert case.loss(student, teacher, mask).item() == pytest.approx(expected, rel=1e-9, abs=1e-11)


@every_loss
@given(one=lengths, two=lengths, seed=seeds)
def test_calls_that_share_a_count_add_up_to_the_mean(case: Case, one: list[int], two: list[int], seed: int) -> None:
    masks = [mask_for(case, one), mask_for(case, two)]
    calls = [(*case.sides(mask, seed + place), mask) for place, mask in enumerate(masks)]
    items = [value for call in calls for value in case.naive(*call)]
    total = sum(case.loss(*call, torch.tensor(len(items))) for call in calls)
    assert total.item() == pytest.approx(naive.mean(items), rel=1e-9, abs=1e-11)


@pytest.mark.parametrize("name", [name for name in CASES if not name.startswith("activation_boundary")])
def test_the_loss_of_equal_sides_is_zero(name: str) -> None:
    case = CASES[name]
    mask = mask_for(case, LENGTHS)
    student, _ = case.sides(mask)
    assert case.loss(student, student, mask).item() == pytest.approx(0, abs=1e-14)


@every_loss
def test_padding_changes_nothing(case: Case) -> None:
    mask = mask_for(case, LENGTHS)
    student, teacher = case.sides(mask)
    padded = [F.pad(student, case.kind.pad, value=7.0), F.pad(teacher, case.kind.pad, value=math.nan)]
    longer = case.loss(*padded, F.pad(mask, (0, 1), value=False))
    assert longer.item() == pytest.approx(case.loss(student, teacher, mask).item(), rel=1e-12)


@every_loss
def test_only_what_counts_has_a_gradient_whatever_the_teacher_says_of_the_rest(case: Case) -> None:
    mask = mask_for(case, LENGTHS)
    student, teacher = case.sides(mask)
    counts = case.kind.counts(mask)
    expected = case.loss(student, teacher, mask).item()
    value = case.loss(student.requires_grad_(), teacher.masked_fill(~counts, math.nan), mask)
    value.backward()
    assert value.item() == expected
    assert student.grad.isfinite().all()
    assert (student.grad.masked_fill(counts, 0) == 0).all()
    assert (student.grad != 0).any()


@every_loss
def test_gradients_are_the_numerical_ones(case: Case) -> None:
    mask = mask_for(case, LENGTHS)
    student, teacher = case.sides(mask)
    assert torch.autograd.gradcheck(lambda own: case.loss(own, teacher, mask), (student.requires_grad_(),))


@every_loss
def test_no_gradient_flows_to_the_teacher(case: Case) -> None:
    mask = mask_for(case, LENGTHS)
    student, teacher = (side.requires_grad_() for side in case.sides(mask))
    case.loss(student, teacher, mask).backward()
    assert student.grad is not None
    assert teacher.grad is None


@every_loss
@pytest.mark.parametrize("num_items", [None, 0, torch.tensor(0)], ids=["none", "int", "tensor"])
def test_without_items_a_loss_is_zero_and_keeps_its_graph(case: Case, num_items: int | Tensor | None) -> None:
    mask = torch.zeros_like(mask_for(case, LENGTHS))
    student, teacher = case.sides(mask)
    value = case.loss(student.requires_grad_(), torch.full_like(teacher, math.nan), mask, num_items)
    value.backward()
    assert value.item() == 0
    assert (student.grad == 0).all()


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(case: Case, dtype: torch.dtype) -> None:
    mask = mask_for(case, LENGTHS)
    student, teacher = (side.to(dtype) for side in case.sides(mask))
    value = case.loss(student.requires_grad_(), teacher, mask)
    value.backward()
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(case.loss(student.double(), teacher.double(), mask).item(), rel=1e-5)
    assert student.grad.dtype == dtype
    assert student.grad.isfinite().all()


@every_loss
def test_one_side_may_be_more_precise_than_the_other(case: Case) -> None:
    mask = mask_for(case, LENGTHS)
    student, teacher = case.sides(mask)
    value = case.loss(student.float(), teacher, mask)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(case.loss(student, teacher, mask).item(), rel=1e-4)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.kind is VECTORS])
def test_without_a_mask_every_text_counts(name: str) -> None:
    case, mask = CASES[name], torch.ones(4, dtype=torch.bool)
    student, teacher = case.sides(mask)
    assert case.loss(student, teacher).item() == case.loss(student, teacher, mask).item()


# ---- Attention maps ----

ONE_QUERY = mask_of([3])


def map_of(row: list[float]) -> Tensor:
    """A map of one head whose queries all attend alike."""
    return torch.tensor(row, dtype=torch.float64).expand(1, 1, len(row), len(row)).clone()


def test_attention_mse_has_its_known_value() -> None:
    student, teacher = map_of([0.2, 0.3, 0.5]), map_of([0.5, 0.3, 0.2])
    assert attention_mse(student, teacher, ONE_QUERY).item() == pytest.approx((0.09 + 0.09) / 3, abs=1e-15)


def test_attention_kl_has_its_known_value() -> None:
    student, teacher = map_of([0.25, 0.25, 0.5]), map_of([0.5, 0.25, 0.25])
    expected = 0.5 * math.log(2) - 0.25 * math.log(2)
    assert attention_kl(student, teacher, ONE_QUERY).item() == pytest.approx(expected, abs=1e-15)


def test_maps_are_not_softmaxed_again() -> None:
    """The softmax of probabilities is nearly uniform and would hide most of the difference."""
    student, teacher = map_of([0.98, 0.01, 0.01]), map_of([0.01, 0.01, 0.98])
    assert attention_kl(student, teacher, ONE_QUERY).item() == pytest.approx(0.97 * math.log(98), rel=1e-12)


def test_a_key_that_the_teacher_ignores_adds_nothing() -> None:
    student, teacher = map_of([0.25, 0.25, 0.5]).requires_grad_(), map_of([0.5, 0.5, 0.0])
    value = attention_kl(student, teacher, ONE_QUERY)
    value.backward()
    assert value.item() == pytest.approx(math.log(2), abs=1e-15)
    assert (student.grad[..., 2] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_key_that_the_student_ignores_costs_a_finite_amount(dtype: torch.dtype) -> None:
    smallest = torch.finfo(dtype).tiny
    student, teacher = map_of([0.0, smallest, 1.0]).to(dtype).requires_grad_(), map_of([0.5, 0.5, 0.0]).to(dtype)
    value = attention_kl(student, teacher, ONE_QUERY)
    value.backward()
    assert value.item() == pytest.approx(math.log(0.5) - math.log(smallest), rel=1e-6)
    assert student.grad.isfinite().all()


# ---- Hidden states ----


def test_pkd_reads_the_direction_alone() -> None:
    states = numbers(0, 3, 4)
    assert pkd(5 * states, states).item() == pytest.approx(0, abs=1e-14)
    assert pkd(-states, states).item() == pytest.approx(4, abs=1e-14)


def test_pkd_of_a_zero_vector_is_one_with_a_modest_gradient() -> None:
    student, teacher = torch.zeros(2, 4, requires_grad=True), numbers(0, 2, 4).float()
    value = pkd(student, teacher)
    value.backward()
    assert value.item() == pytest.approx(1)
    assert student.grad.norm(dim=-1).tolist() == pytest.approx([1, 1])
    assert pkd(teacher, torch.zeros(2, 4)).item() == pytest.approx(1)


def test_activation_boundary_asks_for_the_side_and_a_margin_and_for_no_strength() -> None:
    mask = torch.ones(1, 1).bool()
    teacher = torch.tensor([[[3.0, -0.1, 0.0, 5.0]]])  # on, off, off, on
    sides = torch.where(teacher > 0, 1.0, -1.0)
    assert activation_boundary(sides, teacher, mask).item() == 0
    assert activation_boundary(7 * sides, teacher, mask).item() == 0
    assert activation_boundary(0.5 * sides, teacher, mask).item() == 0.25
    assert activation_boundary(-sides, teacher, mask).item() == 4
    assert activation_boundary(0.5 * sides, teacher, mask, margin=0.5).item() == 0


def test_neuron_selectivity_knows_neither_order_nor_scale_nor_number_of_equal_neurons() -> None:
    teacher, mask = numbers(0, 2, 4, 3), mask_of([4, 2])
    student = torch.cat([2 * teacher, -0.5 * teacher], dim=-1)[..., torch.tensor([5, 0, 3, 1, 4, 2])]
    assert neuron_selectivity(student, teacher, mask).item() == pytest.approx(0, abs=1e-14)
    assert neuron_selectivity(student[..., :2], teacher, mask).item() > 1e-3


def test_a_dead_neuron_has_a_finite_gradient() -> None:
    student, teacher, mask = numbers(0, 2, 4, 3), numbers(1, 2, 4, 5), mask_of([4, 2])
    student[..., 1] = 0
    neuron_selectivity(student.requires_grad_(), teacher, mask).backward()
    assert student.grad.isfinite().all()
