"""Kept predictions: every figure of a run can be computed from them again, without a model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from distilnlp.errors import DistillationError
from distilnlp.evaluation import ANSWERS, PREDICTIONS, ROWS, Predictions, measure_quality, read_rows
from distilnlp.runs import run
from distilnlp.tasks import TASKS
from tests.test_task_runs import folder, task_recipe  # noqa: F401  # a fixture


@pytest.mark.parametrize("task", TASKS)
def test_the_figures_of_a_run_come_out_of_its_kept_predictions(folder: Path, task: str) -> None:  # noqa: F811
    results = run(task_recipe(folder, task, baseline=True))
    kept = folder / "out" / PREDICTIONS
    predictions = Predictions.load(kept / ANSWERS)
    qualities = measure_quality(
        predictions.by_model, predictions.labels, TASKS[task].evaluation, "teacher", resamples=200
    )
    assert list(qualities) == ["teacher", "student", "baseline"]
    for name, quality in qualities.items():
        for metric, figures in quality["metrics"].items():
            assert figures["value"] == results["models"][name]["metrics"][metric]["value"]
        assert quality["fidelity"] == results["models"][name]["fidelity"]
    rows = read_rows(kept / ROWS)
    assert len(rows) == results["rows"]["test"]
    assert set(rows[0]) <= set(TASKS[task].rows.inputs)
    assert all(rows)


VALUES: dict[str, Any] = {
    "one array": np.array([[1.5, -2.0]], dtype=np.float32),
    "rows of any length": [np.ones((2, 3)), np.zeros((0, 3)), np.ones((1, 3))],
    "texts": ["", "a\n<b>", "ünicode"],
    "lists of texts": [["a", "b"], []],
    "names": ("a", "b"),
}


@pytest.mark.parametrize("kind", VALUES)
def test_what_is_kept_is_what_was_given(tmp_path: Path, kind: str) -> None:
    Predictions(VALUES[kind], {"a": VALUES[kind], "b": VALUES[kind]}).save(tmp_path / "kept")
    again = Predictions.load(tmp_path / "kept")
    assert list(again.by_model) == ["a", "b"]
    for value in (again.labels, *again.by_model.values()):
        np.testing.assert_equal(value, VALUES[kind])


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match="cannot be read"):
        Predictions.load(tmp_path / "nowhere")
    (tmp_path / "broken").write_bytes(b"no safetensors")
    save_file({"labels": np.zeros(1)}, tmp_path / "other")
    for name in ("broken", "other"):
        with pytest.raises(DistillationError, match="Run its recipe again"):
            Predictions.load(tmp_path / name)
