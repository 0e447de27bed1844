"""Runs of every task and of every student shape, end to end from a recipe, on tiny models and rows."""

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from transformers import AutoTokenizer, pipeline

from distilnlp import DistillationTrainer, LiveTeacher
from distilnlp.errors import DistillationError
from distilnlp.runs import dry_run, evaluate_saved, make_plan, run
from distilnlp.runs.models import find_task
from distilnlp.tasks import TASKS, task_of
from tests.conftest import tiny_arguments
from tests.test_runs import recipe, save_model
from tests.tiny import WORDS, tiny_model
from tests.tiny_tasks import task_model

RANDOM = Random(0)
ROWS = 40
STATES = {"masked_lm": ["attention_kl"], "question_answering": ["minilmv2"], "multiple_choice": ["rkd_distance"]}


def text(least: int = 2, most: int = 8) -> str:
    return " ".join(RANDOM.choice(WORDS) for _ in range(RANDOM.randint(least, most)))


def row_of(task: str, index: int) -> dict[str, Any]:
    if task == "single_label_classification":
        return {"text": text(), "label": ("film", "money", "sport")[index % 3]}
    if task == "multi_label_classification":
        return {"text": text(), "labels": RANDOM.sample(["film", "money", "sport"], RANDOM.randint(0, 2))}
    if task == "regression":
        return {"text": text(), "label": RANDOM.random() * 5}
    if task == "token_classification":
        words = text().split()
        return {"tokens": words, "ner_tags": [RANDOM.choice(["O", "B-P", "I-P"]) for _ in words]}
    if task == "question_answering":
        words = text(10, 30).split()
        start = len(" ".join([*words[:3], ""]))
        answers = {"text": [" ".join(words[3:5])], "answer_start": [start]}
        return {"question": text(2, 4), "context": " ".join(words), "answers": answers}
    if task == "multiple_choice":
        return {"prompt": text(), "choices": [text(1, 3) for _ in range(RANDOM.randint(2, 4))], "label": index % 2}
    return {"text": text()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    RANDOM.seed(1)  # the rows of a test do not depend on the tests before it
    save_model(tmp_path / "teacher", tiny_model(num_hidden_layers=2).base_model)
    return tmp_path


def task_recipe(folder: Path, task: str, **overrides: Any) -> Any:
    file = folder / f"{task}.jsonl"
    file.write_text("".join(json.dumps(row_of(task, index)) + "\n" for index in range(ROWS)))
    own: dict[str, Any] = {"data.stride": 4} if task == "question_answering" else {}
    finetune = {"teacher.finetune": {"num_train_epochs": 1}, "data.source": str(file), "task": task}
    return recipe(folder, **{**finetune, **own, **overrides})


@pytest.mark.parametrize("task", TASKS)
def test_every_task_runs_from_a_recipe(folder: Path, task: str) -> None:
    losses = [{"name": name} for name in STATES.get(task, ["hidden_state_mse"])]
    results = run(task_recipe(folder, task, **{"baseline": True, "training.losses": losses}))
    assert set(results["models"]) == {"teacher", "student", "baseline"}
    assert next(iter(results["models"]["student"]["metrics"])) in (folder / "out" / "student" / "README.md").read_text()
    student = TASKS[task].auto_class.from_pretrained(folder / "out" / "student")
    assert task_of(student).name == task
    if task != "masked_lm":  # which is never guessed
        assert find_task(None, str(folder / "out" / "student")).name == task
    data = task_recipe(folder, task).data
    again = evaluate_saved(str(folder / "out" / "student"), data, str(folder / "out" / "teacher"), task)
    assert list(again) == ["teacher", "student"]


@pytest.mark.parametrize("task", [name for name in TASKS if name != "masked_lm"])
def test_without_any_label_a_student_is_measured_by_its_teacher(folder: Path, task: str) -> None:
    run(task_recipe(folder, task))
    (folder / "out" / "teacher").rename(folder / "finished")
    rows = [row_of(task, index) for index in range(ROWS)]
    without = [{key: value for key, value in row.items() if key not in TASKS[task].rows.usual_labels} for row in rows]
    file = folder / "texts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in without))
    keys = {"teacher.finetune": False, "teacher.model": str(folder / "finished"), "data.source": str(file)}
    chosen = task_recipe(folder, task, **keys, output=str(folder / "unlabelled"))
    results = run(chosen)
    assert results["rows"] == {"train": 32, "labelled": 0, "validation": 0, "test": 8}
    assert {report["labelled_by"] for report in results["models"].values()} == {"teacher"}
    first = next(iter(results["models"]["teacher"]["metrics"].values()))
    if first["value"] is not None:  # no entity, or one class alone, may be what the teacher answers
        assert first["value"] == pytest.approx(1)
    fidelity = results["models"]["student"]["fidelity"]
    assert fidelity is not None
    if task == "single_label_classification":
        figures = results["models"]["student"]["metrics"]
        assert figures["accuracy"]["value"] == pytest.approx(fidelity["agreement"])
    assert results["verdict"][0].startswith("Quality was not measured: none of 8 test rows has a label.")
    card = (folder / "unlabelled" / "student" / "README.md").read_text()
    assert "model-index" not in card
    assert "Measured on 8 rows that" in card
    page = (folder / "unlabelled" / "report.html").read_text().replace("&#39;", "'")
    assert "of which none has one: what the teacher answers counts as right" in page
    assert ", as the teacher" in page
    assert "of its teacher's" not in page.partition("How good")[0]
    again = evaluate_saved(str(folder / "unlabelled" / "student"), chosen.data, str(folder / "finished"), task)
    assert again["student"]["labelled_by"] == "teacher"
    with pytest.raises(DistillationError, match="label"):  # nothing to compare with
        evaluate_saved(str(folder / "unlabelled" / "student"), chosen.data, None, task)


@pytest.mark.parametrize(
    "task",
    ["single_label_classification", "multi_label_classification", "regression", "token_classification", "masked_lm"],
)
def test_a_student_is_served_by_its_pipeline(folder: Path, task: str) -> None:
    run(task_recipe(folder, task))
    predict = pipeline(TASKS[task].pipeline_tag, model=str(folder / "out" / "student"))
    assert predict("the film [MASK] a" if task == "masked_lm" else "the film")
    assert f'pipeline("{TASKS[task].pipeline_tag}"' in (folder / "out" / "student" / "README.md").read_text()


@pytest.mark.parametrize("task", ["single_label_classification", "token_classification", "question_answering"])
def test_a_student_may_have_fewer_pieces_than_its_teacher(folder: Path, task: str) -> None:
    words = [word for word in WORDS if word not in ("coach", "fund")]
    chosen = task_recipe(folder, task, **{"student.trim_vocabulary": True, "training.losses": [{"name": "minilmv2"}]})
    source = Path(chosen.data.source)
    source.write_text(source.read_text().replace("coach", words[0]).replace("fund", words[1]))
    if task == "question_answering":  # other words are of another length
        rows = [json.loads(line) for line in source.read_text().splitlines()]
        for row in rows:
            row["answers"]["answer_start"] = [row["context"].index(row["answers"]["text"][0])]
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(chosen)
    student, teacher = (AutoTokenizer.from_pretrained(folder / "out" / name) for name in ("student", "teacher"))
    assert len(student) == len(teacher) - 2


def test_a_student_may_be_a_pretrained_model_of_another_family(folder: Path) -> None:
    save_model(folder / "small", tiny_model("distilbert", num_hidden_layers=1).base_model)
    own = {"student.model": str(folder / "small"), "student.num_layers": None}
    chosen = task_recipe(folder, "single_label_classification", **own)
    run(chosen)
    assert AutoTokenizer.from_pretrained(folder / "out" / "student").model_input_names == [
        "input_ids",
        "attention_mask",
    ]
    before = (folder / "out" / "work" / "student.json").read_text()
    save_model(folder / "small", tiny_model("distilbert", seed=1, num_hidden_layers=1).base_model)
    run(chosen)
    assert (folder / "out" / "work" / "student.json").read_text() != before, "other weights are another student"


def test_a_narrow_student_runs_from_a_recipe(folder: Path) -> None:
    narrow = {"student.num_attention_heads": 1, "student.intermediate_size": 24}
    run(task_recipe(folder, "single_label_classification", **narrow))
    config = json.loads((folder / "out" / "student" / "config.json").read_text())
    assert (config["num_attention_heads"], config["hidden_size"], config["intermediate_size"]) == (1, 8, 24)


# ---- What is refused ----


def test_a_teacher_of_another_task_is_refused_by_name(folder: Path) -> None:
    save_model(folder / "tagger", task_model("token_classification"))
    wrong = {"teacher.model": str(folder / "tagger"), "teacher.finetune": False}
    with pytest.raises(DistillationError, match="no trained head for question_answering"):
        make_plan(task_recipe(folder, "question_answering", **wrong))
    save_model(folder / "scorer", task_model("regression"))
    with pytest.raises(DistillationError, match="is a model for regression, not for single_label_classification"):
        make_plan(
            task_recipe(
                folder,
                "single_label_classification",
                **{"teacher.model": str(folder / "scorer"), "teacher.finetune": False},
            )
        )


def test_masked_language_models_need_one_vocabulary(folder: Path) -> None:
    chosen = task_recipe(folder, "masked_lm", **{"student.trim_vocabulary": True})
    source = Path(chosen.data.source)
    source.write_text(source.read_text().replace("coach", "film"))
    with pytest.raises(DistillationError, match="tokens of one vocabulary"):
        dry_run(chosen)


def test_scores_that_are_hidden_are_not_measured_on(folder: Path) -> None:
    rows = [json.dumps({"text": text(), "label": score}) for score in (1.0, 2.0, 3.0, 4.0, 5.0, 0.5)]
    (folder / "data").mkdir()
    (folder / "data" / "train.jsonl").write_text("\n".join(rows))
    hidden = [json.dumps({"text": text(), "label": -1.0}) for _ in range(4)]
    (folder / "data" / "test.jsonl").write_text("\n".join(hidden))
    plan = make_plan(task_recipe(folder, "regression", **{"data.source": str(folder / "data")}))
    assert -1.0 not in plan.data.test["label"]


def test_a_refused_run_deletes_nothing_and_writes_nothing(folder: Path) -> None:
    chosen = task_recipe(folder, "question_answering")
    run(chosen)
    before = sorted(path.name for path in (folder / "out").iterdir())
    wrong = task_recipe(folder, "question_answering", **{"data.stride": 60})
    with pytest.raises(DistillationError, match="stride"):
        run(wrong, overwrite=True)
    assert sorted(path.name for path in (folder / "out").iterdir()) == before
    with pytest.raises(DistillationError, match="stride"):
        dry_run(task_recipe(folder, "question_answering", **{"data.stride": 60, "output": str(folder / "new")}))
    assert not (folder / "new").exists()


@pytest.mark.parametrize(("head", "task"), [("regression", "multiple_choice"), ("token_classification", "regression")])
def test_a_head_that_happens_to_fit_is_still_of_another_task(folder: Path, head: str, task: str) -> None:
    save_model(folder / "other", task_model(head))
    wrong = {"teacher.model": str(folder / "other"), "teacher.finetune": False}
    with pytest.raises(DistillationError, match="has no trained head for"):
        make_plan(task_recipe(folder, task, **wrong))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"training.losses": [{"name": "rkd_angle"}], "training.per_device_train_batch_size": 2}, "needs at least 3"),
        ({"data.max_length": 3}, "must leave room for text"),
        ({"training.losses": [{"name": "hidden_state_mse", "layer_mapping": [1, 2]}]}, "must be pairs such as"),
    ],
)
def test_what_would_teach_nothing_is_refused(folder: Path, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        make_plan(task_recipe(folder, "single_label_classification", **overrides))


def test_token_ids_that_mean_other_tokens_are_refused(tmp_path: Path) -> None:
    student, teacher = task_model("regression", vocab_size=24), task_model("regression", vocab_size=60)
    with pytest.raises(DistillationError, match=r"24 and the teacher 60 tokens.*teacher_processing_class"):
        DistillationTrainer(student, teacher, tiny_arguments(tmp_path))
    padded = task_model("regression", vocab_size=600), task_model("regression", vocab_size=604)
    assert DistillationTrainer(*padded, tiny_arguments(tmp_path)).teacher


def test_a_new_vocabulary_head_is_no_teacher() -> None:
    model = task_model("masked_lm")
    assert LiveTeacher(model)
    model.get_output_embeddings().bias.data.zero_()
    with pytest.raises(DistillationError, match="was never trained"):
        LiveTeacher(model)


def test_the_task_decides_what_a_head_is_for_that_does_not_say_it(folder: Path) -> None:
    model = task_model("multi_label_classification", num_hidden_layers=2)
    model.config.problem_type = None  # as after a training loop of one's own
    save_model(folder / "own", model)
    given = {"teacher.model": str(folder / "own"), "teacher.finetune": False}
    results = run(task_recipe(folder, "multi_label_classification", **given))
    assert "micro_f1" in results["models"]["teacher"]["metrics"]
    student = folder / "out" / "student"
    assert json.loads((student / "config.json").read_text())["problem_type"] == "multi_label_classification"
    data = task_recipe(folder, "multi_label_classification").data
    again = evaluate_saved(str(student), data, str(folder / "own"), "multi_label_classification")
    assert again["teacher"]["metrics"].keys() == results["models"]["teacher"]["metrics"].keys()
    with pytest.raises(DistillationError, match="is a model for single_label_classification, not for regression"):
        dry_run(task_recipe(folder, "regression", output=str(folder / "other"), **given))


def test_a_finished_teacher_and_its_student_settle_when_there_is_no_answer(folder: Path) -> None:
    run(task_recipe(folder, "question_answering"))
    (folder / "out" / "teacher").rename(folder / "finished")
    rows = [row_of("question_answering", index) for index in range(ROWS)]
    for row in rows[::3]:
        row["answers"] = {"text": [], "answer_start": []}
    for name in ("train", "validation", "test"):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = {name: str(folder / f"{name}.jsonl") for name in ("train", "validation", "test")}
    keys = {"teacher.finetune": False, "teacher.model": str(folder / "finished"), "data.source": files}
    results = run(task_recipe(folder, "question_answering", **keys, output=str(folder / "squad2")))
    names = ["f1", "exact_match", "answerable_f1", "answerable_exact_match", "no_answer_accuracy"]
    for model in ("teacher", "student"):
        assert list(results["models"][model]["metrics"]) == names
        # No threshold does worse than no answer to every question, or than an answer to every one.
        assert results["models"][model]["metrics"]["f1"]["value"] >= 14 / 40 - 1e-9
    config = json.loads((folder / "squad2" / "student" / "config.json").read_text())
    assert isinstance(config["no_answer_threshold"], float)
    assert "no answer" in (folder / "squad2" / "report.html").read_text()
