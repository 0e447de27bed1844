"""`distilnlp init`: what it proposes for each task, what it asks, and what it refuses."""

import argparse
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distilnlp.cli import init
from distilnlp.errors import DistillationError
from distilnlp.recipe.commented import Entry, commented_yaml
from distilnlp.recipe.sections import load_recipe
from distilnlp.recipe.text import read_yaml
from distilnlp.runs import dry_run
from distilnlp.tasks import TASKS
from tests.test_runs import save_model
from tests.test_task_runs import RANDOM, ROWS, row_of, text
from tests.tiny import tiny_model
from tests.tiny_tasks import task_model


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    RANDOM.seed(1)
    save_model(tmp_path / "bare", tiny_model(num_hidden_layers=2).base_model)
    save_model(tmp_path / "finished", tiny_model(num_hidden_layers=2))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False)
    return tmp_path


def rows_file(folder: Path, rows: list[dict[str, Any]], name: str = "data.jsonl") -> str:
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


def written(*words: str) -> dict[str, Any]:
    """Run the command and return what the recipe says, once a dry run has passed it."""
    parser = argparse.ArgumentParser()
    init.add_arguments(parser)
    parser.set_defaults(mode="quiet")
    init.run(parser.parse_args(words))
    assert dry_run(load_recipe("recipe.yaml"), False)
    values: dict[str, Any] = read_yaml(Path("recipe.yaml").read_text(), "recipe")
    return values


def proposed(folder: Path, rows: list[dict[str, Any]], teacher: str = "bare", *words: str) -> dict[str, Any]:
    data = rows_file(folder, rows)
    return written("--teacher", teacher, "--data", data, "--output", "out", *words)


@pytest.mark.parametrize("task", [name for name in TASKS if name != "masked_lm"])
def test_every_task_is_told_from_the_columns(folder: Path, task: str) -> None:
    values = proposed(folder, [row_of(task, index) for index in range(ROWS)])
    assert values["task"] == task
    assert values["teacher"] == {"model": "bare", "finetune": True}
    assert values["baseline"] is True


@pytest.mark.parametrize("task", [name for name in TASKS if name != "masked_lm"])
def test_a_finished_teacher_says_the_task(folder: Path, task: str) -> None:
    own = {"token_classification": ("O", "B-P", "I-P")}.get(task)
    save_model(folder / "own", task_model(task, labels=own, num_hidden_layers=2))
    values = proposed(folder, [row_of(task, index) for index in range(ROWS)], "own")
    assert (values["task"], values["teacher"]) == (task, {"model": "own"})


def test_masked_language_modelling_is_asked_for(folder: Path) -> None:
    save_model(folder / "masked", task_model("masked_lm", num_hidden_layers=2))
    values = proposed(folder, [{"text": text()} for _ in range(ROWS)], "masked", "--task", "masked_lm")
    assert values["task"] == "masked_lm"
    assert "baseline" not in values
    assert "label_column" not in values["data"]


def test_ids_dates_and_links_are_no_text(folder: Path) -> None:
    rows = [
        {
            "id": f"a-{index}",
            "when": "2024-01-01 10:00:00",
            "link": f"http://host/{index}/page-of-some-length/and-more-of-it",
            "what was said": text(),
            "kind": ("film", "money", "sport")[index % 3],
        }
        for index in range(ROWS)
    ]
    data = proposed(folder, rows)["data"]
    assert (data["text_columns"], data["label_column"]) == (["what was said"], "kind")


def test_a_pair_is_both_columns(folder: Path) -> None:
    rows = [{"premise": text(), "hypothesis": text(), "label": "ab"[index % 2]} for index in range(ROWS)]
    assert proposed(folder, rows)["data"]["text_columns"] == ["premise", "hypothesis"]


