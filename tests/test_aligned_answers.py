"""Answers of a teacher with another tokenizer, at the student's pieces by the characters of the context."""

import math
from typing import Any

import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from distilnlp.data import pair_encodings
from distilnlp.errors import DistillationError
from distilnlp.tasks import QUESTION_ROWS, TASKS, shown_windows
from distilnlp.teachers import DistillationCollator
from tests.naive_features import numbers
from tests.test_data import config
from tests.test_data_questions import normalised, questions, row
from tests.test_words import STUDENT, TEACHER

TASK = TASKS["question_answering"]

Batch = dict[str, Tensor]


# ---- Answers ----


def question_rows(
    rows: list[dict[str, Any]], max_length: int, students: Any = STUDENT, teachers: Any = TEACHER
) -> Dataset:
    own = normalised(*rows)
    windows = QUESTION_ROWS.encode(own, students, max_length, "", config=config(stride=2), with_characters=True)
    return pair_encodings(QUESTION_ROWS, windows, shown_windows(windows, own, teachers, 500), words=True)


def answer_batch(rows: Dataset, students: Any = STUDENT, teachers: Any = TEACHER) -> Batch:
    names = [name for name in rows.column_names if name.removeprefix("teacher_") not in ("example", "length")]
    return DistillationCollator(TASK.collator(students), {"teacher_": TASK.collator(teachers)})(
        list(rows.select_columns(names))
    )


def pieces(batch: Batch, prefix: str, row: int) -> dict[int, range]:
    """The characters of each piece of the context."""
    spans, mask = batch[prefix + "offsets"][row].tolist(), batch[prefix + "context_mask"][row].tolist()
    runs = {at: range(*span) for at, (span, own) in enumerate(zip(spans, mask, strict=True)) if own}
    return {at: run for at, run in runs.items() if len(run)}


def naive_alignment(logits: list[float], batch: Batch, row: int, end: int) -> list[float | None]:
    """The logit of each piece of the student, by the characters of the pieces; None = nothing comes there."""
    mine, sums = pieces(batch, "", row), [0.0] * batch["input_ids"].shape[1]
    last = max((run[-1] for run in mine.values()), default=0)
    for at, characters in pieces(batch, "teacher_", row).items():
        # Walk from the character until some piece of the student holds it: onwards from a start, back from an end.
        walk = range(characters[0], last + 1) if end == 0 else range(characters[-1], -1, -1)
        holders = next((own for place in walk if (own := [k for k, run in mine.items() if place in run])), None)
        if holders:
            sums[holders[0] if end == 0 else holders[-1]] += math.exp(logits[at])
    return [math.log(value) if value else None for value in sums]


def check_alignment(batch: Batch, seed: int = 0) -> int:
    """Compare with the naive version, and return how many of the student's pieces got something."""
    own = {name.removeprefix("teacher_"): value for name, value in batch.items() if name.startswith("teacher_")}
    rows, length = own["input_ids"].shape
    logits = numbers(seed, rows, 2, length) * 3
    logits[~own["context_mask"].bool().unsqueeze(1).expand(-1, 2, -1)] = math.nan
    aligned, seen = TASK.align_logits(logits, batch, own), 0
    assert aligned.dtype == torch.float64
    for index in range(rows):
        for end in (0, 1):
            given = logits[index, end].tolist()
            least = min((given[at] for at in pieces(batch, "teacher_", index)), default=0.0)
            expected = naive_alignment(given, batch, index, end)
            for value, wanted in zip(aligned[index, end].tolist(), expected, strict=True):
                assert math.isclose(value, least - 20 if wanted is None else wanted, rel_tol=1e-9, abs_tol=1e-9)
                seen += wanted is not None
    return seen


