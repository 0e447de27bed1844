"""How long teachers and baselines train: the bound, the rows held out, the best checkpoint, and a resume."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict
from transformers import TrainerCallback, TrainerControl, TrainerState

from distilnlp import DistillationTrainer, DistillationTrainingArguments
from distilnlp.recipe.defaults import LABELS_ALONE
from distilnlp.runs import make_plan
from distilnlp.tasks import REGRESSION_ROWS, SINGLE_LABEL_ROWS
from distilnlp.training.stopping import StopAtBest, hold_out, learning_rate, longest_training, stopping_arguments
from tests.conftest import tiny_data
from tests.test_runs import recipe, save_model
from tests.tiny import tiny_model, tiny_rows, tiny_tokenizer
from tests.trainer_tools import Watcher, assert_same, copy_of


@pytest.mark.parametrize(
    ("labelled", "classes", "epochs"),
    [
        (300, 2, 16),  # few rows: 300 steps
        (5000, 6, 3),  # 3 epochs
        (3850, 77, 20),  # 50 rows of each of many classes: 60 steps a class
        (400_000, 3, 3),
        (150, 0, 32),
    ],
)
def test_the_bound_of_a_teachers_training(labelled: int, classes: int, epochs: int) -> None:
    assert longest_training(labelled, classes, 16) == epochs


def test_the_wider_the_model_the_smaller_its_learning_rate() -> None:
    assert [learning_rate(width) for width in (64, 384, 768, 1024)] == pytest.approx([3e-4, 1e-4, 5e-5, 3.75e-5])


def test_a_tenth_is_held_out_and_of_each_class_something_is_learned() -> None:
    labels = [0] * 150 + [1] * 49 + [2]
    rows = Dataset.from_dict({"text": [str(index) for index in range(200)], "label": labels})
    learned, held = hold_out(rows, SINGLE_LABEL_ROWS, seed=3)
    assert (len(learned), len(held)) == (180, 20)
    assert sorted(map(int, [*learned["text"], *held["text"]])) == list(range(200))
    assert set(learned["label"]) == {0, 1, 2}
    assert hold_out(rows, SINGLE_LABEL_ROWS, seed=3)[1]["text"] == held["text"]
    assert hold_out(rows, SINGLE_LABEL_ROWS, seed=4)[1]["text"] != held["text"]
    assert len(hold_out(rows, REGRESSION_ROWS, seed=3)[1]) == 20
    many = Dataset.from_dict({"label": [0, 1] * 15_000})
    assert len(hold_out(many, SINGLE_LABEL_ROWS, seed=0)[1]) == 2000


def trainer_of(folder: Path, scores: list[float], *callbacks: Any, metric: str = "score") -> DistillationTrainer:
    """A trainer of 20 steps that evaluates after each, with the scores given."""
    left: Iterator[float] = iter(scores)
    values = {**LABELS_ALONE, **stopping_arguments(metric), "save_total_limit": 2, "learning_rate": 1e-2}
    args = DistillationTrainingArguments(
        str(folder), use_cpu=True, max_steps=20, per_device_train_batch_size=4, disable_tqdm=True, **values
    )
    model = tiny_model(num_hidden_layers=1, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    return DistillationTrainer(
        model,
        None,
        args,
        train_dataset=tiny_data(12),
        eval_dataset=tiny_data(6, seed=1),
        processing_class=tiny_tokenizer(),
        compute_metrics=lambda prediction: {"score": next(left)},
        callbacks=[StopAtBest(), *callbacks],
    )


def test_a_training_stops_when_its_score_does_not_rise_and_keeps_the_last_of_the_best(tmp_path: Path) -> None:
    weights = Watcher("on_step_end", lambda model: copy_of(model.state_dict()))
    trainer = trainer_of(tmp_path, [0.2, 0.5, 0.4, 0.5, 0.4, 0.3, 0.2, 0.1, 0.4, 0.9], weights)
    trainer.train()
    assert trainer.state.global_step == 9  # five without a score as good as that after step 4
    assert trainer.state.best_global_step == 4
    assert_same(copy_of(trainer.model.state_dict()), weights.seen[3])


def test_a_loss_is_the_better_the_lower_it_is(tmp_path: Path) -> None:
    trainer = trainer_of(tmp_path, [0.0] * 20, metric="loss")
    trainer.train()
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert trainer.state.best_metric == min(losses)


class StopAfter(TrainerCallback):
    """Ends a training after so many steps, once it has saved."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        control.should_training_stop |= state.global_step >= self.steps


def test_a_training_that_never_improves_again_is_stopped_alike_after_a_resume(tmp_path: Path) -> None:
    scores = [0.2, 0.5, 0.4, 0.5, 0.4, 0.3, 0.2, 0.1, 0.4]
    whole = trainer_of(tmp_path / "whole", scores)
    whole.train()
    halted = trainer_of(tmp_path / "halted", scores, StopAfter(6))
    halted.train()
    resumed = trainer_of(tmp_path / "halted", scores[6:])
    resumed.train(resume_from_checkpoint=str(tmp_path / "halted" / "checkpoint-6"))
    assert resumed.state.global_step == whole.state.global_step == 9
    assert_same(copy_of(resumed.model.state_dict()), copy_of(whole.model.state_dict()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(tmp_path / "teacher", tiny_model(hidden_size=16, num_hidden_layers=2))
    return tmp_path


def write_rows(folder: Path, labelled: int, **more: Dataset) -> None:
    splits = {"train": tiny_rows(labelled, unlabelled=8), "test": tiny_rows(12, seed=1), **more}
    DatasetDict(splits).save_to_disk(str(folder / "data"))


BOTH = {"baseline": True, "teacher.finetune": True}


def test_teacher_and_baseline_are_stopped_where_rows_can_be_held_out(folder: Path) -> None:
    write_rows(folder, labelled=200)
    plan = make_plan(recipe(folder, **BOTH))
    assert plan.stopped == {"teacher": "held_out", "baseline": "held_out"}
    for name in plan.stopped:
        values = plan.trainings[name]
        assert values["metric_for_best_model"] == "accuracy"
    assert "load_best_model_at_end" not in plan.trainings["student"]
    assert plan.trainings["teacher"]["learning_rate"] == 3e-4


@pytest.mark.parametrize(
    ("own", "stopped"),
    [
        ({"teacher.finetune": {"num_train_epochs": 2}}, {"baseline"}),
        ({"baseline": {"max_steps": 3}}, {"teacher"}),
        ({"baseline": {"learning_rate": 1e-3}, "training.save_steps": 2}, {"teacher", "baseline"}),
        ({"teacher.folds": 10}, {"baseline"}),  # each learns 180 rows
        ({"baseline": {"save_steps": 0.5}}, {"teacher"}),
    ],
)
def test_who_says_how_long_is_obeyed(folder: Path, own: dict[str, Any], stopped: set[str]) -> None:
    write_rows(folder, labelled=200)
    assert set(make_plan(recipe(folder, **BOTH | own)).stopped) == stopped


def test_too_few_rows_are_all_learned_and_a_validation_split_spares_them(folder: Path) -> None:
    write_rows(folder, labelled=199)
    assert make_plan(recipe(folder, **BOTH)).stopped == {}
    write_rows(folder, labelled=20, validation=tiny_rows(12, seed=2))
    plan = make_plan(recipe(folder, **BOTH, **{"data.validation_split": "validation"}))
    assert plan.stopped == {"teacher": "validation", "baseline": "validation"}
