"""Evaluation: every figure against an independent computation, and every measurement against what it promises."""

import math
import socket
import tracemalloc
import warnings
from functools import partial
from types import SimpleNamespace

import evaluate
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, matthews_corrcoef
from transformers import Trainer, TrainingArguments

from distilnlp.errors import DistillationError
from distilnlp.metrics import (
    Interval,
    agreement,
    bootstrap_intervals,
    chunks,
    expected_calibration_error,
    mean_kl,
    predict_logits,
)
from distilnlp.metrics import intervals as intervals_module
from distilnlp.metrics.intervals import Resampled
from distilnlp.tasks import (
    MULTI_LABEL_EVALUATION,
    SINGLE_LABEL_EVALUATION,
    TOKEN_EVALUATION,
    classification_scores,
    compute_classification_metrics,
)
from distilnlp.tasks.single_label.metrics import Accuracy, MacroF1, MatthewsCorrelation, classification_metrics
from distilnlp.tasks.token_classification.scores import WordLabels
from tests.naive_metrics import naive_metrics
from tests.tiny import tiny_model, tiny_rows, tiny_tokenizer


def random_ids(rows=200, classes=4, right=0.7, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, rows)
    guesses = generator.integers(0, classes, rows)
    return np.where(generator.random(rows) < right, labels, guesses), labels


@pytest.mark.parametrize("seed", range(3))
def test_metrics_follow_their_definitions(seed):
    predictions, labels = random_ids(60, seed=seed)
    found = classification_metrics().compute(predictions=predictions, references=labels)
    assert found == pytest.approx(naive_metrics(predictions.tolist(), labels.tolist()))


@pytest.mark.parametrize("metric", [Accuracy, MacroF1, MatthewsCorrelation])
def test_metric_in_batches_equals_metric_at_once(metric):
    predictions, labels = random_ids(30)
    in_batches, at_once = metric(), metric()
    for part in np.split(np.arange(30), 3):
        in_batches.add_batch(predictions=predictions[part], references=labels[part])
    assert in_batches.compute() == at_once.compute(predictions=predictions, references=labels)


def test_metrics_combine_with_other_modules_and_do_not_mix_data():
    first, second = evaluate.combine([Accuracy(), MacroF1()]), evaluate.combine([Accuracy(), MacroF1()])
    first.add_batch(predictions=[0, 1], references=[0, 1])
    second.add_batch(predictions=[1, 1], references=[0, 1])
    assert first.compute() == {"accuracy": 1.0, "macro_f1": 1.0}
    assert second.compute()["accuracy"] == 0.5


@pytest.mark.parametrize(("predictions", "labels"), [([1, 1], [1, 1]), ([0], [1]), ([0, 0], [0, 1])])
def test_degenerate_rows_give_metrics_without_a_warning(predictions, labels):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = classification_metrics().compute(predictions=predictions, references=labels)
    assert found == pytest.approx(naive_metrics(predictions, labels))


