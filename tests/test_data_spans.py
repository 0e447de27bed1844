"""Words with tags as people have them: CoNLL files, and entities by the characters of a text."""

import gzip
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distilnlp.errors import DistillationError
from distilnlp.tasks import TOKEN_ROWS
from distilnlp.tasks.token_classification.spans import Span, split_words, tags_of
from tests.test_data import prepare, write, write_rows

TWO = "Ada\tB-PER\nlives\tO\nin\tO\nParis\tB-LOC\n\nNothing\tO\nhere\tO\n"
FOUR = (
    "-DOCSTART- -X- -X- O\n\nAda NNP B-NP I-PER\nlives VBZ B-VP O\n\n"
    "in IN B-PP O\nNew NNP B-NP I-LOC\nYork NNP I-NP I-LOC\n"
)
PIECES = st.tuples(st.text("abé東ん😀-. ", min_size=1, max_size=8), st.sampled_from(["", "PER", "LOC"]))
ADA = {"text": "Ada lives in Paris.", "words": ["Ada", "lives", "in", "Paris", "."]}
TAGS = ["B-PER", "O", "O", "B-LOC", "O"]


def tags(source: Any, **options: Any) -> tuple[list[list[str]], list[list[str]]]:
    """Return the words and the tags, by name, that are read."""
    data = prepare(TOKEN_ROWS, {"train": source, "test": source}, **options)
    names = [*data.label_names, "–"]  # the last for -100
    return data.train["words"][:], [[names[max(tag, -1)] for tag in row] for row in data.train["label"][:]]


# ---- CoNLL ----


