"""The collators: padding on the right that is never a label, null that is never one, ragged choices, fresh masks."""

import math
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from distilnlp.errors import DistillationError
from distilnlp.objective import HardLoss
from distilnlp.signals import SignalRequest, token_mask
from distilnlp.tasks import TASKS
from distilnlp.tasks.masked_lm.head import MaskingCollator
from distilnlp.teachers import DistillationCollator, LiveTeacher, OwnEncodingTeacher
from tests.tiny import tiny_tokenizer
from tests.tiny_tasks import (
    CLS,
    FIRST_WORD,
    MASK,
    SEP,
    Row,
    collated,
    signals_of,
    task_rows,
    task_student,
    task_teacher,
)

NAN = math.nan
LABELS = {"label", "labels", "start_positions", "end_positions"}


# ---- Padding and labels ----


def left_padding_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = tiny_tokenizer()
    tokenizer.padding_side = "left"
    return tokenizer


def unmasked_rows(count: int = 4, words: int = 9) -> list[Row]:
    rows = [_inputs_of(words + index) for index in range(count)]
    return [{**row, "special_tokens_mask": [1, *[0] * (len(row["input_ids"]) - 2), 1]} for row in rows]


def _inputs_of(words: int) -> Row:
    ids = [CLS, *[FIRST_WORD + index % 19 for index in range(words)], SEP]
    return {"input_ids": ids, "attention_mask": [1] * len(ids), "length": len(ids)}


@pytest.mark.parametrize("task", [*TASKS, "masked_lm, unmasked"])
def test_rows_are_padded_on_the_right_whatever_the_tokenizer_says(task: str) -> None:
    rows = unmasked_rows() if task not in TASKS else task_rows(task)
    batch = TASKS[task.split(",")[0]].collator(left_padding_tokenizer())(rows)
    masks, ids = token_mask(batch).long(), batch["input_ids"].flatten(0, -2)
    texts = [text for row in rows for text in (row["input_ids"] if task == "multiple_choice" else [row["input_ids"]])]
    present = masks[masks.any(dim=-1)].tolist()
    assert sum(map(sum, present)) == sum(map(len, texts))
    assert any(0 in mask for mask in present), "these rows need padding"
    for mask, padded, text in zip(present, ids[masks.any(dim=-1)].tolist(), texts, strict=True):
        assert mask == [1] * len(text) + [0] * (len(mask) - len(text))
        assert task not in TASKS or padded == text + [0] * (len(mask) - len(text))


def short_rows(**columns: list[Any]) -> list[Row]:
    """Rows of 3, 4, 5... tokens with further columns; a value that is `...` leaves the column out of its row."""
    count = len(next(iter(columns.values())))
    filled = [{name: values[index] for name, values in columns.items()} for index in range(count)]
    return [
        {**_inputs_of(1 + index), **{name: value for name, value in row.items() if value is not ...}}
        for index, row in enumerate(filled)
    ]


@pytest.mark.parametrize(
    ("task", "columns", "expected"),
    [
        ("single_label_classification", {"label": [2, None, -100]}, {"labels": [2, -100, -100]}),
        ("single_label_classification", {"label": [None, None]}, {"labels": [-100, -100]}),
        ("regression", {"label": [0.5, None, NAN, 2]}, {"labels": [0.5, NAN, NAN, 2.0]}),
        ("regression", {"label": [None, None]}, {"labels": [NAN, NAN]}),
        (
            "multi_label_classification",
            {"label": [[1, 0], [None, 1.0], None, [NAN, NAN], [-100, 0]]},
            {"labels": [[1.0, 0.0], [NAN, 1.0], [NAN, NAN], [NAN, NAN], [NAN, 0.0]]},
        ),
        (
            "token_classification",
            {"label": [[-100, 1, -100], None, [-100] * 5], "word_starts": [[0, 1, 0], [0, 1, 1, 0], [0, 1, 0, 1, 0]]},
            {
                "labels": [[-100, 1, -100, -100, -100], [-100] * 5, [-100] * 5],
                "word_starts": [[0, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 0, 1, 0]],
            },
        ),
        (
            "question_answering",
            {"start_positions": [1, -100], "end_positions": [1, -100], "context_mask": [[0, 1, 0], [0, 1, 1, 0]]},
            {"start_positions": [1, -100], "end_positions": [1, -100], "context_mask": [[0, 1, 0, 0], [0, 1, 1, 0]]},
        ),
        (
            "question_answering",
            {"start_positions": [None, 1], "end_positions": [None, 2], "context_mask": [[0, 1, 0], [0, 1, 1, 0]]},
            {"start_positions": [-100, 1], "end_positions": [-100, 2]},
        ),
        ("masked_lm", {"labels": [[-100, 7, -100], [-100] * 4]}, {"labels": [[-100, 7, -100, -100], [-100] * 4]}),
    ],
)
def test_labels_are_padded_and_null_is_no_label(task: str, columns: Row, expected: Row) -> None:
    batch = collated(task, short_rows(**columns))
    for name, values in expected.items():
        assert torch.equal(batch[name].nan_to_num(9.0), torch.tensor(values).nan_to_num(9.0)), name
    for name in ("label", "label_ids"):
        assert name not in batch


