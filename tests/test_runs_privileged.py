"""Privileged teachers: columns and lengths that the student does not read, and that need not be there at the test."""

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict, concatenate_datasets
from transformers import AutoTokenizer

from distilnlp.data import prepare_data
from distilnlp.data.teacher_columns import joined_texts
from distilnlp.errors import DistillationError
from distilnlp.recipe.sections import Recipe
from distilnlp.runs import make_plan, run
from distilnlp.runs.describe import describe
from distilnlp.runs.rows import RunRows
from distilnlp.signals import student_view, teacher_view
from distilnlp.tasks import SINGLE_LABEL_ROWS
from tests import test_runs
from tests.tiny import TOPICS, tiny_rows, tiny_tokenizer

folder = test_runs.folder  # a teacher and data


def with_hint(rows: Dataset) -> Dataset:
    """Rows with a column that tells the topic, and a price."""
    hints = [TOPICS[label] if label is not None else None for label in rows["label"]]
    return rows.add_column("hint", hints).add_column("price", [index / 2 for index in range(len(rows))])


@pytest.fixture
def hinted(folder: Path) -> Path:
    train, test = with_hint(tiny_rows(24, unlabelled=8)), tiny_rows(12, seed=1)
    DatasetDict(train=train, test=test).save_to_disk(str(folder / "hinted"))
    return folder


def recipe(folder: Path, **overrides: Any) -> Recipe:
    least = {
        "data.source": str(folder / "hinted"),
        "data.text_columns": ["text"],
        "teacher.text_columns": ["text", "hint"],
        "teacher.finetune": {"num_train_epochs": 1},
        "training.num_train_epochs": 2,
    }
    return test_runs.recipe(folder, **{**least, **overrides})


def words(ids: list[int]) -> list[str]:
    return tiny_tokenizer().convert_ids_to_tokens(ids)


def test_the_teacher_reads_more_than_the_student_and_the_test(hinted: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="distilnlp")
    results = run(recipe(hinted))
    assert set(results["models"]) == {"student"}
    assert "the test rows lack what the teacher reads" in caplog.text
    assert (hinted / "out" / "cache").is_dir()
    rows = RunRows(make_plan(recipe(hinted, output=str(hinted / "other"))))
    for row in rows.train.select(range(6)):
        assert len(row["teacher_input_ids"]) > len(row["input_ids"])
        assert words(row["teacher_input_ids"])[: len(row["input_ids"]) - 1] == words(row["input_ids"])[:-1]


def test_a_test_with_all_columns_measures_the_teacher_too(hinted: Path) -> None:
    rows = DatasetDict(train=with_hint(tiny_rows(24)), test=with_hint(tiny_rows(12, seed=1)))
    rows.save_to_disk(str(hinted / "whole"))
    results = run(recipe(hinted, **{"data.source": str(hinted / "whole"), "training.eval_soft_loss": True}))
    assert set(results["models"]) == {"teacher", "student"}


def test_a_teacher_may_read_longer_texts(hinted: Path) -> None:
    lengths = {"teacher.text_columns": None, "teacher.max_length": 12, "data.max_length": 6}
    plan = make_plan(recipe(hinted, **lengths))
    assert "cut after 6 tokens; the teacher reads text cut after 12" in describe(plan)
    train = RunRows(plan).train
    assert max(map(len, train["input_ids"])) == 6
    assert max(map(len, train["teacher_input_ids"])) > 6


def test_further_columns_become_a_second_text() -> None:
    rows = with_hint(tiny_rows(3))
    text, second = joined_texts(rows, ["text", "hint", "price"])
    assert text == rows["text"][:]
    assert second == [
        f"hint: {hint}; price: {price:g}" for hint, price in zip(rows["hint"], rows["price"], strict=True)
    ]
    assert joined_texts(rows, ["text", "price"])[1][1] == "price: 0.5"
    assert joined_texts(rows, ["text", "hint"])[1] == rows["hint"][:]


def test_the_two_views_keep_the_rows_together(hinted: Path) -> None:
    made = recipe(hinted)
    data = prepare_data(made.data, SINGLE_LABEL_ROWS, list(TOPICS), ["hint", "text"])
    own, other = student_view(data.train), teacher_view(data.train)
    assert set(own.column_names) == {"text", "label"}
    assert other["text_pair"][:] == own["text"][:]
    labelled = [label for label in own["label"] if label != -100]
    assert other["text"][: len(labelled)] == [TOPICS[label] for label in labelled]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"teacher.text_columns": ["text", "hnit"]},
            "teacher.text_columns names the column 'hnit'.*Did you mean 'hint'",
        ),
        ({"teacher.max_length": 4000}, "at most"),
        ({"task": "masked_lm", "teacher.text_columns": ["text"]}, "masked language modelling"),
        ({"training.losses": [{"name": "hidden_state_mse"}]}, "token by token"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(changes: dict[str, Any], message: str, hinted: Path) -> None:
    with pytest.raises(DistillationError, match=message):
        _ = RunRows(make_plan(recipe(hinted, **changes))).train


def test_a_transfer_set_needs_the_teachers_columns_too(hinted: Path) -> None:
    plain = concatenate_datasets([tiny_rows(4, seed=9)]).remove_columns("label")
    plain.to_json(hinted / "more.jsonl")
    with pytest.raises(DistillationError, match=r"unlabelled source .*more.jsonl\) teacher.text_columns.*'hint'"):
        make_plan(recipe(hinted, **{"data.unlabelled": [str(hinted / "more.jsonl")]}))


def test_each_model_is_saved_with_the_length_of_its_own_texts(hinted: Path) -> None:
    run(recipe(hinted, **{"data.max_length": 8, "teacher.max_length": 24}))
    lengths = [AutoTokenizer.from_pretrained(hinted / "out" / name).model_max_length for name in ("teacher", "student")]
    assert lengths == [24, 8]


def test_a_narrow_student_is_measured_on_its_own_text(hinted: Path) -> None:
    assert make_plan(recipe(hinted, **{"student.hidden_size": 8})).student.config.hidden_size == 8


def test_validation_rows_must_have_what_the_teacher_is_to_read(hinted: Path) -> None:
    rows = DatasetDict(train=with_hint(tiny_rows(24)), test=tiny_rows(12, seed=1), dev=tiny_rows(6, seed=2))
    rows.save_to_disk(str(hinted / "three"))
    base = {"data.source": str(hinted / "three"), "data.validation_split": "dev"}
    make_plan(recipe(hinted, **base))
    for asked in ({"training.eval_soft_loss": True}, {"teacher.finetune": {"eval_strategy": "epoch"}}):
        with pytest.raises(DistillationError, match="is to read the validation rows"):
            make_plan(recipe(hinted, **base, **asked))


def test_the_teacher_must_not_read_the_label(hinted: Path) -> None:
    with pytest.raises(DistillationError, match="would read the answer"):
        make_plan(recipe(hinted, **{"teacher.text_columns": ["text", "label"]}))
