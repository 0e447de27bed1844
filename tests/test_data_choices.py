"""Choice rows: prompts and choices from columns or lists, the right one by number or letter."""

import math
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, List, Value
from hypothesis import given
from hypothesis import strategies as st

from distilnlp.data import labelled_rows
from distilnlp.errors import DistillationError
from distilnlp.tasks import CHOICE_ROWS
from tests.test_data import config, prepare, write, write_rows
from tests.tiny import WORDS, tiny_tokenizer

SWAG = "sent1,sent2,ending0,ending1,ending2,label\nthe film,a,plot,actor,bank,1\nthe bank,the,rate,fund,,B\n"
ENDINGS = ["ending0", "ending1", "ending2"]


def row(label: Any, *choices: str | None, prompt: str = "the film") -> dict[str, Any]:
    return {"text": prompt, "choices": list(choices), "label": label}


def both(path: str) -> dict[str, str]:
    return {"train": path, "test": path}


def encode(rows: Dataset, max_length: int = 40) -> Dataset:
    return CHOICE_ROWS.encode(rows, tiny_tokenizer(), max_length, "", config=config())


def normalised(*rows: tuple[str, list[str]], beginning: str | None = None) -> Dataset:
    columns: dict[str, list[Any]] = {"text": [prompt for prompt, _ in rows], "choices": [own for _, own in rows]}
    columns |= {"label": [0] * len(rows)} | ({} if beginning is None else {"text_pair": [beginning] * len(rows)})
    return Dataset.from_dict(columns)


def test_a_column_a_choice_with_what_every_choice_begins_with(tmp_path: Path) -> None:
    path = write(tmp_path, "swag.csv", SWAG)
    data = prepare(CHOICE_ROWS, both(path), text_columns=["sent1", "sent2"], choice_columns=ENDINGS)
    assert data.train[:] == {
        "text": ["the film", "the bank"],
        "text_pair": ["a", "the"],
        "choices": [["plot", "actor", "bank"], ["rate", "fund"]],  # the blank at the end is no choice
        "label": [1, 1],
    }
    encoded = encode(data.train)
    texts = [tiny_tokenizer().batch_decode(ids) for ids in encoded["input_ids"]]
    assert texts[1] == ["[CLS] the bank [SEP] the rate [SEP]", "[CLS] the bank [SEP] the fund [SEP]"]
    assert [len(choices) for choices in encoded["attention_mask"]] == [3, 2]
    assert encoded["token_type_ids"][1][0] == [0, 0, 0, 0, 1, 1, 1]
    assert (encoded["length"], encoded["label"]) == ([7, 7], [1, 1])


@pytest.mark.parametrize("column", ["choices", "endings", "options", "whatever"])
def test_one_column_of_lists(tmp_path: Path, column: str) -> None:
    path = write_rows(tmp_path, "a.jsonl", {"text": "the film", column: ["a", "bank", "goal"], "label": 2})
    data = prepare(CHOICE_ROWS, both(path))
    assert data.train[:] == {"text": ["the film"], "choices": [["a", "bank", "goal"]], "label": [2]}


@pytest.mark.parametrize(
    "labels", [[0, 2, None], ["0", "2", ""], ["A", "C", ""], ["a", " c", None], [0, 2, -100], [0.0, 2.0, math.nan]]
)
def test_the_right_choice_is_a_number_or_a_letter(tmp_path: Path, labels: list[Any]) -> None:
    path = write_rows(tmp_path, "a.jsonl", *(row(label, "a", "bank", "goal") for label in labels))
    data = prepare(CHOICE_ROWS, both(path))
    assert data.train["label"] == [0, 2, -100]
    assert (data.labelled["label"], data.test["label"], data.label_names) == ([0, 2], [0, 2], [])


def test_a_test_split_of_nan_gives_way(tmp_path: Path) -> None:
    for split, label in {"train": 1.0, "test": math.nan, "validation": 0.0}.items():
        write_rows(tmp_path, f"{split}.jsonl", row(label, "a", "bank"))
    assert prepare(CHOICE_ROWS, str(tmp_path)).test["label"] == [0]


def test_class_labels_mean_their_names(tmp_path: Path) -> None:
    for names, wanted in ((["0", "1", "2"], [1, 0]), (["B", "A", "C"], [0, 1])):
        features = Features(
            {"text": Value("string"), "options": List(Value("string")), "label": ClassLabel(names=names)}
        )
        content = {"text": ["x", "y", "z"], "options": [["a", "b"]] * 3, "label": [1, 0, -1]}
        rows = Dataset.from_dict(content, features=features)
        DatasetDict(train=rows, test=rows).save_to_disk(tmp_path / "".join(names))
        assert prepare(CHOICE_ROWS, str(tmp_path / "".join(names))).train["label"] == [*wanted, -100]


