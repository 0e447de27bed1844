"""The losses of an evaluation, each over its own items: a mean of the batches' means would weigh them wrongly."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from distilnlp.objective import HardLoss, SoftLoss
from distilnlp.signals import NO_LABEL, Signals
from distilnlp.tasks import Task
from distilnlp.training.arguments import DistillationTrainingArguments
from distilnlp.training.component_log import ComponentLog
from distilnlp.training.sampling import own_rows


class EvaluationLog:
    """Sums the hard loss, and the soft loss where the teacher is asked, over the batches of an evaluation.

    Args:
        task: of student and teacher.
        args: of the training; the soft loss has their temperature.
        accelerator: sums over the processes.
    """

    def __init__(self, task: Task, args: DistillationTrainingArguments, accelerator: Accelerator) -> None:
        self._task, self._args, self._accelerator = task, args, accelerator
        self._log = ComponentLog(["loss", "soft_loss"], accelerator)

    def add(self, student: Signals, teacher: Signals | None, inputs: Mapping[str, Any], step: int) -> None:
        """Add a batch, at an optimizer step."""
        rows = slice(self._own_rows(inputs)) if not self._task.draws_its_items else slice(None)
        inputs = {name: value[rows] for name, value in inputs.items()}
        student = replace(student, logits=student.logits[rows])
        hard_loss, soft_loss = HardLoss(self._task, 1.0), SoftLoss(self._task, 1.0)
        values = [hard_loss(student, None, inputs, 1, 1.0), torch.zeros_like(student.logits.sum())]
        counts = [hard_loss.count(inputs), torch.zeros_like(hard_loss.count(inputs))]
        if teacher is not None:
            teacher = replace(teacher, logits=teacher.logits[rows])
            values[1] = soft_loss(student, teacher, inputs, 1, self._args.temperature)
            counts[1] = soft_loss.count(inputs)
        self._log.weigh(self._accelerator.reduce(torch.stack(counts), reduction="sum"))
        self._log.add(torch.stack(values), step)

    def read(self) -> dict[str, float]:
        """Return the means over the items of all batches and processes."""
        return self._log.read()

    def clear(self) -> None:
        """Begin another evaluation."""
        self._log.clear()

    def without_labels_of_others(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Blank the labels of rows that are only repeated, where these decide which logits there are."""
        own = self._own_rows(inputs)
        if not self._task.draws_its_items or "labels" not in inputs or own == len(inputs["labels"]):
            return inputs
        labels: Tensor = inputs["labels"].clone()
        labels[own:] = NO_LABEL
        return {**inputs, "labels": labels}

    def _own_rows(self, inputs: Mapping[str, Any]) -> int:
        """Count the rows of a batch without those that are repeated."""
        return own_rows(self._accelerator, inputs, self._args)
