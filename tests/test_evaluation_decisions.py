"""Multi-label classification and regression: their metrics against scikit-learn, SciPy and loops."""

import math
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import average_precision_score, f1_score

from distilnlp.errors import DistillationError
from distilnlp.metrics import expected_calibration_error
from distilnlp.tasks import MULTI_LABEL_EVALUATION, REGRESSION_EVALUATION
from tests.naive_metrics import naive_multi_label_metrics

MULTI, SCORE = MULTI_LABEL_EVALUATION, REGRESSION_EVALUATION


def label_sets(rows=40, labels=3, unknown=0.0, seed=0):
    """Logits with ties, and labels that go with them."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(rows, labels)).round(1)
    truth = (logits + generator.normal(size=logits.shape) > 0.5).astype(float)
    truth[generator.random(truth.shape) < unknown] = np.nan
    return logits, truth


def config(num_labels):
    return SimpleNamespace(num_labels=num_labels)


def trained(logits, labels):
    """What a Trainer hands to compute_metrics."""
    return SimpleNamespace(predictions=logits, label_ids=labels)


# Multi-label


def test_multi_label_metrics_equal_scikit_learn():
    logits, labels = label_sets()
    found = MULTI.scores(logits, labels).values()
    assert found["micro_f1"] == pytest.approx(f1_score(labels, logits > 0, average="micro"))
    assert found["macro_f1"] == pytest.approx(f1_score(labels, logits > 0, average="macro"))
    assert found["map"] == pytest.approx(average_precision_score(labels, logits, average="macro"))
    assert next(iter(found)) == "micro_f1"


@given(seed=st.integers(0, 999), rows=st.integers(1, 12), labels=st.integers(1, 4), unknown=st.sampled_from([0, 0.4]))
def test_multi_label_metrics_leave_unknown_entries_and_absent_labels_out(seed, rows, labels, unknown):
    logits, truth = label_sets(rows, labels, unknown, seed)
    if not np.isnan(truth).all():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = MULTI.scores(logits, truth).values()
        assert found == pytest.approx(naive_multi_label_metrics(logits, truth), nan_ok=True)


def test_multi_label_draws_score_as_the_rows_they_repeat():
    logits, labels = label_sets(12, unknown=0.2)
    scorer = MULTI.scores(logits, labels)
    drawn = np.random.default_rng(0).integers(0, 12, (30, 12))
    found = scorer.scores(drawn)
    for index, rows in enumerate(drawn):
        expected = naive_multi_label_metrics(logits[rows], labels[rows])
        assert {name: values[index] for name, values in found.items()} == pytest.approx(expected)


def test_a_row_without_any_label_is_no_unit():
    logits, labels = label_sets(10)
    labels[3:] = np.nan
    assert len(MULTI.scores(logits, labels).columns[0]) == 3
    assert MULTI.scores(logits, labels).intervals() == MULTI.scores(logits[:3], labels[:3]).intervals()


def test_multi_label_rows_are_read_with_their_gaps():
    rows = [{"label": [1, 0]}, {"label": None}, {"labels": [None, 1.0]}, {}, {"label": [-100, math.nan]}]
    expected = [[1, 0], [np.nan] * 2, [np.nan, 1], [np.nan] * 2, [np.nan] * 2]
    np.testing.assert_array_equal(MULTI.read_labels(rows, config(2)), expected)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[1, 0, 1]], r"labels of the shape \(2,\).* such as \(3,\)"),
        ([1], r"such as \(\)"),
        ([[0.5, 1]], "0, 1 or NaN"),
        (["film"], "labels that are numbers, but a row has 'film'"),
        ([[[1], [0, 1]]], "labels that are numbers"),
        ([None, [math.nan, math.nan]], "none of the 2 rows has a label"),
    ],
)
def test_multi_label_rows_that_cannot_be_scored_are_an_error(labels, message):
    with pytest.raises(DistillationError, match=message):
        MULTI.read_labels([{"label": label} for label in labels], config(2))


def test_multi_label_training_metrics_are_those_of_the_report():
    logits, labels = label_sets(unknown=0.3)
    compute = MULTI.compute_metrics(config(3))
    assert compute(trained(logits, labels)) == MULTI.scores(logits, labels).values()
    for broken, message in [(logits[:, :2], r"shape \[rows, 2\]"), (logits * np.nan, "finite logits")]:
        with pytest.raises(DistillationError, match=message):
            compute(trained(broken, labels))


def test_multi_label_fidelity_equals_loops():
    student, reference = np.random.default_rng(0).normal(size=(2, 9, 4)) * 3
    same, divergence = [], []
    for s, r in zip(student.ravel(), reference.ravel(), strict=True):
        q, p = (1 / (1 + math.exp(-z)) for z in (s, r))
        same.append((q > 0.5) == (p > 0.5))
        divergence.append(p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q)))
    found = {name: measure(student, reference) for name, measure in MULTI.fidelity.items()}
    assert found == pytest.approx({"agreement": np.mean(same), "kl": np.mean(divergence)})
    assert MULTI.fidelity["kl"](-np.full((1, 2), 900.0), np.full((1, 2), 900.0)) == pytest.approx(900)


def test_multi_label_calibration_counts_each_known_decision():
    logits, labels = label_sets(unknown=0.3)
    known = ~np.isnan(labels)
    holds = 1 / (1 + np.exp(-logits[known]))
    expected = expected_calibration_error(np.stack([1 - holds, holds], -1), labels[known].astype(int))
    assert MULTI.calibration_error(logits, labels) == pytest.approx(expected)
    sure = np.array([[9.0, -9.0], [9.0, -9.0]])
    assert MULTI.calibration_error(sure, np.array([[1, 0], [np.nan, 1]])) == pytest.approx(1 / 3, abs=1e-3)


# Regression


def values_and_targets(rows=30, seed=0):
    generator = np.random.default_rng(seed)
    values = generator.normal(size=rows)
    return values.round(1), (3 * values + generator.normal(size=rows)).round()  # both with ties


@given(seed=st.integers(0, 999), rows=st.integers(3, 25))
def test_regression_metrics_equal_scipy(seed, rows):
    values, targets = values_and_targets(rows, seed)
    found = SCORE.scores(values, targets).values()
    if len(set(values)) > 1 and len(set(targets)) > 1:
        assert found["pearson"] == pytest.approx(pearsonr(values, targets).statistic)
        assert found["spearman"] == pytest.approx(spearmanr(values, targets).statistic)


def test_regression_draws_score_as_the_rows_they_repeat():
    values, targets = values_and_targets(9)
    drawn = np.random.default_rng(0).integers(0, 9, (20, 9))
    found = SCORE.scores(values, targets).scores(drawn)
    for index, rows in enumerate(drawn):
        assert found["pearson"][index] == pytest.approx(pearsonr(values[rows], targets[rows]).statistic)
        assert found["spearman"][index] == pytest.approx(spearmanr(values[rows], targets[rows]).statistic)


@pytest.mark.parametrize(("values", "targets"), [([0.1] * 7, range(7)), (range(7), [0.1] * 7), ([0.0], [1.0])])
def test_a_constant_has_no_correlation_and_gives_no_warning(values, targets):
    columns = np.array(values, dtype=float), np.array(targets, dtype=float)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = SCORE.scores(*columns).intervals(50)
    assert all(math.isnan(bound) for one in found.values() for bound in (one.low, one.value, one.high))
    # A Trainer compares it to find the best checkpoint.
    assert SCORE.compute_metrics(config(1))(trained(*columns)) == {"pearson": 0, "spearman": 0}


def test_labels_that_never_hold_have_no_f1_unless_they_are_predicted():
    nothing = MULTI.scores(np.full((4, 2), -1.0), np.zeros((4, 2))).values()
    assert all(map(math.isnan, nothing.values()))
    assert MULTI.compute_metrics(config(2))(trained(np.full((4, 2), -1.0), np.zeros((4, 2))))["micro_f1"] == 0
    wrong = MULTI.scores(np.full((4, 2), 1.0), np.zeros((4, 2))).values()
    assert (wrong["micro_f1"], wrong["macro_f1"]) == (0, 0)


def test_rows_without_a_target_are_left_out():
    values, targets = values_and_targets(8)
    rows = [*({"label": target} for target in targets), {"label": None}, {"label": math.nan}, {}]
    read = SCORE.read_labels(rows, config(1))
    assert SCORE.scores(np.append(values, [99] * 3), read).values() == SCORE.scores(values, targets).values()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([None, math.nan], "none of the 2 rows has a label"),
        ([[1.0, 2.0]], r"labels of the shape \(\), but 1 of 1 rows"),
        (["high"], "labels that are numbers"),
        ([math.inf], "finite number"),
    ],
)
def test_regression_rows_that_cannot_be_scored_are_an_error(labels, message):
    with pytest.raises(DistillationError, match=message):
        SCORE.read_labels([{"label": label} for label in labels], config(1))


def test_regression_training_metrics_are_those_of_the_report():
    values, targets = values_and_targets()
    compute = SCORE.compute_metrics(config(1))
    assert compute(trained(values[:, None], targets)) == SCORE.scores(values, targets).values()
    assert compute(trained((values, "hidden states"), targets)) == SCORE.scores(values, targets).values()
    for broken, message in [(np.zeros((30, 2)), "one output"), (values * np.nan, "finite logits")]:
        with pytest.raises(DistillationError, match=message):
            compute(trained(broken, targets))


def test_regression_fidelity_compares_values():
    student, reference = np.random.default_rng(0).normal(size=(2, 9))
    found = {name: measure(student, reference) for name, measure in SCORE.fidelity.items()}
    difference = sum(abs(s - r) for s, r in zip(student, reference, strict=True)) / 9
    correlation = pearsonr(student, reference).statistic
    assert found == pytest.approx({"correlation": correlation, "absolute_difference": difference})
    with pytest.raises(DistillationError, match="one shape"):
        SCORE.fidelity["correlation"](student[:1], reference)


# Intervals of both


@pytest.mark.parametrize(("task", "data"), [(MULTI, label_sets(60, unknown=0.1)), (SCORE, values_and_targets(60))])
def test_intervals_hold_the_value_and_follow_their_seed(task, data, monkeypatch):
    scorer = task.scores(*data)
    found = scorer.intervals(seed=1)
    assert {name: interval.value for name, interval in found.items()} == scorer.values()
    assert all(interval.low < interval.value < interval.high for interval in found.values())
    assert found != scorer.intervals(seed=2)
    monkeypatch.setattr("distilnlp.metrics.intervals.CELLS_AT_ONCE", 60 * 64)
    again = scorer.intervals(seed=1)
    assert all(again[name].low == pytest.approx(interval.low) for name, interval in found.items())
