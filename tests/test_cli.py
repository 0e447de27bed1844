"""The command line: flags, exit codes and messages."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from distilnlp.cli import commands as cli
from distilnlp.errors import DistillationError, NonFiniteLossError


def test_flags_are_read_as_yaml() -> None:
    words = [
        "--training.learning_rate",
        "3e-5",
        "--data.text_columns",
        "[a,b]",
        "--baseline=true",
        "--student.num_layers=2",
    ]
    own, overrides = cli.split_overrides(["distill", *words, "recipe.yaml", "--dry-run"], {"--dry-run"})
    assert own == ["distill", "recipe.yaml", "--dry-run"]
    assert overrides == {
        "training.learning_rate": 3e-5,
        "data.text_columns": ["a", "b"],
        "baseline": True,
        "student.num_layers": 2,
    }


def test_a_flag_without_value_is_refused() -> None:
    with pytest.raises(DistillationError, match="--seed has no value"):
        cli.split_overrides(["--seed"], set())


def test_wrong_input_ends_with_2_and_a_message(capsys: Any) -> None:
    assert cli.main(["distill", "--output", "out"]) == 2
    error = capsys.readouterr().err
    assert "'teacher' is missing" in error
    assert "Traceback" not in error


def test_a_failed_training_ends_with_1(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def fail(recipe: Any, overwrite: bool) -> None:
        raise NonFiniteLossError("soft_loss became nan")

    monkeypatch.setattr("distilnlp.runs.run", fail)
    words = ["--teacher", "t", "--data", "d", "--output", "o"]
    assert cli.main(["distill", *words]) == 1
    assert "soft_loss became nan" in capsys.readouterr().err


def test_shortcuts_are_keys_of_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("distilnlp.runs.dry_run", lambda recipe, overwrite: seen.append(recipe) or "plan")
    words = [
        "--teacher",
        "t",
        "--data",
        "d.csv",
        "--output",
        "o",
        "--num-layers",
        "2",
        "--dry-run",
        "--training.temperature",
        "3",
    ]
    assert cli.main(["distill", *words]) == 0
    recipe = seen[0]
    assert (recipe.teacher.model, recipe.data.source, recipe.output) == ("t", "d.csv", "o")
    assert recipe.student.num_layers == 2
    assert recipe.training == {"temperature": 3.0}


def test_several_teachers_are_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("distilnlp.runs.dry_run", lambda recipe, overwrite: seen.append(recipe) or "plan")
    words = ["--teacher", "[one, two]", "--data", "d.csv", "--output", "o", "--dry-run"]
    assert cli.main(["distill", *words]) == 0
    assert seen[0].teacher.models == ["one", "two"]


def test_evaluate_refuses_a_student_that_is_not_there(tmp_path: Path, capsys: Any) -> None:
    assert cli.main(["evaluate", str(tmp_path / "none"), "--data", str(tmp_path)]) == 2
    assert "cannot load the model" in capsys.readouterr().err


def test_evaluate_finds_the_home_folder_and_writes_figures_and_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    seen: list[Any] = []
    monkeypatch.setattr("distilnlp.runs.evaluate_saved", lambda *args: seen.extend(args) or {"student": {}})
    monkeypatch.setattr("distilnlp.evaluation.verdict", lambda reports: ["it is good"])
    monkeypatch.setattr("distilnlp.evaluation.summary_table", lambda reports: "table")
    words = ["evaluate", "~/s", "--teacher=~/t", "--data=~/d.csv", "--split", "dev", "--trust-remote-code=~/t"]
    assert cli.main([*words, "--data.max_length", "9", "--json", str(tmp_path / "figures.json")]) == 0
    student, data, teacher, _, trusted, _ = seen
    assert (student, teacher, trusted) == (f"{tmp_path}/s", f"{tmp_path}/t", [f"{tmp_path}/t"])
    assert (data.source, data.test_split, data.max_length) == (f"{tmp_path}/d.csv", "dev", 9)
    written = json.loads((tmp_path / "figures.json").read_text())
    assert written == {"models": {"student": {}}, "verdict": ["it is good"]}


def test_splits_can_be_named_on_the_command_line() -> None:
    named = cli._structured("--data", "{train: a.csv, test: [b.csv, c.csv]}")
    assert named == {"train": "a.csv", "test": ["b.csv", "c.csv"]}
    assert cli._structured("--data", "train.csv") == "train.csv"


@pytest.mark.parametrize("words", [["--baseline", "--dry-run"], ["--seed", "1", "--seed", "2"], ["--losses", "[a"]])
def test_flags_that_cannot_be_meant_are_refused(words: list[str]) -> None:
    with pytest.raises(DistillationError, match=r"has no value|given twice|not valid YAML"):
        cli.split_overrides(words, {"--dry-run"})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["distill", "--data", "{train: a, test: b"], "value of --data, '{train: a, test: b', is not valid YAML"),
        (["evaluate", "s", "--data", "{test: [}"], "value of --data, '{test: [}', is not valid YAML"),
        (["evaluate", "s", "--data", "{train: x, test: [1]}"], "expected one name or path, or {split: file"),
        (["evaluate", "s", "--data", "x", "--json", "/none/there/x.json"], "--json must name a file in a folder"),
        (["evaluate", "s", "--data", "x", "--json", "/"], "--json must name a file in a folder that is there"),
        (["evaluate", "s", "--data", "x", "--json", "/dev/null"], "--json must name a file in a folder that is there"),
        (["evaluate", "s", "--data", "x", "--data.source", "y"], "data.source is given by two flags"),
        (["evaluate", "s", "--data", "x", "--split", "a", "--data.test_split", "b"], "data.test_split is given by two"),
    ],
)
def test_what_cannot_be_read_or_written_is_refused_in_one_line_before_any_work(
    words: list[str], message: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distilnlp.runs.evaluate_saved", lambda *args: pytest.fail("measured all the same"))
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


# ---- At once ----

HEAVY = ("torch", "transformers", "datasets", "sklearn", "pandas", "pydantic", "accelerate", "scipy")
LOADED = f"""
import sys
from distilnlp import cli
try:
    status = cli.main(sys.argv[1:])
