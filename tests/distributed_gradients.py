"""The gradients that reach the optimizer, for several objectives: in one process for tests, or in two as a script.

    ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes 2 -m tests.distributed_gradients OUT

writes for every objective what `gradients` returns, and an uneven evaluation, to the file OUT.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from distilnlp import DistillationTrainer
from tests.conftest import tiny_arguments, tiny_data, tiny_student, tiny_teacher
from tests.tiny import tiny_tokenizer

LABELLED, UNLABELLED = 3, 5  # so that some micro-batches, and with two processes a whole process, have no label
BATCH_SIZE = LABELLED + UNLABELLED
FEATURES = [
    {"name": "hidden_state_mse", "weight": 0.7},
    {"name": "hidden_state_cosine", "layer_mapping": [[0, 0], [2, 3]]},
]
OBJECTIVES: dict[str, dict[str, Any]] = {
    "hard and soft": {"hard_loss_weight": 0.5, "soft_loss_weight": 1.0, "temperature": 3.0},
    "soft": {"hard_loss_weight": 0.0, "soft_loss_weight": 2.0, "temperature": 2.0},
    "all": {"hard_loss_weight": 0.3, "soft_loss_weight": 0.6, "temperature": 4.0, "losses": FEATURES},
    "features": {"hard_loss_weight": 0.0, "soft_loss_weight": 0.0, "losses": FEATURES},
    # Recomputing activations, the Trainer tells DDP to expect every parameter in the loss: also the head's.
    "features, recomputed": {
        "hard_loss_weight": 0.0,
        "soft_loss_weight": 0.0,
        "losses": FEATURES,
        "activation_checkpointing": True,
    },
}


class Recorder(TrainerCallback):
    """Keeps the weights at the start and the gradients of every optimizer step of what a trainer trains."""

    def __init__(self, trainer: DistillationTrainer) -> None:
        self.trained = trainer.trained
        self.weights: dict[str, Tensor] = {}
        self.steps: list[dict[str, Tensor | None]] = []

        trainer.add_callback(self)

    def _parameters(self) -> dict[str, nn.Parameter]:
        """The student's by their own names, with the projections beside them."""
        return {name.removeprefix("student."): value for name, value in self.trained.named_parameters()}

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.weights = {name: value.detach().clone() for name, value in self._parameters().items()}

    def on_pre_optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        gradients = {name: parameter.grad for name, parameter in self._parameters().items()}
        self.steps.append({name: None if grad is None else grad.clone() for name, grad in gradients.items()})


def gradients(
    objective: str,
    per_device_batch: int,
    accumulation: int,
    collator: Callable[..., Any] | None = None,
    evaluates_first: bool = False,
) -> dict[str, Any]:
    """Run two epochs of one optimizer step each over the same rows, with a learning rate of zero."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = tiny_arguments(
            Path(folder),
            per_device_train_batch_size=per_device_batch,
            gradient_accumulation_steps=accumulation,
            teacher_dtype="float64",
            learning_rate=0.0,
            max_grad_norm=0.0,
            train_sampling_strategy="sequential",
            **OBJECTIVES[objective],
        )
        trainer = DistillationTrainer(
            tiny_student().double(),
            tiny_teacher(),
            arguments,
            train_dataset=tiny_data(LABELLED, UNLABELLED),
            processing_class=tiny_tokenizer(),
            data_collator=collator,
        )
        recorder = Recorder(trainer)
        if evaluates_first:
            trainer.evaluate(tiny_data(4))
        trainer.train()
    return {
        "processes": trainer.accelerator.num_processes,
        "weights": recorder.weights,
        "steps": recorder.steps,
        "logs": [entry for entry in trainer.state.log_history if "loss" in entry],
    }


def evaluation(per_device_batch: int) -> dict[str, float]:
    """Evaluate on seven rows, which two processes with batches of two cannot share evenly."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = DistillationTrainer(
            tiny_student().double(),
            tiny_teacher(),
            tiny_arguments(
                Path(folder),
                per_device_eval_batch_size=per_device_batch,
                eval_soft_loss=True,
                teacher_dtype="float64",
            ),
            eval_dataset=tiny_data(7),
            processing_class=tiny_tokenizer(),
        )
        return trainer.evaluate()


def _attempt(run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return run()
    except Exception as error:  # so that what fails for one objective hides no result of the others
        return {"error": f"{type(error).__name__}: {error}"}


def main(out: str) -> None:
    """Measure every objective at four rows a process, and write the results of the first process."""
    results = {name: _attempt(lambda name=name: gradients(name, 4, 1)) for name in OBJECTIVES}
    results["evaluated first"] = _attempt(lambda: gradients("all", 4, 1, evaluates_first=True))
    results["evaluation"] = _attempt(lambda: evaluation(2))
    world_size = torch.distributed.get_world_size()
    assert world_size == 2, f"this must run in two processes, but it runs in {world_size}"
    if torch.distributed.get_rank() == 0:
        torch.save(results, out)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
