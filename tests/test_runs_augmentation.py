"""Augmentation by a recipe: new rows for the training alone, without labels, the same every time."""

from pathlib import Path
from typing import Any

import pytest

from distilnlp.errors import DistillationError
from distilnlp.recipe.sections import Recipe
from distilnlp.runs import Plan, make_plan, run
from distilnlp.signals import NO_LABEL
from tests import test_runs
from tests.tiny_tasks import task_model

folder = test_runs.folder  # a teacher and data
MASK = {"name": "mask_words", "probability": 0.5, "copies": 2}


def recipe(folder: Path, methods: list[dict[str, Any]], **overrides: Any) -> Recipe:
    return test_runs.recipe(folder, **{"data.augmentation": methods, **overrides})


def texts(plan: Plan) -> list[str]:
    return plan.data.train["text"][:]


def test_new_rows_join_the_training_rows_without_labels(folder: Path) -> None:
    plain, plan = make_plan(recipe(folder, [])), make_plan(recipe(folder, [MASK, {"name": "sample_ngrams"}]))
    count = len(plain.data.train)
    assert texts(plan)[:count] == texts(plain)
    new = plan.data.train.select(range(count, len(plan.data.train)))
    assert len(new) > count // 2
    assert set(new["label"][:]) == {NO_LABEL}
    assert any("[MASK]" in text for text in new["text"])
    assert plan.data.test["text"][:] == plain.data.test["text"][:]
    assert texts(make_plan(recipe(folder, [MASK, {"name": "sample_ngrams"}]))) == texts(plan)
    assert texts(make_plan(recipe(folder, [MASK], **{"data.seed": 3}))) != texts(make_plan(recipe(folder, [MASK])))


def test_a_run_answers_and_trains_on_them(folder: Path) -> None:
    results = run(recipe(folder, [MASK], **{"training.num_train_epochs": 2}))
    assert results["rows"]["train"] > 32
    assert results["rows"]["labelled"] == 24


def test_a_masked_language_model_of_its_own_is_asked(folder: Path) -> None:
    test_runs.save_model(folder / "filler", task_model("masked_lm"))
    method = {"name": "replace_with_masked_lm", "probability": 1.0, "top_k": 5}
    plan = make_plan(recipe(folder, [method], **{"data.augmentation_model": str(folder / "filler")}))
    assert len(plan.data.train) > 32


@pytest.mark.parametrize(
    ("methods", "overrides", "message"),
    [
        ([{"name": "mask_word"}], {}, "Did you mean 'mask_words'"),
        ([{"name": "mask_words", "probability": 2}], {}, "probability"),
        ([MASK], {"teacher.finetune": True, "teacher.folds": 2}, r"teacher\.folds do not go together"),
        ([MASK], {"teacher.text_columns": ["text"]}, r"teacher\.text_columns do not go together"),
        ([{"name": "replace_with_masked_lm"}], {}, "give both, or neither"),
        ([MASK], {"data.augmentation_model": "filler"}, "give both, or neither"),
        ([], {"data.augmentation_model": "filler"}, "give both, or neither"),
        ([MASK], {"task": "masked_lm", "teacher.finetune": True}, "tasks of whole texts"),
    ],
)
def test_what_does_not_fit_is_refused(
    methods: list[dict[str, Any]], overrides: dict[str, Any], message: str, folder: Path
) -> None:
    with pytest.raises(DistillationError, match=message):
        make_plan(recipe(folder, methods, **overrides))


def test_a_model_without_the_head_is_no_masked_language_model(folder: Path) -> None:
    methods = [{"name": "replace_with_masked_lm"}]
    with pytest.raises(DistillationError, match=r"must be a masked language model, but .* lacks the weights"):
        make_plan(recipe(folder, methods, **{"data.augmentation_model": str(folder / "teacher")}))
