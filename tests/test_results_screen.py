"""What stands at the end of a command."""

import json
from pathlib import Path
from typing import Any

import pytest

from distilnlp.cli.results import next_commands, show_results
from distilnlp.runs import run
from tests.test_task_runs import folder, task_recipe  # noqa: F401  # a fixture


@pytest.mark.parametrize(
    ("config", "flag"),
    [
        ({"num_hidden_layers": 6}, "--num-layers 3"),
        ({"n_layers": 2}, "--num-layers 1"),
        ({"num_hidden_layers": 1}, "--student.trim_vocabulary"),
        ({}, "--student.trim_vocabulary"),
    ],
    ids=str,
)
def test_the_next_commands_can_be_given_as_they_stand(config: dict[str, int], flag: str, tmp_path: Path) -> None:
    output = tmp_path / "a run"
    (output / "student").mkdir(parents=True)
    (output / "student" / "config.json").write_text(json.dumps(config))
    evaluate, smaller, export, upload = next_commands(str(output))
    assert smaller == f"distilnlp distill '{output}'/recipe.yaml {flag} --output '{output}'-smaller"
    assert evaluate == f"distilnlp evaluate '{output}'/student --data MORE.csv"
    assert export == f"distilnlp export '{output}'/student --data MORE.csv"
    assert upload == f"distilnlp push '{output}' USER/NAME"


@pytest.mark.parametrize("task", ["single_label_classification", "masked_lm"])
def test_the_end_of_a_run_fits_80_columns(folder: Path, task: str, capsys: Any) -> None:  # noqa: F811
    results = run(task_recipe(folder, task, baseline=True, **{"evaluation.speed": True}))
    capsys.readouterr()
    show_results(results, str(folder / "out"), "auto")
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines if str(folder) not in line) <= 80
    assert f"report    {folder / 'out'}/report.html" in lines
    header = next(line for line in lines if line.strip().startswith("teacher "))
    assert header.split() == ["teacher", "student", "baseline"]
