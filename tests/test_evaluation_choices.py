"""Multiple choice and masked language modelling: what is kept of the logits, and how it is scored."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from distilnlp.errors import DistillationError
from distilnlp.metrics import expected_calibration_error, mean_kl
from distilnlp.tasks import CHOICE_EVALUATION, MASKED_LM_EVALUATION
from distilnlp.tasks.masked_lm.scores import MaskedTokens

CHOICE, MASKED = CHOICE_EVALUATION, MASKED_LM_EVALUATION


class SumModel(nn.Module):
    """The logit of a choice is the sum of its ids; a choice of padding alone is made the best."""

    device = torch.device("cpu")

    def forward(self, input_ids):
        sums = input_ids.sum(-1).float()
        return SimpleNamespace(logits=sums.masked_fill(sums == 0, 1e6))


class TableModel(nn.Module):
    """The logits of a position are a row of a table, by its id."""

    device = torch.device("cpu")

    def __init__(self, table):
        super().__init__()
        self.table = torch.tensor(table)

    def forward(self, input_ids):
        return SimpleNamespace(logits=self.table[input_ids])


def pad_choices(rows):
    """Pad choices and their pieces with 0."""
    counts = [len(row["input_ids"]) for row in rows]
    length = max(len(choice) for row in rows for choice in row["input_ids"])
    ids = torch.zeros(len(rows), max(counts), length, dtype=torch.long)
    for index, row in enumerate(rows):
        for place, choice in enumerate(row["input_ids"]):
            ids[index, place, : len(choice)] = torch.tensor(choice)
    mask = torch.arange(max(counts)) < torch.tensor(counts)[:, None]
    return {"input_ids": ids, "choice_mask": mask}


def pad_labels(rows):
    """Pad ids with 0 and labels with -100; rows without labels would be masked, so they are an error."""
    length = max(len(row["input_ids"]) for row in rows)
    fill = {"input_ids": 0, "labels": -100}
    return {
        name: torch.tensor([[*row[name], *[fill[name]] * (length - len(row[name]))] for row in rows]) for name in fill
    }


# Multiple choice

CHOICES = [
    {"input_ids": [[1, 2], [9], [1, 1, 1]], "label": 1},
    {"input_ids": [[4], [3, 2, 1]], "label": 0},
    {"input_ids": [[5], [6], [1], [7]], "label": None},
    {"input_ids": [[8], [8, 8]], "label": 1},
]
INFINITE = -math.inf
CHOICE_LOGITS = [[3, 9, 3, INFINITE], [4, 6, INFINITE, INFINITE], [5, 6, 1, 7], [8, 16, INFINITE, INFINITE]]


@pytest.mark.parametrize("batch_size", [1, 3])
def test_choices_that_a_row_does_not_have_never_count(batch_size):
    found = CHOICE.predict(SumModel(), CHOICES, pad_choices, batch_size, "the model")
    np.testing.assert_array_equal(found, CHOICE_LOGITS)
    labels = CHOICE.read_labels(CHOICES, None)
    np.testing.assert_array_equal(labels, [1, 0, -100, 1])
    assert CHOICE.scores(found, labels).values() == pytest.approx({"accuracy": 2 / 3})


def test_choices_of_one_number_need_no_mask():
    def pad(rows):
        return {"input_ids": pad_choices(rows)["input_ids"]}

    rows = [{"input_ids": [[1], [2]]}, {"input_ids": [[3, 3], [1]]}]
    np.testing.assert_array_equal(CHOICE.predict(SumModel(), rows, pad, 2, "the model"), [[1, 2], [6, 1]])


def test_choice_fidelity_and_calibration_are_means_over_rows_of_any_number_of_choices():
    reference = np.array(CHOICE_LOGITS, dtype=float)
    student = reference * 0.5
    rows = [([s[np.isfinite(s)]], [r[np.isfinite(r)]]) for s, r in zip(student, reference, strict=True)]
    assert CHOICE.fidelity["kl"](student, reference) == pytest.approx(np.mean([mean_kl(*pair) for pair in rows]))
    assert CHOICE.fidelity["agreement"](student, -np.abs(reference)) == 0
    exponentials = np.exp(student)
    probabilities = exponentials / exponentials.sum(-1, keepdims=True)
    labels = np.array([1, 0, -100, 1])
    expected = expected_calibration_error(probabilities[labels >= 0], labels[labels >= 0])
    assert CHOICE.calibration_error(student, labels) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 2, None, 1], "row 1 has 2 choices and the label 2"),
        ([1, 9, None, 1], r"from 0 to 3, but the rows hold \[9\]"),
        ([None] * 4, "none of the 4 rows has a label"),
        ([[1], [0], [1], [1]], "one class id per row"),
    ],
)
def test_labels_that_are_no_choice_are_an_error(labels, message):
    rows = [{**row, "label": label} for row, label in zip(CHOICES, labels, strict=True)]
    with pytest.raises(DistillationError, match=message):
        CHOICE.read_labels(rows, None)


def test_choice_training_metrics_leave_unlabelled_rows_out():
    compute = CHOICE.compute_metrics(None)
    labels = np.array([1, 0, -100, 1])
    assert compute(SimpleNamespace(predictions=np.array(CHOICE_LOGITS), label_ids=labels)) == {"accuracy": 2 / 3}
    with pytest.raises(DistillationError, match="finite logits"):
        compute(SimpleNamespace(predictions=np.array(CHOICE_LOGITS) * np.nan, label_ids=labels))


# Masked language modelling


def masked_rows(rows=6, vocabulary=7, seed=0):
    """Rows of ragged length with a label at some pieces; the first has none."""
    generator = np.random.default_rng(seed)
    made = []
    for index in range(rows):
        ids = generator.integers(0, vocabulary, generator.integers(2, 9))
        masked = (generator.random(len(ids)) < 0.5) & (index > 0)
        made.append({"input_ids": ids.tolist(), "labels": np.where(masked, (ids + index) % vocabulary, -100).tolist()})
    made[1]["labels"][0] = 3
    return made


@given(seed=st.integers(0, 999), batch_size=st.sampled_from([1, 4]))
def test_perplexity_and_accuracy_equal_loops(seed, batch_size):
    rows, table = masked_rows(seed=seed), np.random.default_rng(seed).normal(size=(7, 7)) * 2
    found = MASKED.predict(TableModel(table), rows, pad_labels, batch_size, "the model")
    losses, right = [], []
    for row in rows:
        for piece, label in zip(row["input_ids"], row["labels"], strict=True):
            if label != -100:
                losses.append(math.log(sum(map(math.exp, table[piece]))) - table[piece][label])
                right.append(max(range(7), key=lambda token: table[piece][token]) == label)
    labels = MASKED.read_labels(rows, SimpleNamespace(vocab_size=7))
    expected = {"perplexity": math.exp(sum(losses) / len(losses)), "accuracy": sum(right) / len(right)}
    assert MASKED.scores(found, labels).values() == pytest.approx(expected, rel=1e-5)
    assert list(expected) == list(MASKED.scores(found, labels).values())


def test_only_losses_and_best_ids_of_masked_tokens_are_kept():
    rows = masked_rows()
    found = MASKED.predict(TableModel(np.eye(7)), rows, pad_labels, 4, "the model")
    counts = [sum(label != -100 for label in row["labels"]) for row in rows]
    assert [(len(row.losses), len(row.best)) for row in found] == [(count, count) for count in counts]


def test_masked_draws_score_as_the_texts_they_repeat():
    rows, table = masked_rows(9), np.random.default_rng(0).normal(size=(7, 7))
    labels = MASKED.read_labels(rows, SimpleNamespace(vocab_size=7))
    found = MASKED.predict(TableModel(table), rows, pad_labels, 4, "the model")
    kept = [index for index, row in enumerate(labels) if len(row)]
    drawn = np.random.default_rng(1).integers(0, len(kept), (20, len(kept)))
    scores = MASKED.scores(found, labels).scores(drawn)
    for index, texts in enumerate(drawn):
        losses = np.concatenate([found[kept[text]].losses for text in texts])
        right = np.concatenate([found[kept[text]].best == labels[kept[text]] for text in texts])
        assert scores["perplexity"][index] == pytest.approx(math.exp(losses.mean(dtype=float)))
        assert scores["accuracy"][index] == pytest.approx(right.mean())


def test_masked_fidelity_is_the_share_of_equal_first_tokens():
    first, second = (
        [MaskedTokens(np.zeros(2), np.array(ids)) for ids in pairs] for pairs in ([[1, 2], [3, 4]], [[1, 0], [3, 4]])
    )
    assert MASKED.fidelity["agreement"](first, second) == 0.75
    assert MASKED.compute_metrics(None) is None


def test_a_loss_that_is_not_finite_is_an_error():
    table = np.zeros((7, 7))
    table[:, 2] = np.nan
    with pytest.raises(DistillationError, match="'student' gave NaN"):
        MASKED.predict(TableModel(table), masked_rows(), pad_labels, 4, "the model 'student'")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"input_ids": [1, 2]}, r"masked for an evaluation, with the column 'labels', but row 0"),
        ({"input_ids": [1, 2], "labels": [3]}, "a label for each of a row's 2 pieces"),
        ({"input_ids": [1, 2], "labels": [-100, 9]}, r"from 0 to 6, but the tokens hold \[9\]"),
        ({"input_ids": [1, 2], "labels": [-100, -100]}, "none of the 2 tokens has a label"),
    ],
)
def test_rows_that_are_not_masked_are_an_error(row, message):
    with pytest.raises(DistillationError, match=message):
        MASKED.read_labels([row], SimpleNamespace(vocab_size=7))


# Intervals of both


def test_intervals_hold_the_value_and_follow_their_seed():
    rows = masked_rows(60)
    found = MASKED.predict(TableModel(np.eye(7) * 2), rows, pad_labels, 4, "the model")
    masked = MASKED.scores(found, MASKED.read_labels(rows, SimpleNamespace(vocab_size=7)))
    generator = np.random.default_rng(0)
    choices = CHOICE.scores(generator.normal(size=(60, 3)), generator.integers(0, 3, 60))
    for scorer in (masked, choices):
        intervals = scorer.intervals(seed=1)
        assert {name: interval.value for name, interval in intervals.items()} == scorer.values()
        assert all(interval.low < interval.value < interval.high for interval in intervals.values())
        assert scorer.intervals(seed=1) == intervals
    assert masked.intervals(seed=1) != masked.intervals(seed=2)
