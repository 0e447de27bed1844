"""Types of columns over whole files, whatever their first rows hold; and errors that name what is really wrong."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import Dataset, List, Value

from distilnlp.data import load_source
from distilnlp.data.parts import map_in_parts
from distilnlp.errors import DistillationError
from tests.test_data import prepared, write, write_rows

ROWS = 10_001  # more than the datasets library reads of a CSV file at a time
LONG = "a" * (6 << 20)  # two such rows are more than it reads of JSON at a time


def write_csv(folder: Path, first: str, *others: str) -> str:
    """Labels: the first one many times, then the others."""
    return write(folder, "rows.csv", "\n".join(["text,label", *[f"a,{first}"] * ROWS, *(f"b,{x}" for x in others), ""]))


def write_json(folder: Path, *values: Any) -> str:
    """The values of a column; of the first two a block is full."""
    texts = [LONG, LONG, *["b"] * len(values)]
    return write_rows(folder, "rows.jsonl", *({"text": text, "x": x} for text, x in zip(texts, values, strict=False)))


# ---- CSV ----


@pytest.mark.parametrize(
    ("first", "others", "read"),
    [
        ("", ["sport", "None", "NA", ""], [None, "sport", "None", "NA", None]),  # only an empty cell is missing
        ("1", ["0.5", ""], [1.0, 0.5, None]),
        ("1", ["", "2"], [1.0, None, 2.0]),
        ("01", ["sport"], ["01", "sport"]),  # as it is written, not as the number
        ("True", ["7"], ["True", "7"]),
    ],
)
def test_a_csv_column_has_the_type_of_all_its_rows(
    tmp_path: Path, first: str, others: list[str], read: list[Any]
) -> None:
    rows = load_source(write_csv(tmp_path, first, *others))["train"]
    assert rows["label"][ROWS - 1 :] == read
    assert rows["label"][0] == read[0]


def test_unlabelled_rows_may_come_first(tmp_path: Path) -> None:
    source = {
        "train": write_csv(tmp_path, "", "sport", "film"),
        "test": write(tmp_path, "test.csv", "text,label\na,sport\n"),
    }
    data = prepared(source, ("film", "sport"))
    assert data.train["label"][ROWS - 1 :] == [-100, 1, 0]


def test_whole_files_without_labels_may_come_first(tmp_path: Path) -> None:
    texts = ["text,label\na,\n", "text,label\nb,sport\n"]
    files = [write(tmp_path, f"{index}.csv", text) for index, text in enumerate(texts)]
    assert load_source({"train": files})["train"][:] == {"text": ["a", "b"], "label": [None, "sport"]}
    lists = ['[{"text": "a", "label": null}]', '[{"text": "b",\n "label": "sport"}]']
    files = [write(tmp_path, f"{index}.json", text) for index, text in enumerate(lists)]
    assert load_source({"train": files})["train"][:] == {"text": ["a", "b"], "label": [None, "sport"]}


def test_files_of_other_columns_are_still_refused(tmp_path: Path) -> None:
    files = [write(tmp_path, "a.csv", "text,label\na,\n"), write(tmp_path, "b.csv", "text,topic\nb,sport\n")]
    with pytest.raises(DistillationError, match=r"(?s)cannot read .*topic"):
        load_source({"train": files})


# ---- JSON ----


@pytest.mark.parametrize(
    ("values", "feature", "read"),
    [
        ([None, None, "sport"], Value("string"), [None, None, "sport"]),
        ([1, None, 0.5], Value("float64"), [1.0, None, 0.5]),
        ([None, None, True], Value("bool"), [None, None, True]),
        ([[], None, ["film"]], List(Value("string")), [[], None, ["film"]]),
        (
            [{"a": None}, None, {"a": [1], "b": "c"}],
            {"a": List(Value("int64")), "b": Value("string")},
            [{"a": None, "b": None}, None, {"a": [1], "b": "c"}],
        ),
    ],
)
def test_a_json_column_has_the_type_of_all_its_rows(
    tmp_path: Path, values: list[Any], feature: Any, read: list[Any]
) -> None:
    rows = load_source(write_json(tmp_path, *values))["train"]
    assert rows.features["x"] == feature
    assert rows["x"][:] == read


def test_a_json_key_may_appear_late(tmp_path: Path) -> None:
    path = write_rows(tmp_path, "rows.jsonl", {"text": LONG}, {"text": LONG}, {"text": "b", "label": "sport"})
    assert load_source(path)["train"]["label"] == [None, None, "sport"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 2, None, "sport"], r"'x' of .*rows\.jsonl .*several types: int64, and string first at row 3"),
        ([None, None, 1, 2, "sport"], r"'x' of .*rows\.jsonl .*several types: number, and string first at row 4"),
    ],
)
def test_a_json_column_of_several_types_is_named_with_the_row(tmp_path: Path, values: list[Any], message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        load_source(write_json(tmp_path, *values))


def test_json_that_breaks_late_is_no_matter_of_types(tmp_path: Path) -> None:
    path = write_json(tmp_path, None, None, "sport")
    with Path(path).open("a", encoding="utf-8") as file:
        file.write('\n{"text": \n')
    with pytest.raises(DistillationError, match=r"cannot read .*rows\.jsonl.* as json: .*Expected a file"):
        load_source(path)


# ---- What is to blame ----


@pytest.fixture
def unwritable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache below a file: no folder can be made there, not even by root."""
    cache = Path(write(tmp_path, "file", "")) / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    return cache


