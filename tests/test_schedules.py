"""Schedules: the course of a weight or the temperature, by hand and in a real training, and across a resume."""

import math
from pathlib import Path
from typing import Any

import pytest

from distilnlp import DistillationTrainer
from distilnlp.errors import DistillationError
from distilnlp.objective import Component, Schedule, parse_schedules
from tests.conftest import tiny_arguments, tiny_teacher
from tests.trainer_tools import STILL, MakeTrainer, losses_logged, naive_soft_loss

STEPS = 8
EXACT = {"abs": 1e-12}


# ---- The course of one value ----


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        # By hand, of the value 2.0 at 0, 1/4, 1/2, 3/4 and 1.
        ({"name": "constant"}, [2.0, 2.0, 2.0, 2.0, 2.0]),
        ({"name": "linear", "end": 0.0}, [2.0, 1.5, 1.0, 0.5, 0.0]),
        ({"name": "linear", "end": 6.0}, [2.0, 3.0, 4.0, 5.0, 6.0]),
        ({"name": "cosine", "end": 0.0}, [2.0, 1.7071067811865475, 1.0, 0.2928932188134524, 0.0]),
        ({"name": "cosine", "end": 4.0}, [2.0, 2.2928932188134525, 3.0, 3.7071067811865475, 4.0]),
        ({"name": "constant", "warmup": 0.5}, [0.0, 1.0, 2.0, 2.0, 2.0]),
        ({"name": "constant", "warmup": 0.5, "start": 1.0}, [1.0, 1.5, 2.0, 2.0, 2.0]),
        ({"name": "constant", "warmup": 0.5, "start": 4.0}, [4.0, 3.0, 2.0, 2.0, 2.0]),
        ({"name": "linear", "warmup": 0.5, "end": 1.0}, [0.0, 1.0, 2.0, 1.5, 1.0]),
        ({"name": "cosine", "warmup": 0.5, "end": 1.0}, [0.0, 1.0, 2.0, 1.5, 1.0]),
        ({"name": "linear", "warmup": 0.75, "start": 0.5, "end": 3.0}, [0.5, 1.0, 1.5, 2.0, 3.0]),
    ],
)
def test_a_schedule_is_the_one_by_hand(schedule: dict[str, Any], expected: list[float]) -> None:
    values = [Schedule(**schedule).at(2.0, progress / 4) for progress in range(5)]
    assert values == pytest.approx(expected, **EXACT)


# ---- In a training ----


def trained(make_trainer: MakeTrainer, **options: Any) -> DistillationTrainer:
    trainer = make_trainer(**{"max_steps": STEPS, "per_device_train_batch_size": 2, **options})
    trainer.train()
    return trainer