def test_metrics_need_no_network_and_leave_no_files(tmp_path, monkeypatch, capfd):
    def refuse(*_, **__):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(evaluate.config, "HF_METRICS_CACHE", tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    classification_metrics().compute(predictions=[0, 1], references=[0, 0])
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_a_metric_can_still_write_to_a_cache_if_asked(tmp_path):
    metric = Accuracy(keep_in_memory=False, cache_dir=str(tmp_path))
    assert metric.compute(predictions=[0, 1], references=[0, 0]) == {"accuracy": 0.5}


def test_compute_metrics_leaves_unlabelled_rows_out():
    logits = np.eye(3)[[0, 1, 2, 2]]
    prediction = SimpleNamespace(predictions=(logits, "hidden states"), label_ids=np.array([0, 1, -100, 1]))
    assert compute_classification_metrics(prediction)["accuracy"] == pytest.approx(2 / 3)


def test_compute_metrics_serves_a_trainer(tmp_path, collator):
    rows, tokenizer, model = tiny_rows(12), tiny_tokenizer(), tiny_model()
    data = rows.map(lambda row: tokenizer(row["text"]), remove_columns="text")
    arguments = TrainingArguments(tmp_path, report_to="none", use_cpu=True, disable_tqdm=True)
    trainer = Trainer(
        model, arguments, eval_dataset=data, data_collator=collator, compute_metrics=compute_classification_metrics
    )
    found = trainer.evaluate()
    expected = naive_metrics(predict_logits(model, list(data), collator).argmax(-1).tolist(), rows["label"][:])
    assert {name: found[f"eval_{name}"] for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.eye(2), [-100, -100], "none of the 2 rows has a label"),
        (np.eye(2), [0, 2], r"from 0 to 1, but the rows hold \[2\]"),
        (np.eye(2), [0.5, 1.0], "one class id per row"),
        (np.eye(2), [[0, 1], [1, 0]], "one class id per row"),
        (np.array([[0, 1], [np.nan, 0]]), [0, 1], "for 1 of 2 rows, first for row 1"),
    ],
)
def test_compute_metrics_refuses_what_it_cannot_score(logits, labels, message):
    with pytest.raises(DistillationError, match=message):
        compute_classification_metrics(SimpleNamespace(predictions=logits, label_ids=np.array(labels)))


@given(data=st.data(), classes=st.integers(1, 5), rows=st.integers(1, 15))
@settings(max_examples=60, deadline=None)
def test_vectorised_scores_equal_scikit_learn(data, classes, rows):
    ids = st.lists(st.integers(0, classes - 1), min_size=rows, max_size=rows)
    predictions, labels = (np.array([data.draw(ids) for _ in range(2)]) for _ in range(2))
    found = classification_scores(predictions, labels, classes)
    for index in range(2):
        pair = labels[index], predictions[index]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            correlation = matthews_corrcoef(*pair) if len(set(pair[0])) > 1 else math.nan
            expected = (pair[0] == pair[1]).mean(), f1_score(*pair, average="macro"), correlation
        assert [found[name][index] for name in ("accuracy", "macro_f1", "mcc")] == pytest.approx(expected, nan_ok=True)


# Calibration


def two_class(confidences, hits):
    """Rows that predict class 0 with a confidence, and labels that make each a hit or a miss."""
    return np.array([[c, 1 - c] for c in confidences]), np.array([0 if hit else 1 for hit in hits])


@pytest.mark.parametrize(
    ("confidences", "hits", "expected"),
    [
        ([0.8] * 5, [1, 1, 1, 1, 0], 0.0),  # 80% sure, 80% right
        ([0.9, 0.9, 0.6, 0.6], [1, 0, 1, 1], 0.4),  # too sure by 0.4 in one bin, too modest by 0.4 in another
        ([1.0, 1.0], [0, 0], 1.0),
        ([0.62, 0.98, 0.98, 0.98], [1, 1, 1, 0], 0.25 * 0.38 + 0.75 * (0.98 - 2 / 3)),
    ],
)
def test_calibration_error_of_known_cases(confidences, hits, expected):
    assert expected_calibration_error(*two_class(confidences, hits)) == pytest.approx(expected)


def test_a_confidence_on_an_edge_belongs_to_the_lower_bin():
    rows = two_class([0.75, 0.7, 0.8], [1, 0, 1])
    assert expected_calibration_error(*rows, bins=4) == pytest.approx((abs(0.75 + 0.7 - 1) + abs(0.8 - 1)) / 3)


@given(st.lists(st.tuples(st.floats(0.5, 1), st.booleans()), min_size=1, max_size=30), st.integers(1, 20))
@settings(max_examples=60, deadline=None)
def test_calibration_error_equals_loops_over_bins(rows, bins):
    confidences, hits = zip(*rows, strict=True)
    expected = 0.0
    for m in range(bins):
        inside = [(c, h) for c, h in rows if m * (1 / bins) < c <= (m + 1) * (1 / bins)]
        if inside:
            gap = sum(h for _, h in inside) / len(inside) - sum(c for c, _ in inside) / len(inside)
            expected += len(inside) / len(rows) * abs(gap)
    edges = np.linspace(0, 1, bins + 1)
    if not any(abs(c - edge) < 1e-9 for c in confidences for edge in edges[1:-1]):  # rounding decides on an edge
        assert expected_calibration_error(*two_class(confidences, hits), bins=bins) == pytest.approx(expected)


