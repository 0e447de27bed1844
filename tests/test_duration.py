"""How long a run will take: the arithmetic, and that a guess ends no run."""

from pathlib import Path
from typing import Any

import pytest

from distilnlp.runs import duration
from distilnlp.runs.plan import Plan
from distilnlp.runs.steps import Steps
from tests.test_runs import save_model
from tests.test_task_runs import RANDOM, folder, task_recipe  # noqa: F401  # a fixture
from tests.tiny import tiny_model

PACE = duration.Pace(row=0.5, answer=0.1, update=2.0)


def test_a_training_takes_its_steps_times_rows_and_update() -> None:
    values = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "num_train_epochs": 3.0}
    assert duration._training(values, 100, PACE) == 3 * 7 * (16 * 0.5 + 2)
    assert duration._training({**values, "max_steps": 5}, 100, PACE) == 5 * (16 * 0.5 + 2)
    assert duration._training(values, 4, PACE) == 3 * (4 * 0.5 + 2)


def test_each_step_that_is_left_is_told_and_no_other(
    folder: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(duration, "measured_pace", lambda *args: PACE)
    monkeypatch.setattr(duration, "_times", lambda plan, model: (10.0, 4.0))
    made = task_recipe(folder, "single_label_classification", baseline=True, **{"training.teacher_cache": "always"})
    steps = Steps(Plan(made))
    everything = [*steps.trainings, steps.answers]
    seconds = duration.expected_seconds(steps, everything)
    assert list(seconds) == ["teacher", "baseline", "teacher's answers", "student", "predictions", "evaluation"]
    rows, tests = len(steps.plan.data.train), len(steps.plan.data.test)
    assert seconds["teacher's answers"] == pytest.approx(rows * 0.1 * 10)
    teacher = duration._training(steps.plan.trainings["teacher"], len(steps.plan.data.labelled), PACE.scaled(10, 4))
    assert seconds["teacher"] == pytest.approx(teacher)
    assert seconds["predictions"] == pytest.approx(tests * (0.1 * 10 + 2 * 0.1))
    assert seconds["evaluation"] == 0.0  # no speed is measured
    assert list(duration.expected_seconds(steps, [steps.student])) == ["student", "predictions", "evaluation"]


def test_a_pace_is_measured_on_the_machine_and_the_draws_stay_as_they_are(folder: Path) -> None:  # noqa: F811
    import torch

    steps = Steps(Plan(task_recipe(folder, "question_answering")))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    pace = duration.measured_pace(steps.plan.student, steps.rows.student, steps.plan.student_args)
    assert torch.equal(before, torch.get_rng_state())
    assert pace.row >= 0
    assert pace.answer > 0
    assert pace.update > 0


def test_a_guess_that_fails_ends_no_run(folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:  # noqa: F811
    def fail(*args: Any) -> None:
        raise RuntimeError("no such kernel")

    monkeypatch.setattr(duration, "measured_pace", fail)
    caplog.set_level("DEBUG", logger="distilnlp")
    duration.say_how_long(Steps(Plan(task_recipe(folder, "single_label_classification"))))
    assert "how long it takes is not told: no such kernel" in caplog.text


def test_a_run_tells_how_long_it_will_take(tmp_path: Path, caplog: Any) -> None:
    RANDOM.seed(1)
    save_model(tmp_path / "teacher", tiny_model(num_hidden_layers=2).base_model)
    caplog.set_level("INFO", logger="distilnlp")
    duration.say_how_long(Steps(Plan(task_recipe(tmp_path, "regression"))))
    assert "time      about " in caplog.text
