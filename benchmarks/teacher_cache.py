"""What it saves to ask the teacher once: steps, whole trainings, the writing.

python -m benchmarks.teacher_cache training --rows 256 --turns 9                     # from a cache / plain fine-tuning
python -m benchmarks.teacher_cache write --rows 512 --turns 7                        # writing / the bare forward pass
python -m benchmarks.teacher_cache epochs --rows 512 --student 6x768                 # live / cached, writing counted in
python -m benchmarks.teacher_cache naive --rows 512 --student 4x312                  # the naive way / the defaults
python -m benchmarks.teacher_cache epochs --rows 64 --epochs 10 --timed-epochs 10    # nothing extrapolated

The two sides take turns in one process, so that a noisy machine hits both alike; the figure is the median of the ratios
of neighbours. Models have random weights; making them is not timed, for both sides load theirs.

A training costs its start (the constructors, the teacher's copy in its dtype, its fingerprint, the writing of the
cache) and its epochs, which are alike: every training here has --timed-epochs of them, and the whole one of --epochs is
start + epochs x (seconds of one). Every turn writes a cache anew.

`epochs` also takes the bare forward pass of the teacher and plain fine-tuning of the student in turns with these: what
the machine allows is E·(T + S) / (T + E·S) for E epochs of T and S seconds. The more a student's real step costs beyond
its matrix products (dropout, small matrices), the less a cache can save; --dropout 0 and --no-bf16 show by how much.

`training`: rows of --length tokens. `write`, `epochs`: random tokens, ragged lengths, a quarter to the whole of
--length. `naive`: rows as long as real sentences (the customer reviews of benchmarks/task_data.py); the naive way has a
live teacher, pads to --length and computes in fp32, with the same optimizer.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from datasets import Dataset
from transformers import Trainer, TrainerCallback, TrainingArguments

from benchmarks import task_data
from benchmarks.machine import described, device, now
from benchmarks.training_step import LABELS, VOCABULARY, collate, make_model, make_rows
from distilnlp import CachedTeacher, DistillationTrainer, DistillationTrainingArguments, LiveTeacher
from distilnlp.answers import CacheSettings, CacheWriter
from distilnlp.models.running import bf16_is_fast
from distilnlp.signals import SignalRequest
from distilnlp.tasks import SINGLE_LABEL_CLASSIFICATION
from distilnlp.tasks.collators import RowCollator, class_ids


@dataclass(frozen=True)
class Times:
    """Seconds: of all that comes once, and of one epoch."""

    start: float
    epoch: float = 0.0

    def whole(self, epochs: int) -> float:
        return self.start + epochs * self.epoch


Side = Callable[[Dataset], Times]
Turn = list[Times]


class Clock(TrainerCallback):
    """Adds up the seconds between the first batch of each epoch and its last step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self.since = now()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(now() - self.since)

    def time(self, run: Callable[[], Any]) -> Times:
        """Return what a training took, its start apart from its epochs."""
        start = now()
        run()
        return Times(now() - start - sum(self.seconds), statistics.mean(self.seconds))


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


