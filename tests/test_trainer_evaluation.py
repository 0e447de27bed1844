"""Evaluation, prediction and the model card of the trainer."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import DatasetDict

from tests.conftest import tiny_data, tiny_student, tiny_teacher
from tests.trainer_tools import FEATURES, MakeTrainer, RecordingTeacher, logits_of, naive_hard_loss, naive_soft_loss

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


def test_rows_without_any_label_have_no_eval_loss(make_trainer: MakeTrainer) -> None:
    rows = tiny_data(0, unlabelled=5)
    assert "eval_loss" not in make_trainer(eval_dataset=rows).evaluate()
