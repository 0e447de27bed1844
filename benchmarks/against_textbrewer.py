"""The same distillation with TextBrewer 0.2.1 and with `DistillationTrainer`: seconds and accuracy.

pip install --no-deps --target .cache/textbrewer textbrewer==0.2.1
python -m benchmarks.against_textbrewer --turns 3              # and, in the first turn, what each part brings
python -m benchmarks.against_textbrewer --turns 5 --no-parts --data cr

Both get the same tokenised rows (TREC: 1,000 labelled and 1,000 unlabelled questions; or the customer reviews), batches
padded to their longest row, the same fine-tuned 6-layer MiniLM as teacher, the same --layers of it as student, and the
same epochs, batch size, learning rate, linear schedule with 10% warmup, clipping and seed; each turn has another seed.
Both minimise T² x KL(teacher ‖ student) + 0.5 x hard loss: TextBrewer's `ce` is the cross entropy of the teacher's
probabilities without T², so its weight here is T²; it differs from the KL by a constant. Timed is everything from
models in memory to the saved student, the writing of the cache included; two batches of each side warm up.

TextBrewer is used as in its examples: `GeneralDistiller`, fp32, torch's AdamW, a shuffled data loader, the teacher run
in every epoch. `DistillationTrainer` has the defaults of a recipe: answers cached, rows of like length in one batch,
bf16 where the hardware is fast at it, fused AdamW. The parts: each of these switched off alone, all of them switched
off, and TextBrewer's `BasicDistiller`, which can keep logits in memory, and then the first epoch's batches for all.
"""

import argparse
import importlib.util
import statistics
import sys
import tempfile
import types
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import get_linear_schedule_with_warmup, set_seed
from transformers.utils import logging as transformers_logging

from benchmarks.machine import described, device, now
from benchmarks.tasks import TaskBench
from distilnlp import DistillationTrainer, build_student
from distilnlp.evaluation import evaluate_models
from distilnlp.recipe.defaults import DISTILL_DEFAULTS, build_arguments

TEMPERATURE, HARD_LOSS_WEIGHT, CLIP = 2.0, 0.5, 1.0
UNCACHED: dict[str, Any] = {"teacher_cache": "off"}
FP32: dict[str, Any] = {"bf16": False, "teacher_dtype": "float32"}
SHUFFLED: dict[str, Any] = {"train_sampling_strategy": "random"}
PLAIN_OPTIMIZER: dict[str, Any] = {"optim": "adamw_torch"}

OURS, THEIRS = "distilnlp", "TextBrewer"


@dataclass(frozen=True)
class Result:
    """Of one training."""

    seconds: float
    accuracy: float


Side = Callable[[int], Result]


def import_textbrewer(folder: str) -> Any:
    """Import TextBrewer, from a folder of its own or from the environment."""
    sys.path.append(folder)
    if not any(map(importlib.util.find_spec, ("tensorboardX", "tensorboard"))):
        # It imports a SummaryWriter, and uses it only where `log_dir` is given, which it is not here.
        stub: Any = types.ModuleType("tensorboardX")
        stub.SummaryWriter = None
        sys.modules["tensorboardX"] = stub
    try:
        import textbrewer
    except ImportError as error:
        raise SystemExit(f"{error}. Install it: see the docstring of this script.") from None
    return textbrewer