def real_lengths(count: int, longest: int) -> Dataset:
    """Rows as long as real sentences, at about 1.3 pieces a word and two special tokens."""
    texts = task_data.cr()["train"]["text"][:]
    lengths = [min(2 + round(1.3 * len(text.split())), longest) for text in texts[:count]]
    generator = torch.Generator().manual_seed(0)
    ids = [torch.randint(1000, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]
    return Dataset.from_dict({"input_ids": ids, "label": [row % LABELS for row in range(len(ids))], "length": lengths})


# ---- What is timed ----


def arguments(folder: str, options: argparse.Namespace, **values: Any) -> dict[str, Any]:
    return {
        "output_dir": folder,
        "per_device_train_batch_size": options.batch_size,
        "per_device_eval_batch_size": options.batch_size,
        "num_train_epochs": options.timed_epochs,
        "bf16": options.bf16,
        "use_cpu": not torch.accelerator.is_available(),
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        **values,
    }


def distil(options: argparse.Namespace, teacher: Any, rows: Dataset, length: int = 0, **values: Any) -> Times:
    """A training from models in memory to its end; padding to the longest of a batch, or to one length."""
    student, clock = make_model(options.student, seed=1, dropout=options.dropout), Clock()
    with tempfile.TemporaryDirectory() as folder:
        kept = {"teacher_cache": f"{folder}/answers", **values}  # by name: the collator here is none that is known
        args = DistillationTrainingArguments(**arguments(folder, options, **kept))
        collator = Padded(length)
        return clock.time(
            lambda: DistillationTrainer(student, teacher, args, collator, rows, callbacks=[clock]).train()
        )


def distil_from(options: argparse.Namespace, folder: str, rows: Dataset) -> Times:
    """A training from a cache that is there; opening it is part of the start."""
    student, clock = make_model(options.student, seed=1, dropout=options.dropout), Clock()
    with tempfile.TemporaryDirectory() as output:
        args = DistillationTrainingArguments(**arguments(output, options))

        def run() -> None:
            DistillationTrainer(student, CachedTeacher(folder), args, Padded(), rows, callbacks=[clock]).train()

        return clock.time(run)


def finetune(options: argparse.Namespace, rows: Dataset) -> Times:
    """A training of the same student by `Trainer`, on the labels."""
    student, clock = make_model(options.student, seed=1, dropout=options.dropout), Clock()
    with tempfile.TemporaryDirectory() as folder:
        args = TrainingArguments(**arguments(folder, options))
        return clock.time(lambda: Trainer(student, args, Padded(), rows, callbacks=[clock]).train())


def write(options: argparse.Namespace, folder: str, teacher: LiveTeacher, rows: Dataset) -> None:
    settings = CacheSettings(batch_size=options.batch_size)
    plain = rows.select_columns(["input_ids"])
    task, request, identity = SINGLE_LABEL_CLASSIFICATION, SignalRequest(), {"teacher": "random"}
    CacheWriter(folder, plain, Padded(), task, teacher, request, identity, settings).write()


def timed_write(options: argparse.Namespace, teacher: LiveTeacher, rows: Dataset) -> Times:
    with tempfile.TemporaryDirectory() as folder:
        start = now()
        write(options, folder, teacher, rows)
        return Times(now() - start)


def timed_forward(options: argparse.Namespace, teacher: LiveTeacher, rows: Dataset) -> Times:
    batches = shard_batches(rows, options.batch_size)
    start = now()
    for batch in batches:
        teacher(batch, SignalRequest())
    return Times(now() - start)


def timed_forward_in_order(options: argparse.Namespace, teacher: LiveTeacher, rows: Dataset) -> Times:
    """The forward pass alone, of batches that are as ragged as those of a training."""
    starts = range(0, len(rows), options.batch_size)
    batches = [Padded()(list(rows.select(range(s, min(s + options.batch_size, len(rows)))))) for s in starts]
    start = now()
    for batch in batches:
        teacher({name: value for name, value in batch.items() if name != "labels"}, SignalRequest())
    return Times(now() - start)


def shard_batches(rows: Dataset, batch_size: int) -> list[dict[str, torch.Tensor]]:
    """The batches that the writer makes: of like length, within its shards."""
    batches, size = [], max(128, -(-len(rows) // 64))
    for start in range(0, len(rows), size):
        shard = sorted((row for row in rows.select(range(start, min(start + size, len(rows))))), key=len_of)
        batches += [Padded()(shard[first : first + batch_size]) for first in range(0, len(shard), batch_size)]
    return [{name: value for name, value in batch.items() if name != "labels"} for batch in batches]


def len_of(row: dict[str, Any]) -> int:
    return len(row["input_ids"])


# ---- The four comparisons ----


def compare_training(options: argparse.Namespace) -> list[Turn]:
    rows = make_rows(options.rows, options.length, options.length)
    with tempfile.TemporaryDirectory() as folder:
        write(options, folder, live_teacher(options), rows)
        return take_turns([partial(distil_from, options, folder), partial(finetune, options)], rows, options)


def compare_writing(options: argparse.Namespace) -> list[Turn]:
    teacher = live_teacher(options)
    start = now()
    assert teacher.fingerprint
    print(f"the fingerprint of the teacher, once a training: {now() - start:.2f} s")
    sides: list[Side] = [partial(timed_write, options, teacher), partial(timed_forward, options, teacher)]
    return take_turns(sides, make_rows(options.rows, options.length), options)


def compare_epochs(options: argparse.Namespace) -> list[Turn]:
    teacher = make_model(options.teacher, seed=0)
    dtype: dict[str, Any] = {"teacher_dtype": "auto" if options.bf16 else "float32"}
    sides: list[Side] = [
        partial(distil, options, teacher, teacher_cache="off", **dtype),
        partial(distil, options, teacher, **dtype),
        partial(finetune, options),
        partial(timed_forward_in_order, options, live_teacher(options)),
    ]
    turns = take_turns(sides, make_rows(options.rows, options.length), options)
    for name, epochs in ((f"{options.epochs} epochs", options.epochs), ("any number", 0)):
        print(f"what the machine allows, {name}: {spread([allowed(turn[2], turn[3], epochs) for turn in turns])}")
    return [turn[:2] for turn in turns]


def allowed(plain: Times, forward: Times, epochs: int) -> float:
    """Live over cached if both cost the bare steps alone; 0 = without the one pass that writes the cache."""
    once = forward.start / epochs if epochs else 0.0
    return (forward.start + plain.epoch) / (once + plain.epoch)


def compare_naive(options: argparse.Namespace) -> list[Turn]:
    teacher = make_model(options.teacher, seed=0)
    plain: dict[str, Any] = {"bf16": False, "teacher_dtype": "float32", "teacher_cache": "off"}
    ours: dict[str, Any] = {"train_sampling_strategy": "group_by_length"}
    naive = partial(distil, options, teacher, length=options.length, **plain)
    sides: list[Side] = [naive, partial(distil, options, teacher, **ours)]
    return take_turns(sides, real_lengths(options.rows, options.length), options)


def live_teacher(options: argparse.Namespace) -> LiveTeacher:
    teacher = LiveTeacher(make_model(options.teacher, seed=0), "auto" if options.bf16 else "float32")
    teacher.to(device())
    return teacher


def take_turns(sides: list[Side], rows: Dataset, options: argparse.Namespace) -> list[Turn]:
    """Run the sides one after the other, as often as is asked for; two batches of each warm up."""
    few = rows.select(range(min(len(rows), 2 * options.batch_size)))
    start = now()
    for side in sides:
        side(few)
    to_come = (now() - start) * options.turns * len(rows) / len(few)
    print(f"warmed up in {now() - start:.0f} s; {to_come:.0f} s to come at most", flush=True)
    return [[side(rows) for side in sides] for _ in range(options.turns)]


# ---- The figures ----

COMPARISONS: dict[str, tuple[Callable[[argparse.Namespace], list[Turn]], tuple[str, str]]] = {
    "training": (compare_training, ("from a cache", "plain fine-tuning")),
    "write": (compare_writing, ("writing", "forward pass")),
    "epochs": (compare_epochs, ("live", "cached")),
    "naive": (compare_naive, ("naive", "defaults")),
}


def report(names: tuple[str, str], turns: list[Turn], options: argparse.Namespace) -> None:
    for side, name in enumerate(names):
        start, epoch = (statistics.median(getattr(turn[side], part) for turn in turns) for part in ("start", "epoch"))
        print(f"{name}: {start:.2f} s" + (f" to start, {epoch:.2f} s an epoch" if epoch else ""))
    if turns[0][0].epoch:
        print(f"an epoch, {' / '.join(names)}: {spread([first.epoch / second.epoch for first, second in turns])}")
    whole = [first.whole(options.epochs) / second.whole(options.epochs) for first, second in turns]
    what = f"{options.teacher} | {options.student} | {options.rows} | {options.epochs}"
    print(f"\n| comparison | teacher | student | rows | epochs | {' / '.join(names)} |\n|---|---|---|---|---|---|")
    print(f"| {options.comparison} | {what} | {spread(whole)} |")


def spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.3f} ({len(ratios)} turns, {min(ratios):.3f} to {max(ratios):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", choices=COMPARISONS)
    parser.add_argument("--teacher", default="12x768", help="layers x width")
    parser.add_argument("--student", default="4x312", help="layers x width")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=10, help="of the whole training")
    parser.add_argument("--timed-epochs", type=int, default=1, help="that each timed training has")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--dropout", type=float, default=0.1, help="of the student")
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=bf16_is_fast())
    options = parser.parse_args()
    compare, names = COMPARISONS[options.comparison]
    print(f"{described()}\n{vars(options)}")
    report(names, compare(options), options)


if __name__ == "__main__":
    main()