except SystemExit as ended:
    status = ended.code
print(status, [name for name in {HEAVY} if name in sys.modules])
"""


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["--help"], 0),
        (["distill", "--help"], 0),
        (["--version"], 0),
        (["distill", "--traning.learning_rate", "1"], 2),
        (["distill", "--training.learning_rat", "1"], 2),
        (["distill", "nowhere.yaml"], 2),
        (["distill", "--data", "a", "--data", "b"], 2),
        (["evaluate", "x", "--data", "y", "--data.txt_columns", "z"], 2),
    ],
)
def test_what_needs_no_model_loads_no_library(words: list[str], status: int) -> None:
    done = subprocess.run([sys.executable, "-c", LOADED, *words], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == f"{status} []"
    assert "Traceback" not in done.stderr


def test_an_interrupt_while_the_libraries_load_ends_with_130() -> None:
    words = ["distill", "--teacher", "t", "--data", "d", "--output", "o", "--dry-run"]
    process = subprocess.Popen([sys.executable, "-m", "distilnlp", *words], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "check o" in process.stderr.readline()  # before anything is loaded
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait() == 130
    assert "interrupted" in rest
    assert "Traceback" not in rest


@pytest.mark.parametrize(
    "words",
    [
        ["distill", "--data", "a", "--data", "b"],
        ["distill", "--teacher=x", "--teacher", "y"],
        ["distill", "--data", "a", "--data.source", "b"],
        ["evaluate", "s", "--task", "a", "--task", "b"],
    ],
)
def test_a_flag_given_twice_is_refused(words: list[str], capsys: Any) -> None:
    assert cli.main(words) == 2
    assert re.search("given twice. Several values are one list|given by two flags", capsys.readouterr().err)


@pytest.mark.parametrize(
    "words",
    [["distill", "--training.hub_token", "x"], ["evaluate", "hf_" + "aB3" * 11, "--data", "d"]],
)
def test_a_token_on_the_command_line_is_refused_and_not_shown(words: list[str], capsys: Any) -> None:
    assert cli.main([*words]) == 2
    error = capsys.readouterr().err
    assert "hf auth login" in error
    assert "hf_aB3" not in error
