"""What the tests of the trainer share: teachers that remember, naive losses, comparisons of weights."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedModel,
    TrainerCallback,
)

from distilnlp import DistillationTrainer, LiveTeacher, SignalRequest, Signals
from tests.conftest import tiny_data, tiny_student, tiny_teacher

MakeTrainer = Callable[..., DistillationTrainer]
FEATURES = [{"name": "hidden_state_mse", "weight": 0.5}, {"name": "hidden_state_cosine", "layer_mapping": [[2, 4]]}]
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
        return replace(signals, logits=self.spoil(len(self.batches), signals.logits))


class Watcher(TrainerCallback):
    """Calls a function with the student at one event of the training."""

    def __init__(self, event: str, action: Callable[[PreTrainedModel], Any]) -> None:
        self.seen: list[Any] = []
        setattr(self, event, lambda *args, model, **kwargs: self.seen.append(action(model)))


def copy_of(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in weights.items()}


def projections_of(trainer: DistillationTrainer) -> dict[str, Tensor]:
    return copy_of(dict(trainer.distillation_objective.projections.named_parameters()))


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


def assert_no_projections(folder: Path, student: PreTrainedModel) -> None:
    """A saved student has the weights of the student, every one and no other."""
    assert load_file(folder / "model.safetensors").keys() == tiny_student().state_dict().keys()
    loaded, report = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(report[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert torch.equal(logits_of(loaded, tiny_data(1)[0]), logits_of(student, tiny_data(1)[0]))
