"""Balanced losses: weights that make the losses' running magnitudes alike, in a training and across a resume."""

import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import TrainerCallback

from distilnlp import DistillationTrainer
from distilnlp.errors import DistillationError, NonFiniteLossError
from distilnlp.objective import LossBalance
from distilnlp.objective.balance import FILE_NAME
from tests.conftest import tiny_data
from tests.trainer_tools import MakeTrainer, RecordingTeacher, assert_same, copy_of, losses_logged

KEPT = 0.98  # what the documentation says: about fifty steps
STEPS = 6


def magnitude(values: list[float | None]) -> float | None:
    """The mean of the absolute values with weights that fall by `KEPT` a step; None = a step without items."""
    seen = [abs(value) for value in values if value is not None]
    weights = [KEPT**age for age in reversed(range(len(seen)))]
    if not sum(seen):
        return None
    return sum(weight * value for weight, value in zip(weights, seen, strict=True)) / sum(weights)


def factors_by_hand(steps: list[list[float | None]]) -> list[float]:
    """What each component's weight is multiplied by after these steps."""
    magnitudes = [magnitude(list(values)) or 1.0 for values in zip(*steps, strict=True)]
    return [magnitudes[0] / value for value in magnitudes]


def fed(balance: LossBalance, steps: list[list[float | None]], micro_batches: int = 1) -> LossBalance:
    for step in steps:
        balance.begin_step(torch.tensor([0 if value is None else 7 for value in step]))
        for _ in range(micro_batches):
            balance.add(torch.tensor([0.0 if value is None else value / micro_batches for value in step]))
    balance.end_step()
    return balance


def balance(count: int = 3) -> LossBalance:
    return LossBalance(count, Accelerator(cpu=True))


# ---- The factors ----

values = st.none() | st.floats(1e-3, 1e3) | st.floats(-1e3, -1e-3) | st.just(0.0)


@given(steps=st.lists(st.tuples(values, values, values).map(list), min_size=1, max_size=8))
def test_the_factors_are_those_by_hand(steps: list[list[float | None]]) -> None:
    assert fed(balance(), steps).factors.tolist() == pytest.approx(factors_by_hand(steps), rel=1e-4)


def test_before_the_first_step_ends_weights_are_as_given() -> None:
    one = balance()
    assert one.factors.tolist() == [1.0, 1.0, 1.0]
    one.begin_step(torch.tensor([3, 3, 3]))
    one.add(torch.tensor([1.0, 2.0, 3.0]))
    assert one.factors.tolist() == [1.0, 1.0, 1.0]


def test_weighted_magnitudes_equal_the_first_components() -> None:
    steps: list[list[float | None]] = [[0.5, 40.0, 1e-4], [0.7, 30.0, 2e-4], [0.4, 55.0, 1e-4]]
    weighted = [
        factor * (magnitude(list(column)) or 0.0)
        for factor, column in zip(fed(balance(), steps).factors.tolist(), zip(*steps, strict=True), strict=True)
    ]
    assert weighted == pytest.approx([magnitude([0.5, 0.7, 0.4])] * 3, rel=1e-5)


def test_a_step_without_items_leaves_a_magnitude_as_it_is() -> None:
    before: list[list[float | None]] = [[2.0, 1.0, 4.0], [3.0, 1.0, 5.0]]
    pause: list[list[float | None]] = [[None, 1.0, None]] * 30
    kept, paused = fed(balance(), before).factors, fed(balance(), [*before, *pause]).factors
    torch.testing.assert_close(kept, paused)


def test_micro_batches_of_a_step_add_up() -> None:
    steps: list[list[float | None]] = [[1.0, -2.0, 3.0], [4.0, 5.0, None]]
    torch.testing.assert_close(fed(balance(), steps).factors, fed(balance(), steps, micro_batches=4).factors)


def test_to_end_a_step_twice_changes_nothing() -> None:
    one = fed(balance(), [[1.0, 2.0, 3.0], [2.0, 2.0, 2.0]])
    before = one.factors
    one.end_step()
    assert torch.equal(one.factors, before)


def test_a_loss_that_was_zero_so_far_keeps_its_weight() -> None:
    """A student that begins as a copy of the teacher must not meet a weight of 1e8 in the second step."""
    assert fed(balance(), [[2.0, 0.0, 1.0]]).factors.tolist() == pytest.approx([1.0, 2.0, 2.0])


# ---- In a training ----

OPTIONS = {"balance_losses": True, "losses": [{"name": "hidden_state_mse", "weight": 3.0}], "hard_loss_weight": 0.5}
NAMES = ("hard_loss", "soft_loss", "hidden_state_mse")
GIVEN = (0.5, 1.0, 3.0)


def make(make_trainer: MakeTrainer, **options: Any) -> DistillationTrainer:
    # Eight rows with labels, eight without: with four rows a step, every third and fourth step has no hard loss.
    defaults = {"max_steps": STEPS, "train_sampling_strategy": "sequential", "train_dataset": tiny_data(8, 8)}
    return make_trainer(**{**defaults, **OPTIONS, **options})


def trained(make_trainer: MakeTrainer, **options: Any) -> DistillationTrainer:
    trainer = make(make_trainer, **options)
    trainer.train()
    return trainer


def test_a_training_is_balanced_as_by_hand(make_trainer: MakeTrainer) -> None:
    entries = losses_logged(trained(make_trainer))
    assert ["hard_loss" in entry for entry in entries] == [True, True, False, False, True, True]
    for index, entry in enumerate(entries):
        before = [[earlier.get(name) for name in NAMES] for earlier in entries[:index]]
        factors = factors_by_hand(before) if before else [1.0] * 3
        expected = {f"{name}_weight": a * b for name, a, b in zip(NAMES, GIVEN, factors, strict=True)}
        assert {name: entry[name] for name in expected} == pytest.approx(expected, rel=1e-4)
        total = sum(weight * entry.get(name.removesuffix("_weight"), 0.0) for name, weight in expected.items())
        assert entry["loss"] == pytest.approx(total, rel=1e-4), "the objective uses the factors"
    assert max(abs(entry["hidden_state_mse_weight"] - 3.0) for entry in entries) > 0.1


