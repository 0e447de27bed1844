"""Teachers of every kind in a training: their answers reach the student, live, kept and looked up alike."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import Tensor

from distilnlp import (
    ColumnTeacher,
    CrossFittedTeacher,
    DistillationTrainer,
    EnsembleTeacher,
    OwnEncodingTeacher,
    as_teacher,
)
from distilnlp.errors import DistillationError
from distilnlp.signals import FOLD, SignalRequest
from tests.conftest import tiny_arguments
from tests.tiny import TOPICS, tiny_tokenizer
from tests.tiny_tasks import task_data, task_student, task_teacher

SINGLE = "single_label_classification"
# Adam would make much of what is rounding alone.
PLAIN = {"max_steps": 6, "hard_loss_weight": 0.0, "optim": "sgd", "learning_rate": 0.1} | {
    "teacher_cache": "auto",
    "teacher_cache_dtype": "float32",
}


def trained(folder: Path, teacher: Any, rows: Dataset, **options: Any) -> DistillationTrainer:
    of_trainer = {name: options.pop(name) for name in ("teacher_processing_class", "eval_dataset") if name in options}
    arguments = tiny_arguments(folder, **{**PLAIN, **options})
    tokenizer = tiny_tokenizer()
    student = task_student(SINGLE)
    trainer = DistillationTrainer(
        student, teacher, arguments, train_dataset=rows, processing_class=tokenizer, **of_trainer
    )
    trainer.train()
    return trainer


def assert_same(one: DistillationTrainer, other: DistillationTrainer) -> None:
    for name, value in one.model.state_dict().items():
        torch.testing.assert_close(other.model.state_dict()[name], value, rtol=1e-4, atol=1e-5, msg=name)


def with_encoding(rows: Dataset, prefix: str, length: int) -> Dataset:
    """Rows that carry a shorter encoding too, as of another tokenizer."""
    for name in ("input_ids", "attention_mask", "token_type_ids"):
        rows = rows.add_column(prefix + name, [value[:length] for value in rows[name]])
    return rows


def probabilities(teacher: Any, rows: Dataset) -> list[list[float]]:
    def answer(row: dict[str, Any]) -> Tensor:
        names = ("input_ids", "attention_mask", "token_type_ids")
        return teacher(**{name: torch.tensor([row[name]]) for name in names}).logits

    with torch.no_grad():
        return [answer(row).softmax(-1)[0].tolist() for row in rows]


@pytest.fixture
def rows() -> Dataset:
    return task_data(SINGLE, 6, 6)


# ---- Ensembles ----


def test_members_with_tokenizers_of_their_own_answer_as_one(tmp_path: Path, rows: Dataset) -> None:
    both = with_encoding(with_encoding(rows, "first_", 3), "second_", 4)
    models = task_teacher(SINGLE), task_teacher(SINGLE, family="roberta", seed=4)
    members = [
        OwnEncodingTeacher(as_teacher(model, "float32"), prefix)
        for model, prefix in zip(models, ("first_", "second_"), strict=True)
    ]
    tokenizers = {"first_": tiny_tokenizer(), "second_": tiny_tokenizer()}
    options = {"teacher_processing_class": tokenizers}
    live = trained(tmp_path / "live", EnsembleTeacher(members), both, teacher_cache="off", **options)
    kept = trained(tmp_path / "kept", EnsembleTeacher(members), both, **options)
    assert (tmp_path / "kept" / "_teacher_cache" / "manifest.json").is_file()
    assert_same(live, kept)
    swapped = trained(tmp_path / "one", EnsembleTeacher(members, weights=[1, 0]), both, teacher_cache="off", **options)
    with pytest.raises(AssertionError):
        assert_same(live, swapped)


def test_other_weights_are_another_teacher() -> None:
    members = [as_teacher(task_teacher(SINGLE, seed=seed)) for seed in (0, 1)]
    names = [
        EnsembleTeacher(members).fingerprint,
        EnsembleTeacher(members, weights=[1, 2]).fingerprint,
        EnsembleTeacher(members, by_confidence=True).fingerprint,
        EnsembleTeacher(members[::-1]).fingerprint,
        CrossFittedTeacher(members).fingerprint,
    ]
    assert None not in names
    assert len(set(names)) == 5
    assert names[0] == EnsembleTeacher(members).fingerprint


def test_teachers_that_look_up_are_no_members() -> None:
    column = ColumnTeacher("p", SINGLE, TOPICS)
    for make in (lambda: EnsembleTeacher([column, column]), lambda: CrossFittedTeacher([column, column])):
        with pytest.raises(DistillationError, match="a ColumnTeacher looks its answers up by row"):
            make()


# ---- Cross-fitted ----


def test_each_row_is_answered_by_the_teacher_that_did_not_see_it(tmp_path: Path, rows: Dataset) -> None:
    models = [task_teacher(SINGLE, seed=seed) for seed in (0, 1)]
    folds = np.array([0, 1] * 6)
    answers = np.array([probabilities(model, rows) for model in models])[folds, range(12)]
    column = trained(tmp_path / "column", ColumnTeacher("p", SINGLE, TOPICS), rows.add_column("p", answers.tolist()))
    teacher = CrossFittedTeacher([as_teacher(model, "float32") for model in models])
    fitted = rows.add_column(FOLD, folds)
    for cache in ("off", "auto"):
        made = trained(tmp_path / cache, teacher, fitted, teacher_cache=cache)
        assert (tmp_path / cache / "_teacher_cache" / "manifest.json").is_file() == (cache == "auto")
        assert_same(column, made)


# ---- Columns ----


def test_a_column_of_probabilities_teaches_as_the_model_that_made_it(tmp_path: Path, rows: Dataset) -> None:
    model = task_teacher(SINGLE)
    live = trained(tmp_path / "live", model, rows, teacher_cache="off")
    given = rows.add_column("p", probabilities(model, rows))
    assert_same(live, trained(tmp_path / "column", ColumnTeacher("p", SINGLE, TOPICS), given))


def as_pipeline_answers(values: list[float]) -> list[dict[str, Any]]:
    return [{"label": name, "score": value} for name, value in zip(TOPICS, values, strict=True)]


@pytest.mark.parametrize("asked", [False, True])
def test_evaluation_rows_may_have_the_teachers_columns(tmp_path: Path, rows: Dataset, asked: bool) -> None:
    given = rows.add_column("p", [as_pipeline_answers(values) for values in probabilities(task_teacher(SINGLE), rows)])
    teacher = ColumnTeacher("p", SINGLE, TOPICS, form="top_k")
    trainer = trained(tmp_path, teacher, given, eval_dataset=given, eval_soft_loss=asked)
    assert ("eval_soft_loss" in trainer.evaluate()) == asked


def without(rows: Dataset) -> Dataset:
    return rows.remove_columns("p")


def with_a_sum_of_two(rows: Dataset) -> Dataset:
    return rows.map(lambda row, index: {"p": [1.0, 1.0, 0.0] if index == 3 else row["p"]}, with_indices=True)


@pytest.mark.parametrize(("spoil", "message"), [(without, "'p'"), (with_a_sum_of_two, "row 3.*sum")])
def test_wrong_answers_are_refused_before_training(
    spoil: Callable[[Dataset], Dataset], message: str, tmp_path: Path, rows: Dataset
) -> None:
    given = spoil(rows.add_column("p", [[0.2, 0.3, 0.5]] * 12))
    with pytest.raises(DistillationError, match=message):
        DistillationTrainer(
            task_student(SINGLE),
            ColumnTeacher("p", SINGLE, TOPICS),
            tiny_arguments(tmp_path),
            train_dataset=given,
            processing_class=tiny_tokenizer(),
        )


# ---- Words ----


def cut_into_more_pieces(rows: Dataset) -> Dataset:
    """The teacher's encoding: every word has one piece more, which is no start."""

    def cut(row: dict[str, Any]) -> dict[str, Any]:
        pieces = [
            (token, start)
            for token, begins in zip(row["input_ids"], row["word_starts"], strict=True)
            for token, start in ([(token, begins), (7, 0)] if begins else [(token, 0)])
        ]
        ids, starts = (list(values) for values in zip(*pieces, strict=True))
        ones, zeros = [1] * len(ids), [0] * len(ids)
        own = {"input_ids": ids, "attention_mask": ones, "token_type_ids": zeros, "word_starts": starts}
        return {f"teacher_{name}": values for name, values in own.items()}

    return rows.map(cut)


