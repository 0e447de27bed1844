"""Data: sources, columns, labels, splits; and each wrong input with its message."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from distilnlp.data import (
    DataConfig,
    Layout,
    PreparedData,
    RowFormat,
    evaluation_split,
    fingerprint,
    load_source,
    prepare_data,
)
from distilnlp.errors import DistillationError, shown
from distilnlp.tasks import SINGLE_LABEL_ROWS
from distilnlp.validation import parse_section
from tests.tiny import TOPICS, tiny_rows, tiny_tokenizer

CSV = "text,label\nthe film,film\na stock,money\nthe goal,sport\na scene,film\nthe bank,money\na team,sport\n"


def write(folder: Path, name: str, content: str) -> str:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return str(path)


def write_rows(folder: Path, name: str, *rows: dict[str, Any]) -> str:
    return write(folder, name, "\n".join(map(json.dumps, rows)))


def config(source: Any = "", **options: Any) -> DataConfig:
    return parse_section(DataConfig, {"source": source, **options}, "data")


def prepare(rows: RowFormat, source: Any, names: Sequence[str] | None = None, **options: Any) -> PreparedData:
    return prepare_data(config(source, **options), rows, names)


def prepared(source: Any, names: tuple[str, ...] | None = TOPICS, **options: Any) -> Any:
    return prepare(SINGLE_LABEL_ROWS, source, names, **options)


@pytest.fixture
def splits(tmp_path: Path) -> dict[str, str]:
    return {"train": write(tmp_path, "train.csv", CSV), "test": write(tmp_path, "test.csv", CSV)}


def test_labels_are_ids_in_the_teachers_order(splits: dict[str, str]) -> None:
    data = prepared(splits, ("sport", "film", "money"))
    assert data.label_names == ["sport", "film", "money"]
    assert data.train["label"] == [1, 2, 0, 1, 2, 0]


def test_a_class_label_in_another_order_is_reordered(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["sport", "film", "money"])})
    rows = Dataset.from_dict({"text": ["the goal", "a film", "x", "y"], "label": [0, 1, 2, -1]}, features=features)
    DatasetDict(train=rows, test=rows).save_to_disk(str(tmp_path / "saved"))
    data = prepared(str(tmp_path / "saved"), ("film", "money", "sport"))
    assert data.train["label"] == [2, 0, 1, -100]
    assert len(data.test) == 3  # the row with a hidden label cannot be tested on


def test_a_class_label_says_what_its_ids_mean(tmp_path: Path) -> None:
    features = Features({"text": Value("string"), "label": ClassLabel(names=["sport", "film", "money"])})
    rows = Dataset.from_dict({"text": ["the goal", "a film", "x"], "label": [0, 1, 2]}, features=features)
    DatasetDict(train=rows, test=rows).save_to_disk(str(tmp_path / "saved"))
    assert prepared(str(tmp_path / "saved"), label_names=["film", "money", "sport"]).train["label"] == [2, 0, 1]


def test_unlabelled_rows_come_from_nulls_and_further_files(tmp_path: Path) -> None:
    source = {"train": write(tmp_path, "a.csv", CSV + "a rate,\n"), "test": write(tmp_path, "b.csv", CSV)}
    data = prepared(source, unlabelled=[write(tmp_path, "more.txt", "the fund\n\n  \nthe coach\n")])
    assert data.train["label"] == [0, 1, 2, 0, 1, 2, -100, -100, -100]
    assert data.train["text"][-2:] == ["the fund", "the coach"]  # empty lines are no texts
    assert len(data.labelled) == 6


def test_bare_ids_mean_the_teachers_and_are_checked(tmp_path: Path) -> None:
    source = {
        "train": write(tmp_path, "a.csv", "text,label\na,0\nb,2\n"),
        "test": write(tmp_path, "b.csv", "text,label\na,1\n"),
    }
    assert prepared(source).train["label"] == [0, 2]
    with pytest.raises(DistillationError, match=r"holds \[2\], but the labels are \['no', 'yes'\]"):
        prepared(source, ("no", "yes"))


def test_minus_one_is_a_label_like_any_other_in_a_file(tmp_path: Path) -> None:
    source = {
        "train": write(tmp_path, "a.csv", "text,label\na,-1\nb,1\n"),
        "test": write(tmp_path, "b.csv", "text,label\na,1\n"),
    }
    with pytest.raises(DistillationError, match=r"holds \[-1\]"):
        prepared(source, ("no", "yes"))


def test_an_untrained_teacher_takes_the_datas_labels(splits: dict[str, str], tmp_path: Path) -> None:
    assert prepared(splits, None).label_names == ["film", "money", "sport"]
    source = {
        "train": write(tmp_path, "a.csv", "text,label\na,0\nb,1\n"),
        "test": write(tmp_path, "b.csv", "text,label\na,1\n"),
    }
    assert prepared(source, None).label_names == ["0", "1"]
    assert prepared(source, None, label_names=["no", "yes"]).label_names == ["no", "yes"]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["1", "2", "3", "4", "5"], ["1", "2", "3", "4", "5"]),
        (["10", "2", "1"], ["1", "2", "10"]),
        (["0", "4"], ["0", "4"]),
        (["-1", "0", "1"], ["-1", "0", "1"]),
        (["1.0", "2.0", "5.0"], ["1", "2", "5"]),
        (["0.0", "1.0"], ["0", "1"]),
        (["True", "False"], ["false", "true"]),
        (["yes", "no"], ["no", "yes"]),
    ],
    ids=str,
)
def test_numbers_are_names_in_their_order_for_a_teacher_that_is_yet_to_learn_them(
    tmp_path: Path, values: list[str], names: list[str], caplog: Any
) -> None:
    caplog.set_level("INFO", logger="distilnlp")
    lines = [f"text {number},{value}\n" for number, value in enumerate(values * 2)]
    source = {
        "train": write(tmp_path, "a.csv", "text,label\n" + "".join(lines)),
        "test": write(tmp_path, "b.csv", "text,label\n" + "".join(lines[:2])),
    }
    data = prepared(source, None)
    assert data.label_names == names
    plain = [value.removesuffix(".0").lower() for value in values]
    assert data.train["label"][:] == [names.index(value) for value in plain * 2]
    assert data.test["label"][:] == [names.index(value) for value in plain[:2]]
    are_told = names not in (["0", "1"], ["no", "yes"])
    assert ("are read as names, in this order" in caplog.text) is are_told
    assert "positions counted from 0" not in caplog.text


@pytest.mark.parametrize("teacher", [None, ("positive", "negative")], ids=["to be fine-tuned", "finished"])
def test_outer_blanks_of_labels_are_left_out_and_said(tmp_path: Path, teacher: Any, caplog: Any) -> None:
    caplog.set_level("INFO", logger="distilnlp")
    rows = "text,label\na, positive\nb,positive\nc,negative \nd,negative\ne,  \n"
    source = {"train": write(tmp_path, "a.csv", rows), "test": write(tmp_path, "b.csv", rows)}
    data = prepared(source, teacher)
    names = list(teacher or ("negative", "positive"))
    assert list(data.label_names) == names
    positive, negative = names.index("positive"), names.index("negative")
    assert data.train["label"][:] == [positive, positive, negative, negative, -100]
    assert "outer blanks of the labels in 'label' are left out: [" in caplog.text


def test_numbers_with_a_fraction_are_scores_and_no_classes(tmp_path: Path) -> None:
    rows = write(tmp_path, "a.csv", "text,label\na,1.5\nb,2\n")
    with pytest.raises(DistillationError, match=r"numbers with a fraction, such as 1\.5.*task: regression"):
        prepared({"train": rows, "test": rows}, None)


def test_a_teacher_with_placeholders_needs_label_names(splits: dict[str, str]) -> None:
    placeholders = ("LABEL_0", "LABEL_1", "LABEL_2")
    with pytest.raises(DistillationError, match=r"only placeholders.*Set data\.label_names"):
        prepared(splits, placeholders)
    data = prepared(splits, placeholders, label_names=["sport", "money", "film"])
    assert data.train["label"] == [2, 1, 0, 2, 1, 0]


def test_labels_that_differ_from_the_teachers_are_named(splits: dict[str, str]) -> None:
    with pytest.raises(
        DistillationError, match=r"only the data has \['sport'\] and only the teacher has \['weather'\]"
    ):
        prepared(splits, ("film", "money", "weather"), label_names=["film", "money", "sport"])
    with pytest.raises(DistillationError, match=r"the labels \['sport'\], which.*are \['film', 'money', 'weather'\]"):
        prepared(splits, ("film", "money", "weather"))


def test_wrong_columns_are_named_with_the_nearest(splits: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match=r"data\.text_columns names the column 'txt'.*Did you mean 'text'"):
        prepared(splits, text_columns=["txt"])
    with pytest.raises(DistillationError, match=r"data\.label_column names|no split has the label column 'lable'"):
        prepared(splits, label_column="lable")
    number = {"train": write(tmp_path, "n.csv", "text,size,label\na,1,film\nb,2,money\n")}
    with pytest.raises(DistillationError, match="text column 'size' must hold text, but it holds Value"):
        prepared(number, text_columns=["size"])
    two = {"train": write(tmp_path, "two.csv", "title,body,label\na,x,film\nb,y,money\n")}
    with pytest.raises(DistillationError, match=r"expected one text column, but the data has 2: \['title', 'body'\]"):
        prepared(two)


def test_splits_are_found_or_named(splits: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match=r"no split 'trian'.*Did you mean 'train'"):
        prepared(splits, train_split="trian")
    empty = {**splits, "test": write(tmp_path, "empty.csv", "text,label\n")}
    with pytest.raises(DistillationError, match=r"there are no|cannot read"):
        prepared(empty, test_split="test")
    with pytest.raises(DistillationError, match="no labelled test rows"):
        prepared({**splits, "test": write(tmp_path, "null.jsonl", '{"text": "a", "label": null}\n')}, test_split="test")


def test_words_that_pandas_takes_for_missing_are_labels_and_texts(tmp_path: Path) -> None:
    rows = "text,label\nnull,None\nNA,film\nthe bank,None\n"
    source = {"train": write(tmp_path, "a.csv", rows), "test": write(tmp_path, "b.csv", rows)}
    data = prepared(source, ("None", "film"))
    assert data.train["label"] == [0, 1, 0]
    assert data.test["text"] == ["null", "NA", "the bank"]


def test_what_is_chosen_on_a_split_is_not_tested_on_it(splits: dict[str, str]) -> None:
    with pytest.raises(DistillationError, match=r"data\.validation_split and data\.test_split are both 'test'"):
        prepared(splits, test_split="test", validation_split="test")
    data = prepared({**splits, "validation": splits["test"]}, validation_split="test")
    assert data.validation is not None
    assert data.test is not data.validation


def test_ids_of_labels_that_are_numbers_are_not_guessed(tmp_path: Path) -> None:
    rows = "text,label\na,1\nb,2\n"
    source = {"train": write(tmp_path, "a.csv", rows), "test": write(tmp_path, "b.csv", rows)}
    with pytest.raises(DistillationError, match="an id may mean a position or a name"):
        prepared(source, ("1", "2", "3"))
    with pytest.raises(DistillationError, match="one name for each of the teacher's 3 labels"):
        prepared(source, ("LABEL_0", "LABEL_1", "LABEL_2"), label_names=["no", "yes"])


def test_ids_beside_empty_cells_keep_their_names(tmp_path: Path) -> None:
    rows = "text,label\na,0\nb,1\nc,\n"
    source = {"train": write(tmp_path, "a.csv", rows), "test": write(tmp_path, "b.csv", rows)}
    data = prepared(source, None)
    assert data.label_names == ["0", "1"]
    assert data.train["label"] == [0, 1, -100]


def test_a_share_is_held_out_where_there_is_no_test_split(tmp_path: Path) -> None:
    rows = tiny_rows(30, unlabelled=10)
    DatasetDict(train=rows).save_to_disk(str(tmp_path / "saved"))
    data = prepared(str(tmp_path / "saved"), test_size=0.2)
    assert (len(data.train), len(data.labelled), len(data.test)) == (34, 24, 6)
    assert sorted(data.test["label"]) == [0, 0, 1, 1, 2, 2]  # stratified
    assert prepared(str(tmp_path / "saved"), test_size=0.2).test["text"] == data.test["text"]
    DatasetDict(train=tiny_rows(3)).save_to_disk(str(tmp_path / "small"))
    with pytest.raises(DistillationError, match="cannot hold out"):
        prepared(str(tmp_path / "small"))


def test_the_fingerprint_follows_the_content(splits: dict[str, str], tmp_path: Path) -> None:
    before = fingerprint(prepared(splits).train)
    write(tmp_path, "copy.csv", CSV)
    assert fingerprint(prepared({**splits, "train": str(tmp_path / "copy.csv")}).train) == before
    changed = write(tmp_path, "changed.csv", CSV.replace("the film", "the actor"))
    assert fingerprint(prepared({**splits, "train": changed}).train) != before


def test_pairs_are_tokenised_together_and_cut() -> None:
    rows = Dataset.from_dict({"text": ["the film"], "text_pair": ["a stock market"], "label": [1]})
    encoded = SINGLE_LABEL_ROWS.encode(rows, tiny_tokenizer(), max_length=6, desc="", config=config())
    assert encoded["length"] == [6]
    assert encoded["token_type_ids"][0][-1] == 1
    assert encoded.column_names == ["label", "input_ids", "token_type_ids", "attention_mask", "length"]


def test_a_data_set_without_label_column_has_no_labels() -> None:
    rows = Dataset.from_dict({"text": ["a", "b"]})
    layout = Layout(("text",), "label", label_names=TOPICS)
    assert SINGLE_LABEL_ROWS.normalise(rows, layout, "training")["label"] == [-100, -100]


def test_labels_that_are_lists_are_refused(tmp_path: Path) -> None:
    rows = write(tmp_path, "a.jsonl", '{"text": "a", "label": [0, 1]}\n{"text": "b", "label": [1]}\n')
    with pytest.raises(DistillationError, match="must hold one label a row, a name or an id"):
        prepared({"train": rows, "test": rows})


def test_a_function_that_fails_says_where(tmp_path: Path) -> None:
    path = write(tmp_path, "mine.py", "def rows():\n    raise KeyError('price')\n")
    with pytest.raises(DistillationError, match=r"(?s)mine\.py:rows failed.*line 2.*KeyError: 'price'"):
        load_source(f"{path}:rows")
    with pytest.raises(DistillationError, match=r"(?s)broken\.py failed.*SyntaxError"):
        load_source(f"{write(tmp_path, 'broken.py', 'def :')}:rows")


def test_an_empty_label_is_no_label_in_every_kind_of_file(tmp_path: Path) -> None:
    lines = ['{"text": "a", "label": "film"}', '{"text": "b", "label": ""}', '{"text": "c", "label": "money"}']
    rows = write(tmp_path, "a.jsonl", "\n".join(lines))
    data = prepared({"train": rows, "test": rows}, None)
    assert data.label_names == ["film", "money"]
    assert data.train["label"] == [0, -100, 1]


def test_true_and_false_are_not_guessed(tmp_path: Path) -> None:
    rows = write(tmp_path, "a.csv", "text,label\na,True\nb,False\n")
    with pytest.raises(DistillationError, match="holds true and false, which may be names or ids"):
        prepared({"train": rows, "test": rows}, ("True", "False"))


def test_the_answer_is_no_text(splits: dict[str, str]) -> None:
    with pytest.raises(DistillationError, match="the answer cannot be a text column"):
        prepared(splits, text_columns=["label"])


def test_test_texts_that_were_trained_on_are_counted(splits: dict[str, str], caplog: Any) -> None:
    prepared(splits)
    assert "6 of 6 test texts are in the training data or the transfer set too" in caplog.text


def test_keys_of_another_task_are_refused(splits: dict[str, str]) -> None:
    for key, value in {"stride": 3, "choice_columns": ["a", "b"], "mask_probability": 0.3}.items():
        with pytest.raises(DistillationError, match=rf"data\.{key} means nothing for single-label classification"):
            prepared(splits, **{key: value})
    assert len(prepared(splits, stride=128).train) == 6  # as it stands in a resolved recipe


def test_the_fingerprint_reads_lists_and_numbers_that_are_none() -> None:
    rows = {"words": [["a", "b"], []], "label": [[0.5, float("nan")], [1.0]]}
    before = fingerprint(Dataset.from_dict(rows))
    assert fingerprint(Dataset.from_dict(rows).with_format("numpy")) == before
    assert fingerprint(Dataset.from_dict({**rows, "label": [[0.5, 1.0], [1.0]]})) != before
    assert fingerprint(Dataset.from_dict({**rows, "words": [["a b"], []]})) != before


def test_pairs_that_share_one_text_are_different_rows(tmp_path: Path, caplog: Any) -> None:
    train = write(tmp_path, "a.csv", "one,two,label\na film,the bank,film\na film,the goal,money\n")
    test = write(tmp_path, "b.csv", "one,two,label\na film,the goal,film\na film,the team,film\n")
    prepared({"train": train, "test": test}, text_columns=["one", "two"])
    assert "1 of 2 test texts are in the training data or the transfer set too" in caplog.text


def test_an_evaluation_takes_the_labelled_rows_of_one_split(splits: dict[str, str], tmp_path: Path) -> None:
    names = ["sport", "film", "money"]
    write(tmp_path, "validation.csv", CSV)
    write(tmp_path, "test.csv", "text,label\na,\n")
    rows = evaluation_split(config(str(tmp_path)), SINGLE_LABEL_ROWS, names)
    assert rows["label"] == [1, 2, 0, 1, 2, 0]
    with pytest.raises(DistillationError, match="there are no labelled test rows"):
        evaluation_split(config(str(tmp_path), test_split="test"), SINGLE_LABEL_ROWS, names)


def test_test_texts_in_a_transfer_set_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = {
        "train": write(tmp_path, "a.csv", "text,label\nthe film,film\nthe stock,money\n"),
        "test": write(tmp_path, "b.csv", "text,label\na film,film\na stock,money\n"),
    }
    prepared(source, ("film", "money"), unlabelled=[write(tmp_path, "more.txt", "a film\nanother film\n")])
    assert "1 of 2 test texts are in the training data or the transfer set too" in caplog.text


def test_a_transfer_set_may_have_other_column_names_and_several_splits(splits: dict[str, str], tmp_path: Path) -> None:
    more = tmp_path / "more"
    more.mkdir()
    write(more, "a.csv", "sentence,label\nthe rate,money\n")
    write(more, "b.csv", "sentence,label,size\nthe cast,film,3\n")
    data = prepared(splits, unlabelled=[str(more)])
    assert (data.train["text"][-2:], data.train["label"][-2:]) == (["the rate", "the cast"], [-100, -100])
    pairs = write(tmp_path, "pairs.csv", "one,two,label\na,b,film\nc,d,money\n")
    with pytest.raises(DistillationError, match=r"must have the text columns \['one', 'two'\], but it has \['text'\]"):
        prepared({"train": pairs}, text_columns=["one", "two"], unlabelled=[write(tmp_path, "c.txt", "the fund\n")])


STARS = tuple(f"{number} star" for number in range(1, 6))


@pytest.mark.parametrize(
    ("ids", "names", "warning"),
    [
        ((1, 2, 3, 4), STARS, "1 means '2 star'"),
        ((2, 3, 4), STARS, "2 means '3 star'"),
        ((0, 1, 2, 3, 4), STARS, None),  # there is no star 0
        ((1, 2), TOPICS, f"1 means {TOPICS[1]!r}"),
        ((0, 1, 2), TOPICS, None),
        ((2,), TOPICS, None),
        ((0, 1), ("class 0", "class 1"), None),
    ],
)
def test_ids_that_may_be_one_off_are_said(
    tmp_path: Path, ids: tuple[int, ...], names: tuple[str, ...], warning: str | None, caplog: Any
) -> None:
    rows = [{"text": f"text {index}", "label": ids[index % len(ids)]} for index in range(30)]
    data = prepared(write_rows(tmp_path, "rows.jsonl", *rows), names)
    assert tuple(data.id_names) == names
    assert ("positions counted from 0" in caplog.text) == (warning is not None)
    assert (warning or "") in caplog.text


def test_ids_mean_what_the_data_says(tmp_path: Path) -> None:
    rows = [{"text": f"text {index}", "label": index % 3} for index in range(20)]
    path = write_rows(tmp_path, "rows.jsonl", *rows)
    assert tuple(prepared(path, label_names=[*reversed(TOPICS)]).id_names) == tuple(reversed(TOPICS))


def test_messages_quote_only_the_beginning_of_long_things(tmp_path: Path) -> None:
    article = "all the news that fit " * 1000
    header_less = write(tmp_path, "a.csv", f'"{article}","{article[1:]}",film\n"a","b",film\n')
    many = write_rows(tmp_path, "b.jsonl", *({"text": f"text {i}", "label": f"name {i}"} for i in range(20_000)))
    for source in (header_less, many):
        with pytest.raises(DistillationError) as raised:
            prepared(source)
        assert len(str(raised.value)) < 1500
    assert shown(["a", "b"]) == "['a', 'b']"
    assert shown("a" * 50 + "b" * 50, 30) == f"'{'a' * 19} … {'b' * 7}'"
    assert re.fullmatch(r"\['a+ … a+',.*, … and 99\d more\]", shown(["a" * 50] * 1000, 20))
