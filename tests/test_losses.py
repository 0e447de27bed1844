"""Losses against reference values and against naive versions: Python loops over single numbers, no loss of torch."""

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from distilnlp.losses import cross_entropy, forward_kl, hidden_state_cosine, hidden_state_mse, mean_over_items

STUDENT = [[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]
TEACHER = [[3.0, 2.0, 1.0], [2.0, 0.0, -2.0]]
REFERENCE = {1: 0.903987804909, 2: 1.172746749316, 4: 1.287182571607, 8: 1.321340860952}
FEATURE_LOSSES = [hidden_state_mse, hidden_state_cosine]


def double(values: list) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


# ---- The naive versions ----


def naive_softmax(logits: list[float], temperature: float = 1.0) -> list[float]:
    powers = [math.exp((logit - max(logits)) / temperature) for logit in logits]
    return [power / sum(powers) for power in powers]


def naive_cross_entropy(logits: Tensor, labels: Tensor) -> list[float]:
    rows = zip(logits.tolist(), labels.tolist(), strict=True)
    return [-math.log(naive_softmax(row)[label]) for row, label in rows if label != -100]


def naive_forward_kl(student: Tensor, teacher: Tensor, temperature: float, mask: Tensor) -> list[float]:
    values = []
    for own, other, counts in zip(student.tolist(), teacher.tolist(), mask.tolist(), strict=True):
        p, q = naive_softmax(other, temperature), naive_softmax(own, temperature)
        if counts:
            values.append(temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0))
    return values


def naive_mse(own: list[float], other: list[float]) -> float:
    return sum((a - b) ** 2 for a, b in zip(own, other, strict=True)) / len(own)


def naive_cosine(own: list[float], other: list[float]) -> float:
    product = sum(a * b for a, b in zip(own, other, strict=True))
    return 1 - product / math.sqrt(sum(a * a for a in own)) / math.sqrt(sum(b * b for b in other))


def naive_over_tokens(distance: Callable[..., float], student: Tensor, teacher: Tensor, mask: Tensor) -> list[float]:
    values = []
    for row, lengths in enumerate(mask.tolist()):
        for token, counts in enumerate(lengths):
            if counts:
                values.append(distance(student[row, token].tolist(), teacher[row, token].tolist()))
    return values


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


# ---- Ragged batches ----


def numbers(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator) * 3


lengths = st.lists(st.integers(0, 5), min_size=1, max_size=4)
seeds = st.integers(0, 2**16)
temperatures = st.floats(0.25, 20)


def mask_of(row_lengths: list[int]) -> Tensor:
    return torch.arange(max(*row_lengths, 1)) < torch.tensor(row_lengths)[:, None]


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=6), seeds)
def test_cross_entropy_is_the_naive_one(ids: list[int], seed: int) -> None:
    labels = torch.tensor([-100 if label < 0 else label for label in ids])
    logits = numbers(seed, len(ids), 4)
    assert cross_entropy(logits, labels).item() == pytest.approx(mean(naive_cross_entropy(logits, labels)), abs=1e-12)


@given(st.lists(st.booleans(), min_size=1, max_size=6), temperatures, seeds)
def test_forward_kl_is_the_naive_one(counts: list[bool], temperature: float, seed: int) -> None:
    mask = torch.tensor(counts)
    student, teacher = numbers(seed, len(counts), 4), numbers(seed + 1, len(counts), 4)
    expected = mean(naive_forward_kl(student, teacher, temperature, mask))
    assert forward_kl(student, teacher, temperature, mask).item() == pytest.approx(expected, rel=1e-10, abs=1e-12)


