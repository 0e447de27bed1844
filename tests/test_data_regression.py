"""Regression rows: scores from numbers and from text, and what is no score."""

import math
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from distilnlp.data import labelled_rows
from distilnlp.errors import DistillationError
from distilnlp.tasks import REGRESSION_ROWS
from tests.test_data import config, prepare, write, write_rows
from tests.tiny import tiny_tokenizer


def source_of(folder: Path, *scores: Any) -> dict[str, str]:
    rows = [{"text": f"the film {index}", "label": score} for index, score in enumerate(scores)]
    return {split: write_rows(folder, f"{split}.jsonl", *rows) for split in ("train", "test")}


def test_numbers_are_scores_and_minus_one_hundred_is_one(tmp_path: Path) -> None:
    for scores in ([0.5, -100.0, 3.4e38, None], [1, -100, 0, None], ["0.5", "-100", "3e1", ""]):
        data = prepare(REGRESSION_ROWS, source_of(tmp_path, *scores))
        assert data.labelled["label"] == [float(score) for score in scores[:3]]
        assert math.isnan(data.train["label"][3])
        assert (data.label_names, len(data.test)) == ([], 3)


def test_a_csv_with_empty_cells_has_unlabelled_rows(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,label\na film,2.5\na bank,\na goal,nan\nthe team,-1\n")
    data = prepare(REGRESSION_ROWS, {"train": path, "test": path})
    assert data.labelled["label"] == [2.5, -1.0]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (["1.5", "good"], r"must hold finite numbers, but row 1 \(counted from 0\) holds 'good'"),
        (["1.5", "inf"], "row 1 .* holds 'inf'"),
        ([1.5, -1e39], r"row 1 .* holds -1e\+39 \(float32 ends at 3\.4e38\)"),
        ([[1.0], [2.0]], "must hold one number a row, but it holds List"),
        ([True, False], "must hold one number a row, but it holds Value"),
    ],
)
def test_what_is_no_number_is_named(tmp_path: Path, scores: list[Any], message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        prepare(REGRESSION_ROWS, source_of(tmp_path, *scores))


def test_classes_are_no_scores(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["bad", "good"])})
    DatasetDict(train=Dataset.from_dict({"text": ["a"], "label": [0]}, features=features)).save_to_disk(tmp_path / "s")
    with pytest.raises(DistillationError, match=r"must hold one number a row, but it holds ClassLabel"):
        prepare(REGRESSION_ROWS, str(tmp_path / "s"))


def test_scores_have_no_names(tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match=r"data\.label_names means nothing for regression"):
        prepare(REGRESSION_ROWS, source_of(tmp_path, 1.0), label_names=["a", "b"])


def test_a_test_split_without_scores_gives_way_to_the_validation_split(tmp_path: Path) -> None:
    scored = Path(source_of(tmp_path, 0.5, 1.5)["train"])
    (tmp_path / "validation.jsonl").write_text(scored.read_text())
    for hidden in (None, "", float("nan")):
        write_rows(tmp_path, "test.jsonl", {"text": "a", "label": hidden}, {"text": "b", "label": hidden})
        data = prepare(REGRESSION_ROWS, str(tmp_path))
        assert data.test["label"] == [0.5, 1.5]


def test_unlabelled_rows_are_found_after_tokenising(tmp_path: Path) -> None:
    more = write(tmp_path, "more.txt", "the fund\n")
    data = prepare(REGRESSION_ROWS, source_of(tmp_path, -100.0, None), unlabelled=[more])
    encoded = REGRESSION_ROWS.encode(data.train, tiny_tokenizer(), 10, "", config=config())
    assert labelled_rows(encoded, REGRESSION_ROWS)["label"] == [-100.0]
    assert len(encoded) == 3


def test_a_share_is_held_out_at_random(tmp_path: Path) -> None:
    source = source_of(tmp_path, *[index / 3 for index in range(10)], None)
    data = prepare(REGRESSION_ROWS, source["train"])
    assert (len(data.train), len(data.test)) == (9, 2)
    assert sorted([*data.labelled["label"], *data.test["label"]]) == [index / 3 for index in range(10)]
    with pytest.raises(
        DistillationError, match=r"cannot hold out 20% of 1 labelled rows with one row or more in both parts"
    ):
        prepare(REGRESSION_ROWS, source_of(tmp_path, 1.0)["train"])
