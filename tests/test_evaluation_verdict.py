"""The verdict: what is said of students that are good, useless, or not to be judged by the rows there are."""

import json

import numpy as np
import pytest

from distilnlp.evaluation import CUT_TEACHER, in_names, measure_quality, verdict
from distilnlp.evaluation.quality import warn_of_undefined
from distilnlp.tasks import (
    CHOICE_EVALUATION,
    MASKED_LM_EVALUATION,
    MULTI_LABEL_EVALUATION,
    QUESTION_EVALUATION,
    REGRESSION_EVALUATION,
    SINGLE_LABEL_EVALUATION,
    TOKEN_EVALUATION,
)
from distilnlp.tasks.masked_lm.scores import MaskedTokens
from distilnlp.tasks.token_classification.scores import WordLabels

SLOW = {"latency_ms_median": 40.0, "latency_ms_p95": 45.0, "throughput_per_second": 100.0, "batch_size": 32}
FAST = {"latency_ms_median": 10.0, "latency_ms_p95": 11.0, "throughput_per_second": 600.0, "batch_size": 32}


def reports(task, predictions, labels, text=None, speed=FAST, labelled_by=None):
    qualities = measure_quality(predictions, labels, task, resamples=200, labelled_by=labelled_by)
    found = {
        name: {
            **quality,
            "parameters": {"total": 10, "embeddings": 5, "other": 5},
            "bytes": 80 if name.startswith("teacher") else 40,
            "speed": SLOW if name.startswith("teacher") else speed,
            "text": (text or {}).get(name),
        }
        for name, quality in qualities.items()
    }
    json.dumps(found, allow_nan=False)
    return found


def classified(rows=1000, **accuracies):
    """Predictions that are right for the first so many rows, and wrong for the others."""
    labels = np.arange(rows) % 4
    shuffled = np.random.default_rng(0).permutation(rows)
    predictions = {}
    for name, accuracy in accuracies.items():
        wrong = shuffled >= accuracy * rows
        predictions[name] = np.eye(4, dtype=np.float32)[np.where(wrong, (labels + 1) % 4, labels)]
    return predictions, labels


def said_of(rows=1000, **accuracies):
    return verdict(reports(SINGLE_LABEL_EVALUATION, *classified(rows, **accuracies)))


def test_a_good_student():
    labels_alone, kept, savings = said_of(teacher=0.95, student=0.94, baseline=0.9)
    assert labels_alone.startswith(
        "The student is above the same student on the labels alone: accuracy 94.0% against 9"
    )
    assert "(+4.0 points, 95% interval +2." in labels_alone
    assert kept.startswith("The student keeps 98.9% of the teacher's accuracy (95% interval 98.")
    assert "94.0% against 95.0%" in kept
    assert savings == (
        "Beside its teacher the student is 2.00× smaller on disk; latency, 1 text: 4.00× as fast (40.0 to 10.0 ms); "
        "throughput, batches of 32: 6.00× as much (100 to 600 a second)."
    )


@pytest.mark.parametrize(
    ("accuracies", "first"),
    [
        ({"teacher": 0.95, "student": 0.94, "baseline": 0.94}, "Distillation brought nothing over the labels alone th"),
        ({"teacher": 0.95, "student": 0.9, "baseline": 0.94}, "Distillation did harm: the student is below the same"),
        ({"student": 0.9, "baseline": 0.94}, "Distillation did harm"),
        (
            {"teacher": 0.95, "student": 0.25},
            "The student is no better than the most frequent class for every text, as",
        ),
        ({"teacher": 0.95, "student": 0.1}, "The student is worse than the most frequent class for every text: accur"),
        ({"teacher": 0.95, "student": 0.31}, "The student is barely better than the most frequent class for every te"),
        ({"student": 0.25}, "The student is no better than"),
        (
            {"teacher": 0.25, "student": 0.94},
            "The teacher is no better than the most frequent class for every text, as",
        ),
        ({"teacher": 0.8, "student": 0.9}, "The teacher is below its student: accuracy 80.0% against 90.0% (−10.0 poi"),
        (
            {"teacher": 0.8, "student": 0.8, "baseline": 0.9},
            "The teacher is below the same student on the labels alone",
        ),
        ({"teacher": 0.95, "student": 0.7}, "The student keeps 73.7% of the teacher's accuracy"),
    ],
)
def test_bad_news_comes_first(accuracies, first):
    assert said_of(**accuracies)[0].startswith(first)