@given(rows=st.lists(questions(), min_size=1, max_size=3), room=st.integers(3, 20), seed=st.integers(0, 99))
def test_answers_are_aligned_by_the_characters_of_the_context(rows: list[dict[str, Any]], room: int, seed: int) -> None:
    longest = max(len(tokenizer(row["question"])["input_ids"]) for row in rows for tokenizer in (STUDENT, TEACHER))
    for students, teachers in ((STUDENT, TEACHER), (TEACHER, STUDENT)):
        paired = question_rows(rows, longest + 3 + room, students, teachers)
        assert check_alignment(answer_batch(paired, students, teachers), seed) > 0


def test_characters_of_several_bytes_and_none_are_aligned() -> None:
    rows = [row("a 💡", "bad 💡💡​ face​  é ace 💡.")]
    for students, teachers in ((STUDENT, TEACHER), (TEACHER, STUDENT)):
        assert check_alignment(answer_batch(question_rows(rows, 60, students, teachers), students, teachers)) > 4


@given(rows=st.lists(questions(), min_size=1, max_size=2), room=st.integers(1, 12))
def test_the_teacher_reads_what_the_students_window_shows(rows: list[dict[str, Any]], room: int) -> None:
    longest = max(len(STUDENT(row["question"])["input_ids"]) for row in rows) + 3
    own = normalised(*rows)
    windows = QUESTION_ROWS.encode(own, STUDENT, longest + room, "", config=config(stride=2), with_characters=True)
    for mine, its in zip(windows, shown_windows(windows, own, TEACHER, 500), strict=True):
        context = rows[mine["example"]]["context"]
        spans = [
            [
                span
                for span, inside in zip(side["offsets"], side["context_mask"], strict=True)
                if inside and span[1] > span[0]
            ]
            for side in (mine, its)
        ]
        shown, read = (context[own[0][0] : own[-1][1]] for own in spans)
        assert shown.strip() == read.strip() != ""
        assert (
            its["input_ids"][: len(its["context_mask"]) - sum(its["context_mask"]) - 1]
            == TEACHER(rows[mine["example"]]["question"])["input_ids"]
        )
        assert len(its["word_ids"]) == len(its["input_ids"]) == its["length"]
        words = [
            {number for number, inside in zip(side["word_ids"], side["context_mask"], strict=True) if inside} - {-1}
            for side in (mine, its)
        ]
        assert words[0] == words[1] != set()


def test_a_window_that_the_teacher_cannot_read_is_refused() -> None:
    own = normalised(row("a", "bad face bad face"))
    windows = QUESTION_ROWS.encode(own, STUDENT, 60, "", config=config(stride=2), with_characters=True)
    with pytest.raises(DistillationError, match=r"question_answering: .* tokens of one, but it may read 6. Lower data"):
        shown_windows(windows, own, TEACHER, 6)


def test_no_answer_is_the_first_token_of_both() -> None:
    rows = [row("what", "the film was long", ("film", 4)), row("who", "the bank", ("", -1))]
    batch = answer_batch(question_rows(rows, 30))
    own = {name.removeprefix("teacher_"): value for name, value in batch.items() if name.startswith("teacher_")}
    assert batch["context_mask"][:, 0].all()
    assert own["context_mask"][:, 0].all()
    logits = numbers(5, 2, 2, own["input_ids"].shape[1])
    aligned = TASK.align_logits(logits, batch, own)
    torch.testing.assert_close(aligned[:, :, 0], logits[:, :, 0], rtol=0, atol=1e-12)
    plain = answer_batch(question_rows(rows[:1], 30))
    assert not plain["context_mask"][:, 0].any()
    # With the first token or without, what the other pieces get is the same.
    length = int(plain["attention_mask"].sum())
    others = {name.removeprefix("teacher_"): value for name, value in plain.items() if name.startswith("teacher_")}
    alone = TASK.align_logits(logits[:1, :, : others["input_ids"].shape[1]], plain, others)
    kept = plain["context_mask"][0].bool()
    torch.testing.assert_close(aligned[0, :, :length][:, kept[:length]], alone[0][:, kept], rtol=0, atol=1e-12)