@pytest.mark.parametrize("task", ["single_label_classification", "multi_label_classification", "regression"])
def test_null_for_every_row_of_a_batch_is_no_label(task: str) -> None:
    batch = collated(task, short_rows(label=[None, None]))
    value = HardLoss(TASKS[task], 1.0)(signals_of(task_student(task), task, batch), None, batch, None, 1.0)
    value.backward()
    assert HardLoss(TASKS[task], 1.0).count(batch).item() == value.item() == 0


@pytest.mark.parametrize("task", [task for task in TASKS if task != "masked_lm"])
def test_rows_without_label_column_make_a_batch_without_labels(task: str) -> None:
    rows = [{name: value for name, value in row.items() if name not in LABELS} for row in task_rows(task)]
    assert not LABELS & collated(task, rows).keys()


def test_missing_choices_do_not_count_and_are_never_chosen() -> None:
    rows = task_rows("multiple_choice")
    counts = [len(row["input_ids"]) for row in rows]
    batch = collated("multiple_choice", rows)
    assert len(set(counts)) > 1
    assert batch["choice_mask"].dtype == torch.bool
    assert batch["choice_mask"].tolist() == [[index < count for index in range(max(counts))] for count in counts]
    assert token_mask(batch).any(dim=-1).tolist() == batch["choice_mask"].flatten().tolist()
    best = signals_of(task_student("multiple_choice"), "multiple_choice", batch).logits.argmax(dim=-1)
    assert all(index < count for index, count in zip(best.tolist(), counts, strict=True))
    assert batch["labels"].tolist() == [row["label"] for row in rows]
    for index, row in enumerate(rows):
        for choice, text in enumerate(row["input_ids"]):
            assert batch["input_ids"][index, choice, : len(text)].tolist() == text


# ---- Masking ----


def test_words_are_masked_anew_in_every_batch_and_special_tokens_never() -> None:
    rows, collate = unmasked_rows(16, 20), MaskingCollator(tiny_tokenizer(), mask_probability=0.3)
    torch.manual_seed(0)
    one, other = collate(rows), collate(rows)
    original = collated("single_label_classification", rows)["input_ids"]
    chosen = one["labels"] != -100
    assert not torch.equal(chosen, other["labels"] != -100)
    assert torch.equal(one["labels"][chosen], original[chosen])
    assert torch.equal(one["input_ids"][~chosen], original[~chosen])
    assert not chosen[original <= SEP].any()
    assert 0.2 < chosen.sum() / (original > SEP).sum() < 0.4
    assert 0.6 < (one["input_ids"] == MASK).sum() / chosen.sum() < 0.95
    assert "special_tokens_mask" not in one


def test_rows_that_are_masked_already_are_only_padded() -> None:
    rows = task_rows("masked_lm", 2, 2)
    one, other = collated("masked_lm", rows), collated("masked_lm", rows)
    for index, row in enumerate(rows):
        assert one["input_ids"][index, : row["length"]].tolist() == row["input_ids"]
        assert one["labels"][index, : row["length"]].tolist() == row["labels"]
    assert all(torch.equal(one[name], other[name]) for name in one)


# ---- What a collator refuses ----


