"""Write a cache and train from it, in one process or in two as a script.

ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes 2 -m tests.distributed_cache OUT

leaves the cache in the folder OUT.cache, and the student's weights after training from it in OUT.
"""

import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from distilnlp import DistillationTrainer
from tests.conftest import tiny_arguments
from tests.tiny import tiny_tokenizer
from tests.tiny_tasks import task_data, task_student, task_teacher

TASK = "single_label_classification"


def train_from(cache: Path, processes: int) -> dict[str, Tensor]:
    """Return the student's weights after a training that wrote the cache or found it."""
    with tempfile.TemporaryDirectory() as folder:
        options = {"per_device_train_batch_size": 16 // processes, "num_train_epochs": 2, "max_steps": -1}
        kept = {"teacher_cache": str(cache), "teacher_cache_dtype": "float32"}
        options |= {"optim": "sgd", "learning_rate": 0.1}  # Adam makes much of what is rounding alone
        trainer = DistillationTrainer(
            task_student(TASK),
            task_teacher(TASK),
            tiny_arguments(Path(folder), **options, **kept),
            train_dataset=task_data(TASK, 160, 160),  # whole batches on one process and on two
            processing_class=tiny_tokenizer(),
        )
        trainer.train()
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


if __name__ == "__main__":
    out = Path(sys.argv[1])
    weights = train_from(out.with_suffix(".cache"), 2)
    if torch.distributed.get_rank() == 0:
        torch.save(weights, out)
