"""The report of a run: every task's, opened in a browser; what it says is what was predicted."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distilnlp.cli import commands as cli
from distilnlp.errors import DistillationError
from distilnlp.evaluation import ANSWERS, PREDICTIONS, Predictions
from distilnlp.report import Evidence, write_report
from distilnlp.report.parts import PARTS
from distilnlp.report.parts.part import worst_first
from distilnlp.runs import run
from distilnlp.tasks import TASKS
from tests.browser import opened
from tests.test_runs import recipe, save_model
from tests.test_task_runs import RANDOM, ROWS, row_of
from tests.tiny import tiny_model

SCRIPT = "<script>document.title = 'broken'</script>"


def hostile(value: Any) -> Any:
    """Return a row whose texts hold markup."""
    if isinstance(value, str):
        return f"{value} {SCRIPT}"
    if isinstance(value, list):
        return [hostile(each) for each in value]
    return value


def hostile_row(task: str, index: int) -> dict[str, Any]:
    row = row_of(task, index)
    if task == "single_label_classification":
        return {"text": hostile(row["text"]), "label": f"<b>{row['label']}"}
    if task == "multi_label_classification":
        return {"text": hostile(row["text"]), "labels": [f"<b>{label}" for label in row["labels"]]}
    if task == "question_answering":
        return {**row, "question": hostile(row["question"]), "context": hostile(row["context"])}
    if task == "token_classification":
        return {"tokens": [SCRIPT, *row["tokens"]], "ner_tags": ["B-P", *row["ner_tags"]]}
    return {name: hostile(value) if name != "label" else value for name, value in row.items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Give the folders of the runs that were made, by their tasks."""
    return {}