@pytest.mark.parametrize(
    ("task", "columns", "message"),
    [
        ("regression", {"label": [1.0, "2.5"]}, "must be a number.*'2.5'"),
        ("multi_label_classification", {"label": [[1, 0], [1]]}, r"one 0 or 1 for each label.*\[1, 2\]"),
        ("regression", {"label": [1.0, [2.5]]}, r"must be a number.*\[2.5\]"),
        ("regression", {"label": [1.0, math.inf]}, "finite in float32.*inf"),
        ("regression", {"label": [1.0, 1e39]}, "finite in float32.*inf"),
        ("multi_label_classification", {"label": [[1, 0], [1, 2]]}, r"0 or 1.*\[2.0\]"),
        ("multi_label_classification", {"label": [[1, 0], [0.5, 1]]}, r"0 or 1.*\[0.5\]"),
        ("multi_label_classification", {"label": [1, 0]}, r"list of 0 or 1.*\[1, 0\]"),
        ("multi_label_classification", {"label": ["film", "bank"]}, "list of 0 or 1.*'film'"),
        ("multi_label_classification", {"label": [["1", "0"]]}, "list of 0 or 1.*'1'"),
        ("multi_label_classification", {"label": [[[1], [0]]]}, r"list of 0 or 1.*\[1\]"),
        ("single_label_classification", {"label": ["film"]}, "whole number.*'film'"),
        ("single_label_classification", {"label": [0.5, 1]}, r"whole number.*\[0.5\]"),
        ("single_label_classification", {"label": [NAN, 1]}, r"whole number.*\[nan\]"),
        ("single_label_classification", {"label": [-1, 1]}, r"whole number.*\[-1\]"),
        ("single_label_classification", {"label": [[0], [1]]}, r"whole number.*\[0\]"),
        ("token_classification", {"label": [[-100, None, 1]]}, "labels must be a list of one whole number.*None"),
        ("token_classification", {"label": [[-100, 0.5, 1]]}, "labels must be a list of one whole number.*0.5"),
        ("token_classification", {"label": ["abc"]}, "labels must be a list of one whole number.*'abc'"),
        ("token_classification", {"label": [2]}, r"labels must be a list of one whole number.*\[2\]"),
        ("token_classification", {"word_starts": [None]}, "word_starts must be a list.*None"),
        ("question_answering", {"context_mask": ["011"]}, "context_mask must be a list.*'011'"),
        ("question_answering", {"context_mask": [[0, 1, 1], ...]}, "context_mask must be a list.*None"),
        (
            "question_answering",
            {"start_positions": ["1"], "end_positions": [1]},
            "start_positions must be a whole.*'1'",
        ),
        ("masked_lm", {"labels": ["abc"]}, "labels must be a list of one whole number.*'abc'"),
        ("token_classification", {"label": [[-100, 1]]}, "labels must have one entry for each token.* 3 .* 2 "),
        ("token_classification", {"word_starts": [[0, 1, 0, 0]]}, "word_starts must have one entry.* 3 .* 4 "),
        ("question_answering", {"context_mask": [[0, 1]]}, "context_mask must have one entry.* 3 .* 2 "),
    ],
)
def test_a_label_that_does_not_fit_is_refused(task: str, columns: Row, message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        collated(task, short_rows(**columns))


@pytest.mark.parametrize("task", TASKS)
def test_rows_that_were_never_tokenised_are_refused(task: str) -> None:
    with pytest.raises(DistillationError, match=r"needs `input_ids`, but a row has only \['label'\]. Tokenise"):
        collated(task, [{"label": 0}])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": 2}, "one of its row's choices.* has 2"),
        ({"label": "a"}, "whole number.*'a'"),
        ({"label": -1}, r"whole number.*\[-1\]"),
        ({"attention_mask": [[1, 1]]}, "'input_ids': 2, 'attention_mask': 1"),
        ({"attention_mask": [[1, 1]] * 3}, "'input_ids': 2, 'attention_mask': 3"),
        ({"input_ids": [CLS, SEP]}, "each a list of token ids"),
        ({"input_ids": [[CLS, SEP]], "attention_mask": [[1, 1]]}, "two choices or more"),
        ({"input_ids": [], "attention_mask": []}, "two choices or more"),
    ],
)
def test_choices_that_do_not_fit_are_refused(change: Row, message: str) -> None:
    row = {"input_ids": [[CLS, SEP]] * 2, "attention_mask": [[1, 1]] * 2, "label": 0}
    three = {"input_ids": [[CLS, SEP]] * 3, "attention_mask": [[1, 1]] * 3, "label": 2}
    assert collated("multiple_choice", [row, three])["labels"].tolist() == [0, 2]
    with pytest.raises(DistillationError, match=message):
        collated("multiple_choice", [{**row, **change}, three])