def full_disk(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


UNWRITABLE = "the cache of the datasets library, .*, cannot be written .*Set HF_DATASETS_CACHE to a folder with room"


def test_an_unwritable_cache_is_named_and_not_the_file(tmp_path: Path, unwritable: Path) -> None:
    rows = {"text": "a", "label": "film"}
    for path in (write(tmp_path, "rows.csv", "text,label\na,film\n"), write_rows(tmp_path, "rows.jsonl", rows)):
        with pytest.raises(DistillationError, match=UNWRITABLE) as raised:
            load_source(path)
        assert str(unwritable) in str(raised.value)
        assert path not in str(raised.value)
    with pytest.raises(DistillationError, match=r"there is no file .*row\.csv.*Did you mean 'rows\.csv'"):
        load_source(str(tmp_path / "row.csv"))


def test_a_folder_is_not_blamed_for_the_cache(tmp_path: Path, unwritable: Path) -> None:
    folder = tmp_path / "rows" / "data"
    folder.mkdir(parents=True)
    write(folder, "train.csv", "text,label\na,film\n")
    with pytest.raises(DistillationError, match=UNWRITABLE):
        load_source(str(tmp_path / "rows"))


def test_a_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, "rows.csv", "text,label\na,film\nb,film\n")
    monkeypatch.setattr("datasets.arrow_writer.ArrowWriter.write_table", full_disk)
    with pytest.raises(DistillationError, match=UNWRITABLE) as raised:
        load_source(path)
    assert "No space left on device" in str(raised.value)


def test_an_unwritable_cache_is_named_where_rows_are_rewritten(tmp_path: Path, unwritable: Path) -> None:
    Dataset.from_dict({"text": ["a"]}).save_to_disk(str(tmp_path / "saved"))
    rows = load_source(str(tmp_path / "saved"))["train"]
    with pytest.raises(DistillationError, match=UNWRITABLE):
        map_in_parts(rows, lambda part: part)


def test_what_a_function_on_rows_cannot_open_is_not_the_cache(tmp_path: Path) -> None:
    def read(_: dict[str, Any]) -> dict[str, Any]:
        return json.loads((tmp_path / "none.json").read_text())

    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        map_in_parts(Dataset.from_dict({"text": ["a"]}), read)


def test_what_a_source_function_says_is_passed_on(tmp_path: Path) -> None:
    code = (
        "from distilnlp.errors import DistillationError\ndef rows():\n    raise DistillationError('no price known')\n"
    )
    with pytest.raises(DistillationError, match=r"^no price known$"):
        load_source(f"{write(tmp_path, 'mine.py', code)}:rows")