def run_of(task: str, finished: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    if task not in finished:
        RANDOM.seed(1)
        folder = tmp_path_factory.mktemp(task)
        save_model(folder / "teacher", tiny_model(num_hidden_layers=2).base_model)
        file = folder / "rows.jsonl"
        file.write_text("".join(json.dumps(hostile_row(task, index)) + "\n" for index in range(ROWS)))
        own: dict[str, Any] = {"data.stride": 4} if task == "question_answering" else {}
        options = {"teacher.finetune": {"num_train_epochs": 1}, "data.source": str(file), "task": task}
        run(recipe(folder, **options, **own, baseline=True, **{"evaluation.speed": True}))
        finished[task] = folder / "out"
        assert (folder / "out" / "report.html").is_file()
        file = folder / "out" / PREDICTIONS / ANSWERS
        kept = Predictions.load(file)
        if isinstance(kept.by_model["student"], np.ndarray):  # tiny students say the same of all texts: let them differ
            Predictions(kept.labels, {**kept.by_model, "student": -kept.by_model["student"]}).save(file)
            write_report([folder / "out"], folder / "out" / "report.html")
    return finished[task]


@pytest.mark.parametrize("task", TASKS)
def test_a_report_is_shown_by_a_browser_without_error_or_request(
    task: str, finished: dict[str, Path], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    page = run_of(task, finished, tmp_path_factory) / "report.html"
    assert page.stat().st_size < 600_000
    shown, console = opened(page, tmp_path / "profile")
    assert console == []
    assert "<title>out · distilnlp</title>" in shown
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown, "the texts are shown, as texts"
    assert shown.count("<svg") >= 4
    for title in ("How good", "What it costs", "By length of the text", "Training of the student", "How it was made"):
        assert f"<h2>{title}</h2>" in shown


def test_a_browser_tells_of_scripts_and_requests(tmp_path: Path) -> None:
    policy = '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'">'
    (tmp_path / "page.html").write_text(f'{policy}<img src="http://host/x.png">{SCRIPT}')
    assert len(opened(tmp_path / "page.html", tmp_path / "profile")[1]) == 2


def test_a_report_needs_nothing_but_itself(finished: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> None:
    text = (run_of("single_label_classification", finished, tmp_path_factory) / "report.html").read_text()
    assert re.findall(r"(?:src|href)=\"(?!#)[^\"]*", text) == []
    assert re.findall(r"url\((?!#)[^)]*", text) == []
    assert "@import" not in text


# ---- What it says ----


def evidence(task: str, labels: Any, by_model: dict[str, Any], rows: list[Any], names: list[str]) -> Evidence:
    results = {"task": task, "label_names": names, "models": dict.fromkeys(by_model), "rows": {}}
    return Evidence(Path("run"), results, Predictions(labels, by_model), rows)


def test_classes_are_told_by_what_is_found_of_them() -> None:
    labels = np.array([0, 0, 1, 1, 2, -100])
    teacher = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 2, 0]] * 5
    student = np.eye(3, dtype=np.float32)[[0, 1, 1, 1, 0, 0]] * 3
    rows = [{"text": f"text {index}"} for index in range(6)]
    given = evidence(
        "single_label_classification", labels, {"teacher": teacher, "student": student}, rows, ["a", "b", "c"]
    )
    part = PARTS[given.task](given)
    np.testing.assert_array_equal(part.row_scores("student"), [1, 0, 1, 1, 0, np.nan])
    assert np.flatnonzero(part.differences()).tolist() == [1, 4]
    classes, confusion, calibration = part.sections()
    assert [list(row) for row in classes.tables[0].rows] == [
        ["c", "1", "100.0%", "0.0%", "−100.0"],
        ["a", "2", "100.0%", "50.0%", "−50.0"],
        ["b", "2", "100.0%", "100.0%", "+0.0"],
    ]
    assert [list(row) for row in confusion.tables[0].rows] == [["a", "b", "1"], ["c", "a", "1"]]
    assert part.label(5) == "–"
    assert part.answer("student", 1).startswith("b <small>9")
    assert len(calibration.plots) == 1


@pytest.mark.filterwarnings("error")
def test_any_text_can_be_the_name_of_a_class() -> None:
    names = ["$a$ and $b", "日本語", r"\frac{x} %s", "<b>&amp;", "n" * 300]
    answers = np.eye(5, dtype=np.float32)
    given = evidence(
        "single_label_classification",
        np.arange(5),
        {"teacher": answers, "student": answers[::-1].copy()},
        [{"text": "x"}] * 5,
        names,
    )
    svg = next(plot.svg for section in PARTS[given.task](given).sections() for plot in section.plots)
    for shown in ("$a$ and $b", "日本語", r"\frac{x} %s", "&lt;b&gt;&amp;amp;"):
        assert f">{shown}</text>" in svg
    assert "n" * 40 not in svg


def test_labels_have_thresholds() -> None:
    labels = np.array([[1.0, 0.0], [1.0, 1.0], [np.nan, 0.0]])
    student = np.array([[-0.5, -3.0], [2.0, 1.0], [5.0, -2.0]], dtype=np.float32)
    given = evidence("multi_label_classification", labels, {"student": student}, [{"text": "x"}] * 3, ["a", "b"])
    part = PARTS[given.task](given)
    np.testing.assert_array_equal(part.row_scores("student"), [0.5, 1.0, 1.0])
    by_label, thresholds = part.sections()
    found = {row[0]: list(row[1:]) for row in by_label.tables[0].rows}
    assert found == {"a": ["2", "66.7%"], "b": ["1", "100.0%"]}  # a: one of two found
    assert "is 80.0% at 0.5 and highest, 100.0%, at 0." in thresholds.said[0]


def test_entities_are_counted_whole_and_marked() -> None:
    names = ("O", "B-P", "I-P")
    labels = type("Labels", (), {"names": names, "ids": [np.array([1, 2, 0]), np.array([0, 1])]})()

    def tags(*rows: list[int]) -> list[Any]:
        return [np.eye(3)[row] for row in rows]

    by_model = {"teacher": tags([1, 2, 0], [0, 1]), "student": tags([1, 0, 0], [0, 1])}
    rows = [{"words": ["New", "York", "<b>"]}, {"words": ["in", "Rome"]}]
    part = PARTS["token_classification"](evidence("token_classification", labels, by_model, rows, list(names)))
    assert [list(row) for row in next(iter(part.sections())).tables[0].rows] == [["P", "2", "100.0%", "50.0%", "−50.0"]]
    assert part.differences().tolist() == [1, 0]
    assert part.answer("teacher", 0) == "<mark>New York <small>P</small></mark> &lt;b&gt;"


def test_an_answer_is_marked_in_its_context() -> None:
    rows = [{"question": "who?", "context": "it was <i>Ada</i> of course"}]
    given = evidence("question_answering", [["Ada", "Ada"]], {"student": ["Ada"], "teacher": ["of course"]}, rows, [])
    part = PARTS[given.task](given)
    assert part.text(0) == "<strong>who?</strong><br>it was &lt;i&gt;<mark>Ada</mark>&lt;/i&gt; of course"
    assert (part.row_scores("student")[0], part.row_scores("teacher")[0], part.label(0)) == (1.0, 0.0, "Ada")
    assert part.differences()[0] == 1.0


def test_of_many_classes_those_are_shown_of_which_most_was_lost() -> None:
    rows = [(float(index % 40) - 20, [str(index)]) for index in range(40)]
    table = worst_first([*rows, (float("nan"), ["unknown"])], ["class"], "classes")
    assert [row[0] for row in table.rows] == [str(index) for index in range(25)]
    assert table.note == "The 25 classes of which the student lost most; 16 others are left out."


# ---- The command ----


def test_the_command_writes_a_page_again_without_the_models(
    finished: dict[str, Path], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, capsys: Any
) -> None:
    first, second = (run_of(task, finished, tmp_path_factory) for task in ("regression", "question_answering"))
    hidden = first / "student" / "model.safetensors"
    hidden.rename(tmp_path / "hidden")
    try:
        assert cli.main(["report", str(first), str(second), "--output", str(tmp_path / "both.html")]) == 0
        assert cli.main(["report", str(first)]) == 0
    finally:
        (tmp_path / "hidden").rename(hidden)
    assert f"report    {first / 'report.html'}" in capsys.readouterr().out
    both = (tmp_path / "both.html").read_text()
    assert both.count("<article") == 2
    assert f"{first.parent.name}/out" in both
    assert "The runs side by side" in both
    assert opened(tmp_path / "both.html", tmp_path / "profile")[1] == []


def test_a_run_of_its_own_page_is_reused(finished: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> None:
    given = Evidence.of(run_of("regression", finished, tmp_path_factory))
    assert given.models.keys() == {"teacher", "student", "baseline"}
    assert given.histories.keys() == {"teacher", "student", "baseline"}
    part = PARTS["regression"](replace(given))
    naive = [-abs(float(own) - float(true)) for own, true in zip(part.by_model["student"], part.labels, strict=True)]
    np.testing.assert_allclose(part.row_scores("student"), naive)


@pytest.mark.parametrize("content", [None, "{", '{"models": {}}'])
def test_what_is_no_finished_run_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "results.json").write_text(content)
        (tmp_path / "predictions").mkdir()
        (tmp_path / "predictions" / "rows.jsonl").write_text("")
    with pytest.raises(DistillationError, match=r"finished run|older version"):
        write_report([tmp_path], tmp_path / "report.html")
    with pytest.raises(DistillationError, match="at least one run"):
        write_report([], tmp_path / "report.html")
