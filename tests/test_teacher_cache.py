"""Training from a cache: the same weights as with the teacher beside, whatever the order; and when a cache is made."""

import logging
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import Tensor
from transformers import DataCollatorWithPadding

from distilnlp import DistillationTrainer
from distilnlp.answers import CachedTeacher, read_manifest
from distilnlp.errors import DistillationError
from distilnlp.tasks import TASKS
from distilnlp.teachers import LiveTeacher
from tests.conftest import tiny_arguments, tiny_student, tiny_teacher
from tests.tiny import tiny_tokenizer
from tests.tiny_tasks import task_data, task_student, task_teacher

SINGLE = "single_label_classification"
STATES = [{"name": "hidden_state_mse", "layer_mapping": [[1, 2]]}, {"name": "minilmv2", "num_relation_heads": 2}]


def of_one_length(rows: Dataset, length: int = 8) -> Dataset:
    """Rows that every batch pads alike: then a text's numbers do not depend on its company, to the last bit."""

    def stretch(row: dict[str, Any]) -> dict[str, Any]:
        names = ("input_ids", "attention_mask", "token_type_ids")
        return {**row, **{name: (row[name] * length)[:length] for name in names}, "length": length}

    return rows.map(stretch)


def train(folder: Path, task: str = SINGLE, rows: Dataset | None = None, **options: Any) -> DistillationTrainer:
    defaults = {"num_train_epochs": 3, "max_steps": -1, "per_device_eval_batch_size": 4} | {
        "teacher_cache": "auto",
        "teacher_cache_dtype": "float32",
        "optim": "sgd",  # Adam makes much of what is rounding alone
        "learning_rate": 0.1,
    }
    teacher = options.pop("teacher", None)
    trainer = DistillationTrainer(
        task_student(task),
        task_teacher(task) if teacher is None else teacher,
        tiny_arguments(folder, **{**defaults, **options}),
        train_dataset=task_data(task, 8, 8) if rows is None else rows,
        processing_class=tiny_tokenizer(),
    )
    trainer.train()
    return trainer


