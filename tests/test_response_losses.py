"""Response losses against naive versions in float64, and the convention that all of them share."""

import inspect
import math
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from distilnlp import losses
from tests import naive_response as naive

CLASSES = 5
NAMES = [*naive.ONE_ITEM, "dist"]
SOFT = {name: getattr(losses, name) for name in NAMES}
INFINITE_TEACHER = ["forward_kl", "jensen_shannon", "dist"]  # these allow a teacher's logit of -inf
every_loss = pytest.mark.parametrize("name", NAMES)
every_loss_of_items = pytest.mark.parametrize("name", list(naive.ONE_ITEM))


class Batch(NamedTuple):
    """Logits `[items, CLASSES]` that are NaN where they do not count, mask `[items]`, class mask as the logits."""

    student: Tensor
    teacher: Tensor
    mask: Tensor
    class_mask: Tensor

    @property
    def exists(self) -> Tensor:
        return self.class_mask & self.mask[:, None]

    def rows(self, logits: Tensor) -> naive.Rows:
        """The logits of each item that counts and has a class; None where it does not have the class."""
        items = zip(logits.tolist(), self.exists.tolist(), strict=True)
        rows = [[value if here else None for value, here in zip(*item, strict=True)] for item in items]
        return [row for row in rows if naive.present(row)]

    def pairs(self) -> list[tuple[naive.Row, naive.Row]]:
        """The logits that exist, of student and teacher, of each item that counts and has a class."""
        rows = zip(self.rows(self.student), self.rows(self.teacher), strict=True)
        return [(naive.present(own), naive.present(other)) for own, other in rows]


def numbers(seed: int, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator) * 3


def batch_of(counts: list[tuple[bool, list[bool]]], seed: int = 0) -> Batch:
    mask, class_mask = torch.tensor([item for item, _ in counts]), torch.tensor([classes for _, classes in counts])
    ignored = ~(class_mask & mask[:, None])
    student, teacher = numbers(seed, *class_mask.shape), numbers(seed + 1, *class_mask.shape)
    return Batch(student.masked_fill(ignored, math.nan), teacher.masked_fill(ignored, math.nan), mask, class_mask)


class_masks = st.lists(st.booleans(), min_size=CLASSES, max_size=CLASSES)
ragged = st.builds(
    batch_of, st.lists(st.tuples(st.booleans(), class_masks), min_size=1, max_size=6), st.integers(0, 2**16)
)
temperatures = st.floats(0.5, 10)
weights = st.floats(0, 10)
RAGGED = batch_of(
    [
        (True, [True] * 5),
        (True, [True, False, True, True, False]),
        (False, [True] * 5),
        (True, [False] * 5),
        (True, [False, True, True, True, True]),
        (True, [True, False, False, False, False]),
    ]
)


def apply(name: str, batch: Batch, temperature: float = 1.0, **options: object) -> Tensor:
    return SOFT[name](
        batch.student, batch.teacher, temperature, mask=batch.mask, class_mask=batch.class_mask, **options
    )


# ---- The naive versions ----


@every_loss_of_items
@given(batch=ragged, temperature=temperatures)
def test_a_loss_is_the_naive_one(name: str, batch: Batch, temperature: float) -> None:
    expected = naive.mean([naive.ONE_ITEM[name](*pair, temperature) for pair in batch.pairs()])
    assert apply(name, batch, temperature).item() == pytest.approx(expected, rel=1e-9, abs=1e-10)


@given(
    batch=ragged,
    temperature=temperatures,
    labels=st.lists(st.integers(-1, CLASSES), min_size=6, max_size=6),
    target_weight=weights,
    non_target_weight=weights,
)
def test_dkd_with_labels_is_the_naive_one(
    batch: Batch, temperature: float, labels: list[int], target_weight: float, non_target_weight: float
) -> None:
    """Labels may be missing (-100), no class at all (CLASSES) or a class that the item does not have."""
    ids = torch.tensor([-100 if label == -1 else label for label in labels[: len(batch.mask)]])
    positions = [
        int(here[:label].sum()) if 0 <= label < CLASSES and here[label] else None
        for label, here in zip(ids.tolist(), batch.exists, strict=True)
        if here.any()
    ]
    pairs = zip(batch.pairs(), positions, strict=True)
    values = [naive.dkd(*pair, temperature, label, target_weight, non_target_weight) for pair, label in pairs]
    value = apply(
        "dkd",
        batch,
        temperature,
        labels=ids,
        target_weight=target_weight,
        non_target_weight=non_target_weight,
    )
    assert value.item() == pytest.approx(naive.mean(values), rel=1e-9, abs=1e-10)


