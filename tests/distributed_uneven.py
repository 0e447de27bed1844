"""Trainings whose rows two processes cannot share evenly: in one process for tests, or in two as a script.

    ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes 2 -m tests.distributed_uneven OUT

writes the weights that every training ends with to the file OUT.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, IterableDataset
from torch import Tensor

from distilnlp import DistillationTrainer
from tests.conftest import tiny_arguments
from tests.tiny import tiny_tokenizer
from tests.tiny_tasks import task_data, task_student, task_teacher

RELATIONS = [{"name": "rkd_distance"}, {"name": "similarity_preserving", "weight": 20.0}]
# By name: the task, rows, rows a process and micro-batch, further arguments.
TRAININGS: dict[str, tuple[str, int, int, dict[str, Any]]] = {
    "44 rows": ("single_label_classification", 44, 8, {}),
    "none left for one process": ("token_classification", 20, 4, {"losses": [{"name": "hidden_state_mse"}]}),
    "fewer rows than processes": ("masked_lm", 1, 4, {}),
    "accumulation": ("question_answering", 19, 2, {"gradient_accumulation_steps": 3}),
    "rows of like length": ("regression", 21, 4, {"train_sampling_strategy": "group_by_length"}),
    "relations among texts": ("multiple_choice", 11, 4, {"losses": RELATIONS}),
    "relations among items": ("token_classification", 13, 4, {"losses": [{"name": "dist"}]}),
    "balanced": ("multi_label_classification", 11, 4, {"balance_losses": True}),
    "a stream": ("single_label_classification", 19, 4, {"max_steps": 6}),
    "a stream, dispatched rows": ("single_label_classification", 13, 4, {"max_steps": 4}),
    "kept answers": ("single_label_classification", 22, 4, {"teacher_cache_dtype": "float32"}),
}


def _rows(name: str, task: str, count: int) -> Dataset | IterableDataset:
    rows = task_data(task, count // 2 + 1, count - count // 2 - 1)
    if not name.startswith("a stream"):
        return rows
    columns = ["input_ids", "attention_mask", "token_type_ids"]  # accelerate dispatches batches of one length alone
    padded = rows.map(lambda row: {column: (row[column] + [0] * 16)[:16] for column in columns})
    return padded.to_iterable_dataset()


def weights_after(name: str, processes: int, cache: Path) -> dict[str, Tensor]:
    """Return the student's weights after two epochs, the same micro-batches being spread over so many processes.

    The folder `cache` is for the answers that are kept.
    """
    task, count, rows, options = TRAININGS[name]
    steps = options.get("gradient_accumulation_steps", 1) * 2 // processes
    if name.startswith("a stream") and processes == 1:  # the Trainer takes no step for what is left of a stream
        rows, steps = 2 * rows, 1
    with tempfile.TemporaryDirectory() as folder:
        defaults = {"num_train_epochs": 2, "max_steps": -1, "optim": "sgd", "learning_rate": 0.1}
        if name == "kept answers":
            defaults["teacher_cache"] = str(cache)
        sizes = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": steps}
        precision = {"teacher_dtype": "float64", "max_grad_norm": 0.0}
        trainer = DistillationTrainer(
            task_student(task).double(),
            task_teacher(task),
            tiny_arguments(Path(folder), **{**defaults, **precision, **options, **sizes}),
            train_dataset=_rows(name, task, count),
            processing_class=tiny_tokenizer(),
        )
        trainer.train()
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def main(out: str) -> None:
    """Train everything, and write the weights of the first process."""
    results = {}
    for name in TRAININGS:
        try:
            results[name] = weights_after(name, 2, Path(out).with_suffix(".cache"))
        except Exception as error:  # so that one that fails hides no result of the others
            results[name] = {"error": f"{type(error).__name__}: {error}"}
    if torch.distributed.get_rank() == 0:
        torch.save(results, out)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1])
