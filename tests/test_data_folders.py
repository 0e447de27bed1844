"""Folders as people have them: shards of a split, and one subfolder a class of text files."""

from pathlib import Path
from typing import Any

import pytest

from distilnlp.data import DataConfig, load_source, prepare_data
from distilnlp.data.plain_copies import FileForm
from distilnlp.errors import DistillationError
from distilnlp.tasks import TASKS

ROWS = TASKS["single_label_classification"].rows


def write(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return root


def csv(*labels: str) -> str:
    return "text,label\n" + "".join(f"about {label},{label}\n" for label in labels)


@pytest.mark.parametrize(
    ("names", "split"),
    [
        (["train-00000-of-00002.csv", "train-00001-of-00002.csv"], "train"),
        (["part-0001.csv", "part-0002.csv"], "train"),
        (["train_1.csv", "train_2.csv"], "train"),
        (["reviews-00000-of-00002.csv", "reviews-00001-of-00002.csv"], "train"),
    ],
)
def test_shards_are_read_in_the_order_of_their_names(tmp_path: Path, names: list[str], split: str, caplog: Any) -> None:
    caplog.set_level("INFO", logger="distilnlp")
    write(tmp_path, {names[1]: csv("c"), names[0]: csv("a", "b")})
    loaded = load_source(str(tmp_path), wanted=["train", "test"])
    assert loaded[split]["label"][:] == ["a", "b", "c"]
    assert f"the split {split} is read from 2 files, in the order of their names" in caplog.text


def test_shards_of_several_splits_stay_apart(tmp_path: Path) -> None:
    files = {
        f"{split}-0000{part}-of-00002.csv": csv(f"{split}{part}") for split in ("train", "test") for part in (0, 1)
    }
    loaded = load_source(str(write(tmp_path, files)), wanted=["train", "test"])
    assert {name: rows["label"][:] for name, rows in loaded.items()} == {
        "train": ["train0", "train1"],
        "test": ["test0", "test1"],
    }


def test_a_file_that_is_no_shard_makes_a_folder_ambiguous(tmp_path: Path) -> None:
    write(tmp_path, {"part-1.csv": csv("a"), "notes.csv": csv("b")})
    with pytest.raises(DistillationError, match="has files for none of the splits"):
        load_source(str(tmp_path), wanted=["train", "test"])


@pytest.mark.parametrize("names", [["reviews1.csv", "reviews2.csv"], ["sst2.csv"], ["train_v1.csv", "train_v2.csv"]])
def test_files_that_may_be_versions_are_not_put_together(tmp_path: Path, names: list[str]) -> None:
    write(tmp_path, {name: csv("a") for name in names})
    with pytest.raises(DistillationError, match="has files for none of the splits"):
        load_source(str(tmp_path), wanted=["train", "test"])


REVIEWS: dict[str, str | bytes] = {
    "neg/1.txt": "dull\nand long\n",
    "neg/2.txt": "a <b>bore</b>",
    "pos/1.txt": "a joy",
    "README.md": "about these files",
}


def test_each_text_file_is_a_text_and_its_folder_the_label(tmp_path: Path, caplog: Any) -> None:
    caplog.set_level("INFO", logger="distilnlp")
    rows = load_source(str(write(tmp_path, REVIEWS)))["train"]
    assert rows["label"][:] == ["neg", "neg", "pos"]
    assert rows["text"][:] == ["dull\nand long", "a <b>bore</b>", "a joy"]
    assert "each file of train is one text, its folder the label: neg (2), pos (1)" in caplog.text


def test_classes_may_stand_below_splits_and_are_prepared_as_any_rows(tmp_path: Path) -> None:
    files = {
        f"{split}/{label}/{index}.txt": f"{label} {index}"
        for split in ("train", "test")
        for label in ("neg", "pos")
        for index in range(4)
    }
    write(tmp_path, files)
    data = prepare_data(DataConfig(source=str(tmp_path)), ROWS, None)
    assert (len(data.train), len(data.test)) == (8, 8)
    assert list(data.label_names) == ["neg", "pos"]


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    write(tmp_path, REVIEWS)
    assert load_source(str(tmp_path))["train"]["text"][2] == "a joy"
    write(tmp_path, {"pos/1.txt": "a great joy"})
    assert load_source(str(tmp_path))["train"]["text"][2] == "a great joy"


def test_the_encoding_is_told_or_refused(tmp_path: Path) -> None:
    write(tmp_path, {**REVIEWS, "pos/2.txt": "schön".encode("cp1252"), "neg/3.txt": "hm".encode("utf-16")})
    with pytest.raises(DistillationError, match=r"2\.txt is not UTF-8.* Set data\.encoding"):
        load_source(str(tmp_path))
    rows = load_source(str(tmp_path), form=FileForm(encoding="cp1252"))["train"]
    assert rows["text"][:][-1] == "schön"
    assert rows["text"][2] == "hm"


@pytest.mark.parametrize(
    "further",
    [
        {"train.csv": csv("a")},
        {"pos/rows.csv": csv("a")},
        {"notes.txt": "a text that is no class"},
        {"pos/deep/1.txt": "x"},
    ],
    ids=["a table beside", "a table in a class", "a text beside", "a folder in a class"],
)
def test_what_is_not_made_so_is_not_taken_for_classes(tmp_path: Path, further: dict[str, str]) -> None:
    write(tmp_path, {**REVIEWS, **further})
    try:
        loaded = load_source(str(tmp_path))
    except DistillationError:
        return
    texts = [text for rows in loaded.values() for text in rows["text"][:]]
    assert texts != ["dull\nand long", "a <b>bore</b>", "a joy"]
