"""Ensembles by a recipe: members of other labels, tokenizers and lengths, fine-tuned or finished."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import DatasetDict
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

from distilnlp.errors import DistillationError
from distilnlp.recipe.sections import Recipe
from distilnlp.runs import cache, make_plan, run
from distilnlp.runs.describe import describe
from distilnlp.runs.rows import RunRows
from distilnlp.runs.steps import Steps
from distilnlp.signals import SignalRequest
from tests import test_runs
from tests.test_data_tokens import letter_tokenizer
from tests.test_runs import save_model
from tests.tiny import TOPICS, tiny_model, tiny_rows

folder = test_runs.folder  # a teacher and data


@pytest.fixture
def second(folder: Path) -> Path:
    """A teacher of another family, with its labels in another order."""
    save_model(folder / "second", tiny_model("distilbert", labels=TOPICS[::-1], seed=1))
    return folder


@pytest.fixture
def letters(folder: Path) -> Path:
    """A teacher that reads letters."""
    model, tokenizer = tiny_model(vocab_size=200, seed=2), letter_tokenizer()
    tokenizer.model_max_length = 40
    model.save_pretrained(folder / "letters")
    tokenizer.save_pretrained(folder / "letters")
    return folder


def recipe(folder: Path, *names: str, **overrides: Any) -> Recipe:
    models = [str(folder / name) for name in ("teacher", *names)]
    return test_runs.recipe(folder, **{"teacher.model": models, "training.num_train_epochs": 2, **overrides})


def test_a_run_distils_the_mean_of_its_teachers_and_measures_it(second: Path) -> None:
    own = recipe(second, "second", **{"teacher.weights": [1, 3], "teacher.average": "logits"})
    results = run(own)
    assert set(results["models"]) == {"teacher", "student"}
    sizes = [member.model.num_parameters() for member in make_plan(own).members]
    assert results["models"]["teacher"]["parameters"]["total"] == sum(sizes)
    card = (second / "out" / "student" / "README.md").read_text()
    assert "/teacher` and `" in card
    assert "/second`" in card


def test_the_answer_is_the_weighted_mean_in_the_order_of_the_first(second: Path) -> None:
    options = {"teacher.weights": [1, 3], "teacher.average": "logits", "training.teacher_dtype": "float32"}
    steps = Steps(make_plan(recipe(second, "second", **options)))
    batch = steps.rows.teacher.collate([steps.rows.train[index] for index in range(4)])
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    first, other = (tiny_model(hidden_size=16, num_hidden_layers=2), tiny_model("distilbert", TOPICS[::-1], seed=1))
    with torch.no_grad():
        wanted = (first(**batch).logits + 3 * other(**inputs).logits.flip(-1)) / 4
    got = steps.teacher.live("float32")(batch, SignalRequest()).logits
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_members_read_their_own_tokenizer_and_length(letters: Path) -> None:
    results = run(recipe(letters, "letters"))
    assert set(results["models"]) == {"teacher", "student"}
    row = RunRows(make_plan(recipe(letters, "letters"))).train[0]
    assert row["teacher_member_1_input_ids"] == letter_tokenizer()(tiny_rows(1)["text"][0])["input_ids"]
    assert row["teacher_input_ids"] == row["input_ids"]


@pytest.mark.parametrize("names", [("second",), ("letters",)])
def test_kept_and_live_answers_train_the_same_student(second: Path, letters: Path, names: tuple[str, ...]) -> None:
    exact = {"training.teacher_dtype": "float32", "training.teacher_cache_dtype": "float32"}
    run(recipe(second, *names, **exact, **{"training.dataloader_num_workers": 0}))
    assert (second / "out" / "cache").is_dir()
    live = {**exact, "training.teacher_cache": "off", "output": str(second / "live")}
    run(recipe(second, *names, **live))
    kept, asked = (load_file(second / out / "student" / "model.safetensors") for out in ("out", "live"))
    for name, weight in kept.items():
        torch.testing.assert_close(weight, asked[name], rtol=0, atol=1e-4)


def test_every_member_is_fine_tuned_and_reused(second: Path, caplog: Any) -> None:
    caplog.set_level("INFO", logger="distilnlp")
    own = {"teacher.finetune": {"num_train_epochs": 1}}
    run(recipe(second, "second", **own))
    assert [path.name for path in sorted((second / "out" / "teachers").iterdir())] == ["0", "1"]
    caplog.clear()
    run(recipe(second, "second", **own, **{"teacher.weights": [2, 1]}))
    assert all(f"teacher {index}: reused" in caplog.text for index in (0, 1))
    assert "teacher's answers: starts again, because these have changed: teacher" in caplog.text


def test_the_cache_command_keeps_the_joint_answers(second: Path) -> None:
    assert cache(recipe(second, "second")).is_dir()


def test_one_folder_of_answers_serves_students_of_either_tokenizer(second: Path, letters: Path) -> None:
    kept = {"training.teacher_cache": str(second / "shared")}
    run(recipe(second, "second", **kept))
    before = (second / "shared" / "manifest.json").read_bytes()
    model, student = str(letters / "letters"), {"student.num_layers": None, "output": str(second / "other")}
    run(recipe(second, "second", **kept, **student, **{"student.model": model}))
    assert (second / "shared" / "manifest.json").read_bytes() == before


def test_several_masked_language_models_are_refused(folder: Path) -> None:
    changes = {"task": "masked_lm", "data.text_columns": ["text"]}
    for teacher in ({}, {"teacher.model": str(folder / "teacher"), "teacher.folds": 2, "teacher.finetune": True}):
        with pytest.raises(DistillationError, match="its teacher is one model"):
            make_plan(recipe(folder, "second", **changes, **teacher))


def test_a_plan_holds_no_weights(second: Path) -> None:
    plan = make_plan(recipe(second, "second"))
    models = [plan.student, *(member.model for member in plan.members)]
    assert all(parameter.is_meta for model in models for parameter in model.parameters())


def test_the_plan_names_every_member(second: Path) -> None:
    plan = describe(make_plan(recipe(second, "second")))
    assert plan.count("teacher   ") == 2
    assert "distilbert" in plan


def test_members_must_know_the_same_labels(folder: Path) -> None:
    save_model(folder / "other", tiny_model(labels=("film", "money", "art")))
    with pytest.raises(DistillationError, match=r"teacher\.model\[1\] has \['art'\]"):
        make_plan(recipe(folder, "other"))
    save_model(folder / "nameless", tiny_model(labels=("LABEL_0", "LABEL_1", "LABEL_2")))
    with pytest.raises(DistillationError, match="placeholders"):
        make_plan(recipe(folder, "nameless"))
    make_plan(recipe(folder, "nameless", **{"data.label_names": list(TOPICS)}))
    save_model(folder / "two", tiny_model(labels=("LABEL_0", "LABEL_1")))
    with pytest.raises(DistillationError, match=r"teacher\.model\[1\] must have the 3 labels"):
        make_plan(recipe(folder, "two", **{"data.label_names": list(TOPICS)}))


def test_an_ensemble_gives_no_hidden_states(second: Path) -> None:
    with pytest.raises(DistillationError, match="hidden"):
        make_plan(recipe(second, "second", **{"training.losses": [{"name": "hidden_state_mse"}]}))


def test_tokenizers_of_their_own_are_for_whole_texts(folder: Path) -> None:
    from tests.tiny_tasks import task_teacher

    words = DatasetDict(train=tiny_rows(4), test=tiny_rows(4)).map(
        lambda row: {"tokens": row["text"].split(), "ner_tags": [0] * len(row["text"].split())},
        remove_columns=["text", "label"],
    )
    words.save_to_disk(str(folder / "words"))
    for name, tokenizer in (("one", None), ("two", letter_tokenizer())):
        save_model(folder / name, task_teacher("token_classification", vocab_size=200))
        if isinstance(tokenizer, PreTrainedTokenizerFast):
            tokenizer.model_max_length = 40
            tokenizer.save_pretrained(folder / name)
    models = [str(folder / name) for name in ("one", "two")]
    changes = {"teacher.model": models, "task": "token_classification", "data.source": str(folder / "words")}
    with pytest.raises(DistillationError, match="tokenizers or lengths of their own"):
        make_plan(test_runs.recipe(folder, **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"teacher.weights": [1]}, "for each of the 2 teachers"),
        ({"teacher.weights": [1, -1]}, "weights"),
        ({"teacher.average": "median"}, "average"),
        ({"teacher.folds": 2, "teacher.finetune": True}, "folds"),
        ({"teacher.form": "logits"}, "form means nothing for several models"),
        ({"teacher.model": []}, "one name, or a list"),
        ({"teacher.model": ["a", "a"]}, "one name, or a list"),
        ({"teacher.model": "a", "teacher.by_confidence": True}, "by_confidence means nothing for one model"),
        ({"teacher.model": None}, "give model, or column"),
    ],
)
def test_what_means_nothing_is_refused(second: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DistillationError, match=message):
        make_plan(recipe(second, "second", **changes))
