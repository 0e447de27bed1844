"""Runs whose student is a model with a tokenizer of its own: what aligns the two is written by itself."""

import json
from pathlib import Path
from typing import Any

import pytest

from distilnlp.errors import DistillationError
from distilnlp.runs import make_plan, run
from distilnlp.runs.rows import RunRows
from tests import test_task_runs
from tests.test_data_tokens import byte_tokenizer
from tests.test_task_runs import task_recipe
from tests.tiny import tiny_model

folder = test_task_runs.folder  # a teacher
ALIGNED = {"offsets", "teacher_offsets", "word_ids", "teacher_word_ids"}
STATES = [{"name": "hidden_state_mse", "layer_mapping": "learned"}, {"name": "embedding_mse"}]


@pytest.fixture
def small(folder: Path) -> Path:
    """A narrower model of another family that reads bytes."""
    model = tiny_model(
        "distilbert", num_hidden_layers=1, hidden_size=8, vocab_size=400, max_position_embeddings=64
    ).base_model
    model.save_pretrained(folder / "small")
    byte_tokenizer().save_pretrained(folder / "small")
    return folder


def recipe_of(folder: Path, task: str, *losses: dict[str, Any], **overrides: Any) -> Any:
    own = {"student.model": str(folder / "small"), "student.num_layers": None, "training.losses": list(losses)}
    return task_recipe(folder, task, **{**own, **overrides})


@pytest.mark.parametrize("task", ["single_label_classification", "token_classification", "question_answering"])
@pytest.mark.parametrize("epochs", [1, 2])
def test_states_of_words_are_compared(small: Path, task: str, epochs: int) -> None:
    results = run(recipe_of(small, task, *STATES, **{"training.num_train_epochs": epochs}))
    assert set(results["models"]) == {"teacher", "student"}
    kept = small / "out" / "cache" / "manifest.json"
    assert kept.is_file() == (epochs == 2)
    if epochs == 2:
        assert not {"offsets", "word_ids"} & {*json.loads(kept.read_text())["columns"]}


def test_columns_that_align_are_written_only_where_they_are_needed(small: Path) -> None:
    def columns(task: str, *losses: dict[str, Any], **overrides: Any) -> set[str]:
        return ALIGNED & {*RunRows(make_plan(recipe_of(small, task, *losses, **overrides))).train.column_names}

    same = {"student.model": None, "student.num_layers": 1}
    words = {"word_ids", "teacher_word_ids"}
    assert columns("regression") == columns("regression", *STATES, **same) == set()
    assert columns("regression", *STATES) == columns("token_classification", *STATES) == words
    assert columns("question_answering") == ALIGNED - words
    assert columns("question_answering", *STATES) == ALIGNED
    assert columns("question_answering", **same) == set()


def test_every_window_of_the_student_has_one_of_the_teacher(small: Path) -> None:
    plan = make_plan(recipe_of(small, "question_answering"))
    rows = RunRows(plan)
    assert len(rows.train) > len(plan.data.train)
    for row in rows.train:
        context = plan.data.train["context"][row["example"]]
        shown = [
            context[spans[0][0] : spans[-1][1]].strip()
            for prefix in ("", "teacher_")
            if (spans := [span for span in row[f"{prefix}offsets"] if span[1] > span[0]])
        ]
        assert shown[0] == shown[1] != ""
    assert len(rows.members[0].train) != len(rows.train)


@pytest.mark.parametrize("epochs", [1, 2])
def test_the_teacher_is_asked_about_the_windows_of_the_validation_rows_too(small: Path, epochs: int) -> None:
    source = Path(recipe_of(small, "question_answering").data.source)
    rows = source.read_text().splitlines(keepends=True)
    for split, part in (("train", rows[:20]), ("validation", rows[20:30]), ("test", rows[30:])):
        (small / "splits").mkdir(exist_ok=True)
        (small / "splits" / f"{split}.jsonl").write_text("".join(part))
    options = {
        "data.validation_split": "validation",
        "training.eval_strategy": "epoch",
        "training.eval_soft_loss": True,
        "training.num_train_epochs": epochs,
        "teacher.finetune": {"num_train_epochs": 3},
        "teacher.folds": 2,
    }
    chosen = recipe_of(small, "question_answering", **options)
    chosen = chosen.model_copy(update={"data": chosen.data.model_copy(update={"source": str(small / "splits")})})
    plan = make_plan(chosen)
    made = RunRows(plan)
    assert made.validation is not None
    assert len(made.validation) == len(made.student.validation) > len(plan.data.validation)
    assert set(run(chosen)["models"]) == {"teacher", "student"}


@pytest.mark.parametrize(
    ("task", "losses", "message"),
    [
        ("single_label_classification", ["minilmv2"], "minilmv2: student and teacher are compared token by token"),
        ("regression", ["hidden_state_mse", "attention_mse"], "attention_mse: student and teacher"),
        ("multiple_choice", ["hidden_state_cosine"], "hidden_state_cosine: .* Use a student with the teacher's tok"),
        ("question_answering", ["logit_mse"], "logit_mse: student"),
        ("masked_lm", [], "masked language modelling .* Use a student with the teacher's"),
    ],
)
def test_what_cannot_be_aligned_is_refused_by_name(small: Path, task: str, losses: list[str], message: str) -> None:
    own = {"student.num_attention_heads": None}
    with pytest.raises(DistillationError, match=f"^{message}"):
        _ = RunRows(make_plan(recipe_of(small, task, *({"name": name} for name in losses), **own))).train


def test_a_window_that_is_too_long_for_the_teacher_is_refused(small: Path) -> None:
    own = {"teacher.max_length": 12, "data.stride": 1}
    with pytest.raises(DistillationError, match=r"question_answering: .* raise teacher\.max_length"):
        _ = RunRows(make_plan(recipe_of(small, "question_answering", **own))).train


def test_a_student_that_has_no_room_for_a_word_finds_its_kept_answers(small: Path) -> None:
    options = {"student.model": None, "student.num_layers": 1, "data.max_length": 6, "teacher.max_length": 32}
    results = run(task_recipe(small, "token_classification", **{**options, "training.num_train_epochs": 2}))
    assert (small / "out" / "cache").is_dir()
    assert set(results["models"]) == {"teacher", "teacher, cut", "student"}
