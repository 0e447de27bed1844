"""How good the predictions of models are: metrics with intervals, beside one another and beside no model at all."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypedDict

import numpy as np
from transformers import PreTrainedConfig

from distilnlp.metrics import MEASURES, ExtraMetric, Figure, Interval, Resampled, Scoring
from distilnlp.signals import label_names_of
from distilnlp.tasks import TASKS

logger = logging.getLogger(__name__)

Figures = dict[str, float | None]  # `value` and the bounds `low` and `high` of its 95% interval; None = undefined
FIGURES = {figure.name: figure for task in TASKS.values() for figure in task.evaluation.figures} | {
    figure.name: figure for figure in MEASURES
}


def figure_named(name: str) -> Figure:
    """Return what is known of a figure by its name in a report; of a metric that a user added, that is the name."""
    return FIGURES.get(name, Figure(name, name, is_share=False))


def title_of(name: str, labelled_by: str | None = None) -> str:
    """Return what a figure is called in tables; it is another one where a model's answers stand for labels."""
    title = figure_named(name).title
    return title if labelled_by is None else f"{title}, as the {labelled_by}"


class Comparison(TypedDict):
    """The first metric of a model beside that of another, over the same rows and draws."""

    difference: Figures  # the model's less the other's
    ratio: Figures  # the model's over the other's; undefined unless the other's whole interval is above zero


class Constant(TypedDict):
    """The best answer that is the same for every text: what a model is worth that has learned nothing."""

    answer: str  # what it is
    metric: str  # what it is measured by, the first metric where that can be
    value: float | None  # of the answer
    difference: Figures  # the model's less the answer's


class Quality(TypedDict):
    """How good the predictions of a model are. None = not measured, or undefined."""

    metrics: dict[str, Figures]
    units: int  # texts, sentences or questions with a label, which the metrics are over
    comparisons: dict[str, Comparison]  # with each other model, by its name
    constant: Constant  # beside one answer for all texts
    fidelity: dict[str, float | None] | None  # by measure; None for the reference itself, or without a reference
    calibration_error: float | None  # None where the task, or the rows, have no such thing
    labelled_by: str | None  # the model whose answers stand for labels, where no row has one: fidelity, not quality


def measure_quality(
    predictions: Mapping[str, Any],
    labels: Any,
    task: Scoring,
    reference: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
    metrics: Sequence[ExtraMetric] = (),
    labelled_by: str | None = None,
) -> dict[str, Quality]:
    """Measure what models predicted, whatever predicted it: metrics, comparisons, fidelity and calibration.

    Predictions, of each model by its name and in one label order, and labels are as the task's `predict` and
    `read_labels` give them, or the answers of the model `labelled_by` in their place; for the rest see
    `evaluate_models`.
    """
    scorers = {name: task.scores(own, labels) for name, own in predictions.items()}
    resampled = {name: scorer.resample(resamples, seed) for name, scorer in scorers.items()}
    constant = task.constant(labels).resample(resamples, seed)
    qualities = {}
    for name, own in resampled.items():
        pair = None if reference in (None, name) else (predictions[name], predictions[reference])
        intervals = {metric: figure.interval() for metric, figure in own.items()}
        for extra in metrics:
            intervals |= extra.figures(*task.answers(predictions[name], labels), resamples, seed)
        qualities[name] = Quality(
            metrics={metric: _figures(interval) for metric, interval in intervals.items()},
            units=scorers[name].units,
            comparisons={other: _compared(own, resampled[other]) for other in predictions if other != name},
            constant=_beside_constant(own, constant, task.constant_name),
            fidelity={of: _finite(compute(*pair)) for of, compute in task.fidelity.items()} if pair else None,
            calibration_error=None if labelled_by else task.calibration_error(predictions[name], labels),
            labelled_by=labelled_by,
        )
    return qualities


def _finite(value: float) -> float | None:
    """Return a value, None where it is NaN or infinite: JSON has no such numbers."""
    return float(value) if math.isfinite(value) else None


def _figures(interval: Interval) -> Figures:
    return {name: _finite(value) for name, value in asdict(interval).items()}


def _compared(own: Mapping[str, Resampled], other: Mapping[str, Resampled]) -> Comparison:
    """Compare the first metric of two models."""
    first, second = next(iter(own.values())), next(iter(other.values()))
    difference, ratio = _figures(first.minus(second).interval()), _figures(first.over(second).interval())
    is_above_zero = second.interval().low > 0
    return Comparison(difference=difference, ratio=ratio if is_above_zero else dict.fromkeys(ratio, None))


def _beside_constant(own: Mapping[str, Resampled], constant: Mapping[str, Resampled], answer: str) -> Constant:
    metric = next(name for name in own if name in constant)
    return Constant(
        answer=answer,
        metric=metric,
        value=_finite(constant[metric].value),
        difference=_figures(own[metric].minus(constant[metric]).interval()),
    )


def warn_of_absent_classes(labels: Any, config: PreTrainedConfig, task: Scoring) -> None:
    """Say of which classes the rows have no example: nothing is known of how these are recognised."""
    counts = task.class_counts(labels, config.num_labels or 0)
    if counts is not None and len(absent := np.flatnonzero(counts == 0)):
        names = label_names_of(config) or range(len(counts))
        some = ", ".join(str(names[index]) for index in absent[:5]) + (", …" if len(absent) > 5 else "")
        logger.warning(
            "the test rows have no example of %d of %d classes (%s): a mean over classes leaves out those that are not "
            "predicted either",
            len(absent),
            len(counts),
            some,
        )


def warn_of_undefined(name: str, quality: Quality) -> None:
    """Say which figures are undefined for a model, and why."""
    figures = {metric: figure["value"] for metric, figure in quality["metrics"].items()} | (quality["fidelity"] or {})
    for measure in (measure for measure, value in figures.items() if value is None):
        logger.warning("%s of %r is undefined (n/a): %s", measure, name, figure_named(measure).why_undefined)