def test_bad_news_says_what_to_do():
    assert "learning rate" in said_of(teacher=0.95, student=0.25)[0]
    assert "order of its labels" in said_of(teacher=0.25, student=0.25)[0]
    assert "order of its labels" in said_of(teacher=0.8, student=0.9)[0]
    assert "below its student: " in (both := said_of(teacher=0.8, student=0.9, baseline=0.85)[0])
    assert "; and below the same student on the labels alone: accuracy 80.0% against 85.0%" in both
    assert "make it larger" in said_of(teacher=0.95, student=0.7)[0]


def test_no_difference_is_said_with_what_the_rows_could_have_shown():
    said = said_of(rows=200, teacher=0.9, student=0.89, baseline=0.88)
    nothing = next(one for one in said if one.startswith("Distillation brought nothing"))
    assert "that 200 test rows can show: accuracy 89.0% against 88.0% (+1.0 points" in nothing
    assert "a difference of less than about 1." in nothing
    kept = next(one for one in said if "keeps 98.9%" in one)
    assert "no difference that 200 test rows can show" in kept


def test_few_rows_are_said_with_how_many_would_do():
    _, few, *_ = said_of(rows=41, teacher=0.93, student=0.9, baseline=0.9)
    assert few.startswith("41 test rows tell little: the student's accuracy of 90.2% is known to about ±")
    assert "(95% interval 80.5% to 100.0%)" in few
    assert few.endswith("rows would tell ±2.0 points.")
    assert not any("tell little" in one for one in said_of(rows=1000, teacher=0.93, student=0.9))


def test_rows_that_all_agree_do_not_pass_for_certainty():
    (few, *_) = [one for one in said_of(rows=41, teacher=1.0, student=1.0) if "tell little" in one]
    assert "of 100.0% is known to about ±7.3 points" in few


@pytest.mark.parametrize("rows", [1, 2, 19])
def test_of_very_few_rows_nothing_is_concluded(rows):
    first, plain, savings = said_of(rows=rows, teacher=1.0, student=0.0, baseline=1.0)
    assert "too few to tell anything" in first
    assert plain == "The student's accuracy is 0.0%, the teacher's 100.0%."
    assert savings.startswith("Beside its teacher")


def test_a_share_of_the_teachers_lead_is_given_where_one_class_is_frequent():
    labels = (np.arange(4000) % 10 == 0).astype(int)
    right = {"teacher": np.ones(4000, dtype=bool), "student": np.arange(4000) % 40 != 5}
    predictions = {name: np.eye(2)[np.where(own, labels, 1 - labels)] for name, own in right.items()}
    kept = next(one for one in verdict(reports(SINGLE_LABEL_EVALUATION, predictions, labels)) if "keeps" in one)
    assert "97.5% against 100.0% (75% of the teacher's lead over the most frequent class for every text, 90.0%)" in kept


def test_a_slow_student_is_bad_news():
    slower = {**SLOW, "latency_ms_median": 50.0, "throughput_per_second": 90.0}
    found = verdict(reports(SINGLE_LABEL_EVALUATION, *classified(teacher=0.9, student=0.9), speed=slower))
    assert found[0].startswith("The student is slower than its teacher: ")
    assert "latency, 1 text: 0.80× as fast" in found[0]


