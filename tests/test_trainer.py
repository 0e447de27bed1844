"""The trainer around the objective: teacher, data, evaluation, logs, checkpoints, projections, and what is refused."""

import copy
import json
import logging
import math
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    BertModel,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.utils import logging as transformers_logging

from distilnlp import (
    DistillationTrainer,
    DistillationTrainingArguments,
    LiveTeacher,
    NonFiniteLossError,
    SignalRequest,
    Signals,
    build_student,
)
from distilnlp.checkpoints import last_complete_checkpoint
from distilnlp.errors import DistillationError
from distilnlp.signals import SignalProfile
from tests.conftest import tiny_arguments, tiny_data, tiny_student, tiny_teacher, tokenised
from tests.tiny import TOPICS, tiny_rows, tiny_tokenizer

MakeTrainer = Callable[..., DistillationTrainer]
FEATURES = [{"name": "hidden_state_mse", "weight": 0.5}, {"name": "hidden_state_cosine", "layer_mapping": [[2, 4]]}]
ATTACHED_AS = "distillation_projections"
STILL = {"learning_rate": 0.0, "train_sampling_strategy": "sequential"}  # the student stays as it is


class RecordingTeacher:
    """A live teacher that remembers the batches it was asked about and what it answered."""

    def __init__(
        self, model: PreTrainedModel | None = None, spoil: Callable[[int, Tensor], Tensor] | None = None
    ) -> None:
        self.teacher = LiveTeacher(tiny_teacher() if model is None else model)
        self.columns, self.profile = self.teacher.columns, self.teacher.profile
        self.spoil = spoil
        self.batches: list[dict[str, Tensor]] = []
        self.logits: list[Tensor] = []

    def to(self, device: torch.device) -> None:
        self.teacher.to(device)

    def __call__(self, batch: Any, request: SignalRequest) -> Signals:
        signals = self.teacher(batch, request)
        self.batches.append(dict(batch))
        self.logits.append(signals.logits)
        if self.spoil is None:
            return signals
        return Signals(self.spoil(len(self.batches), signals.logits), signals.hidden_states)


class Watcher(TrainerCallback):
    """Calls a function with the student at one event of the training."""

    def __init__(self, event: str, action: Callable[[PreTrainedModel], Any]) -> None:
        self.seen: list[Any] = []
        setattr(self, event, lambda *args, model, **kwargs: self.seen.append(action(model)))


def copy_of(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in weights.items()}


def projections_of(trainer: DistillationTrainer) -> dict[str, Tensor]:
    return copy_of(dict(trainer.objective.projections.named_parameters()))


def inputs_of(model: PreTrainedModel, row: dict[str, Any]) -> dict[str, Tensor]:
    names = ["input_ids", "attention_mask", *([] if model.config.model_type == "distilbert" else ["token_type_ids"])]
    return {name: torch.tensor([row[name]]) for name in names}


def logits_of(model: PreTrainedModel, row: dict[str, Any]) -> Tensor:
    model.eval()
    with torch.no_grad():
        return model(**inputs_of(model, row)).logits[0].double()


def naive_hard_loss(student: PreTrainedModel, rows: list[dict[str, Any]]) -> float:
    values = [
        -logits_of(student, row).softmax(0)[row["label"]].log().item() for row in rows if row["label"] is not None
    ]
    return sum(values) / len(values)


def naive_soft_loss(
    student: PreTrainedModel, teacher: PreTrainedModel, rows: list[dict[str, Any]], temperature: float
) -> float:
    total = 0.0
    for row in rows:
        p = (logits_of(teacher, row) / temperature).softmax(0).tolist()
        q = (logits_of(student, row) / temperature).softmax(0).tolist()
        total += temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return total / len(rows)


def losses_logged(trainer: DistillationTrainer) -> list[dict[str, float]]:
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor], tolerance: float = 0.0) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert (value - other[name]).abs().max() <= tolerance, name


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


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "modernbert"])
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
    assert not hasattr(trainer.model, ATTACHED_AS)


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


