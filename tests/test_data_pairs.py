"""The same rows by two tokenizers, side by side."""

import pytest
from datasets import Dataset

from distilnlp.data import RowFormat, pair_encodings, same_positions
from distilnlp.errors import DistillationError
from distilnlp.tasks import CHOICE_ROWS, QUESTION_ROWS, SINGLE_LABEL_ROWS, TOKEN_ROWS
from tests.test_data import config
from tests.test_data_questions import normalised, row
from tests.test_data_tokens import byte_tokenizer, letter_tokenizer

TEXTS = Dataset.from_dict({"text": ["bad cab", "a face"], "label": [1, -100]})


def pair(rows: RowFormat, dataset: Dataset, max_length: int = 60, teacher: str = "bytes") -> Dataset:
    own = config(stride=1)
    student, other = letter_tokenizer(), byte_tokenizer() if teacher == "bytes" else letter_tokenizer()
    return pair_encodings(
        rows, *(rows.encode(dataset, tokenizer, max_length, "", config=own) for tokenizer in (student, other))
    )


def test_the_teachers_inputs_stand_beside_the_students() -> None:
    paired = pair(SINGLE_LABEL_ROWS, TEXTS)
    assert "label" in paired.column_names
    assert {name for name in paired.column_names if name.startswith("teacher_")} == {
        f"teacher_{name}" for name in ("input_ids", "attention_mask", "token_type_ids") if name in paired.column_names
    }
    for both, text in zip(paired, TEXTS["text"], strict=True):
        assert both["input_ids"] == letter_tokenizer()(text)["input_ids"]
        assert both["teacher_input_ids"] == byte_tokenizer()(text)["input_ids"]


def test_words_and_contexts_are_marked_for_both() -> None:
    words = Dataset.from_dict({"words": [["bad", "face"]], "label": [[1, 0]]})
    paired = pair(TOKEN_ROWS, words)
    assert sum(paired["word_starts"][0]) == sum(paired["teacher_word_starts"][0]) == 2
    assert "teacher_label" not in paired.column_names
    questions = pair(QUESTION_ROWS, normalised(row("a", "bad face", ("bad", 0))))
    assert len(questions["teacher_context_mask"][0]) == len(questions["teacher_input_ids"][0])
    assert "teacher_start_positions" not in questions.column_names


def test_positions_are_the_same_only_if_every_text_has_as_many_tokens() -> None:
    choices = Dataset.from_dict({"text": ["a"], "choices": [["bad", "hhh"]], "label": [0]})
    for rows, dataset in ((SINGLE_LABEL_ROWS, TEXTS), (CHOICE_ROWS, choices)):
        assert same_positions(pair(rows, dataset, teacher="letters"))
        assert not same_positions(pair(rows, dataset))


def test_rows_that_are_not_the_same_are_refused() -> None:
    student = SINGLE_LABEL_ROWS.encode(TEXTS, letter_tokenizer(), 60, "", config=config())
    with pytest.raises(DistillationError, match="must give the same rows, but they give 2 and 1"):
        pair_encodings(SINGLE_LABEL_ROWS, student, student.select([0]))
    questions = normalised(row("a", "bad"), row("b", "bad"), row("c", "bad"))
    windows = QUESTION_ROWS.encode(questions, letter_tokenizer(), 60, "", config=config(stride=1))
    with pytest.raises(DistillationError, match="must give the same rows"):
        pair_encodings(QUESTION_ROWS, windows.select([0, 1]), windows.select([0, 2]))


def test_windows_of_two_tokenizers_are_refused_unless_they_hold_the_same_tokens() -> None:
    rows = normalised(row("a", "bad face"), row("a", "cab bed head fed ace bad face bad cab hhh hhh hhh hhh"))
    with pytest.raises(DistillationError, match=r"windows of other parts of a context.*shown_windows"):
        pair(QUESTION_ROWS, rows, max_length=16)
    alike = pair(QUESTION_ROWS, rows, max_length=16, teacher="letters")
    assert len(alike) > len(rows)
    assert same_positions(alike)
    assert len(pair(QUESTION_ROWS, rows)) == 2


def test_words_that_begin_at_other_tokens_are_other_positions() -> None:
    rows = Dataset.from_dict(
        {
            "input_ids": [[1, 2, 3]],
            "word_starts": [[1, 1, 0]],
            "teacher_input_ids": [[4, 5, 6]],
            "teacher_word_starts": [[1, 0, 1]],
        }
    )
    assert not same_positions(rows)
    assert same_positions(rows.remove_columns(["word_starts", "teacher_word_starts"]))


def test_words_that_one_encoding_has_no_room_for_are_unmarked_in_both() -> None:
    words = Dataset.from_dict({"words": [["bad", "face", "cab"], ["a"]], "label": [[1, 0, 1], [0]]})
    student = TOKEN_ROWS.encode(words, letter_tokenizer(), 60, "", config=config())
    for short in (6, 8):
        teacher = TOKEN_ROWS.encode(words, letter_tokenizer(), short, "", config=config())
        for both_ways in ((student, teacher), (teacher, student)):
            paired = pair_encodings(TOKEN_ROWS, *both_ways)
            for both, whole in zip(paired, student, strict=True):
                counts = [sum(both[f"{prefix}word_starts"]) for prefix in ("", "teacher_")]
                assert counts[0] == counts[1] <= sum(whole["word_starts"])
    assert [sum(words) for words in student["word_starts"]] == [3, 1]