@pytest.mark.parametrize("name", ["a.conll", "a.txt", "a.bio", "a.iob"])
def test_two_columns(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        words, found = tags(write(tmp_path, name, TWO))
    assert words == [["Ada", "lives", "in", "Paris"], ["Nothing", "here"]]
    assert found == [["B-PER", "O", "O", "B-LOC"], ["O", "O"]]
    assert "2 sentences of 6 words" in caplog.text


def test_four_columns_with_documents_in_the_first_scheme(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        words, found = tags(write(tmp_path, "train.txt", FOUR))
    assert words == [["Ada", "lives"], ["in", "New", "York"]]
    assert found == [["I-PER", "O"], ["O", "I-LOC", "I-LOC"]]  # kept as they are
    assert "the 2 columns between are not read" in caplog.text


@pytest.mark.parametrize("scheme", [("B-PER", "E-PER"), ("B-PER", "L-PER", "U-LOC"), ("B_PER", "M_PER", "E_PER")])
def test_other_schemes_are_kept(tmp_path: Path, scheme: tuple[str, ...]) -> None:
    lines = "".join(f"word{index} {tag}\n" for index, tag in enumerate([*scheme, "O"]))
    assert tags(write(tmp_path, "a.conll", f"{lines}\n{lines}"))[1] == [[*scheme, "O"]] * 2


def test_comments_carriage_returns_words_of_one_mark_and_compression(tmp_path: Path) -> None:
    text = "# id 1 domain=en\r\nAda _ _ B-PER\r\n# _ _ O\r\n\r\n# id 2 domain=en\r\nHere _ _ O\r\n"
    path = tmp_path / "a.conll.gz"
    path.write_bytes(gzip.compress(text.encode()))
    assert tags(str(path)) == ([["Ada", "#"], ["Here"]], [["B-PER", "O"], ["O"]])


def test_a_text_file_of_texts_stays_one(tmp_path: Path) -> None:
    data = prepare(
        TOKEN_ROWS,
        {name: write(tmp_path, f"{name}.conll", TWO) for name in ("train", "test")},
        unlabelled=[write(tmp_path, "more.txt", "a film B-PER\n\nanother one O here\n")],
    )
    assert data.train["words"][2:] == [["a", "film", "B-PER"], ["another", "one", "O", "here"]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Ada B-PER\nlives O extra\n\nhere O\n", "line 2 of .* has 3 fields.*expected 2"),
        ("Ada\nlives\n\nhere\n", "line 1 of .* has 1 fields"),
        ("Ada B-PER\nlives L-PER\nin M-LOC\n\nhere O\n", "of two schemes"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        tags(write(tmp_path, "a.conll", text))


# ---- Entities by characters ----

TOOLS: dict[str, Any] = {
    "doccano, older": {"text": ADA["text"], "labels": [[13, 18, "LOC"], [0, 3, "PER"]]},
    "doccano": {
        "text": ADA["text"],
        "entities": [
            {"id": 1, "label": "PER", "start_offset": 0, "end_offset": 3},
            {"id": 2, "label": "LOC", "start_offset": 13, "end_offset": 18},
        ],
        "relations": [],
    },
    "Label Studio": {
        "data": {"text": ADA["text"]},
        "annotations": [
            {
                "was_cancelled": False,
                "result": [
                    {"type": "labels", "value": {"start": 13, "end": 18, "text": "Paris", "labels": ["LOC"]}},
                    {"type": "labels", "value": {"start": 0, "end": 3, "text": "Ada", "labels": ["PER"]}},
                ],
            }
        ],
    },
    "Label Studio, JSON-MIN": {
        "text": ADA["text"],
        "label": [
            {"start": 0, "end": 3, "text": "Ada", "labels": ["PER"]},
            {"start": 13, "end": 18, "text": "Paris", "labels": ["LOC"]},
        ],
    },
    "Prodigy": {
        "text": ADA["text"],
        "tokens": [{"text": word.text, "start": word.start, "end": word.end} for word in split_words(ADA["text"])],
        "spans": [{"start": 0, "end": 3, "label": "PER"}, {"start": 13, "end": 18, "label": "LOC"}],
        "answer": "accept",
    },
}


@pytest.mark.parametrize("tool", TOOLS)
def test_what_tools_export(tmp_path: Path, tool: str) -> None:
    path = write(tmp_path, "a.json", json.dumps([TOOLS[tool], TOOLS[tool]]))
    assert tags(path) == ([ADA["words"]] * 2, [TAGS] * 2)


def test_rows_without_entities_and_rows_that_nobody_looked_at(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [TOOLS["doccano"], {"text": "Nothing here", "entities": []}, {"text": "Who knows", "entities": None}]
    assert tags(write_rows(tmp_path, "a.jsonl", *rows))[1] == [TAGS, ["O", "O"], ["–", "–"]]
    studio = [TOOLS["Label Studio"], {"data": {"text": "Who knows"}, "annotations": []}]
    assert tags(write(tmp_path, "b.json", json.dumps(studio)))[1] == [TAGS, ["–", "–"]]
    prodigy = [TOOLS["Prodigy"], {**TOOLS["Prodigy"], "answer": "reject"}]
    assert tags(write_rows(tmp_path, "c.jsonl", *prodigy))[1] == [TAGS, ["–"] * 5]
    assert "1 rows were not accepted" in caplog.text


def test_columns_of_other_names(tmp_path: Path) -> None:
    row = {"body": ADA["text"], "found": [[0, 3, "PER"], [13, 18, "LOC"]]}
    path = write_rows(tmp_path, "a.jsonl", row, row)
    assert tags(path, text_columns=["body"], label_column="found") == ([ADA["words"]] * 2, [TAGS] * 2)


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([[13, 17, "LOC"]], "'Pari'.*begins or ends within the word 'Paris'"),
        ([[14, 18, "LOC"]], "within the word 'Paris'"),
        ([[13, 30, "LOC"]], "not in the text, which has 19 characters"),
        ([[18, 13, "LOC"]], "not in the text"),
        ([[0, 3, "PER"], [0, 9, "PER"]], "overlaps another"),
    ],
)
def test_entities_that_do_not_fit_their_text_are_refused(tmp_path: Path, spans: Any, message: str) -> None:
    path = write_rows(tmp_path, "a.jsonl", {"text": ADA["text"], "labels": spans})
    with pytest.raises(DistillationError, match=message):
        tags(path)


def test_annotations_of_one_row_that_differ_are_refused(tmp_path: Path) -> None:
    row = json.loads(json.dumps(TOOLS["Label Studio"]))
    row["annotations"] += [{"was_cancelled": False, "result": row["annotations"][0]["result"][:1]}]
    with pytest.raises(DistillationError, match="annotated 2 times"):
        tags(write(tmp_path, "a.json", json.dumps([row])))
    row["annotations"][1]["was_cancelled"] = True
    assert tags(write(tmp_path, "b.json", json.dumps([row])))[1] == [TAGS]


@given(
    st.lists(
        st.tuples(st.text("abé東ん😀-. ", min_size=1, max_size=8), st.sampled_from(["", "PER", "LOC"])), max_size=6
    )
)
def test_entities_of_whole_words_come_back(pieces: list[tuple[str, str]]) -> None:
    text, spans = "", []
    for piece, kind in pieces:
        if kind and piece.strip():
            spans.append(Span(len(text), len(text) + len(piece), kind))
        text += f"{piece} "
    words = split_words(text)
    found = tags_of(words, spans, text, 0)
    assert "".join(word.text for word in words) == text.replace(" ", "")
    assert all(text[word.start : word.end] == word.text for word in words)
    begun = [tag[2:] for tag in found if tag.startswith("B-")]
    assert begun == [span.type for span in spans]
    for span in spans:
        inside = [tag for word, tag in zip(words, found, strict=True) if span.start <= word.start < span.end]
        assert inside == [f"B-{span.type}", *[f"I-{span.type}"] * (len(inside) - 1)]