@pytest.mark.parametrize("cache", ["off", "auto"])
def test_a_teacher_answers_word_by_word_in_pieces_of_its_own(tmp_path: Path, cache: str) -> None:
    task = "token_classification"
    model, rows = task_teacher(task), cut_into_more_pieces(task_data(task, 4, 4))
    trainer = DistillationTrainer(
        task_student(task),
        model,
        tiny_arguments(tmp_path, **{**PLAIN, "teacher_cache": cache}),
        train_dataset=rows,
        processing_class=tiny_tokenizer(),
        teacher_processing_class=tiny_tokenizer(),
    )
    trainer.teacher.start(trainer.distillation_objective, trainer._answered_datasets(), trainer.data_collator)
    batches = list(trainer.get_train_dataloader())
    answers = [trainer.teacher(batch, SignalRequest()).logits for batch in batches]
    seen = 0
    for batch, logits in zip(batches, answers, strict=True):
        for index in range(len(logits)):
            length = int(batch["teacher_attention_mask"][index].sum())
            with torch.no_grad():
                alone = model(batch["teacher_input_ids"][index : index + 1, :length]).logits[0]
            starts = batch["teacher_word_starts"][index, :length].bool()
            torch.testing.assert_close(logits[index][batch["word_starts"][index].bool()], alone[starts])
            seen += int(starts.sum())
    assert seen > 10


def test_words_that_do_not_match_are_refused() -> None:
    teacher = OwnEncodingTeacher(as_teacher(task_teacher("token_classification"), "float32"))
    ids = torch.tensor([[2, 7, 8, 3]])
    batch = {"input_ids": ids, "word_starts": torch.tensor([[0, 1, 1, 0]])} | {
        "teacher_input_ids": ids,
        "teacher_word_starts": torch.tensor([[0, 1, 0, 0]]),
    }
    with pytest.raises(DistillationError, match="a row has 2 for the student and 1 for the teacher"):
        teacher(batch, SignalRequest())
