"""Speed of several models side by side, on the machine at hand.

Timed is the forward pass alone: tokenisation, padding and the copy to the device happen before the clock starts. The
figures compare models; they are not the time a served request takes.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from transformers import PreTrainedModel

from distilnlp.errors import DistillationError
from distilnlp.metrics.prediction import Collator, Example, Rows, collate_for, evaluation_mode, inputs_for, per_model
from distilnlp.models.running import seconds_of


@dataclass(frozen=True)
class SpeedPlan:
    """How much is measured."""

    texts: int = 60  # forward passes of one text each, for the latency
    batches: int = 5  # forward passes of one batch each, for the throughput
    batch_size: int = 32  # texts in such a batch
    warmup: int = 1  # untimed forward passes before each timed one, on the same inputs
    # Per model, half of it for each kind; large models on slow machines get fewer passes, at least one.
    max_seconds: float = 15.0

    @property
    def rows(self) -> int:
        """How many rows a model reads at the most, untimed ones included."""
        return (1 + self.warmup) * (self.texts + self.batches * self.batch_size)


@dataclass(frozen=True)
class Speed:
    """How fast a model is."""

    latency_ms_median: float  # milliseconds of a single text
    latency_ms_p95: float  # 95th percentile
    throughput_per_second: float  # texts a second in batches, median
    batch_size: int  # texts in such a batch


DEFAULT_PLAN = SpeedPlan()


def measure_speed(
    models: Mapping[str, PreTrainedModel],
    examples: Rows | Mapping[str, Rows],
    collator: Collator | Mapping[str, Collator],
    plan: SpeedPlan = DEFAULT_PLAN,
    columns: Sequence[str] = (),
) -> dict[str, Speed]:
    """Time the forward passes of models in turns, each on its own device.

    The models take turns within every text and every batch, so that a noisy machine slows all of them alike. Texts
    have their real lengths and are spread evenly over the examples; few examples are used again. Each timed pass comes
    right after an untimed one of its model: without it, a small model pays for the caches that a large one has emptied
    (25% to 50% of the latency of a small BERT after BERT-base, on two CPU cores).

    Args:
        models: name to model.
        examples: tokenised and unpadded rows with `input_ids`, or those of each model by its name.
        collator: pads a list of rows into a batch of tensors; one, or one for each model by its name.
        plan: how much is measured.
        columns: of the rows that the collator needs beside the inputs of a model.

    Raises:
        DistillationError: there are no rows, or the plan measures nothing.
    """
    rows, collators = per_model(examples, models, "rows"), per_model(collator, models, "a collator")
    fewest = min((len(own) for own in rows.values()), default=0)
    if not fewest or min(plan.texts, plan.batches, plan.batch_size) < 1:
        raise DistillationError(
            f"expected rows to time and at least 1 text, batch and batch size, but got {fewest} rows and "
            f"{plan}. Pass rows, or leave the speed out of the evaluation."
        )

    def inputs_of(name: str, batches: list[list[Example]]) -> list[dict[str, Tensor]]:
        model = models[name]
        return [inputs_for(model, collate_for(model, batch, collators[name], columns)) for batch in batches]

    with evaluation_mode(*models.values()):
        singles = {name: inputs_of(name, [[row] for row in _spread(rows[name], plan.texts)]) for name in models}
        latencies = _seconds_in_turns(models, singles, plan)
        batches = {name: inputs_of(name, _batches(rows[name], plan)) for name in models}
        durations = _seconds_in_turns(models, batches, plan)
    return {
        name: Speed(
            latency_ms_median=float(1000 * np.median(latencies[name])),
            latency_ms_p95=float(1000 * np.percentile(latencies[name], 95)),
            throughput_per_second=float(plan.batch_size / np.median(durations[name])),
            batch_size=plan.batch_size,
        )
        for name in models
    }


def _batches(rows: Rows, plan: SpeedPlan) -> list[list[Example]]:
    chosen = _spread(rows, plan.batches * plan.batch_size)
    return [chosen[start :: plan.batches] for start in range(plan.batches)]  # each from all over the examples


def _spread(examples: Rows, count: int) -> list[Example]:
    """Pick `count` examples at even distances; more than there are repeats some."""
    return [examples[index * len(examples) // count] for index in range(count)]


def _seconds_in_turns(
    models: Mapping[str, PreTrainedModel], inputs: Mapping[str, list[dict[str, Tensor]]], plan: SpeedPlan
) -> dict[str, list[float]]:
    """Return each model's seconds per batch, equally many for each model."""
    deadline = time.perf_counter() + len(models) * plan.max_seconds / 2
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for turn in zip(*inputs.values(), strict=True):
        for (name, model), batch in zip(models.items(), turn, strict=True):
            seconds[name].append(_seconds_of(model, batch, plan.warmup))
        if time.perf_counter() > deadline:
            break
    return seconds


def _seconds_of(model: PreTrainedModel, inputs: dict[str, Tensor], warmup: int) -> float:
    """Time one forward pass, from an idle device to an idle device, after untimed ones."""
    for _ in range(warmup):
        model(**inputs)
    return seconds_of(lambda: model(**inputs), model.device)
