"""Labels of a tokenised data set that no task can mean are refused before training."""

import math
import re
from typing import Any

import pytest
from datasets import Dataset, Features, Value

from distilnlp.errors import DistillationError
from distilnlp.tasks import TASKS
from tests.conftest import tiny_data
from tests.tiny import SHAPE
from tests.tiny_tasks import LABEL_NAMES, task_data, task_model
from tests.trainer_tools import MakeTrainer

NAN, MULTI = math.nan, "multi_label_classification"
TOKENS, QUESTIONS, CHOICES = "token_classification", "question_answering", "multiple_choice"
IDS = [[2, 5, 3], [2, 6, 7, 3]]
PAIRS = [[[2, 5, 3], [2, 6, 3]], [[2, 5, 3], [2, 6, 7, 3], [2, 8, 3]]]


def aligned(task: str, rows: Any) -> Any:
    num_labels = TASKS[task].num_classes(task_model(task).config)
    return TASKS[task].align_labels(rows, None, num_labels, "training")


def rows_with(task: str, columns: dict[str, list[Any]]) -> Dataset:
    return Dataset.from_dict({"input_ids": PAIRS if task == CHOICES else IDS, **columns})


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("row_format", [None, "numpy", "arrow"])
def test_rows_as_the_tasks_make_them_pass_unchanged(task: str, row_format: str | None) -> None:
    rows = task_data(task).with_format(row_format)
    assert aligned(task, rows) is rows


@pytest.mark.parametrize(
    ("task", "columns"),
    [
        (MULTI, {"label": [None, [1, None, 0]]}),
        (MULTI, {"label": [None, [None, None, None]]}),
        (MULTI, {"label": [[True, False, True], [False] * 3]}),
        (MULTI, {"label": [[-100.0, NAN, 1.0], [0.0, 1.0, 1.0]]}),
        ("regression", {"label": [None, 3]}),
        ("regression", {"label": [NAN, -1e38]}),
        (TOKENS, {"labels": [None, [-100, 0, 3, -100]]}),
        (TOKENS, {"labels": [None, None], "word_starts": [[False, True, False], [False, True, True, False]]}),
        (CHOICES, {"label": [None, 2]}),
        (CHOICES, {"label": [1, -100]}),
        (CHOICES, {"label": [1.0, 2.0]}),
        (QUESTIONS, {"start_positions": [None, 1], "end_positions": [None, 3], "context_mask": [[0, 1, 0], [1] * 4]}),
        (QUESTIONS, {"start_positions": [-100, 0], "end_positions": [-100, 0], "answers": [["a"], ["b"]]}),
        (QUESTIONS, {"start_positions": [None, None], "end_positions": [None, None]}),
        (QUESTIONS, {"context_mask": [[0, 1, 0], [0, 1, 1, 0]]}),
        ("masked_lm", {"labels": [None, [-100, SHAPE["vocab_size"] - 1, 0, -100]]}),
        ("masked_lm", {"labels": [None, None]}),
    ],
)
def test_every_way_to_have_no_label_passes(task: str, columns: dict[str, list[Any]]) -> None:
    rows = rows_with(task, columns)
    assert aligned(task, rows) is rows


