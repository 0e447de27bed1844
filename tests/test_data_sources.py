"""Sources of data: files of every kind, folders, functions, and what is not there."""

from pathlib import Path

import pytest
from datasets import DatasetDict

from distilnlp.data import load_source
from distilnlp.errors import DistillationError, UnreachableError
from tests.test_data import CSV, write
from tests.tiny import tiny_rows


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", "text,label\nthe film,film\n"),
        ("rows.tsv", "text\tlabel\nthe film\tfilm\n"),
        ("rows.jsonl", '{"text": "the film", "label": "film"}\n'),
        ("rows.json", '[{"text": "the film", "label": "film"}]'),
    ],
)
def test_every_file_kind_gives_the_same_row(tmp_path: Path, name: str, content: str) -> None:
    loaded = load_source(write(tmp_path, name, content))
    assert loaded["train"][:] == {"text": ["the film"], "label": ["film"]}


def test_parquet_folders_and_text_files(tmp_path: Path) -> None:
    rows = tiny_rows(6)
    rows.to_parquet(str(tmp_path / "rows.parquet"))
    assert load_source(str(tmp_path / "rows.parquet"))["train"]["text"] == rows["text"]
    DatasetDict(train=rows).save_to_disk(str(tmp_path / "saved"))
    assert load_source(str(tmp_path / "saved"))["train"]["label"] == rows["label"]
    assert load_source(write(tmp_path, "lines.txt", "the film\na stock\n"))["train"]["text"] == ["the film", "a stock"]


def test_a_folder_of_files_has_their_splits(tmp_path: Path) -> None:
    write(tmp_path, "train.csv", CSV)
    write(tmp_path, "test.csv", CSV)
    assert set(load_source(str(tmp_path))) == {"train", "test"}


def test_a_function_gives_its_data_set(tmp_path: Path) -> None:
    code = "from datasets import Dataset\nrows = lambda: Dataset.from_dict({'text': ['a']})\nthree = lambda: 3\n"
    path = write(tmp_path, "mine.py", code)
    assert load_source(f"{path}:rows")["train"]["text"] == ["a"]
    with pytest.raises(DistillationError, match=r"no function 'row'\. Did you mean 'rows'"):
        load_source(f"{path}:row")
    with pytest.raises(DistillationError, match=r"must give a datasets\.DatasetDict or Dataset, but it gave int"):
        load_source(f"{path}:three")
    with pytest.raises(DistillationError, match="cannot import 'no_such_package'"):
        load_source("no_such_package:rows")


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    write(tmp_path, "train.csv", CSV)
    with pytest.raises(DistillationError, match=r"there is no file .*tran\.csv.*Did you mean 'train\.csv'"):
        load_source(str(tmp_path / "tran.csv"))
    with pytest.raises(UnreachableError, match="cannot load 'nobody/nothing'"):
        load_source("nobody/nothing")
    with pytest.raises(DistillationError, match="must share one of the endings"):
        load_source({"train": [write(tmp_path, "a.csv", CSV), write(tmp_path, "b.txt", "a")]})
    with pytest.raises(DistillationError, match="cannot read"):
        load_source(write(tmp_path, "broken.jsonl", '{"text": \n'))
