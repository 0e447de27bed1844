"""What it saves to ask the teacher once: steps, whole trainings, the writing, the size.

python -m benchmarks.teacher_cache training  # from a cache against plain fine-tuning of the same student
python -m benchmarks.teacher_cache write     # writing the cache against the bare forward pass
python -m benchmarks.teacher_cache epochs    # whole trainings, cached (writing counted in) against live
python -m benchmarks.teacher_cache naive     # the defaults against a live teacher, padding to the longest, fp32

The two sides take turns in one process, so that a noisy machine hits both alike; the figure is the median of the ratios
of neighbours. Models have random weights. Rows are random tokens; their lengths are ragged (a quarter to the whole of
--length), or those of real sentences: the customer reviews of benchmarks/task_data.py.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset
from transformers import Trainer, TrainingArguments

from benchmarks import task_data
from benchmarks.training_step import LABELS, VOCABULARY, collate, make_model, make_rows
from distilnlp import CachedTeacher, DistillationTrainer, DistillationTrainingArguments, LiveTeacher
from distilnlp.cache import CacheSettings, CacheWriter
from distilnlp.hardware import bf16_is_fast
from distilnlp.signals import SignalRequest
from distilnlp.tasks import SINGLE_LABEL_CLASSIFICATION
from distilnlp.tasks.collators import RowCollator, class_ids

Sides = tuple[Callable[[], Any], Callable[[], Any]]


class Padded(RowCollator):
    """The task's collator, padding with zeros: to the longest of a batch, or to one length."""

    def __init__(self, length: int = 0) -> None:
        super().__init__(None, class_ids)
        self.length = length

    def _pad(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = collate([{**row, "label": 0} for row in rows])
        del batch["labels"]
        missing = self.length - batch["input_ids"].shape[1]
        if missing <= 0:
            return batch
        return {name: torch.nn.functional.pad(value, (0, missing)) for name, value in batch.items()}


def real_lengths(count: int) -> Dataset:
    """Rows as long as real sentences, at about 1.3 pieces a word and two special tokens."""
    texts = task_data.cr()["train"]["text"][:]
    lengths = [min(2 + round(1.3 * len(text.split())), 128) for text in texts[:count]]
    generator = torch.Generator().manual_seed(0)
    ids = [torch.randint(1000, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]
    return Dataset.from_dict({"input_ids": ids, "label": [row % LABELS for row in range(len(ids))], "length": lengths})


def arguments(folder: str, options: argparse.Namespace, **values: Any) -> dict[str, Any]:
    return {
        "output_dir": folder,
        "per_device_train_batch_size": options.batch_size,
        "per_device_eval_batch_size": options.batch_size,
        "num_train_epochs": options.epochs,
        "bf16": options.bf16,
        "use_cpu": not torch.accelerator.is_available(),
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        **values,
    }


def distil(options: argparse.Namespace, rows: Dataset, teacher: Any = None, length: int = 0, **values: Any) -> None:
    """A training from models in memory to its end; padding to the longest of a batch, or to one length."""
    with tempfile.TemporaryDirectory() as folder:
        kept = {"teacher_cache": f"{folder}/answers", **values}  # by name: the collator here is none that is known
        args = DistillationTrainingArguments(**arguments(folder, options, **kept))
        teacher = teacher or make_model(options.teacher, seed=0)
        DistillationTrainer(make_model(options.student, seed=1), teacher, args, Padded(length), rows).train()


# ---- The four comparisons ----


def compare_training(options: argparse.Namespace) -> list[float]:
    rows = make_rows(options.rows, options.length)
    with tempfile.TemporaryDirectory() as folder:
        write(options, rows, folder)
        return ratios((lambda: distil(options, rows, CachedTeacher(folder)), lambda: finetune(options, rows)), options)


def finetune(options: argparse.Namespace, rows: Dataset) -> None:
    """A training of the same student by `Trainer`, on the labels."""
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(**arguments(folder, options))
        Trainer(make_model(options.student, seed=1), args, Padded(), rows).train()


def write(options: argparse.Namespace, rows: Dataset, folder: str, teacher: Any = None) -> None:
    teacher = teacher or LiveTeacher(make_model(options.teacher, seed=0), "auto")
    settings = CacheSettings(batch_size=options.batch_size)
    plain = rows.select_columns(["input_ids"])
    task, request, identity = SINGLE_LABEL_CLASSIFICATION, SignalRequest(), {"teacher": "random"}
    CacheWriter(folder, plain, Padded(), task, teacher, request, identity, settings).write()


def compare_writing(options: argparse.Namespace) -> list[float]:
    rows = make_rows(options.rows, options.length)
    teacher = LiveTeacher(make_model(options.teacher, seed=0), "auto")
    batches = shard_batches(rows, options.batch_size)

    def forward() -> None:
        for batch in batches:
            teacher(batch, SignalRequest())

    def keep() -> None:
        with tempfile.TemporaryDirectory() as folder:
            write(options, rows, folder, teacher)

    return ratios((keep, forward), options)


def shard_batches(rows: Dataset, batch_size: int) -> list[dict[str, torch.Tensor]]:
    """The batches that the writer makes: of like length, within its shards."""
    batches, size = [], max(128, -(-len(rows) // 64))
    for start in range(0, len(rows), size):
        shard = sorted((row for row in rows.select(range(start, min(start + size, len(rows))))), key=len_of)
        batches += [Padded()(shard[first : first + batch_size]) for first in range(0, len(shard), batch_size)]
    return [{name: value for name, value in batch.items() if name != "labels"} for batch in batches]


def len_of(row: dict[str, Any]) -> int:
    return len(row["input_ids"])


def compare_epochs(options: argparse.Namespace) -> list[float]:
    rows = make_rows(options.rows, options.length)
    return ratios((lambda: distil(options, rows, teacher_cache="off"), lambda: distil(options, rows)), options)


def compare_naive(options: argparse.Namespace) -> list[float]:
    rows = real_lengths(options.rows)
    plain = {"bf16": False, "teacher_dtype": "float32", "teacher_cache": "off"}
    ours = {"train_sampling_strategy": "group_by_length"}
    sides = (lambda: distil(options, rows, length=128, **plain), lambda: distil(options, rows, **ours))
    return ratios(sides, options)


def ratios(sides: Sides, options: argparse.Namespace) -> list[float]:
    """Return the first side's seconds over the second's, turn by turn."""
    seconds = [[timed(side) for side in sides] for _ in range(options.turns + 1)][1:]  # the first turn warms up
    print("seconds", [[round(value, 2) for value in turn] for turn in seconds])
    return [first / second for first, second in seconds]


def timed(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


COMPARISONS = {
    "training": (compare_training, "cached / plain fine-tuning"),
    "write": (compare_writing, "writing / forward pass"),
    "epochs": (compare_epochs, "live / cached"),
    "naive": (compare_naive, "naive / defaults"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", choices=COMPARISONS)
    parser.add_argument("--teacher", default="12x768", help="layers x width")
    parser.add_argument("--student", default="4x312", help="layers x width")
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=bf16_is_fast())
    options = parser.parse_args()
    compare, name = COMPARISONS[options.comparison]
    found = compare(options)
    print(f"{vars(options)}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{name}: median {statistics.median(found):.3f} of {len(found)}, {min(found):.3f} to {max(found):.3f}")


if __name__ == "__main__":
    main()
