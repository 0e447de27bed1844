"""Answers that stand in the data, by a recipe: one column or one a label, in every form, for a pretrained student."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset, DatasetDict, List, Value

from distilnlp.errors import DistillationError
from distilnlp.recipe.sections import Recipe
from distilnlp.runs import cache, dry_run, make_plan, run
from distilnlp.runs.steps import Steps
from distilnlp.signals import ANSWER, SignalRequest
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
    train = train.add_column("named", named).add_column("named_text", [json.dumps(row) for row in named])
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
        {"teacher.column": "named_text", "teacher.form": "top_k"},
    ],
)
def test_every_way_to_write_the_answers_gives_the_same(folder: Path, changes: dict[str, Any]) -> None:
    steps = Steps(make_plan(recipe(folder, **changes)))
    teacher: Any = steps.teacher.live("float32")
    rows = [steps.rows.train[index] for index in range(len(steps.rows.train))]
    batch = teacher.look_up(rows, {})
    got = teacher(batch, SignalRequest()).logits.softmax(dim=-1)
    torch.testing.assert_close(got, torch.tensor(probabilities(len(rows))), rtol=1e-4, atol=1e-5)


def test_new_answers_train_the_student_anew(folder: Path, caplog: Any) -> None:
    caplog.set_level("DEBUG", logger="distilnlp")
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
        ({"teacher.column": ["film", "text", "money"]}, "'text' of the training data must hold one number"),
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
        ([-0.2, 0.6, 0.6], "not a probability"),
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


def answered_file(path: Path, columns: dict[str, list[Any]], texts: list[str] | None = None) -> str:
    """JSON lines or a CSV of unlabelled texts with answers."""
    texts = tiny_rows(len(next(iter(columns.values()))), seed=5)["text"] if texts is None else texts
    rows = [dict(zip(["text", *columns], row, strict=True)) for row in zip(texts, *columns.values(), strict=True)]
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["text", *columns])
            writer.writeheader()
            writer.writerows(rows)
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def test_the_row_is_that_of_the_users_file(folder: Path) -> None:
    """Blank rows before it are left out and a share is held out: neither moves the number."""
    rows, answers = tiny_rows(ROWS), probabilities(ROWS)
    texts = ["", " ", *rows["text"][2:]]
    answers[0], answers[20] = [9.0, 9.0, 9.0], [0.5, 0.4, 0.4]
    made = {"text": texts, "label": rows["label"], "answers": answers}
    DatasetDict(train=Dataset.from_dict(made)).save_to_disk(str(folder / "blank"))
    changes = {"data.source": str(folder / "blank"), "data.label_names": list(TOPICS), "data.test_size": 0.5}
    for seed in range(3):  # wherever the row goes, its answer must do
        with pytest.raises(DistillationError, match=r"^teacher\.column 'answers' of the training data") as error:
            make_plan(recipe(folder, **changes, **{"data.seed": seed}))
        assert "row 20 adds up to 1.3" in str(error.value)
        assert "given_answer" not in str(error.value)


def test_a_row_of_a_transfer_set_is_counted_in_its_own_file(folder: Path) -> None:
    path = answered_file(folder / "more.jsonl", {"answers": [*probabilities(3), [0.5, 0.5, 0.5]]}, ["a", "", "b", "c"])
    with pytest.raises(DistillationError, match=r"of the unlabelled \(.*more\.jsonl\) data .* row 3 adds up to 1\.5"):
        make_plan(recipe(folder, **{"data.unlabelled": path}))


def test_test_rows_need_no_answers_that_are_answers(folder: Path) -> None:
    data = DatasetDict.load_from_disk(str(folder / "data"))
    test = data["test"].add_column("answers", ["none"] * len(data["test"]))
    DatasetDict(train=data["train"], test=test).save_to_disk(str(folder / "tested"))
    assert len(make_plan(recipe(folder, **{"data.source": str(folder / "tested")})).data.test) == len(test)


@pytest.mark.parametrize("feature", [List(Value("float32")), List(Value("float32"), length=3)])
def test_numbers_of_every_type_are_alike(folder: Path, feature: Any) -> None:
    further = Dataset.from_dict({"text": tiny_rows(6, seed=3)["text"], "answers": probabilities(6)})
    further.cast_column("answers", feature).to_parquet(folder / "more.parquet")
    plan = make_plan(recipe(folder, **{"data.unlabelled": str(folder / "more.parquet")}))
    assert plan.data.train[ANSWER][-1] == pytest.approx(probabilities(6)[-1], rel=1e-6)


@pytest.mark.parametrize("name", ["more.jsonl", "more.csv"])
@pytest.mark.parametrize(
    "answers",
    [
        [{"film": 0.9}] * 4,
        [{"film": 0.9}, {"money": 0.7, "sport": 0.2}] * 2,
        [[{"label": "film", "score": 0.9}], [{"label": "money", "score": 1, "id": 7}]] * 2,
    ],
)
def test_every_file_may_name_other_labels(folder: Path, name: str, answers: list[Any]) -> None:
    written = list(map(json.dumps, answers)) if name.endswith("csv") else answers
    changes = {
        "data.unlabelled": answered_file(folder / name, {"named": written}),
        "teacher.column": "named",
        "teacher.form": "top_k",
    }
    rows = make_plan(recipe(folder, **changes)).data.train[ANSWER]
    assert [entry["label"] for entry in rows[0]] == list(TOPICS)
    assert rows[-4] == [{"label": "film", "score": 0.9}]
    assert all(None not in entry.values() for row in rows for entry in row)


def test_numbers_and_names_are_not_alike_and_both_sources_are_named(folder: Path) -> None:
    path = answered_file(folder / "more.jsonl", {"answers": [{"film": 0.9}] * 3})
    with pytest.raises(DistillationError, match=r"\(.*more\.jsonl\) data names labels .* the training data does not"):
        make_plan(recipe(folder, **{"data.unlabelled": path}))


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["0.1", "nan"], "row 1 holds NaN"),
        (["0.1", ""], "row 1 has a null among its values"),
        (["0.1", "abc"], r"'film' of the unlabelled .* must hold one number a row, but row 1 .* holds 'abc'"),
    ],
)
def test_a_bad_cell_of_several_columns_is_named(folder: Path, cells: list[str], message: str) -> None:
    columns = {"film": cells, "money": ["0.4"] * 2, "sport": ["0.5"] * 2}
    changes = {"teacher.column": list(TOPICS), "data.unlabelled": answered_file(folder / "cells.csv", columns)}
    with pytest.raises(DistillationError, match=message):
        make_plan(recipe(folder, **changes))


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("[null, 0.5, 0.5]", "row 1 has a null among its values"),
        ("", "row 1 has no answer"),
        ("[NaN, 0.5, 0.5]", "row 1 holds NaN"),
        ('{"film": 0.9}', r"a list of numbers in every row, but row 1 \(counted from 0\) holds"),
    ],
)
def test_a_text_that_is_no_answer_is_named(folder: Path, written: str, message: str) -> None:
    path = answered_file(folder / "written.csv", {"written": ["[0.2, 0.3, 0.5]", written]})
    with pytest.raises(DistillationError, match=message):
        make_plan(recipe(folder, **{"teacher.column": "written", "data.unlabelled": path}))


def test_what_a_transfer_set_lacks_is_said_of_it_alone(folder: Path) -> None:
    bare = answered_file(folder / "bare.jsonl", {"other": [1.0] * 3})
    with pytest.raises(
        DistillationError, match=r"^\(for the unlabelled source .*bare.*\) teacher\.column names .* Set teach"
    ):
        make_plan(recipe(folder, **{"data.unlabelled": bare}))
    rows = [{"title": "a", "body": "b", "answers": [0.2, 0.3, 0.5]}] * 3
    (folder / "titles.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DistillationError, match=r"titles\.jsonl must have the text columns \['text'\]") as error:
        make_plan(recipe(folder, **{"data.unlabelled": str(folder / "titles.jsonl")}))
    assert "data.text_columns" not in str(error.value)


def test_answers_that_are_text_are_no_text_of_a_transfer_set(folder: Path) -> None:
    rows = [{"title": f"title {index}", "written": "[0.2, 0.3, 0.5]"} for index in range(3)]
    (folder / "titles.jsonl").write_text("\n".join(map(json.dumps, rows)))
    changes = {"teacher.column": "written", "data.unlabelled": str(folder / "titles.jsonl")}
    assert make_plan(recipe(folder, **changes)).data.train["text"][-1] == "title 2"


def test_there_is_nothing_to_keep(folder: Path) -> None:
    with pytest.raises(DistillationError, match="they stand in the data"):
        cache(recipe(folder))
