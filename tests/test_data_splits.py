"""Which split is tested on: files that are named as a split are meant, other sources may hide their labels."""

from pathlib import Path
from typing import Any

import pytest

from distilnlp.data import evaluation_split
from distilnlp.errors import DistillationError
from distilnlp.tasks import MASKED_LM_ROWS, REGRESSION_ROWS, SINGLE_LABEL_ROWS
from tests.test_data import config, prepare, prepared, write, write_rows

CSV = "text,label\n" + "".join(f"the film {index},{('film', 'money')[index % 2]}\n" for index in range(10))
NAMES = ("film", "money")


@pytest.fixture
def train(tmp_path: Path) -> str:
    return write(tmp_path, "train.csv", CSV)


@pytest.mark.parametrize("split", ["test", "validation"])
def test_a_named_split_without_the_label_column_is_an_error(tmp_path: Path, train: str, split: str) -> None:
    source = {"train": train, split: write_rows(tmp_path, "t.jsonl", {"text": "a bank", "lable": "film"})}
    message = (
        rf"the split '{split}' has no labels in column 'label': its columns are \['text', 'lable'\]\. Did you mean"
    )
    with pytest.raises(DistillationError, match=message):
        prepared(source, NAMES)
    with pytest.raises(DistillationError, match=r"no split has the label column 'label'.*Did you mean 'lable'"):
        evaluation_split(config(source), SINGLE_LABEL_ROWS, NAMES)


def test_a_validation_split_without_the_label_column_is_an_error(tmp_path: Path, train: str) -> None:
    rows = write_rows(tmp_path, "v.jsonl", {"text": "a bank", "lable": "film"})
    with pytest.raises(DistillationError, match="the split 'validation' has no labels in column 'label'"):
        prepared({"train": train, "test": train, "validation": rows}, NAMES, validation_split="validation")


def test_a_named_split_whose_labels_are_empty_is_an_error(tmp_path: Path, train: str) -> None:
    hidden = write_rows(tmp_path, "t.jsonl", {"text": "a bank", "label": None})
    source = {"train": train, "test": hidden, "validation": train}
    with pytest.raises(DistillationError, match=r"there are no labelled test rows.*or name another split"):
        prepared(source, NAMES)
    with pytest.raises(DistillationError, match="there are no labelled test rows"):
        evaluation_split(config(source), SINGLE_LABEL_ROWS, NAMES)
    assert len(prepare(MASKED_LM_ROWS, source).test) == 1  # its labels are its words


def test_hidden_labels_of_other_sources_are_passed_over_aloud(tmp_path: Path, train: str, caplog: Any) -> None:
    write(tmp_path, "test.jsonl", '{"text": "a bank", "label": null}')
    data = prepared(str(tmp_path), NAMES)
    assert (len(data.train), len(data.test)) == (8, 2)
    assert "the split test has no labels, or hidden ones, in 'label', so it is passed over" in caplog.text


def test_scores_that_are_all_equal_count_where_the_user_names_the_split(tmp_path: Path) -> None:
    write_rows(tmp_path, "train.jsonl", *({"text": f"a film {i}", "label": i / 2} for i in range(10)))
    write_rows(tmp_path, "test.jsonl", *({"text": f"a bank {i}", "label": 1.0} for i in range(3)))
    named = {split: str(tmp_path / f"{split}.jsonl") for split in ("train", "test")}
    for source, options in ((named, {}), (str(tmp_path), {"test_split": "test"})):
        assert prepare(REGRESSION_ROWS, source, **options).test["label"] == [1.0] * 3
    assert len(prepare(REGRESSION_ROWS, str(tmp_path)).test) == 2  # as a test split whose scores are hidden


def test_text_that_is_no_number_is_named_in_a_test_split_too(tmp_path: Path) -> None:
    train = write_rows(tmp_path, "a.jsonl", *({"text": f"a film {i}", "label": i / 2} for i in range(10)))
    test = write_rows(tmp_path, "b.jsonl", {"text": "a bank", "label": "n/a"}, {"text": "the fund", "label": "n/a"})
    with pytest.raises(DistillationError, match=r"row 0 \(counted from 0\) holds 'n/a'"):
        prepare(REGRESSION_ROWS, {"train": train, "test": test})