@given(batch=ragged, temperature=temperatures, inter_weight=weights, intra_weight=weights)
def test_dist_is_the_naive_one(batch: Batch, temperature: float, inter_weight: float, intra_weight: float) -> None:
    rows = batch.rows(batch.student), batch.rows(batch.teacher)
    expected = naive.mean(naive.dist(*rows, temperature, inter_weight, intra_weight))
    value = apply("dist", batch, temperature, inter_weight=inter_weight, intra_weight=intra_weight)
    assert value.item() == pytest.approx(expected, rel=1e-6, abs=1e-7)


@every_loss
@given(seed=st.integers(0, 2**16), temperature=temperatures)
def test_no_mask_is_a_mask_of_all_and_tokens_are_a_list_of_items(name: str, seed: int, temperature: float) -> None:
    student, teacher = numbers(seed, 2, 3, CLASSES), numbers(seed + 1, 2, 3, CLASSES)
    everything = Batch(
        student.flatten(0, 1),
        teacher.flatten(0, 1),
        torch.ones(6, dtype=torch.bool),
        torch.ones(6, CLASSES, dtype=torch.bool),
    )
    expected = apply(name, everything, temperature).item()
    assert SOFT[name](student, teacher, temperature).item() == pytest.approx(expected, abs=1e-10)


@every_loss
def test_a_class_mask_may_be_shared_among_items(name: str) -> None:
    student, teacher = numbers(0, 3, 2, CLASSES), numbers(1, 3, 2, CLASSES)
    shared = torch.tensor([[[True] * 5], [[False] * 5], [[True, False, True, True, False]]])
    expected = SOFT[name](student, teacher, class_mask=shared.expand(3, 2, CLASSES))
    assert SOFT[name](student, teacher, class_mask=shared).item() == pytest.approx(expected.item(), abs=1e-12)


# ---- The convention ----


def test_every_loss_has_the_same_arguments() -> None:
    shared = list(inspect.signature(losses.forward_kl).parameters.values())
    for loss in SOFT.values():
        parameters = list(inspect.signature(loss).parameters.values())
        assert parameters[: len(shared)] == shared
        assert all(own.kind is own.KEYWORD_ONLY for own in parameters[len(shared) :])


@every_loss
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_equal_logits_have_no_loss(name: str, temperature: float) -> None:
    equal = RAGGED._replace(student=RAGGED.teacher)
    assert apply(name, equal, temperature).item() == pytest.approx(0, abs=1e-5 if name == "dist" else 1e-13)
    assert apply(name, RAGGED, temperature).item() > 0.1


@every_loss
def test_what_does_not_count_has_a_gradient_of_exactly_zero(name: str) -> None:
    batch = RAGGED._replace(student=RAGGED.student.clone().requires_grad_())
    value = apply(name, batch, 2.0)
    value.backward()
    assert value.isfinite()
    assert (batch.student.grad[~batch.exists] == 0).all()
    several = batch.exists.sum(dim=1) > 1
    assert (batch.student.grad[batch.exists & several[:, None]] != 0).all()


@every_loss
@pytest.mark.parametrize("junk", [math.inf, -math.inf, 1e30, 0.0])
def test_what_does_not_count_may_hold_anything(name: str, junk: float) -> None:
    replaced = RAGGED._replace(
        student=RAGGED.student.masked_fill(~RAGGED.exists, -junk),
        teacher=RAGGED.teacher.masked_fill(~RAGGED.exists, junk),
    )
    assert apply(name, replaced, 2.0).item() == apply(name, RAGGED, 2.0).item()


