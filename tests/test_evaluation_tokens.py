"""Token classification: entities against seqeval, words against loops."""

import math
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score

from distilnlp.errors import DistillationError
from distilnlp.metrics import agreement, expected_calibration_error, mean_kl
from distilnlp.tasks import TOKEN_EVALUATION
from distilnlp.tasks.token_classification.schemes import entity_tags

ENTITIES = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
PARTS = ("NOUN", "VERB", "DET")


def config(names):
    return SimpleNamespace(num_labels=len(names), id2label=dict(enumerate(names)))


def tagged(sentences=8, tags=5, right=0.6, seed=0):
    """Logits [words, tags] and tag ids [words] of ragged sentences, some without words."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(0, 9, sentences)
    ids = [generator.integers(0, tags, length) for length in lengths]
    logits = [generator.normal(size=(length, tags)) for length in lengths]
    for scores, labels in zip(logits, ids, strict=True):
        scores[np.arange(len(labels)), labels] += 4 * (generator.random(len(labels)) < right)
    return logits, ids


def as_rows(ids, words_apart=2):
    """Rows whose words have several pieces each, between two special pieces."""
    rows = []
    for labels in ids:
        pieces = [[int(label), *[-100] * (words_apart - 1)] for label in labels]
        label = [-100, *(piece for word in pieces for piece in word), -100]
        starts = [0, *([1, *[0] * (words_apart - 1)] * len(labels)), 0]
        rows.append({"input_ids": [7] * len(label), "label": label, "word_starts": starts})
    return rows


def labels_of(ids, names=ENTITIES):
    return TOKEN_EVALUATION.read_labels(as_rows(ids), config(names))


def by_seqeval(logits, ids):
    predictions = [[ENTITIES[tag] for tag in row.argmax(-1)] for row in logits if len(row)]
    truth = [[ENTITIES[tag] for tag in row] for row in ids if len(row)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "entity_f1": f1_score(truth, predictions),
            "entity_precision": precision_score(truth, predictions),
            "entity_recall": recall_score(truth, predictions),
            "accuracy": accuracy_score(truth, predictions),
        }


@given(seed=st.integers(0, 9999), sentences=st.integers(1, 6), right=st.sampled_from([0.0, 0.6, 1.0]))
def test_entity_metrics_equal_seqeval(seed, sentences, right):
    logits, ids = tagged(sentences, right=right, seed=seed)
    if any(map(len, ids)):
        found = TOKEN_EVALUATION.scores(logits, labels_of(ids)).values()
        assert found == pytest.approx(by_seqeval(logits, ids))
        assert next(iter(found)) == "entity_f1"


def test_token_draws_score_as_the_sentences_they_repeat():
    logits, ids = tagged(9, seed=1)
    kept = [index for index, row in enumerate(ids) if len(row)]
    drawn = np.random.default_rng(0).integers(0, len(kept), (20, len(kept)))
    found = TOKEN_EVALUATION.scores(logits, labels_of(ids)).scores(drawn)
    for index, sentences in enumerate(drawn):
        rows = [kept[sentence] for sentence in sentences]
        expected = by_seqeval([logits[row] for row in rows], [ids[row] for row in rows])
        assert {name: values[index] for name, values in found.items()} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (("O", "B-PER", "I-PER"), "entity_f1"),
        (("S-PER", "E-PER", "O"), "entity_f1"),
        (PARTS, "accuracy"),
        (("O", "PER", "B-LOC"), "accuracy"),
        (("LABEL_0", "LABEL_1", "LABEL_2"), "accuracy"),
        (("O", "U-PER", "L-PER"), "entity_f1"),
        (("O", "M-PER", "B-PER"), "entity_f1"),
        (("O", "B", "I"), "entity_f1"),
        (("B-PER", "W-PER", "L-PER"), "accuracy"),  # of no one scheme
        (("O", "B", "I-PER"), "accuracy"),
    ],
)
def test_entities_are_scored_where_every_tag_has_a_prefix(names, first):
    logits, ids = tagged(tags=3)
    found = TOKEN_EVALUATION.scores(logits, labels_of(ids, names)).values()
    assert next(iter(found)) == first
    right = [row.argmax(-1) == labels for row, labels in zip(logits, ids, strict=True)]
    assert found["accuracy"] == pytest.approx(np.concatenate(right).mean())
    assert len(found) == (4 if first == "entity_f1" else 1)


def test_words_and_sentences_without_a_tag_are_left_out():
    logits, ids = tagged(6)
    partly = [np.where(np.arange(len(row)) % 3 == 1, -100, row) for row in ids]
    rows = as_rows(partly)
    rows[2]["label"] = None
    del rows[3]["label"]
    labels = TOKEN_EVALUATION.read_labels(rows, config(ENTITIES))
    kept = [index for index in range(6) if index not in (2, 3)]
    only = [partly[index] != -100 for index in kept]
    expected = by_seqeval(
        [logits[index][mask] for index, mask in zip(kept, only, strict=True)],
        [ids[index][mask] for index, mask in zip(kept, only, strict=True)],
    )
    assert TOKEN_EVALUATION.scores(logits, labels).values() == pytest.approx(expected)


def test_training_metrics_are_those_of_the_report():
    logits, ids = tagged(6)
    rows = as_rows(ids)
    length = max(len(row["label"]) for row in rows)
    padded, labels = np.full((6, length, 5), -100.0), np.full((6, length), -100)
    for index, row in enumerate(rows):
        labels[index, : len(row["label"])] = row["label"]
        padded[index, np.flatnonzero(row["word_starts"])] = logits[index]
    compute = TOKEN_EVALUATION.compute_metrics(config(ENTITIES))
    found = compute(SimpleNamespace(predictions=padded, label_ids=labels))
    assert found == TOKEN_EVALUATION.scores(logits, labels_of(ids)).values()
    with pytest.raises(DistillationError, match="finite logits"):
        compute(SimpleNamespace(predictions=padded * math.nan, label_ids=labels))
    with pytest.raises(DistillationError, match=r"none of the .* words has a label"):
        compute(SimpleNamespace(predictions=padded, label_ids=np.full_like(labels, -100)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"word_starts": ...}, r"with the column 'word_starts', but row 0 has only \['input_ids', 'label'\]"),
        ({"label": [0, 1]}, "a label for each of a row's 4 pieces"),
        ({"label": [-100, 9, -100, -100]}, r"from 0 to 4, but the words hold \[9\]"),
        ({"label": [-100, 0.5, -100, -100]}, "one class id per word"),
        ({"label": None}, "none of the 1 words has a label"),
    ],
)
def test_token_rows_that_cannot_be_scored_are_an_error(change, message):
    row = {**as_rows([[3]])[0], **change}
    with pytest.raises(DistillationError, match=message):
        TOKEN_EVALUATION.read_labels(
            [{name: value for name, value in row.items() if value is not ...}], config(ENTITIES)
        )


def test_tags_are_put_into_the_order_of_the_first_model():
    logits, _ = tagged(3, tags=3)
    order = ("DET", "NOUN", "VERB")
    found = TOKEN_EVALUATION.align(logits, config(order), config(PARTS))
    for row, aligned in zip(logits, found, strict=True):
        np.testing.assert_array_equal(aligned, row[:, [1, 2, 0]])
    assert TOKEN_EVALUATION.align(logits, config(PARTS), config(PARTS)) is logits
    with pytest.raises(DistillationError, match="same labels"):
        TOKEN_EVALUATION.align(logits, config(("A", "B", "C")), config(PARTS))


def test_fidelity_and_calibration_are_over_all_words():
    (student, ids), (reference, _) = tagged(seed=3), tagged(seed=3, right=0)
    words = np.concatenate(student), np.concatenate(reference)
    assert TOKEN_EVALUATION.fidelity["agreement"](student, reference) == agreement(*words)
    assert TOKEN_EVALUATION.fidelity["kl"](student, reference) == mean_kl(*words)
    exponentials = np.exp(words[0])
    probabilities = exponentials / exponentials.sum(-1, keepdims=True)
    expected = expected_calibration_error(probabilities, np.concatenate(ids))
    assert TOKEN_EVALUATION.calibration_error(student, labels_of(ids)) == pytest.approx(expected)
    with pytest.raises(DistillationError, match="numbers of words differ"):
        TOKEN_EVALUATION.fidelity["agreement"](student, [reference[0][:-1], *reference[1:]])


def test_intervals_hold_the_value_and_follow_their_seed():
    logits, ids = tagged(60)
    scorer = TOKEN_EVALUATION.scores(logits, labels_of(ids))
    found = scorer.intervals(seed=1)
    assert {name: interval.value for name, interval in found.items()} == scorer.values()
    assert all(interval.low < interval.value < interval.high for interval in found.values())
    assert scorer.intervals(seed=1) == found != scorer.intervals(seed=2)


@pytest.mark.parametrize(
    ("letters", "separator", "scheme"),
    [("BILU", "-", "BILOU"), ("BMES", "-", "BMES"), ("BMEW", "_", "BMEWO"), ("BIES", "-", "IOB or IOBES")],
)
@pytest.mark.filterwarnings("error::UserWarning")
def test_entities_of_every_scheme_are_those_of_iobes(letters, separator, scheme, caplog):
    names, other = (
        ("O", *(f"{letter}{mark}{kind}" for letter in own for kind in ("PER", "LOC")))
        for own, mark in (("BIES", "-"), (letters, separator))
    )
    logits, ids = tagged(tags=9, seed=3)
    entity_tags.cache_clear()
    with caplog.at_level("INFO"):
        found = TOKEN_EVALUATION.scores(logits, labels_of(ids, other)).values()
    assert found == TOKEN_EVALUATION.scores(logits, labels_of(ids, names)).values()
    assert 0 < found["entity_f1"] < 1
    assert f"the word tags follow {scheme}: whole entities are scored" in caplog.text


def test_tags_of_no_scheme_are_said_once(caplog):
    logits, ids = tagged(tags=3)
    entity_tags.cache_clear()
    with caplog.at_level("INFO"):
        for _ in range(2):
            TOKEN_EVALUATION.scores(logits, labels_of(ids, PARTS))
        TOKEN_EVALUATION.scores(logits, labels_of(ids, ("LABEL_0", "LABEL_1", "LABEL_2")))
    assert "the word tags have no names: accuracy" in caplog.text
    assert caplog.text.count("follow none of the schemes IOB or IOBES, BILOU, BMES, BMEWO ('NOUN'): accuracy") == 1
