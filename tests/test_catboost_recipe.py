"""The recipe with a CatBoost teacher: no answer comes from a model that saw the row's label, and none is made twice."""

import importlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from distilnlp import ColumnTeacher

catboost: Any = pytest.importorskip("catboost", reason="catboost, which the recipe needs, is not installed")
pytest.importorskip("optuna", reason="optuna, which the recipe needs, is not installed")
recipe: Any = importlib.import_module("recipes.catboost_teacher")

TOPICS = ("film", "money", "sport")
WORDS = ("actor scene plot", "bank share price", "goal match team")
FEATURES = Features({"text": Value("string"), "label": ClassLabel(names=list(TOPICS))})
LABELLED, FOLDS, TRIALS = 45, 3, 2


def document(index: int, words: str) -> str:
    """A headline of its own, and an article whose currency sign says nothing of the topic."""
    return f"headline {index}\n\n{words} of the year at {'£$€-'[index % 4]} {index}"


def splits() -> DatasetDict:
    """Three topics in turn; of the rows without a label the last one is a copy of the first row."""
    labels = [index % 3 for index in range(75)]
    texts = [document(index, WORDS[label]) for index, label in enumerate(labels)]
    train = {"text": [*texts[:60], texts[0]], "label": [*labels[:LABELLED], *[None] * 16]}
    test = {"text": texts[60:], "label": labels[60:]}
    return DatasetDict(train=Dataset.from_dict(train, FEATURES), test=Dataset.from_dict(test, FEATURES))


class Spy(catboost.CatBoostClassifier):
    """Remembers what it learned from."""

    fitted: list["Spy"]

    def fit(self, X: pd.DataFrame, y: Any) -> "Spy":
        super().fit(X, y)
        self.learned, self.labels = X, y
        Spy.fitted.append(self)
        return self


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Few rows, folds and trials; the cache is empty."""
    Spy.fitted = []
    splits().save_to_disk(str(tmp_path / "source"))
    small = {"FOLDS": FOLDS, "TRIALS": TRIALS, "SOURCE": str(tmp_path / "source"), "CACHE": tmp_path / "cache"}
    for name, value in {**small, "CatBoostClassifier": Spy}.items():
        monkeypatch.setattr(recipe, name, value)
    monkeypatch.setitem(recipe.OPTIONS, "thread_count", 1)
    return tmp_path


def probabilities(rows: Dataset) -> np.ndarray:
    return np.array(rows[recipe.ANSWERS][:])


# ---- Cross-fitting ----


def test_a_labelled_row_is_answered_by_the_one_model_that_did_not_learn_from_it() -> None:
    rows, models = recipe.load()["train"], Spy.fitted[-FOLDS:]
    table = rows.to_pandas()[[*recipe.TEXTS, *recipe.CATEGORIES, *recipe.NUMBERS]]
    for index, answer in enumerate(probabilities(rows)):
        row = table.loc[[index]]
        strangers = [model for model in models if row["text"].item() not in set(model.learned["text"])]
        is_known = index < LABELLED or index == len(rows) - 1  # a copy of a known row is known too
        assert len(strangers) == (1 if is_known else FOLDS)
        mean = sum(model.predict_proba(row)[0] for model in strangers) / len(strangers)
        np.testing.assert_allclose(answer, mean, rtol=1e-12)


def test_test_rows_get_the_mean_of_all_models() -> None:
    rows, models = recipe.load()["test"], Spy.fitted[-FOLDS:]
    table = rows.to_pandas()[[*recipe.TEXTS, *recipe.CATEGORIES, *recipe.NUMBERS]]
    mean = sum(model.predict_proba(table) for model in models) / FOLDS
    np.testing.assert_allclose(probabilities(rows), mean, rtol=1e-12)


def test_every_model_of_the_search_lacks_a_fold_of_its_own() -> None:
    recipe.load()
    assert len(Spy.fitted) == (TRIALS + 1) * FOLDS  # the best options are fitted once more
    for start in range(0, len(Spy.fitted), FOLDS):
        learned = [set(model.learned["text"]) for model in Spy.fitted[start : start + FOLDS]]
        assert [len(rows) for rows in learned] == [LABELLED - LABELLED // FOLDS] * FOLDS
        assert len(set.union(*learned)) == LABELLED
        assert not set.intersection(*learned)


# ---- What the answers are ----


def test_answers_are_what_a_column_teacher_takes() -> None:
    for split, rows in recipe.load().items():
        np.testing.assert_allclose(probabilities(rows).sum(axis=1), 1, rtol=1e-12)
        ColumnTeacher(recipe.ANSWERS, "single_label_classification", TOPICS).check_rows(rows, split)


def test_texts_count_beside_categories() -> None:
    rows = recipe.load()
    for part in (rows["train"].select(range(LABELLED)), rows["test"]):
        assert probabilities(part).argmax(axis=1).tolist() == part["label"][:]


def test_the_student_is_left_with_the_headline() -> None:
    row = recipe.further_columns(
        {"text": 'Tax cut\n\nMr Brown said: "No".\n\nIt costs £5m, or $9m, in 2005.', "label": 1}
    )
    assert row["text"] == "Tax cut"
    counts = {"currency": "£", "words": 11, "figures": 1, "quotation_marks": 2, "capitals": 3}
    assert {name: row[name] for name in counts} == counts
    assert set(row) == {*recipe.TEXTS, *recipe.CATEGORIES, *recipe.NUMBERS}


# ---- Computed once ----


def test_a_second_start_reads_what_the_first_one_wrote() -> None:
    first, again = recipe.load(), recipe.load()
    assert len(Spy.fitted) == (TRIALS + 1) * FOLDS
    assert {split: rows.to_dict() for split, rows in first.items()} == {
        split: rows.to_dict() for split, rows in again.items()
    }


def test_of_two_that_start_together_one_trains() -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: recipe.load(), range(2))
    assert len(Spy.fitted) == (TRIALS + 1) * FOLDS
    assert first["train"].to_dict() == second["train"].to_dict()


def test_the_same_rows_and_seed_give_the_same_answers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = recipe.load()
    monkeypatch.setattr(recipe, "CACHE", folder / "empty")
    again = recipe.load()
    assert len(Spy.fitted) == 2 * (TRIALS + 1) * FOLDS
    np.testing.assert_array_equal(probabilities(first["train"]), probabilities(again["train"]))


def test_other_rows_are_answered_anew(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe.load()
    other = DatasetDict({**splits(), "train": splits()["train"].select(range(55))})
    other.save_to_disk(str(folder / "other"))
    monkeypatch.setattr(recipe, "SOURCE", str(folder / "other"))
    assert len(recipe.load()["train"]) == 55
    assert len(Spy.fitted) == 2 * (TRIALS + 1) * FOLDS


def test_what_a_killed_run_left_is_not_taken_for_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(splits: DatasetDict, folder: Path) -> None:
        splits["train"].save_to_disk(str(folder / "train"))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(DatasetDict, "save_to_disk", killed)
        with pytest.raises(KeyboardInterrupt):
            recipe.load()
    assert set(recipe.load()) == {"train", "test"}