def test_balance_and_schedules_multiply(make_trainer: MakeTrainer) -> None:
    plain = losses_logged(trained(make_trainer, learning_rate=0.0))
    schedules = {"soft_loss": {"name": "linear", "end": 0.0}}
    scheduled = losses_logged(trained(make_trainer, learning_rate=0.0, schedules=schedules))
    for step, (one, other) in enumerate(zip(plain, scheduled, strict=True)):
        expected = one["soft_loss_weight"] * (1 - step / STEPS)
        assert other["soft_loss_weight"] == pytest.approx(expected, rel=1e-6)


def test_without_balance_nothing_of_it_is_seen(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    options = {"save_strategy": "steps", "save_steps": 3}
    off = trained(make_trainer, balance_losses=False, output_dir=tmp_path / "off", **options)
    default = make_trainer(
        max_steps=STEPS,
        train_sampling_strategy="sequential",
        train_dataset=tiny_data(8, 8),
        losses=OPTIONS["losses"],
        output_dir=tmp_path / "default",
    )
    default.train()
    assert not any(name.endswith("_weight") for entry in losses_logged(off) for name in entry)
    assert not list((tmp_path / "off").rglob(FILE_NAME))
    assert_same(copy_of(off.model.state_dict()), copy_of(default.model.state_dict()))
    with_balance = trained(make_trainer, output_dir=tmp_path / "on", **options)
    assert list((tmp_path / "on").rglob(FILE_NAME))
    weights, others = copy_of(with_balance.model.state_dict()), copy_of(off.model.state_dict())
    assert any(not torch.equal(weights[name], others[name]) for name in weights)


# ---- Resuming ----


def saving(folder: Path) -> dict[str, Any]:
    return {"output_dir": folder, "save_strategy": "steps", "save_steps": 3}


def logged_weights(trainer: DistillationTrainer) -> list[list[float]]:
    return [[entry[f"{name}_weight"] for name in NAMES] for entry in losses_logged(trainer)]


def assert_same_run(one: DistillationTrainer, other: DistillationTrainer) -> None:
    assert logged_weights(one) == logged_weights(other)
    assert_same(copy_of(one.model.state_dict()), copy_of(other.model.state_dict()))


@pytest.fixture
def whole(make_trainer: MakeTrainer, tmp_path: Path) -> DistillationTrainer:
    return trained(make_trainer, **saving(tmp_path / "whole"))


def test_a_resumed_run_is_the_uninterrupted_one(
    make_trainer: MakeTrainer, tmp_path: Path, whole: DistillationTrainer
) -> None:
    resumed = make(make_trainer, **saving(tmp_path / "resumed"))
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert_same_run(resumed, whole)


class Interruption(TrainerCallback):
    """Stops the run once, in the middle of an optimizer step."""

    def __init__(self) -> None:
        self.is_due = True

    def on_substep_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.is_due and state.global_step == 4:
            self.is_due = False
            raise KeyboardInterrupt


def test_what_an_interrupted_step_left_is_forgotten(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    sizes = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
    expected = trained(make_trainer, **saving(tmp_path / "whole"), **sizes)
    trainer = make(make_trainer, callbacks=[Interruption()], **saving(tmp_path / "run"), **sizes)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    trainer.train(resume_from_checkpoint=True)
    assert_same_run(trainer, expected)


def test_a_run_can_be_resumed_after_a_loss_that_was_not_finite(
    make_trainer: MakeTrainer, tmp_path: Path, whole: DistillationTrainer
) -> None:
    def spoil(call: int, logits: Tensor) -> Tensor:
        return logits * math.nan if call == 5 else logits

    teacher = RecordingTeacher(spoil=spoil)
    trainer = make(make_trainer, teacher=teacher, **saving(tmp_path / "run"), losses=[])
    with pytest.raises(NonFiniteLossError, match="soft_loss became NaN or infinite at optimizer step 5"):
        trainer.train()
    trainer.train(resume_from_checkpoint=True)
    expected = trained(make_trainer, losses=[], output_dir=tmp_path / "expected")
    assert_same(copy_of(trainer.model.state_dict()), copy_of(expected.model.state_dict()))


def test_a_second_training_begins_anew(make_trainer: MakeTrainer) -> None:
    trainer = make(make_trainer, learning_rate=0.0)
    trainer.train()
    first = logged_weights(trainer)
    trainer.train()
    assert logged_weights(trainer) == first


def test_a_checkpoint_without_magnitudes_is_refused(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trained(make_trainer, balance_losses=False, **saving(tmp_path / "off"))
    with pytest.raises(DistillationError, match=rf"{FILE_NAME}.*without balance_losses"):
        make(make_trainer).train(resume_from_checkpoint=str(tmp_path / "off" / "checkpoint-3"))


def test_magnitudes_of_other_losses_are_refused(
    make_trainer: MakeTrainer, tmp_path: Path, whole: DistillationTrainer
) -> None:
    other = tmp_path / "other" / "checkpoint-3"
    shutil.copytree(tmp_path / "whole" / "checkpoint-3", other)
    (other / "projections.safetensors").unlink()
    with pytest.raises(DistillationError, match="magnitudes of 3 losses, but the objective has 2"):
        make(make_trainer, losses=[]).train(resume_from_checkpoint=str(other))
