"""Confidence intervals: how far a metric could move if the evaluation rows had been drawn again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import bootstrap

Scores = Callable[..., Mapping[str, NDArray]]

CELLS_AT_ONCE = 2_000_000  # resampled rows held in memory at once: 16 MB per array of ids


@dataclass(frozen=True)
class Interval:
    """A metric with the 95% interval of its bootstrap."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Scorer:
    """The metrics of one model on the units of an evaluation, and on every set that could be drawn from them.

    A unit is what is drawn as a whole, because what is in it hangs together: a text, a sentence, a question.

    Attributes:
        scores: see `bootstrap_intervals`.
        columns: what `scores` reads, each `[units]`.
    """

    scores: Scores
    columns: tuple[NDArray, ...]

    def values(self) -> dict[str, float]:
        """Return each metric on the units as they are."""
        return {name: float(value) for name, value in self.scores(*self.columns).items()}

    def intervals(self, resamples: int = 1000, seed: int = 0) -> dict[str, Interval]:
        """Return each metric with its interval."""
        return bootstrap_intervals(self.scores, *self.columns, resamples=resamples, seed=seed)


def weighted_scorer(scores: Scores, units: int) -> Scorer:
    """Return the scorer of metrics that are computed from how often each unit was drawn.

    A draw then costs a weighted sum of what each unit contributes (its hits, its errors) in place of the metric over
    all that the units hold.

    Args:
        scores: called with weights `[..., units]`, all 1 for the units as they are; returns each metric as `[...]`.
        units: how many there are.
    """
    return Scorer(lambda drawn: scores(count_ids(drawn, units)), (np.arange(units),))


def bootstrap_intervals(scores: Scores, *columns: NDArray, resamples: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """Percentile intervals (95%) of metrics over rows; Efron and Tibshirani 1993, chapter 13.

    Rows are drawn with replacement; a row keeps its values in all columns together, and all metrics are computed on
    the same draws.

    Args:
        scores: called with the columns, `[rows]` or `[draws, rows]`, returns each metric as `[]` or `[draws]`.
        columns: what `scores` reads, each `[rows]`; for instance predictions and labels.
        resamples: number of draws.
        seed: the same seed gives the same interval.

    Returns:
        An interval per metric. Of a single row, which no draw can change, it is the value itself.
    """
    values = {name: float(value) for name, value in scores(*columns).items()}
    rows = len(columns[0])
    if rows < 2:  # scipy refuses it
        return {name: Interval(value, value, value) for name, value in values.items()}

    def statistic(*drawn: NDArray, axis: int) -> NDArray:
        results = scores(*drawn)
        return np.stack([results[name] for name in values])

    result = bootstrap(
        columns,
        statistic,
        n_resamples=resamples,
        batch=max(1, CELLS_AT_ONCE // rows),
        vectorized=True,
        paired=True,
        method="percentile",  # BCa, scipy's default, is undefined where all draws agree, as for a perfect model
        rng=np.random.default_rng(seed),
    )
    lows, highs = result.confidence_interval
    return {
        name: Interval(value, float(low), float(high))
        for (name, value), low, high in zip(values.items(), lows, highs, strict=True)
    }


def count_ids(ids: NDArray, num_ids: int) -> NDArray:
    """Count the ids of each set: `[..., rows]` to `[..., num_ids]`, in float64 so that products cannot overflow."""
    sets = ids.reshape(-1, ids.shape[-1])
    offsets = num_ids * np.arange(len(sets))[:, None]
    counts = np.bincount((sets + offsets).ravel(), minlength=num_ids * len(sets))
    return counts.reshape(*ids.shape[:-1], num_ids).astype(np.float64)


def weighted_means(weights: NDArray, columns: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """Return the mean of each column `[units]` under weights `[..., units]`, as `[...]`."""
    return {name: weights @ column.astype(np.float64) / weights.sum(-1) for name, column in columns.items()}


def ratio(numerator: NDArray, denominator: NDArray) -> NDArray:
    """Divide; 0 where the denominator is 0."""
    nothing = denominator == 0
    return np.where(nothing, 0.0, numerator / np.where(nothing, 1, denominator))