def test_numbers_in_a_csv_with_empty_cells_stay_whole(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,one,two,label\na,b,c,1\na,b,c,\n")
    assert prepare(CHOICE_ROWS, both(path), choice_columns=["one", "two"]).train["label"] == [1, -100]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([row(0, "a")], {}, r"two choices or more, none of them blank, but row 0 \(counted from 0\) has \['a'\]"),
        ([row(0, "a", "b"), row(0, "a", " ", "b")], {}, r"but row 1 .* has \['a', '', 'b'\]"),
        ([row(0, "a", "b"), row(2, "a", "b")], {}, "row 1 .* has 2 choices, and label column 'label' says 2. Give the"),
        ([row(-1, "a", "b")], {}, "says -1"),
        ([row("C", "a", "b")], {}, "says 'C'"),
        ([row("first", "a", "b")], {}, "says 'first'.*counted from 0, or its letter"),
        ([row(0.5, "a", "b")], {}, "says 0.5"),
        ([row(0.0, "a", "b"), row(math.inf, "a", "b")], {}, "row 1 .* says inf"),
        ([row(True, "a", "b")], {}, r"holds Value\('bool'\), which names no choice. Give the number"),
        ([row([0], "a", "b")], {}, "must hold one label a row"),
        ([{"text": "x", "one": "a", "label": 0}], {}, "expected one column of lists of choices.*data.choice_columns"),
        ([row(0, "a", "b")], {"choice_columns": ["choices", "text"]}, r"has 0: \[\]"),
        ([row(0, "a", "b")], {"choice_columns": ["choices", "more"]}, "'choices' must hold text, but it holds List"),
        ([{"text": "x", "one": "a", "label": 0}], {"choice_columns": ["one", "tow"]}, "'tow'.*Set data.choice_columns"),
        (
            [{"text": "x", "one": "a", "label": 0}],
            {"choice_columns": ["one", "text"], "text_columns": "text"},
            "column 'text' cannot be a choice and something else too",
        ),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, rows: list[Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        prepare(CHOICE_ROWS, both(write_rows(tmp_path, "a.jsonl", *rows)), **options)


phrases = st.lists(st.sampled_from(WORDS), min_size=1, max_size=14).map(" ".join)


@given(
    rows=st.lists(st.tuples(phrases, st.lists(phrases, min_size=2, max_size=4)), min_size=1, max_size=3),
    max_length=st.integers(6, 30),
    beginning=st.none() | phrases,
)
def test_the_prompt_is_cut_before_a_choice(
    rows: list[tuple[str, list[str]]], max_length: int, beginning: str | None
) -> None:
    encoded = encode(normalised(*rows, beginning=beginning), max_length)
    for (prompt, choices), row in zip(rows, encoded, strict=True):
        for choice, ids in zip(choices, row["input_ids"], strict=True):
            first, second, _ = tiny_tokenizer().decode(ids).removeprefix("[CLS] ").split(" [SEP]")
            whole = choice if beginning is None else f"{beginning} {choice}"
            room = max_length - 3  # three special tokens
            if len(whole.split()) < room:
                assert second.split() == whole.split()
                assert first.split() == prompt.split()[: room - len(whole.split())]
            else:
                assert len(ids) <= max_length
                assert min(len(first.split()), len(second.split())) >= 1
                assert whole.startswith(second.strip())
                assert prompt.startswith(first)
        assert row["length"] == max(map(len, row["input_ids"]))


def test_a_choice_stays_whole_while_one_token_of_the_prompt_fits() -> None:
    rows = normalised(("the film", ["a stock match goal", "bank"]))
    lengths = {8: (1, 4), 7: (2, 2), 9: (2, 4)}  # prompt and choice, where both have to be cut at 7
    for max_length, wanted in lengths.items():
        ids = encode(rows, max_length)["token_type_ids"][0][0]
        assert (ids.count(0) - 2, ids.count(1) - 1) == wanted


def test_a_transfer_set_has_the_same_columns(tmp_path: Path) -> None:
    path = write_rows(tmp_path, "a.jsonl", row(0, "a", "b"))
    more = write_rows(tmp_path, "b.jsonl", {"text": "the bank", "choices": ["c", "d"]}, row(1, "e", "f"))
    data = prepare(CHOICE_ROWS, both(path), unlabelled=[more])
    assert data.train["label"] == [0, -100, -100]
    assert labelled_rows(encode(data.train), CHOICE_ROWS)["label"] == [0]
    with pytest.raises(DistillationError, match=r"must have the text columns \['text', 'choices'\]"):
        prepare(CHOICE_ROWS, both(path), unlabelled=[write(tmp_path, "c.txt", "a\n")])
