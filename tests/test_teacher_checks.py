"""What is said of a teacher before a student learns from it: chance, another order of labels, the labels alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import DatasetDict
from numpy.typing import NDArray

from distilnlp.data import DataConfig, PreparedData
from distilnlp.errors import DistillationError
from distilnlp.evaluation.label_order import order_that_fits
from distilnlp.runs import run
from distilnlp.runs.members import Member
from distilnlp.runs.teacher_worth import SAMPLE, doubts_of_teacher
from distilnlp.tasks import SINGLE_LABEL_CLASSIFICATION, SINGLE_LABEL_EVALUATION, TOKEN_EVALUATION, Task
from distilnlp.tasks.single_label.head import SingleLabelClassification
from distilnlp.tasks.single_label.scores import SingleLabelScoring
from distilnlp.tasks.token_classification.scores import WordLabels
from tests.test_runs import recipe, save_model
from tests.tiny import TOPICS, tiny_model, tiny_rows, tiny_tokenizer


def one_hot(ids: Sequence[int], classes: int = 3) -> NDArray:
    return np.eye(classes, dtype=np.float32)[list(ids)] * 5


def task_whose_model_answers(answer: Any) -> Task:
    """Single-label classification by a model whose logits are made of the labels of the rows."""

    class Answered(SingleLabelScoring):
        @staticmethod
        def predict(model: Any, examples: Any, *further: Any) -> NDArray:
            return one_hot([answer(row["label"]) for row in examples])

    class Answering(SingleLabelClassification):
        evaluation = Answered()

    return Answering()


def said_of(task: Task, rows: int = 300) -> str:
    data = PreparedData(tiny_rows(rows), tiny_rows(12, seed=1), None, list(TOPICS), task.rows)
    member = Member("models/mine", tiny_model(num_hidden_layers=1), tiny_tokenizer(), 20)
    return "\n".join(doubts_of_teacher(task, data, [member], DataConfig(source="rows")))


def test_nothing_is_said_of_a_teacher_that_knows_the_labels() -> None:
    assert said_of(task_whose_model_answers(lambda label: label)) == ""


def test_a_teacher_with_labels_in_another_order_is_told_which() -> None:
    """As where ids follow one order and the teacher was trained with alphabetical names."""
    text = said_of(task_whose_model_answers(lambda label: (label + 1) % 3))
    assert f"asked about {SAMPLE} labelled rows: The teacher is worse than the most frequent class" in text
    assert "right in 0% of the items, and would be in 100% if its labels stood in the order 1, 2, 0" in text
    assert "set data.label_names: [money, sport, film]" in text


def test_a_teacher_of_something_else_is_at_chance() -> None:
    text = said_of(task_whose_model_answers(lambda label: 0))
    assert "The teacher is no better than the most frequent class for every text" in text
    assert "would be in" not in text


def test_few_rows_say_nothing() -> None:
    assert said_of(task_whose_model_answers(lambda label: 0), rows=12) == ""


def test_a_teacher_whose_weights_are_not_finite_is_refused_before_training() -> None:
    data = PreparedData(tiny_rows(30), tiny_rows(12), None, list(TOPICS), SINGLE_LABEL_CLASSIFICATION.rows)
    model = tiny_model(num_hidden_layers=1)
    model.classifier.bias.data[0] = float("nan")
    member = Member("mine", model, tiny_tokenizer(), 20)
    with pytest.raises(DistillationError, match="NaN or infinite"):
        list(doubts_of_teacher(SINGLE_LABEL_CLASSIFICATION, data, [member], DataConfig(source="rows")))


def test_the_order_of_word_tags_is_found_and_one_that_fits_by_chance_is_not() -> None:
    names = ("O", "B-x", "I-x")
    labels = WordLabels(names, [np.array([0, 1, 2, -100]), np.tile([0, 0, 1], 5)])
    turned = [one_hot([2, 0, 1, 0]), one_hot([2, 2, 0] * 5)]
    said = order_that_fits(turned, labels, names, TOKEN_EVALUATION)
    assert said is not None
    assert "in the order 2, 0, 1" in said
    rng = np.random.default_rng(0)
    for classes in (3, 60):  # to 64 rows some permutation of 60 classes fits well, whatever was answered
        drawn = rng.integers(0, classes, (2, SAMPLE))
        answers = one_hot(drawn[0], classes)
        assert order_that_fits(answers, drawn[1], [str(i) for i in range(classes)], SINGLE_LABEL_EVALUATION) is None


def test_a_fine_tuned_teacher_at_chance_is_named_before_its_student_is_trained(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_model(tmp_path / "teacher", tiny_model(num_hidden_layers=2))
    DatasetDict(train=tiny_rows(200), test=tiny_rows(12, seed=1)).save_to_disk(str(tmp_path / "data"))
    caplog.set_level("DEBUG", logger="distilnlp")
    options = {"teacher.finetune": {"learning_rate": 1e-9, "per_device_train_batch_size": 64}, "baseline": True}
    run(recipe(tmp_path, **options))
    said = "before the student is trained, on 20 rows: The teacher is"
    assert said in caplog.text
    assert caplog.text.index("baseline: starts") < caplog.text.index(said) < caplog.text.index("evaluation: starts")
