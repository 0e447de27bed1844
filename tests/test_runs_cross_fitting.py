"""Cross-fitting by a recipe: a teacher a fold, each row answered by the one that did not see its label."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from distilnlp.answers import read_manifest
from distilnlp.errors import DistillationError
from distilnlp.recipe.sections import Recipe
from distilnlp.runs import Plan, make_plan, run, training
from distilnlp.signals import FOLD, named_inputs, select_inputs
from distilnlp.teachers import AveragedModel, EnsembleTeacher, as_teacher
from tests import test_runs
from tests.tiny_tasks import TASKS, collated, signals_of, task_rows, task_teacher

folder = test_runs.folder  # a teacher and data


def recipe(folder: Path, **overrides: Any) -> Recipe:
    least = {"teacher.finetune": {"num_train_epochs": 1}, "teacher.folds": 2, "training.num_train_epochs": 2}
    return test_runs.recipe(folder, **{**least, **overrides})


def test_a_run_trains_a_teacher_a_fold_and_measures_their_mean(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    seen: list[set[int]] = []
    original = training._train

    def train(plan: Plan, name: str, work: Path, *further: Any, **options: Any) -> Path:
        if "teacher_fold" in str(work):
            seen.append(set(options["train_dataset"][FOLD][:]))
            assert len(options["train_dataset"]) < len(plan.data.labelled)
        return original(plan, name, work, *further, **options)

    monkeypatch.setattr(training, "_train", train)
    results = run(recipe(folder))
    assert seen == [{1}, {0}]
    out = folder / "out"
    sizes = [
        AutoModelForSequenceClassification.from_pretrained(out / "teacher_folds" / fold).num_parameters()
        for fold in "01"
    ]
    assert results["models"]["teacher"]["parameters"]["total"] == sum(sizes)
    manifest = read_manifest(out / "cache")
    assert manifest is not None
    assert manifest.identity["folds"] == {"-1": 8, "0": 12, "1": 12}
    caplog.set_level("INFO", logger="distilnlp")
    run(recipe(folder, **{"training.learning_rate": 1e-3}))
    assert all(
        f"{stage}: reused" in caplog.text
        for stage in ("teacher without fold 0", "teacher without fold 1", "teacher's answers")
    )


def test_live_and_two_tokenizers_work_too(folder: Path) -> None:
    changes = {"training.teacher_cache": "off", "training.num_train_epochs": 1, "student.trim_vocabulary": True}
    assert set(run(recipe(folder, **changes))["models"]) == {"teacher", "student"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher.folds": 20}, "20"),
        ({"training.losses": [{"name": "pkd"}]}, "hidden"),
    ],
)
def test_what_cannot_be_cross_fitted_is_refused_before_training(
    changes: dict[str, Any], message: str, folder: Path
) -> None:
    with pytest.raises(DistillationError, match=message):
        make_plan(recipe(folder, **changes))
    assert not (folder / "out").exists()


@pytest.mark.parametrize("changes", [{"teacher.finetune": False}, {"teacher.folds": 1}])
def test_folds_without_training_are_refused(changes: dict[str, Any], folder: Path) -> None:
    with pytest.raises((DistillationError, ValidationError), match="folds"):
        recipe(folder, **changes)


def mean_of(task: str, logits: list[Tensor], batch: dict[str, Tensor]) -> Tensor:
    """The mean answer, as logits up to a constant."""
    if task == "regression":
        return torch.stack(logits).mean(dim=0)
    if task == "multi_label_classification":
        return torch.stack(logits).sigmoid().mean(dim=0).logit()
    if task == "question_answering":
        padding = ~batch["context_mask"].bool().unsqueeze(1).expand(-1, 2, -1)
        logits = [own.masked_fill(padding, -torch.inf) for own in logits]
    return torch.stack(logits).softmax(dim=-1).mean(dim=0).log()


@pytest.mark.parametrize("task", [task for task in TASKS if task not in ("masked_lm", "multiple_choice")])
def test_an_averaged_model_answers_with_the_mean(task: str) -> None:
    models = [task_teacher(task, seed=seed) for seed in (0, 1)]
    batch = collated(task, task_rows(task))
    own = AveragedModel(models, EnsembleTeacher([as_teacher(model, None) for model in models], TASKS[task]))
    outputs = own(**select_inputs(batch, named_inputs(own)))
    got = TASKS[task].read_logits(outputs, batch)
    with torch.no_grad():
        wanted = mean_of(task, [signals_of(model, task, batch).logits for model in models], batch)
    real = wanted.isfinite()
    torch.testing.assert_close(got[real], wanted[real], rtol=1e-4, atol=1e-5)
    assert own.num_parameters() == sum(model.num_parameters() for model in models)
