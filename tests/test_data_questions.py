"""Question rows: every window of a context, and where the answer is in it."""

import json
import logging
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, Features
from hypothesis import given
from hypothesis import strategies as st
from transformers import ByT5Tokenizer

from distilnlp.data import labelled_rows
from distilnlp.errors import DistillationError
from distilnlp.tasks import QUESTION_ROWS
from tests.test_data import config, prepare, write, write_rows
from tests.test_data_tokens import LETTERS, byte_tokenizer, letter_tokenizer
from tests.tiny import tiny_tokenizer

TOKENIZERS = {"letters": letter_tokenizer(), "bytes": byte_tokenizer()}


def row(question: str, context: str, *answers: tuple[str, int]) -> dict[str, Any]:
    texts, starts = [text for text, _ in answers], [start for _, start in answers]
    return {"question": question, "context": context, "answers": {"text": texts, "answer_start": starts}}


def both(path: str) -> dict[str, str]:
    return {"train": path, "test": path}


def normalised(*rows: dict[str, Any]) -> Dataset:
    columns = {name: [row[name] for row in rows] for name in ("question", "context")}
    columns["answers"] = [row["answers"]["text"] for row in rows]
    columns["answer_starts"] = [row["answers"]["answer_start"] for row in rows]
    return Dataset.from_dict(columns, features=Features(QUESTION_ROWS.features))


def encode(rows: Dataset, max_length: int, stride: int, tokenizer: Any = None, for_evaluation: bool = True) -> Dataset:
    tokenizer, own = tokenizer or tiny_tokenizer(), config(stride=stride)
    return QUESTION_ROWS.encode(rows, tokenizer, max_length, "", config=own, for_evaluation=for_evaluation)


@st.composite
def questions(draw: st.DrawFn) -> dict[str, Any]:
    """A question, a context of words between white space, and some of its words as the answer."""
    word = st.text(LETTERS, min_size=1, max_size=5)
    words = draw(st.lists(word, min_size=1, max_size=25))
    gaps = draw(st.lists(st.sampled_from([" ", "  ", "\n", " \t"]), min_size=len(words), max_size=len(words)))
    first = draw(st.integers(0, len(words) - 1))
    last = draw(st.integers(first, min(first + 3, len(words) - 1)))
    starts = [sum(len(part) for part in [*words[:i], *gaps[:i]]) for i in range(len(words))]
    context = "".join(part for pair in zip(words, gaps, strict=True) for part in pair)
    answer = context[starts[first] : starts[last] + len(words[last])]
    return row(" ".join(draw(st.lists(word, min_size=1, max_size=3))), context, (answer, starts[first]))


@pytest.mark.parametrize("kind", TOKENIZERS)
@given(rows=st.lists(questions(), min_size=1, max_size=3), room=st.integers(1, 25), stride=st.integers(0, 20))
def test_windows_say_where_the_answer_is(kind: str, rows: list[dict[str, Any]], room: int, stride: int) -> None:
    tokenizer = TOKENIZERS[kind]
    longest = max(len(tokenizer(row["question"])["input_ids"]) for row in rows) + 1
    encoded = encode(normalised(*rows), longest + stride + room, stride, tokenizer)
    found: dict[int, bool] = {}
    for window in encoded:
        context, (answer,) = window["context"], window["answers"]
        begin = rows[window["example"]]["answers"]["answer_start"][0]
        visible = [span for span, own in zip(window["offsets"], window["context_mask"], strict=True) if own]
        is_whole = visible[0][0] <= begin and begin + len(answer) <= visible[-1][1]
        first, last = window["start_positions"], window["end_positions"]
        assert (first > 0) == (last > 0) == is_whole
        if is_whole:
            assert context[window["offsets"][first][0] : window["offsets"][last][1]].strip() == answer
        found[window["example"]] = found.get(window["example"], False) or is_whole
    for number, own in enumerate(rows):
        pieces = tokenizer(own["answers"]["text"][0], add_special_tokens=False)["input_ids"]
        # Windows share `stride` tokens, so an answer of one token more is whole in one of them. Bytes: a space more.
        if len(pieces) + (kind == "bytes") <= stride:
            assert found[number]