@pytest.mark.parametrize("failure", ["error", "nan"])
def test_a_run_that_failed_leaves_no_trace_in_the_next(make_trainer: MakeTrainer, failure: str) -> None:
    def fail_once(call: int, logits: Tensor) -> Tensor:
        if call == 2 and failure == "error":
            raise KeyError("the teacher stumbled")
        return logits * math.nan if call == 2 else logits

    trainer = make_trainer(teacher=RecordingTeacher(spoil=fail_once), logging_steps=2, **STILL)
    with pytest.raises((KeyError, NonFiniteLossError)):
        trainer.train()
    with torch.no_grad():  # the NaN has reached the weights: begin again from sound ones
        trainer.model.load_state_dict(tiny_student().state_dict())
    trainer.optimizer = None
    trainer.train()
    sound = make_trainer(logging_steps=2, **STILL)
    sound.train()
    assert losses_logged(trainer)[-1]["soft_loss"] == pytest.approx(losses_logged(sound)[-1]["soft_loss"], rel=1e-5)


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
    layers, values = trainer.objective.projections.layers, []
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


# ---- Evaluation and prediction ----


def test_eval_loss_is_the_mean_hard_loss_and_the_teacher_rests(make_trainer: MakeTrainer) -> None:
    recorder, student, rows = RecordingTeacher(), tiny_student(), tiny_data(10)
    trainer = make_trainer(student, recorder, eval_dataset=rows, per_device_eval_batch_size=4, losses=FEATURES)
    metrics = trainer.evaluate()
    assert metrics["eval_loss"] == pytest.approx(naive_hard_loss(student, list(rows)), rel=1e-5)
    assert recorder.batches == []
    assert "eval_soft_loss" not in metrics


def test_eval_loss_is_the_mean_over_the_rows_that_have_a_label(make_trainer: MakeTrainer) -> None:
    student, rows = tiny_student(), tiny_data(5, unlabelled=4)
    trainer = make_trainer(student, eval_dataset=rows, per_device_eval_batch_size=3)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(naive_hard_loss(student, list(rows)), rel=1e-5)


@pytest.mark.parametrize("with_labels", [True, False])
def test_eval_soft_loss_runs_the_teacher(make_trainer: MakeTrainer, with_labels: bool) -> None:
    recorder, student, rows = RecordingTeacher(), tiny_student(), tiny_data(10)
    evaluated = rows if with_labels else rows.remove_columns("label")
    options = {"per_device_eval_batch_size": 4, "eval_soft_loss": True, "temperature": 3.0}
    metrics = make_trainer(student, recorder, eval_dataset=evaluated, **options).evaluate()
    assert metrics["eval_soft_loss"] == pytest.approx(
        naive_soft_loss(student, tiny_teacher(), list(rows), 3.0), rel=1e-4
    )
    assert len(recorder.batches) == 3
    if with_labels:
        assert metrics["eval_loss"] == pytest.approx(naive_hard_loss(student, list(rows)), rel=1e-5)


def test_evaluation_amid_training_gives_compute_metrics_the_logits_alone(make_trainer: MakeTrainer) -> None:
    seen: list[Any] = []
    rows = DatasetDict({"near": tiny_data(5), "far": tiny_data(7, seed=1)})
    trainer = make_trainer(
        eval_dataset=rows,
        compute_metrics=lambda prediction: seen.append(prediction) or {"seen": 1.0},
        losses=FEATURES,
        eval_strategy="steps",
        eval_steps=1,
        max_steps=1,
        per_device_eval_batch_size=4,
    )
    trainer.train()
    assert [prediction.predictions.shape for prediction in seen] == [(5, 3), (7, 3)]
    assert all(isinstance(prediction.predictions, np.ndarray) for prediction in seen)
    logged = {name for entry in trainer.state.log_history for name in entry}
    assert {"eval_near_loss", "eval_far_loss", "eval_near_seen"} <= logged


