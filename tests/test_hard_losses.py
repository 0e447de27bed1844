"""Hard losses against naive versions in float64; what has no label does not count."""

import math
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers.loss.loss_utils import ForSequenceClassificationLoss

from distilnlp import losses
from tests import naive_response as naive

CLASSES = 5
class_masks = st.lists(st.booleans(), min_size=CLASSES, max_size=CLASSES)
seeds = st.integers(0, 2**16)


def numbers(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator) * 3


def naive_binary_cross_entropy(logit: float, target: float) -> float:
    probability = 1 / (1 + math.exp(-logit))
    return -target * math.log(probability) - (1 - target) * math.log(1 - probability)


decisions = st.lists(st.sampled_from([0.0, 1.0, 0.25, math.nan]), min_size=6, max_size=6)
HARD = {
    "binary_cross_entropy": naive_binary_cross_entropy,
    "squared_error": lambda score, target: (score - target) ** 2,
}


@pytest.mark.parametrize("name", HARD)
@given(targets=decisions, seed=seeds)
def test_a_hard_loss_is_the_naive_one(name: str, targets: list[float], seed: int) -> None:
    logits = numbers(seed, 3, 2)
    pairs = zip(logits.flatten().tolist(), targets, strict=True)
    expected = naive.mean([HARD[name](logit, target) for logit, target in pairs if not math.isnan(target)])
    value = getattr(losses, name)(logits, torch.tensor(targets).reshape(3, 2))
    assert value.item() == pytest.approx(expected, rel=1e-6, abs=1e-10)


@pytest.mark.parametrize(
    ("name", "problem_type", "labels"),
    [
        ("binary_cross_entropy", "multi_label_classification", 4),
        ("squared_error", "regression", 1),
        ("squared_error", "regression", 4),
    ],
)
def test_a_hard_loss_of_labelled_rows_is_that_of_transformers(name: str, problem_type: str, labels: int) -> None:
    config = SimpleNamespace(problem_type=problem_type, num_labels=labels)
    logits, targets = numbers(1, 3, labels), numbers(2, 3, labels).sigmoid()
    expected = ForSequenceClassificationLoss(targets, logits, config)
    assert getattr(losses, name)(logits, targets).item() == pytest.approx(expected.item(), abs=1e-12)


HARD_CASES = {
    "cross_entropy": (losses.cross_entropy, torch.tensor([[2, -100], [-100, 0]]), (2, 2, 3)),
    "binary_cross_entropy": (losses.binary_cross_entropy, torch.tensor([[1.0, math.nan], [math.nan, 0.0]]), (2, 2)),
    "squared_error": (losses.squared_error, torch.tensor([[1.0, math.nan], [math.nan, 0.0]]), (2, 2)),
}
every_hard_loss = pytest.mark.parametrize(("loss", "labels", "shape"), HARD_CASES.values(), ids=HARD_CASES)
UNLABELLED = torch.tensor([[False, True], [True, False]])


@every_hard_loss
def test_what_has_no_label_has_no_gradient(loss: Callable[..., Tensor], labels: Tensor, shape: tuple[int, ...]) -> None:
    logits = numbers(1, *shape)
    logits[UNLABELLED] = math.nan
    loss(logits.requires_grad_(), labels).backward()
    assert (logits.grad[UNLABELLED] == 0).all()
    assert (logits.grad[~UNLABELLED] != 0).all()


@every_hard_loss
def test_a_hard_loss_without_labels_is_zero_and_keeps_its_graph(
    loss: Callable[..., Tensor], labels: Tensor, shape: tuple[int, ...]
) -> None:
    logits = numbers(1, *shape).requires_grad_()
    value = loss(logits, torch.full_like(labels, math.nan if labels.is_floating_point() else -100))
    value.backward()
    assert value.item() == 0
    assert (logits.grad == 0).all()


@every_hard_loss
def test_gradients_of_a_hard_loss_are_the_numerical_ones(
    loss: Callable[..., Tensor], labels: Tensor, shape: tuple[int, ...]
) -> None:
    assert torch.autograd.gradcheck(loss, (numbers(1, *shape).requires_grad_(), labels))


@every_hard_loss
def test_halves_of_labels_with_the_count_of_the_whole_are_the_whole(
    loss: Callable[..., Tensor], labels: Tensor, shape: tuple[int, ...]
) -> None:
    logits = numbers(1, *shape)
    halves = sum(loss(logits[row : row + 1], labels[row : row + 1], num_items=2).item() for row in range(2))
    assert halves == pytest.approx(loss(logits, labels).item(), abs=1e-12)


@every_hard_loss
def test_a_hard_loss_in_half_precision_is_computed_in_float32(
    loss: Callable[..., Tensor], labels: Tensor, shape: tuple[int, ...]
) -> None:
    logits = numbers(1, *shape).bfloat16()
    value = loss(logits, labels)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(loss(logits.double(), labels).item(), rel=1e-5)


def test_scores_with_a_dimension_of_one_meet_flat_targets() -> None:
    scores, targets = numbers(1, 3, 1), numbers(2, 3)
    assert losses.squared_error(scores, targets).item() == losses.squared_error(scores[:, 0], targets).item()


@given(classes=st.lists(class_masks, min_size=1, max_size=6), label=st.integers(0, CLASSES - 1), seed=seeds)
def test_cross_entropy_reads_the_classes_that_exist(classes: list[list[bool]], label: int, seed: int) -> None:
    class_mask = torch.tensor(classes)
    labels = torch.full((len(classes),), -100).masked_fill(class_mask[:, label], label)
    logits = numbers(seed, *class_mask.shape).masked_fill(~class_mask, math.nan).requires_grad_()
    rows = [
        (row[here].tolist(), int(here[:label].sum()))
        for row, here in zip(logits, class_mask, strict=True)
        if here[label]
    ]
    value = losses.cross_entropy(logits, labels, class_mask=class_mask)
    value.backward()
    expected = naive.mean([-math.log(naive.softmax(row)[position]) for row, position in rows])
    assert value.item() == pytest.approx(expected, abs=1e-12)
    assert (logits.grad[~class_mask] == 0).all()


def test_cross_entropy_of_a_label_outside_the_classes_is_infinite() -> None:
    class_mask = torch.tensor([[True, False], [False, False]])
    logits = numbers(1, 2, 2)
    assert losses.cross_entropy(logits, torch.tensor([1, -100]), class_mask=class_mask).item() == math.inf
    assert losses.cross_entropy(logits, torch.tensor([-100, 1]), class_mask=class_mask).item() == 0