@given(rows=st.lists(questions(), min_size=1, max_size=3), room=st.integers(1, 10), stride=st.integers(0, 10))
def test_windows_hold_the_whole_question_and_together_the_whole_context(
    rows: list[dict[str, Any]], room: int, stride: int
) -> None:
    tokenizer = TOKENIZERS["letters"]
    longest = max(len(tokenizer(row["question"])["input_ids"]) for row in rows) + 1
    encoded = encode(normalised(*rows), longest + stride + room, stride, tokenizer)
    for number, own in enumerate(rows):
        windows = [window for window in encoded if window["example"] == number]
        question = tokenizer(own["question"])["input_ids"]
        texts = []
        for window in windows:
            context = [i for i, own in zip(window["input_ids"], window["context_mask"], strict=True) if own]
            assert window["input_ids"] == [*question, *context, tokenizer.sep_token_id]
            assert window["length"] == len(window["input_ids"]) <= longest + stride + room
            texts.append(context)
        whole = texts[0]
        for previous, text in pairwise(texts):
            assert previous[len(previous) - stride :] == text[:stride]
            whole = whole + text[stride:]
        assert whole == tokenizer(own["context"], add_special_tokens=False)["input_ids"]


def test_training_rows_are_the_evaluation_rows_without_what_scores_them() -> None:
    rows = normalised(row("the film", "a stock match goal bank plot", ("goal bank", 14)), row("a", "the bank"))
    plain, full = encode(rows, 9, 1, for_evaluation=False), encode(rows, 9, 1)
    names = ["input_ids", "token_type_ids", "attention_mask", "context_mask", "start_positions", "end_positions"]
    assert plain.column_names == [*names, "example", "length"]
    assert set(full.column_names) == {*plain.column_names, "offsets", "context", "answers"}
    assert full.select_columns(plain.column_names)[:] == plain[:]
    assert full["example"] == [0, 0, 1]
    assert (full["start_positions"], full["end_positions"]) == ([0, 4, -100], [0, 5, -100])
    assert full["answers"] == [["goal bank"], ["goal bank"], []]
    assert full["offsets"][2] == [[0, 0], [0, 0], [0, 0], [0, 3], [4, 8], [0, 0]]
    assert full["context_mask"][2] == [0, 0, 0, 1, 1, 0]


def test_the_first_of_several_answers_is_trained_on() -> None:
    rows = normalised(row("the film", "a stock match goal", ("match", 8), ("stock match", 2)))
    (window,) = encode(rows, 20, 1)
    assert (window["start_positions"], window["end_positions"]) == (6, 6)
    assert window["answers"] == ["match", "stock match"]


def test_white_space_at_the_ends_of_an_answer_belongs_to_no_token() -> None:
    rows = normalised(
        row("the", "a stock match goal", (" stock ", 1)), row("the", " stock match ", (" stock match ", 0))
    )
    encoded = encode(rows, 20, 1)
    assert encoded["start_positions"] == [4, 3]
    assert encoded["end_positions"] == [4, 4]


def test_an_answer_between_punctuation_is_its_own_tokens() -> None:
    rows = normalised(row("ace", "a,bad.", ("bad", 2)), row("ace", "a.bad face,", ("bad face", 2)))
    for tokenizer in TOKENIZERS.values():
        for window, text in zip(encode(rows, 30, 1, tokenizer), ("bad", "bad face"), strict=True):
            tokens = window["input_ids"][window["start_positions"] : window["end_positions"] + 1]
            assert tokenizer.decode(tokens) == text