class Comparison:
    """The rows and models of both sides."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.bench = options, TaskBench(options.data)
        self.teacher: Any = self.bench.teacher
        self.teacher.float().to(device())
        self.rows = self.bench.train_rows
        if options.rows:
            self.rows = self.rows.select(range(options.rows))
        self.textbrewer = import_textbrewer(options.textbrewer)

    def student(self, seed: int) -> Any:
        set_seed(seed)
        student: Any = build_student(self.teacher, num_layers=self.options.layers)
        return student.to(device())

    def accuracy(self, student: Any) -> float:
        bench = self.bench
        report = evaluate_models(
            {"model": student.float()},
            bench.test_rows,
            bench.collate,
            task=bench.task.evaluation,
            speed_plan=None,
            resamples=10,
        )
        return float(report["model"]["metrics"]["accuracy"]["value"])

    def ours(self, seed: int, **changes: Any) -> Result:
        student, options = self.student(seed), self.options
        values = {
            **DISTILL_DEFAULTS,
            "num_train_epochs": options.epochs,
            "per_device_train_batch_size": options.batch_size,
            "learning_rate": options.learning_rate,
            "temperature": TEMPERATURE,
            "hard_loss_weight": HARD_LOSS_WEIGHT,
            "max_grad_norm": CLIP,
            "save_strategy": "no",
            "logging_strategy": "no",
            "disable_tqdm": True,
            **changes,
        }
        with tempfile.TemporaryDirectory() as folder:
            start = now()
            args = build_arguments(values, seed, Path(folder))
            trainer = DistillationTrainer(
                student, self.teacher, args, self.bench.collate, self.rows, processing_class=self.bench.tokenizer
            )
            trainer.train()
            trainer.save_model(f"{folder}/student")
            seconds = now() - start
        return Result(seconds, self.accuracy(student))

    def theirs(self, seed: int, distiller: str = "GeneralDistiller", **config: Any) -> Result:
        student, options, textbrewer = self.student(seed), self.options, self.textbrewer
        with tempfile.TemporaryDirectory() as folder:
            start = now()
            train_config = textbrewer.TrainingConfig(
                output_dir=folder, device=device(), ckpt_epoch_frequency=options.epochs
            )
            distill_config = textbrewer.DistillationConfig(
                temperature=TEMPERATURE, kd_loss_weight=TEMPERATURE**2, hard_label_weight=HARD_LOSS_WEIGHT, **config
            )
            loader = DataLoader(self.rows, options.batch_size, shuffle=True, collate_fn=self.bench.collate)
            steps = len(loader) * options.epochs
            optimizer = torch.optim.AdamW(student.parameters(), lr=options.learning_rate, weight_decay=0.0)
            both = getattr(textbrewer, distiller)(train_config, distill_config, self.teacher, student, adaptor, adaptor)
            with both:
                both.train(
                    optimizer,
                    loader,
                    options.epochs,
                    scheduler_class=get_linear_schedule_with_warmup,
                    scheduler_args={"num_warmup_steps": steps // 10, "num_training_steps": steps},
                    max_grad_norm=CLIP,
                )
            seconds = now() - start
        return Result(seconds, self.accuracy(student))

    def warm_up(self) -> None:
        rows, self.rows = self.rows, self.rows.select(range(2 * self.options.batch_size))
        self.theirs(seed=0)
        self.ours(seed=0)
        self.rows = rows

    def parts(self) -> dict[str, Side]:
        everything = {**UNCACHED, **FP32, **SHUFFLED, **PLAIN_OPTIMIZER}
        return {
            f"{OURS}, no cache": partial(self.ours, **UNCACHED),
            f"{OURS}, fp32": partial(self.ours, **FP32),
            f"{OURS}, rows in random order": partial(self.ours, **SHUFFLED),
            f"{OURS}, AdamW not fused": partial(self.ours, **PLAIN_OPTIMIZER),
            f"{OURS}, none of the four": partial(self.ours, **everything),
            f"{THEIRS}, logits kept": partial(self.theirs, distiller="BasicDistiller", is_caching_logits=True),
        }


def adaptor(_batch: Any, outputs: Any) -> dict[str, Any]:
    """What TextBrewer reads of a model's outputs; transformers leaves rows labelled -100 out of the loss."""
    return {"logits": outputs.logits, "losses": outputs.loss}


def take_turns(sides: dict[str, Side], turns: int, first_alone: dict[str, Side]) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = {name: [] for name in (*sides, *first_alone)}
    for seed in range(turns):
        start = now()
        for name, side in sides.items():
            found[name].append(side(seed))
            print(f"seed {seed}, {name}: {found[name][-1]}", flush=True)
        if not seed:
            left = (now() - start) * (turns - 1 + len(first_alone) / len(sides))
            print(f"about {left:.0f} s to come", flush=True)
            for name, side in first_alone.items():
                found[name].append(side(seed))
                print(f"seed {seed}, {name}: {found[name][-1]}", flush=True)
    return found


def report(found: dict[str, list[Result]]) -> None:
    print(f"\n| side | seconds, median | accuracy, % | seconds / {OURS} | turns |\n|---|---|---|---|---|")
    for name, results in found.items():
        seconds = [result.seconds for result in results]
        ratios = [side / ours.seconds for side, ours in zip(seconds, found[OURS], strict=False)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        accuracy = ", ".join(f"{100 * result.accuracy:.1f}" for result in results)
        print(f"| {name} | {statistics.median(seconds):.1f} | {accuracy} | {spread} | {len(results)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--textbrewer", default=".cache/textbrewer", help="folder that it was installed into")
    parser.add_argument("--data", choices=("trec", "cr"), default="trec", help="see benchmarks/tasks.py")
    parser.add_argument("--layers", type=int, default=3, help="of the student; the teacher has 6")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--rows", type=int, default=0, help="train on so many; 0 = all")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--parts", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    transformers_logging.set_verbosity_error()
    print(f"{described()}\n{vars(options)}", flush=True)
    comparison = Comparison(options)
    comparison.warm_up()
    parts = comparison.parts() if options.parts else {}
    report(take_turns({THEIRS: comparison.theirs, OURS: comparison.ours}, options.turns, parts))


if __name__ == "__main__":
    main()
