"""What is measured on which reading of the test rows: lengths of student and teacher, and texts that are cut."""

import json
from pathlib import Path
from typing import Any

import pytest

from distilnlp.data import DataConfig
from distilnlp.evaluation import CUT_TEACHER
from distilnlp.runs import evaluate_saved, make_plan, run
from distilnlp.runs.measured import Measured
from distilnlp.runs.rows import RunRows
from distilnlp.runs.teacher import RunTeacher
from tests.test_runs import recipe
from tests.test_task_runs import row_of, text
from tests.tiny import tiny_model, tiny_tokenizer
from tests.tiny_tasks import LABEL_NAMES, task_model

READ, LONG = 12, 24  # tokens; the data's texts have up to 22


def save(path: Path, model: Any, length: int) -> str:
    """Save a model that reads so many tokens."""
    model.save_pretrained(path)
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = length
    tokenizer.save_pretrained(path)
    return str(path)


def rows_of(task: str, count: int = 12) -> list[dict[str, Any]]:
    """Rows of which every second one is longer than what the student reads."""
    rows = [row_of(task, index) for index in range(count)]
    for index, row in enumerate(rows):
        if "text" in row:
            row["text"] = text(20, 20) if index % 2 else text(3, 3)
        if "tokens" in row:
            row["tokens"] = (text(20, 20) if index % 2 else text(3, 3)).split()
            row["ner_tags"] = [("O", "PERSON", "PLACE", "THING")[place % 4] for place in range(len(row["tokens"]))]
    return rows


def data_of(folder: Path, task: str) -> DataConfig:
    file = folder / "test.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows_of(task)))
    return DataConfig(source=str(file), **({"stride": 2} if task == "question_answering" else {}))


@pytest.mark.parametrize(
    "task", ["single_label_classification", "token_classification", "question_answering", "masked_lm"]
)
def test_a_teacher_is_measured_at_its_own_length_and_at_the_students(tmp_path: Path, task: str) -> None:
    labels = ("film", "money", "sport") if task == "single_label_classification" else LABEL_NAMES[task]
    student = save(tmp_path / "student", task_model(task, seed=1, labels=labels), READ)
    teacher = save(tmp_path / "teacher", task_model(task, labels=labels), LONG)
    data = data_of(tmp_path, task)
    found = evaluate_saved(student, data, teacher, task)
    alone = evaluate_saved(teacher, data, task=task)["student"]
    is_cut = {"single_label_classification": 0.5, "token_classification": 0.5, "masked_lm": 0.5}.get(task)
    assert found["student"]["text"] == {"max_length": READ, "cut": is_cut}
    if task == "masked_lm":  # what is masked depends on the length
        assert list(found) == ["teacher", "student"]
        assert found["teacher"]["text"] == found["student"]["text"]
        return
    assert list(found) == ["teacher", CUT_TEACHER, "student"]
    assert found["teacher"]["text"] == {"max_length": LONG, "cut": None if is_cut is None else 0.0}
    assert found[CUT_TEACHER]["text"] == found["student"]["text"]
    if task != "token_classification":  # of which the words are measured that the student reads too
        assert found["teacher"]["metrics"] == alone["metrics"]
        fidelity = found[CUT_TEACHER]["fidelity"]
        assert fidelity.get("kl", 0) > 0 or fidelity["agreement"] < 1  # it read something else
    assert {report["units"] for report in found.values()} == {alone["units"]}


def test_a_teacher_is_measured_once_where_no_text_is_cut(tmp_path: Path) -> None:
    student = save(tmp_path / "student", tiny_model(seed=1), LONG - 1)
    teacher = save(tmp_path / "teacher", tiny_model(), LONG)
    found = evaluate_saved(student, data_of(tmp_path, "single_label_classification"), teacher)
    assert list(found) == ["teacher", "student"]
    assert found["student"]["text"] == {"max_length": LONG - 1, "cut": 0.0}


def run_recipe(folder: Path, **changes: Any) -> Any:
    data_of(folder, "single_label_classification")
    save(folder / "teacher", tiny_model(num_hidden_layers=2, max_position_embeddings=LONG), LONG)
    small = tiny_model(num_hidden_layers=1, hidden_size=8, max_position_embeddings=READ).base_model
    # Either the model or its tokenizer says how much is read.
    save(folder / "small", small, LONG if "teacher.max_length" in changes else READ)
    own = {"student.model": str(folder / "small"), "student.num_layers": None}
    return recipe(folder, **{"data.source": str(folder / "test.jsonl"), **own, **changes})


@pytest.mark.parametrize(
    ("changes", "lengths"),
    [
        ({}, {"teacher": LONG, CUT_TEACHER: READ, "student": READ}),
        ({"teacher.max_length": LONG - 1}, {"teacher": LONG - 1, CUT_TEACHER: READ, "student": READ}),
        ({"data.max_length": READ}, {"teacher": READ, "student": READ}),
        ({"teacher.finetune": True, "baseline": True}, {"teacher": READ, "student": READ, "baseline": READ}),
    ],
)
def test_a_run_reads_its_test_rows_at_the_lengths_of_both(
    tmp_path: Path, changes: dict[str, Any], lengths: dict[str, int]
) -> None:
    rows = RunRows(make_plan(run_recipe(tmp_path, **changes)))
    measured = Measured(rows.plan, rows, RunTeacher(rows.plan, ()), {}, has_graphs=False)
    vars(measured)["models"] = dict.fromkeys(("teacher", "student", *(["baseline"] if "baseline" in changes else [])))
    found = measured.readings
    assert {name: own.text["max_length"] for name, own in found.items()} == lengths
    for own in found.values():
        assert max(own.rows["length"]) == min(own.text["max_length"], 22)
        assert (own.text["cut"] == 0) == (own.text["max_length"] >= 22)


def test_a_runs_results_and_card_carry_the_verdict(tmp_path: Path) -> None:
    results = run(run_recipe(tmp_path))
    written = (tmp_path / "out" / "results.json").read_text()
    assert json.loads(written, parse_constant=pytest.fail)["verdict"] == results["verdict"]
    assert "too few to tell anything" in results["verdict"][0]
    assert any("12 tokens the student reads" in said for said in results["verdict"])
    card = (tmp_path / "out" / "student" / "README.md").read_text()
    assert all(f"- {said}\n" in card for said in results["verdict"])