@pytest.mark.parametrize("rows", [[[2.0, -1.0]], [[0.2, 0.2]], np.empty((0, 2)), [[math.nan, 1.0]]])
def test_calibration_error_refuses_what_is_no_probability(rows):
    with pytest.raises(DistillationError, match="softmax"):
        expected_calibration_error(rows, [0])


# Fidelity


def test_fidelity_equals_loops():
    generator = np.random.default_rng(0)
    student, reference = generator.normal(size=(2, 20, 3)) * 3
    kl, equal = 0.0, 0
    for s, r in zip(student.tolist(), reference.tolist(), strict=True):
        q, p = ([math.exp(x) / sum(map(math.exp, logits)) for x in logits] for logits in (s, r))
        kl += sum(b * math.log(b / a) for a, b in zip(q, p, strict=True)) / 20
        equal += s.index(max(s)) == r.index(max(r))
    assert mean_kl(student, reference) == pytest.approx(kl)
    assert agreement(student, reference) == equal / 20


def test_kl_of_far_logits_is_finite_and_of_equal_ones_zero():
    far = np.array([[1000.0, -1000.0]], dtype=np.float32)
    assert mean_kl(-far, far) == pytest.approx(2000)
    assert mean_kl(far, far + 5) == 0


@pytest.mark.parametrize("shape", [(4, 1), (3, 2), (4, 3)])
def test_fidelity_refuses_other_shapes(shape):
    for measure in (agreement, mean_kl):
        with pytest.raises(DistillationError, match="one shape"):
            measure(np.zeros((4, 2)), np.zeros(shape))


# Intervals


def intervals(predictions, labels, **options):
    classes = int(max(predictions.max(), labels.max())) + 1
    return bootstrap_intervals(partial(classification_scores, num_classes=classes), predictions, labels, **options)


def test_interval_holds_the_value_and_shrinks_with_rows():
    predictions, labels = random_ids(100)
    few, many = intervals(predictions, labels), intervals(np.tile(predictions, 16), np.tile(labels, 16))
    for name in ("accuracy", "macro_f1", "mcc"):
        assert few[name].low < few[name].value < few[name].high
        assert many[name].high - many[name].low == pytest.approx((few[name].high - few[name].low) / 4, rel=0.2)


def test_interval_of_accuracy_is_near_the_normal_one():
    predictions, labels = random_ids(400)
    found = intervals(predictions, labels)["accuracy"]
    half = 1.96 * math.sqrt(found.value * (1 - found.value) / 400)
    assert (found.low, found.high) == pytest.approx((found.value - half, found.value + half), abs=0.01)


def test_interval_follows_its_seed_and_not_the_memory(monkeypatch):
    predictions, labels = random_ids(50)
    first = intervals(predictions, labels, seed=1)
    assert intervals(predictions, labels, seed=1) == first
    assert intervals(predictions, labels, seed=2) != first
    monkeypatch.setattr("distilnlp.metrics.intervals.CELLS_AT_ONCE", 50 * 64)
    assert intervals(predictions, labels, seed=1) == first


@pytest.mark.parametrize("rows", [1, 2, 30])
@pytest.mark.parametrize("classes", [1, 3])
def test_interval_of_a_perfect_model_is_finite(rows, classes):
    labels = np.arange(rows) % classes
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = intervals(labels, labels)
    assert (found["accuracy"].low, found["accuracy"].high) == (1, 1)
    assert (found["macro_f1"].low, found["macro_f1"].high) == (1, 1)
    # With labels of one class nothing correlates, in none of the draws.
    undefined = len(set(labels.tolist())) == 1
    assert (math.isnan(found["mcc"].value), math.isnan(found["mcc"].low)) == (undefined, undefined)


