"""Runs that keep the teacher's answers: asked once, by whichever command comes first, and repaired where damaged."""

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetDict

from distilnlp.answers import read_manifest
from distilnlp.cli.commands import main
from distilnlp.errors import DistillationError
from distilnlp.recipe.sections import Recipe
from distilnlp.runs import cache, measured, run, steps, teacher
from tests import test_runs
from tests.test_cache import flip_a_byte
from tests.tiny import WORDS

folder = test_runs.folder  # a teacher and data


def recipe(folder: Path, **overrides: Any) -> Recipe:
    return test_runs.recipe(folder, **{"training.num_train_epochs": 2, **overrides})


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the models that stages load."""
    names: list[str] = []
    original = steps.load_labelled

    def load(path: Any, *args: Any, **options: Any) -> Any:
        names.append(Path(path).name)
        return original(path, *args, **options)

    for module in (steps, measured, teacher):
        monkeypatch.setattr(module, "load_labelled", load)
    return names


def test_answers_are_kept_and_serve_further_students(folder: Path, caplog: Any, loaded: list[str]) -> None:
    caplog.set_level("INFO", logger="distilnlp")
    results = run(recipe(folder))
    assert set(results["models"]) == {"teacher", "student"}
    manifest = read_manifest(folder / "out" / "cache")
    assert manifest is not None
    assert manifest.rows == 32
    assert "asked once" in caplog.text
    loaded.clear()
    run(recipe(folder, **{"training.learning_rate": 1e-3}))
    assert "teacher's answers: reused" in caplog.text
    assert loaded == ["initial_student", "teacher", "student"]  # the last two to be measured


def test_the_cache_command_asks_the_teacher_before_a_run(folder: Path, caplog: Any, capsys: Any) -> None:
    caplog.set_level("INFO", logger="distilnlp")
    made = recipe(folder)
    flags = ["--teacher", made.teacher.model, "--data", str(made.data.source), "--output", made.output]
    further = ["--student.num_layers", "1", "--training.bf16", "false", "--training.num_train_epochs", "2"]
    assert main(["cache", *flags, *further, "--training.disable_tqdm", "true", "--evaluation.speed", "false"]) == 0
    assert "answers" in capsys.readouterr().out
    assert not (folder / "out" / "student").exists()
    run(made)
    assert "teacher's answers: reused" in caplog.text


def test_a_single_epoch_keeps_nothing_unless_asked(folder: Path) -> None:
    once = recipe(folder, **{"training.num_train_epochs": 1})
    run(once)
    assert not (folder / "out" / "cache").exists()
    assert cache(once) == folder / "out" / "cache"


def test_a_damaged_shard_is_mended_before_it_is_read(folder: Path) -> None:
    run(recipe(folder))
    shard = folder / "out" / "cache" / "shard-00000.safetensors"
    whole = shard.read_bytes()
    flip_a_byte(shard)
    run(recipe(folder, **{"training.learning_rate": 1e-3}))
    assert shard.read_bytes() == whole


def test_a_student_with_a_vocabulary_of_its_own_reads_the_answers(folder: Path) -> None:
    # The last words alone: the teacher's ids are beyond those of the student.
    texts = [f"{' '.join(WORDS[-3:])} {WORDS[-4 - index % 3]}" for index in range(24)]
    rows = Dataset.from_dict({"text": texts, "label": [index % 3 for index in range(24)]})
    DatasetDict(train=rows, test=rows).save_to_disk(str(folder / "few"))
    results = run(recipe(folder, **{"student.trim_vocabulary": True, "data.source": str(folder / "few")}))
    assert (folder / "out" / "cache").is_dir()
    assert json.loads((folder / "out" / "student" / "config.json").read_text())["vocab_size"] < len(WORDS)
    assert results["models"]["student"]["metrics"]["accuracy"]["value"] >= 0


def test_masks_that_are_drawn_anew_cannot_be_kept(folder: Path) -> None:
    made = recipe(folder, **{"task": "masked_lm", "teacher.finetune": True, "data.text_columns": ["text"]})
    rows = Dataset.from_dict({"text": [f"the film number {index}" for index in range(12)]})
    DatasetDict(train=rows, test=rows).save_to_disk(str(folder / "data"))
    with pytest.raises(DistillationError, match="the teacher's answers cannot be kept: tokens are masked anew"):
        cache(made)


def test_what_cannot_be_kept_is_refused_before_anything_is_deleted(folder: Path) -> None:
    run(recipe(folder))
    maps = {"training.losses": [{"name": "attention_kl"}]}
    for changes in (maps, {**maps, "training.teacher_cache": str(folder / "shared")}):
        with pytest.raises(DistillationError, match=r"cannot be kept: .*attention"):
            cache(recipe(folder, **changes), overwrite=True)
    assert (folder / "out" / "student").is_dir()


def test_the_cache_command_writes_into_a_named_folder(folder: Path, caplog: Any) -> None:
    named = {"training.teacher_cache": str(folder / "shared")}
    assert cache(recipe(folder, **named)) == folder / "shared"
    caplog.set_level("INFO", logger="distilnlp")
    run(recipe(folder, **named))
    assert not (folder / "out" / "cache").exists()


@pytest.mark.parametrize("inside", ["out", "out/answers"])
def test_a_named_folder_lies_outside_of_the_run(folder: Path, inside: str) -> None:
    with pytest.raises(DistillationError, match="outside of the output folder"):
        run(recipe(folder, **{"training.teacher_cache": str(folder / inside)}))


def test_a_named_folder_holds_nothing_else(folder: Path) -> None:
    with pytest.raises(DistillationError, match="a cache needs a folder of its own"):
        run(recipe(folder, **{"training.teacher_cache": str(folder / "teacher")}))
