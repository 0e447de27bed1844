"""Multi-label rows: names, ids and 0/1 targets become targets in the teacher's order, and nothing is guessed."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value

from distilnlp.data import labelled_rows
from distilnlp.errors import DistillationError
from distilnlp.tasks import MULTI_LABEL_ROWS
from tests.test_data import config, prepare, write, write_rows
from tests.tiny import TOPICS, tiny_tokenizer


def source_of(folder: Path, *labels: Any, column: str = "labels") -> dict[str, str]:
    rows = [{"text": f"the film {index}", column: label} for index, label in enumerate(labels)]
    return {split: write_rows(folder, f"{split}.jsonl", *rows) for split in ("train", "test")}


def targets(source: Any, names: tuple[str, ...] | None = TOPICS, **options: Any) -> list[list[float]]:
    return prepare(MULTI_LABEL_ROWS, source, names, **options).train["label"][:]


def test_names_ids_and_targets_say_the_same(tmp_path: Path) -> None:
    wanted = [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    written: list[Any] = [
        [["sport", "film"], [], ["money"]],
        [[0, 2], [], [1]],
        wanted,
        [[1, 0, 1], [0, 0, 0], [0, 1, 0]],
        [[True, False, True], [False, False, False], [False, True, False]],
    ]
    for labels in written:
        assert targets(source_of(tmp_path, *labels)) == wanted
        assert targets(source_of(tmp_path, *labels, column="label")) == wanted


def test_label_names_say_what_numbers_mean_and_the_teacher_their_order(tmp_path: Path) -> None:
    names = ["sport", "money", "film"]
    for labels in ([[0, 1], [], [2]], [[1, 1, 0], [0, 0, 0], [0, 0, 1]]):
        source = source_of(tmp_path, *labels)
        assert targets(source, label_names=names) == [[0, 1, 1], [0, 0, 0], [1, 0, 0]]
        assert targets(source, None, label_names=names) == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_a_list_of_class_labels_is_reordered_and_hidden_ones_are_unlabelled(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "labels": List(ClassLabel(names=["sport", "film", "money"]))})
    rows = Dataset.from_dict({"text": list("abc"), "labels": [[0, 1], [-1], None]}, features=features)
    DatasetDict(train=rows, test=rows).save_to_disk(str(tmp_path / "saved"))
    data = prepare(MULTI_LABEL_ROWS, str(tmp_path / "saved"), TOPICS)
    assert data.train["label"][0] == [1, 0, 1]
    assert np.isnan(data.train["label"][1:]).all()
    assert (len(data.labelled), len(data.test)) == (1, 1)
    assert prepare(MULTI_LABEL_ROWS, str(tmp_path / "saved")).label_names == ["sport", "film", "money"]


def test_an_untrained_teacher_takes_the_names_that_occur(tmp_path: Path) -> None:
    assert prepare(MULTI_LABEL_ROWS, source_of(tmp_path, ["b"], ["a", "c"])).label_names == ["a", "b", "c"]
    with pytest.raises(DistillationError, match=r"holds numbers, and nothing says which labels.*Set data\.label_names"):
        targets(source_of(tmp_path, [0, 1], [2]), None)
    with pytest.raises(DistillationError, match=r"the labels \['weather'\], which the teacher does not know"):
        targets(source_of(tmp_path, ["weather"]))
    with pytest.raises(DistillationError, match="the data has no labels"):
        targets(source_of(tmp_path, [], []), None, label_names=[])


def test_single_targets_may_be_unknown(tmp_path: Path) -> None:
    found = targets(source_of(tmp_path, [1.0, None, 0.0], [None, None, None], None))
    assert [found[0][0], found[0][2]] == [1.0, 0.0]
    assert math.isnan(found[0][1])
    assert np.isnan(found[1:]).all()
    assert np.isnan(targets(source_of(tmp_path, [1, -100, 0], [0, 0, 1]))[0][1])


def test_two_labels_written_as_numbers_are_not_guessed(tmp_path: Path) -> None:
    yes_no = ("no", "yes")
    with pytest.raises(DistillationError, match=r"such as \[0, 1\], may be ids or 0/1 targets. Write the labels"):
        targets(source_of(tmp_path, [0, 1], [1, 0]), yes_no)
    assert targets(source_of(tmp_path, [0, 1], [1, 1]), yes_no) == [[0, 1], [1, 1]]  # an id never repeats
    assert targets(source_of(tmp_path, [0, 1], [1]), yes_no) == [[1, 1], [0, 1]]  # targets fill the row
    assert targets(source_of(tmp_path, [0.0, 1.0], [1.0, 0.0]), yes_no) == [[0, 1], [1, 0]]
    assert targets(source_of(tmp_path, [0, 1, 2], [2, 0, 1])) == [[1, 1, 1], [1, 1, 1]]  # 2 is an id


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[1, 0, 0], [0, 2, 0]], r"row 1 \(counted from 0\) of label column 'labels' has 2 for the label 'money'"),
        ([[1.0, 0.0, 0.5]], "row 0 .* has 0.5 for the label 'sport'"),
        ([[0.0, 1.0, 0.0], [1.0, 0.0]], r"row 1 .* one 0 or 1 for each of the 3 labels \['film'.*has 2: \[1.0, 0.0\]"),
        ([[0, 1], [2, 2]], r"row 1 .* has a label id twice: \[2, 2\]"),
        ([[0], [3, 1]], r"holds \[3\], but the labels are \['film', 'money', 'sport'\]"),
        ([[{"name": "film"}]], "must hold a list of labels a row, but it holds List"),
        ([["film"], ["money", None]], r"row 1 .* has an empty label among its labels: \['money', None\]"),
        ([["film"], ["money", ""]], r"row 1 .* has an empty label among its labels: \['money', ''\]"),
        ([["film"], [None]], r"row 1 .* has an empty label among its labels: \[None\]"),
        ([[0, None], [2]], r"row 0 .* has an empty label among its labels: \[0, None\]"),
        ([0, 1], "must hold a list of labels a row, but it holds Value"),
        ([[["film"]], [["money"]]], "must hold a list of labels a row, but it holds List"),
    ],
)
def test_labels_that_cannot_be_are_named(tmp_path: Path, labels: list[Any], message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        targets(source_of(tmp_path, *labels))


def test_rows_without_labels_are_found_before_and_after_tokenising(tmp_path: Path) -> None:
    more = write(tmp_path, "more.txt", "the fund\n")
    data = prepare(MULTI_LABEL_ROWS, source_of(tmp_path, ["film"], None, []), TOPICS, unlabelled=[more])
    assert data.labelled["text"] == ["the film 0", "the film 2"]
    encoded = MULTI_LABEL_ROWS.encode(data.train, tiny_tokenizer(), 10, "", config=config())
    assert encoded.column_names == ["label", "input_ids", "token_type_ids", "attention_mask", "length"]
    assert labelled_rows(encoded, MULTI_LABEL_ROWS)["label"] == [[1, 0, 0], [0, 0, 0]]
    assert np.isnan(encoded["label"][3]).tolist() == [True] * 3


def test_a_share_is_held_out_of_the_labelled_rows(tmp_path: Path) -> None:
    source = source_of(tmp_path, *[["film"]] * 8, None, None)
    data = prepare(MULTI_LABEL_ROWS, source["train"], TOPICS, test_size=0.25)
    assert (len(data.train), len(data.labelled), len(data.test)) == (8, 6, 2)
