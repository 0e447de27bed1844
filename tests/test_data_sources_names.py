"""Which files are read: names as they stand, the splits of a folder; and what is damaged or empty."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict

from distilnlp.data import load_source
from distilnlp.errors import DistillationError, UnreachableError
from tests.test_data import prepared, write, write_rows
from tests.test_data_splits import CSV, NAMES

# ---- Names ----


@pytest.mark.parametrize("name", ["train[1].csv", "e*.csv", "q?.csv", "{a,b}.csv", "!.csv", "a[[]b].csv"])
def test_a_name_that_exists_is_that_file(tmp_path: Path, name: str) -> None:
    for other in ("train1.csv", "ee.csv", "qq.csv", "a.csv", "b.csv"):
        write(tmp_path, other, "text,label\nother,x\n")
    assert load_source(write(tmp_path, name, "text,label\nmine,x\n"))["train"]["text"] == ["mine"]


def test_a_pattern_stands_for_its_files_in_order(tmp_path: Path) -> None:
    for name in ("part-2.csv", "part-10.csv", "other.csv"):
        write(tmp_path, name, f"text,label\n{name},x\n")
    assert load_source(str(tmp_path / "part-*.csv"))["train"]["text"] == ["part-10.csv", "part-2.csv"]
    assert load_source({"train": str(tmp_path / "o*.csv")})["train"]["text"] == ["other.csv"]
    with pytest.raises(DistillationError, match=r"there is no file .*e\*\.csv"):
        load_source(str(tmp_path / "e*.csv"))


def test_folders_have_their_own_names_too(tmp_path: Path) -> None:
    for name in ("data[1]", "data1"):
        (tmp_path / name).mkdir()
        write(tmp_path / name, "train.csv", f"text,label\n{name},x\n")
        assert load_source(str(tmp_path / name))["train"]["text"] == [name]
    nested = tmp_path / "*" / "data"
    nested.mkdir(parents=True)
    write(nested, "train.csv", CSV)
    with pytest.raises(DistillationError, match=r"has '\*' in its name.*Rename it"):
        load_source(str(nested.parent))


@pytest.mark.parametrize("source", ["", " ", {}, {"train": ""}, {"train": []}, {"train": ["a.csv", ""]}])
def test_an_empty_source_is_refused(source: Any) -> None:
    with pytest.raises(DistillationError, match=r"is empty, or a file that it names is"):
        load_source(source)


@pytest.mark.parametrize("name", ["imdb", "nobody/none", "a/b/c", "my data", "x" * 300])
def test_what_the_hub_does_not_give_is_named(name: str) -> None:
    with pytest.raises(UnreachableError, match="cannot load '") as raised:
        load_source(name)
    assert len(str(raised.value)) < 800


# ---- Functions ----


@pytest.mark.parametrize(
    "code", ["import sys\nsys.exit(3)", "class Stop(BaseException): pass\nraise Stop('no')", "raise SystemExit"]
)
def test_code_that_exits_is_an_error(tmp_path: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "atimport.py", code)
    body = "\n".join(f"    {line}" for line in code.split("\n"))
    monkeypatch.syspath_prepend(tmp_path)
    for source in (write(tmp_path, "mine.py", f"def rows():\n{body}\n"), str(tmp_path / "atimport.py"), "atimport"):
        with pytest.raises(DistillationError, match=r"(mine|atimport).* failed: "):
            load_source(f"{source}:rows")


def test_a_user_who_interrupts_is_obeyed(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        load_source(write(tmp_path, "mine.py", "def rows():\n    raise KeyboardInterrupt\n") + ":rows")


def test_a_function_that_gives_something_else_is_refused(tmp_path: Path) -> None:
    code = "from datasets import DatasetDict\ndef rows():\n    return DatasetDict(train=[1])\n"
    with pytest.raises(DistillationError, match=r"must give a datasets\.DatasetDict"):
        load_source(write(tmp_path, "mine.py", code) + ":rows")


# ---- Folders ----


@pytest.mark.parametrize("name", ["valid.csv", "val.csv", "dev.csv", "eval.csv", "validation.csv"])
def test_the_usual_names_of_splits_are_taken(tmp_path: Path, name: str) -> None:
    for file in ("train.csv", "test.csv", name):
        write(tmp_path, file, CSV)
    data = prepared(str(tmp_path), NAMES)
    assert (len(data.train), len(data.test), len(data.validation)) == (10, 10, 10)


def test_two_files_for_one_split_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "train.csv", CSV)
    write(tmp_path, "train.jsonl", json.dumps({"text": "a", "label": "film"}))
    with pytest.raises(
        DistillationError, match=r"several files for the split 'train': \['train\.csv', 'train\.jsonl'\]"
    ):
        prepared(str(tmp_path), NAMES)
    (tmp_path / "train.jsonl").unlink()
    for name in ("dev.csv", "valid.csv"):
        write(tmp_path, name, CSV)
    with pytest.raises(DistillationError, match=r"splits \['valid', 'dev'\] may each be the validation split"):
        prepared(str(tmp_path), NAMES)
    assert len(prepared(str(tmp_path), NAMES, validation_split="dev", test_split="valid").validation) == 10


def test_files_that_nothing_reads_are_named_and_not_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "train.csv", CSV)
    for name in ("more.csv", "config.json", "valid.csv.gz", "README.md", ".test.csv"):
        write(tmp_path, name, "")
    data = prepared(str(tmp_path), NAMES)
    assert len(data.train) + len(data.test) == 10
    assert "nothing reads ['config.json', 'more.csv', 'valid.csv.gz']" in caplog.text


def test_a_folder_without_a_split_to_read_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "reviews.csv", CSV)
    with pytest.raises(DistillationError, match=r"files for none of the splits .*it has \['reviews\.csv'\]"):
        prepared(str(tmp_path), NAMES)
    assert len(prepared(str(tmp_path), NAMES, train_split="reviews").train) == 8


# ---- Damage ----


@pytest.mark.parametrize("content", ["null\nnull\n", " null \n", '{"text": "a"}\nnull\n', '\n\nnull\n{"text": "a"}\n'])
def test_lines_of_null_are_refused_before_they_kill_the_reader(tmp_path: Path, content: str) -> None:
    line = content.split("\n").index(next(line for line in content.split("\n") if "null" in line)) + 1
    with pytest.raises(DistillationError, match=rf"line {line} of .*rows\.jsonl is null"):
        load_source(write(tmp_path, "rows.jsonl", content))


def test_null_on_a_line_of_its_own_is_fine_inside_a_value(tmp_path: Path) -> None:
    content = json.dumps([{"text": "a", "tags": [None]}], indent=1)
    assert "\n   null\n" in content
    assert load_source(write(tmp_path, "rows.json", content))["train"]["text"] == ["a"]


def rows() -> Dataset:
    return Dataset.from_dict({"text": [f"the film {index}" for index in range(1000)]})


@pytest.mark.parametrize("compression", ["snappy", "none"])
def test_a_damaged_page_of_parquet_is_an_error(tmp_path: Path, compression: str) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(rows().data.table, path, compression=compression, use_dictionary=False)
    content = bytearray(path.read_bytes())
    content[1000] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DistillationError, match=r"rows\.parquet.*(repair it|Make or download it anew)"):
        load_source(str(path))


def cut(folder: Path) -> None:
    arrow = next(folder.glob("*.arrow"))
    arrow.write_bytes(arrow.read_bytes()[: arrow.stat().st_size // 2])


def spoil(folder: Path) -> None:
    arrow = next(folder.glob("*.arrow"))
    content = bytearray(arrow.read_bytes())
    content[len(content) // 2] ^= 0xFF
    arrow.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        spoil,
        lambda folder: (folder / "state.json").write_text("{"),
        lambda folder: (folder / "state.json").write_text("{}"),
        lambda folder: (folder / "dataset_info.json").write_text("[]"),
        lambda folder: next(folder.glob("*.arrow")).unlink(),
        lambda folder: (folder.parent / "dataset_dict.json").write_text('{"splits": ["train", "none"]}'),
    ],
)
def test_a_damaged_saved_data_set_is_an_error(tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    saved = tmp_path / "saved"
    DatasetDict(train=rows()).save_to_disk(str(saved))
    assert len(load_source(str(saved))["train"]) == 1000
    damage(saved / "train")
    with pytest.raises(DistillationError, match=r"saved.* (make a damaged one anew|Make or download it anew)"):
        load_source(str(saved))


# ---- Values of several types ----


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", "b", 7], r"column 'text' holds text, but row 2 \(counted from 0\) holds a number, 7"),
        ([7, "a", "b"], r"holds text, but row 0 \(counted from 0\) holds a number, 7"),
        (["a", True, "b"], "row 1 .* holds true or false, True"),
        (["a", ["b"], "c"], "row 1 .* holds a list"),
        ([["a", 1], ["b"]], r"holds text, but row 0 .* holds a number, 1"),
    ],
)
def test_a_text_of_another_type_is_named_with_its_row(tmp_path: Path, values: list[Any], message: str) -> None:
    for name, other in (("text", "label"), ("label", "text")):
        path = write_rows(tmp_path, "rows.jsonl", *({name: value, other: "film"} for value in values))
        with pytest.raises(DistillationError, match=message.replace("text'", f"{name}'")):
            prepared(path, NAMES)


def test_columns_that_are_not_read_may_hold_what_they_like(tmp_path: Path) -> None:
    train = write(tmp_path, "train.csv", CSV)
    test = write_rows(tmp_path, "b.jsonl", *({"text": "a", "label": "film", "id": value} for value in (1, "x")))
    with pytest.raises(DistillationError, match=r"'id' holds .* If it is not read, name in data\.text_columns what is"):
        prepared({"train": train, "test": test}, NAMES)
    assert len(prepared({"train": train, "test": test}, NAMES, text_columns=["text"]).test) == 2
    with pytest.raises(DistillationError, match="'id' holds"):
        prepared(train, NAMES, unlabelled=[test])
