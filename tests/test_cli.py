"""The command line: flags, exit codes and messages."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from distilnlp.cli import commands as cli
from distilnlp.cli.flags import SHORT, recipe_keys
from distilnlp.errors import DistillationError, NonFiniteLossError
from distilnlp.recipe.reserved import RESERVED_ARGUMENTS
from tests.test_runs import save_model
from tests.tiny import tiny_model

HELD = ("baseline.", "teacher.finetune.")  # the arguments of `training` again


def overrides_of(*words: str, command: str = "distill") -> dict[str, Any]:
    """Return the keys of a recipe that a command line gives, with their values."""
    given: dict[str, Any] = cli.read_words(cli.parser_of(command), list(words)).overrides
    return given


@pytest.mark.parametrize(
    ("words", "key", "value"),
    [
        (["--training.learning_rate", "3e-5"], "training.learning_rate", 3e-5),
        (["--training.lr_scheduler_type=cosine"], "training.lr_scheduler_type", "cosine"),
        (["--epochs", "3"], "training.num_train_epochs", 3),
        (["--student.num_layers=2"], "student.num_layers", 2),
        (["--baseline"], "baseline", True),
        (["--baseline", "--dry-run"], "baseline", True),
        (["--baseline=true"], "baseline", True),
        (["--baseline", "false"], "baseline", False),
        (["--baseline", "{learning_rate: 1e-4}"], "baseline", {"learning_rate": 1e-4}),
        (["--baseline.learning_rate", "1e-4"], "baseline.learning_rate", 1e-4),
        (["--teacher.finetune.learning_rate", "1e-4"], "teacher.finetune.learning_rate", 1e-4),
        (["--data.text_columns", "a,b"], "data.text_columns", ["a", "b"]),
        (["--data.text_columns", "[a, b]"], "data.text_columns", ["a", "b"]),
        (["--data.text_columns", "a", "--data.text_columns", "b"], "data.text_columns", ["a", "b"]),
        (["--text-column", "a", "--data.text_columns", "b"], "data.text_columns", ["a", "b"]),
        (["--data.text_columns", "a"], "data.text_columns", ["a"]),
        (["--data.text_columns", "{a: b}"], "data.text_columns", {"a": "b"}),
        (["--data.text_columns", "null"], "data.text_columns", None),
        (["--data.label_names", "1,2"], "data.label_names", ["1", "2"]),
        (["--student.layers", "0,2,5"], "student.layers", [0, 2, 5]),
        (["--student.layers=[0, 2]"], "student.layers", [0, 2]),
        (["--teacher", "one"], "teacher.model", "one"),
        (["--teacher", "one,two"], "teacher.model", ["one", "two"]),
        (["--teacher", "[one, two]"], "teacher.model", ["one", "two"]),
        (["--data", "train.csv"], "data.source", "train.csv"),
        (["--data", "{train: a.csv, test: [b.csv]}"], "data.source", {"train": "a.csv", "test": ["b.csv"]}),
        (["--training.losses", "[{name: rkd, weight: 2}]"], "training.losses", [{"name": "rkd", "weight": 2}]),
        (
            ["--training.schedules", "{temperature: {start: 4, end: 1}}"],
            "training.schedules",
            {"temperature": {"start": 4, "end": 1}},
        ),
        (["--student.num_layers", "null"], "student.num_layers", None),
    ],
    ids=str,
)
def test_a_flag_is_a_key_of_the_recipe(words: list[str], key: str, value: Any) -> None:
    assert overrides_of(*words) == {key: value}


@pytest.mark.parametrize(
    ("words", "source"),
    [
        (["--data", "a.csv", "--test", "b.csv"], {"train": "a.csv", "test": "b.csv"}),
        (
            ["--data", "a.csv", "--test", "b.csv", "--validation", "c.csv"],
            {"train": "a.csv", "test": "b.csv", "validation": "c.csv"},
        ),
        (["--data", "{train: a.csv}", "--test", "b.csv"], {"train": "a.csv", "test": "b.csv"}),
    ],
    ids=["a test file", "both", "beside splits"],
)
def test_further_splits_stand_beside_the_data(
    words: list[str], source: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("distilnlp.runs.dry_run", lambda recipe, overwrite: seen.append(recipe) or "plan")
    assert cli.main(["distill", "--teacher", "t", "--output", "o", "--dry-run", *words]) == 0
    assert seen[0].data.source == source


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--test", "b.csv"], "--test names a file beside --data, but --data, the training rows, is missing"),
        (["--data", "{train: a, test: b}", "--test", "c"], "--data names a test split already. Give each split once"),
    ],
)
def test_a_split_that_is_given_twice_or_alone_is_refused(words: list[str], message: str, capsys: Any) -> None:
    assert cli.main(["distill", "--teacher", "t", "--output", "o", *words]) == 2
    assert message in capsys.readouterr().err


def test_only_what_is_given_is_set() -> None:
    assert overrides_of("recipe.yaml", "--dry-run") == {}


def test_the_recipe_may_stand_after_a_flag_that_stands_alone() -> None:
    args = cli.read_words(cli.parser_of("distill"), ["--baseline", "recipe.yaml"])
    assert (args.recipe, args.overrides) == ("recipe.yaml", {"baseline": True})


@pytest.mark.parametrize(
    ("flag", "hint"),
    [
        ("--traning.learning_rate", "--training.learning_rate"),
        ("--training.learning_rat", "--training.learning_rate"),
        ("--learning_rate", "--learning-rate"),
        ("--num_train_epochs", "--training.num_train_epochs"),
        ("--num-train-epochs", "--training.num_train_epochs"),
        ("--epoch", "--epochs"),
        ("--lr", "--training.learning_rate"),
        ("--alpha", "--training.soft_loss_weight"),
        ("--data.txt_columns", "--data.text_columns"),
        ("--temperature", "--training.temperature"),
        ("--training.temprature", "--training.temperature"),
        ("--dryrun", "--dry-run"),
        ("--dry_run", "--dry-run"),
        ("--sed", "--seed"),
    ],
)
def test_an_unknown_flag_proposes_the_nearest_of_all_sections(flag: str, hint: str) -> None:
    with pytest.raises(DistillationError, match="unknown flag") as caught:
        overrides_of(flag, "1")
    assert f"Did you mean '{hint}'?" in str(caught.value)


@pytest.mark.parametrize("flag", ["--", "--zzz", "--" + "a" * 100_000])
def test_an_unknown_flag_like_no_other_is_refused_without_a_guess(flag: str) -> None:
    with pytest.raises(DistillationError, match="unknown flag") as caught:
        overrides_of(flag)
    assert "Did you mean" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_wrong_input_ends_with_2_and_a_message(capsys: Any) -> None:
    assert cli.main(["distill", "--output", "out"]) == 2
    error = capsys.readouterr().err
    assert "--teacher, --data are missing. Give them, or a recipe" in error
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


def test_evaluate_refuses_a_student_that_is_not_there(tmp_path: Path, capsys: Any) -> None:
    assert cli.main(["evaluate", str(tmp_path / "none"), "--data", str(tmp_path)]) == 2
    assert "cannot load the model" in capsys.readouterr().err


def test_evaluate_finds_the_home_folder_and_writes_figures_and_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    seen: list[Any] = []
    monkeypatch.setattr("distilnlp.runs.evaluate_saved", lambda *args: seen.extend(args) or {"student": {}})
    monkeypatch.setattr("distilnlp.evaluation.verdict", lambda reports: ["The student keeps what the teacher knows"])
    monkeypatch.setattr("distilnlp.cli.results.terminal_table", lambda reports, width: "table")
    words = ["evaluate", "~/s", "--teacher=~/t", "--data=~/d.csv", "--split", "dev", "--trust-remote-code=~/t"]
    assert cli.main([*words, "--data.max_length", "9", "--output", str(tmp_path / "figures.json")]) == 0
    student, data, teacher, _, trusted, _ = seen
    assert (student, teacher, trusted) == (f"{tmp_path}/s", f"{tmp_path}/t", [f"{tmp_path}/t"])
    assert (data.source, data.test_split, data.max_length) == (f"{tmp_path}/d.csv", "dev", 9)
    written = json.loads((tmp_path / "figures.json").read_text())
    assert written == {
        "names": {"student": "~/s", "teacher": "~/t"},
        "models": {"student": {}},
        "verdict": ["s keeps what t knows"],
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--seed"], "--seed has no value"),
        (["--seed", "--dry-run"], "--seed has no value"),
        (["--seed", "1", "--seed", "2"], "given twice"),
        (["--training.losses", "[a"], "not valid YAML"),
        (["--training", "5"], "--training is a section of a recipe"),
        (["--data.text_columns", "a,\0"], "cannot be read"),
        (["--student.layers", "[0"], "not valid YAML"),
    ],
)
def test_flags_that_cannot_be_meant_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        overrides_of(*words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["distill", "--data", "{train: a, test: b"], "value of --data.source, '{train: a, test: b', is not"),
        (["evaluate", "s", "--data", "{test: [}"], "value of --data.source, '{test: [}', is not valid YAML"),
        (["evaluate", "s", "--data", "{train: x, test: [1]}"], "expected one name or path, or {split: file"),
        (["evaluate", "s", "--data", "x", "--output", "/none/there/x.json"], "--output must name a file in a folder"),
        (["evaluate", "s", "--data", "x", "--output", "/"], "--output must name a file in a folder that"),
        (["evaluate", "s", "--data", "x", "--output", "/dev/null"], "--output must name a file in a folder that"),
        (["evaluate", "s", "--data", "x", "--data.source", "y"], "given twice"),
        (["evaluate", "s", "--data", "x", "--split", "a", "--data.test_split", "b"], "given twice"),
    ],
)
def test_what_cannot_be_read_or_written_is_refused_in_one_line_before_any_work(
    words: list[str], message: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("distilnlp.runs.evaluate_saved", lambda *args: pytest.fail("measured all the same"))
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.splitlines()[-1].startswith("distilnlp: ")
    assert error.count("distilnlp: ") == 1


# ---- At once ----

HEAVY = ("torch", "transformers", "datasets", "sklearn", "pandas", "accelerate", "scipy")
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
        ["distill", "--training.losses", "[]", "--training.losses", "[]"],
    ],
)
def test_a_flag_given_twice_is_refused(words: list[str], capsys: Any) -> None:
    assert cli.main(words) == 2
    assert "given twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [["distill", "--training.hub_token", "x"], ["evaluate", "hf_" + "aB3" * 11, "--data", "d"]],
)
def test_a_token_on_the_command_line_is_refused_and_not_shown(words: list[str], capsys: Any) -> None:
    assert cli.main([*words]) == 2
    error = capsys.readouterr().err
    assert "hf auth login" in error
    assert "hf_aB3" not in error


# ---- Errors, and flags of every command ----


def test_evaluate_says_where_its_figures_are_written_now(capsys: Any) -> None:
    assert cli.main(["evaluate", "s", "--data", "x", "--json=figures.json"]) == 2
    assert "evaluate --output FILE" in capsys.readouterr().err


@pytest.mark.parametrize("debug", [False, True])
def test_an_unexpected_error_is_one_line_and_a_traceback_only_with_debug(
    debug: bool, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def fail(recipe: Any, overwrite: bool) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("distilnlp.runs.run", fail)
    words = ["distill", "--teacher", "t", "--data", "d", "--output", "o", *["--debug"] * debug]
    assert cli.main(words) == 1
    error = capsys.readouterr().err
    assert ("Traceback" in error) is debug
    assert "ZeroDivisionError: by nothing" in error
    assert "--debug shows where" in error


@pytest.mark.parametrize("place", [0, 1, 7])
def test_general_flags_stand_before_or_after_the_command(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("distilnlp.cli.distill.run", seen.append)
    words = ["distill", "--teacher", "t", "--data", "d", "--output", "o"]
    assert cli.main([*words[:place], "--quiet", *words[place:]]) == 0
    assert seen[0].mode == "quiet"


def test_general_flags_that_exclude_each_other_are_refused(capsys: Any) -> None:
    assert cli.main(["distill", "--quiet", "--json"]) == 2
    assert "--quiet and --json exclude one another" in capsys.readouterr().err


def test_a_terminated_command_ends_with_143_and_says_how_to_go_on() -> None:
    code = (
        "import os, signal, sys\nfrom distilnlp.cli import commands, distill\n"
        "distill.run = lambda args: os.kill(os.getpid(), signal.SIGTERM)\n"
        "sys.exit(commands.main(['distill', 'x.yaml']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 143
    assert "Give the same command again" in done.stderr
    assert "Traceback" not in done.stderr


# ---- Help, completion, launch ----


def test_the_help_names_every_key_with_its_type() -> None:
    done = subprocess.run([sys.executable, "-m", "distilnlp", "distill", "--help"], capture_output=True, text=True)
    flags = set(re.findall(r"--[a-z_.A-Z0-9-]+", done.stdout))
    reserved = {f"training.{name}" for name in RESERVED_ARGUMENTS}
    shown = {key for key in recipe_keys().keys() - reserved if not key.startswith(HELD)}
    assert {f"--{key}" for key in shown} <= flags
    assert {f"--{name}" for name in SHORT} <= flags
    assert "--training.learning_rate NUMBER" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.parametrize(
    ("shell", "check"), [("bash", ["bash", "-n"]), ("zsh", ["zsh", "-n"]), ("fish", ["fish", "--no-execute"])]
)
def test_the_completion_is_a_script_of_the_shell(shell: str, check: list[str], tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "distilnlp", "completion", shell], capture_output=True, text=True)
    assert "training.learning_rate" in done.stdout
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(done.stdout)
    assert subprocess.run([*check, str(tmp_path / "script")]).returncode == 0


def test_bash_completes_a_flag(tmp_path: Path) -> None:
    script = subprocess.run([sys.executable, "-m", "distilnlp", "completion", "bash"], capture_output=True, text=True)
    (tmp_path / "script").write_text(script.stdout)
    code = (
        f"source {tmp_path}/script; COMP_WORDS=(distilnlp distill --training.learning_r); COMP_CWORD=2; "
        '_shtab_distilnlp; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["--training.learning_rate"]


def test_launch_hands_the_command_to_accelerate(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def run(command: list[str]) -> Any:
        seen.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr("distilnlp.cli.launch.subprocess.run", run)
    assert cli.main(["launch", "--num_processes", "2", "distill", "recipe.yaml", "--seed", "1"]) == 0
    assert seen[0][1:] == [
        *["-m", "accelerate.commands.launch", "--num_processes", "2"],
        *["-m", "distilnlp", "distill", "recipe.yaml", "--seed", "1"],
    ]


def test_launch_without_a_command_is_refused(capsys: Any) -> None:
    assert cli.main(["launch", "--num_processes", "2"]) == 2
    assert "expected a command to launch" in capsys.readouterr().err


def test_with_json_every_line_on_standard_output_is_an_event(tmp_path: Path, capsys: Any) -> None:
    save_model(tmp_path / "teacher", tiny_model(num_hidden_layers=2))
    (tmp_path / "d.csv").write_text("text,label\n" + "a film,film\na fund,money\na match,sport\n" * 8)
    words = ["--teacher", str(tmp_path / "teacher"), "--data", str(tmp_path / "d.csv"), "--output", str(tmp_path / "o")]
    assert cli.main(["distill", *words, "--dry-run", "--json"]) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "train     19 rows" in events[-1]["plan"]
    assert cli.main(["distill", *words, "--json", "--student.num_layers", "9"]) == 2
    failed = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (failed["event"], failed["status"]) == ("error", 2)