def test_columns_of_0_and_1_are_labels(folder: Path) -> None:
    rows = [{"text": text(), "toxic": index % 2, "insult": int(index % 3 == 0)} for index in range(ROWS)]
    values = proposed(folder, rows)
    assert (values["task"], values["data"]["label_names"]) == ("multi_label_classification", ["toxic", "insult"])
    assert "label_column" not in values["data"]


def test_entities_by_characters_are_tags_of_words(folder: Path) -> None:
    rows = [{"text": (said := text()), "labels": [[0, len(said.split()[0]), "THING"]]} for _ in range(ROWS)]
    values = proposed(folder, rows)
    assert (values["task"], values["data"]["label_column"]) == ("token_classification", "labels")
    studio = [
        {
            "data": {"text": row["text"]},
            "annotations": [
                {"result": [{"value": {"start": 0, "end": row["labels"][0][1], "labels": ["THING"]}, "type": "labels"}]}
            ],
        }
        for row in rows
    ]
    values = proposed(folder, studio, "bare", "--recipe", "recipe.yaml", "--overwrite")
    assert (values["task"], values["data"]["text_columns"]) == ("token_classification", ["data.text"])


def test_texts_without_any_label_are_enough_for_a_finished_teacher(folder: Path) -> None:
    values = proposed(folder, [{"text": text()} for _ in range(ROWS)], "finished")
    assert values["data"]["text_columns"] == ["text"]
    assert not {"label_column"} & values["data"].keys()
    assert "baseline" not in values


def test_choices_in_columns_of_their_own(folder: Path) -> None:
    rows = [{"ctx": text(), "ending0": text(), "ending1": text(), "label": index % 2} for index in range(ROWS)]
    values = proposed(folder, rows)
    assert (values["task"], values["data"]["choice_columns"]) == ("multiple_choice", ["ending0", "ending1"])
    assert values["data"]["text_columns"] == ["ctx"]


def test_targets_without_names_get_numbers(folder: Path) -> None:
    rows = [{"text": text(), "labels": [index % 2, 1, 0]} for index in range(ROWS)]
    assert proposed(folder, rows)["data"]["label_names"] == ["0", "1", "2"]


@pytest.mark.parametrize(("scale", "task"), [((1, 2, 3), "regression"), ((0, 1, 2), "single_label_classification")])
def test_numbers_with_a_gap_are_a_scale(folder: Path, scale: tuple[int, ...], task: str) -> None:
    rows = [{"review": text(), "stars": scale[index % 3]} for index in range(ROWS)]
    assert proposed(folder, rows)["task"] == task


def test_rows_without_labels_are_counted(folder: Path) -> None:
    rows = [row_of("single_label_classification", index) for index in range(ROWS)]
    rows += [{"text": text(), "label": None} for _ in range(10)]
    proposed(folder, rows, "finished")
    assert "10 of 50 rows have none" in " ".join(Path("recipe.yaml").read_text().replace("#", "").split())


def test_the_length_is_that_of_the_texts(folder: Path) -> None:
    rows = [{"text": "film " * 20, "label": "ab"[index % 2]} for index in range(ROWS)]
    assert proposed(folder, rows)["data"]["max_length"] == 24  # 20 words and two special tokens, as a multiple of 8
    Path("recipe.yaml").unlink()
    rows = [{"text": "film " * 200, "label": "ab"[index % 2]} for index in range(ROWS)]
    assert proposed(folder, rows)["data"]["max_length"] == 40  # what the model has positions for


def test_a_terminal_is_asked_and_may_differ(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"text": text(), "other": text(), "label": "ab"[index % 2]} for index in range(ROWS)]
    answers = ["", "bare", rows_file(folder, rows), "", "", "other", ""]
    asked: list[str] = []

    def answer(question: str) -> str:
        asked.append(question)
        return answers.pop(0)

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", answer)
    values = written()
    assert not answers
    assert len(asked) == 7  # the teacher twice, for it has no default
    assert asked[-1] == "Label column [label]: "
    assert (values["output"], values["data"]["text_columns"]) == ("out/data", ["other"])
    assert "distilnlp distill recipe.yaml --dry-run" in capsys.readouterr().out


