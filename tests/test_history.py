"""The history of a training: every event once, also after a kill; what trackers write stays."""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from distilnlp.runs import run
from distilnlp.training.history import HistoryCallback, keep_logs
from tests import test_runs
from tests.conftest import tiny_data
from tests.trainer_tools import MakeTrainer

folder = test_runs.folder  # a teacher and data

OPTIONS = {
    "max_steps": 6,
    "save_strategy": "steps",
    "save_steps": 2,
    "logging_steps": 1,
    "eval_strategy": "steps",
    "eval_steps": 3,
}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class StopAt(TrainerCallback):
    """Stands for a kill at a step, after it was logged."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise KeyboardInterrupt


def test_every_event_is_a_line(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    history = HistoryCallback(tmp_path / "history" / "student.jsonl")
    make_trainer(callbacks=[history], eval_dataset=tiny_data(4), **OPTIONS).train()
    events = lines(tmp_path / "history" / "student.jsonl")
    trained, evaluated = ([event for event in events if name in event] for name in ("loss", "eval_loss"))
    assert [event["step"] for event in trained] == [1, 2, 3, 4, 5, 6]
    assert [event["step"] for event in evaluated] == [3, 6]
    assert {"hard_loss", "soft_loss", "learning_rate", "epoch", "seconds"} <= trained[0].keys()
    seconds = [event["seconds"] for event in events]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0
    assert "train_loss" in events[-1]


def test_a_training_that_goes_on_has_every_step_once(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    path = tmp_path / "history" / "student.jsonl"
    options = {**OPTIONS, "eval_dataset": tiny_data(4)}
    with pytest.raises(KeyboardInterrupt):
        make_trainer(callbacks=[HistoryCallback(path), StopAt(5)], **options).train()
    assert lines(path)[-1]["step"] == 5  # of which no checkpoint knows
    path.write_text(path.read_text() + '{"half')  # as a kill leaves it
    before = lines_until(path, 4)
    make_trainer(callbacks=[HistoryCallback(path)], **options).train(resume_from_checkpoint=True)
    events = lines(path)
    assert [event["step"] for event in events if "loss" in event] == [1, 2, 3, 4, 5, 6]
    assert events[: len(before)] == before
    assert events[len(before)]["seconds"] > before[-1]["seconds"]


def lines_until(path: Path, step: int) -> list[dict[str, Any]]:
    whole = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    return [event for event in whole if event["step"] <= step]


def test_a_new_training_begins_a_new_history(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    path = tmp_path / "history" / "student.jsonl"
    (tmp_path / "history" / "student").mkdir(parents=True)
    (tmp_path / "history" / "student" / "events").write_text("of the one before")
    path.write_text("of the one before\n")
    make_trainer(callbacks=[HistoryCallback(path)], max_steps=1).train()
    assert [event["step"] for event in lines(path)] == [1, 1]
    assert not (tmp_path / "history" / "student").exists()


def test_what_trackers_left_is_kept(tmp_path: Path) -> None:
    work, kept = tmp_path / "work", tmp_path / "history" / "student"
    for name in ("runs/today/events", "emissions.csv", "checkpoint-4/model", "finished/model"):
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(name)
    keep_logs(work, kept, "finished")
    keep_logs(work, kept, "finished")  # again, after a kill
    assert sorted(path.name for path in kept.rglob("*") if path.is_file()) == ["emissions.csv", "events"]
    (tmp_path / "empty").mkdir()
    keep_logs(tmp_path / "empty", tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_a_run_keeps_the_history_of_every_training(folder: Path) -> None:
    options = {"teacher.finetune": {"max_steps": 2}, "baseline": {"max_steps": 2}, "training.logging_steps": 1}
    run(test_runs.recipe(folder, **options))
    teacher, baseline, student = (
        lines(folder / "out" / name / "history.jsonl")[0] for name in ("teacher", "baseline", "student")
    )
    assert {"soft_loss", "soft_loss_weight", "hard_loss_weight", "learning_rate", "seconds", "memory"} <= student.keys()
    assert "soft_loss" not in {*teacher, *baseline}
    assert student["hard_loss_weight"] == 0.5
    assert student["memory"] > 1_000_000
    (folder / "out" / "student" / "history.jsonl").unlink()  # it is no part of the student
    trained = (folder / "out" / "student" / "model.safetensors").stat().st_mtime_ns
    run(test_runs.recipe(folder, **options))
    assert (folder / "out" / "student" / "model.safetensors").stat().st_mtime_ns == trained