@given(lengths, temperatures, seeds)
def test_forward_kl_of_tokens_is_that_of_a_list_of_items(row_lengths: list[int], temperature: float, seed: int) -> None:
    mask = mask_of(row_lengths)
    student, teacher = numbers(seed, *mask.shape, 3), numbers(seed + 1, *mask.shape, 3)
    expected = mean(naive_forward_kl(student[mask], teacher[mask], temperature, mask[mask]))
    assert forward_kl(student, teacher, temperature, mask).item() == pytest.approx(expected, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize(("loss", "naive"), [(hidden_state_mse, naive_mse), (hidden_state_cosine, naive_cosine)])
@given(row_lengths=lengths, seed=seeds)
def test_a_feature_loss_is_the_naive_one(
    loss: Callable[..., Tensor], naive: Callable[..., float], row_lengths: list[int], seed: int
) -> None:
    mask = mask_of(row_lengths)
    student, teacher = numbers(seed, *mask.shape, 6), numbers(seed + 1, *mask.shape, 6)
    expected = mean(naive_over_tokens(naive, student, teacher, mask))
    assert loss(student, teacher, mask).item() == pytest.approx(expected, abs=1e-12)


# ---- Reference values ----


@pytest.mark.parametrize(("temperature", "expected"), REFERENCE.items())
def test_forward_kl_has_the_reference_values(temperature: int, expected: float) -> None:
    assert forward_kl(double(STUDENT), double(TEACHER), temperature).item() == pytest.approx(expected, abs=1e-12)


def test_forward_kl_tends_to_the_squared_difference_of_centred_logits() -> None:
    assert forward_kl(double(STUDENT), double(TEACHER), 1000.0).item() == pytest.approx(4 / 3, abs=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 8.0])
def test_the_gradient_of_forward_kl_is_the_formula(temperature: float) -> None:
    student, teacher = double(STUDENT).requires_grad_(), double(TEACHER)
    forward_kl(student, teacher, temperature).backward()
    for row in range(2):
        p, q = naive_softmax(TEACHER[row], temperature), naive_softmax(STUDENT[row], temperature)
        formula = [temperature * (own - other) / 2 for own, other in zip(q, p, strict=True)]
        assert student.grad[row].tolist() == pytest.approx(formula, abs=1e-12)


# ---- Properties ----


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_forward_kl_of_equal_logits_is_zero(temperature: float) -> None:
    assert forward_kl(double(STUDENT), double(STUDENT) + 5, temperature).item() == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize("loss", FEATURE_LOSSES)
def test_a_feature_loss_of_equal_states_is_zero(loss: Callable[..., Tensor]) -> None:
    states = numbers(0, 2, 3, 4)
    assert loss(states, states, mask_of([3, 2])).item() == pytest.approx(0, abs=1e-14)


def test_cosine_reads_the_direction_alone() -> None:
    states, mask = numbers(0, 2, 3, 4), mask_of([3, 2])
    assert hidden_state_cosine(states, 7 * states, mask).item() == pytest.approx(0, abs=1e-14)
    assert hidden_state_cosine(states, -states, mask).item() == pytest.approx(2, abs=1e-14)


MASK = mask_of([3, 1])
CASES = {
    "cross_entropy": (
        partial(cross_entropy, labels=torch.tensor([2, -100, 0])),
        (3, 4),
        torch.tensor([True, False, True]),
    ),
    "forward_kl": (
        partial(forward_kl, teacher_logits=numbers(9, 2, 3, 4), temperature=2.0, mask=MASK),
        (2, 3, 4),
        MASK,
    ),
    "hidden_state_mse": (partial(hidden_state_mse, teacher=numbers(9, 2, 3, 4), mask=MASK), (2, 3, 4), MASK),
    "hidden_state_cosine": (partial(hidden_state_cosine, teacher=numbers(9, 2, 3, 4), mask=MASK), (2, 3, 4), MASK),
}
every_loss = pytest.mark.parametrize(("loss", "shape", "mask"), CASES.values(), ids=CASES)


@every_loss
def test_only_what_counts_has_a_gradient(loss: Callable[..., Tensor], shape: tuple[int, ...], mask: Tensor) -> None:
    student = numbers(1, *shape).requires_grad_()
    loss(student).backward()
    assert (student.grad[~mask] == 0).all()
    assert (student.grad[mask] != 0).any(dim=-1).all()


@every_loss
def test_gradients_are_the_numerical_ones(loss: Callable[..., Tensor], shape: tuple[int, ...], mask: Tensor) -> None:
    assert torch.autograd.gradcheck(loss, (numbers(1, *shape).requires_grad_(),))