def test_nested_and_flat_files_say_the_same(tmp_path: Path) -> None:
    answer = {"text": "film", "answer_start": 4}
    asked = [
        {"id": "1", "question": "what?", "answers": [answer, answer]},
        {"id": "2", "question": "where?"},
        {"id": "3", "question": "who?", "answers": []},
    ]
    article = {"title": "t", "paragraphs": [{"context": "the film", "qas": asked}, {"context": "a bank", "qas": []}]}
    nested = write(tmp_path, "train-v1.1.json", json.dumps({"version": "1.1", "data": [article, article]}))
    indented = write(tmp_path, "indented.json", json.dumps({"version": "1.1", "data": [article, article]}, indent=1))
    unknown = {**row("where?", "the film"), "answers": None}
    flat = [row("what?", "the film", ("film", 4), ("film", 4)), unknown, row("who?", "the film")]
    lines = write_rows(tmp_path, "flat.jsonl", *flat, *flat)
    expected = prepare(QUESTION_ROWS, both(lines))
    assert expected.labelled["answers"] == [["film", "film"], [""]] * 2
    for path in (nested, indented):
        data = prepare(QUESTION_ROWS, {"train": path, "test": lines}, unlabelled=[path])
        assert data.train[:6] == expected.train[:]
        assert data.train["answers"][6:] == [[]] * 6  # a transfer set has no answers


def test_a_file_of_questions_is_enough(tmp_path: Path) -> None:
    asked = [{"id": "1", "question": f"what {i}?", "answers": [{"text": "film", "answer_start": 4}]} for i in range(10)]
    nested = {"data": [{"paragraphs": [{"context": "the film", "qas": asked}]}]}
    data = prepare(QUESTION_ROWS, write(tmp_path, "train-v1.1.json", json.dumps(nested)))
    assert (len(data.train), len(data.test), data.label_names) == (8, 2, [])


def test_a_nested_file_that_lacks_a_part_is_named(tmp_path: Path) -> None:
    path = write_rows(tmp_path, "a.json", {"data": [{"paragraphs": [{"context": "the film"}]}]})
    with pytest.raises(DistillationError, match=r"expected a file in the form of SQuAD.*KeyError 'qas'"):
        prepare(QUESTION_ROWS, both(path))
    plain = write_rows(tmp_path, "b.jsonl", {**row("what?", "the film", ("film", 4)), "data": "mine"})
    assert len(prepare(QUESTION_ROWS, both(plain)).train) == 1


def test_articles_may_be_rows(tmp_path: Path) -> None:
    asked = [{"question": "what?", "answers": [{"text": "film", "answer_start": 4}]}]
    path = write_rows(tmp_path, "a.jsonl", {"title": "t", "paragraphs": [{"context": "the film", "qas": asked}]})
    assert prepare(QUESTION_ROWS, both(path)).train["question"] == ["what?"]


def test_a_question_without_an_answer_is_learned_and_one_that_nobody_knows_is_not(tmp_path: Path, caplog: Any) -> None:
    unknown = {**row("where?", "the film"), "answers": None}
    path = write_rows(tmp_path, "a.jsonl", row("what?", "the film", ("film", 4)), row("who?", "the film"), unknown)
    with caplog.at_level(logging.INFO):
        data = prepare(QUESTION_ROWS, both(path))
    assert "1 questions have no answer in their context" in caplog.text
    assert data.train["answers"][:] == [["film"], [""], []]
    encoded = encode(data.train, 20, 1, for_evaluation=False)
    assert encoded["start_positions"] == [5, 0, -100]
    assert encoded["end_positions"] == [5, 0, -100]
    assert encoded["context_mask"] == [[1, 0, 0, 0, 1, 1, 0]] * 3  # the first token is an answer too
    assert labelled_rows(encoded, QUESTION_ROWS)["example"] == [0, 1]
    without = encode(data.train.select([0, 2]), 20, 1, for_evaluation=False)
    assert without["context_mask"] == [[0, 0, 0, 0, 1, 1, 0]] * 2


def test_where_all_lists_of_answers_are_empty_they_are_hidden(tmp_path: Path) -> None:
    path = write_rows(tmp_path, "a.jsonl", row("what?", "the film", ("film", 4)), row("who?", "the film"))
    folder = tmp_path / "splits"
    folder.mkdir()
    for split in ("train", "validation"):
        write(folder, f"{split}.jsonl", Path(path).read_text())
    write_rows(folder, "test.jsonl", row("who?", "the film"), row("where?", "the film"))
    assert prepare(QUESTION_ROWS, str(folder)).test["question"] == ["what?", "who?"]  # the validation split


