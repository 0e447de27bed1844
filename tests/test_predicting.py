"""`distilnlp predict`: rows of every task with answers beside them, resumed after a kill, by torch and by ONNX."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from distilnlp.cli.commands import main
from distilnlp.data import DataConfig
from distilnlp.errors import DistillationError
from distilnlp.runs import export_saved, predict_saved, predicting
from distilnlp.tasks import TASKS
from tests.test_export import rows_file, saved
from tests.tiny import tiny_model, tiny_rows
from tests.tiny_tasks import task_model

COLUMNS = {
    "single_label_classification": ["label", "score"],
    "multi_label_classification": ["labels", "scores"],
    "regression": ["score"],
    "token_classification": ["entities"],
    "question_answering": ["answer", "score", "start", "end"],
    "multiple_choice": ["choice", "scores"],
}


def classifier(folder: Path) -> str:
    return saved(folder / "student", tiny_model(num_hidden_layers=2))


def texts(folder: Path, count: int = 12) -> DataConfig:
    rows = pd.DataFrame({"id": range(count), "text": tiny_rows(count)["text"][:]})
    rows.loc[2, "text"] = None
    rows.to_csv(folder / "rows.csv", index=False)
    return DataConfig(source=str(folder / "rows.csv"))


@pytest.mark.parametrize("task", COLUMNS)
def test_every_task_answers_alike_by_torch_and_by_onnx(tmp_path: Path, task: str) -> None:
    labels = {"token_classification": ("O", "B-P", "I-P")}.get(task)
    student = saved(tmp_path / "student", task_model(task, labels=labels, num_hidden_layers=2))
    data, tables = rows_file(tmp_path, task), []
    for runtime in ("torch", "onnx"):
        if runtime == "onnx":
            export_saved(student, task=task)
        assert predict_saved(student, data, tmp_path / f"{runtime}.parquet", task, runtime=runtime) == 12
        tables.append(pq.read_table(tmp_path / f"{runtime}.parquet").to_pylist())
    source = [json.loads(line) for line in Path(str(data.source)).read_text().splitlines()]
    added = [name if name not in source[0] else f"predicted_{name}" for name in COLUMNS[task]]
    for given, own, other in zip(source, *tables, strict=True):
        assert list(own) == [*given, *added]
        assert {name: own[name] for name in given} == given
        for name in added:
            assert own[name] == other[name] or flat(own[name]) == pytest.approx(flat(other[name]), abs=1e-4)


def flat(value: Any) -> list[float]:
    """The numbers in a value."""
    if isinstance(value, dict):
        return [number for own in value.values() for number in flat(own)]
    if isinstance(value, list):
        return [number for own in value for number in flat(own)]
    return [value] if isinstance(value, int | float) else []


def test_blank_rows_have_no_answer_and_all_rows_stay(tmp_path: Path) -> None:
    student, data = classifier(tmp_path), texts(tmp_path)
    predict_saved(student, data, tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == list(range(12))
    assert [index for index, row in enumerate(rows) if row["label"] is None] == [2]
    assert not list(tmp_path.glob("*.partial*"))


def test_a_killed_command_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student, data, output = classifier(tmp_path), texts(tmp_path), tmp_path / "out.parquet"
    monkeypatch.setattr(predicting, "ROWS", 5)
    predict_saved(student, data, tmp_path / "whole.parquet")
    original, calls = predicting._answers, []

    def dying(first: Any, others: Any, predictor: Any) -> Any:
        calls.append(len(first))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(first, others, predictor)

    monkeypatch.setattr(predicting, "_answers", dying)
    with pytest.raises(KeyboardInterrupt):
        predict_saved(student, data, output)
    assert not output.exists()
    assert predict_saved(student, data, output) == 12
    assert calls == [5, 5, 5, 2]  # the first part is not answered again
    assert pq.read_table(output).equals(pq.read_table(tmp_path / "whole.parquet"))


def test_parts_of_another_student_are_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student, data, output = classifier(tmp_path), texts(tmp_path), tmp_path / "out.parquet"
    monkeypatch.setattr(
        predicting, "WRITERS", {".parquet": lambda parts, path: (_ for _ in ()).throw(KeyboardInterrupt)}
    )
    with pytest.raises(KeyboardInterrupt):
        predict_saved(student, data, output)
    monkeypatch.undo()
    other = saved(tmp_path / "other", tiny_model(num_hidden_layers=2, seed=3))
    predict_saved(other, data, output)
    predict_saved(other, data, tmp_path / "fresh.parquet")
    assert pq.read_table(output).equals(pq.read_table(tmp_path / "fresh.parquet"))


def test_the_command_writes_csv_and_says_how_many(tmp_path: Path, capsys: Any) -> None:
    student, data = classifier(tmp_path), texts(tmp_path)
    assert main(["predict", student, "--data", str(data.source), "--output", str(tmp_path / "out.csv")]) == 0
    assert f"{tmp_path}/out.csv (12 rows)" in capsys.readouterr().out
    assert list(pd.read_csv(tmp_path / "out.csv").columns) == ["id", "text", "label", "score"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["student", "--data", "rows.csv"], "--output must be given"),
        (["student", "--output", "a.csv"], "--data must be given"),
        (["student", "--data", "rows.csv", "--output", "a.txt"], "must end in .parquet, .jsonl, .csv, but it is a.txt"),
        (["nowhere", "--data", "rows.csv", "--output", "a.csv"], "is none. Give a local folder"),
        (["student", "--data", "none.csv", "--output", "a.csv"], "no file none.csv"),
        (["student", "--data", "rows.csv", "--output", "a.csv", "--runtime", "onnx"], "Run `distilnlp export student`"),
        (["student", "--data", "{a: rows.csv, b: rows.csv}", "--output", "a.csv"], "has the splits ['a', 'b']"),
        (["student", "--data", "rows.csv", "--output", "a.csv", "--text-column", "body"], "the column 'body'"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    classifier(tmp_path)
    texts(tmp_path)
    assert main(["predict", *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.glob("a.*"))


def test_a_masked_language_model_answers_no_rows(tmp_path: Path) -> None:
    student = saved(tmp_path / "student", task_model("masked_lm", num_hidden_layers=2))
    with pytest.raises(DistillationError, match="has no answer to a row"):
        predict_saved(student, texts(tmp_path), tmp_path / "a.csv", "masked_lm")
    assert COLUMNS.keys() == TASKS.keys() - {"masked_lm"}
