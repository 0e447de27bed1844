"""Rows of a question and the context that holds its answer, tokenised as windows of the context."""

import logging
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from datasets import Dataset, List, Value
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from distilnlp.data import (
    Columns,
    DataConfig,
    Layout,
    Part,
    RowFormat,
    Types,
    map_in_parts,
    numbers_of,
    require_fast,
    values_of,
    word_numbers,
)
from distilnlp.errors import DistillationError, shown
from distilnlp.signals import CONTEXT, END, EXAMPLE, FOLD, NO_LABEL, OFFSETS, QUESTION, START, WORD_IDS
from distilnlp.tasks.question_answering.squad import (
    ANSWERS,
    NO_ANSWER,
    NOWHERE,
    as_columns,
    flatten_squad,
    is_answers,
    no_answer,
    with_answers,
)
from distilnlp.tasks.question_answering.windows import same_windows, shown_windows

logger = logging.getLogger(__name__)

ANSWER_STARTS = "answer_starts"
NOT_HERE = 0  # the position of [CLS], which stands for "not in this window" (BERT, arXiv 1810.04805)


class QuestionRows(RowFormat):
    """Normalised: `question`, `context`, `answers` and the character `answer_starts`; no answers = no label.

    A question that its context does not answer has the one answer `NO_ANSWER`, which starts `NOWHERE`.

    Tokenised: one row a window of the context, neighbours share `stride` tokens. `start_positions` and `end_positions`
    are the tokens of the first answer, 0 in a window that does not hold it whole, -100 without answers; `context_mask`
    is 1 at the context's tokens, and at the token 0 if some question has no answer; `example` is the number of the
    question. Where a teacher has a tokenizer of its own, `offsets`, the characters of the context that each token
    stands for, and `word_ids` tell what both read.
    """

    task = "question answering"
    inputs = (QUESTION, CONTEXT)
    features: ClassVar[Types] = {
        QUESTION: Value("string"),
        CONTEXT: Value("string"),
        ANSWERS: List(Value("string")),
        ANSWER_STARTS: List(Value("int64")),
    }
    usual_labels = (ANSWERS,)
    label_checks = (
        (
            is_answers,
            "must hold answers in the form of SQuAD, {'text': ['…'], 'answer_start': [0]}, but it holds %s. Convert "
            "it, or set data.label_column.",
        ),
    )
    own_keys = frozenset({"stride"})
    are_windows = True

    def unfold(self, dataset: Dataset, config: DataConfig, names: Sequence[str]) -> Dataset:
        """Return one row a question of SQuAD's nested files, with answers in its form."""
        return with_answers(flatten_squad(dataset), config.label_column or ANSWERS)

    def has_labels(self, dataset: Dataset, column: str) -> bool:
        return any(_answers(value, False)[0] for (value,) in values_of(dataset, column))

    def find_layout(self, dataset: Dataset, config: DataConfig, label: str) -> Layout:
        texts = config.text_columns or [QUESTION, CONTEXT]
        if len(texts) != 2:
            raise DistillationError(
                f"question answering reads two columns, question and context, but data.text_columns names {texts}."
                " Name both, the question first."
            )
        return Layout(tuple(texts), label)

    def survey_labels(self, dataset: Dataset, layout: Layout) -> bool:
        """Return whether an empty list of answers says that there is none; where all are empty they are hidden."""
        columns = (as_columns(value) for (value,) in values_of(dataset, layout.label))
        empty = sum(own is not None and no_answer(own) for own in columns)
        if not self.has_labels(dataset, layout.label):
            return False
        if empty:
            logger.info("%d questions have no answer in their context: the models learn to say so", empty)
        return True

    def read_labels(self, part: Part, layout: Layout, inputs: Columns, survey: bool | None) -> Columns:
        """Return `answers` and `answer_starts`, checked against the context."""
        if layout.label not in part.rows.column_names:
            return {ANSWERS: [[]] * len(part.rows), ANSWER_STARTS: [[]] * len(part.rows)}
        answers = [_answers(value, bool(survey)) for value in part.rows[layout.label][:]]
        for (texts, starts), question, context in zip(answers, inputs[QUESTION], inputs[CONTEXT], strict=True):
            if texts != [NO_ANSWER]:
                _check_answers(texts, starts, question, context or "")
        return {ANSWERS: [texts for texts, _ in answers], ANSWER_STARTS: [starts for _, starts in answers]}

    def is_labelled(self, rows: Dataset) -> NDArray[np.bool_]:
        """Bool `[rows]`: which questions, or windows of questions, have an answer."""
        if START in rows.column_names:
            return numbers_of(rows, START) != NO_LABEL
        return np.fromiter((len(answers) > 0 for (answers,) in values_of(rows, ANSWERS)), dtype=np.bool_)

    def encode(
        self,
        rows: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        desc: str,
        *,
        config: DataConfig,
        for_evaluation: bool = False,
        with_characters: bool = False,
    ) -> Dataset:
        """Tokenise questions whole, with their contexts cut into windows.

        Evaluation rows have `offsets` too, the character offsets of each token (`[0, 0]` outside the context),
        `context`, and `answers`, all of them. Rows `with_characters` have `offsets` and `word_ids`.
        """
        require_fast(tokenizer, self.task)
        may_lack = any(answers == [NO_ANSWER] for (answers,) in values_of(rows, ANSWERS))

        def encode(batch: Columns, numbers: list[int]) -> Columns:
            _check_room(batch[QUESTION], tokenizer, max_length, config.stride)
            encoded = tokenizer(
                batch[QUESTION],
                batch[CONTEXT],
                truncation="only_second",
                max_length=max_length,
                stride=config.stride,
                return_overflowing_tokens=True,
                return_offsets_mapping=True,
            )
            owners = encoded.pop("overflow_to_sample_mapping")
            asked = {name: [own[owner] for owner in owners] for name, own in {**batch, EXAMPLE: numbers}.items()}
            windows = _windows(encoded, asked, with_offsets=for_evaluation or with_characters)
            for mask in windows["context_mask"] if may_lack else ():
                mask[NOT_HERE] = 1
            if with_characters:
                windows[WORD_IDS] = word_numbers(encoded, asked[QUESTION], asked[CONTEXT])
            return {**windows, CONTEXT: asked[CONTEXT], ANSWERS: asked[ANSWERS]} if for_evaluation else windows

        return map_in_parts(rows, encode, with_indices=True, remove_columns=rows.column_names, desc=desc)

    def are_same_rows(self, student_rows: Dataset, teacher_rows: Dataset) -> bool:
        """Whether windows hold the same parts of a context: all of it, what the student's show, or the same tokens."""
        own, other = numbers_of(student_rows, EXAMPLE), numbers_of(teacher_rows, EXAMPLE)
        one_each, are_shown = len(np.unique(own)) == len(own), START not in teacher_rows.column_names
        return np.array_equal(own, other) and (one_each or are_shown or same_windows(student_rows, teacher_rows))

    def as_shown(
        self, shown: Dataset, own: Dataset, rows: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> Dataset:
        """Return the second tokenizer's own windows, if they are of the same tokens, or what the first one's show."""
        return own if same_windows(shown, own) else shown_windows(shown, rows, tokenizer, max_length)


def _answers(value: Any, may_lack: bool) -> tuple[list[str], list[int]]:
    """Return the texts of the answers and where they start; none of a row without a label.

    `may_lack` says that a question may have no answer, so that none is one.
    """
    columns = as_columns(value)
    if columns is None or (no_answer(columns) and not may_lack):
        return [], []
    return ([NO_ANSWER], [NOWHERE]) if no_answer(columns) else (columns["text"], columns["answer_start"])


def _check_answers(texts: Sequence[str], starts: Sequence[int], question: str, context: str) -> None:
    if len(texts) != len(starts):
        raise DistillationError(
            f"every answer needs a start, but the question {shown(question)} has {len(texts)} answers and "
            f"{len(starts)} starts. Give one answer_start for each text."
        )
    for text, start in zip(texts, starts, strict=True):
        if not text or not text.strip() or start is None or start < 0 or context[start : start + len(text)] != text:
            found = context[start : start + len(text)] if start is not None and start >= 0 else ""
            raise DistillationError(
                f"an answer must be in its context at answer_start, counted in characters from 0, but for the question "
                f"{shown(question)} the answer is {shown(text)} and at {start} the context has {shown(found)}."
                f"{_count_that_fits(text, start, context)} Correct answer_start; a question without an answer has an "
                f"empty list, or {NOWHERE} there."
            )


def _count_that_fits(text: str | None, start: int | None, context: str) -> str:
    """Say by which other count an answer starts where it is said to."""
    if not text or not text.strip() or start is None or start < 0:
        return ""
    places = {
        "from 1": start - 1,
        "in bytes of UTF-8": len(context.encode()[:start].decode(errors="ignore")),
        "in units of UTF-16": len(context.encode("utf-16-le")[: 2 * start].decode("utf-16-le", errors="ignore")),
    }
    fits = [how for how, place in places.items() if place >= 0 and context[place : place + len(text)] == text]
    return f" It fits if characters are counted {' or '.join(fits)}." if fits else ""


def _check_room(questions: list[str], tokenizer: PreTrainedTokenizerBase, max_length: int, stride: int) -> None:
    """Raise a `DistillationError` if the windows of some question would not move on."""
    lengths = [len(ids) for ids in tokenizer(questions, add_special_tokens=False)["input_ids"]]
    longest = int(np.argmax(lengths))
    room = max_length - tokenizer.num_special_tokens_to_add(pair=True) - lengths[longest]
    if room <= stride:
        raise DistillationError(
            f"data.stride must be smaller than what max_length leaves for the context, but it is {stride}, and beside "
            f"a question of {lengths[longest]} tokens, {shown(questions[longest], 80)}, {max_length} tokens leave "
            f"{max(room, 0)}. Lower data.stride, raise data.max_length, or leave the question out."
        )


def _windows(encoded: Any, asked: Columns, with_offsets: bool) -> Columns:
    """Return the columns of tokenised windows; `asked` has those of each window's question."""
    masks = [np.equal(encoded.sequence_ids(window), 1).astype(np.int8) for window in range(len(asked[EXAMPLE]))]
    both = zip(encoded.pop("offset_mapping"), masks, strict=True)
    offsets = [np.asarray(own, dtype=np.int32) * mask[:, None] for own, mask in both]
    spans = list(map(_answer_tokens, offsets, masks, asked[ANSWERS], asked[ANSWER_STARTS]))
    columns = {
        **encoded,
        "context_mask": masks,
        START: [start for start, _ in spans],
        END: [end for _, end in spans],
        EXAMPLE: asked[EXAMPLE],
        "length": [len(mask) for mask in masks],
    }
    if FOLD in asked:
        columns[FOLD] = asked[FOLD]
    if with_offsets:
        columns[OFFSETS] = offsets
    return columns


def _answer_tokens(offsets: NDArray, mask: NDArray, answers: Sequence[str], starts: Sequence[int]) -> tuple[int, int]:
    """Return the first and the last token of the first answer."""
    if not answers:
        return NO_LABEL, NO_LABEL
    if answers[0] == NO_ANSWER:
        return NOT_HERE, NOT_HERE
    text = answers[0]
    # White space at its ends belongs to no token.
    first = starts[0] + len(text) - len(text.lstrip())
    end = starts[0] + len(text.rstrip())
    visible = np.flatnonzero(mask.astype(bool) & (offsets[:, 1] > offsets[:, 0]))
    begins, ends = offsets[visible].T
    if len(visible) == 0 or begins.min() > first or ends.max() < end:
        return NOT_HERE, NOT_HERE
    inside = visible[(ends > first) & (begins < end)]
    return (int(inside[0]), int(inside[-1])) if len(inside) else (NOT_HERE, NOT_HERE)


QUESTION_ROWS = QuestionRows()
