"""Answers that stand in the data, by a recipe: one column or one a label, in every form, for a pretrained student."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, DatasetDict

from distilnlp.data.rows import ANSWER
from distilnlp.errors import DistillationError
from distilnlp.recipe import Recipe
from distilnlp.runs import cache, dry_run, run
from distilnlp.runs.pipeline import Pipeline
from distilnlp.runs.plan import make_plan
from distilnlp.signals import SignalRequest
from tests import test_runs
from tests.test_runs import save_model
from tests.tiny import TOPICS, tiny_model, tiny_rows

ROWS = 24


def probabilities(count: int) -> list[list[float]]:
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(count)).softmax(dim=-1).tolist()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small encoder and data with answers, some of it without labels."""
    save_model(tmp_path / "small", tiny_model(num_hidden_layers=1).base_model)
    train = tiny_rows(ROWS, unlabelled=8)
    answers = probabilities(len(train))
    train = train.add_column("answers", answers)
    for index, topic in enumerate(TOPICS):
        train = train.add_column(topic, [row[index] for row in answers])
    train = train.add_column("written", [json.dumps(row) for row in answers])
    named = [{name: row[index] for index, name in enumerate(TOPICS)} for row in answers]
    train = train.add_column("named", named)
    DatasetDict(train=train, test=tiny_rows(12, seed=1)).save_to_disk(str(tmp_path / "data"))
    return tmp_path


def recipe(folder: Path, **overrides: Any) -> Recipe:
    least = {
        "teacher.model": None,
        "teacher.column": "answers",
        "data.text_columns": "text",
        "student.model": str(folder / "small"),
        "student.num_layers": None,
        "training.num_train_epochs": 2,
    }
    return test_runs.recipe(folder, **{**least, **overrides})


def test_a_run_learns_from_the_answers_and_has_no_teacher_to_measure(folder: Path) -> None:
    results = run(recipe(folder, baseline=True))
    assert set(results["models"]) == {"student", "baseline"}
    assert not (folder / "out" / "cache").exists()
    assert "answers given in the data (answers)" in (folder / "out" / "student" / "README.md").read_text()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"teacher.column": list(TOPICS)},
        {"teacher.column": "written"},
        {"teacher.column": "named", "teacher.form": "top_k"},
    ],
)
def test_every_way_to_write_the_answers_gives_the_same(folder: Path, changes: dict[str, Any]) -> None:
    pipeline = Pipeline(make_plan(recipe(folder, **changes)))
    teacher: Any = pipeline._finished_teacher().live("float32")
    rows = [pipeline.train[index] for index in range(len(pipeline.train))]
    batch = teacher.look_up(rows, {})
    got = teacher(batch, SignalRequest()).logits.softmax(dim=-1)
    torch.testing.assert_close(got, torch.tensor(probabilities(len(rows))), rtol=1e-4, atol=1e-5)


def test_new_answers_train_the_student_anew(folder: Path, caplog: Any) -> None:
    caplog.set_level("INFO", logger="distilnlp")
    run(recipe(folder))
    data = DatasetDict.load_from_disk(str(folder / "data"))
    rows = data["train"].remove_columns("answers").add_column("answers", probabilities(len(data["train"]))[::-1])
    DatasetDict(train=rows, test=data["test"]).save_to_disk(str(folder / "new"))
    caplog.clear()
    run(recipe(folder, **{"data.source": str(folder / "new")}), overwrite=True)
    assert "student: starts" in caplog.text


def test_a_transfer_set_brings_its_answers(folder: Path) -> None:
    further = tiny_rows(6, seed=3).remove_columns("label").add_column("answers", probabilities(6))
    further.to_json(folder / "more.jsonl")
    plan = make_plan(recipe(folder, **{"data.unlabelled": str(folder / "more.jsonl")}))
    assert len(plan.data.train) == ROWS + 8 + 6
    assert plan.data.train[ANSWER][-1] == pytest.approx(probabilities(6)[-1])
    further.remove_columns("answers").to_json(folder / "bare.jsonl")
    with pytest.raises(DistillationError, match=r"bare.jsonl.* teacher\.column names the column 'answers'"):
        make_plan(recipe(folder, **{"data.unlabelled": str(folder / "bare.jsonl")}))
    further.remove_columns("answers").add_column("answers", ["film"] * 6).to_json(folder / "words.jsonl")
    with pytest.raises(DistillationError, match="list of numbers"):
        make_plan(recipe(folder, **{"data.unlabelled": str(folder / "words.jsonl")}))


def test_scores_are_answers_too(folder: Path) -> None:
    rows = Dataset.from_dict({"text": tiny_rows(8)["text"], "label": [0.5] * 8, "score": [float(n) for n in range(8)]})
    test = Dataset.from_dict({"text": tiny_rows(8)["text"], "label": [float(n) for n in range(8)]})
    DatasetDict(train=rows, test=test).save_to_disk(str(folder / "scores"))
    changes = {"data.source": str(folder / "scores"), "teacher.column": "score", "teacher.form": "logits"}
    assert "student" in run(recipe(folder, task="regression", **changes))["models"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher.column": "answer"}, "'answer'.*Did you mean"),
        ({"teacher.column": ["film", "text", "money"]}, "'text' holds"),
        ({"teacher.column": ["film", "money"]}, "3"),
        ({"teacher.column": "answers", "teacher.form": "logit"}, "form"),
        ({"teacher.column": "text"}, "list of numbers"),
        ({"teacher.folds": 2}, "folds means nothing for a column of answers"),
        ({"teacher.model": "encoder"}, "one of the two"),
        ({"student.model": None}, "student.model is required"),
        ({"data.augmentation": [{"name": "replace_words"}]}, "teacher.column do not go together"),
        ({"training.losses": [{"name": "hidden_state_mse"}]}, "hidden"),
        ({"task": "masked_lm"}, "answers to whole texts"),
    ],
)
def test_what_cannot_be_is_refused_before_training(folder: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        dry_run(recipe(folder, **changes))
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.5, 0.4, 0.4], "adds up to 1.3"),
        ([-0.2, 0.6, 0.6], "no probability"),
        ([0.5, 0.5], "2"),
        (None, "null"),
        ([0.5, 0.5, float("nan")], "NaN"),
    ],
)
def test_a_row_without_a_valid_answer_is_named(folder: Path, row: Any, message: str) -> None:
    answers = [*probabilities(ROWS)[:-1], row]
    DatasetDict(train=tiny_rows(ROWS).add_column("answers", answers), test=tiny_rows(12)).save_to_disk(
        str(folder / "bad")
    )
    with pytest.raises(DistillationError, match=message) as error:
        run(recipe(folder, **{"data.source": str(folder / "bad")}))
    assert f"row {ROWS - 1}" in str(error.value)
    assert not (folder / "out").exists()


def test_there_is_nothing_to_keep(folder: Path) -> None:
    with pytest.raises(DistillationError, match="they stand in the data"):
        cache(recipe(folder))
