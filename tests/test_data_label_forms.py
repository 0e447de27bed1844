"""Labels as people write them: columns of 0 and 1, names in one text, lists in a CSV file, letters of choices."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilnlp.errors import DistillationError
from distilnlp.tasks import CHOICE_ROWS, MULTI_LABEL_ROWS, TOKEN_ROWS
from tests.test_data import prepare, write, write_rows

TOXIC = ("toxic", "insult", "threat")
WANTED = [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]


def both(path: str) -> dict[str, str]:
    return {"train": path, "test": path}


def targets(path: str, names: tuple[str, ...] | None = TOXIC, **options: Any) -> list[list[float]]:
    return prepare(MULTI_LABEL_ROWS, both(path), names, **options).train["label"][:]


# ---- Several labels a row ----


def test_one_column_a_label(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path, "a.csv", "id,text,toxic,insult,threat\n7,a,1,1,0\n8,b,0,0,1\n9,c,1,0,0\n")
    with caplog.at_level(logging.INFO):
        assert targets(path) == WANTED
    assert "'toxic', 'insult', 'threat'] are read as labels" in caplog.text
    assert targets(path, ("threat", "insult", "toxic")) == [row[::-1] for row in WANTED]
    data = prepare(MULTI_LABEL_ROWS, both(path))  # a teacher that is yet to be trained
    assert (data.label_names, data.train["label"][:]) == ([*TOXIC], WANTED)


@pytest.mark.parametrize("values", [(True, False), (1.0, 0.0)])
def test_columns_of_other_numbers_and_of_unknown_targets(tmp_path: Path, values: tuple[Any, Any]) -> None:
    yes, no = values
    rows = [
        {"text": "a", "toxic": yes, "insult": yes, "threat": no},
        {"text": "b", "toxic": no, "insult": None, "threat": yes},
    ]
    made = targets(write_rows(tmp_path, "a.jsonl", *rows))
    assert made[0] == [1.0, 1.0, 0.0]
    assert made[1][::2] == [0.0, 1.0]
    assert np.isnan(made[1][1])


def test_label_names_say_which_columns_are_labels(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,toxic,insult,is_reply\na,1,1,0\nb,0,0,1\n")
    names = ["insult", "toxic"]
    data = prepare(MULTI_LABEL_ROWS, both(path), label_names=names)
    assert (data.label_names, data.train["label"][:]) == (names, [[1, 1], [0, 0]])
    assert prepare(MULTI_LABEL_ROWS, both(path)).label_names == ["toxic", "insult", "is_reply"]
    with pytest.raises(DistillationError, match="is_reply"):  # neither the teacher nor the recipe knows it
        targets(path, ("toxic", "insult", "threat"))


def test_one_column_alone_is_no_set_of_labels(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,toxic\na,1\nb,0\n")
    with pytest.raises(DistillationError, match="no split has the label column"):
        targets(path, None)
    assert prepare(MULTI_LABEL_ROWS, both(path), label_names=["toxic"]).train["label"][:] == [[1], [0]]


def test_an_object_of_targets(tmp_path: Path) -> None:
    rows = [{"text": "a", "labels": dict(zip(TOXIC, map(int, row), strict=True))} for row in WANTED]
    path = write_rows(tmp_path, "a.jsonl", *rows)
    assert targets(path) == WANTED
    assert targets(path, ("threat", "toxic")) == [[row[2], row[0]] for row in WANTED]
    assert prepare(MULTI_LABEL_ROWS, both(path)).label_names == [*TOXIC]
    unknown = [*rows[:1], {"text": "b", "labels": {"toxic": 2, "insult": 0, "threat": 0}}]
    with pytest.raises(DistillationError, match=r"must be 0 or 1.*row 1.*'toxic'"):
        targets(write_rows(tmp_path, "b.jsonl", *unknown))


@pytest.mark.parametrize("separator", ["|", "; ", ", ", " ,"])
def test_names_in_one_text(tmp_path: Path, separator: str, caplog: pytest.LogCaptureFixture) -> None:
    texts = [separator.join(("toxic", "insult")), "threat", "toxic"]
    path = write_rows(tmp_path, "a.jsonl", *({"text": "a", "labels": text} for text in texts))
    with caplog.at_level(logging.INFO):
        assert targets(path) == WANTED
    assert f"separated by {separator.strip()!r}" in caplog.text
    assert prepare(MULTI_LABEL_ROWS, both(path)).label_names == sorted(TOXIC)


def test_a_separator_that_could_be_several_is_named(tmp_path: Path) -> None:
    rows = [{"text": "a", "labels": "war, conflict|peace"}, {"text": "b", "labels": "peace"}]
    path = write_rows(tmp_path, "a.jsonl", *rows)
    with pytest.raises(DistillationError, match=r"not clear.*'\|' and ','.*data\.label_separator"):
        targets(path, None)
    given = prepare(MULTI_LABEL_ROWS, both(path), label_separator="|")
    assert given.label_names == ["peace", "war, conflict"]
    assert targets(path, ("war, conflict", "peace")) == [[1, 1], [0, 1]]  # the teacher's names decide
    rows[0]["labels"] = "war, conflict"
    path = write_rows(tmp_path, "b.jsonl", *rows)
    assert targets(path, ("war, conflict", "peace")) == [[1, 0], [0, 1]]
    rows[0]["labels"] = "war, conflict, peace"
    path = write_rows(tmp_path, "c.jsonl", *rows)
    with pytest.raises(DistillationError, match=r"names \['war, conflict'\] hold one.*data\.label_separator"):
        targets(path, ("war, conflict", "peace"))


def test_an_empty_text_is_unlabelled_and_a_written_list_is_not(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,labels\na,toxic|insult\nb,\nc,threat\n")
    assert np.isnan(targets(path)[1]).all()
    path = write(tmp_path, "b.csv", 'text,labels\na,"[\'toxic\', \'insult\']"\nb,[]\nc,"[""threat""]"\nd,\n')
    made = targets(path)
    assert made[:3] == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert np.isnan(made[3]).all()


def test_lists_that_numpy_wrote_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "text,labels\na,\"['toxic' 'insult']\"\nb,['threat']\n")
    with pytest.raises(DistillationError, match=r"row 0.*NumPy"):
        targets(path)
    path = write(tmp_path, "b.csv", 'text,labels\na,"[\'toxic\']"\nb,"[3]"\n')
    with pytest.raises(DistillationError, match="several types"):
        targets(path)


def test_words_and_tags_as_lists_in_a_csv_file(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "tokens,ner_tags\n\"['Ada', \"\"isn't\"\", 'in']\",\"['B-PER', 'O', 'O']\"\n")
    data = prepare(TOKEN_ROWS, both(path))
    assert (data.train["words"][:], data.label_names) == ([["Ada", "isn't", "in"]], ["B-PER", "O"])


# ---- Choices ----


def test_choices_in_lettered_columns_and_an_answer(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "question,A,B,C,D,answer\nthe film,a,bank,goal,plot,C\na,x,y,z,w,a\n")
    data = prepare(CHOICE_ROWS, both(path))
    assert (data.train["choices"][0], data.train["label"][:]) == (["a", "bank", "goal", "plot"], [2, 0])
    named = prepare(CHOICE_ROWS, both(path), choice_columns=["A", "B", "C", "D"], label_column="answer")
    assert named.train[:] == data.train[:]


def test_an_answer_may_be_the_text_of_a_choice(tmp_path: Path) -> None:
    rows = [
        {"text": "t", "choices": ["Rome", "Paris"], "label": "Paris"},
        {"text": "t", "choices": ["3", "4"], "label": "4"},
    ]
    path = write_rows(tmp_path, "a.jsonl", *rows)
    assert prepare(CHOICE_ROWS, both(path)).train["label"][:] == [1, 1]
    for choices, answer in ((["B", "A"], "A"), (["1", "0"], "1"), (["a", "a"], "a")):
        path = write_rows(tmp_path, "b.jsonl", {"text": "t", "choices": choices, "label": answer})
        with pytest.raises(DistillationError, match="may be a place or the text"):
            prepare(CHOICE_ROWS, both(path))


def test_choices_written_in_a_csv_file(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "a.csv",
        f'text,choices,label\nthe film,"{json.dumps(["a", "bank"]).replace(chr(34), chr(34) * 2)}",1\n',
    )
    assert prepare(CHOICE_ROWS, both(path)).train["choices"][:] == [["a", "bank"]]
