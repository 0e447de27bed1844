"""Runs side by side: paired differences on the same rows, and what differs in their recipes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilnlp.cli import commands as cli
from distilnlp.errors import DistillationError
from distilnlp.report import Comparison, Evidence
from distilnlp.runs import run
from tests.test_report import evidence
from tests.test_task_runs import folder, task_recipe  # noqa: F401  # a fixture

ROWS = 200
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, 2, ROWS)
TEXTS = [{"text": str(index)} for index in range(ROWS)]


def run_with(right: float, name: str, recipe: Any = (), labels: Any = LABELS, rows: Any = TEXTS) -> Evidence:
    """Return a run whose student is right on the first share of the rows."""
    answered = np.where(np.arange(ROWS) < right * ROWS, labels, 1 - labels)
    logits = np.eye(2, dtype=np.float32)[answered]
    made = evidence("single_label_classification", labels, {"student": logits}, rows, ["a", "b"])
    made = replace(made, folder=Path("runs") / name)
    vars(made)["recipe"] = {"output": name, **dict(recipe)}
    return made


def naive_interval(one: float, two: float) -> tuple[float, float]:
    """Return the 95% interval of a difference of accuracies, by 2,000 paired draws of its own."""
    hits = [(np.arange(ROWS) < share * ROWS).astype(float) for share in (one, two)]
    draws = [RNG.integers(0, ROWS, ROWS) for _ in range(2000)]
    low, high = np.percentile([(hits[1] - hits[0])[drawn].mean() for drawn in draws], [2.5, 97.5])
    return 100 * low, 100 * high


def test_a_difference_is_real_if_its_paired_interval_does_not_hold_nothing() -> None:
    comparison = Comparison.of([run_with(0.80, "small"), run_with(0.90, "large"), run_with(0.805, "same")])
    small_large, small_same, large_same = comparison.said
    assert small_large.startswith("large is better than small: accuracy 90.0% against 80.0% (+10.0 points")
    low, high = (float(word) for word in small_large.rstrip(").").split("interval ")[1].replace("+", "").split(" to "))
    np.testing.assert_allclose((low, high), naive_interval(0.8, 0.9), atol=0.8)
    assert small_same.startswith("same and small are not told apart by 200 test rows: accuracy 80.5% against 80.0%")
    assert large_same.startswith("same is worse than large")


def test_runs_on_other_rows_are_not_told_apart() -> None:
    for other in (
        run_with(0.9, "b", labels=1 - LABELS),
        run_with(0.9, "b", rows=[*TEXTS[:-1], {"text": "another"}]),
    ):
        assert ["other test rows" in said for said in Comparison.of([run_with(0.8, "a"), other]).said] == [True]


def test_what_differs_in_the_recipes_is_told() -> None:
    one = {"student": {"num_layers": 2}, "seed": 0, "teacher": {"finetune": {"max_steps": 3}}}
    two = {"student": {"num_layers": 1, "model": None}, "seed": 0, "teacher": {"finetune": True}}
    comparison = Comparison.of([run_with(0.8, "a", one), run_with(0.8, "b", two)])
    assert comparison.differences == [
        ("student.num_layers", ["2", "1"]),
        ("teacher.finetune.max_steps", ["3", "–"]),
        ("teacher.finetune", ["–", "True"]),
    ]


def test_what_cannot_be_compared_is_refused() -> None:
    scores = evidence("regression", np.zeros(3), {"student": np.zeros(3)}, [{"text": "x"}] * 3, [])
    for runs, message in (
        ([run_with(0.8, "a")], "two runs or more"),
        ([run_with(0.8, "a"), run_with(0.9, "a")], "given twice"),
        ([run_with(0.8, "a"), scores], "of one task"),
    ):
        with pytest.raises(DistillationError, match=message):
            Comparison.of(runs)


def test_the_command_shows_runs_side_by_side(folder: Path, capsys: Any) -> None:  # noqa: F811
    task = "single_label_classification"
    for name, layers in (("one", 1), ("two", 2)):
        made = task_recipe(folder, task, output=str(folder / name), **{"student.num_layers": layers})
        results = run(made)
        assert results["seed"] == 0
        assert results["hyperparameters"].keys() == {"teacher", "student"}
        assert {"teacher", "student", "predictions"} <= results["seconds"].keys()
        assert {"teacher/model.safetensors", "student/model.safetensors"} <= results["checksums"].keys()
        assert results["command"]
        assert results["rows"]["validation"] == 0
    capsys.readouterr()
    assert cli.main(["compare", str(folder / "one"), str(folder / "two")]) == 0
    out = capsys.readouterr().out
    assert "student.num_layers\n      one: 1\n      two: 2\n" in out
    assert max(map(len, out.splitlines())) <= 80
    assert cli.main(["compare", str(folder / "one"), str(folder / "two"), "--json"]) == 0
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert event["event"] == "results"
    assert event["differences"] == {"student.num_layers": ["1", "2"]}