def test_texts_that_are_cut_are_said_with_what_that_costs_the_teacher():
    predictions, labels = classified(teacher=0.98, student=0.93)
    predictions[CUT_TEACHER] = classified(cut=0.94)[0]["cut"]
    own, short = {"max_length": 256, "cut": 0.021}, {"max_length": 64, "cut": 0.38}
    text = {"teacher": own, CUT_TEACHER: short, "student": short}
    cut, lengths, *_ = verdict(reports(SINGLE_LABEL_EVALUATION, predictions, labels, text))
    assert cut.startswith("38.0% of the test texts are longer than the 64 tokens the student reads; 2.1% of")
    assert lengths.startswith(
        "The teacher's accuracy is 98.0% at 256 tokens, its own length, and 94.0% at 64 tokens, th"
    )
    uncut = {name: {**one, "cut": 0.0} for name, one in text.items() if name != CUT_TEACHER}
    del predictions[CUT_TEACHER]
    assert not any("tokens" in one for one in verdict(reports(SINGLE_LABEL_EVALUATION, predictions, labels, uncut)))


# Every task: a student that knows something, one that does not, and one that is better than its teacher


def guesses(rows=300):
    return np.random.default_rng(3).random(rows)


def single(share):
    labels = np.random.default_rng(0).integers(0, 4, 300)
    return np.eye(4)[np.where(guesses() < share, labels, 0)], labels


def multi(share):
    labels = (np.random.default_rng(0).random((300, 4)) < [0.6, 0.4, 0.2, 0.0]).astype(float)
    return np.where((guesses() < share)[:, None], labels, [1, 1, 0, 0]) - 0.5, labels


def regression(share):
    targets, noise = np.random.default_rng(0).normal(size=(2, 300))
    return share * targets + (1 - share) * noise, targets


def tokens(share):
    labels = WordLabels(("O", "B-X"), [row % 2 for row in np.random.default_rng(0).integers(0, 3, (300, 6))])
    known = guesses() < share
    return [np.eye(2)[ids if own else 0 * ids] for ids, own in zip(labels.ids, known, strict=True)], labels


def questions(share):
    return [f"answer{index}" if own else "none" for index, own in enumerate(guesses() < share)], [
        [f"answer{index}"] for index in range(300)
    ]


def masked(share):
    labels = list(np.random.default_rng(0).choice(4, (300, 5), p=[0.4, 0.2, 0.2, 0.2]))
    known = guesses() < share
    return [
        MaskedTokens(np.full(5, 0.2 if own else 2.0), ids if own else 0 * ids)
        for ids, own in zip(labels, known, strict=True)
    ], labels


TASKS = {
    "single": (SINGLE_LABEL_EVALUATION, single, "the most frequent class for every text"),
    "multi": (MULTI_LABEL_EVALUATION, multi, "the same labels for every text"),
    "regression": (REGRESSION_EVALUATION, regression, "the mean score for every text"),
    "tokens": (TOKEN_EVALUATION, tokens, "the most frequent tag for every word"),
    "questions": (QUESTION_EVALUATION, questions, "the same answer to every question"),
    "choices": (CHOICE_EVALUATION, single, "the same choice for every question"),
    "masked": (MASKED_LM_EVALUATION, masked, "the most frequent token everywhere"),
}


@pytest.mark.parametrize("name", TASKS)
def test_every_task_tells_good_from_bad(name):
    task, make, answer = TASKS[name]
    labels = make(1)[1]

    def said(**shares):
        found = reports(task, {model: make(share)[0] for model, share in shares.items()}, labels)
        return [one for one in verdict(found) if "tell little" not in one]

    assert not any("no better" in one or "barely" in one for one in said(teacher=0.95, student=0.85))
    assert said(teacher=0.95, student=0.0)[0].startswith(f"The student is no better than {answer}")
    assert said(teacher=0.5, student=0.9)[0].startswith("The teacher is below its student: ")
    assert said(teacher=0.95, student=0.9, baseline=0.5)[0].startswith(
        "The student is above the same student on the la"
    )
    assert said(teacher=0.95, student=0.5, baseline=0.9)[0].startswith("Distillation did harm")