def test_targets_for_too_few_labels_are_not_spread_over_the_others() -> None:
    task = "multi_label_classification"
    for label in ([1], [1, 0]):
        batch = collated(task, short_rows(label=[label, label]))
        with pytest.raises(DistillationError, match=rf"model's 3 labels, but the rows have {len(label)}"):
            HardLoss(TASKS[task], 1.0)(signals_of(task_student(task), task, batch), None, batch, None, 1.0)


def test_masking_needs_a_mask_token() -> None:
    for tokenizer in (None, tiny_tokenizer()):
        if tokenizer is not None:
            tokenizer.mask_token = None
        with pytest.raises(DistillationError, match="mask token"):
            MaskingCollator(tokenizer)


# ---- Two tokenizers ----


def with_teacher_columns(rows: list[Row], more: int) -> list[Row]:
    """Rows whose teacher reads `more` further tokens of every text, or of every choice."""

    def longer(value: list[Any]) -> list[Any]:
        return [longer(part) for part in value] if isinstance(value[0], list) else [*value, *value[-1:] * more]

    names = ("input_ids", "attention_mask", "token_type_ids")
    return [{**row, **{f"teacher_{name}": longer(row[name]) for name in names}} for row in rows]


def both(task: str, **same_tokens: str | None) -> DistillationCollator:
    student, teacher = (TASKS[task].collator(tiny_tokenizer()) for _ in range(2))
    return DistillationCollator(student, {"teacher_": teacher}, same_tokens)


@pytest.mark.parametrize("task", [task for task in TASKS if task != "masked_lm"])
def test_the_teachers_encoding_stands_beside_the_students(task: str) -> None:
    rows = task_rows(task)
    batch = both(task)(with_teacher_columns(rows, more=2))
    own = {name: value for name, value in batch.items() if not name.startswith("teacher_")}
    expected = collated(task, rows)
    assert own.keys() == expected.keys()
    assert all(torch.equal(own[name].nan_to_num(9), value.nan_to_num(9)) for name, value in expected.items())
    assert batch["teacher_input_ids"].shape[:-1] == batch["input_ids"].shape[:-1]
    its = {name.removeprefix("teacher_"): value for name, value in batch.items() if name.startswith("teacher_")}
    texts = token_mask(own).any(dim=-1)
    assert token_mask(its).sum(dim=-1).tolist() == (token_mask(own).sum(dim=-1) + 2 * texts).tolist()
    assert not LABELS & its.keys()


def test_rows_to_evaluate_the_student_on_need_no_encoding_of_the_teacher() -> None:
    rows = task_rows("regression")
    assert both("regression")(rows).keys() == collated("regression", rows).keys()


def test_encodings_that_differ_are_refused_where_tokens_are_compared() -> None:
    task = "token_classification"
    assert "teacher_input_ids" in both(task, minilm=None)(with_teacher_columns(task_rows(task), more=0))
    longer = with_teacher_columns(task_rows(task), more=1)
    for column, fix in ((None, "teacher's tokenizer, or losses"), ("word_ids", "word_ids and teacher_word_ids, or")):
        with pytest.raises(DistillationError, match=f"^minilm: .* split a text of this batch differently.*{fix}"):
            both(task, minilm=column)(longer)
    numbered = [
        {**row, **{f"{p}word_ids": [0] * len(row[f"{p}input_ids"]) for p in ("", "teacher_")}} for row in longer
    ]
    batch = both(task, hidden_state_mse="word_ids")(numbered)
    assert (batch["teacher_word_ids"] == 0).equal(token_mask({"attention_mask": batch["teacher_attention_mask"]}))


def test_a_teacher_says_which_columns_it_lacks() -> None:
    teacher = OwnEncodingTeacher(LiveTeacher(task_teacher("regression")))
    with pytest.raises(DistillationError, match=r"no encoding for it.*teacher_input_ids"):
        teacher(collated("regression", task_rows("regression")), SignalRequest())