def test_a_split_that_nothing_reads_is_refused(train: str) -> None:
    with pytest.raises(DistillationError, match=r"names the split 'tets', but only .* Did you mean 'test'"):
        prepared({"train": train, "tets": train}, NAMES)
    with pytest.raises(DistillationError, match=r"names the split 'more'.*name it in data\.train_split"):
        prepared({"train": train, "more": train}, NAMES)
    assert len(prepared({"train": train, "more": train}, NAMES, test_split="more").test) == 10
    assert len(evaluation_split(config({"more": train}, test_split="more"), SINGLE_LABEL_ROWS, NAMES)) == 10
    with pytest.raises(DistillationError, match="names the split 'more'"):
        evaluation_split(config({"train": train, "more": train}), SINGLE_LABEL_ROWS, NAMES)


@pytest.mark.parametrize("source", [{"train": "x", "test": [1]}, 3, {"train": {"a": "b"}}])
def test_a_source_that_is_none_is_refused_in_one_line(source: Any) -> None:
    with pytest.raises(DistillationError, match=r"'data\.source' .*expected one name or path, or \{split") as caught:
        config(source)
    assert "\n" not in str(caught.value)


# ---- Validation ----


def test_the_validation_split_is_taken_by_its_name(train: str, caplog: Any) -> None:
    data = prepared({"train": train, "validation": train, "test": train}, NAMES)
    assert (len(data.test), len(data.validation)) == (10, 10)
    assert "measured on" not in caplog.text
    data = prepared({"train": train, "dev": train}, NAMES)
    assert (len(data.test), data.validation) == (10, None)
    assert "there is no labelled test split, so the split dev is what the run is measured on" in caplog.text
    data = prepared({"train": train, "validation": train, "more": train}, NAMES, test_split="more")
    assert (len(data.test), len(data.validation)) == (10, 10)
    assert prepared({"train": train, "validation": train}, NAMES, test_split="validation").validation is None
    data = prepared({"train": train, "validation": train}, NAMES, validation_split="validation")
    assert (len(data.test), len(data.validation)) == (2, 10)


def test_a_function_gives_its_validation_split(tmp_path: Path, caplog: Any) -> None:
    code = (
        "from datasets import Dataset, DatasetDict\n"
        "rows = Dataset.from_dict({'text': ['a', 'b'], 'label': ['film', 'money']})\n"
        "def splits():\n    return DatasetDict(train=rows, valid=rows, test=rows, more=rows)\n"
        "def hidden():\n    return DatasetDict(train=rows, test=rows, validation=rows.remove_columns('label'))\n"
    )
    path = write(tmp_path, "mine.py", code)
    assert len(prepared(f"{path}:splits", NAMES).validation) == 2
    assert "nothing reads the splits ['more']" in caplog.text
    assert prepared(f"{path}:hidden", NAMES).validation is None
    assert "the split validation has no labels" in caplog.text


def test_too_few_rows_to_hold_out_are_named_in_plain_words(tmp_path: Path) -> None:
    few = write(tmp_path, "few.csv", "text,label\na,film\nb,film\nc,money\n")
    message = r"cannot hold out 20% of 3 labelled rows with each of 2 classes in both parts, the smallest of 1 rows"
    with pytest.raises(DistillationError, match=message) as raised:
        prepared(few, NAMES)
    assert "n_splits" not in str(raised.value)
    assert "populated" not in str(raised.value)
    with pytest.raises(DistillationError, match="cannot hold out 20% of 4 labelled rows with each of 2 classes"):
        prepared(write(tmp_path, "less.csv", "text,label\na,film\nb,film\nc,money\nd,money\n"), NAMES)


def test_rows_that_are_read_and_not_used_are_counted_with_the_reason(tmp_path: Path) -> None:
    count = CSV.count("\n") - 1
    train = write(tmp_path, "train.csv", CSV + ",film\n,sport\n")
    test = write(tmp_path, "test.csv", CSV + "the goal,\n")
    more = write(tmp_path, "more.txt", "a film\n\nthe bank\n")
    data = prepared({"train": train, "test": test}, unlabelled=[more])
    assert data.left_out == (
        f"2 of {count + 2} training rows, for they have no text",
        f"1 of 3 unlabelled ({more}) rows, for they have no text",
        f"1 of {count + 1} test rows, for they have no text or label",
    )
    assert (len(data.train), len(data.test)) == (count + 2, count)
    assert prepared({"train": write(tmp_path, "whole.csv", CSV), "test": train}).left_out == (
        f"2 of {count + 2} test rows, for they have no text or label",
    )
