"""Question answering: the best span, the merged windows and SQuAD's measures."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from distilnlp.errors import DistillationError
from distilnlp.tasks import QUESTION_EVALUATION
from distilnlp.tasks.question_answering.scores import Answer, answer_f1, best_span, best_threshold
from tests.naive_metrics import naive_best_f1, naive_best_span, naive_squad, naive_squad_2

CONTEXT = "the old bank by the green river"
WORDS = CONTEXT.split()
FIRST = 10  # the id of the context's first word; the next has the next id
PHRASES = st.lists(st.sampled_from(["the", "a", "an", "old", "Old", "bank", "bank.", "theme", " ", "3.5"]), max_size=6)


class LookupModel(nn.Module):
    """Start and end logits that depend on the piece alone, by a table."""

    def __init__(self, starts, ends):
        super().__init__()
        self.device, self.config = torch.device("cpu"), SimpleNamespace()
        self.starts, self.ends = torch.full((40,), -5.0), torch.full((40,), -5.0)
        for table, values in ((self.starts, starts), (self.ends, ends)):
            for piece, logit in values.items():
                table[piece] = logit

    def forward(self, input_ids, attention_mask):
        return SimpleNamespace(start_logits=self.starts[input_ids], end_logits=self.ends[input_ids])


def pad(rows):
    """Pad on the right with 0."""
    length = max(len(row["input_ids"]) for row in rows)
    return {name: torch.tensor([[*row[name], *[0] * (length - len(row[name]))] for row in rows]) for name in rows[0]}


def pad_left(rows):
    length = max(len(row["input_ids"]) for row in rows)
    return {name: torch.tensor([[*[0] * (length - len(row[name])), *row[name]] for row in rows]) for name in rows[0]}


def window(example, first, last, answers=("bank",)):
    """A row: a question of two pieces, then words `first` to `last` of the context, between special pieces."""
    begins = [CONTEXT.index(word, 0 if place < 4 else 15) for place, word in enumerate(WORDS)]
    spans = [[begins[index], begins[index] + len(WORDS[index])] for index in range(first, last + 1)]
    return {
        "input_ids": [2, 5, 6, 3, *range(FIRST + first, FIRST + last + 1), 3],
        "attention_mask": [1] * (len(spans) + 5),
        "context_mask": [0] * 4 + [1] * len(spans) + [0],
        "offsets": [[0, 0]] * 4 + spans + [[0, 0]],
        "example": example,
        "context": CONTEXT,
        "answers": list(answers),
        "start_positions": 0,
        "end_positions": 0,
    }


def answers_of(model, rows, collator=pad):
    return QUESTION_EVALUATION.predict(model, rows, collator, 2, "the model 'student'")


# Spans


@given(seed=st.integers(0, 9999), pieces=st.integers(1, 40), longest=st.sampled_from([1, 3, 30, 100]))
def test_best_span_equals_trying_them_one_by_one(seed, pieces, longest):
    start, end = np.random.default_rng(seed).normal(size=(2, pieces)).round(1)  # with ties
    assert best_span(start, end, longest) == naive_best_span(start, end, longest)


def test_a_span_has_thirty_pieces_at_most():
    start, end = np.zeros(50), np.zeros(50)
    start[2], end[32], end[31] = 9, 9, 8
    assert best_span(start, end) == (17, 2, 31)


# Windows


@pytest.mark.parametrize("collator", [pad, pad_left])
def test_the_best_span_of_all_windows_of_a_question_is_its_answer(collator):
    # The end of highest logit, word 4, comes before the start of highest logit, word 5.
    model = LookupModel({FIRST + 1: 3, FIRST + 5: 4}, {FIRST + 2: 3, FIRST + 6: 3, FIRST + 4: 9})
    rows = [window(7, 0, 3), window(3, 0, 1), window(7, 2, 6), window(7, 2, 4)]
    assert answers_of(model, rows, collator) == ["old", "green river"]  # in the order of the questions' indices
    assert answers_of(model, rows[::-1], collator) == ["old", "green river"]
    assert answers_of(model, rows[:1], collator) == ["old bank"]
    assert answers_of(model, rows[3:], collator) == ["bank by the"]


def test_an_answer_lies_in_the_context():
    model = LookupModel({2: 99, 5: 99, 3: 99, 0: 99, FIRST + 1: 1}, {5: 99, 3: 99, 0: 99, FIRST + 1: 1})
    assert answers_of(model, [window(0, 0, 6), window(1, 0, 2)]) == ["old", "old"]


def test_an_answer_has_no_space_around_it():
    row = window(0, 0, 3)
    row["offsets"][6][0] -= 1  # some tokenizers count the space before a word to it
    assert answers_of(LookupModel({FIRST + 2: 1}, {FIRST + 2: 1}), [row]) == ["bank"]


def test_a_window_without_context_gives_no_answer():
    assert answers_of(LookupModel({}, {}), [window(0, 0, -1), window(1, 0, -1), window(1, 2, 2)]) == ["", "bank"]


def test_logits_that_are_not_finite_are_an_error_only_where_they_count():
    rows = [window(0, 0, 3), window(1, 4, 6)]
    assert len(answers_of(LookupModel({2: np.nan, 0: np.inf}, {}), rows)) == 2
    with pytest.raises(DistillationError, match=r"the model 'student' gave NaN .* for 1 of 2 rows, first for row 1"):
        answers_of(LookupModel({FIRST + 5: np.nan}, {}), rows)


# Measures


@given(answer=PHRASES, references=st.lists(PHRASES.filter(bool), min_size=1, max_size=3))
def test_squad_measures_equal_loops(answer, references):
    answer, references = " ".join(answer), [" ".join(reference) for reference in references]
    assert QUESTION_EVALUATION.scores([answer], [references]).values() == pytest.approx(naive_squad(answer, references))


@pytest.mark.parametrize(
    ("answer", "reference", "f1"),
    [
        ("The Bank!", "bank", 1.0),
        ("old bank", "bank", 2 / 3),
        ("bank bank", "bank", 2 / 3),
        ("river", "bank", 0.0),
        ("", "bank", 0.0),
    ],
)
def test_f1_counts_shared_words(answer, reference, f1):
    assert answer_f1(answer, reference) == pytest.approx(f1)


def test_questions_without_references_are_left_out_and_the_best_reference_counts():
    found = QUESTION_EVALUATION.scores(["old bank", "river", "x"], [["bank", "old bank"], [], ["y"]])
    assert found.values() == {"f1": 0.5, "exact_match": 0.5}
    assert len(found.columns[0]) == 2


def test_references_are_read_once_a_question():
    rows = [window(7, 0, 3, ["bank", "old"]), window(3, 0, 2, []), window(7, 2, 6, ["bank", "old"])]
    del rows[1]["answers"]
    assert QUESTION_EVALUATION.read_labels(rows, None) == [[], ["bank", "old"]]


@pytest.mark.parametrize("missing", ["context", "offsets", "context_mask", "example"])
def test_rows_without_what_answers_are_found_by_are_an_error(missing):
    rows = [window(0, 0, 3), {name: value for name, value in window(0, 2, 6).items() if name != missing}]
    for read in (lambda: QUESTION_EVALUATION.read_labels(rows, None), lambda: answers_of(LookupModel({}, {}), rows)):
        with pytest.raises(DistillationError, match=f"the column '{missing}', but row 1"):
            read()


@pytest.mark.parametrize("answers", [{"text": ["bank"], "answer_start": [8]}, "bank", [8]])
def test_references_that_are_no_list_of_texts_are_an_error(answers):
    with pytest.raises(DistillationError, match="a list of texts, but question 4 has"):
        QUESTION_EVALUATION.read_labels([{**window(4, 0, 3), "answers": answers}], None)


def test_questions_without_any_reference_are_an_error():
    with pytest.raises(DistillationError, match="none of the 2 questions has a label"):
        QUESTION_EVALUATION.read_labels([window(0, 0, 3, []), window(1, 0, 3, []), window(1, 2, 6, [])], None)


def test_a_collator_that_loses_the_context_is_an_error():
    with pytest.raises(DistillationError, match="a collator that pads the column 'context_mask'"):
        answers_of(LookupModel({}, {}), [window(0, 0, 3)], lambda rows: {"input_ids": torch.tensor([[1]])})


def test_fidelity_is_the_share_of_same_answers_and_training_has_no_metrics():
    assert QUESTION_EVALUATION.fidelity["agreement"](["a b", "c", "", "d"], ["a b", "x", "", "d "]) == 0.5
    with pytest.raises(DistillationError, match="one shape"):
        QUESTION_EVALUATION.fidelity["agreement"](["a"], ["a", "b"])
    assert QUESTION_EVALUATION.compute_metrics(None) is None


def test_intervals_are_over_questions_and_follow_their_seed():
    answers = ["old bank"] * 30 + ["river"] * 20
    scorer = QUESTION_EVALUATION.scores(answers, [["bank"]] * 40 + [["river"]] * 10)
    found = scorer.intervals(seed=1)
    assert found["f1"].value == pytest.approx((30 * 2 / 3 + 10) / 50)
    half = 1.96 * np.std([2 / 3] * 30 + [0] * 10 + [1] * 10) / np.sqrt(50)
    bounds = found["f1"].value - half, found["f1"].value + half
    assert (found["f1"].low, found["f1"].high) == pytest.approx(bounds, abs=0.02)
    assert scorer.intervals(seed=1) == found != scorer.intervals(seed=2)


# Questions without an answer

QUESTIONS = st.lists(
    st.tuples(
        PHRASES.map(" ".join),
        st.lists(PHRASES.filter(bool).map(" ".join), max_size=2).map(lambda own: own or [""]),
        st.integers(-3, 3),
    ),
    min_size=1,
    max_size=8,
)


@given(QUESTIONS)
def test_squad_2_measures_equal_loops(questions):
    questions.append(("bank", [""], 0))  # or it is SQuAD 1.1
    answers, references, _ = zip(*questions, strict=True)
    naive = naive_squad_2(answers, references)
    found = QUESTION_EVALUATION.scores(answers, references).values()
    names = {"f1": "f1", "exact_match": "exact", "no_answer_accuracy": "NoAns_exact"}
    if "HasAns_f1" in naive:
        names |= {"answerable_f1": "HasAns_f1", "answerable_exact_match": "HasAns_exact"}
    for name, own in names.items():
        assert 100 * found[name] == pytest.approx(naive[own]), name


@given(QUESTIONS)
def test_the_threshold_is_the_best_of_all(questions):
    questions = [own for own in questions if own[1] == [""] or all(answer_f1(text, text) for text in own[1])]
    questions.append(("bank", [""], 1))
    answers, references, margins = zip(*questions, strict=True)
    found = [Answer(answer, 0.0, float(margin)) for answer, margin in zip(answers, margins, strict=True)]
    threshold, best = best_threshold(found, references)
    highest, _ = naive_best_f1(answers, [float(margin) for margin in margins], references)
    nothing = sum(own == [""] for own in references) / len(
        references
    )  # the share without an answer, where none is given
    given = ["" if own.margin > threshold else own.text for own in found]
    reached = naive_squad_2(given, references)["f1"] / 100
    assert best == pytest.approx(max(highest, nothing))
    assert reached == pytest.approx(best)


def may_lack(row):
    return {**row, "context_mask": [1, *row["context_mask"][1:]]}


def test_no_answer_is_the_least_of_the_first_tokens_scores_against_the_best_span():
    model = LookupModel({FIRST + 1: 2, FIRST + 5: 3, 2: 2}, {FIRST + 2: 2, FIRST + 6: 2, 2: 2})
    rows = [may_lack(window(0, 0, 3)), may_lack(window(0, 3, 6)), may_lack(window(1, 0, 2))]
    first, second = QUESTION_EVALUATION.find(model, rows, pad)
    assert (first.text, first.score, first.lacking) == ("green river", 5.0, 4.0)
    assert (second.text, second.margin) == ("old bank", 0.0)
    assert answers_of(model, rows) == ["green river", "old bank"]  # 0 is not above 0
    model.config.no_answer_threshold = -0.5
    assert answers_of(model, rows) == ["green river", ""]
    model.config.no_answer_threshold = -2
    assert answers_of(model, rows) == ["", ""]
    assert answers_of(model, [window(0, 3, 6)]) == ["green river"]  # every question has an answer here


def test_a_threshold_is_settled_on_rows_of_which_some_have_no_answer():
    model = LookupModel({FIRST + 1: 2, FIRST + 5: 3, 2: 2}, {FIRST + 2: 2, FIRST + 6: 2, 2: 1})
    rows = [may_lack(window(0, 3, 6, ["green river"])), may_lack(window(1, 0, 2, [""]))]
    assert answers_of(model, rows) == ["green river", "old bank"]
    QUESTION_EVALUATION.settle(model, rows, pad)
    assert model.config.no_answer_threshold == -2.0
    assert answers_of(model, rows) == ["green river", ""]
    other = LookupModel({}, {})
    QUESTION_EVALUATION.settle(other, [window(0, 0, 3)], pad)
    assert not hasattr(other.config, "no_answer_threshold")
