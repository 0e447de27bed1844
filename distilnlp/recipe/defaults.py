"""What a recipe leaves open: the arguments of its trainings, as they are where it sets none."""

from pathlib import Path
from typing import Any

import torch

from distilnlp.errors import DistillationError
from distilnlp.models.running import bf16_is_fast
from distilnlp.recipe.sections import Recipe
from distilnlp.training.arguments import DistillationTrainingArguments

# Fast where the result is the same: rows of like length share a batch, ten checkpoints a run. How long and how fast a
# teacher is fine-tuned, the rows and the size decide: training/stopping.py.
COMMON_DEFAULTS: dict[str, Any] = {
    "per_device_train_batch_size": 16,
    "per_device_eval_batch_size": 32,
    "train_sampling_strategy": "group_by_length",
    "lr_scheduler_type": "linear",
    "warmup_steps": 0.1,
    "logging_steps": 0.05,
    "save_strategy": "steps",
    "save_steps": 0.1,
    "save_total_limit": 2,  # if the last was damaged, there is the one before
    "report_to": "none",
}
DISTILL_DEFAULTS: dict[str, Any] = {**COMMON_DEFAULTS, "num_train_epochs": 5, "learning_rate": 2e-4}
LABELS_ALONE: dict[str, Any] = {"soft_loss_weight": 0.0, "hard_loss_weight": 1.0}
# What only a training with a teacher reads.
TEACHER_ARGUMENTS = ("temperature", "losses", "teacher_dtype", "eval_soft_loss", "schedules", "balance_losses")


def distill_values(recipe: Recipe) -> dict[str, Any]:
    """Return the arguments of the distillation that are set: the recipe's over the defaults."""
    return {**DISTILL_DEFAULTS, **recipe.training}


def baseline_values(recipe: Recipe) -> dict[str, Any]:
    """Return the arguments of the baseline that are set: those of the distillation, the labels alone."""
    own = recipe.baseline if isinstance(recipe.baseline, dict) else {}
    kept = {name: value for name, value in distill_values(recipe).items() if name not in TEACHER_ARGUMENTS}
    return {**kept, **own, **LABELS_ALONE}


def finetune_values(recipe: Recipe) -> dict[str, Any]:
    """Return the arguments of the teacher's fine-tuning that are set."""
    own = recipe.teacher.finetune if isinstance(recipe.teacher.finetune, dict) else {}
    return {**COMMON_DEFAULTS, **own, **LABELS_ALONE}


def build_arguments(values: dict[str, Any], seed: int, output_dir: Path) -> DistillationTrainingArguments:
    """Build the arguments of one training, with what the hardware decides.

    Raises:
        DistillationError: arguments that do not fit together, or an objective that cannot be.
    """
    # The Trainer takes half precision on a CPU only if it is told that the CPU is meant.
    hardware: dict[str, Any] = {"use_cpu": not torch.accelerator.is_available(), "seed": seed}
    hardware["log_level_replica"] = "error"  # the first process says what there is to say
    if "bf16" not in values and "fp16" not in values:
        hardware["bf16"] = bf16_is_fast()
    try:
        return DistillationTrainingArguments(output_dir=str(output_dir), **{**hardware, **values})
    except DistillationError:
        raise
    except Exception as error:  # many kinds, also of packages that are not installed and files that are not there
        raise DistillationError(
            f"the training arguments do not fit together: {error}. Change or remove them."
        ) from error