@every_loss
def test_a_shift_of_all_logits_changes_nothing(name: str) -> None:
    shifted = RAGGED._replace(student=RAGGED.student - 1e5, teacher=RAGGED.teacher - 1e5)
    assert apply(name, shifted, 2.0).item() == pytest.approx(apply(name, RAGGED, 2.0).item(), abs=1e-8)


@every_loss
def test_more_padding_changes_nothing(name: str) -> None:
    def pad(tensor: Tensor, value: float) -> Tensor:
        return torch.nn.functional.pad(tensor, (0, 2) if tensor.ndim == 1 else (0, 3, 0, 2), value=value)

    padded = Batch(
        *(pad(logits, math.nan) for logits in RAGGED[:2]), *(pad(counts, value=False) for counts in RAGGED[2:])
    )
    assert apply(name, padded, 2.0).item() == pytest.approx(apply(name, RAGGED, 2.0).item(), abs=1e-12)


@every_loss
@pytest.mark.parametrize("num_items", [None, 0, torch.tensor(0)], ids=["none", "int", "tensor"])
@pytest.mark.parametrize("without", ["mask", "class_mask"])
def test_without_items_a_loss_is_zero_and_keeps_its_graph(
    name: str, num_items: Tensor | int | None, without: str
) -> None:
    student = torch.full((3, CLASSES), math.nan, dtype=torch.float64).requires_grad_()
    nothing = torch.zeros((3,) if without == "mask" else (3, CLASSES), dtype=torch.bool)
    value = SOFT[name](student, student.detach(), num_items=num_items, **{without: nothing})
    value.backward()
    assert value.item() == 0
    assert (student.grad == 0).all()


@every_loss_of_items
@given(batch=ragged, cut=st.integers(0, 6))
def test_two_parts_with_the_count_of_the_whole_are_the_whole(name: str, batch: Batch, cut: int) -> None:
    count = batch.exists.any(dim=1).sum()
    parts = [Batch(*(tensor[part] for tensor in batch)) for part in (slice(cut), slice(cut, None))]
    total = sum(apply(name, part, 2.0, num_items=count).item() for part in parts if len(part.mask))
    assert total == pytest.approx(apply(name, batch, 2.0).item(), abs=1e-10)


@every_loss
def test_gradients_are_the_numerical_ones(name: str) -> None:
    filled = RAGGED._replace(student=RAGGED.student.nan_to_num(0.5), teacher=RAGGED.teacher.nan_to_num(0.5))

    def loss(student: Tensor) -> Tensor:
        return apply(name, filled._replace(student=student), 2.0)

    assert torch.autograd.gradcheck(loss, (filled.student.requires_grad_(),))


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    half = RAGGED._replace(student=RAGGED.student.to(dtype), teacher=RAGGED.teacher.to(dtype))
    value = apply(name, half, 2.0)
    exact = half._replace(student=half.student.double(), teacher=half.teacher.double())
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(apply(name, exact, 2.0).item(), rel=1e-5)


@every_loss
def test_no_gradient_flows_to_the_teacher(name: str) -> None:
    student, teacher = numbers(1, 2, 3, 4).requires_grad_(), numbers(2, 2, 3, 4).requires_grad_()
    SOFT[name](student, teacher).backward()
    assert student.grad is not None
    assert teacher.grad is None


@every_loss
@pytest.mark.parametrize("scale", [0.0, 1e-4, 1e4])
def test_flat_and_sharp_logits_have_finite_gradients(name: str, scale: float) -> None:
    student = (numbers(1, 3, CLASSES) * scale).float().requires_grad_()
    value = SOFT[name](student, (numbers(2, 3, CLASSES) * 1e3).float())
    value.backward()
    assert value.isfinite()
    assert student.grad.isfinite().all()
    assert student.grad.abs().max() < 1e5


@pytest.mark.parametrize("name", INFINITE_TEACHER)
def test_a_class_that_the_teacher_excludes_is_allowed(name: str) -> None:
    teacher = numbers(2, 3, CLASSES)
    teacher[:, 1] = -math.inf
    student = numbers(1, 3, CLASSES).requires_grad_()
    value = SOFT[name](student, teacher, 2.0)
    value.backward()
    assert value.item() == pytest.approx(SOFT[name](student, teacher.clamp(min=-1e4), 2.0).item(), abs=1e-12)
    assert student.grad.isfinite().all()


