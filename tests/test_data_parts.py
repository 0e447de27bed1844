"""Rows in parts: the same rows whatever their size, in files where the source is in files, and never old ones."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value, load_from_disk

from distilnlp.augmentation import augment
from distilnlp.data import DataConfig, Layout, RowFormat, fingerprint, load_source, pair_encodings
from distilnlp.data.parts import FOLDER, spread
from distilnlp.errors import DistillationError
from distilnlp.tasks import (
    CHOICE_ROWS,
    MASKED_LM_ROWS,
    MULTI_LABEL_ROWS,
    QUESTION_ROWS,
    REGRESSION_ROWS,
    SINGLE_LABEL_ROWS,
    TOKEN_ROWS,
)
from distilnlp.tasks.question_answering.squad import flatten_squad
from tests.test_data import config, prepared, write, write_rows
from tests.tiny import TOPICS, tiny_tokenizer

NAMES = ("film", "money")
TEXTS = ["the film", "a stock", None, "the goal", "  ", "a team", "the bank"]
ANSWER = {"text": ["film"], "answer_start": [4]}
TEXT_LAYOUT = Layout(("text",), "label")
NAMED = Layout(("text",), "label", label_names=NAMES)

CASES: dict[str, tuple[RowFormat, Layout, dict[str, list[Any]]]] = {
    "classes": (SINGLE_LABEL_ROWS, NAMED, {"text": TEXTS, "label": ["film", None, "film", "money", "", "money", None]}),
    "scores": (REGRESSION_ROWS, TEXT_LAYOUT, {"text": TEXTS, "label": ["1", "", None, "2.5", "0", "nan", "3"]}),
    "sets": (MULTI_LABEL_ROWS, NAMED, {"text": TEXTS, "label": [["film"], [], None, ["money"], [], None, [*NAMES]]}),
    "plain": (MASKED_LM_ROWS, TEXT_LAYOUT, {"text": TEXTS}),
    "tags": (
        TOKEN_ROWS,
        Layout(("words",), "label", label_names=NAMES),
        {"words": [["the", "film"], [], ["a"], ["b"], ["c"]], "label": [["film", "money"], [], None, ["film"], None]},
    ),
    "choices": (
        CHOICE_ROWS,
        Layout(("text",), "label", ("choices",)),
        {"text": TEXTS, "choices": [["a", "b"]] * 6 + [["a", "b", "c"]], "label": ["A", "1", None, "B", "0", "", "C"]},
    ),
    "questions": (
        QUESTION_ROWS,
        Layout(("question", "context"), "answers"),
        {"question": TEXTS, "context": ["the film"] * 7, "answers": [ANSWER, None, ANSWER, None, None, ANSWER, ANSWER]},
    ),
}


def in_parts_of(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("distilnlp.data.parts.PART", size)


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> tuple[RowFormat, Layout, Dataset]:
    row_format, layout, columns = CASES[request.param]
    return row_format, layout, Dataset.from_dict(columns)


def test_parts_change_neither_rows_nor_tokens_nor_warnings(
    case: tuple[RowFormat, Layout, Dataset], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    row_format, layout, source = case

    def read() -> tuple[Any, ...]:
        caplog.clear()
        rows = row_format.normalise(source, layout, "training")
        encoded = row_format.encode(rows, tiny_tokenizer(), 16, "", config=DataConfig(source="", stride=2))
        texts = row_format.texts(rows)
        read_twice = list(texts), list(texts)
        return rows.features, fingerprint(rows), fingerprint(encoded), read_twice, list(caplog.messages)

    whole = read()
    in_parts_of(2, monkeypatch)
    assert read() == whole
    assert whole[-1] == [f"{1 if row_format is TOKEN_ROWS else 2} empty texts of the training data were left out"]
    assert whole[3][0] == whole[3][1] != []


@pytest.mark.parametrize(
    ("row_format", "layout", "columns", "message"),
    [
        (REGRESSION_ROWS, TEXT_LAYOUT, {"text": ["a"] * 6, "label": ["1"] * 5 + ["x"]}, "row 5 .* holds 'x'"),
        (
            MULTI_LABEL_ROWS,
            NAMED,
            {"text": ["a"] * 6, "label": [["film"]] * 5 + [["film", ""]]},
            r"row 5 .* empty label",
        ),
        (
            MULTI_LABEL_ROWS,
            NAMED,
            {"text": ["a"] * 6, "label": [[0.0, 1.0]] * 5 + [[0.0, 2.0]]},
            r"row 5 .* has 2\.0 for the label 'money'",
        ),
        (
            TOKEN_ROWS,
            Layout(("words",), "label", label_names=NAMES),
            {"words": [["a"]] * 6, "label": [["film"]] * 5 + [[]]},
            "row 5 .* has 1 words in 'words' and 0 tags",
        ),
        (
            CHOICE_ROWS,
            Layout(("text",), "label", ("choices",)),
            {"text": ["a"] * 6, "choices": [["a", "b"]] * 5 + [["a"]]},
            r"row 5 .* has \['a'\]",
        ),
        (
            CHOICE_ROWS,
            Layout(("text",), "label", ("choices",)),
            {"text": ["a"] * 6, "choices": [["a", "b"]] * 6, "label": [0, 0, 0, 0, 0, 2]},
            "row 5 .* has 2 choices, and label column 'label' says 2",
        ),
        (
            SINGLE_LABEL_ROWS,
            Layout(("text",), "label", answers=("given",), label_names=NAMES),
            {"text": ["a"] * 6, "given": ["[0, 1]"] * 5 + ["x"]},
            "row 5 .* holds 'x'",
        ),
    ],
)
def test_messages_number_rows_among_all(
    row_format: RowFormat, layout: Layout, columns: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_parts_of(2, monkeypatch)
    with pytest.raises(DistillationError, match=message):
        row_format.normalise(Dataset.from_dict(columns), layout, "training")


def test_numbers_are_ids_or_targets_in_all_parts_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    in_parts_of(1, monkeypatch)
    rows = Dataset.from_dict({"text": ["a", "b", "c"], "label": [[1, 0], [0, 0], [1, 1]]})
    assert MULTI_LABEL_ROWS.normalise(rows, NAMED, "training")["label"] == [[1, 0], [0, 0], [1, 1]]


def test_a_class_label_keeps_its_names_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    in_parts_of(2, monkeypatch)
    features = Features({"text": Value("string"), "label": ClassLabel(names=["money", "film"])})
    rows = Dataset.from_dict({"text": list("abcde"), "label": [0, 1, -1, 0, None]}, features=features)
    assert SINGLE_LABEL_ROWS.normalise(rows, NAMED, "training")["label"] == [1, 0, -100, 1, -100]


def test_rows_that_are_all_blank_or_none_keep_their_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    in_parts_of(2, monkeypatch)
    blank = Dataset.from_dict({"text": [""] * 5, "label": ["film"] * 5})
    for source in (blank, blank.select([])):
        rows = SINGLE_LABEL_ROWS.normalise(source, NAMED, "training")
        assert (len(rows), rows.column_names) == (0, ["text", "label"])


def test_squads_files_are_unfolded_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    def article(name: str) -> dict[str, Any]:
        asked = [{"question": f"{name}{index}?", "answers": []} for index in range(3)]
        return {"title": name, "paragraphs": [{"context": name, "qas": asked}]}

    nested = Dataset.from_list([article(name) for name in "abcde"])
    whole = flatten_squad(nested)
    in_parts_of(2, monkeypatch)
    assert flatten_squad(nested)[:] == whole[:]
    assert whole["question"] == [f"{name}{index}?" for name in "abcde" for index in range(3)]


# ---- Files ----


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give the datasets library a cache of its own."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
    return folder / FOLDER


def of_files(rows: Dataset, folder: Path) -> bool:
    files = [Path(file["filename"]) for file in rows.cache_files]
    return bool(files) and all(file.parent == folder for file in files)


def test_rows_of_files_stay_in_files_to_the_tokens(tmp_path: Path, cache: Path) -> None:
    labelled = [{"text": f"the film {index}", "label": TOPICS[index % 3]} for index in range(30)]
    data = prepared(
        write_rows(tmp_path, "train.jsonl", *labelled),
        unlabelled=[write(tmp_path, "more.txt", "\n".join(f"a stock {index}" for index in range(50)))],
    )
    assert len(data.train) == 24 + 50
    for rows in (data.train, data.test, data.labelled):
        assert of_files(rows, cache)
    assert data.train._indices is None, "picked rows are read one by one"
    encoded = SINGLE_LABEL_ROWS.encode(data.train, tiny_tokenizer(), 16, "", config=config())
    both = pair_encodings(SINGLE_LABEL_ROWS, encoded, encoded)
    assert of_files(encoded, cache)
    assert of_files(both, cache)
    new = augment(data.train.select_columns(["text"]), [{"name": "sample_ngrams", "probability": 1.0}])
    assert len(new)
    assert of_files(new, cache)


def test_rows_of_a_function_stay_in_memory(tmp_path: Path, cache: Path) -> None:
    code = (
        "from datasets import Dataset\nrows = lambda: Dataset.from_dict({'text': list('abcdef'), 'label': [0, 1] * 3})"
    )
    data = prepared(f"{write(tmp_path, 'mine.py', code)}:rows", None)
    encoded = SINGLE_LABEL_ROWS.encode(data.train, tiny_tokenizer(), 16, "", config=config())
    assert (data.train.cache_files, encoded.cache_files, cache.exists()) == ([], [], False)


def test_nothing_is_written_beside_the_users_rows(tmp_path: Path, cache: Path) -> None:
    rows = Dataset.from_dict({"text": list("abcdef"), "label": list("xyxyxy")})
    DatasetDict(train=rows, test=rows).save_to_disk(str(tmp_path / "saved"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "saved").rglob("*")}
    data = prepared(str(tmp_path / "saved"), None)
    SINGLE_LABEL_ROWS.encode(data.train, tiny_tokenizer(), 16, "", config=config())
    assert of_files(data.train, cache)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "saved").rglob("*")} == before


def test_the_same_rows_are_read_from_the_file_that_is_there(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = Dataset.from_dict({"text": ["a", "", "b", "c"], "label": list("xyxy")})
    rows.save_to_disk(str(tmp_path / "saved"))

    def read() -> tuple[list[Any], dict[Path, int]]:
        loaded = load_from_disk(str(tmp_path / "saved"))
        layout = Layout(("text",), "label", label_names=("x", "y"))
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            made = SINGLE_LABEL_ROWS.normalise(loaded, layout, "training")
            encoded = SINGLE_LABEL_ROWS.encode(made, tiny_tokenizer(), 16, "", config=config())
        assert caplog.messages == ["1 empty texts of the training data were left out"]
        return [made[:], encoded[:]], {path: path.stat().st_ino for path in cache.iterdir()}

    first, second = read(), read()
    assert first == second
    assert len(first[1]) == 2


def test_other_rows_labels_or_code_are_never_taken_for_old_ones(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*texts: str, names: tuple[str, ...] = ("x", "y")) -> dict[str, Any]:
        loaded = load_source(write_rows(tmp_path, "rows.jsonl", *({"text": text, "label": "x"} for text in texts)))
        return SINGLE_LABEL_ROWS.normalise(loaded["train"], replace(NAMED, label_names=names), "training")[:]

    assert read("a", "b") == {"text": ["a", "b"], "label": [0, 0]}
    assert read("a", "c") == {"text": ["a", "c"], "label": [0, 0]}
    assert read("a", "c", names=("y", "x")) == {"text": ["a", "c"], "label": [1, 1]}
    count = len(list(cache.iterdir()))
    monkeypatch.setattr("distilnlp.data.parts._code", lambda: "other code")
    assert read("a", "c") == {"text": ["a", "c"], "label": [0, 0]}
    assert len(list(cache.iterdir())) > count


def test_an_error_leaves_no_file(tmp_path: Path, cache: Path) -> None:
    Dataset.from_dict({"text": ["a", "b"], "label": ["1", "x"]}).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(DistillationError, match="row 1"):
        REGRESSION_ROWS.normalise(load_from_disk(str(tmp_path / "saved")), TEXT_LAYOUT, "training")
    assert not cache.exists() or list(cache.iterdir()) == []


def test_features_of_lists_survive(tmp_path: Path, cache: Path) -> None:
    rows = Dataset.from_dict({"words": [["a", "b"], ["c"]], "label": [["film", "money"], None]})
    rows.save_to_disk(str(tmp_path / "saved"))
    made = TOKEN_ROWS.normalise(
        load_from_disk(str(tmp_path / "saved")), Layout(("words",), "label", label_names=NAMES), "training"
    )
    assert made.features == Features({"words": List(Value("string")), "label": List(Value("int64"))})
    assert made["label"] == [[0, 1], [-100]]


@pytest.mark.parametrize(
    ("rows", "count", "chosen"), [(0, 3, []), (2, 3, [0, 1]), (7, 3, [0, 2, 4]), (9, 3, [0, 3, 6]), (5, 3, [0, 1, 2])]
)
def test_some_rows_are_spread_evenly(rows: int, count: int, chosen: list[int]) -> None:
    assert spread(Dataset.from_dict({"number": list(range(rows))}), count)["number"][:] == chosen
