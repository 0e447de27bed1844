"""Serving: students of several sizes in ONNX Runtime, fp32 and int8, beside a BERT-base teacher in torch.

python -m benchmarks.serving                   # one thread, texts of 32 tokens
python -m benchmarks.serving --threads 2 --length 128

Random weights, 30,522 pieces, 5 classes. All models take the same batches of token ids, turn and turn about; a figure
is the median over the turns of the throughput, the teacher's is 1. Tokenisation is not counted.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertForSequenceClassification

from benchmarks.machine import described, now
from distilnlp.export import ONNX, export_graph, quantize
from distilnlp.tasks import TASKS

TEACHER = (12, 768, 3072)
STUDENTS = {"6x768": (6, 768, 3072), "6x384": (6, 384, 1536), "4x312": (4, 312, 1200), "2x384": (2, 384, 1536)}
HEADS = 12
TASK = TASKS["single_label_classification"]


class Inputs:
    """What an export asks of a tokenizer: the inputs that there are."""

    model_input_names = ("input_ids", "attention_mask", "token_type_ids")


def model_of(layers: int, width: int, neurons: int) -> BertForSequenceClassification:
    torch.manual_seed(0)
    config = BertConfig(
        num_hidden_layers=layers, hidden_size=width, intermediate_size=neurons, num_attention_heads=HEADS
    )
    config.num_labels = 5
    return BertForSequenceClassification(config).eval()


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--length", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--turns", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    ids = torch.randint(1000, 30_000, (options.batch_size, options.length))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    with tempfile.TemporaryDirectory() as name:
        runs, sizes = models(Path(name), options.threads)
        seconds: dict[str, list[float]] = {run: [] for run in runs}
        for turn in range(options.turns + 1):  # the first one warms up
            for run, model in runs.items():
                start = now()
                with torch.inference_mode():
                    model(**batch)
                if turn:
                    seconds[run].append(now() - start)
    batches = f"batches of {options.batch_size} texts of {options.length} tokens"
    print(f"{described()}; ONNX Runtime on {options.threads} thread(s); {batches}\n")
    print("| model | texts a second | of the teacher's (least to greatest) | MB |\n|---|---|---|---|")
    whole = seconds["12x768, torch"]
    for run, own in seconds.items():
        ratios = [teacher / student for teacher, student in zip(whole, own, strict=True)]
        rate = options.batch_size / statistics.median(own)
        spread = f"{statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f})"
        print(f"| {run} | {rate:,.0f} | {spread} | {sizes[run] / 1e6:.0f} |")


def models(folder: Path, threads: int) -> tuple[dict[str, Callable[..., Any]], dict[str, int]]:
    """Return what is run, by name, and the bytes of its weights."""
    teacher = model_of(*TEACHER)
    runs: dict[str, Callable[..., Any]] = {"12x768, torch": teacher}
    sizes = {"12x768, torch": sum(weight.numel() * 4 for weight in teacher.parameters())}
    for name, shape in STUDENTS.items():
        student, path = model_of(*shape), folder / f"{name}.onnx"
        inputs: Any = Inputs
        names = export_graph(student, inputs, TASK, path, ONNX).inputs
        quantize(
            path, folder / f"{name}.int8.onnx", lambda _: 1.0, 0.99
        )  # random weights: there is nothing to agree on
        for kind, file in (("fp32", path), ("int8", folder / f"{name}.int8.onnx")):
            runs[f"{name}, ONNX {kind}"] = ONNX.load(file, student.config, names, threads)
            sizes[f"{name}, ONNX {kind}"] = file.stat().st_size
    return runs, sizes


if __name__ == "__main__":
    main()
