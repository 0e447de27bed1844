"""The evaluation of several models side by side: quality, fidelity, calibration, size and speed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TypedDict

from numpy.typing import NDArray
from transformers import PreTrainedModel

from distilnlp.errors import DistillationError, did_you_mean
from distilnlp.evaluation.latency import DEFAULT_PLAN, SpeedPlan, measure_speed
from distilnlp.evaluation.metrics import check_finite
from distilnlp.evaluation.prediction import Collator, Example
from distilnlp.evaluation.size import measure_size
from distilnlp.evaluation.task import SINGLE_LABEL_EVALUATION, EvaluationTask


class ModelReport(TypedDict):
    """What was measured of one model; all of it can be written as JSON.

    Attributes:
        metrics: per metric `value` and the bounds `low` and `high` of its 95% interval.
        fidelity: per measure its value; None for the reference itself, or without a reference.
        calibration_error: None where the task has no such thing.
        parameters: `total`, `embeddings`, `other`.
        bytes: of the weights on disk.
        speed: `latency_ms_median`, `latency_ms_p95`, `throughput_per_second`; None where it was not measured.
    """

    metrics: dict[str, dict[str, float]]
    fidelity: dict[str, float] | None
    calibration_error: float | None
    parameters: dict[str, int]
    bytes: int
    speed: dict[str, float] | None


def evaluate_models(
    models: Mapping[str, PreTrainedModel],
    examples: Sequence[Example],
    collator: Collator,
    *,
    reference: str | None = None,
    task: EvaluationTask = SINGLE_LABEL_EVALUATION,
    batch_size: int = 32,
    resamples: int = 1000,
    seed: int = 0,
    speed_plan: SpeedPlan | None = DEFAULT_PLAN,
) -> dict[str, ModelReport]:
    """Measure models on the same rows, each on its own device.

    Args:
        models: name to model, in the order of the report; label ids are those of the first one.
        examples: tokenised and unpadded rows with `input_ids` and `label` or `labels`, for a tokenizer that all the
            models share. A row whose label is null or -100 counts for fidelity and speed only.
        collator: pads a list of rows into a batch of tensors.
        reference: name of the model that fidelity is measured against; None measures no fidelity.
        task: how this task's logits are scored.
        batch_size: rows in a batch of the predictions.
        resamples, seed: draws of the bootstrap intervals, and what makes them repeatable.
        speed_plan: how much of the speed is measured; None measures none.

    Raises:
        DistillationError: there is nothing to evaluate, the reference is unknown, labels are missing or outside the
            classes, models have different labels, or a model's logits are NaN or infinite.
    """
    _check_names(models, reference)
    rows = list(examples)
    labels = task.read_labels(rows, next(iter(models.values())).config)
    logits = _predict_all(models, rows, collator, task, batch_size)
    speeds = measure_speed(models, rows, collator, speed_plan) if speed_plan else {}
    reports = {name: _report_of(model, logits[name], labels, task, resamples, seed) for name, model in models.items()}
    for name, report in reports.items():
        if reference is not None and name != reference:
            report["fidelity"] = {m: compute(logits[name], logits[reference]) for m, compute in task.fidelity.items()}
        report["speed"] = asdict(speeds[name]) if speeds else None
    return reports


def _check_names(models: Mapping[str, PreTrainedModel], reference: str | None) -> None:
    if not models:
        raise DistillationError("expected at least one model to evaluate, but got none. Pass a mapping name -> model.")
    if reference is not None and reference not in models:
        raise DistillationError(
            f"expected the reference to be one of the models {list(models)}, but got {reference!r}."
            f"{did_you_mean(reference, models)} Name one of them, or None to measure no fidelity."
        )


def _predict_all(
    models: Mapping[str, PreTrainedModel],
    rows: Sequence[Example],
    collator: Collator,
    task: EvaluationTask,
    batch_size: int,
) -> dict[str, NDArray]:
    """Return each model's logits, all in the label order of the first model."""
    first = next(iter(models.values())).config
    logits = {}
    for name, model in models.items():
        own = task.predict(model, rows, collator, batch_size, f"Evaluating {name}")
        check_finite(own, f"the model {name!r}")
        logits[name] = task.align(own, model.config, first)
    return logits


def _report_of(
    model: PreTrainedModel, logits: NDArray, labels: NDArray, task: EvaluationTask, resamples: int, seed: int
) -> ModelReport:
    """Report what a model shows on its own, without fidelity and speed, which take the other models."""
    size = measure_size(model)
    intervals = task.scores(logits, labels, resamples, seed)
    return ModelReport(
        metrics={metric: asdict(interval) for metric, interval in intervals.items()},
        fidelity=None,
        calibration_error=task.calibration_error(logits, labels) if task.calibration_error else None,
        parameters={"total": size.parameters, "embeddings": size.embedding_parameters, "other": size.other_parameters},
        bytes=size.bytes,
        speed=None,
    )