@pytest.mark.parametrize(
    ("task", "columns", "message"),
    [
        (MULTI, {"label": [1, 0]}, "3 targets a row.* type is Value('int64')"),
        (MULTI, {"label": [0.5, 1.0]}, "3 targets a row.* type is Value('float64')"),
        (MULTI, {"label": ["a", "b"]}, "3 targets a row.* type is Value('string')"),
        (MULTI, {"label": [["1", "0", "0"], None]}, "3 targets a row.* type is List(Value('string'))"),
        (MULTI, {"label": [[[1], [0], [0]], None]}, "3 targets a row.* type is List(List(Value('int64')))"),
        (MULTI, {"label": [[1], [0]]}, "3 targets a row.* rows of [1] targets"),
        (MULTI, {"label": [[1, 0, 2], [0, 0, 0]]}, "3 targets a row.* the targets [2.0]"),
        ("regression", {"label": [[1.0], [2.0]]}, "one number a row.* type is List"),
        ("regression", {"label": ["1", "2"]}, "one number a row.* type is Value('string')"),
        ("regression", {"label": [1.0, math.inf]}, "finite float32 numbers.* holds [inf]"),
        ("regression", {"label": [-1e39, None]}, "finite float32 numbers.* holds [-1e+39]"),
        (TOKENS, {"labels": [[0.0, 1.0, 1.0], None]}, "label ids from 0 to 3.* type is List(Value('float64'))"),
        (TOKENS, {"labels": ["abc", "abcd"]}, "label ids from 0 to 3.* type is Value('string')"),
        (TOKENS, {"labels": [1, 2]}, "label ids from 0 to 3.* type is Value('int64')"),
        (TOKENS, {"labels": [[[1], [1], [1]], None]}, "label ids from 0 to 3.* type is List(List"),
        (TOKENS, {"labels": [[0, None, 1], None]}, "label ids from 0 to 3.* holds [None]"),
        (TOKENS, {"labels": [[0, 9, -1], None]}, "label ids from 0 to 3.* holds [-1, 9]"),
        (TOKENS, {"labels": [[0, 1], None]}, "one for each token.* another number of them"),
        (TOKENS, {"word_starts": [None, None]}, "0 or 1 for each token.* type is Value('null')"),
        (TOKENS, {"word_starts": [[0, 1, 0], None]}, "0 or 1 for each token.* holds [None]"),
        (TOKENS, {"word_starts": [[0, 2, 0], [0] * 4]}, "0 or 1 for each token.* holds [2]"),
        (CHOICES, {"label": ["a", "b"]}, "index of a choice.* type is Value('string')"),
        (CHOICES, {"label": [[0], [1]]}, "index of a choice.* type is List"),
        (CHOICES, {"label": [0.5, 1.0]}, "index of one of the row's choices.* holds [0.5]"),
        (CHOICES, {"label": [NAN, 1.0]}, "index of one of the row's choices.* holds [nan]"),
        (CHOICES, {"label": [2, 2]}, "index of one of the row's choices.* holds [2.0]"),
        (CHOICES, {"label": [-1, 2]}, "index of one of the row's choices.* holds [-1.0]"),
        (CHOICES, {"input_ids": IDS, "label": [0, 0]}, "two choices or more.* type is List(Value('int32')). Tokenise"),
        (CHOICES, {"input_ids": [PAIRS[0], PAIRS[1][:1]], "label": [0, 0]}, "two choices or more.* a row has 1"),
        (QUESTIONS, {"start_positions": [1, 1]}, "start_positions and end_positions.* has ['start_positions']"),
        (QUESTIONS, {"answers": ["a", "b"]}, "start_positions and end_positions.* has ['answers']"),
        (QUESTIONS, {"labels": [[1, 1], [1, 2]]}, "start_positions and end_positions.* has ['labels']"),
        (QUESTIONS, {"start_positions": ["1", "1"], "end_positions": [1, 1]}, "indices of tokens.* type is Value('str"),
        (QUESTIONS, {"start_positions": [1, 1], "end_positions": [1.0, 1.5]}, "indices of tokens.* type is Value('fl"),
        (QUESTIONS, {"start_positions": [[1], [1]], "end_positions": [1, 1]}, "indices of tokens.* type is List"),
        (QUESTIONS, {"start_positions": [1, 2], "end_positions": [1, 1]}, "row of 4 tokens has 2 and 1"),
        (QUESTIONS, {"start_positions": [1, 1], "end_positions": [3, 3]}, "row of 3 tokens has 1 and 3"),
        (QUESTIONS, {"start_positions": [None, 1], "end_positions": [1, 1]}, "row of 3 tokens has -100 and 1"),
        (QUESTIONS, {"start_positions": [-1, 1], "end_positions": [-1, 1]}, "row of 3 tokens has -1 and -1"),
        (QUESTIONS, {"context_mask": [None, None]}, "0 or 1 for each token.* type is Value('null')"),
        (QUESTIONS, {"context_mask": ["010", "0110"]}, "0 or 1 for each token.* type is Value('string')"),
        (QUESTIONS, {"context_mask": [[0, 1, 0], [0, 1]]}, "0 or 1 for each token.* another number of them"),
        ("masked_lm", {"labels": ["abc", "abcd"]}, "one for each token.* type is Value('string')"),
        ("masked_lm", {"label": [0, 1]}, "one for each token.* type is Value('int64')"),
        ("masked_lm", {"labels": [[-100, 5, -1], None]}, "one for each token.* holds [-1]"),
        ("masked_lm", {"labels": [[-100, SHAPE["vocab_size"], 5], None]}, f"holds [{SHAPE['vocab_size']}]"),
    ],
)
def test_labels_that_no_row_can_have_are_refused(task: str, columns: dict[str, list[Any]], message: str) -> None:
    pattern = ".*".join(map(re.escape, message.split(".*")))
    with pytest.raises(DistillationError, match=pattern) as caught:
        aligned(task, rows_with(task, columns))
    assert "training data" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("task", [TOKENS, QUESTIONS, CHOICES, "masked_lm"])
def test_rows_that_are_tokenised_as_they_are_read_are_left_to_the_collator(task: str) -> None:
    columns = {"answers": ["a", "b"]} if task == QUESTIONS else {"label": ["a", "b"]}
    rows = Dataset.from_dict({"text": ["the film", "a bank"], **columns})
    for given in (rows.with_transform(lambda batch: batch), rows.to_iterable_dataset(), list(rows)):
        assert aligned(task, given) is given


def test_rows_that_a_selection_leaves_out_are_not_checked() -> None:
    rows = rows_with(TOKENS, {"word_starts": [[0, 1, 0], None], "labels": [[-100, 1, -100], [9] * 4]})
    assert len(aligned(TOKENS, rows.select([0]))) == 1


def test_a_column_of_nothing_but_null_passes_whatever_its_type() -> None:
    for kind in ("int64", "float32", "null"):
        rows = Dataset.from_dict(
            {"input_ids": PAIRS, "label": [None, None]},
            features=Features({**rows_with(CHOICES, {}).features, "label": Value(kind)}),
        )
        assert aligned(CHOICES, rows) is rows


@pytest.mark.parametrize("task", [QUESTIONS, CHOICES, "masked_lm", "regression"])
def test_the_trainer_refuses_before_it_trains(make_trainer: MakeTrainer, task: str) -> None:
    models = {"student": task_model(task, seed=1), "teacher": task_model(task)}
    make_trainer(**models, train_dataset=task_data(task))
    text = tiny_data(2).remove_columns("label").add_column("label", ["a", "b"])
    with pytest.raises(DistillationError, match="the training data must hold"):
        make_trainer(**models, train_dataset=text)


def test_token_ids_beyond_the_label_names_are_labels_of_masked_words(make_trainer: MakeTrainer) -> None:
    """The ids are counted against the vocabulary, not against the config's number of labels."""
    task, highest = "masked_lm", SHAPE["vocab_size"] - 1
    assert highest > len(LABEL_NAMES[task])
    rows = rows_with(task, {"labels": [[-100, highest, -100], [-100] * 4]})
    trainer = make_trainer(task_model(task, seed=1), task_model(task), rows)
    assert trainer.train_dataset is rows
