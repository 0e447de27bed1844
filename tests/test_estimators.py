"""Estimators as teachers: their classes by name or id, every shape of an answer, and the column that saves them."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from datasets import Dataset, IterableDataset
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from distilnlp.errors import DistillationError
from distilnlp.signals import SignalProfile, SignalRequest
from distilnlp.tasks import SINGLE_LABEL_CLASSIFICATION, TASKS
from distilnlp.teachers import (
    ColumnTeacher,
    DistillationCollator,
    EstimatorTeacher,
    LookUp,
    LookupTeacher,
    predicted_column,
)
from tests.conftest import tokenised
from tests.tiny import TOPICS, tiny_rows, tiny_tokenizer

SINGLE, MULTI, REGRESSION = "single_label_classification", "multi_label_classification", "regression"
ROWS = tiny_rows(24)
TEXTS, IDS = ROWS["text"][:], np.array(ROWS["label"][:])
NAMES = np.array(TOPICS)[IDS]
DECISIONS = np.random.default_rng(0).integers(0, 2, (24, 3))
SMALLEST = 1e-7
TURNED = ("sport", "film", "money")


def bag_of_words(model: Any, targets: Any) -> Any:
    return make_pipeline(TfidfVectorizer(), model).fit(TEXTS, targets)


def classifier(targets: Any = NAMES) -> Any:
    return bag_of_words(LogisticRegression(C=30.0), targets)


def answers(teacher: LookupTeacher, rows: Any) -> list[list[float]]:
    """The logits that a teacher gives for rows, one batch."""
    return teacher(teacher.look_up(list(rows), {}), SignalRequest()).logits.tolist()


def near(rows: Any) -> Any:
    return [pytest.approx(row, rel=1e-6, abs=1e-6) for row in rows]


def logarithms(probabilities: Any) -> list[list[float]]:
    return [[math.log(max(p, SMALLEST)) for p in row] for row in np.asarray(probabilities).tolist()]


def log_odds(probabilities: Any) -> list[list[float]]:
    clipped = np.asarray(probabilities, dtype=float).clip(SMALLEST, 1 - SMALLEST).tolist()
    return [[math.log(p / (1 - p)) for p in row] for row in clipped]


# ---- One class ----


def test_a_classifier_answers_by_the_names_of_its_classes() -> None:
    model = classifier()
    teacher = EstimatorTeacher(model, SINGLE, TURNED, "text")
    teacher.check_rows(ROWS, "train")
    assert isinstance(teacher, LookupTeacher)
    assert teacher.profile == SignalProfile(TURNED, 3, task=SINGLE)
    assert teacher.columns == {"text"}
    expected = [[row[list(model.classes_).index(name)] for name in TURNED] for row in model.predict_proba(TEXTS)]
    assert answers(teacher, ROWS) == near(logarithms(expected))


def test_whole_numbers_from_zero_are_label_ids() -> None:
    model = classifier(IDS)
    teacher = EstimatorTeacher(model, SINGLE_LABEL_CLASSIFICATION, TURNED, ["text"])
    assert answers(teacher, ROWS) == near(logarithms(model.predict_proba(TEXTS)))


@pytest.mark.parametrize(
    ("targets", "names", "came"),
    [
        (NAMES, ("film", "money", "weather"), r"array\(\['film', 'money', 'sport'\]"),
        (NAMES, ("film", "money"), r"array\(\['film', 'money', 'sport'\]"),
        (np.where(NAMES == "sport", "film", NAMES), TOPICS, r"array\(\['film', 'money'\]"),
        (IDS + 1, TOPICS, r"array\(\[1, 2, 3\]"),
        (IDS, ("2", "1", "0"), r"array\(\[0, 1, 2\]"),  # names or ids? They would mean different classes
        (IDS == 0, ("no", "yes"), r"array\(\[False,  True\]"),
    ],
)
def test_other_classes_are_refused_with_both_sides(targets: Any, names: tuple[str, ...], came: str) -> None:
    with pytest.raises(DistillationError, match=f"must be the labels .*{names[0]}.*, but its classes_ are {came}"):
        EstimatorTeacher(classifier(targets), SINGLE, names, "text")


def test_an_estimator_that_cannot_answer_is_refused() -> None:
    with pytest.raises(DistillationError, match=r"classes_ are None\. Fit it first"):
        EstimatorTeacher(LogisticRegression(), SINGLE, TOPICS, "text")
    with pytest.raises(DistillationError, match="needs the method predict_proba"):
        EstimatorTeacher(bag_of_words(LinearSVC(), NAMES), SINGLE, TOPICS, "text")
    with pytest.raises(DistillationError, match="needs the method predict for regression"):
        EstimatorTeacher(TfidfVectorizer(), REGRESSION, None, "text")


# ---- Several labels ----


def of_each_label(model: Any) -> np.ndarray:
    return np.stack([part[:, 1] for part in model.predict_proba(TEXTS)], axis=1)


@pytest.mark.parametrize(
    ("model", "probabilities"),
    [
        (MultiOutputClassifier(LogisticRegression()), of_each_label),
        (RandomForestClassifier(5, max_depth=3, random_state=0), of_each_label),
        (OneVsRestClassifier(LogisticRegression()), lambda model: model.predict_proba(TEXTS)),
        (ClassifierChain(LogisticRegression()), lambda model: model.predict_proba(TEXTS)),
    ],
)
def test_several_labels_in_every_shape(model: Any, probabilities: Callable[[Any], Any]) -> None:
    fitted = bag_of_words(model, DECISIONS)
    teacher = EstimatorTeacher(fitted, MULTI, TOPICS, "text")
    teacher.check_rows(ROWS, "train")
    assert answers(teacher, ROWS) == near(log_odds(probabilities(fitted)))


def test_a_label_that_was_never_seen_is_refused() -> None:
    fitted = bag_of_words(RandomForestClassifier(2, random_state=0), np.c_[DECISIONS[:, :2], np.zeros(24, dtype=int)])
    with pytest.raises(DistillationError, match="on rows of every label"):
        EstimatorTeacher(fitted, MULTI, TOPICS, "text")


def test_a_model_of_several_labels_is_no_classifier() -> None:
    with pytest.raises(DistillationError, match="the estimator's classes must be"):
        EstimatorTeacher(bag_of_words(MultiOutputClassifier(LogisticRegression()), DECISIONS), SINGLE, TOPICS, "text")


# ---- Scores, and tables ----


def table() -> Dataset:
    generator = np.random.default_rng(1)
    return Dataset.from_dict({"height": generator.normal(size=24), "age": range(24), "text": TEXTS})


def test_several_columns_come_as_a_data_frame_in_their_order() -> None:
    frame = table().to_pandas()[["height", "age"]]
    model = LinearRegression().fit(frame, 3 * frame["height"] - frame["age"])
    teacher = EstimatorTeacher(model, REGRESSION, None, ["height", "age"])
    teacher.check_rows(table(), "train")
    assert teacher.profile == SignalProfile(None, 1, task=REGRESSION)
    expected = [[3 * row["height"] - row["age"]] for row in table()]
    assert answers(teacher, table()) == [pytest.approx(row, abs=1e-5) for row in expected]


def test_a_single_column_of_numbers_comes_as_a_data_frame() -> None:
    frame = table().to_pandas()[["age"]]
    model = LinearRegression().fit(frame, np.c_[2 * frame["age"]])  # which makes it answer [rows, 1]
    teacher = EstimatorTeacher(model, REGRESSION, ["score"], "age")
    expected = [pytest.approx([2 * age], abs=1e-4) for age in range(24)]
    assert answers(teacher, table()) == answers(teacher, table().with_format("torch")) == expected


# ---- Rows ----


def test_rows_that_the_estimator_cannot_read_are_refused() -> None:
    teacher = EstimatorTeacher(classifier(), SINGLE, TOPICS, "text")
    with pytest.raises(DistillationError, match=r"needs the column 'text', but the train data has \['texts'\]"):
        teacher.check_rows(ROWS.select_columns(["text"]).rename_column("text", "texts"), "train")
    with pytest.raises(DistillationError, match="row 2 of column 'text' of the train data is null"):
        teacher.check_rows(Dataset.from_dict({"text": ["film", "money", None]}), "train")
    with pytest.raises(DistillationError, match="feature_columns is empty"):
        EstimatorTeacher(classifier(), SINGLE, TOPICS, [])
    with pytest.raises(DistillationError, match="this task is masked_lm"):
        EstimatorTeacher(classifier(), TASKS["masked_lm"], TOPICS, "text")


class Broken:
    """An estimator whose answer is fixed."""

    classes_ = np.array(TOPICS)

    def __init__(self, answer: list[list[float]]) -> None:
        self.answer = answer

    def predict_proba(self, texts: list[str]) -> list[list[float]]:
        return np.array(self.answer * len(texts))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([0.5, 0.3, 0.3], "estimator's answer must hold 3 probabilities a row.*, but row 0 adds up to 1.1"),
        ([math.nan, 0.5, 0.5], "row 0 holds NaN"),
        ([-1.0, 1.0, 1.0], "row 0 holds something that is not a probability"),
        ([0.5, 0.5], r"must give 3 numbers for each of 2 rows, but .* shape \(2, 2\)"),
    ],
)
def test_an_answer_that_cannot_be_is_refused_before_training(answer: list[float], message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        EstimatorTeacher(Broken([answer]), SINGLE, TOPICS, "text").check_rows(ROWS, "train")


def test_a_stream_passes() -> None:
    stream = IterableDataset.from_generator(lambda: iter([{"other": 1}]))
    EstimatorTeacher(classifier(), SINGLE, TOPICS, "text").check_rows(stream, "train")


def test_answers_come_with_the_batch_and_the_text_stays_out() -> None:
    teacher, data = EstimatorTeacher(classifier(), SINGLE, TOPICS, "text"), tokenised(ROWS)
    inputs = frozenset(tiny_tokenizer().model_input_names) | {"label"}
    collate = SINGLE_LABEL_CLASSIFICATION.collator(tiny_tokenizer())
    batch = DistillationCollator(collate, look_up=LookUp(teacher, inputs))(list(data))
    expected = near(logarithms(classifier().predict_proba(TEXTS)))
    assert "text" not in batch
    assert teacher(batch, SignalRequest()).logits.tolist() == expected


# ---- Predicted once ----


def test_a_predicted_column_gives_what_the_estimator_gives() -> None:
    data = predicted_column(classifier(), tokenised(ROWS), SINGLE, TURNED, "text")
    column = ColumnTeacher("teacher_probabilities", SINGLE, TURNED)
    column.check_rows(data, "train")
    assert answers(column, data) == near(answers(EstimatorTeacher(classifier(), SINGLE, TURNED, "text"), ROWS))


def test_a_predicted_column_follows_the_order_of_the_rows() -> None:
    picked = ROWS.select([5, 3, 9])
    data = predicted_column(classifier(), picked, SINGLE, TOPICS, "text", name="own")
    assert data["own"][:] == near(classifier().predict_proba(picked["text"][:]))
    assert data["text"][:] == picked["text"][:]


def test_a_predicted_column_of_scores_has_one_number_a_row() -> None:
    model = LinearRegression().fit(table().to_pandas()[["age"]], range(24))
    data = predicted_column(model, table(), REGRESSION, None, "age", "score")
    teacher = ColumnTeacher("score", REGRESSION, None, form="logits")
    teacher.check_rows(data, "train")
    assert data["score"][:] == pytest.approx(range(24))
    assert answers(teacher, data) == [pytest.approx([age], abs=1e-5) for age in range(24)]


def test_a_column_that_cannot_be_added_is_refused() -> None:
    with pytest.raises(DistillationError, match="has a column 'label' already"):
        predicted_column(classifier(), ROWS, SINGLE, TOPICS, "text", "label")
    with pytest.raises(DistillationError, match="of type IterableDataset"):
        predicted_column(classifier(), ROWS.to_iterable_dataset(), SINGLE, TOPICS, "text")  # type: ignore[arg-type]
    with pytest.raises(DistillationError, match=r"row 0 adds up to 1\.1"):
        predicted_column(Broken([[0.5, 0.3, 0.3]]), ROWS, SINGLE, TOPICS, "text")


class LateMistake(Broken):
    """Answers well until a text that it does not know."""

    def predict_proba(self, texts: list[str]) -> np.ndarray:
        return np.array([[0.9, 0.9, 0.9] if text == TEXTS[7] else [0.5, 0.3, 0.2] for text in texts])


def test_every_row_of_a_predicted_column_is_checked() -> None:
    with pytest.raises(DistillationError, match=r"row 7 adds up to 2\.7"):
        predicted_column(LateMistake([]), ROWS, SINGLE, TOPICS, "text")
