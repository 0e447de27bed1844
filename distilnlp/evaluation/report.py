"""The evaluation of several models side by side: quality, fidelity, calibration, size and speed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypedDict

from transformers import PreTrainedModel

from distilnlp.errors import DistillationError, NoLabelsError, did_you_mean
from distilnlp.evaluation.latency import DEFAULT_PLAN, SpeedPlan, measure_speed
from distilnlp.evaluation.predictions import Predictions
from distilnlp.evaluation.quality import Quality, measure_quality, warn_of_absent_classes, warn_of_undefined
from distilnlp.evaluation.size import measure_size
from distilnlp.metrics import Collator, ExtraMetric, Rows, Scoring, labels_agree, per_model
from distilnlp.tasks import SINGLE_LABEL_EVALUATION


class TextLength(TypedDict):
    """How much a model reads of the texts."""

    max_length: int  # tokens after which they are cut
    cut: float | None  # share of the texts that are longer; None where a text is read in windows


class ModelReport(Quality):
    """What was measured of one model; all of it can be written as JSON."""

    parameters: dict[str, int]  # `total`, `embeddings`, `other`
    bytes: int  # of the weights on disk
    speed: dict[str, float] | None  # the fields of `Speed`; None where it was not measured
    text: TextLength | None  # how much of the texts it reads; None where that was not said


def evaluate_models(
    models: Mapping[str, PreTrainedModel],
    examples: Rows | Mapping[str, Rows],
    collator: Collator | Mapping[str, Collator],
    *,
    reference: str | None = None,
    task: Scoring = SINGLE_LABEL_EVALUATION,
    batch_size: int = 32,
    resamples: int = 1000,
    seed: int = 0,
    speed_plan: SpeedPlan | None = DEFAULT_PLAN,
    text: Mapping[str, TextLength] | None = None,
    metrics: Sequence[ExtraMetric] = (),
    predictions: Predictions | None = None,
) -> dict[str, ModelReport]:
    """Measure models on the same rows, each on its own device.

    Args:
        models: name to model, in the order of the report; label ids are those of the first one.
        examples: tokenised and unpadded rows with the columns of the task. One sequence for a tokenizer that all the
            models share, or a mapping of each model's name to its own rows of the same texts in the same order. What
            has no label counts for fidelity and speed only.
        collator: pads a list of rows into a batch of tensors; one, or one for each model by its name.
        reference: name of the model that fidelity is measured against; None measures no fidelity.
        task: how this task is scored.
        batch_size: rows in a batch of the predictions.
        resamples, seed: draws of the bootstrap intervals, and what makes them repeatable.
        speed_plan: how much of the speed is measured, of each model on its own rows; None measures none.
        text: how much of the texts each model reads, for the report.
        metrics: further ones, from `load_metrics`.
        predictions: what `predict_models` gave of these models and rows; None predicts now.

    Raises:
        DistillationError: there is nothing to evaluate, the reference is unknown, labels are missing or outside the
            classes, models have different labels or their rows do, or a model's logits are NaN or infinite.
    """
    if reference is not None and reference not in models:
        raise DistillationError(
            f"expected the reference to be one of the models {list(models)}, but got {reference!r}."
            f"{did_you_mean(reference, models)} Name one of them, or None to measure no fidelity."
        )
    if predictions is None:
        predictions = predict_models(models, examples, collator, task=task, batch_size=batch_size)
    rows, collators = per_model(_shared(examples), models, "rows"), per_model(collator, models, "a collator")
    labels, labelled_by = predictions.labels, predictions.labelled_by
    device = next(iter(models.values())).device.type  # a graph on the CPU has no place beside speeds of a GPU
    timed = {name: model for name, model in models.items() if model.device.type == device}
    speeds = measure_speed(timed, rows, collators, speed_plan, task.columns) if speed_plan else {}
    if labelled_by is None:
        warn_of_absent_classes(labels, next(iter(models.values())).config, task)
    qualities = measure_quality(predictions.by_model, labels, task, reference, resamples, seed, metrics, labelled_by)
    reports = {}
    for name, quality in qualities.items():
        warn_of_undefined(name, quality)
        size = measure_size(models[name])
        reports[name] = ModelReport(
            **quality,
            parameters={
                "total": size.parameters,
                "embeddings": size.embedding_parameters,
                "other": size.other_parameters,
            },
            bytes=size.bytes,
            speed=asdict(speeds[name]) if name in speeds else None,
            text=text.get(name) if text else None,
        )
    return reports


def predict_models(
    models: Mapping[str, PreTrainedModel],
    examples: Rows | Mapping[str, Rows],
    collator: Collator | Mapping[str, Collator],
    *,
    task: Scoring = SINGLE_LABEL_EVALUATION,
    batch_size: int = 32,
    stand_in: str | None = None,
) -> Predictions:
    """Return what models answer on the same rows, and the labels; see `evaluate_models`, which measures both.

    Where no row has a label, the answers of the model called `stand_in` take their place, if it is given.
    """
    if not models:
        raise DistillationError("expected at least one model to evaluate, but got none. Pass a mapping name -> model.")
    rows, collators = per_model(_shared(examples), models, "rows"), per_model(collator, models, "a collator")
    first, labels = next(iter(models.values())).config, None
    try:
        labels = _read_labels(models, rows, task)
    except NoLabelsError:
        if stand_in is None:
            raise
    by_model = {}
    for name, model in models.items():
        own = task.predict(model, rows[name], collators[name], batch_size, f"the model {name!r}")
        by_model[name] = task.align(own, model.config, first)
    if labels is None and stand_in is not None:
        return Predictions(task.as_labels(by_model[stand_in], first), by_model, stand_in)
    return Predictions(labels, by_model)


def _shared(examples: Rows | Mapping[str, Rows]) -> Rows | Mapping[str, Rows]:
    """Return rows that are read once, where all models share them."""
    return examples if isinstance(examples, Mapping | list) else list(examples)


def _read_labels(models: Mapping[str, PreTrainedModel], rows: Mapping[str, Rows], task: Scoring) -> Any:
    """Read the labels of the first model's rows; those of the others must be the same."""
    if empty := [name for name in models if not len(rows[name])]:
        raise DistillationError(f"expected rows to evaluate {empty[0]!r} on, but got none. Check the split's filters.")
    first, *others = models
    config = models[first].config
    labels = task.read_labels(rows[first], config)
    for name in others:
        if rows[name] is not rows[first] and not labels_agree(labels, task.read_labels(rows[name], config)):
            raise DistillationError(
                f"expected the rows of all models to hold the same labels in the same order, but those of {name!r} "
                f"differ from those of {first!r}. Tokenise the same texts for each model, with a length that cuts "
                "no labelled word of one and keeps it for the other."
            )
    return labels
