"""From which probability on a label is served: against every threshold tried by hand, and in the answers to a file."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import f1_score

from distilnlp.data import DataConfig
from distilnlp.runs import predict_saved
from distilnlp.tasks import TASKS
from distilnlp.tasks.multi_label.scores import MULTI_LABEL_EVALUATION
from distilnlp.tasks.multi_label.thresholds import FEWEST, best_thresholds
from tests.test_export import TEXTS, saved
from tests.tiny import tiny_tokenizer
from tests.tiny_tasks import task_model, task_rows


def drawn(rows: int, *biases: float) -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    labels = (random.random((rows, len(biases))) < 0.3).astype(float)
    return labels * 1.5 + random.normal(size=labels.shape) + np.array(biases), labels


def naive_best_f1(scores: Any, truth: Any) -> float:
    return max(f1_score(truth, scores > at) for at in [scores.min() - 1, *scores])


def test_each_label_gets_the_threshold_of_its_highest_f1() -> None:
    logits, labels = drawn(300, -3.0, 0.0, 2.0)
    labels[::7, 1] = np.nan
    found = best_thresholds(logits, labels)
    for place, threshold in enumerate(found):
        known = ~np.isnan(labels[:, place])
        scores, truth = logits[known, place], labels[known, place]
        reached = f1_score(truth, expit(scores) > threshold)
        assert reached == pytest.approx(naive_best_f1(scores, truth), abs=1e-12)
        assert reached > f1_score(truth, scores > 0) or place == 1
    assert found[0] < found[1] < found[2]


def test_a_rare_label_gets_the_threshold_of_all() -> None:
    logits, labels = drawn(200, -1.0, -1.0)
    labels[:, 1] = 0
    labels[: FEWEST - 1, 1] = 1
    shared = best_thresholds(logits, labels)[1]
    flat, truth = logits.ravel(), labels.ravel()
    assert f1_score(truth, expit(flat) > shared) == pytest.approx(naive_best_f1(flat, truth), abs=1e-12)
    labels[FEWEST - 1, 1] = 1
    assert best_thresholds(logits, labels)[1] != shared


def test_rows_of_equal_score_and_no_label_at_all() -> None:
    equal = np.zeros((50, 1))
    assert best_thresholds(equal, np.ones((50, 1)))[0] < 0.5  # all of them are given
    assert best_thresholds(equal, np.zeros((50, 1)))[0] == 0.5


def test_a_training_settles_them_and_the_served_labels_follow(tmp_path: Path) -> None:
    model = task_model("multi_label_classification", num_hidden_layers=1)
    names = list(model.config.label2id)
    student = saved(tmp_path / "student", model, label_thresholds=[0.0] * (len(names) - 1) + [1.0])
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    output = tmp_path / "answers.jsonl"
    predict_saved(student, DataConfig(source=str(tmp_path / "texts.txt")), output, runtime="torch")
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert {tuple(sorted(row["labels"])) for row in rows} == {tuple(sorted(names[:-1]))}
    rows = task_rows("multi_label_classification", 60, 0)
    collator = TASKS["multi_label_classification"].collator(tiny_tokenizer())
    logits = MULTI_LABEL_EVALUATION.predict(model, list(rows), collator)
    MULTI_LABEL_EVALUATION.settle(model, list(rows), collator)
    expected = best_thresholds(logits, MULTI_LABEL_EVALUATION.read_labels(rows, model.config))
    assert model.config.label_thresholds == pytest.approx(expected.tolist(), abs=1e-4)
