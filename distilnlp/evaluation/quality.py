"""How good the predictions of models are: metrics with intervals, beside one another and beside no model at all."""

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, TypedDict

import numpy as np
from transformers import PreTrainedConfig

from distilnlp.metrics import EvaluationTask
from distilnlp.metrics.intervals import Resampled
from distilnlp.signals import label_names_of

logger = logging.getLogger(__name__)

Figures = dict[str, float | None]  # `value` and the bounds `low` and `high` of its 95% interval; None = undefined
WHY_UNDEFINED = {
    "mcc": "all rows have one class",
    "micro_f1": "no label holds or is predicted",
    "macro_f1": "no label holds or is predicted",
    "map": "no label holds for any row",
    "pearson": "the scores or the predictions are constant",
    "spearman": "the scores or the predictions are constant",
    "correlation": "the predictions of one of the models are constant",
    "entity_f1": "there are no entities, and none is predicted",
    "entity_precision": "no entity is predicted",
    "entity_recall": "there are no entities",
    "perplexity": "the loss is so large that it overflows",
}


class Comparison(TypedDict):
    """The first metric of a model beside that of another, over the same rows and draws.

    Attributes:
        difference: the model's less the other's.
        ratio: the model's over the other's; undefined unless the other's whole interval is above zero.
    """

    difference: Figures
    ratio: Figures


class Constant(TypedDict):
    """The best answer that is the same for every text: what a model is worth that has learned nothing.

    Attributes:
        answer: what it is.
        metric: what it is measured by, the first metric where that can be.
        value: of the answer.
        difference: the model's less the answer's.
    """

    answer: str
    metric: str
    value: float | None
    difference: Figures


class Quality(TypedDict):
    """How good the predictions of a model are. None = not measured, or undefined.

    Attributes:
        metrics: per metric `value` and the bounds `low` and `high` of its 95% interval.
        units: texts, sentences or questions with a label, which the metrics are over.
        comparisons: with each other model, by its name.
        constant: beside one answer for all texts.
        fidelity: per measure its value; None for the reference itself, or without a reference.
        calibration_error: None where the task has no such thing.
    """

    metrics: dict[str, Figures]
    units: int
    comparisons: dict[str, Comparison]
    constant: Constant
    fidelity: dict[str, float | None] | None
    calibration_error: float | None


def measure_quality(
    predictions: Mapping[str, Any],
    labels: Any,
    task: EvaluationTask,
    reference: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Quality]:
    """Measure what models predicted, whatever predicted it: metrics, comparisons, fidelity and calibration.

    Args:
        predictions: of each model by its name, as the task's `predict` gives them, in one label order.
        labels: as the task's `read_labels` gives them.
        task, reference, resamples, seed: see `evaluate_models`.
    """
    scorers = {name: task.scores(own, labels) for name, own in predictions.items()}
    resampled = {name: scorer.resample(resamples, seed) for name, scorer in scorers.items()}
    constant = task.constant(labels).resample(resamples, seed)
    qualities = {}
    for name, own in resampled.items():
        pair = None if reference in (None, name) else (predictions[name], predictions[reference])
        qualities[name] = Quality(
            metrics={metric: _figures(figure) for metric, figure in own.items()},
            units=scorers[name].units,
            comparisons={other: _compared(own, resampled[other]) for other in predictions if other != name},
            constant=_beside_constant(own, constant, task.constant_name),
            fidelity={of: _finite(compute(*pair)) for of, compute in task.fidelity.items()} if pair else None,
            calibration_error=task.calibration_error(predictions[name], labels) if task.calibration_error else None,
        )
    return qualities


def _finite(value: float) -> float | None:
    """Return a value, None where it is NaN or infinite: JSON has no such numbers."""
    return float(value) if math.isfinite(value) else None


def _figures(figure: Resampled) -> Figures:
    return {name: _finite(value) for name, value in asdict(figure.interval()).items()}


def _compared(own: Mapping[str, Resampled], other: Mapping[str, Resampled]) -> Comparison:
    """Compare the first metric of two models."""
    first, second = next(iter(own.values())), next(iter(other.values()))
    ratio = _figures(first.over(second))
    is_above_zero = second.interval().low > 0
    return Comparison(
        difference=_figures(first.minus(second)), ratio=ratio if is_above_zero else dict.fromkeys(ratio, None)
    )


def _beside_constant(own: Mapping[str, Resampled], constant: Mapping[str, Resampled], answer: str) -> Constant:
    metric = next(name for name in own if name in constant)
    return Constant(
        answer=answer,
        metric=metric,
        value=_finite(constant[metric].value),
        difference=_figures(own[metric].minus(constant[metric])),
    )


def warn_of_absent_classes(labels: Any, config: PreTrainedConfig, task: EvaluationTask) -> None:
    """Name the classes without an example in the rows: nothing is known of how these are recognised."""
    counts = task.class_counts(labels, config.num_labels or 0) if task.class_counts else np.ones(1)
    absent = np.flatnonzero(counts == 0)
    if len(absent):
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
        logger.warning("%s of %r is undefined (n/a): %s", measure, name, WHY_UNDEFINED.get(measure, "it is not finite"))