def test_an_interval_holds_its_value_where_repeated_rows_raise_it():
    """Average precision of rare labels rises whenever their rows are drawn twice: the draws are shifted by that."""
    found = Resampled(0.25, np.linspace(0.3, 0.5, 101)).interval()
    assert (found.low, found.high) == pytest.approx((0.155, 0.345))
    skewed = Resampled(0.2, np.append(np.full(99, 0.3), 9.0)).interval()
    assert skewed.low <= skewed.value <= skewed.high


def test_draws_without_a_value_are_left_out_of_the_interval():
    draws = np.append(np.linspace(0, 1, 101), [math.nan] * 50)
    found = Resampled(0.5, draws).interval()
    assert (found.low, found.high) == pytest.approx((0.025, 0.975))
    nothing = Resampled(0.5, np.full(3, math.nan)).interval()
    assert math.isnan(nothing.low)
    assert math.isnan(nothing.high)


def test_differences_and_ratios_are_of_the_same_draws():
    """Two models that miss the same rows differ by nothing in every draw, however uncertain each of them is."""
    predictions, labels = random_ids(100)
    logits = np.eye(4)[predictions]
    first, second = (SINGLE_LABEL_EVALUATION.scores(own, labels).resample()["accuracy"] for own in (logits, 2 * logits))
    assert first.interval().high - first.interval().low > 0.1
    assert first.minus(second).interval() == Interval(0, 0, 0)
    assert first.over(second).interval() == Interval(1, 1, 1)
    assert math.isnan(first.over(Resampled(0.0, np.zeros(1000))).interval().value)


# Memory


@pytest.mark.parametrize("task", [SINGLE_LABEL_EVALUATION, MULTI_LABEL_EVALUATION, TOKEN_EVALUATION])
def test_figures_of_many_classes_take_less_memory_than_the_logits(task, monkeypatch):
    rows, classes = 600, 2000
    monkeypatch.setattr(chunks, "CELLS_AT_ONCE", 20_000)
    monkeypatch.setattr(intervals_module, "CELLS_AT_ONCE", 20_000)
    generator = np.random.default_rng(0)
    student, teacher = (generator.standard_normal((rows, classes), dtype=np.float32) for _ in range(2))
    labels = generator.integers(0, classes, rows)
    if task is MULTI_LABEL_EVALUATION:
        student -= 3  # most labels are not predicted
        labels = np.full((rows, classes), np.nan)
        labels[:, 100:] = 0
        labels[:20, 100:110] = 1
    size = student.nbytes
    if task is TOKEN_EVALUATION:
        student, teacher = list(student[:, None]), list(teacher[:, None])
        labels = WordLabels(None, list(labels[:, None]))
    tracemalloc.start()
    try:
        task.scores(student, labels).intervals(20)
        task.constant(labels).intervals(20)
        for compute in task.fidelity.values():
            compute(student, teacher)
        task.calibration_error(student, labels)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Of one label or tag next to nothing; of many labels, which of them hold and are predicted, in bytes not floats.
    assert peak < (2 if task is MULTI_LABEL_EVALUATION else 0.5) * size


def test_chunks_change_no_figure(monkeypatch):
    generator = np.random.default_rng(0)
    student, teacher = generator.normal(size=(2, 50, 7))
    labels, sets = generator.integers(-1, 7, 50), (generator.random((50, 7)) < 0.3).astype(float)
    labels[labels < 0] = -100

    def figures():
        parts = [(SINGLE_LABEL_EVALUATION, labels), (MULTI_LABEL_EVALUATION, sets)]
        return [
            value
            for task, own in parts
            for value in (task.calibration_error(student, own), *(f(student, teacher) for f in task.fidelity.values()))
        ]

    whole = figures()
    monkeypatch.setattr(chunks, "CELLS_AT_ONCE", 20)
    assert figures() == pytest.approx(whole, abs=1e-12)