def weights(trainer: DistillationTrainer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def is_cached(trainer: DistillationTrainer) -> bool:
    """Whether the training left a finished cache."""
    args = trainer.args
    folder = args.teacher_cache if args.teacher_cache != "auto" else f"{args.output_dir}/_teacher_cache"
    manifest = read_manifest(folder)
    return manifest is not None and manifest.is_finished


# ---- The same result ----


def test_live_and_cached_training_end_in_the_same_bits(tmp_path: Path) -> None:
    rows = of_one_length(task_data(SINGLE, 8, 8))
    live = train(tmp_path / "live", rows=rows, teacher_cache="off")
    cached = train(tmp_path / "cached", rows=rows)
    assert (is_cached(live), is_cached(cached)) == (False, True)
    for name, value in weights(live).items():
        assert torch.equal(value, cached.model.state_dict()[name]), name


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("losses", [[], STATES], ids=["logits", "states"])
def test_live_and_cached_training_agree_for_every_task(task: str, losses: list[Any], tmp_path: Path) -> None:
    options = {"losses": losses, "teacher_cache_top_k": 1000}
    live = train(tmp_path / "live", task, teacher_cache="off", **options)
    cached = train(tmp_path / "cached", task, **options)
    assert is_cached(cached)
    for name, value in weights(live).items():
        torch.testing.assert_close(cached.model.state_dict()[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_a_folder_serves_shuffled_and_fewer_rows(tmp_path: Path) -> None:
    rows = task_data(SINGLE, 8, 8)
    folder = tmp_path / "kept"
    train(tmp_path / "first", rows=rows, teacher_cache=str(folder))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    some = rows.shuffle(seed=3).select(range(8))
    live = train(tmp_path / "live", rows=some, teacher_cache="off")
    given = train(tmp_path / "given", rows=some, teacher=CachedTeacher(folder))
    found = train(tmp_path / "found", rows=some, teacher_cache=str(folder))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    for name, value in weights(live).items():
        for cached in (given, found):
            torch.testing.assert_close(cached.model.state_dict()[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_the_cache_reads_labels_in_the_students_order(tmp_path: Path) -> None:
    orders = [("film", "money", "sport"), ("sport", "film", "money")]
    rows = task_data(SINGLE, 0, 8)
    ends = []
    for number, cache in enumerate(("off", "auto")):
        student = tiny_student(labels=orders[1])
        arguments = tiny_arguments(
            tmp_path / str(number), teacher_cache=cache, teacher_cache_dtype="float32", max_steps=6, seed=3
        )
        trainer = DistillationTrainer(
            student, tiny_teacher(labels=orders[0]), arguments, train_dataset=rows, processing_class=tiny_tokenizer()
        )
        trainer.train()
        assert is_cached(trainer) == (cache == "auto")
        ends.append(weights(trainer))
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_a_teacher_with_a_tokenizer_of_its_own_is_kept(tmp_path: Path) -> None:
    rows = task_data(SINGLE, 4, 4)
    own = {f"teacher_{name}": rows[name] for name in ("input_ids", "attention_mask", "token_type_ids")}
    for name, values in own.items():
        rows = rows.add_column(name, [value[:3] for value in values])
    ends = []
    for cache in ("off", "auto"):
        options = {"teacher_cache_dtype": "float32", "max_steps": 6, "optim": "sgd", "learning_rate": 0.1}
        arguments = tiny_arguments(tmp_path / cache, teacher_cache=cache, **options)
        trainer = DistillationTrainer(
            task_student(SINGLE),
            task_teacher(SINGLE),
            arguments,
            train_dataset=rows,
            processing_class=tiny_tokenizer(),
            teacher_processing_class=tiny_tokenizer(),
        )
        trainer.train()
        assert is_cached(trainer) == (cache == "auto")
        ends.append(weights(trainer))
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_evaluation_rows_are_kept_where_the_teacher_is_asked_for_them(tmp_path: Path) -> None:
    losses = []
    for cache in ("off", "auto"):
        trainer = DistillationTrainer(
            task_student(SINGLE),
            task_teacher(SINGLE),
            tiny_arguments(
                tmp_path / cache, teacher_cache=cache, max_steps=8, eval_soft_loss=True, teacher_cache_dtype="float32"
            ),
            train_dataset=task_data(SINGLE, 8, 0),
            eval_dataset=task_data(SINGLE, 6, 0, seed=5),
            processing_class=tiny_tokenizer(),
        )
        trainer.train()
        losses.append(trainer.evaluate()["eval_soft_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


# ---- When a cache is made ----


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"max_steps": 2}, "each row is read once"),
        ({"losses": [{"name": "attention_mse"}]}, "attention maps are not kept"),
        (
            {"rows": task_data(SINGLE, 8, 8).with_transform(lambda row: row), "remove_unused_columns": False},
            "transformed",
        ),
    ],
)
def test_the_log_says_why_a_teacher_runs_beside(
    options: dict[str, Any], reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="distilnlp")
    assert not is_cached(train(tmp_path, **options))
    assert reason in caplog.text


def test_the_log_says_that_answers_are_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="distilnlp")
    train(tmp_path)
    assert "asked once" in caplog.text


def test_a_teacher_without_a_name_is_not_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="distilnlp")
    live = LiveTeacher(task_teacher(SINGLE))

    class Nameless:
        columns, profile, to, __call__ = live.columns, live.profile, live.to, lambda self, *args: live(*args)

    assert not is_cached(train(tmp_path, teacher=Nameless()))
    assert "Nameless has no `fingerprint`" in caplog.text
    with pytest.raises(DistillationError, match="Nameless has no `fingerprint`"):
        train(tmp_path, teacher=Nameless(), teacher_cache=str(tmp_path / "kept"))


def test_masks_that_are_drawn_anew_are_not_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="distilnlp")
    rows = task_data("masked_lm", 8, 0).remove_columns("labels")
    assert not is_cached(train(tmp_path, "masked_lm", rows))
    assert "masked anew" in caplog.text


