"""The scale is exact for every task and loss: batch size, accumulation and processes can be traded. To 1e-10."""

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from distilnlp.objective import LOSSES
from distilnlp.tasks import TASKS
from tests.distributed_tasks import (
    BATCH_SIZE,
    BY_MICRO_BATCH,
    LOSS_TASKS,
    OBJECTIVES,
    balanced,
    task_evaluation,
    task_gradients,
)
from tests.two_processes import in_two_processes

LAUNCH_TIMEOUT = 240  # against a hang: it takes about twenty seconds
TOLERANCE = 1e-10
EXACT = [name for name in OBJECTIVES if name not in BY_MICRO_BATCH]


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two processes with four rows each give; one launch serves every test."""
    out = tmp_path_factory.mktemp("two") / "tasks.pt"
    return in_two_processes("tests.distributed_tasks", out, LAUNCH_TIMEOUT)


@cache
def one_batch(objective: str) -> dict[str, Any]:
    """What one process gives with the whole batch at once: what every other set-up is compared with."""
    return task_gradients(objective, BATCH_SIZE, 1)


@cache
def two_micro_batches(objective: str) -> dict[str, Any]:
    return task_gradients(objective, BATCH_SIZE // 2, 2)


def assert_same(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    assert "error" not in actual, actual.get("error")
    assert actual["gradients"].keys() == expected["gradients"].keys()
    for name, gradient in expected["gradients"].items():
        difference = torch.as_tensor(or_zero(actual["gradients"][name]) - or_zero(gradient))
        assert difference.abs().max() < TOLERANCE, name
    components = expected["logs"].keys() - {"epoch", "step", "learning_rate", "grad_norm"}
    assert {name: actual["logs"][name] for name in components} == pytest.approx(
        {name: expected["logs"][name] for name in components}, rel=1e-5
    )


def or_zero(gradient: Tensor | None) -> Tensor | float:
    return 0.0 if gradient is None else gradient


def largest(result: dict[str, Any]) -> float:
    return max(gradient.abs().max().item() for gradient in result["gradients"].values() if gradient is not None)


def test_every_task_and_every_loss_is_here() -> None:
    assert LOSS_TASKS.keys() == LOSSES.keys()
    assert {task for task, _ in OBJECTIVES.values()} == set(TASKS)


@pytest.mark.parametrize("objective", EXACT)
def test_accumulation_changes_nothing(objective: str) -> None:
    assert largest(one_batch(objective)) > 1e-4, "gradients this small would agree whatever they are"
    assert_same(task_gradients(objective, 2, 4), one_batch(objective))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_two_processes_change_nothing(objective: str, two_processes: dict[str, Any]) -> None:
    expected = (two_micro_batches if objective in BY_MICRO_BATCH else one_batch)(objective)
    assert largest(expected) > 1e-4, "gradients this small would agree whatever they are"
    assert_same(two_processes[objective], expected)


@pytest.mark.parametrize("objective", BY_MICRO_BATCH)
def test_a_relation_among_texts_depends_on_the_micro_batches(objective: str) -> None:
    """Otherwise the exception that the tests above make for it would hide something."""
    one, other = one_batch(objective)["gradients"], two_micro_batches(objective)["gradients"]
    assert max((one[name] - other[name]).abs().max() for name in one if one[name] is not None) > 1e-5


def test_balanced_losses_have_the_same_weights_everywhere(two_processes: dict[str, Any]) -> None:
    expected = balanced(BATCH_SIZE, 1)
    names = [name for name in expected[0] if name.endswith("_weight")]
    assert len(names) == 3
    assert len({entry["hidden_state_mse_weight"] for entry in expected}) == len(expected), "they follow the losses"
    for actual in (balanced(BATCH_SIZE // 4, 4), two_processes["balanced"]):
        for one, other in zip(actual, expected, strict=True):
            assert [one[name] for name in names] == pytest.approx([other[name] for name in names], rel=1e-4)


@pytest.mark.parametrize("task", TASKS)
def test_evaluation_in_two_processes_counts_every_row_once(task: str, two_processes: dict[str, Any]) -> None:
    expected, actual = task_evaluation(task, 7), two_processes["evaluation"][task]
    assert "error" not in actual, actual.get("error")
    for name in ("eval_loss", "eval_soft_loss"):
        assert expected[name] > 1e-3
        assert actual[name] == pytest.approx(expected[name], rel=1e-5)
