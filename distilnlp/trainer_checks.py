"""What `DistillationTrainer` refuses, and why."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import Trainer

from distilnlp.arguments import DistillationTrainingArguments
from distilnlp.errors import DistillationError, NonFiniteLossError
from distilnlp.objective import Objective
from distilnlp.tasks import MASKED_LM, Task


def check_constructor(model: Any, teacher: Any, args: Any, kwargs: dict[str, Any]) -> None:
    """Refuse what a trainer cannot be built from."""
    if not isinstance(args, DistillationTrainingArguments):
        raise DistillationError(
            f"args must be DistillationTrainingArguments, but they are {type(args).__name__}. Use the same arguments "
            "with DistillationTrainingArguments(...): it takes every one of TrainingArguments."
        )
    members = teacher if isinstance(teacher, Sequence) else [teacher]
    if model is not None and any(model is member for member in members):
        raise DistillationError(
            "the student and the teacher are one and the same object. Make a student with build_student(teacher, ...)."
        )
    if kwargs.get("compute_loss_func") is not None:
        raise DistillationError(
            "compute_loss_func cannot be honoured: the objective is the loss. Remove it, or use the plain Trainer."
        )


def check_own_encoding(task: Task) -> None:
    """Refuse two tokenizers where the classes are the tokens of a vocabulary."""
    if task is MASKED_LM:
        raise DistillationError(
            "masked language modelling compares the probabilities of the tokens of one vocabulary, but student and "
            "teacher have two tokenizers. Use a student with the teacher's: no other model, no trimmed vocabulary."
        )


def check_batch_size(objective: Objective, args: DistillationTrainingArguments) -> None:
    """Refuse micro-batches in which a loss has nothing to relate."""
    for component in objective.components:
        if args.per_device_train_batch_size < component.min_texts:
            raise DistillationError(
                f"{component.name} relates the texts of a micro-batch and needs at least {component.min_texts}, but "
                f"per_device_train_batch_size is {args.per_device_train_batch_size}. Raise it, or remove the loss."
            )


def check_optimizers(objective: Objective, kwargs: dict[str, Any]) -> None:
    """Refuse an optimizer that cannot hold the projections."""
    if len(objective.projections) and kwargs.get("optimizers", (None, None))[0] is not None:
        raise DistillationError(
            "optimizers cannot be honoured with a feature loss whose widths differ: its projections would not be in "
            "that optimizer. Leave optimizers out and use optimizer_cls_and_kwargs or the optim argument."
        )


def check_vocabularies(student: Any, teacher: Any) -> None:
    """Refuse a teacher that would read the student's token ids as other tokens, as far as their numbers tell.

    A difference of up to 1% passes: some models pad their vocabulary.
    """
    own, other = (int(getattr(getattr(model, "config", None), "vocab_size", 0)) for model in (student, teacher))
    if own and other and abs(own - other) > max(own, other) / 100:
        raise DistillationError(
            f"the student has {own} and the teacher {other} tokens, so the same ids mean other tokens. Pass the "
            "teacher's tokenizer as teacher_processing_class and give the rows its encoding (docs/students.md)."
        )


def check_parallelism(trainer: Trainer) -> None:
    """Refuse parallelism within a batch."""
    sizes = {
        "context": trainer.get_cp_size(),
        "sequence": trainer.get_sp_size(),
        "tensor": trainer.get_tp_size(),
    }
    for name, size in sizes.items():
        if size > 1:
            raise DistillationError(
                f"{name} parallelism of {size} splits a batch in a way that the objective cannot count. Use data "
                "parallelism: one whole student a process."
            )


def check_weights_finite(model: nn.Module, step: int) -> None:
    """Refuse to save weights that are NaN or infinite."""
    finite = torch.stack([parameter.isfinite().all() for parameter in model.parameters()])
    if not finite.all():
        raise NonFiniteLossError(
            f"the student's weights became NaN or infinite at or before optimizer step {step}, although the loss was "
            "finite: a gradient overflowed. The last checkpoint is from before that and is kept. Lower the learning "
            "rate, set max_grad_norm, or train in float32."
        )