def test_a_part_of_a_vocabulary_is_kept_where_that_is_asked_for_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = task_data("masked_lm", 8, 0)
    caplog.set_level(logging.INFO, logger="distilnlp")
    assert not is_cached(train(tmp_path, "masked_lm", rows, teacher_cache_top_k=8))
    assert "runs beside the student, for of a vocabulary's logits only the largest would be kept" in caplog.text
    assert is_cached(train(tmp_path, "masked_lm", rows, teacher_cache_top_k=24))
    assert "shared it evenly" not in caplog.text
    named = {"teacher_cache_top_k": 8, "teacher_cache": str(tmp_path / "kept")}
    assert is_cached(train(tmp_path, "masked_lm", rows, **named))
    assert re.search(r"8 logits a token are kept and 16 are not; these hold \d+\.\d% .* temperature 2,", caplog.text)
    assert read_manifest(tmp_path / "kept").profile.temperature == 2.0
    with pytest.raises(DistillationError, match=r"in which these differ: temperature \(there 2.0, here 3.0\)"):
        train(tmp_path, "masked_lm", rows, temperature=3.0, **named)
    with pytest.raises(DistillationError, match=r"at temperature 2, but this training reads them at 3\."):
        train(tmp_path, "masked_lm", rows, temperature=3.0, teacher=CachedTeacher(tmp_path / "kept"))


@pytest.mark.parametrize(
    "options",
    [
        {"schedules": {"temperature": {"name": "linear", "end": 1.0}}},
        {"losses": [{"name": "forward_kl", "temperature": 5.0}]},
        {"losses": [{"name": "logit_mse"}]},
        {"losses": [{"name": "forward_kl", "temperature": 5.0}], "soft_loss_weight": 0.0, "eval_soft_loss": True},
    ],
)
def test_a_part_of_a_vocabulary_serves_one_temperature(options: dict[str, Any], tmp_path: Path) -> None:
    rows, cache = task_data("masked_lm", 4, 0), str(tmp_path / "kept")
    with pytest.raises(DistillationError, match="the mass of the others at one temperature, but the losses read them"):
        train(tmp_path, "masked_lm", rows, teacher_cache_top_k=8, teacher_cache=cache, **options)
    assert is_cached(train(tmp_path, "masked_lm", rows, teacher_cache_top_k=24, teacher_cache=cache, **options))


def test_another_teacher_is_asked_anew_by_itself_and_refused_in_a_folder_of_the_users(tmp_path: Path) -> None:
    folder = str(tmp_path / "kept")
    train(tmp_path)
    train(tmp_path, teacher_cache=folder)
    other = task_teacher(SINGLE, seed=5)
    assert is_cached(train(tmp_path, teacher=other))
    with pytest.raises(DistillationError, match="holds another cache, in which these differ: teacher"):
        train(tmp_path, teacher=other, teacher_cache=folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"teacher_cache_dtype": "float15"}, "teacher_cache_dtype = .*Did you mean 'float16'"),
        ({"teacher_cache": ""}, "teacher_cache = .*give auto, off, or a folder"),
        ({"teacher_cache_top_k": 0}, "teacher_cache_top_k = 0: Input should be greater"),
    ],
)
def test_wrong_settings_are_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match=message):
        tiny_arguments(tmp_path, **options)


class WordDropout(DataCollatorWithPadding):
    """What looks like a collator that is known, and might change the rows."""


def test_a_collator_of_the_users_is_trusted_where_a_folder_is_named(tmp_path: Path) -> None:
    for cache, kept in (("auto", False), (str(tmp_path / "kept"), True)):
        arguments = tiny_arguments(tmp_path / "out", teacher_cache=cache, max_steps=8)
        trainer = DistillationTrainer(
            task_student(SINGLE),
            task_teacher(SINGLE),
            arguments,
            WordDropout(tiny_tokenizer()),
            train_dataset=task_data(SINGLE, 8, 0),
        )
        trainer.train()
        assert is_cached(trainer) == kept
