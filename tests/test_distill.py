"""`distilnlp.distill`: the command as a function."""

from pathlib import Path
from typing import Any

import pytest

import distilnlp
from distilnlp.errors import DistillationError
from distilnlp.runs import run
from tests.test_task_runs import RANDOM, folder, task_recipe  # noqa: F401  # a fixture

ARGUMENTS = {"max_steps": 2, "bf16": False}


def distilled(folder: Path, **keys: Any) -> distilnlp.DistillationResult:  # noqa: F811
    RANDOM.seed(1)  # a second call is of the same rows
    task = task_recipe(folder, "single_label_classification")
    options: dict[str, Any] = {
        "student": {"num_layers": 1},
        "training": ARGUMENTS,
        "evaluation": {"speed": False, "bootstrap_resamples": 100},
        "screen": "quiet",
    }
    teacher = {"model": folder / "teacher", "finetune": ARGUMENTS}
    return distilnlp.distill(teacher, task.data.source, folder / "made", **{**options, **keys})


def test_the_function_makes_what_the_command_makes(folder: Path) -> None:  # noqa: F811
    result = distilled(folder, baseline=ARGUMENTS)
    assert list(result.results["models"]) == ["teacher", "student", "baseline"]
    assert result.student == folder / "made" / "student"
    assert result.report.is_file()
    assert set(result.pipeline()("the film")[0]) == {"label", "score"}
    text = repr(result)
    assert result.results["verdict"][0] in text
    assert "accuracy" in text
    assert max(map(len, text.split("\n\n")[1].splitlines())) <= 80
    assert result.results["command"].startswith("distilnlp.distill({'model': ")
    assert "baseline={'max_steps': 2, 'bf16': False}" in result.results["command"]
    again = distilled(folder, baseline=ARGUMENTS)
    assert again.results == result.results


def test_a_notebook_shows_the_table_with_texts_escaped(folder: Path) -> None:  # noqa: F811
    results = dict(run(task_recipe(folder, "single_label_classification")))
    result = distilnlp.DistillationResult(folder / "<out>", {**results, "verdict": ["1 < 2 & more"]})
    html = result._repr_html_()
    assert html.count("<tr>") == html.count("</tr>") > 5
    assert "<li>1 &lt; 2 &amp; more</li>" in html
    assert "&lt;out&gt;" in html
    assert "<out>" not in html


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"teacher": object()}, "teacher must be a name or a path, but got object. Save it"),
        ({"data": [1.0]}, "data"),
        ({"data": 3}, "data must be a name or a path, but got int. Save it to a file"),
        ({"student": {"num_layer": 1}}, "num_layer"),
        ({"epochs": 3}, "epochs"),
        ({"output": "a\0b"}, "output"),
    ],
    ids=["a teacher in memory", "numbers", "a number", "an unknown key", "a key of no section", "NUL"],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    options = {"teacher": str(tmp_path), "data": "d.csv", "output": tmp_path / "out", "screen": "quiet", **given}
    with pytest.raises(DistillationError, match=message):
        distilnlp.distill(**options)
