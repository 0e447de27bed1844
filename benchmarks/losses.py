"""What each loss costs: time and memory of a training step with it, against the step with the logits alone.

python -m benchmarks.losses --turns 8
python -m benchmarks.losses --teacher 12x768 --student 6x768 --turns 30     # sizes for a GPU

Every step runs the teacher, the student, the objective, the backward pass and AdamW on 32 full rows of 128 tokens. The
losses take turns in one process, each step beside one of the logits alone; the figure is the median of their ratios.
Memory is the peak of a process of its own that takes three steps (on a GPU: what torch has allocated), as a ratio too.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from transformers import BertForSequenceClassification

from benchmarks import machine
from benchmarks.training_step import LABELS, VOCABULARY, make_model
from distilnlp import DistillationTrainingArguments, LiveTeacher
from distilnlp.objective import LOSSES
from distilnlp.tasks import profile_of, task_of
from distilnlp.training.trained import Trained

ROWS, LENGTH = 32, 128
LOGITS = "logits alone"


class Step:
    """A student, its optimizer and an objective; each call is one training step."""

    def __init__(self, loss: str, teacher: LiveTeacher, shape: str, device: torch.device) -> None:
        losses = [] if loss == LOGITS else [{"name": loss}]
        self.teacher, self.student = teacher, make_model(shape, seed=1).to(device).train()
        task = task_of(self.student)
        args = DistillationTrainingArguments(
            "out/losses", losses=losses, use_cpu=device.type == "cpu", report_to="none"
        )
        self.objective = args.build_objective(task, profile_of(self.student), teacher.profile)
        self.optimizer = torch.optim.AdamW(self.student.parameters(), fused=True)
        self.device, self.trained = device, Trained(self.student, task, self.objective)

    def __call__(self, batch: dict[str, torch.Tensor]) -> float:
        """Take a step and return its seconds."""
        with self.trained.ready():
            start = self._now()
            teacher = self.teacher(batch, self.objective.teacher_request)
            with torch.autocast(self.device.type, torch.bfloat16):
                signals, _ = self.trained.signals(self.trained, batch, is_training=True)
            self.objective.total(self.objective(signals, teacher, batch)).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
            return self._now() - start

    def _now(self) -> float:
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)
        return time.perf_counter()


def make_batch(device: torch.device) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, VOCABULARY, (ROWS, LENGTH), generator=generator).to(device)
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": torch.arange(ROWS, device=device) % LABELS,
    }


def make_teacher(shape: str, device: torch.device) -> LiveTeacher:
    model: BertForSequenceClassification = make_model(shape, seed=0)
    teacher = LiveTeacher(model, "auto")
    teacher.to(device)
    return teacher


def peak_memory(loss: str, args: Any, device: torch.device) -> float:
    """Return the peak of this process in GB after three steps."""
    step, batch = Step(loss, make_teacher(args.teacher, device), args.student, device), make_batch(device)
    for _ in range(3):
        step(batch)
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    # Not getrusage: its peak includes that of the process that started this one.
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 1e6


def memory_of(loss: str, args: Any) -> float:
    command = [sys.executable, "-m", "benchmarks.losses", "--teacher", args.teacher, "--student", args.student]
    done = subprocess.run([*command, "--memory-of", loss], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default="6x384", help="layers x width")
    parser.add_argument("--student", default="3x384")
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--losses", nargs="+", choices=LOSSES, default=list(LOSSES))
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    args = parser.parse_args()
    device = machine.device()
    if args.memory_of:
        print(peak_memory(args.memory_of, args, device))
        return
    batch = make_batch(device)
    # Each its own teacher: one whose attention maps are read stays with eager attention.
    steps = {
        loss: Step(loss, make_teacher(args.teacher, device), args.student, device) for loss in [LOGITS, *args.losses]
    }
    for step in steps.values():
        step(batch)
    base_memory = memory_of(LOGITS, args)
    print(
        f"logits alone: {steps[LOGITS](batch):.3f} s, {base_memory:.2f} GB\n\n| loss | time | memory |\n|---|---|---|"
    )
    for loss in args.losses:
        ratios = [steps[loss](batch) / steps[LOGITS](batch) for _ in range(args.turns)]
        print(f"| {loss} | {statistics.median(ratios):.2f} | {memory_of(loss, args) / base_memory:.2f} |", flush=True)


if __name__ == "__main__":
    main()
