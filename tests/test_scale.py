"""The scale is exact: batch size, accumulation and processes can be traded for one another. In float64, to 1e-10."""

import math
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from distilnlp.tasks.collators import RowCollator, class_ids
from tests.conftest import tiny_data, tiny_student, tiny_teacher
from tests.distributed_gradients import BATCH_SIZE, LABELLED, OBJECTIVES, UNLABELLED, evaluation, gradients
from tests.tiny import tiny_tokenizer
from tests.two_processes import in_two_processes

LAUNCH_TIMEOUT = 120  # against a hang: it takes about fifteen seconds
every_objective = pytest.mark.parametrize("objective", OBJECTIVES)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two processes with four rows each give; one launch serves every test."""
    out = tmp_path_factory.mktemp("two") / "gradients.pt"
    return in_two_processes("tests.distributed_gradients", out, LAUNCH_TIMEOUT)


@cache
def one_batch(objective: str) -> dict[str, Any]:
    """What one process gives with the whole batch at once: what every other set-up is compared with."""
    return gradients(objective, BATCH_SIZE, 1)


def assert_same_gradients(actual: dict[str, Any], expected: dict[str, Any], tolerance: float = 1e-10) -> None:
    assert "error" not in actual, actual.get("error")
    assert len(actual["steps"]) == len(expected["steps"]) == 2
    for one, other in zip(actual["steps"], expected["steps"], strict=True):
        assert one.keys() == other.keys()
        for name, gradient in other.items():
            difference = _or_zero(one[name]) - _or_zero(gradient)
            assert torch.as_tensor(difference).abs().max() < tolerance, name


def _or_zero(gradient: Tensor | None) -> Tensor | float:
    return 0.0 if gradient is None else gradient


def assert_same_logs(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    assert "error" not in actual, actual.get("error")
    for one, other in zip(actual["logs"], expected["logs"], strict=True):
        timeless = {name: value for name, value in other.items() if name not in ("epoch", "step", "learning_rate")}
        assert {name: one[name] for name in timeless} == pytest.approx(timeless, abs=1e-6)


# ---- Accumulation, processes, padding ----


@every_objective
@pytest.mark.parametrize(("rows", "accumulation"), [(4, 2), (1, 8), (3, 3)], ids=["4x2", "1x8", "3x3 with a rest"])
def test_accumulation_changes_nothing(objective: str, rows: int, accumulation: int) -> None:
    accumulated = gradients(objective, rows, accumulation)
    assert_same_gradients(accumulated, one_batch(objective))
    assert_same_logs(accumulated, one_batch(objective))


@every_objective
def test_two_processes_change_nothing(objective: str, two_processes: dict[str, Any]) -> None:
    assert_same_gradients(two_processes[objective], one_batch(objective))
    assert_same_logs(two_processes[objective], one_batch(objective))
    assert two_processes[objective]["processes"] == 2


def test_two_processes_learn_together_after_an_evaluation(two_processes: dict[str, Any]) -> None:
    """An evaluation leaves a mark on the student, by which accelerate would not let the processes average gradients."""
    assert_same_gradients(two_processes["evaluated first"], one_batch("all"))


class PaddedCollator(RowCollator):
    """Pads seven tokens further than needed."""

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Tensor]:
        batch = super().__call__(rows)
        return {name: nn.functional.pad(value, (0, 7)) if value.dim() == 2 else value for name, value in batch.items()}


@every_objective
def test_more_padding_changes_nothing(objective: str) -> None:
    padded = gradients(objective, BATCH_SIZE, 1, PaddedCollator(tiny_tokenizer(), class_ids))
    assert_same_gradients(padded, one_batch(objective), tolerance=1e-12)


def test_evaluation_in_two_processes_counts_every_row_once(two_processes: dict[str, Any]) -> None:
    expected, actual = evaluation(7), two_processes["evaluation"]
    for name in ("eval_soft_loss", "eval_loss"):
        assert actual[name] == pytest.approx(expected[name], abs=1e-6)


# ---- A loop by hand ----


def by_hand(objective: str) -> dict[str, Tensor]:
    """The gradients of the whole batch: text by text, without padding, Trainer or any loss of the package."""
    options, student, teacher = OBJECTIVES[objective], tiny_student().double(), tiny_teacher().double()
    projections = {
        name: weight.clone().requires_grad_()
        for name, weight in one_batch(objective)["weights"].items()
        if name.startswith("projections")
    }
    rows = tiny_data(LABELLED, UNLABELLED)
    tokens = sum(len(row["input_ids"]) for row in rows)
    total = torch.zeros((), dtype=torch.float64)
    for row in rows:
        inputs = {name: torch.tensor([row[name]]) for name in ("input_ids", "attention_mask", "token_type_ids")}
        own = student(**inputs, output_hidden_states=True)
        with torch.no_grad():
            other = teacher(**inputs, output_hidden_states=True)
        if row["label"] is not None:
            total = total - options["hard_loss_weight"] * own.logits[0].softmax(0)[row["label"]].log() / LABELLED
        temperature = options.get("temperature", 1.0)
        p, q = (other.logits[0] / temperature).softmax(0), (own.logits[0] / temperature).softmax(0)
        kl = sum(p[index] * (p[index] / q[index]).log() for index in range(3))
        total = total + options["soft_loss_weight"] * temperature**2 * kl / BATCH_SIZE
        if "losses" in options:
            total = total + features_by_hand(own.hidden_states, other.hidden_states, projections) / tokens
    total.backward()
    trained = {**dict(student.named_parameters()), **projections}
    return {name: parameter.grad for name, parameter in trained.items()}


def features_by_hand(own: tuple[Tensor, ...], other: tuple[Tensor, ...], projections: dict[str, Tensor]) -> Tensor:
    """The sum over the tokens of one text of 0.7 · MSE over (1, 2), (2, 4) + cosine over (0, 0), (2, 3)."""

    def projected(loss: str, index: int) -> Tensor:
        found = {name.rsplit(".", 1)[-1]: value for name, value in projections.items() if f"{loss}_{index}." in name}
        return own[index][0] @ found["weight"].T + found["bias"]

    value = torch.zeros((), dtype=torch.float64)
    for index, target in [(1, 2), (2, 4)]:
        for a, b in zip(projected("hidden_state_mse", index), other[target][0], strict=True):
            value = value + 0.7 * ((a - b) ** 2).sum() / 16 / 2
    for index, target in [(0, 0), (2, 3)]:
        for a, b in zip(projected("hidden_state_cosine", index), other[target][0], strict=True):
            value = value + (1 - (a @ b) / (a @ a).sqrt() / (b @ b).sqrt()) / 2
    return value


@every_objective
def test_the_gradient_is_the_one_by_hand(objective: str) -> None:
    expected = by_hand(objective)
    assert_same_gradients(one_batch(objective), {"steps": [expected, expected]})
    largest = max(gradient.abs().max().item() for gradient in expected.values() if gradient is not None)
    assert math.isfinite(largest)
    assert largest > 1e-3, "gradients this small would agree whatever they are"