def test_perplexity_is_compared_as_a_ratio_and_lower_is_better():
    predictions = {"teacher": masked(0.9)[0], "student": masked(0.8)[0]}
    said = verdict(reports(MASKED_LM_EVALUATION, predictions, masked(1)[1]))
    assert any(one.startswith("The student's perplexity (lower is better) is 1.2") for one in said)
    assert not any("keeps" in one for one in said)


def test_what_is_undefined_is_said_and_not_compared(caplog):
    targets = np.arange(50.0)
    predictions = {"teacher": targets, "student": np.full(50, 0.3), "baseline": targets}
    found = reports(REGRESSION_EVALUATION, predictions, targets)
    assert found["student"]["metrics"]["pearson"] == dict.fromkeys(("value", "low", "high"))
    assert found["student"]["comparisons"]["teacher"]["ratio"]["value"] is None
    first, plain, *_ = verdict(found)
    assert first == "The student's Pearson is undefined (n/a): the scores or the predictions are constant."
    assert plain == "The student's Pearson is n/a, the teacher's 1.00."
    warn_of_undefined("student", found["student"])
    assert "pearson of 'student' is undefined (n/a)" in caplog.text


def test_a_teacher_of_no_use_gives_no_share():
    """Of a correlation that may be zero or less no share can be kept."""
    noise, targets = np.random.default_rng(0).normal(size=(2, 200))
    found = reports(REGRESSION_EVALUATION, {"teacher": noise, "student": targets + noise}, targets)
    assert found["student"]["comparisons"]["teacher"]["ratio"]["value"] is None
    assert not any("keeps" in one for one in verdict(found))


@pytest.mark.parametrize("rows", [1, 3, 50])
def test_rows_of_one_class_perfect_and_constant_models_give_no_traceback(rows):
    labels = np.zeros(rows, dtype=int)
    predictions = {"teacher": np.tile([3.0, 0], (rows, 1)), "student": np.zeros((rows, 2))}
    found = reports(SINGLE_LABEL_EVALUATION, predictions, labels)
    assert found["student"]["metrics"]["accuracy"] == {"value": 1, "low": 1, "high": 1}
    assert verdict(found)


def test_nothing_is_said_without_a_student():
    assert verdict(reports(SINGLE_LABEL_EVALUATION, *classified(teacher=0.9))) == []


def test_models_are_called_by_their_names() -> None:
    said = [
        "The student keeps 99.0% of the teacher's accuracy.",
        "The student is above the same student on the labels alone.",
        "A student can learn nothing from it.",
    ]
    assert in_names(said, {"student": "tiny", "teacher": "big/v2"}) == [
        "tiny keeps 99.0% of big/v2's accuracy.",
        "tiny is above the same student on the labels alone.",
        "A student can learn nothing from it.",
    ]
    assert in_names(said, {"student": "tiny"})[0] == "tiny keeps 99.0% of the teacher's accuracy."


def test_without_labels_no_quality_is_claimed():
    predictions, _ = classified(teacher=0.95, student=0.9)
    labels = SINGLE_LABEL_EVALUATION.as_labels(predictions["teacher"], None)
    found = reports(SINGLE_LABEL_EVALUATION, predictions, labels, labelled_by="teacher")
    first, held, savings = verdict(found)
    assert first.startswith("Quality was not measured: none of 1,000 test rows has a label. The teacher's answers")
    same = (predictions["student"].argmax(-1) == predictions["teacher"].argmax(-1)).mean()
    assert held.startswith(f"Held against the teacher's answers, the student's accuracy is {same:.1%} (95% interval")
    assert savings.startswith("Beside its teacher the student is")
    assert found["student"]["calibration_error"] is None


def test_a_teacher_that_always_says_the_same_is_named_without_labels_too():
    predictions = {name: np.tile(np.eye(4, dtype=np.float32)[0], (100, 1)) for name in ("teacher", "student")}
    labels = SINGLE_LABEL_EVALUATION.as_labels(predictions["teacher"], None)
    said = verdict(reports(SINGLE_LABEL_EVALUATION, predictions, labels, labelled_by="teacher"))
    assert any(sentence.startswith("The teacher is no better than the most frequent class") for sentence in said)