@pytest.fixture
def temperatures(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """What each component got, by its name, call by call."""
    seen: dict[str, list[float]] = {}

    def watch(kind: type[Component]) -> None:
        original = kind.__call__

        def watched(self: Component, student: Any, teacher: Any, batch: Any, num_items: Any, value: float) -> Any:
            seen.setdefault(self.name, []).append(value)
            return original(self, student, teacher, batch, num_items, value)

        monkeypatch.setattr(kind, "__call__", watched)

    for kind in Component.__subclasses__():
        watch(kind)
    return seen


def test_the_temperature_reaches_every_loss_on_logits(
    make_trainer: MakeTrainer, temperatures: dict[str, list[float]]
) -> None:
    schedules = {"temperature": {"name": "linear", "end": 1.0, "warmup": 0.25, "start": 9.0}}
    trained(make_trainer, temperature=5.0, schedules=schedules, losses=[{"name": "reverse_kl"}])
    # Two steps of eight from 9 to 5, then six to 1, which holds after the last.
    expected = [9.0, 7.0, *[5.0 - 4.0 * step / 6 for step in range(6)]]
    assert temperatures.keys() == {"hard_loss", "soft_loss", "reverse_kl"}
    for name, values in temperatures.items():
        assert values == pytest.approx(expected, **EXACT), name


def test_a_schedule_counts_optimizer_steps_not_micro_batches(
    make_trainer: MakeTrainer, temperatures: dict[str, list[float]]
) -> None:
    schedules = {"temperature": {"name": "linear", "end": 1.0}}
    trained(make_trainer, max_steps=2, gradient_accumulation_steps=2, temperature=3.0, schedules=schedules)
    assert temperatures["soft_loss"] == [3.0, 3.0, 2.0, 2.0]


@pytest.mark.parametrize("own", [None, 4.0], ids=["of the objective", "of its own"])
def test_the_scheduled_temperature_is_the_one_in_the_value(make_trainer: MakeTrainer, own: float | None) -> None:
    teacher = tiny_teacher()
    trainer = trained(
        make_trainer,
        teacher=teacher,
        max_steps=3,
        per_device_train_batch_size=8,
        temperature=4.0,
        hard_loss_weight=0.0,
        schedules={"temperature": {"name": "linear", "end": 1.0}},
        losses=[{"name": "forward_kl", "temperature": own}],
        **STILL,
    )
    rows = list(trainer.train_dataset)
    for entry, temperature in zip(losses_logged(trainer), [4.0, 3.0, 2.0], strict=True):
        scheduled, fixed = (naive_soft_loss(trainer.model, teacher, rows, value) for value in (temperature, 4.0))
        assert entry["soft_loss"] == pytest.approx(scheduled, rel=1e-4)
        assert entry["forward_kl"] == pytest.approx(scheduled if own is None else fixed, rel=1e-4)


WEIGHTS = {
    "hard_loss": {"name": "linear", "end": 1.0},
    "hidden_state_mse": {"name": "cosine", "end": 0.0, "warmup": 0.5},
}
WEIGHT_LOSSES = [{"name": "hidden_state_mse", "weight": 4.0}]


def weights_by_hand() -> list[dict[str, float]]:
    hard = [0.5 + 0.5 * step / STEPS for step in range(STEPS)]
    mse = [0.0, 1.0, 2.0, 3.0, *[4.0 * (1 + math.cos(math.pi * step / 4)) / 2 for step in range(4)]]
    return [
        {"hard_loss_weight": a, "soft_loss_weight": 1.0, "hidden_state_mse_weight": b}
        for a, b in zip(hard, mse, strict=True)
    ]


def logged_weights(trainer: DistillationTrainer) -> list[dict[str, float]]:
    entries = losses_logged(trainer)
    return [{name: value for name, value in entry.items() if name.endswith("_weight")} for entry in entries]


def test_weights_are_logged_and_are_those_of_the_step(make_trainer: MakeTrainer) -> None:
    trainer = trained(make_trainer, schedules=WEIGHTS, losses=WEIGHT_LOSSES)
    assert len(logged_weights(trainer)) == STEPS
    for entry, logged, expected in zip(losses_logged(trainer), logged_weights(trainer), weights_by_hand(), strict=True):
        assert logged == pytest.approx(expected, **EXACT)
        total = sum(weight * entry[name.removesuffix("_weight")] for name, weight in expected.items())
        assert entry["loss"] == pytest.approx(total, rel=1e-4)


def test_weights_that_stay_are_not_logged(make_trainer: MakeTrainer) -> None:
    trainer = trained(make_trainer, max_steps=2, schedules={"temperature": {"name": "linear", "end": 1.0}})
    assert logged_weights(trainer) == [{}, {}]


def test_a_temperature_that_changes_is_logged_and_one_that_stays_is_not(make_trainer: MakeTrainer) -> None:
    schedules = {"temperature": {"name": "linear", "end": 1.0}}
    trainer = trained(make_trainer, temperature=3.0, max_steps=4, schedules=schedules)
    logged = [entry["temperature"] for entry in losses_logged(trainer)]
    assert logged == pytest.approx([3.0 - 2.0 * step / 4 for step in range(4)])
    assert not any("temperature" in entry for entry in losses_logged(trained(make_trainer, max_steps=2)))


def test_a_weight_of_zero_in_the_warm_up_leaves_its_component_in_the_logs(make_trainer: MakeTrainer) -> None:
    trainer = trained(make_trainer, schedules={"hard_loss": {"name": "constant", "warmup": 0.5}})
    entries = losses_logged(trainer)
    assert entries[0]["hard_loss_weight"] == 0
    assert entries[0]["hard_loss"] > 0


# ---- Resuming ----


def test_a_resumed_run_goes_on_with_its_schedules(
    make_trainer: MakeTrainer, temperatures: dict[str, list[float]], tmp_path: Path
) -> None:
    options = {
        "schedules": {**WEIGHTS, "temperature": {"name": "linear", "end": 1.0}},
        "losses": WEIGHT_LOSSES,
        "temperature": 5.0,
        "output_dir": tmp_path / "run",
        "save_strategy": "steps",
        "save_steps": 3,
    }
    whole = trained(make_trainer, **options)
    uninterrupted = list(temperatures["soft_loss"])
    temperatures.clear()
    resumed = make_trainer(**{"max_steps": STEPS, "per_device_train_batch_size": 2, **options})
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-3"))
    assert uninterrupted == pytest.approx([5.0 - 4.0 * step / STEPS for step in range(STEPS)], **EXACT)
    assert temperatures["soft_loss"] == uninterrupted[3:]
    assert logged_weights(resumed) == logged_weights(whole)
    for one, other in zip(losses_logged(resumed), losses_logged(whole), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-6)


# ---- Wrong input ----


@pytest.mark.parametrize(
    ("schedules", "message"),
    [
        ({"sof_loss": {"name": "linear", "end": 1.0}}, "sof_loss.*Did you mean 'soft_loss'"),
        ({"pkd": {"name": "linear", "end": 1.0}}, "'pkd', which this objective does not have"),
        ({"soft_loss": {"name": "linaer", "end": 1.0}}, r"schedules\.soft_loss\.name.*'linaer'"),
        ({"soft_loss": {"end": 1.0}}, r"schedules\.soft_loss\.name.*missing"),
        ({"soft_loss": {"name": "linear", "ende": 1.0}}, r"schedules\.soft_loss\.ende.*Did you mean 'end'"),
        ({"soft_loss": {"name": "constant", "end": 1.0}}, "constant schedule has no end, but it is 1.0"),
        ({"soft_loss": {"name": "linear", "end": -1.0}}, r"schedules\.soft_loss\.end.*-1"),
        ({"soft_loss": {"name": "linear", "end": math.nan}}, r"schedules\.soft_loss\.end.*nan"),
        ({"soft_loss": {"name": "linear", "warmup": 1.0}}, r"schedules\.soft_loss\.warmup"),
        ({"soft_loss": {"name": "linear", "warmup": -0.1}}, r"schedules\.soft_loss\.warmup"),
        ({"soft_loss": {"name": "linear", "start": -1.0}}, r"schedules\.soft_loss\.start"),
        ({"soft_loss": {"name": "linear", "start": 0.0, "end": 1.0}}, "no warm-up, so that 0.0 would be ignored"),
        ({"temperature": {"name": "linear", "end": 0.0}}, "temperature must stay positive"),
        ({"temperature": {"name": "constant", "warmup": 0.1}}, "temperature must stay positive.*`start`"),
        ({"soft_loss": "linear"}, r"schedules\.soft_loss"),
        ({"soft_loss": None}, r"schedules\.soft_loss"),
        ([{"name": "linear"}], "schedules must be a mapping"),
        ('{"temperature": ', "schedules must be given as such or as JSON"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused_at_once(tmp_path: Path, schedules: Any, message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        tiny_arguments(tmp_path, schedules=schedules)


def test_a_schedule_of_a_component_without_weight_is_refused(make_trainer: MakeTrainer) -> None:
    with pytest.raises(DistillationError, match="'hard_loss', which this objective does not have"):
        make_trainer(hard_loss_weight=0.0, schedules={"hard_loss": {"name": "linear", "end": 1.0}})


def test_schedules_may_be_json(tmp_path: Path) -> None:
    arguments = tiny_arguments(tmp_path, schedules='{"temperature": {"name": "linear", "end": 1.0}}')
    assert parse_schedules(arguments.schedules, [])["temperature"] == Schedule(name="linear", end=1.0)