# ---- What is particular to one loss ----


def test_jensen_shannon_is_symmetric_and_bounded() -> None:
    student, teacher = numbers(1, 4, CLASSES), numbers(2, 4, CLASSES)
    swapped = losses.jensen_shannon(teacher, student, 3.0).item()
    assert losses.jensen_shannon(student, teacher, 3.0).item() == pytest.approx(swapped, abs=1e-12)
    apart = torch.tensor([[1e4, 0.0]]), torch.tensor([[0.0, 1e4]])
    assert losses.jensen_shannon(*apart, temperature=3.0).item() == pytest.approx(9 * math.log(2))


def test_the_temperature_cancels_out_of_logit_mse() -> None:
    student, teacher = numbers(1, 4, CLASSES), numbers(2, 4, CLASSES)
    softened = 9 * losses.logit_mse(student / 3, teacher / 3).item()
    assert losses.logit_mse(student, teacher, 3.0).item() == pytest.approx(softened)


def test_standardised_logits_have_no_scale_and_no_shift() -> None:
    teacher = numbers(1, 4, CLASSES)
    assert losses.standardized_kl(5 * teacher + 7, teacher).item() == pytest.approx(0, abs=1e-10)
    assert losses.standardized_kl(-teacher, teacher).item() > 0.1


def test_dkd_with_the_weights_of_forward_kl_is_forward_kl() -> None:
    """The identity that the paper starts from: the non-target part weighs 1 − the teacher's target probability."""
    student, teacher = numbers(1, 1, CLASSES), numbers(2, 1, CLASSES)
    for target in range(CLASSES):
        rest = 1 - teacher[0].softmax(dim=0)[target].item()
        value = losses.dkd(student, teacher, labels=torch.tensor([target]), non_target_weight=rest)
        assert value.item() == pytest.approx(losses.forward_kl(student, teacher).item(), abs=1e-12)


def test_dkd_of_two_classes_has_the_target_part_alone() -> None:
    student, teacher = numbers(1, 3, 2).requires_grad_(), numbers(2, 3, 2)
    value = losses.dkd(student, teacher, target_weight=0.0)
    value.backward()
    assert value.item() == 0
    assert (student.grad == 0).all()
    plain = losses.forward_kl(student, teacher, 2.0).item()
    assert losses.dkd(student, teacher, 2.0).item() == pytest.approx(plain, abs=1e-12)


def test_inter_reads_one_item_and_intra_the_items_of_the_call() -> None:
    student, teacher = numbers(1, 4, CLASSES), numbers(2, 4, CLASSES)
    halves = [slice(2), slice(2, 4)]

    def in_halves(**weights: float) -> float:
        return sum(losses.dist(student[half], teacher[half], num_items=4, **weights).item() for half in halves)

    assert in_halves(intra_weight=0.0) == pytest.approx(losses.dist(student, teacher, intra_weight=0.0).item())
    intra = [losses.dist(student[half], teacher[half], inter_weight=0.0).item() for half in halves]
    assert in_halves(inter_weight=0.0) == pytest.approx(sum(2 * value for value in intra) / 4)


def test_dist_of_one_item_has_no_intra_and_of_one_class_no_inter() -> None:
    assert losses.dist(numbers(1, 1, CLASSES), numbers(2, 1, CLASSES), inter_weight=0.0).item() == 0
    assert losses.dist(numbers(1, 4, 1), numbers(2, 4, 1), intra_weight=0.0).item() == 0


def test_dist_is_free_in_the_scale_of_the_deviations() -> None:
    """Probabilities that the student moves half way to uniform correlate fully with the teacher's."""
    teacher = numbers(2, 4, CLASSES)
    student = (teacher.softmax(dim=-1) / 2 + 0.5 / CLASSES).log()
    assert losses.dist(student, teacher).item() == pytest.approx(0, abs=1e-5)
    assert losses.forward_kl(student, teacher).item() > 0.05