def test_predict_without_labels_gives_the_student_its_own_inputs(make_trainer: MakeTrainer) -> None:
    student, rows, seen = tiny_student("distilbert"), tiny_data(5), []
    trainer = make_trainer(student)
    hook = student.register_forward_pre_hook(lambda _, args, kwargs: seen.append(set(kwargs)), with_kwargs=True)
    output = trainer.predict(rows.remove_columns("label"))
    hook.remove()
    assert set().union(*seen) <= {"input_ids", "attention_mask", "return_dict", "output_hidden_states"}
    assert torch.allclose(
        torch.tensor(output.predictions).double(), torch.stack([logits_of(student, row) for row in rows]), atol=1e-5
    )
    assert output.label_ids is None


def test_predict_with_labels(make_trainer: MakeTrainer) -> None:
    student, rows = tiny_student("distilbert"), tiny_data(5)
    output = make_trainer(student).predict(rows)
    assert output.label_ids.tolist() == rows["label"]
    assert output.predictions.shape == (5, 3)
    assert output.metrics["test_loss"] == pytest.approx(naive_hard_loss(student, list(rows)), rel=1e-5)


# ---- Projections ----


def assert_no_projections(folder: Path, student: PreTrainedModel) -> None:
    """A saved student has the weights of the student, every one and no other."""
    assert load_file(folder / "model.safetensors").keys() == tiny_student().state_dict().keys()
    loaded, report = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert torch.equal(logits_of(loaded, tiny_data(1)[0]), logits_of(student, tiny_data(1)[0]))


def test_projections_are_trained_saved_in_checkpoints_and_nowhere_else(
    make_trainer: MakeTrainer, tmp_path: Path
) -> None:
    trainer = make_trainer(losses=FEATURES, save_strategy="steps", save_steps=1, max_steps=2)
    before = projections_of(trainer)
    trainer.train()
    after = projections_of(trainer)
    assert all((before[name] != value).any() for name, value in after.items())
    assert_same(after, load_file(tmp_path / "checkpoint-2" / "projections.safetensors"))
    trainer.save_model(str(tmp_path / "saved"))
    trainer.model.save_pretrained(tmp_path / "by hand")
    for folder in ("checkpoint-2", "saved", "by hand"):
        assert_no_projections(tmp_path / folder, trainer.model)
    assert not (tmp_path / "saved" / "projections.safetensors").exists()


