"""The speed-up that `estimate_cost` predicts against the one that is measured, for BERTs of many shapes.

python -m benchmarks.student_cost --turns 7
python -m benchmarks.student_cost --length 512 --batch-size 2

The models have random weights and take turns, one forward pass each on a batch without padding, right after an untimed
pass of their own; the figure is the median over the turns of the reference's seconds over the model's. On a CPU one
thread runs and its CPU seconds are counted, which other processes disturb little; an accelerator is timed by the clock.
"""

import argparse
import statistics
import time
from collections.abc import Mapping

import torch
from transformers import BertConfig, BertForSequenceClassification

from benchmarks import machine
from distilnlp.students import estimate_cost

VOCABULARY = 30522
SHAPES = ("6x768", "3x768", "6x384", "3x384", "1x384", "4x312", "4x256", "2x128")


def make_model(shape: str) -> BertForSequenceClassification:
    layers, width = (int(part) for part in shape.split("x"))
    config = BertConfig(
        num_hidden_layers=layers,
        hidden_size=width,
        num_attention_heads=width // 64 if width % 12 else 12,
        intermediate_size=4 * width,
        vocab_size=VOCABULARY,
    )
    torch.manual_seed(0)
    return BertForSequenceClassification(config).eval()


def now(device: torch.device) -> float:
    if device.type == "cpu":
        return time.process_time()
    torch.accelerator.synchronize()
    return time.perf_counter()


def seconds_of(model: BertForSequenceClassification, input_ids: torch.Tensor) -> float:
    mask = torch.ones_like(input_ids)
    model(input_ids=input_ids, attention_mask=mask)
    start = now(input_ids.device)
    model(input_ids=input_ids, attention_mask=mask)
    return now(input_ids.device) - start


def measure(
    models: Mapping[str, BertForSequenceClassification], reference: str, options: argparse.Namespace
) -> dict[str, list[float]]:
    """Return the speed-ups of each model over the reference, one a turn."""
    device = machine.device()
    for model in models.values():
        model.to(device, getattr(torch, options.dtype))
    input_ids = torch.randint(1000, VOCABULARY, (options.batch_size, options.length), device=device)
    ratios: dict[str, list[float]] = {name: [] for name in models}
    with torch.inference_mode():
        for _ in range(options.turns):
            seconds = {name: seconds_of(model, input_ids) for name, model in models.items()}
            for name, own in seconds.items():
                ratios[name].append(seconds[reference] / own)
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", default="12x768", help="layers x width")
    parser.add_argument("--shapes", nargs="+", default=SHAPES, help="layers x width of each model")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--length", type=int, default=128, help="tokens in each text")
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    torch.set_num_threads(1)
    models = {shape: make_model(shape) for shape in (options.reference, *options.shapes)}
    ratios = measure(models, options.reference, options)
    print(f"{options.dtype}, batch {options.batch_size} x {options.length} tokens, torch {torch.__version__}")
    print("model     by FLOPs  predicted  measured (quartiles)  predicted / measured")
    for shape in options.shapes:
        cost = estimate_cost(models[shape], models[options.reference], length=options.length)
        by_flops = cost.reference.flops_per_token / cost.flops_per_token
        low, measured, high = statistics.quantiles(ratios[shape], n=4)
        print(f"{shape:8}  {by_flops:8.1f}  {cost.speed_up:9.1f}  {measured:8.1f}", end=" ")
        print(f"({low:.1f} to {high:.1f})  {cost.speed_up / measured:.2f}")


if __name__ == "__main__":
    main()
