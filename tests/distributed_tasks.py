"""The gradients that reach the optimizer, for every task and every loss: in one process, or in two as a script.

    ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes 2 -m tests.distributed_tasks OUT

writes what `task_gradients` returns for every objective, what `balanced` and what `task_evaluation` return, to OUT.
"""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from distilnlp import DistillationTrainer
from distilnlp.tasks import TASKS
from tests.conftest import tiny_arguments
from tests.distributed_gradients import Recorder
from tests.tiny import tiny_tokenizer
from tests.tiny_tasks import task_data, task_student, task_teacher

LABELLED, UNLABELLED = 3, 5  # so that some micro-batches, and with two processes a whole process, have no label
BATCH_SIZE = LABELLED + UNLABELLED
# A task for every loss. Masked LM has rows without any item.
LOSS_TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "forward_kl": ("masked_lm", {}),
    "reverse_kl": ("question_answering", {"temperature": 1.5}),
    "jensen_shannon": ("multi_label_classification", {}),
    "logit_mse": ("multiple_choice", {}),
    "dkd": ("token_classification", {}),
    "dist": ("token_classification", {"intra_weight": 0}),
    "standardized_kl": ("question_answering", {}),
    "hidden_state_mse": ("multiple_choice", {"projection": "shared", "layer_mapping": "learned"}),
    "hidden_state_cosine": ("question_answering", {"layer_mapping": [[0, 0], [2, 3]]}),
    "embedding_mse": ("masked_lm", {}),
    "pkd": ("multiple_choice", {}),
    "neuron_selectivity": ("token_classification", {}),
    "attention_mse": ("multiple_choice", {}),
    "attention_kl": ("question_answering", {"layer_mapping": [[1, 4]]}),
    "activation_boundary": ("masked_lm", {"layer_mapping": [[1, 2], [2, 2]]}),
    "minilm": ("token_classification", {}),
    "minilmv2": ("multiple_choice", {"num_relation_heads": 4}),
    "rkd_distance": ("multiple_choice", {}),
    "rkd_angle": ("question_answering", {}),
    "similarity_preserving": ("masked_lm", {}),
}
# These relate the texts of a micro-batch, so they are the same only where the micro-batches are.
BY_MICRO_BATCH = ("rkd_distance", "rkd_angle", "similarity_preserving", "dist, intra")


def _alone(loss: str, **options: Any) -> dict[str, Any]:
    return {"hard_loss_weight": 0.0, "soft_loss_weight": 0.0, "losses": [{"name": loss, "weight": 0.7, **options}]}


OBJECTIVES: dict[str, tuple[str, dict[str, Any]]] = {
    **{task: (task, {"hard_loss_weight": 0.5, "soft_loss_weight": 1.0, "temperature": 3.0}) for task in TASKS},
    **{loss: (task, _alone(loss, **options)) for loss, (task, options) in LOSS_TASKS.items()},
    "dist, intra": ("single_label_classification", _alone("dist", inter_weight=0)),
}


def _trainer(task: str, folder: str, labelled: int, unlabelled: int, **options: Any) -> DistillationTrainer:
    settings = {"teacher_dtype": "float64", "max_grad_norm": 0.0, "train_sampling_strategy": "sequential", **options}
    data = task_data(task, labelled, unlabelled)
    return DistillationTrainer(
        task_student(task).double(),
        task_teacher(task),
        tiny_arguments(Path(folder), **settings),
        train_dataset=data,
        eval_dataset=data,
        processing_class=tiny_tokenizer(),
    )


def task_gradients(objective: str, per_device_batch: int, accumulation: int) -> dict[str, Any]:
    """Run one optimizer step over the same rows."""
    task, options = OBJECTIVES[objective]
    with tempfile.TemporaryDirectory() as folder:
        sizes = {"per_device_train_batch_size": per_device_batch, "gradient_accumulation_steps": accumulation}
        trainer = _trainer(task, folder, LABELLED, UNLABELLED, max_steps=1, learning_rate=0.0, **sizes, **options)
        recorder = Recorder(trainer)
        trainer.train()
    return {
        "gradients": recorder.steps[0],
        "logs": next(entry for entry in trainer.state.log_history if "loss" in entry),
    }


def balanced(per_device_batch: int, accumulation: int) -> list[dict[str, float]]:
    """Train four steps with balanced losses, the second and the fourth of which have no label; return the logs."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = _trainer(
            "token_classification",
            folder,
            labelled=8,
            unlabelled=8,
            max_steps=4,
            per_device_train_batch_size=per_device_batch,
            gradient_accumulation_steps=accumulation,
            balance_losses=True,
            losses=[{"name": "hidden_state_mse"}],
        )
        trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def task_evaluation(task: str, per_device_batch: int) -> dict[str, float]:
    """Evaluate on seven rows, which two processes with batches of two cannot share evenly."""
    with tempfile.TemporaryDirectory() as folder:
        options = {"per_device_eval_batch_size": per_device_batch, "eval_soft_loss": True}
        return _trainer(task, folder, 5, 2, **options).evaluate()


def _attempt(run: Callable[[], Any]) -> Any:
    try:
        return run()
    except Exception as error:  # so that what fails for one objective hides no result of the others
        return {"error": f"{type(error).__name__}: {error}"}


def main(out: str) -> None:
    """Measure everything at four rows a process, and write the results of the first process."""
    results: dict[str, Any] = {name: _attempt(lambda name=name: task_gradients(name, 4, 1)) for name in OBJECTIVES}
    results["balanced"] = _attempt(lambda: balanced(4, 1))
    results["evaluation"] = {task: _attempt(lambda task=task: task_evaluation(task, 2)) for task in TASKS}
    world_size = torch.distributed.get_world_size()
    assert world_size == 2, f"this must run in two processes, but it runs in {world_size}"
    if torch.distributed.get_rank() == 0:
        torch.save(results, out)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
