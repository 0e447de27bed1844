"""Speed of several models side by side, on the machine at hand.

Timed is the forward pass alone: tokenisation, padding and the copy to the device happen before the clock starts. The
figures compare models; they are not the time a served request takes.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from distilnlp.errors import DistillationError
from distilnlp.evaluation.prediction import Collator, Example, collate_for, evaluation_mode


@dataclass(frozen=True)
class SpeedPlan:
    """How much is measured.

    Attributes:
        texts: forward passes of one text each, for the latency.
        batches: forward passes of one batch each, for the throughput.
        batch_size: texts in such a batch.
        warmup: untimed forward passes before each timed one, on the same inputs.
        max_seconds: per model, half of it for each kind; large models on slow machines get fewer passes, at least one.
    """

    texts: int = 60
    batches: int = 5
    batch_size: int = 32
    warmup: int = 1
    max_seconds: float = 15.0


@dataclass(frozen=True)
class Speed:
    """Latency of a single text in milliseconds (median and 95th percentile); texts per second in batches (median)."""

    latency_ms_median: float
    latency_ms_p95: float
    throughput_per_second: float


DEFAULT_PLAN = SpeedPlan()


def measure_speed(
    models: Mapping[str, PreTrainedModel],
    examples: Sequence[Example],
    collator: Collator,
    plan: SpeedPlan = DEFAULT_PLAN,
) -> dict[str, Speed]:
    """Time the forward passes of models in turns, each on its own device.

    The models take turns within every text and every batch, so that a noisy machine slows all of them alike. Texts
    have their real lengths and are spread evenly over the examples; few examples are used again. Each timed pass comes
    right after an untimed one of its model: without it, a small model pays for the caches that a large one has emptied
    (25% to 50% of the latency of a small BERT after BERT-base, on two CPU cores).

    Args:
        models: name to model.
        examples: tokenised and unpadded rows with `input_ids`.
        collator: pads a list of rows into a batch of tensors.
        plan: how much is measured.

    Raises:
        DistillationError: there are no rows, or the plan measures nothing.
    """
    if not len(examples) or min(plan.texts, plan.batches, plan.batch_size) < 1:
        raise DistillationError(
            f"expected rows to time and at least 1 text, batch and batch size, but got {len(examples)} rows and "
            f"{plan}. Pass rows, or leave the speed out of the evaluation."
        )
    singles = [[example] for example in _spread(examples, plan.texts)]
    chosen = _spread(examples, plan.batches * plan.batch_size)
    batches = [chosen[start :: plan.batches] for start in range(plan.batches)]  # each from all over the examples
    with evaluation_mode(*models.values()):
        latencies = _seconds_in_turns(models, singles, collator, plan)
        durations = _seconds_in_turns(models, batches, collator, plan)
    return {name: _summarise(latencies[name], durations[name], plan.batch_size) for name in models}


def _spread(examples: Sequence[Example], count: int) -> list[Example]:
    """Pick `count` examples at even distances; more than there are repeats some."""
    return [examples[index * len(examples) // count] for index in range(count)]


def _seconds_in_turns(
    models: Mapping[str, PreTrainedModel], batches: Sequence[list[Example]], collator: Collator, plan: SpeedPlan
) -> dict[str, list[float]]:
    """Return each model's seconds per batch, equally many for each model."""
    inputs = {name: [collate_for(model, batch, collator) for batch in batches] for name, model in models.items()}
    deadline = time.perf_counter() + len(models) * plan.max_seconds / 2
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(len(batches)):
        for name, model in models.items():
            seconds[name].append(_seconds_of(model, inputs[name][turn], plan.warmup))
        if time.perf_counter() > deadline:
            break
    return seconds


def _seconds_of(model: PreTrainedModel, inputs: dict[str, Tensor], warmup: int) -> float:
    """Time one forward pass, from an idle device to an idle device, after untimed ones."""
    for _ in range(warmup):
        model(**inputs)
    _wait_for(model.device)
    start = time.perf_counter()
    model(**inputs)
    _wait_for(model.device)
    return time.perf_counter() - start


def _wait_for(device: torch.device) -> None:
    """Wait for the work queued on an accelerator: a forward pass there returns before it is done."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _summarise(latencies: Sequence[float], durations: Sequence[float], batch_size: int) -> Speed:
    return Speed(
        latency_ms_median=float(1000 * np.median(latencies)),
        latency_ms_p95=float(1000 * np.percentile(latencies, 95)),
        throughput_per_second=float(batch_size / np.median(durations)),
    )