def test_a_transfer_set_has_questions_and_contexts(tmp_path: Path) -> None:
    path = write_rows(tmp_path, "a.jsonl", row("what?", "the film", ("film", 4)))
    more = write_rows(tmp_path, "b.jsonl", {"question": "who?", "context": "a bank"})
    data = prepare(QUESTION_ROWS, both(path), unlabelled=[more])
    assert (data.train["context"], len(data.labelled)) == (["the film", "a bank"], 1)
    text = write(tmp_path, "c.txt", "a bank\n")
    with pytest.raises(DistillationError, match=r"c\.txt must have the text columns \['question', 'context'\]"):
        prepare(QUESTION_ROWS, both(path), unlabelled=[text])


def test_other_columns_are_named(tmp_path: Path) -> None:
    content = {"q": "what?", "c": "the film", "a": [{"text": "film", "answer_start": 4}]}
    path = write_rows(tmp_path, "a.jsonl", content)
    data = prepare(QUESTION_ROWS, both(path), text_columns=["q", "c"], label_column="a")
    assert data.test[:] == {
        "question": ["what?"],
        "context": ["the film"],
        "answers": [["film"]],
        "answer_starts": [[4]],
    }
    with pytest.raises(DistillationError, match=r"names \['q'\]. Name both, the question first"):
        prepare(QUESTION_ROWS, both(path), text_columns=["q"], label_column="a")
    with pytest.raises(DistillationError, match="names the column 'question', but the data has"):
        prepare(QUESTION_ROWS, both(path), label_column="a")


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (
            {"text": ["bank"], "answer_start": [4]},
            "question 'what\\?' the answer is 'bank' and at 4 the context has 'film'",
        ),
        ({"text": ["film"], "answer_start": [-4]}, "at -4 the context has ''"),
        ({"text": ["film"], "answer_start": [None]}, "at None the context has ''"),
        ({"text": [" "], "answer_start": [3]}, "the answer is ' '"),
        ({"text": ["film", "the"], "answer_start": [4]}, "'what\\?' has 2 answers and 1 starts"),
        ("film", r"must hold answers in the form of SQuAD, \{'text'.*but it holds Value"),
        ({"text": ["film"]}, "must hold answers in the form of SQuAD"),
        ({"text": ["film"], "answer_start": ["4"]}, "its answer_start a whole number, but the answers are.*'4'"),
        ({"text": ["film"], "answer_start": [4.5]}, "its answer_start a whole number, but the answers are.*4.5"),
        ({"text": [4], "answer_start": [4]}, "an answer must be a text"),
        ([{"text": ["film"], "answer_start": [4]}], "an answer must be a text"),
    ],
)
def test_answers_that_cannot_be_are_named(tmp_path: Path, answers: Any, message: str) -> None:
    path = write_rows(tmp_path, "a.jsonl", {"question": "what?", "context": "the film", "answers": answers})
    with pytest.raises(DistillationError, match=message):
        prepare(QUESTION_ROWS, both(path))


@pytest.mark.parametrize(
    "answers",
    [
        {"text": "film", "answer_start": 4},
        {"text": ["film"], "answer_start": [4.0]},
        [{"text": "film", "answer_start": 4.0}],
    ],
)
def test_one_answer_needs_no_list(tmp_path: Path, answers: Any) -> None:
    asked = {"question": "what?", "answers": answers}
    flat = write_rows(tmp_path, "flat.jsonl", {**asked, "context": "the film"})
    nested = write_rows(tmp_path, "nested.json", {"data": [{"paragraphs": [{"context": "the film", "qas": [asked]}]}]})
    for path in (flat, nested):
        train = prepare(QUESTION_ROWS, both(path)).train
        assert (train["answers"], train["answer_starts"]) == ([["film"]], [[4]])


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ("film", "expected a file in the form of SQuAD"),
        (3, "expected a file in the form of SQuAD"),
        ([{"text": "film", "answer_start": 4.5}], "its answer_start a whole number"),
    ],
)
def test_answers_of_a_nested_file_that_cannot_be_are_named(tmp_path: Path, answers: Any, message: str) -> None:
    asked = [{"question": "what?", "answers": answers}]
    path = write_rows(tmp_path, "a.json", {"data": [{"paragraphs": [{"context": "the film", "qas": asked}]}]})
    with pytest.raises(DistillationError, match=message):
        prepare(QUESTION_ROWS, both(path))