def test_an_input_that_ends_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def end(question: str) -> str:
        raise EOFError

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", end)
    with pytest.raises(DistillationError, match="Give the flags"):
        written()


LABELLED = [{"text": "the film", "label": "ab"[index % 2]} for index in range(ROWS)]


def refusals() -> Iterator[tuple[str, list[dict[str, Any]] | bytes, list[str]]]:
    yield "two labels or more", [{"text": f"the film {index}", "label": "a"} for index in range(ROWS)], []
    yield "no column looks like text", [{"id": f"a{index}", "label": "ab"[index % 2]} for index in range(ROWS)], []
    yield "no row has a label", [{"text": "the film"}] * ROWS, []
    yield "cannot read", b"", []
    yield "data.jsonl", bytes(range(256)) * 4, []
    yield "there is no file", LABELLED, ["--data", "missing.csv"]
    yield "no column 'txt'", LABELLED, ["--text-column", "txt"]
    yield "there is no task 'singel'", LABELLED, ["--task", "singel"]
    yield "in a folder that is there", LABELLED, ["--recipe", "nowhere/recipe.yaml"]


@pytest.mark.parametrize(("message", "rows", "words"), refusals())
def test_what_does_not_fit_is_refused(
    folder: Path, message: str, rows: list[dict[str, Any]] | bytes, words: list[str]
) -> None:
    if isinstance(rows, bytes):
        (folder / "data.jsonl").write_bytes(rows)
    else:
        rows_file(folder, rows)
    with pytest.raises(DistillationError, match=message):
        written("--teacher", "bare", "--data", "data.jsonl", "--output", "out", *words)
    assert not Path("recipe.yaml").exists()


def test_without_a_terminal_missing_flags_are_named(folder: Path) -> None:
    with pytest.raises(DistillationError, match="--teacher, --output"):
        written("--data", "data.jsonl")


def test_a_recipe_is_not_replaced_unless_asked(folder: Path) -> None:
    Path("recipe.yaml").write_text("mine")
    with pytest.raises(DistillationError, match="add --overwrite"):
        proposed(folder, LABELLED)
    assert Path("recipe.yaml").read_text() == "mine"
    assert proposed(folder, LABELLED, "bare", "--overwrite")["task"] == "single_label_classification"


def test_comments_stay_comments() -> None:
    entries = [
        Entry("output", "out", "a\nvery: [strange " + "long " * 40),
        Entry("data.source", "# no: comment\n", "why"),
        Entry("data.seed", 1, "why", is_set=False),
        Entry("student.layers", [0, 1], "why", is_set=False),
    ]
    written_text = commented_yaml(["head: {"], entries)
    assert read_yaml(written_text, "it") == {"output": "out", "data": {"source": "# no: comment\n"}}
    assert "# student:" in written_text
    assert max(map(len, written_text.splitlines())) <= 100


def test_a_terminal_is_asked_for_what_no_flag_gives(folder: Path) -> None:
    rows_file(folder, [{"title": text(), "kind": ("film", "money")[index % 2]} for index in range(ROWS)])
    code = "import sys; from distilnlp.cli import main; sys.exit(main(['init', '--quiet', '--data', 'data.jsonl']))"
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code], stdin=theirs, stdout=theirs, stderr=theirs, cwd=folder)
    os.close(theirs)
    os.write(ours, b"bare\n\n\n\n\n")  # the teacher; then each proposal is taken
    said = b""
    try:
        while more := os.read(ours, 4096):
            said += more
    except OSError:  # the other end is closed
        pass
    assert process.wait() == 0, said.decode()
    values = read_yaml((folder / "recipe.yaml").read_text(), "recipe")
    assert (values["teacher"]["model"], values["output"]) == ("bare", "out/data")
    assert (values["data"]["text_columns"], values["data"]["label_column"]) == (["title"], "kind")
    assert "Label column [kind]:" in said.decode()
