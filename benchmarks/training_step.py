"""One training step of `DistillationTrainer` against a bare PyTorch loop that does the same work.

python -m benchmarks.training_step --steps 60
python -m benchmarks.training_step --teacher 12x768 --student 6x768 --steps 60    # sizes for a GPU

The two take turns step by step in one process, so that a noisy machine hits both alike; the figure is the median of the
ratios of neighbouring steps. Both load and pad batches, run the teacher and the student, compute hard and soft loss, go
backward, clip, step AdamW (fused) and the schedule. Models have random weights, rows are random tokens of ragged
length.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from datasets import Dataset
from torch.utils.data import DataLoader
from transformers import BertConfig, BertForSequenceClassification, TrainerCallback, get_linear_schedule_with_warmup

from benchmarks.machine import device, now
from distilnlp import DistillationTrainer, DistillationTrainingArguments
from distilnlp.models.running import bf16_is_fast

LABELS, VOCABULARY, TEMPERATURE = 5, 30522, 2.0


def make_model(shape: str, seed: int, dropout: float = 0.1) -> BertForSequenceClassification:
    layers, width = (int(part) for part in shape.split("x"))
    torch.manual_seed(seed)
    config = BertConfig(
        num_hidden_layers=layers,
        hidden_size=width,
        num_attention_heads=12 if width % 12 == 0 else width // 32,
        intermediate_size=4 * width,
        vocab_size=VOCABULARY,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        num_labels=LABELS,  # type: ignore[call-arg]  # of the base class, which takes it in **kwargs
    )
    model = BertForSequenceClassification(config)
    torch.nn.init.normal_(model.classifier.bias, std=0.1)  # a head whose biases are all zero counts as untrained
    return model


def make_rows(count: int, longest: int, shortest: int = 0) -> Dataset:
    """Return rows of random tokens; the shortest has a quarter of the longest if nothing else is said."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(shortest or longest // 4, longest + 1, (count,), generator=generator).tolist()
    ids = [torch.randint(1000, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]
    return Dataset.from_dict({"input_ids": ids, "label": [row % LABELS for row in range(count)]})


def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row["input_ids"]) for row in rows], batch_first=True)
    labels = torch.tensor([row["label"] for row in rows])
    return {"input_ids": ids, "attention_mask": (ids != 0).long(), "labels": labels}


class BareLoop:
    """The same work, written out."""

    def __init__(self, student: Any, teacher: Any, rows: Dataset, options: argparse.Namespace) -> None:
        self.device = device()
        self.student = student.to(self.device).train()
        self.teacher = teacher.to(self.device, torch.bfloat16 if options.bf16 else torch.float32).eval()
        self.batches = self._endless(DataLoader(rows, options.batch_size, shuffle=True, collate_fn=collate))
        self.optimizer = torch.optim.AdamW(self.student.parameters(), lr=5e-5, weight_decay=0.0, fused=True)
        self.schedule = get_linear_schedule_with_warmup(self.optimizer, 0, options.steps)
        self.bf16 = options.bf16

    @staticmethod
    def _endless(loader: DataLoader) -> Iterator[dict[str, torch.Tensor]]:
        while True:
            yield from loader

    def step(self) -> None:
        batch = {name: tensor.to(self.device) for name, tensor in next(self.batches).items()}
        labels = batch.pop("labels")
        with torch.no_grad():
            wanted = self.teacher(**batch).logits.float()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            logits = self.student(**batch).logits
        logits = logits.float()
        hard = F.cross_entropy(logits, labels)
        student, teacher = F.log_softmax(logits / TEMPERATURE, -1), F.softmax(wanted / TEMPERATURE, -1)
        soft = F.kl_div(student, teacher, reduction="batchmean") * TEMPERATURE**2
        (0.5 * hard + soft).backward()
        torch.nn.utils.clip_grad_norm_(self.student.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.optimizer.zero_grad()


class TakeTurns(TrainerCallback):
    """After every step of the trainer, times one step of the other side."""

    def __init__(self, other: Callable[[], None]) -> None:
        self.other = other
        self.ratios: list[float] = []
        self.seconds: list[float] = []
        self._since: float | None = None

    def on_step_end(self, *_: Any, **__: Any) -> None:
        trainer = self._elapsed()
        self._since = now()
        self.other()
        other = self._elapsed()
        if trainer is not None and other is not None:
            self.ratios.append(trainer / other)
            self.seconds.append(other)
        self._since = now()

    def _elapsed(self) -> float | None:
        return None if self._since is None else now() - self._since


def measure(options: argparse.Namespace) -> TakeTurns:
    rows = make_rows(options.batch_size * options.steps, options.length)
    teacher = make_model(options.teacher, seed=0)
    bare = BareLoop(make_model(options.student, seed=1), make_model(options.teacher, seed=0), rows, options)
    turns = TakeTurns(bare.step)
    with tempfile.TemporaryDirectory() as folder:
        args = DistillationTrainingArguments(
            output_dir=folder,
            max_steps=options.steps,
            per_device_train_batch_size=options.batch_size,
            temperature=TEMPERATURE,
            bf16=options.bf16,
            teacher_dtype="bfloat16" if options.bf16 else "float32",
            teacher_cache="off",
            use_cpu=not torch.accelerator.is_available(),
            save_strategy="no",
            logging_steps=50,
            disable_tqdm=True,
        )
        student = make_model(options.student, seed=1)
        DistillationTrainer(student, teacher, args, collate, rows, callbacks=[turns]).train()
    return turns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="6x384", help="layers x width")
    parser.add_argument("--student", default="3x384", help="layers x width")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--length", type=int, default=128, help="longest row in tokens; the shortest has a quarter")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--warmup", type=int, default=5, help="first steps that do not count")
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=bf16_is_fast())
    options = parser.parse_args()
    turns = measure(options)
    ratios, seconds = turns.ratios[options.warmup :], turns.seconds[options.warmup :]
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(f"teacher {options.teacher}, student {options.student}, batch {options.batch_size} x {options.length} tokens")
    print(f"bf16 {options.bf16}, torch {torch.__version__}, {torch.get_num_threads()} threads, {len(ratios)} pairs")
    print(f"bare step {statistics.median(seconds) * 1000:.0f} ms; trainer / bare: median {middle:.3f}", end=" ")
    print(f"(quartiles {low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