def test_saving_the_student_amid_training_saves_the_student_alone(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    watcher = Watcher("on_step_end", lambda model: (model.save_pretrained(tmp_path / "amid"), copy.deepcopy(model)))
    make_trainer(losses=FEATURES, callbacks=[watcher], max_steps=1).train()
    assert_no_projections(tmp_path / "amid", watcher.seen[0][1])


def test_the_state_of_the_student_can_be_put_back_amid_training(make_trainer: MakeTrainer) -> None:
    """What callbacks that average or restore weights do: a strict load of the student's own state."""
    watcher = Watcher("on_step_end", lambda model: model.load_state_dict(copy_of(model.state_dict())))
    make_trainer(losses=FEATURES, callbacks=[watcher], max_steps=1).train()
    assert str(watcher.seen[0]) == "<All keys matched successfully>"


def test_the_student_has_no_extra_part_after_training(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(losses=FEATURES)
    modules = [name for name, _ in trainer.model.named_modules()]
    amid = Watcher("on_step_end", lambda model: hasattr(model, ATTACHED_AS))
    trainer.add_callback(amid)
    trainer.train()
    assert amid.seen == [True, True]
    assert [name for name, _ in trainer.model.named_modules()] == modules
    assert not trainer.model._forward_hooks


def test_the_student_has_no_extra_part_after_an_error(make_trainer: MakeTrainer) -> None:
    def stumble(model: PreTrainedModel) -> None:
        raise KeyError("stop")

    trainer = make_trainer(losses=FEATURES, callbacks=[Watcher("on_step_end", stumble)])
    with pytest.raises(KeyError):
        trainer.train()
    assert not hasattr(trainer.model, ATTACHED_AS)
    assert not trainer.model._forward_hooks


def test_projections_count_in_the_norm_that_is_clipped(make_trainer: MakeTrainer) -> None:
    def norms(model: PreTrainedModel) -> tuple[float, float]:
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        added = [value for name, value in gradients.items() if name.startswith(ATTACHED_AS)]
        assert len(added) == 6  # three layers
        return (
            torch.cat([value.flatten() for value in gradients.values()]).norm().item(),
            torch.cat([value.flatten() for value in added]).norm().item(),
        )

    watcher = Watcher("on_pre_optimizer_step", norms)
    make_trainer(losses=FEATURES, callbacks=[watcher], max_steps=1, max_grad_norm=1e-3).train()
    assert watcher.seen[0][0] == pytest.approx(1e-3, rel=1e-3)
    assert watcher.seen[0][1] > 1e-5


# ---- Checkpoints ----


def test_a_resumed_run_is_the_uninterrupted_one(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    options = {"losses": FEATURES, "max_steps": 6, "save_strategy": "steps", "save_steps": 3, "learning_rate": 0.01}
    whole = make_trainer(output_dir=tmp_path / "whole", **options)
    whole.train()
    resumed = make_trainer(output_dir=tmp_path / "resumed", **{**options, "seed": 42})
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert resumed.state.global_step == 6
    assert_same(whole.model.state_dict(), resumed.model.state_dict(), 1e-6)
    assert_same(projections_of(whole), projections_of(resumed), 1e-6)
    fields = ("loss", "hard_loss", "soft_loss", "hidden_state_mse")
    for one, other in zip(losses_logged(whole)[3:], losses_logged(resumed)[3:], strict=True):
        assert [one[name] for name in fields] == pytest.approx([other[name] for name in fields], rel=1e-5)


def test_resuming_in_the_trainer_that_was_interrupted(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    options = {"losses": FEATURES, "max_steps": 6, "save_strategy": "steps", "save_steps": 2, "learning_rate": 0.01}
    whole = make_trainer(output_dir=tmp_path / "whole", **options)
    whole.train()

    def interrupt(call: int, logits: Tensor) -> Tensor:
        if call == 4:
            raise KeyboardInterrupt
        return logits

    trainer = make_trainer(
        teacher=RecordingTeacher(spoil=interrupt), logging_steps=3, **{**options, "output_dir": tmp_path / "b"}
    )
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    trainer.train(resume_from_checkpoint=True)
    assert_same(whole.model.state_dict(), trainer.model.state_dict(), 1e-6)
    assert_same(projections_of(whole), projections_of(trainer), 1e-6)


@pytest.mark.parametrize("damage", ["missing", "empty", "truncated", "zeros", "garbage"])
def test_resume_passes_over_a_checkpoint_that_was_cut_off(
    make_trainer: MakeTrainer, tmp_path: Path, damage: str
) -> None:
    options = {"max_steps": 4, "save_strategy": "steps", "save_steps": 1}
    make_trainer(**options).train()
    state = tmp_path / "checkpoint-4" / "trainer_state.json"
    whole = state.read_bytes()
    broken = {"empty": b"", "truncated": whole[: len(whole) // 2], "zeros": bytes(len(whole)), "garbage": b"\xff\xfe{"}
    state.unlink() if damage == "missing" else state.write_bytes(broken[damage])
    steps: list[int] = []

    class Start(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            steps.append(state.global_step)

    trainer = make_trainer(callbacks=[Start()], **{**options, "max_steps": 6})
    trainer.train(resume_from_checkpoint=True)
    assert steps == [3]
    assert trainer.state.global_step == 6


def test_the_newest_complete_checkpoint_is_the_largest_number(tmp_path: Path) -> None:
    assert last_complete_checkpoint(tmp_path) is None
    for name in ("checkpoint-9", "checkpoint-10", "checkpoint-best", "checkpoint-11"):
        (tmp_path / name).mkdir()
        if name != "checkpoint-11":
            (tmp_path / name / "trainer_state.json").write_text("{}")
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")


def test_resuming_with_other_losses_is_refused(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    options = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1}
    make_trainer(output_dir=tmp_path / "without", **options).train()
    make_trainer(output_dir=tmp_path / "with", losses=FEATURES[:1], **options).train()
    with pytest.raises(DistillationError, match="no such file"):
        make_trainer(losses=FEATURES, **options).train(
            resume_from_checkpoint=str(tmp_path / "without" / "checkpoint-1")
        )
    for losses in (FEATURES, []):
        with pytest.raises(DistillationError, match="other losses"):
            make_trainer(losses=losses, **options).train(resume_from_checkpoint=str(tmp_path / "with" / "checkpoint-1"))


@pytest.fixture
def warnings_of_transformers(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    transformers_logging.enable_propagation()
    with caplog.at_level(logging.WARNING):
        yield caplog
    transformers_logging.disable_propagation()


def test_the_best_student_is_loaded_at_the_end(
    make_trainer: MakeTrainer, tmp_path: Path, warnings_of_transformers: pytest.LogCaptureFixture
) -> None:
    trainer = make_trainer(
        eval_dataset=tiny_data(6),
        losses=FEATURES,
        max_steps=4,
        learning_rate=0.5,  # so that later steps are worse
        save_strategy="steps",
        eval_strategy="steps",
        save_steps=1,
        eval_steps=1,
        load_best_model_at_end=True,
        metric_for_best_model="soft_loss",
        eval_soft_loss=True,
    )
    trainer.train()
    losses = [entry["eval_soft_loss"] for entry in trainer.state.log_history if "eval_soft_loss" in entry]
    best = losses.index(min(losses)) + 1
    assert trainer.state.best_model_checkpoint.endswith(f"checkpoint-{best}")
    assert_same(load_file(tmp_path / f"checkpoint-{best}" / "model.safetensors"), trainer.model.state_dict())
    warned = [record.getMessage() for record in warnings_of_transformers.records]
    assert not [message for message in warned if "keys" in message]


def test_saving_pickles_the_arguments(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = make_trainer(losses=FEATURES, temperature=3.5)
    trainer.save_model(str(tmp_path / "saved"))
    loaded = torch.load(tmp_path / "saved" / "training_args.bin", weights_only=False)
    assert (loaded.temperature, loaded.losses) == (3.5, FEATURES)
    assert pickle.loads(pickle.dumps(trainer.args)).losses == FEATURES
    assert_no_projections(tmp_path / "saved", trainer.model)


# ---- Losses that are not finite ----


def nan_from(first: int) -> RecordingTeacher:
    return RecordingTeacher(spoil=lambda call, logits: logits * math.nan if call >= first else logits)


@pytest.mark.parametrize("logging", [{"logging_steps": 1}, {"logging_steps": 100}, {"logging_strategy": "no"}])
def test_a_nan_stops_the_run_and_keeps_the_last_good_checkpoint(
    make_trainer: MakeTrainer, tmp_path: Path, logging: dict[str, Any]
) -> None:
    options = {"max_steps": 8, "save_strategy": "steps", "save_steps": 2, "save_total_limit": 1, **logging}
    trainer = make_trainer(teacher=nan_from(5), **options)
    with pytest.raises(NonFiniteLossError, match=r"soft_loss became NaN.*step 5\b"):
        trainer.train()
    assert sorted(path.name for path in tmp_path.glob("checkpoint-*")) == ["checkpoint-4"]
    weights = load_file(tmp_path / "checkpoint-4" / "model.safetensors")
    assert all(value.isfinite().all() for value in weights.values())
    again = make_trainer(**options)
    again.train(resume_from_checkpoint=True)
    assert again.state.global_step == 8


def test_a_nan_stops_a_run_that_neither_logs_nor_saves(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(teacher=nan_from(2), logging_strategy="no", max_steps=3)
    with pytest.raises(NonFiniteLossError, match="soft_loss became NaN"):
        trainer.train()


def test_the_filter_of_the_trainer_hides_no_nan(make_trainer: MakeTrainer) -> None:
    with pytest.raises(NonFiniteLossError, match="soft_loss"):
        make_trainer(teacher=nan_from(1), logging_nan_inf_filter=True).train()


def test_a_learning_rate_that_explodes_stops_the_run(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    trainer = make_trainer(learning_rate=1e38, max_steps=6, save_strategy="steps", save_steps=1, logging_steps=2)
    with pytest.raises(NonFiniteLossError):
        trainer.train()
    for checkpoint in tmp_path.glob("checkpoint-*"):
        assert all(value.isfinite().all() for value in load_file(checkpoint / "model.safetensors").values())


def test_a_gradient_that_overflows_is_not_saved(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    def overflow(model: PreTrainedModel) -> None:
        next(model.parameters()).grad.fill_(math.inf)

    watcher = Watcher("on_pre_optimizer_step", overflow)
    trainer = make_trainer(callbacks=[watcher], save_strategy="steps", save_steps=1, max_steps=1)
    with pytest.raises(NonFiniteLossError, match="weights"):
        trainer.train()
    assert not list(tmp_path.glob("checkpoint-*"))


# ---- The model card ----


@pytest.mark.parametrize("tags", [None, "mine", ["mine", "distilnlp"]])
def test_the_model_card_is_tagged(make_trainer: MakeTrainer, tmp_path: Path, tags: Any) -> None:
    trainer = make_trainer(max_steps=1)
    trainer.train()
    for _ in range(2):
        trainer.create_model_card(model_name="small", tags=tags)
    card = (tmp_path / "README.md").read_text()
    for tag in ["distilnlp", "knowledge-distillation", *(["mine"] if tags else [])]:
        assert card.count(f"\n- {tag}\n") == 1


# ---- Labels ----

TURNED = ("sport", "film", "money")


def turned(rows: Dataset) -> Dataset:
    """The same rows with other ids: their class label has another order of names."""
    ids = [None if label is None else TURNED.index(TOPICS[label]) for label in rows["label"]]
    features = Features({**rows.features, "label": ClassLabel(names=list(TURNED))})
    return Dataset.from_dict({**rows.to_dict(), "label": ids}, features=features)


def label_ids(rows: Dataset) -> list[int]:
    """The labels of rows, in either way to say that there is none."""
    return [-100 if label is None else label for label in rows.with_format(None)["label"]]


@pytest.mark.parametrize("row_format", [None, "torch", "numpy"])
def test_labels_in_another_order_are_renumbered(make_trainer: MakeTrainer, row_format: str | None) -> None:
    rows = tiny_data(5, unlabelled=2 if row_format is None else 0)
    given = turned(rows).with_format(row_format)
    trainer = make_trainer(train_dataset=given, eval_dataset=given)
    assert label_ids(trainer.train_dataset) == label_ids(trainer.eval_dataset) == label_ids(rows) != label_ids(given)


@pytest.mark.parametrize("method", ["evaluate", "predict"])
def test_labels_are_renumbered_wherever_rows_come_in(make_trainer: MakeTrainer, method: str) -> None:
    student, rows = tiny_student(), tiny_data(5)
    trainer = make_trainer(student)
    output = getattr(trainer, method)(turned(rows))
    loss = output["eval_loss"] if method == "evaluate" else output.metrics["test_loss"]
    assert loss == pytest.approx(naive_hard_loss(student, list(rows)), rel=1e-5)


def test_a_student_without_label_names_is_no_reason_to_mix_up_data_and_teacher(make_trainer: MakeTrainer) -> None:
    """The data and the teacher name their labels in two orders; the student, made by hand, names none."""
    nameless = tiny_student(labels=("LABEL_0", "LABEL_1", "LABEL_2"))
    rows = tiny_data(6)
    recorder = RecordingTeacher()
    trainer = make_trainer(nameless, recorder, turned(rows), max_steps=1, per_device_train_batch_size=6, **STILL)
    trainer.train()
    names_of_classes = trainer.teacher.profile.label_names
    labels = recorder.batches[0]["labels"].tolist()
    assert [names_of_classes[label] for label in labels] == [TOPICS[label] for label in rows["label"]]


@pytest.mark.parametrize("split", ["train", "eval"])
def test_data_with_other_label_names_is_refused(make_trainer: MakeTrainer, split: str) -> None:
    features = Features({**tiny_rows().features, "label": ClassLabel(names=["film", "money", "weather"])})
    rows = tokenised(Dataset.from_dict(tiny_rows(6).to_dict(), features=features))
    with pytest.raises(
        DistillationError, match=rf"only the {split}\w+ data has \['weather'\].*student has \['sport'\]"
    ):
        make_trainer(**{f"{split}_dataset": rows})


@pytest.mark.parametrize("label", [3, -1, -2, 1.5])
def test_label_ids_out_of_range_are_refused(make_trainer: MakeTrainer, label: Any) -> None:
    rows = tiny_data(4).remove_columns("label").add_column("label", [0, 1, 2, label])
    with pytest.raises(DistillationError, match=f"from 0 to 2.*{label}"):
        make_trainer(train_dataset=rows)


@pytest.mark.parametrize(
    "labels", [["film", "money", "sport", "film"], [[0, 1], [1], [2], [0]]], ids=["names", "lists"]
)
def test_labels_that_are_no_ids_are_refused(make_trainer: MakeTrainer, labels: list[Any]) -> None:
    rows = tiny_data(4).remove_columns("label").add_column("label", labels)
    with pytest.raises(DistillationError, match=r"class ids from 0 to 2"):
        make_trainer(train_dataset=rows)


@pytest.mark.parametrize("as_list", [False, True], ids=["data set", "list"])
def test_a_row_may_say_that_it_has_no_label(make_trainer: MakeTrainer, as_list: bool) -> None:
    rows = (
        tiny_data(4).remove_columns(["label", "text"]).add_column("label", [0, -100, None, 2], feature=Value("int64"))
    )
    trainer = make_trainer(None, None, list(rows) if as_list else rows, max_steps=1, **STILL)
    trainer.train()
    labelled = [row for row in rows if row["label"] not in (None, -100)]
    assert losses_logged(trainer)[0]["hard_loss"] == pytest.approx(naive_hard_loss(tiny_student(), labelled), rel=1e-4)


@pytest.mark.parametrize("labels", [[None, 1, 2, 0], [0, None, 2, 1]], ids=["first", "second"])
def test_rows_that_need_no_tokenizer_may_lack_a_label_too(tmp_path: Path, labels: list[int | None]) -> None:
    """Rows of one length go without a processing class; an unlabelled row must not cost the others their labels."""
    rows = tokenised(Dataset.from_dict({"text": ["the film", "a bank", "goal team", "plot cast"]}))
    rows = rows.add_column("label", labels, feature=Value("int64"))
    student = tiny_student()
    arguments = tiny_arguments(tmp_path, max_steps=1, **STILL)
    trainer = DistillationTrainer(student, tiny_teacher(), arguments, train_dataset=rows)
    trainer.train()
    assert losses_logged(trainer)[0]["hard_loss"] == pytest.approx(naive_hard_loss(student, list(rows)), rel=1e-4)


# ---- Refusals ----


def test_a_student_that_is_its_own_teacher_is_refused(make_trainer: MakeTrainer) -> None:
    model = tiny_teacher()
    with pytest.raises(DistillationError, match="one and the same"):
        make_trainer(model, model)
    with pytest.raises(DistillationError, match="one and the same"):
        make_trainer(model, [tiny_teacher(seed=4), model])


def test_a_missing_teacher_is_refused(tmp_path: Path) -> None:
    for options in ({}, {"soft_loss_weight": 0.0, "losses": FEATURES}):
        with pytest.raises(DistillationError, match="teacher_model is missing"):
            DistillationTrainer(tiny_student(), None, tiny_arguments(tmp_path, **options), train_dataset=tiny_data())


def test_plain_training_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match="they are TrainingArguments"):
        DistillationTrainer(tiny_student(), tiny_teacher(), TrainingArguments(str(tmp_path)))


def test_a_loss_function_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DistillationError, match="compute_loss_func"):
        DistillationTrainer(tiny_student(), tiny_teacher(), tiny_arguments(tmp_path), compute_loss_func=print)


def test_a_teacher_of_the_wrong_kind_is_refused(make_trainer: MakeTrainer) -> None:
    with pytest.raises(DistillationError, match="str: 'bert-base-uncased'"):
        make_trainer(teacher="bert-base-uncased")


def test_a_teacher_with_other_labels_is_refused(make_trainer: MakeTrainer) -> None:
    with pytest.raises(DistillationError, match="weather"):
        make_trainer(teacher=tiny_teacher(labels=("film", "money", "weather")))


def test_a_layer_out_of_range_is_refused(make_trainer: MakeTrainer) -> None:
    with pytest.raises(DistillationError, match="teacher's index must be between 0"):
        make_trainer(losses=[{"name": "hidden_state_mse", "layer_mapping": [[1, 9]]}])


@pytest.mark.parametrize("losses", [FEATURES[:1]])
def test_a_feature_loss_from_an_ensemble_is_refused(make_trainer: MakeTrainer, losses: list[dict[str, Any]]) -> None:
    with pytest.raises(DistillationError, match="ensemble"):
        make_trainer(teacher=[tiny_teacher(), tiny_teacher(seed=4)], losses=losses)


def test_a_student_that_is_no_classifier_is_refused(make_trainer: MakeTrainer) -> None:
    regression, multi_label = tiny_student(labels=("score",)), tiny_student()
    multi_label.config.problem_type = "multi_label_classification"
    for student in (regression, multi_label):
        with pytest.raises(DistillationError, match="tasks that can be distilled"):
            make_trainer(student, tiny_teacher(labels=tuple(student.config.label2id)))


@pytest.mark.parametrize("student", [nn.Linear(2, 3), BertModel(tiny_student().config)], ids=["module", "no head"])
def test_a_student_without_a_head_is_refused(make_trainer: MakeTrainer, student: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"tasks that can be distilled|cannot be used as is for training"):
        make_trainer(student)


def test_a_plain_trainer_still_takes_the_student(make_trainer: MakeTrainer, tmp_path: Path) -> None:
    """Distilling leaves nothing behind on the student that another trainer would trip over."""
    trainer = make_trainer(losses=FEATURES)
    trainer.train()
    plain = TrainingArguments(
        str(tmp_path), max_steps=1, use_cpu=True, save_strategy="steps", save_steps=1, disable_tqdm=True
    )
    Trainer(trainer.model, plain, train_dataset=tiny_data(), processing_class=tiny_tokenizer()).train()
    assert json.loads((tmp_path / "checkpoint-1" / "trainer_state.json").read_text())["global_step"] == 1
    assert_no_projections(tmp_path / "checkpoint-1", trainer.model)