def test_a_stride_that_leaves_no_room_is_refused() -> None:
    rows = normalised(row("the", "a stock"), row("the film a bank", "a stock match goal"))
    message = r"it is 3, and beside a question of 4 tokens, 'the film a bank', 10 tokens leave 3\. Lower data\.stride"
    with pytest.raises(DistillationError, match=message):
        encode(rows, 10, 3)
    assert len(encode(rows, 10, 2)) == 3
    with pytest.raises(DistillationError, match="5 tokens leave 0"):
        encode(rows, 5, 0)


def test_a_slow_tokenizer_is_refused() -> None:
    with pytest.raises(DistillationError, match="question answering needs to know which characters"):
        encode(normalised(row("the", "a")), 20, 1, ByT5Tokenizer())


@pytest.mark.parametrize("name", ["answer_text", "answer"])
def test_answers_in_columns_of_their_own(tmp_path: Path, name: str) -> None:
    text = f"question,context,{name},answer_start\nwhat?,the film,film,4\nwho?,the film,,-1\nwhen?,the film,,\n"
    data = prepare(QUESTION_ROWS, both(write(tmp_path, "a.csv", text)))
    assert (data.train["answers"][:], data.train["answer_starts"][:]) == ([["film"], [""], []], [[4], [-1], []])


def test_answers_as_text_in_a_csv_file(tmp_path: Path) -> None:
    written = "\"{'text': ['film'], 'answer_start': [4]}\""
    none = "\"{'text': [], 'answer_start': []}\""
    text = f"question,context,answers\nwhat?,the film,{written}\nwho?,the film,{none}\n"
    assert prepare(QUESTION_ROWS, both(write(tmp_path, "a.csv", text))).train["answers"][:] == [["film"], [""]]


@pytest.mark.parametrize("answers", [[], [{"text": "", "answer_start": -1}]])
def test_a_file_of_squad_2_says_which_questions_are_impossible(tmp_path: Path, answers: list[Any]) -> None:
    asked = [
        {"question": "what?", "answers": [{"text": "film", "answer_start": 4}], "is_impossible": False},
        {"question": "who?", "answers": answers, "is_impossible": True, "plausible_answers": []},
    ]
    nested = {"version": "v2.0", "data": [{"paragraphs": [{"context": "the film", "qas": asked}]}]}
    data = prepare(QUESTION_ROWS, both(write(tmp_path, "train-v2.0.json", json.dumps(nested))))
    assert data.train["answers"][:] == [["film"], [""]]


@pytest.mark.parametrize(
    ("start", "how"),
    [(4, "from 1"), (5, "in bytes of UTF-8"), (6, ""), (-2, "")],
)
def test_another_count_of_characters_is_told(tmp_path: Path, start: int, how: str) -> None:
    context = "éé film, then more"
    path = write_rows(tmp_path, "a.jsonl", row("what?", context, ("film", start)))
    with pytest.raises(DistillationError, match=f"counted {how}" if how else r"the context has .*'\. Correct"):
        prepare(QUESTION_ROWS, both(path))


def test_units_of_utf_16_are_told(tmp_path: Path) -> None:
    path = write_rows(tmp_path, "a.jsonl", row("what?", "😀😀 the film", ("film", 9)))
    with pytest.raises(DistillationError, match="in units of UTF-16"):
        prepare(QUESTION_ROWS, both(path))
