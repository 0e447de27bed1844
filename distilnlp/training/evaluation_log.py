"""The losses of an evaluation, each over its own items: a mean of the batches' means would weigh them wrongly."""

from dataclasses import replace

import torch
from accelerate import Accelerator
from torch import Tensor

from distilnlp.objective import HardLoss, SoftLoss
from distilnlp.signals import NO_LABEL, Batch, Signals
from distilnlp.tasks import Task
from distilnlp.training.arguments import DistillationTrainingArguments
from distilnlp.training.component_log import ComponentLog
from distilnlp.training.sampling import own_rows


class EvaluationLog(ComponentLog):
    """Averages the hard loss, and the soft loss where the teacher is asked, over the items of an evaluation."""

    def __init__(self, task: Task, args: DistillationTrainingArguments, accelerator: Accelerator) -> None:
        super().__init__(["loss", "soft_loss"], accelerator)
        self._task, self._args = task, args

    def add_batch(self, student: Signals, teacher: Signals | None, inputs: Batch, step: int) -> None:
        """Add a batch, at an optimizer step."""
        is_drawn = self._task.draws_its_items
        rows = slice(None if is_drawn else own_rows(self._accelerator, inputs, self._args))
        inputs = {name: value[rows] for name, value in inputs.items()}
        student = replace(student, logits=student.logits[rows])
        hard_loss, soft_loss = HardLoss(self._task, 1.0), SoftLoss(self._task, 1.0)
        values = [hard_loss(student, None, inputs, 1, 1.0), torch.zeros_like(student.logits.sum())]
        counts = [hard_loss.count(inputs), torch.zeros_like(hard_loss.count(inputs))]
        if teacher is not None:
            teacher = replace(teacher, logits=teacher.logits[rows])
            values[1] = soft_loss(student, teacher, inputs, 1, self._args.temperature)
            counts[1] = soft_loss.count(inputs)
        self.weigh(self._accelerator.reduce(torch.stack(counts), reduction="sum"))
        self.add(torch.stack(values), step)

    def without_labels_of_others(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """Blank the labels of rows that are only repeated, where these decide which logits there are."""
        own = own_rows(self._accelerator, inputs, self._args)
        if not self._task.draws_its_items or "labels" not in inputs or own == len(inputs["labels"]):
            return inputs
        labels = inputs["labels"].clone()
        labels[own:] = NO_LABEL
        return {**inputs, "labels": labels}
