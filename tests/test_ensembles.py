"""Ensembles: weights, the mean of probabilities or of logits, confidence; each against loops over plain numbers."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from distilnlp import EnsembleTeacher, Signals
from distilnlp.errors import DistillationError
from distilnlp.signals import SignalProfile, SignalRequest
from distilnlp.tasks import TASKS
from distilnlp.teachers import LiveTeacher
from tests.tiny_tasks import Row, collated, counting_classes, random_outputs, task_model, task_rows

LOGITS = SignalRequest()
SINGLE = "single_label_classification"
AVERAGES = ("probabilities", "logits")
every_task = pytest.mark.parametrize("task", TASKS)
every_average = pytest.mark.parametrize("average", AVERAGES)
with_confidence = pytest.mark.parametrize("task", [task for task in TASKS if task != "regression"])


class Fixed:
    """A teacher that always says the same."""

    columns = frozenset({"input_ids"})

    def __init__(self, logits: Tensor, task: str = SINGLE) -> None:
        self.logits = logits
        self.profile = SignalProfile(None, logits.shape[-1], task=task)

    def to(self, device: torch.device) -> None:
        """Nothing to move."""

    def __call__(self, batch: Any, request: SignalRequest) -> Signals:
        return Signals(self.logits)


def fixed(*rows: list[float]) -> list[Fixed]:
    """Single-label teachers that look at one text."""
    return [Fixed(torch.tensor([row], dtype=torch.float64)) for row in rows]


ONE_TEXT = {"input_ids": torch.zeros(1, 3, dtype=torch.long)}


def answer_on_one_text(teachers: list[Fixed], **options: Any) -> list[float]:
    return EnsembleTeacher(teachers, **options)(ONE_TEXT, LOGITS).logits[0].tolist()


def random_logits(task: str, batch: dict[str, Tensor], seed: int) -> Tensor:
    return TASKS[task].read_logits(SimpleNamespace(**random_outputs(task, batch, seed)), batch)


# ---- Once more, in loops ----


def naive_distribution(logits: list[float]) -> list[float]:
    total = sum(math.exp(value) for value in logits)
    return [math.exp(value) / total for value in logits]


def naive_confidence(probabilities: list[float]) -> float:
    if len(probabilities) == 1:
        return 1.0
    return 1 + sum(p * math.log(p) for p in probabilities) / math.log(len(probabilities))


def naive_mean(members: list[list[float]], weights: list[float], average: str, by_confidence: bool) -> list[float]:
    """The logits, or the log-probabilities, of one item from those of each teacher."""
    beliefs = [naive_distribution(logits) for logits in members]
    if by_confidence:
        weights = [weight * naive_confidence(belief) for weight, belief in zip(weights, beliefs, strict=True)]
    shares = [weight / sum(weights) for weight in weights]
    mixed = []
    for index in range(len(members[0])):
        values = [member[index] for member in (members if average == "logits" else beliefs)]
        mean = sum(share * value for share, value in zip(shares, values, strict=True))
        mixed.append(mean if average == "logits" else math.log(mean))
    return mixed


def existing(task: str, rows: list[Row], place: tuple[int, ...], width: int) -> list[int]:
    classes = None if task == "masked_lm" else counting_classes(task, rows[place[0]], soft=True)
    return [index for index in range(width) if classes is None or (index < len(classes) and classes[index])]


def check_every_item(task: str, rows: list[Row], got: Tensor, members: list[Tensor], **options: Any) -> None:
    for place in torch.ones(got.shape[:-1]).nonzero().tolist():
        where = tuple(place)
        if TASKS[task].answer == "binary":
            for label in range(got.shape[-1]):
                pairs = [[member[where][label].item(), 0.0] for member in members]
                yes, no = naive_mean(pairs, **options)
                assert got[where][label].item() == pytest.approx(yes - no, rel=1e-9, abs=1e-9)
            continue
        real = existing(task, rows, where, got.shape[-1])
        expected = naive_mean([member[where][real].tolist() for member in members], **options)
        assert got[where][real].tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@with_confidence
@pytest.mark.parametrize("by_confidence", [False, True])
@every_average
@given(weights=st.lists(st.floats(0.01, 100), min_size=3, max_size=3), seed=st.integers(0, 2**16))
def test_every_item_is_the_mean_that_loops_give(
    task: str, average: str, by_confidence: bool, weights: list[float], seed: int
) -> None:
    rows = task_rows(task, labelled=2, unlabelled=1, seed=seed)
    batch = collated(task, rows)
    members = [random_logits(task, batch, seed + number) for number in range(3)]
    options: dict[str, Any] = {"average": average, "weights": weights, "by_confidence": by_confidence}
    ensemble = EnsembleTeacher([Fixed(logits, task) for logits in members], **options)
    check_every_item(task, rows, ensemble(batch, LOGITS).logits, members, **options)


@every_average
def test_scores_are_averaged_by_weight(average: str) -> None:
    teachers = [Fixed(torch.tensor([[score]], dtype=torch.float64), "regression") for score in (1.0, 4.0)]
    assert answer_on_one_text(teachers, average=average, weights=[1, 3]) == [pytest.approx(3.25)]


# ---- What must not matter ----


@every_task
@every_average
@pytest.mark.parametrize("by_confidence", [False, True])
def test_a_row_gets_the_answer_that_it_gets_alone(task: str, average: str, by_confidence: bool) -> None:
    """Beside longer rows, or rows of more choices, it is padded: that changes nothing."""
    rows = task_rows(task, labelled=4, unlabelled=2)
    teachers = [LiveTeacher(task_model(task, seed=seed).double()) for seed in (3, 4)]
    by_confidence = by_confidence and task != "regression"
    ensemble = EnsembleTeacher(teachers, average=average, weights=[1, 2], by_confidence=by_confidence)
    together = ensemble(collated(task, rows), LOGITS).logits
    alone = [ensemble(collated(task, [row]), LOGITS).logits for row in rows]
    if task == "masked_lm":
        torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-9)
        return
    for row, own, padded in zip(rows, alone, together, strict=True):
        if task == "question_answering":
            real = existing(task, [row], (0,), own.shape[-1])
            torch.testing.assert_close(padded[:, real], own[0][:, real], rtol=0, atol=1e-9)
        else:
            torch.testing.assert_close(padded[: own.shape[1]], own[0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("task", ["question_answering", "multiple_choice"])
@every_average
@pytest.mark.parametrize("by_confidence", [False, True])
@pytest.mark.parametrize("garbage", [math.nan, math.inf, -math.inf, 1e300])
def test_classes_that_do_not_exist_may_hold_anything(
    task: str, average: str, by_confidence: bool, garbage: float
) -> None:
    rows = task_rows(task, labelled=2, unlabelled=2)
    batch = collated(task, rows)
    members = [random_logits(task, batch, seed) for seed in (1, 2, 3)]
    absent = ~TASKS[task].class_mask(batch).expand_as(members[0])
    assert absent.any()

    def answer(fill: float) -> Tensor:
        teachers = [Fixed(logits.masked_fill(absent, fill), task) for logits in members]
        return EnsembleTeacher(teachers, average=average, by_confidence=by_confidence)(batch, LOGITS).logits

    assert answer(garbage).isfinite().all()
    assert torch.equal(answer(garbage), answer(0.0))
    assert (answer(garbage).softmax(dim=-1)[absent] == 0).all()


@every_average
def test_items_that_do_not_count_spoil_no_other(average: str) -> None:
    """The tokens that begin no word may hold NaN; a window without any context has no class at all."""
    rows = task_rows("token_classification")
    batch = collated("token_classification", rows)
    members = [random_logits("token_classification", batch, seed) for seed in (1, 2)]
    counts = TASKS["token_classification"].valid_items(batch)
    spoilt = [logits.masked_fill(~counts.unsqueeze(-1), math.nan) for logits in members]
    clean, got = (
        EnsembleTeacher([Fixed(logits, "token_classification") for logits in some], by_confidence=True, average=average)
        for some in (members, spoilt)
    )
    assert torch.equal(got(batch, LOGITS).logits[counts], clean(batch, LOGITS).logits[counts])


@every_average
def test_a_window_without_context_gives_no_nan(average: str) -> None:
    batch = collated("question_answering", task_rows("question_answering"))
    batch["context_mask"][0] = 0
    members = [Fixed(random_logits("question_answering", batch, seed), "question_answering") for seed in (1, 2)]
    ensemble = EnsembleTeacher(members, average=average, by_confidence=True)
    assert ensemble(batch, LOGITS).logits.isfinite().all()


def test_only_the_proportions_of_the_weights_matter() -> None:
    teachers = fixed([2.0, 0.0, -1.0], [0.0, 3.0, 1.0])
    expected = answer_on_one_text(teachers, weights=[0.25, 0.75])
    for weights in ([1, 3], [1e300, 3e300], [1e-300, 3e-300]):
        assert answer_on_one_text(teachers, weights=weights) == pytest.approx(expected)


@every_average
def test_a_teacher_of_weight_zero_is_not_asked(average: str) -> None:
    one, spoilt = fixed([2.0, 0.0, -1.0], [math.nan, math.inf, 0.0])
    probabilities = naive_distribution(answer_on_one_text([spoilt, one], weights=[0, 2], average=average))
    assert probabilities == pytest.approx(naive_distribution([2.0, 0.0, -1.0]))


def test_half_precision_is_averaged_in_float32() -> None:
    teachers = [Fixed(torch.tensor([[20.0, 0.0, -3.0]], dtype=torch.bfloat16)) for _ in range(3)]
    got = EnsembleTeacher(teachers, by_confidence=True)(ONE_TEXT, LOGITS).logits
    assert got.dtype == torch.float32
    assert got[0].tolist() == pytest.approx([0.0, -20.0, -23.0], abs=1e-5)


# ---- Confidence ----


def test_the_plain_mean_ignores_confidence() -> None:
    certain, unsure = [9.0, 0.0, 0.0], [0.0, 0.1, 0.0]
    plain = naive_distribution(answer_on_one_text(fixed(certain, unsure)))
    weighed = naive_distribution(answer_on_one_text(fixed(certain, unsure), by_confidence=True))
    assert plain[0] < 0.7
    assert weighed[0] > 0.99


@every_average
def test_where_no_teacher_knows_the_given_weights_hold(average: str) -> None:
    """The logits of a uniform distribution may be any number."""
    teachers = fixed([1.0, 1.0], [5.0, 5.0])
    options: dict[str, Any] = {"weights": [1, 3], "average": average}
    expected = answer_on_one_text(teachers, **options)
    assert answer_on_one_text(teachers, by_confidence=True, **options) == pytest.approx(expected)


def test_a_teacher_that_excludes_classes_is_certain() -> None:
    """A logit of -inf is a probability of zero, and 0 · log 0 counts nothing."""
    got = answer_on_one_text(fixed([0.0, -math.inf, -math.inf], [0.0, 0.0, 0.0]), by_confidence=True)
    assert naive_distribution(got) == pytest.approx([1.0, 0.0, 0.0])


def test_the_only_choice_is_certain_for_all() -> None:
    batch = {"input_ids": torch.zeros(1, 2, 3), "choice_mask": torch.tensor([[True, False]])}
    teachers = [Fixed(torch.tensor([[value, 0.0]]), "multiple_choice") for value in (1.0, 5.0)]
    got = EnsembleTeacher(teachers, by_confidence=True, average="logits")(batch, LOGITS).logits
    assert got[0, 0].item() == pytest.approx(3.0)


# ---- Refusals ----


@pytest.mark.parametrize(
    "weights", [[], [1], [1, 2, 3], [1, -1], [1, math.nan], [1, math.inf], [0, 0], [1, None], [1, "2"]]
)
def test_weights_that_are_none_are_refused(weights: Any) -> None:
    with pytest.raises(DistillationError, match="one finite number from 0 for each of the 2 teachers"):
        EnsembleTeacher(fixed([1.0, 0.0], [0.0, 1.0]), weights=weights)


@pytest.mark.parametrize("average", ["logit", "median", None])
def test_an_unknown_average_is_refused(average: Any) -> None:
    with pytest.raises(DistillationError, match=r"no average .*It is one of probabilities, logits"):
        EnsembleTeacher(fixed([1.0, 0.0]), average=average)


def test_a_near_average_is_proposed() -> None:
    with pytest.raises(DistillationError, match="Did you mean 'logits'"):
        EnsembleTeacher(fixed([1.0, 0.0]), average="logit")  # type: ignore[arg-type]


def test_scores_have_no_confidence() -> None:
    teachers = [Fixed(torch.zeros(1, 1), "regression")] * 2
    with pytest.raises(DistillationError, match="regression answers with a score"):
        EnsembleTeacher(teachers, by_confidence=True)
