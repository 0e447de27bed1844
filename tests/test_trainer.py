"""The trainer around the objective: whole runs, the teacher, what is logged."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedModel,
)

from distilnlp import (
    DistillationTrainer,
    DistillationTrainingArguments,
    NonFiniteLossError,
    SignalRequest,
    Signals,
    build_student,
)
from distilnlp.signals import SignalProfile
from tests.conftest import tiny_arguments, tiny_data, tiny_student, tiny_teacher, tokenised
from tests.tiny import TOPICS, tiny_tokenizer
from tests.trainer_tools import (
    FEATURES,
    STILL,
    MakeTrainer,
    RecordingTeacher,
    assert_same,
    copy_of,
    inputs_of,
    logits_of,
    losses_logged,
    naive_hard_loss,
    naive_soft_loss,
    projections_of,
)

# ---- A whole run ----


def test_the_call_of_the_readme(tmp_path: Path) -> None:
    teacher = tiny_teacher()
    student = build_student(teacher, num_layers=2)
    trainer = DistillationTrainer(
        model=student,
        teacher_model=teacher,
        args=DistillationTrainingArguments(str(tmp_path), use_cpu=True, num_train_epochs=2, temperature=4.0),
        train_dataset=tiny_data(16, unlabelled=8),
        eval_dataset=tiny_data(8),
        processing_class=tiny_tokenizer(),
    )
    before = naive_soft_loss(student, teacher, list(tiny_data(16)), 4.0)
    trainer.train()
    trainer.save_model(str(tmp_path / "student"))
    reloaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "student")
    assert trainer.evaluate()["eval_loss"] == pytest.approx(naive_hard_loss(reloaded, list(tiny_data(8))), rel=1e-4)
    assert naive_soft_loss(reloaded, teacher, list(tiny_data(16)), 4.0) < before
    assert reloaded.config.id2label == dict(enumerate(TOPICS))


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "xlm-roberta", "modernbert"])
def test_families_of_students_learn_from_a_bert(make_trainer: MakeTrainer, family: str) -> None:
    trainer = make_trainer(tiny_student(family), losses=FEATURES, max_steps=30, learning_rate=5e-3)
    trainer.train()
    first, last = losses_logged(trainer)[0], losses_logged(trainer)[-1]
    assert last["loss"] < first["loss"]


def test_training_twice_in_a_row_goes_on(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(losses=FEATURES, max_steps=3)
    trainer.train()
    first = projections_of(trainer)
    trainer.train()
    assert trainer.state.global_step == 3
    assert any((first[name] != value).any() for name, value in projections_of(trainer).items())


def test_model_init_makes_a_new_student_for_every_run(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(model_init=lambda: tiny_student(), losses=FEATURES)
    trainer.train()
    first, weights = losses_logged(trainer), copy_of(trainer.model.state_dict())
    trainer.train()
    assert_same(weights, trainer.model.state_dict())
    assert [entry["loss"] for entry in losses_logged(trainer)] == [entry["loss"] for entry in first]


def test_a_batch_size_that_did_not_fit_leaves_no_trace_in_the_logs(make_trainer: MakeTrainer) -> None:
    def out_of_memory_at_first(call: int, logits: Tensor) -> Tensor:
        if call == 2:
            raise RuntimeError("CUDA out of memory.")
        return logits

    found = make_trainer(
        teacher=RecordingTeacher(spoil=out_of_memory_at_first), auto_find_batch_size=True, logging_steps=2, **STILL
    )
    found.train()
    assert found._train_batch_size < 4
    fitting = make_trainer(per_device_train_batch_size=found._train_batch_size, logging_steps=2, **STILL)
    fitting.train()
    assert losses_logged(found)[0]["soft_loss"] == pytest.approx(losses_logged(fitting)[0]["soft_loss"], rel=1e-5)


@pytest.mark.parametrize("balance", [False, True], ids=["given weights", "balanced"])
@pytest.mark.parametrize("failure", ["error", "nan"])
def test_a_run_that_failed_leaves_no_trace_in_the_next(make_trainer: MakeTrainer, failure: str, balance: bool) -> None:
    def fail_once(call: int, logits: Tensor) -> Tensor:
        if call == 2 and failure == "error":
            raise KeyError("the teacher stumbled")
        return logits * math.nan if call == 2 else logits

    options = {"logging_steps": 2, "balance_losses": balance, **STILL}
    trainer = make_trainer(teacher=RecordingTeacher(spoil=fail_once), **options)
    with pytest.raises((KeyError, NonFiniteLossError)):
        trainer.train()
    with torch.no_grad():  # the NaN has reached the weights: begin again from sound ones
        trainer.model.load_state_dict(tiny_student().state_dict())
    trainer.optimizer = None
    trainer.train()
    sound = make_trainer(**options)
    sound.train()
    for name in ["soft_loss", *(["soft_loss_weight"] if balance else [])]:
        assert losses_logged(trainer)[-1][name] == pytest.approx(losses_logged(sound)[-1][name], rel=1e-5)


# ---- The teacher ----


def test_the_teacher_stays_frozen_and_in_eval_mode(make_trainer: MakeTrainer) -> None:
    model = tiny_teacher(hidden_dropout_prob=0.5).train()
    before = copy_of(model.state_dict())
    teacher = RecordingTeacher(model)
    trainer = make_trainer(teacher=teacher, max_steps=4, train_sampling_strategy="sequential", num_train_epochs=2)
    trainer.train()
    assert not model.training
    assert torch.equal(teacher.logits[0], teacher.logits[2])  # the same rows, an epoch later
    assert_same(before, model.state_dict())
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.parameters())


def test_a_teacher_may_follow_its_student_step_by_step(make_trainer: MakeTrainer) -> None:
    class Follower(RecordingTeacher):
        def after_step(self, student: PreTrainedModel) -> None:
            seen.append((student, len(self.batches)))

    seen: list[tuple[PreTrainedModel, int]] = []
    trainer = make_trainer(teacher=Follower(), max_steps=3, gradient_accumulation_steps=2)
    trainer.train()
    assert seen == [(trainer.model, 2), (trainer.model, 4), (trainer.model, 6)]


def test_the_teacher_is_neither_optimised_nor_saved(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    teacher, student = tiny_teacher(), tiny_student()
    trainer = make_trainer(student, teacher)
    trainer.train()
    optimised = {id(parameter) for group in trainer.optimizer.param_groups for parameter in group["params"]}
    assert optimised == {id(parameter) for parameter in student.parameters()}
    trainer.save_model(str(tmp_path))
    assert load_file(tmp_path / "model.safetensors").keys() == tiny_student().state_dict().keys()


def pair_rows() -> Dataset:
    """Pairs of texts that differ in their segments alone: one text is moved from the first to the second."""
    pairs = [("the film plot", "match"), ("the film", "plot match"), ("the", "film plot match"), ("goal", "bank")]
    rows = {"one": [a for a, _ in pairs], "two": [b for _, b in pairs], "label": [0, 1, 2, 0]}
    return tokenised(Dataset.from_dict(rows), "one", "two")


def test_segment_ids_reach_a_bert_teacher_of_a_distilbert_student(make_trainer: MakeTrainer) -> None:
    teacher, student = tiny_teacher(seed=3), tiny_student("distilbert")
    with torch.no_grad():
        teacher.bert.embeddings.token_type_embeddings.weight.mul_(20)
    seen_by_student: list[set[str]] = []
    student.register_forward_pre_hook(
        lambda module, args, kwargs: seen_by_student.append(set(kwargs)), with_kwargs=True
    )
    recorder, rows = RecordingTeacher(teacher), pair_rows()
    make_trainer(student, recorder, rows, max_steps=1, **STILL).train()
    assert recorder.batches[0]["token_type_ids"].sum(dim=1).tolist() == [sum(row) for row in rows["token_type_ids"]]
    expected = torch.stack([logits_of(teacher, row) for row in rows])
    assert torch.allclose(recorder.logits[0].double(), expected, atol=1e-5)
    assert (expected[0] - expected[1]).abs().max() > 0.01, "the segments must matter, or this shows nothing"
    assert "token_type_ids" not in set().union(*seen_by_student)


def test_a_list_of_teachers(make_trainer: MakeTrainer) -> None:
    models = [tiny_teacher(), tiny_teacher("distilbert", seed=4)]
    trainer = make_trainer(teacher=models, max_steps=1, per_device_train_batch_size=8, **STILL)
    trainer.train()
    total = 0.0
    for row in tiny_data():
        p = sum(logits_of(model, row).softmax(0) for model in models) / 2
        p = (p.log() / 2).softmax(0)
        q = (logits_of(tiny_student(), row) / 2).softmax(0)
        total += 4 * (p * (p / q).log()).sum().item()
    assert losses_logged(trainer)[0]["soft_loss"] == pytest.approx(total / 8, rel=1e-4)


class LookupTeacher:
    """Looks the logits up by a column of the data."""

    columns = frozenset({"row"})
    profile = SignalProfile(label_names=("money", "film", "sport"), num_labels=3)

    def __init__(self, table: Tensor) -> None:
        self.table = table

    def to(self, device: torch.device) -> None:
        self.table = self.table.to(device)

    def __call__(self, batch: Any, request: SignalRequest) -> Signals:
        return Signals(logits=self.table[batch["row"]])


@pytest.mark.parametrize("remove_unused_columns", [True, False])
def test_a_teacher_of_ones_own_gets_its_column_and_is_reordered(
    make_trainer: MakeTrainer, remove_unused_columns: bool
) -> None:
    rows, table = tiny_data(4), torch.tensor([[3.0, 0, 0], [0, 3.0, 0], [0, 0, 3.0], [1.0, 2.0, 0]])
    rows = rows.remove_columns("text").add_column("row", [2, 0, 3, 1]).add_column("other", [1, 2, 3, 4])
    options = {"remove_unused_columns": remove_unused_columns, **STILL}
    trainer = make_trainer(None, LookupTeacher(table), rows, max_steps=1, temperature=1.0, **options)
    trainer.train()
    total = 0.0
    for row in rows:
        p = table[row["row"]][[1, 0, 2]].double().softmax(0)
        total += (p * (p / logits_of(tiny_student(), row).softmax(0)).log()).sum().item()
    assert losses_logged(trainer)[0]["soft_loss"] == pytest.approx(total / 4, rel=1e-4)


def test_columns_that_nobody_reads_are_removed(make_trainer: MakeTrainer) -> None:
    recorder = RecordingTeacher()
    rows = tiny_data(4).add_column("other", [1, 2, 3, 4])
    make_trainer(None, recorder, rows, max_steps=1).train()
    assert recorder.batches[0].keys() == {"input_ids", "attention_mask", "token_type_ids", "labels"}


def test_hard_labels_alone_need_no_teacher(tmp_path: Path) -> None:
    alone = tiny_arguments(tmp_path, soft_loss_weight=0.0, hard_loss_weight=1.0, max_steps=1, **STILL)
    student = tiny_student()
    trainer = DistillationTrainer(student, None, alone, train_dataset=tiny_data(4), processing_class=tiny_tokenizer())
    trainer.train()
    assert losses_logged(trainer)[0]["loss"] == pytest.approx(naive_hard_loss(student, list(tiny_data(4))), rel=1e-4)


# ---- Logs ----


def test_components_are_logged_under_their_names_with_their_naive_values(make_trainer: MakeTrainer) -> None:
    student, teacher = tiny_student(), tiny_teacher()
    rows = list(tiny_data(6, unlabelled=6))
    options = {"max_steps": 3, "logging_steps": 3, "temperature": 3.0, "hard_loss_weight": 0.25, **STILL}
    trainer = make_trainer(student, teacher, tiny_data(6, unlabelled=6), losses=FEATURES, **options)
    trainer.train()
    logged = losses_logged(trainer)[0]
    hard = [naive_hard_loss(student, rows[:4]), naive_hard_loss(student, rows[4:6])]  # the third step has no label
    soft = naive_soft_loss(student, teacher, rows, 3.0)
    features = {
        loss["name"]: sum(naive_feature(trainer, loss["name"], step) for step in batched(rows, 4)) / 3
        for loss in FEATURES
    }
    assert logged["hard_loss"] == pytest.approx(sum(hard) / 2, rel=1e-4)
    assert logged["soft_loss"] == pytest.approx(soft, rel=1e-4)
    for name, value in features.items():
        assert logged[name] == pytest.approx(value, rel=1e-4)
    total = 0.25 * sum(hard) / 3 + soft + 0.5 * features["hidden_state_mse"] + features["hidden_state_cosine"]
    assert logged["loss"] == pytest.approx(total, rel=1e-4)


def batched(rows: list[Any], size: int) -> list[list[Any]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def naive_feature(trainer: DistillationTrainer, name: str, rows: list[dict[str, Any]]) -> float:
    """The mean over the tokens of the rows, with the projections of the trainer."""
    layers, values = trainer.distillation_objective.projections.layers, []
    for row in rows:
        with torch.no_grad():
            own = trainer.model(**inputs_of(trainer.model, row), output_hidden_states=True).hidden_states
            other = tiny_teacher()(**inputs_of(trainer.model, row), output_hidden_states=True).hidden_states
        if name == "hidden_state_mse":
            a, b = (
                layers["hidden_state_mse_1"](own[1][0]) - other[2][0],
                layers["hidden_state_mse_2"](own[2][0]) - other[4][0],
            )
            values += (((a**2).mean(-1) + (b**2).mean(-1)) / 2).tolist()
        else:
            a, b = layers["hidden_state_cosine_2"](own[2][0]), other[4][0]
            values += (1 - (a * b).sum(-1) / a.norm(dim=-1) / b.norm(dim=-1)).tolist()
    return sum(values) / len(values)


def test_a_window_begins_anew_after_each_log(make_trainer: MakeTrainer) -> None:
    rows, options = tiny_data(8), {"max_steps": 2, **STILL}
    student, teacher = tiny_student(), tiny_teacher()
    trainer = make_trainer(student, teacher, rows, logging_steps=1, temperature=2.0, **options)
    trainer.train()
    expected = [naive_soft_loss(student, teacher, part, 2.0) for part in batched(list(rows), 4)]
    assert [entry["soft_loss"] for entry in losses_logged(trainer)] == pytest.approx(expected, rel=1e-4)