@every_loss
@pytest.mark.parametrize("as_number", [int, torch.tensor])
def test_num_items_is_the_divisor(
    loss: Callable[..., Tensor], shape: tuple[int, ...], mask: Tensor, as_number: Callable[[int], int | Tensor]
) -> None:
    student = numbers(1, *shape)
    expected = loss(student).item() * int(mask.sum()) / 7
    assert loss(student, num_items=as_number(7)).item() == pytest.approx(expected, abs=1e-12)


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(
    loss: Callable[..., Tensor], shape: tuple[int, ...], mask: Tensor, dtype: torch.dtype
) -> None:
    rounded = numbers(1, *shape).to(dtype)
    value = loss(rounded)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(rounded.double()).item(), rel=1e-5)


@pytest.mark.parametrize("loss", [forward_kl, hidden_state_mse, hidden_state_cosine])
def test_no_gradient_flows_to_the_teacher(loss: Callable[..., Tensor]) -> None:
    student, teacher = numbers(1, 2, 3, 4).requires_grad_(), numbers(2, 2, 3, 4).requires_grad_()
    loss(student, teacher, mask=MASK).backward()
    assert student.grad is not None
    assert teacher.grad is None


# ---- Edges ----

NOTHING = torch.zeros(2, 3, dtype=torch.bool)
WITHOUT_ITEMS = {
    "cross_entropy": (partial(cross_entropy, labels=torch.full((3,), -100)), (3, 4)),
    "forward_kl": (partial(forward_kl, teacher_logits=numbers(9, 2, 3, 4), mask=NOTHING), (2, 3, 4)),
    "hidden_state_mse": (partial(hidden_state_mse, teacher=numbers(9, 2, 3, 4), mask=NOTHING), (2, 3, 4)),
    "hidden_state_cosine": (partial(hidden_state_cosine, teacher=numbers(9, 2, 3, 4), mask=NOTHING), (2, 3, 4)),
}


@pytest.mark.parametrize(("loss", "shape"), WITHOUT_ITEMS.values(), ids=WITHOUT_ITEMS)
@pytest.mark.parametrize("num_items", [None, 0, torch.tensor(0)], ids=["none", "int", "tensor"])
def test_without_items_a_loss_is_zero_and_keeps_its_graph(
    loss: Callable[..., Tensor], shape: tuple[int, ...], num_items: int | Tensor | None
) -> None:
    student = numbers(1, *shape).requires_grad_()
    value = loss(student, num_items=num_items)
    value.backward()
    assert value.item() == 0
    assert (student.grad == 0).all()


def test_a_class_that_the_teacher_excludes_is_finite() -> None:
    student = double([[1.0, 2.0, 3.0]]).requires_grad_()
    value = forward_kl(student, double([[0.5, -math.inf, 1.5]]), temperature=2.0)
    value.backward()
    p, q = [*naive_softmax([0.5, 1.5], 2.0)], naive_softmax([1.0, 2.0, 3.0], 2.0)
    expected = 4 * (p[0] * math.log(p[0] / q[0]) + p[1] * math.log(p[1] / q[2]))
    assert value.item() == pytest.approx(expected, abs=1e-12)
    assert student.grad.isfinite().all()


@pytest.mark.parametrize("loss", [forward_kl, hidden_state_mse, hidden_state_cosine])
def test_what_does_not_count_may_be_anything_in_the_teacher(loss: Callable[..., Tensor]) -> None:
    """A teacher without an answer for an item may say NaN: the item has a gradient of exactly zero all the same."""
    student, teacher = numbers(1, 2, 3, 4).requires_grad_(), numbers(2, 2, 3, 4)
    expected = loss(student, teacher, mask=MASK).item()
    value = loss(student, teacher.masked_fill(~MASK[..., None], math.nan), mask=MASK)
    value.backward()
    assert value.item() == expected
    assert (student.grad[~MASK] == 0).all()


def test_mean_over_items_without_a_mask_counts_all() -> None:
    assert mean_over_items(double([[1.0, 2.0], [3.0, 6.0]])).item() == 3.0
